"""Minimum noise fraction and principal components, from the statistics of a scene."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hsi_dask.kernels.covariance import whiten

Floats = NDArray[np.float64]


class Transform(NamedTuple):
    """A linear transform of spectra about their mean, by descending variance of its components.

    mean : (L,).
    eigenvalues : (L,), variances of the components; of MNF in units of the noise: signal-to-noise ratio plus 1.
    forward : (L, L), a component a row; the largest entry of each row is positive.
    inverse : (L, L), a component a column.
    """

    mean: Floats
    eigenvalues: Floats
    forward: Floats
    inverse: Floats


def principal_components(mean: ArrayLike, covariance: ArrayLike) -> Transform:
    """Orthonormal components of largest variance.

    Parameters
    ----------
    mean, covariance : (L,), (L, L) of the pixels.

    References
    ----------
    Jolliffe 2002, Principal component analysis.

    Examples
    --------
    >>> found = principal_components([0.0, 0.0], [[2.0, 0.0], [0.0, 3.0]])
    >>> found.eigenvalues.tolist(), found.forward.tolist()
    ([3.0, 2.0], [[0.0, 1.0], [1.0, 0.0]])
    """
    matrix = np.asarray(covariance, dtype=np.float64)
    values, vectors = np.linalg.eigh(matrix)
    return _transform(mean, values, vectors.T, vectors)


def mnf(mean: ArrayLike, covariance: ArrayLike, noise: ArrayLike, *, ridge: float = 0.0) -> Transform:
    """Components of largest signal-to-noise ratio; the noise of each has variance 1, uncorrelated.

    Parameters
    ----------
    mean, covariance : (L,), (L, L) of the pixels.
    noise : (L, L) noise covariance, or (L,) noise variances.
    ridge : see `covariance.whiten`.

    Raises
    ------
    ValueError : a singular noise covariance, or one of other wavelengths.

    References
    ----------
    Green, A. A. et al. 1988, IEEE TGRS 26(1), 65-74. Lee, Woodyatt & Berman 1990, IEEE TGRS 28(3), 295-304.

    Examples
    --------
    >>> found = mnf([0.0, 0.0], [[2.0, 0.0], [0.0, 3.0]], [0.5, 3.0])
    >>> found.eigenvalues.round(9).tolist()
    [4.0, 1.0]
    """
    matrix = np.asarray(covariance, dtype=np.float64)
    white = whiten(noise, ridge=ridge, name="the noise covariance")
    if matrix.shape != white.forward.shape:
        raise ValueError(f"the covariance is {matrix.shape}, the noise has {len(white.forward)} wavelengths")
    adjusted = white.forward @ matrix @ white.forward.T
    values, vectors = np.linalg.eigh((adjusted + adjusted.T) / 2)
    return _transform(mean, values, vectors.T @ white.forward, white.inverse @ vectors)


def _transform(mean: ArrayLike, values: Floats, forward: Floats, inverse: Floats) -> Transform:
    """By descending eigenvalue, signs fixed."""
    forward, inverse = forward[::-1], inverse[:, ::-1]
    sign = np.sign(forward[np.arange(len(forward)), np.abs(forward).argmax(axis=1)])
    return Transform(np.asarray(mean, dtype=np.float64), values[::-1], forward * sign[:, None], inverse * sign)
