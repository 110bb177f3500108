"""N-FINDR: the pixels that span the simplex of largest volume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hsi_dask.errors import EndmemberError
from hsi_dask.extractors.specification import Extractor
from hsi_dask.parameters import Parameter

if TYPE_CHECKING:
    from hsi_dask.kernels.extraction.extracted import Extracted


def _extract(spectra: NDArray[Any], count: int, rng: np.random.Generator, *, restarts: int) -> Extracted:
    from hsi_dask.kernels.extraction.extracted import Extracted
    from hsi_dask.kernels.nfindr import nfindr
    from hsi_dask.kernels.subspace import principal_subspace, reduce

    if count == 1:  # a simplex of one vertex has no volume to compare: take the brightest, the fewest shadows
        brightest = int((spectra.astype(np.float64) ** 2).sum(axis=1).argmax())
        return Extracted(np.array([brightest]), {"volume": 0.0, "volumes": [0.0]})
    dimensions = count - 1
    if dimensions > min(spectra.shape):
        raise EndmemberError(
            f"{count} endmembers need {dimensions} dimensions, but the sample is {spectra.shape[0]} pixels of "
            f"{spectra.shape[1]} wavelengths; ask for fewer"
        )
    subspace = principal_subspace(spectra, dimensions)
    if subspace.rank >= dimensions:
        found = nfindr(reduce(spectra, subspace), count, restarts=restarts, seed=rng)
        if np.isfinite(found.log_volume):
            told = {"volume": found.volume, "volumes": found.volumes.tolist(), "log_volume": found.log_volume}
            return Extracted(found.indices, told)
    raise EndmemberError(
        f"the pixels span {subspace.rank} dimensions, but {count} endmembers need {dimensions}; "
        f"ask for at most {subspace.rank + 1} or sample more"
    )


SPECIFICATION = Extractor(
    name="nfindr",
    title="N-FINDR",
    source="Winter (1999), Proceedings of SPIE 3753",
    extract=_extract,
    least=1,
    parameters=(
        Parameter(
            "restarts", Annotated[int, Field(strict=True, ge=1, le=1000)], 10,
            "a whole number from 1 to 1000", "random starts; the largest volume is kept",
        ),
    ),
)  # fmt: skip
