"""Principal subspace: the few directions in which pixels differ most, and pixels expressed in them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

ROWS = 2048  # pixels a block: 7 MB of float64 at 426 wavelengths; enough for BLAS, far from a second sample


class Subspace(NamedTuple):
    """Where pixels lie and how far they spread.

    `mean` (L,): the mean spectrum, the origin of the subspace.
    `components` (k, L): orthonormal rows, by decreasing spread; the largest entry of each is positive.
    `singular_values` (k,): of the centred pixels; over sqrt(n - 1), standard deviations along components.
    `rank`: how many singular values of all the pixels, not only of the k kept, stand above `tolerance`.
    `tolerance`: the singular value that rounding alone can reach.
    """

    mean: Floats
    components: Floats
    singular_values: Floats
    rank: int
    tolerance: float


def principal_subspace(pixels: npt.NDArray[np.floating[Any]], dimensions: int) -> Subspace:
    """Find the `dimensions` orthogonal directions of largest variance.

    A simplex of p endmembers lies in p - 1 dimensions, so p endmembers need a rank of p - 1 at least.
    Reordering the pixels changes the result by rounding only.

    Parameters
    ----------
    pixels : (n, L) float32 or float64. NaN and infinity are refused.
    dimensions : 1 <= dimensions <= min(n, L).

    Returns
    -------
    Subspace

    Notes
    -----
    Tolerance: the largest of three roundings. Singular values are roots of eigenvalues, which are good to
    L eps times the largest: sqrt(L eps) of the largest singular value, 3e-7 at 426 wavelengths. Pixels were
    rounded when stored: noise of eps(dtype) times their root mean square has singular values up to
    (sqrt(n) + sqrt(L)) times that, however alike the pixels are. And so was the mean of a block.

    References
    ----------
    Jolliffe 2002, Principal component analysis. Chan, Golub & LeVeque 1983, Algorithms for computing the
    sample variance (the update of mean and scatter). Davidson & Szarek 2001 (the norm of a noise matrix).

    Examples
    --------
    >>> found = principal_subspace(np.array([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]]), 1)
    >>> found.rank, found.components.round(6).tolist()
    (1, [[0.6, 0.8]])
    """
    if pixels.ndim != 2 or pixels.dtype.kind != "f":
        raise ValueError(f"pixels are {pixels.ndim}-D {pixels.dtype}; they must be 2-D (n, wavelength) floats")
    if not 1 <= dimensions <= min(pixels.shape):
        raise ValueError(f"{dimensions} dimensions of {pixels.shape[0]} pixels x {pixels.shape[1]} wavelengths")
    mean, spread, axes = _decompose(pixels)
    tolerance = _tolerance(pixels, mean, spread)
    components = axes[:dimensions]
    largest = np.abs(components).argmax(axis=1)
    components = components * np.sign(components[np.arange(dimensions), largest])[:, None]
    rank = int((spread > tolerance).sum())
    return Subspace(mean, components, spread[:dimensions], rank, tolerance)


def reduce(pixels: npt.NDArray[np.floating[Any]], subspace: Subspace) -> Floats:
    """Express pixels in the subspace: (n, L) float -> (n, k) float64. A NaN anywhere makes its pixel NaN.

    >>> line = np.array([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]])
    >>> reduce(line, principal_subspace(line, 1)).ravel().round(6).tolist()
    [-5.0, 0.0, 5.0]
    """
    mean, components = subspace.mean, subspace.components
    if pixels.ndim != 2 or pixels.shape[1] != len(mean):
        raise ValueError(f"pixels of shape {pixels.shape}, the subspace has {len(mean)} wavelengths")
    out = np.empty((len(pixels), len(components)))
    for rows in _blocks(len(pixels)):
        out[rows] = (pixels[rows] - mean) @ components.T
    return out


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, start + ROWS) for start in range(0, count, ROWS))


def _decompose(pixels: npt.NDArray[np.floating[Any]]) -> tuple[Floats, Floats, Floats]:
    """Return mean (L,), singular values descending (r,) and their axes (r, L) of the centred pixels."""
    n, wavelengths = pixels.shape
    if n <= wavelengths:
        mean = _mean(pixels)
        _, spread, axes = np.linalg.svd(pixels - mean, full_matrices=False)
        return mean, spread, axes
    mean, scatter = _moments(pixels)
    eigenvalues, vectors = np.linalg.eigh(scatter)
    return mean, np.sqrt(np.maximum(eigenvalues[::-1], 0.0)), vectors.T[::-1]


def _moments(pixels: npt.NDArray[np.floating[Any]]) -> tuple[Floats, Floats]:
    """Return mean (L,) and scatter (L, L): one pass of float64 blocks, each centred on its own mean."""
    mean, scatter = np.zeros(pixels.shape[1]), np.zeros((pixels.shape[1],) * 2)
    for rows in _blocks(len(pixels)):
        block = pixels[rows].astype(np.float64)
        centre = _mean(block)
        block -= centre
        share = len(block) / (rows.start + len(block))
        scatter += block.T @ block
        scatter += np.outer(centre - mean, centre - mean) * (rows.start * share)
        mean += (centre - mean) * share
    return mean, scatter


def _mean(pixels: npt.NDArray[np.floating[Any]]) -> Floats:
    with np.errstate(invalid="ignore"):  # inf - inf: reported below
        mean: Floats = pixels.mean(axis=0, dtype=np.float64)
    if not np.isfinite(mean).all():
        raise ValueError("pixels contain NaN or infinity; drop those pixels first")
    return mean


def _tolerance(pixels: npt.NDArray[np.floating[Any]], mean: Floats, spread: Floats) -> float:
    """Return the singular value that rounding can reach: see the notes of `principal_subspace`."""
    n, wavelengths = pixels.shape
    eps = float(np.finfo(np.float64).eps)
    level = np.sqrt((spread @ spread / n + mean @ mean) / wavelengths)  # root mean square of all values
    solved = np.sqrt(wavelengths * eps) * spread[0]
    stored = np.finfo(pixels.dtype).eps * level * (np.sqrt(n) + np.sqrt(wavelengths))
    summed = min(n, ROWS) * eps * level * np.sqrt(n * wavelengths)  # the same error in every pixel
    return float(max(solved, stored, summed))
