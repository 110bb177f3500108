"""Unconstrained least squares: abundances of any sign and sum."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hsi_dask.kernels.abundances.vertices import checked
from hsi_dask.kernels.linear_forms import linear_forms
from hsi_dask.kernels.rounding import rounding


def ucls(projections: ArrayLike, vertices: ArrayLike) -> NDArray[np.float64]:
    """Abundances of every pixel: argmin |z - a C|^2.

    Parameters
    ----------
    projections : (r, n) float, every pixel in an orthonormal basis of a space that holds the vertices, or its raw
        spectrum. A value that is not finite makes all abundances of its pixel NaN.
    vertices : (p, r) float, the endmembers in the same basis. Of dependent ones the smallest abundances are chosen.

    Returns
    -------
    (p, n) float64. Negative or far above 1 where the pixel is no mixture of these endmembers, or they are alike.

    References
    ----------
    Lawson & Hanson 1974, Solving least squares problems.

    Examples
    --------
    >>> ucls([[0.25, 2.0], [0.5, -1.0]], [[1.0, 0.0], [0.0, 1.0]]).T.round(12).tolist()
    [[0.25, 0.5], [2.0, -1.0]]
    """
    z, c = checked(projections, vertices)
    return linear_forms(np.linalg.pinv(c.T, rcond=rounding(c)), z)
