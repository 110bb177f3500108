"""The simplex of smallest volume that holds nearly all pixels; for scenes without pure pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hsi_dask.extractors.specification import Extractor
from hsi_dask.parameters import Parameter

if TYPE_CHECKING:
    from hsi_dask.kernels.extraction.extracted import Extracted


def _extract(spectra: NDArray[Any], count: int, rng: np.random.Generator, **options: Any) -> Extracted:
    from hsi_dask.kernels.extraction.minimum_volume import minimum_volume

    return minimum_volume(spectra, count, rng, **options)


SPECIFICATION = Extractor(
    name="minimum_volume",
    title="simplex of minimum volume",
    source="Bioucas-Dias (2009), WHISPERS; Li et al. (2015), IEEE Transactions on Geoscience and Remote Sensing 53(9)",
    extract=_extract,
    least=2,
    of_pixels=False,
    parameters=(
        Parameter(
            "outside",
            Annotated[float, Field(strict=True, gt=0, lt=0.5)],
            0.003,
            "a number above 0 and below 0.5",
            "about which share of the pixels each facet may leave outside",
        ),
        Parameter(
            "steps",
            Annotated[int, Field(strict=True, ge=1, le=100_000)],
            500,
            "a whole number from 1 to 100000",
            "at most so many steps",
        ),
    ),
)
