"""Non-negative least squares: abundances >= 0 of any sum, by the solver of FCLS."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hsi_dask.kernels.abundances.vertices import checked
from hsi_dask.kernels.fcls import fcls

_AT_ZERO = 1e-9  # of the longest vertex: mixtures this near zero leave abundances without a bound


def nnls(projections: ArrayLike, vertices: ArrayLike) -> NDArray[np.float64]:
    """Abundances of every pixel: argmin |z - a C|^2 with a >= 0.

    Parameters
    ----------
    projections : (r, n) float, every pixel in an orthonormal basis of a space that holds the vertices, or its raw
        spectrum. A value that is not finite makes all abundances of its pixel NaN.
    vertices : (p, r) float, the endmembers in the same basis. Duplicates and dependent ones are allowed.

    Returns
    -------
    (p, n) float64, exactly zero off the support. The sum is the pixel's brightness against that of its mixture.

    Raises
    ------
    ValueError : a mixture of vertices is zero, as of a spectrum and its negative.

    Notes
    -----
    The best fit is no longer than its pixel, so the sum of abundances is at most |z| / d, with d the distance from
    zero to the nearest mixture of vertices. A pixel scaled by d / |z| therefore has its optimum among mixtures of the
    vertices and a zero vertex that sum to one: `fcls` finds it, exactly and as fast as with one vertex more.

    References
    ----------
    Lawson & Hanson 1974, Solving least squares problems. See `fcls` for the solver.

    Examples
    --------
    >>> nnls([[0.25, 2.0], [0.5, -1.0]], [[1.0, 0.0], [0.0, 1.0]]).T.round(12).tolist()
    [[0.25, 0.5], [2.0, 0.0]]
    """
    z, c = checked(projections, vertices)
    distance = float(np.linalg.norm(fcls(np.zeros((c.shape[1], 1)), c)[:, 0] @ c))
    if distance <= _AT_ZERO * np.linalg.norm(c, axis=1).max():
        raise ValueError("a mixture of the endmembers is zero everywhere, which any pixel may have any amount of")
    length = np.sqrt(sum(plane * plane for plane in z))  # in one order for every pixel
    scale = distance / np.where(length > 0.0, length, 1.0)
    return np.asarray(fcls(z * scale, np.vstack([c, np.zeros(c.shape[1])]))[:-1] / scale)
