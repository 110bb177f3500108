"""Pixel purity index."""

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
    from hsi_dask.kernels.extraction.ppi import ppi

    return ppi(spectra, count, rng, **options)


SPECIFICATION = Extractor(
    name="ppi",
    title="pixel purity index",
    source="Boardman, Kruse & Green (1995), JPL Publication 95-1",
    extract=_extract,
    least=2,
    parameters=(
        Parameter(
            "directions",
            Annotated[int, Field(strict=True, ge=1, le=10**7)],
            10_000,
            "a whole number from 1 to 10000000",
            "random directions along which pixels are extremes",
        ),
    ),
)
