"""Pixels that are extreme along directions, and pixels farthest from the span of others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsi_dask.kernels.compiled import compiled

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

SPANNED = 1e-24  # of the largest energy: below this a pixel lies in the span of others, but for rounding
_DIRECTIONS = 256  # at a time: the products of 20 000 pixels are then 40 MB


def successive(points: NDArray[np.floating[Any]], count: int) -> tuple[Indices, Floats]:
    """`count` times the point (n, k) farthest from the span of those before; first the one farthest from zero.

    Of equal points the first is named; but for such ties the order of the points changes no bit.

    Returns
    -------
    indices (count,), and the distances (count,) at which they were found.
    """
    rest = np.asarray(points, dtype=np.float64).copy()
    indices, distances = np.empty(count, np.intp), np.empty(count)
    axis = np.zeros(rest.shape[1])
    largest = 0.0
    for step in range(count):
        indices[step], energy = _deflate(rest, axis)
        largest = max(largest, energy)
        if energy <= SPANNED * largest:
            raise ValueError(f"the pixels span too few dimensions for {count} endmembers; ask for {step} at most")
        distances[step] = np.sqrt(energy)
        axis = rest[indices[step]] / distances[step]
    return indices, distances


@compiled()
def _deflate(rest: Any, axis: Any) -> Any:
    """Take an axis out of every point, in place; the first of the largest that remain, and its energy."""
    best, farthest = -1.0, 0
    for i in range(rest.shape[0]):
        point = rest[i]
        along = 0.0
        for k in range(axis.size):
            along += point[k] * axis[k]
        energy = 0.0
        for k in range(axis.size):
            point[k] -= along * axis[k]
            energy += point[k] * point[k]
        if energy > best:
            best, farthest = energy, i
    return farthest, best


def extremes(points: Floats, directions: Floats) -> tuple[Indices, Indices]:
    """Of the points (n, k), those with the smallest and the largest product with each of the directions (m, k)."""
    low, high = np.empty((2, len(directions)), np.intp)
    for start in range(0, len(directions), _DIRECTIONS):
        some = slice(start, start + _DIRECTIONS)
        products = directions[some] @ points.T
        low[some], high[some] = products.argmin(axis=1), products.argmax(axis=1)
    return low, high
