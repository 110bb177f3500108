"""Vertex component analysis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hsi_dask.extractors.specification import Extractor

if TYPE_CHECKING:
    from hsi_dask.kernels.extraction.extracted import Extracted


def _extract(spectra: NDArray[Any], count: int, rng: np.random.Generator, **options: Any) -> Extracted:
    from hsi_dask.kernels.extraction.vca import vca

    return vca(spectra, count, rng, **options)


SPECIFICATION = Extractor(
    name="vca",
    title="vertex component analysis",
    source="Nascimento & Bioucas-Dias (2005), IEEE Transactions on Geoscience and Remote Sensing 43(4)",
    extract=_extract,
    least=2,
)
