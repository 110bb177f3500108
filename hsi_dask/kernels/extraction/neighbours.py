"""The pixels nearest to some points: exact, and boxes of pixels that lie farther than those found are passed over."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsi_dask.kernels.compiled import as_input, compiled

_TILE = 128  # pixels of a box: they follow each other in a row of the scene, and are alike
_FIRST = 4  # planes by which most pixels are ruled out
_STEP = 61  # every so many pixels are looked at first: they tell how far the nearest can be at most


def neighbours(
    planes: NDArray[Any],
    points: NDArray[np.float64],
    most: int,
    *,
    unit: bool = False,
    pixels: slice = slice(None),
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Squared distances of the `most` pixels nearest to each point, and which pixels they are.

    Parameters
    ----------
    planes : (r, n) float, pixels side by side; contiguous ones are not copied. A pixel with NaN is left out.
    points : (m, r).
    most : 1 or more.
    unit : scale pixels and points to length 1 first, so that the distance is that of their angle alone; a pixel of
        zeros stays where it is.
    pixels : of the n, those that are looked at.

    Returns
    -------
    (m, most) float64 squared distances, ascending, infinite where there are fewer pixels; (m, most) int64 numbers of
    these pixels, -1 where there are fewer. Of equal distances the smaller number comes first.

    Notes
    -----
    A distance is summed plane by plane, in one order for every pixel. The same sum over the sides of a box is never
    larger, digit for digit, so what a box rules out is not among the nearest.

    Examples
    --------
    >>> planes = np.array([[0.0, 1.0, 2.0, np.nan], [0.0, 0.0, 0.0, 0.0]])
    >>> squares, found = neighbours(planes, np.array([[1.9, 0.0]]), 2)
    >>> found.tolist(), squares.round(12).tolist()
    ([[2, 1]], [[0.01, 0.81]])
    """
    values = as_input(planes, None if planes.dtype == np.float32 else np.float64)
    wanted = np.array(points, np.float64)
    if unit:
        squares = sum(row * row for row in wanted.T)  # in the order of the pixels', so that a point is at no distance
        wanted *= np.where(squares == 0, 1.0, 1.0 / np.sqrt(np.where(squares == 0, 1.0, squares)))[:, None]
    wanted = as_input(wanted)
    first, last, _ = pixels.indices(values.shape[1])

    def look(step: int, bounds: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        shape = len(wanted), most
        scores, found = np.full(shape, np.inf), np.full(shape, -1, np.int64)
        _look(values, first, last, step, wanted, as_input(bounds), unit, scores, found)
        return scores, found

    few, _ = look(_STEP, np.full(len(wanted), np.inf))
    return look(1, few[:, -1])


@compiled()  # no contraction: a box's sum and a pixel's have to round alike
def _look(  # type: ignore[no-untyped-def]
    planes, first, last, step, points, bounds, unit, scores, found
):
    r, most = planes.shape[0], scores.shape[1]
    few = min(_FIRST, r)
    near = np.empty((few, _TILE))
    scale, squares = np.ones(_TILE), np.empty(_TILE)
    low, high = np.empty(few), np.empty(few)
    for start in range(first, last, _TILE * step):
        size = min(_TILE, (last - start + step - 1) // step)
        if unit:
            for i in range(size):
                squares[i] = 0.0
            for x in range(r):
                for i in range(size):
                    value = np.float64(planes[x, start + i * step])
                    squares[i] += value * value
            for i in range(size):
                scale[i] = 1.0 if squares[i] == 0.0 else 1.0 / np.sqrt(squares[i])
        for x in range(few):
            least, largest = np.inf, -np.inf
            for i in range(size):
                value = np.float64(planes[x, start + i * step]) * scale[i]
                near[x, i] = value
                least = value if value < least else least  # NaN is neither
                largest = value if value > largest else largest
            low[x], high[x] = least, largest
        for j in range(points.shape[0]):
            limit = min(bounds[j], scores[j, most - 1])
            below = 0.0
            for x in range(few):
                aside = max(low[x] - points[j, x], points[j, x] - high[x], 0.0)
                below += aside * aside
            if below > limit:
                continue
            for i in range(size):
                squares[i] = 0.0
            for x in range(few):
                for i in range(size):
                    squares[i] += (near[x, i] - points[j, x]) * (near[x, i] - points[j, x])
            for i in range(size):
                if not squares[i] <= limit:
                    continue
                pixel, square = start + i * step, squares[i]
                for x in range(few, r):
                    aside = np.float64(planes[x, pixel]) * scale[i] - points[j, x]
                    square += aside * aside
                if not (square <= bounds[j] and square < scores[j, most - 1]):
                    continue
                place = most - 1
                while place > 0 and scores[j, place - 1] > square:
                    scores[j, place], found[j, place] = scores[j, place - 1], found[j, place - 1]
                    place -= 1
                scores[j, place], found[j, place] = square, pixel
                limit = min(bounds[j], scores[j, most - 1])
