"""HySime: the dimension of the signal subspace with the smallest error, from statistics alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hsi_dask.kernels.counts.count import Count


def hysime(mean: ArrayLike, covariance: ArrayLike, noise: ArrayLike, pixels: int) -> Count:
    """Directions along which pixels have more than twice the power of the noise.

    Leaving a direction out costs the power of its signal, keeping it costs that of its noise: it is kept where the
    pixels' power, which is signal and noise, is more than twice the noise's.

    Parameters
    ----------
    mean, covariance : (L,), (L, L) of the pixels.
    noise : (L, L) noise covariance or (L,) noise variances. The count is as good as these: noise that is estimated
        too low counts noise as materials. `regression_noise` is the method's own.
    pixels : not used; there for the sake of one signature.

    Returns
    -------
    Count
        curve: power of the pixels along the eigenvectors of the signal; limit: twice the noise's.

    References
    ----------
    Bioucas-Dias & Nascimento 2008, Hyperspectral subspace identification, IEEE TGRS 46(8), 2435-2445.

    Examples
    --------
    >>> found = hysime([3.0, 4.0, 0.0], np.diag([0.1, 0.1, 2.0]), [0.1, 0.1, 0.1], 1000)
    >>> found.materials, found.curve.round(9).tolist(), found.limit.round(9).tolist()
    (2, [25.1, 2.0, 0.1], [0.2, 0.2, 0.2])
    """
    middle, matrix, rest = (np.asarray(each, dtype=np.float64) for each in (mean, covariance, noise))
    if matrix.shape != (middle.size,) * 2 or rest.shape not in (matrix.shape, middle.shape):
        raise ValueError(f"mean, covariance and noise are {middle.shape}, {matrix.shape}, {rest.shape}; L must agree")
    rest = np.diag(rest) if rest.ndim == 1 else rest
    correlation = matrix + np.outer(middle, middle)
    directions = np.linalg.eigh(correlation - rest)[1]
    power, limit = (np.einsum("ij,ik,kj->j", directions, m, directions, optimize=True) for m in (correlation, rest))
    order = np.argsort(2.0 * limit - power, kind="stable")
    return Count.of(power[order], 2.0 * limit[order])
