"""Covariance matrices made white, and what is wrong with those that cannot be."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Whitening(NamedTuple):
    """forward (L, L) with forward C forward' = 1, and its inverse (L, L); forward' forward is the inverse of C."""

    forward: Floats
    inverse: Floats


def whiten(covariance: ArrayLike, *, ridge: float = 0.0, name: str = "the covariance") -> Whitening:
    """The transform after which variables of this covariance are uncorrelated and have variance 1.

    Parameters
    ----------
    covariance : (L, L) symmetric, or (L,) variances of uncorrelated variables.
    ridge : share of every variance that is added to it. 0 refuses a singular matrix; 1e-6 makes any invertible.
    name : what an error calls the matrix.

    Raises
    ------
    ValueError : not square, not finite, a variance of zero or below, or singular.

    Examples
    --------
    >>> whiten([4.0, 0.25]).forward.tolist()
    [[0.5, 0.0], [0.0, 2.0]]
    """
    matrix, scale = _scaled(covariance, name)
    if np.ndim(covariance) == 1:
        scale = scale * np.sqrt(1.0 + ridge)
        return Whitening(np.diag(1.0 / scale), np.diag(scale))
    values, vectors = np.linalg.eigh(matrix)  # scaled: one loud wavelength does not hide how singular the others are
    values = values + ridge
    rounding = len(values) * np.finfo(np.float64).eps * values[-1]
    if (rank := int((values > rounding).sum())) < len(values):
        raise ValueError(
            f"{name} of {len(values)} wavelengths has rank {rank}: there are too few pixels or wavelengths repeat "
            f"each other; leave out wavelengths, or add a ridge of 1e-6"
        )
    root = np.sqrt(values)
    return Whitening(vectors.T / root[:, None] / scale, scale[:, None] * vectors * root)


def _scaled(covariance: ArrayLike, name: str) -> tuple[Floats, Floats]:
    """The matrix with a diagonal of one, and the standard deviations that it was divided by."""
    matrix = np.asarray(covariance, dtype=np.float64)
    if matrix.ndim not in (1, 2) or (matrix.ndim == 2 and matrix.shape[0] != matrix.shape[1]) or not matrix.size:
        raise ValueError(f"{name} must be (L, L), or (L,) variances, not of shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name} has {np.count_nonzero(~np.isfinite(matrix))} values that are not finite")
    variances = matrix if matrix.ndim == 1 else matrix.diagonal()
    if (flat := np.flatnonzero(variances <= 0)).size:
        raise ValueError(f"{name} has no variance at {flat.size} wavelengths, first at index {flat[0]}; leave them out")
    scale = np.sqrt(variances)
    return (matrix if matrix.ndim == 1 else matrix / np.outer(scale, scale)), scale
