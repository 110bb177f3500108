"""Successive projections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hsi_dask.extractors.specification import Extractor

if TYPE_CHECKING:
    from hsi_dask.kernels.extraction.extracted import Extracted


def _extract(spectra: NDArray[Any], count: int, rng: np.random.Generator, **options: Any) -> Extracted:
    from hsi_dask.kernels.extraction.spa import spa

    return spa(spectra, count, rng, **options)


SPECIFICATION = Extractor(
    name="spa",
    title="successive projections",
    source="Araujo et al. (2001), Chemometrics and Intelligent Laboratory Systems 57(2)",
    extract=_extract,
    least=1,
)
