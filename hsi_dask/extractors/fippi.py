"""Fast iterative pixel purity index."""

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
    from hsi_dask.kernels.extraction.fippi import fippi

    return fippi(spectra, count, rng, **options)


SPECIFICATION = Extractor(
    name="fippi",
    title="fast iterative pixel purity",
    source="Chang & Plaza (2006), IEEE Geoscience and Remote Sensing Letters 3(1)",
    extract=_extract,
    least=2,
    parameters=(
        Parameter(
            "rounds",
            Annotated[int, Field(strict=True, ge=1, le=10_000)],
            50,
            "a whole number from 1 to 10000",
            "after so many the pixels found are taken",
        ),
    ),
)
