"""N-FINDR: the pixels that span the simplex of largest volume."""

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
    from hsi_dask.kernels.extraction.nfindr import nfindr

    found = nfindr(spectra, count, rng, **options)
    return found._replace(diagnostics={"volume": float(np.exp(found.diagnostics["log_volume"])), **found.diagnostics})


SPECIFICATION = Extractor(
    name="nfindr",
    title="N-FINDR",
    source="Winter (1999), Proceedings of SPIE 3753",
    extract=_extract,
    least=1,
    every_pixel=True,
    parameters=(
        Parameter(
            "restarts", Annotated[int, Field(strict=True, ge=1, le=1000)] | None, None,
            "null or a whole number from 1 to 1000",
            "random starts, of which the largest volume is kept; null: 10, and more where they disagree",
        ),
    ),
)  # fmt: skip
