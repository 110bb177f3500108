"""Noise of every wavelength from the covariance alone, by regression on all others."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hsi_dask.kernels.covariance import whiten


def regression_noise(covariance: ArrayLike, pixels: int | None = None) -> NDArray[np.float64]:
    """Variance that no linear combination of the other wavelengths explains.

    Reflectance is smooth and of few materials, so that the other wavelengths predict a wavelength to its noise. The
    residual variance of that regression is 1 / P_ii with P the inverse of the covariance: no pass over pixels.

    Parameters
    ----------
    covariance : (L, L) sample covariance of the pixels.
    pixels : how many it is of, to correct for the L coefficients fitted; None where there are many more than L.

    Returns
    -------
    (L,) float64, in the covariance's unit. A few percent high, by the noise of the others; but noise that
    wavelengths share is not in it, so that it is low where spectra were resampled.

    Raises
    ------
    ValueError : a singular covariance, or no more pixels than wavelengths.

    References
    ----------
    Roger & Arnold 1996, Int. J. Remote Sensing 17(10), 1951-1962. Bioucas-Dias & Nascimento 2008, IEEE TGRS 46(8).

    Examples
    --------
    >>> regression_noise([[1.0, 0.8], [0.8, 1.0]]).round(12).tolist()
    [0.36, 0.36]
    """
    forward = whiten(covariance).forward
    wavelengths = len(forward)
    if pixels is not None and pixels <= wavelengths:
        raise ValueError(f"a regression on {wavelengths} wavelengths needs more pixels than {pixels}; use more")
    lost = 1.0 if pixels is None else (pixels - 1) / (pixels - wavelengths)
    return np.asarray(lost / (forward**2).sum(axis=0))
