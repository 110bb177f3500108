"""HFC and NWHFC: how many eigenvalues of the scene hold a mean that is not zero, by a test of given false alarm."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from hsi_dask.kernels.counts.count import Count
from hsi_dask.kernels.covariance import whiten


def hfc(
    mean: ArrayLike, covariance: ArrayLike, noise: ArrayLike | None, pixels: int, *, false_alarm: float = 1e-3
) -> Count:
    """Eigenvalues of the second moments that are larger than those of the covariance by more than chance.

    Materials have reflectance and noise has none: where an eigenvalue of the mean of xx' is above that of the
    covariance, there is a signal. A Neyman-Pearson test tells it from chance, which has the variance
    2 (a^2 + b^2) / pixels for eigenvalues a and b.

    Parameters
    ----------
    mean, covariance : (L,), (L, L) of the pixels.
    noise : not used; there for the sake of one signature.
    pixels : how many the statistics are of.
    false_alarm : probability that noise counts as a material, 0 to 0.5; 1e-3 to 1e-5 are usual.

    Returns
    -------
    Count
        curve: differences of the eigenvalues by descending eigenvalue; limit: what chance explains.

    References
    ----------
    Harsanyi, Farrand & Chang 1993, Proc. ASPRS. Chang & Du 2004, Estimation of number of spectrally distinct signal
    sources in hyperspectral imagery, IEEE TGRS 42(3), 608-619.

    Examples
    --------
    >>> hfc([3.0, 4.0, 0.0], np.diag([0.1, 0.1, 0.1]), None, 1000).materials
    1
    """
    middle, matrix = np.asarray(mean, dtype=np.float64), np.asarray(covariance, dtype=np.float64)
    if matrix.shape != (middle.size,) * 2:
        raise ValueError(f"mean and covariance are {middle.shape} and {matrix.shape}; L must agree")
    if not 0 < false_alarm <= 0.5 or pixels < 2:
        raise ValueError(f"false_alarm is {false_alarm}, pixels {pixels}; they must be in (0, 0.5] and at least 2")
    about_mean = np.linalg.eigvalsh(matrix)[::-1]
    about_zero = np.linalg.eigvalsh(matrix + np.outer(middle, middle))[::-1]
    spread = np.sqrt(2.0 * (about_zero**2 + about_mean**2) / pixels)
    return Count.of(about_zero - about_mean, -NormalDist().inv_cdf(false_alarm) * spread)


def nwhfc(mean: ArrayLike, covariance: ArrayLike, noise: ArrayLike, pixels: int, *, false_alarm: float = 1e-3) -> Count:
    """`hfc` after the noise was made white, so that a loud wavelength hides no material.

    Parameters
    ----------
    noise : (L, L) noise covariance or (L,) noise variances; the others are those of `hfc`.

    Examples
    --------
    >>> nwhfc([0.3, 0.4, 0.0], np.diag([0.1, 9.0, 0.1]), [0.1, 9.0, 0.1], 1000).materials
    1
    """
    white = whiten(noise, name="the noise covariance").forward
    matrix = np.asarray(covariance, dtype=np.float64)
    if matrix.shape != white.shape:
        raise ValueError(f"the covariance is {matrix.shape}, the noise has {len(white)} wavelengths")
    return hfc(white @ np.asarray(mean), white @ matrix @ white.T, None, pixels, false_alarm=false_alarm)
