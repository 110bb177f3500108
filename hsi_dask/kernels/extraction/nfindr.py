"""N-FINDR on the contract of extractors: reduces the pixels, and restarts until the largest volume comes back."""

from __future__ import annotations

import numpy as np

from hsi_dask.kernels import nfindr as search
from hsi_dask.kernels.extraction.extracted import Extracted, Spectra, checked, reduced

RESTARTS = 10  # enough where as many materials exist as are looked for: then nearly every restart ends alike
_AGAIN = 3  # restarts that must have ended within 1 % of the largest volume
_MORE = 5  # restarts for each endmember where they have not: 60 for 12
_MOST = 100


def nfindr(spectra: Spectra, count: int, rng: np.random.Generator, *, restarts: int | None = None) -> Extracted:
    """The `count` pixels that span the largest simplex in their principal subspace.

    Parameters
    ----------
    spectra : (n, L) float without NaN.
    count : 1 to min(n, L). 1 is the brightest pixel.
    rng : of the restarts' directions.
    restarts : None for 10, and where fewer than 3 of them end within 1 % of the largest volume 5 for each endmember,
        100 at most.

    Returns
    -------
    Extracted
        diagnostics: `log_volume`, `volumes` of every restart, and `again`, how many were within 1 % of the largest.

    Notes
    -----
    With 8 to 30 materials in the pixels every restart finds them. Where more endmembers are asked for than there are
    materials, ends are noise and many: 10 restarts reach .7 to 1 of the largest volume known for 12 endmembers and .6
    to .9 for 20 and 30, 60 to 100 reach .84 to 1. `again` below 3 says that the count is too large.

    References
    ----------
    Winter 1999, N-FINDR, Proc. SPIE 3753.

    Examples
    --------
    >>> pixels = np.array([[0.1, 0.9, 0.1], [0.3, 0.5, 0.3], [0.5, 0.1, 0.5], [0.4, 0.4, 0.2]])
    >>> sorted(nfindr(pixels, 3, np.random.default_rng(0)).indices.tolist())
    [0, 2, 3]
    """
    spectra = checked(spectra, count)
    seed = int(rng.integers(2**31))
    if count == 1:
        brightest = np.einsum("ij,ij->i", spectra, spectra, dtype=np.float64).argmax()
        return Extracted(np.array([brightest]), {"log_volume": 0.0, "volumes": np.zeros(1), "again": 1})
    points, _ = reduced(spectra, count)
    found = search.nfindr(points, count, restarts=restarts or RESTARTS, seed=seed)
    if restarts is None and _again(found) < _AGAIN and (more := min(_MORE * count, _MOST)) > RESTARTS:
        found = search.nfindr(points, count, restarts=more, seed=seed, after=found)
    diagnostics = {"log_volume": found.log_volume, "volumes": found.volumes, "again": _again(found)}
    return Extracted(found.indices, diagnostics)


def _again(found: search.Simplex) -> int:
    return int((found.volumes >= 0.99 * found.volumes.max()).sum())
