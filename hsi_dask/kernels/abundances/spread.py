"""Standard deviations of abundances, from the residual of the fit and the endmembers that are in it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsi_dask.kernels.rounding import rounding

Floats = NDArray[np.float64]


def abundance_std(vertices: Floats, abundances: Floats, rmse: NDArray[Any], wavelengths: int) -> NDArray[np.float32]:
    """Standard deviation of each abundance under noise of the residual's size, with the sum fixed at one.

    Parameters
    ----------
    vertices : (p, r), endmembers on an orthonormal basis.
    abundances : (p, n), fully constrained; the endmembers of a pixel are those above zero.
    rmse : (n,) root mean square residual over wavelength, in the unit of the vertices.
    wavelengths : how many the residual is over.

    Returns
    -------
    (p, n) float32. 0 for endmembers that are not in a pixel, and where it is one endmember alone; NaN where rmse is.

    Notes
    -----
    With the k endmembers E of a pixel, the covariance is s^2 (G^-1 - G^-1 1 1' G^-1 / 1' G^-1 1), G = E E', and s^2 the
    squared residual over wavelengths - k + 1 degrees of freedom. It holds for noise that is alike and independent at
    every wavelength, and for the endmembers as they are; it leaves out how a material varies, that an endmember may
    enter or leave, and errors of the endmembers themselves.

    References
    ----------
    Settle, J. J. & Drake, N. A. (1993). Linear mixing and the estimation of ground cover proportions. International
    Journal of Remote Sensing 14(6), 1159-1177.

    Examples
    --------
    >>> std = abundance_std(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.5], [0.5]]), np.array([0.1]), 101)
    >>> std.ravel().astype(float).round(4).tolist()
    [0.0711, 0.0711]
    """
    inside = abundances > 0
    codes, member = np.unique(np.packbits(inside, axis=0), axis=1, return_inverse=True)
    out = np.zeros(abundances.shape, np.float32)
    for number in range(codes.shape[1]):
        pixels = np.flatnonzero(member.ravel() == number)
        some = np.flatnonzero(inside[:, pixels[0]])
        if len(some) > 1:
            degrees = max(wavelengths - len(some) + 1, 1)
            spread = np.sqrt(_diagonal(vertices[some]) * wavelengths / degrees)
            out[np.ix_(some, pixels)] = spread[:, None] * rmse[pixels]
    out[:, np.isnan(rmse)] = np.nan
    return out


def _diagonal(members: Floats) -> Floats:
    """Variances of abundances that sum to one, for noise of variance one."""
    products = members @ members.T
    inverse = np.linalg.pinv(products, rcond=rounding(products), hermitian=True)
    ones = inverse.sum(axis=1)
    return np.asarray((np.diag(inverse) - ones**2 / ones.sum()).clip(0))
