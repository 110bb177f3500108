"""Standard deviations of abundances, from the residual of the fit and the endmembers that are in it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsi_dask.kernels.rounding import rounding

Floats = NDArray[np.float64]


def abundance_std(
    vertices: Floats,
    abundances: Floats,
    rmse: NDArray[Any],
    wavelengths: int,
    *,
    fitted: int | None = None,
    lit: bool = False,
) -> NDArray[np.float32]:
    """Standard deviation of each abundance under noise of the residual's size, with the sum fixed at one.

    Parameters
    ----------
    vertices : (p, r), endmembers on an orthonormal basis; one of zeros is shade.
    abundances : (p, n), fully constrained; the endmembers of a pixel are those above zero.
    rmse : (n,) root mean square residual over wavelength, in the unit of the vertices.
    wavelengths : how many the residual is over.
    fitted : how many numbers were fitted to leave this residual; None: one less than the endmembers of the pixel.
    lit : of abundances divided by one minus that of the last vertex, the shade.

    Returns
    -------
    (p, n) float32. 0 for endmembers that are not in a pixel, and where it is one endmember alone; NaN where rmse is,
    and of a lit part where there is none.

    Notes
    -----
    With the k endmembers E of a pixel about their mean, abundances are linear in the pixel, by the pseudoinverse P of
    E, and their covariance is s^2 P P', with s^2 the squared residual over wavelengths - fitted degrees of freedom. It
    holds for noise that is alike and independent at every wavelength, and for the endmembers as they are; it leaves out
    how a material varies, that an endmember may enter or leave, and errors of the endmembers themselves. Shares of a
    lit part are quotients, whose errors are propagated to first order.

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
            degrees = max(wavelengths - (len(some) - 1 if fitted is None else fitted), 1)
            covariance = _covariance(vertices[some])
            variance = np.diag(covariance)[:, None]
            if lit and inside[-1, pixels[0]]:
                light = 1 - abundances[-1, pixels]
                shares = abundances[np.ix_(some, pixels)] / light
                variance = variance + shares * (2 * covariance[:, -1:] + shares * covariance[-1, -1])
                variance = variance.clip(0) / light**2
            out[np.ix_(some, pixels)] = np.sqrt(variance * wavelengths / degrees) * rmse[pixels]
    out[:, np.isnan(rmse)] = np.nan
    if lit:
        out[:, abundances[-1] == 1] = np.nan
    return out


def _covariance(members: Floats) -> Floats:
    """Of abundances that sum to one, for noise of variance one."""
    around = (members - members.mean(axis=0)).T
    forms = np.linalg.pinv(around, rcond=rounding(around, members))
    return np.asarray(forms @ forms.T)
