"""Automatic target generation process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hsi_dask.extractors.specification import Extractor

if TYPE_CHECKING:
    from hsi_dask.kernels.extraction.extracted import Extracted


def _extract(spectra: NDArray[Any], count: int, rng: np.random.Generator, **options: Any) -> Extracted:
    from hsi_dask.kernels.extraction.atgp import atgp

    return atgp(spectra, count, rng, **options)


SPECIFICATION = Extractor(
    name="atgp",
    title="automatic target generation",
    source="Ren & Chang (2003), IEEE Transactions on Aerospace and Electronic Systems 39(4)",
    extract=_extract,
    least=1,
)
