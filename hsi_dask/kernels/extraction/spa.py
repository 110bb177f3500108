"""SPA: successive projections, after the pixels' extents were made equal in all directions."""

from __future__ import annotations

import numpy as np

from hsi_dask.kernels.extraction.directions import successive
from hsi_dask.kernels.extraction.extracted import Extracted, Spectra, checked, principal_axes
from hsi_dask.kernels.moments import spectra_moments


def spa(spectra: Spectra, count: int, rng: np.random.Generator) -> Extracted:
    """`count` times the pixel farthest from the span of those before, in the `count` directions of most energy.

    Parameters
    ----------
    spectra : (n, L) float without NaN.
    count : 1 to min(n, L).
    rng : not used; there for the sake of one signature.

    Returns
    -------
    Extracted
        diagnostics: `distances` (count,), 1 at most; sqrt(count / n) is that of an ordinary pixel.

    Notes
    -----
    Directions are divided by their singular values: a material that differs little from the others, or is rare, then
    counts as much as a bright one, and noise outside these directions counts for nothing.

    References
    ----------
    Araujo et al. 2001, Chemometrics and Intelligent Laboratory Systems 57(2), 65-73. Gillis & Vavasis 2014, IEEE
    TPAMI 36(4), 698-714. Gillis & Ma 2015, SIAM J. Imaging Sciences 8(1), 677-698 (singular values made equal).

    Examples
    --------
    >>> spa(np.array([[0.1, 0.1], [0.9, 0.8], [0.1, 0.7]]), 2, np.random.default_rng()).indices.tolist()
    [2, 1]
    """
    spectra = checked(spectra, count)
    axes, values = principal_axes(spectra_moments(spectra).correlation, spectra, count)
    axes = axes / np.sqrt(values[:count] * len(spectra))
    indices, distances = successive(spectra @ axes, count)
    return Extracted(indices, {"distances": distances})
