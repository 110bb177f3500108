"""Change between two maps of the same pixels: transitions of classes, balances of fractions, what exceeds its error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_CLASS = 255  # no data in maps of classes and of what is significant
UNCHANGED, BECAME_UNCLASSIFIED, NO_CHANGE_KNOWN = 0, 255, -1
WITHIN_ERROR, DECREASE, INCREASE = 0, 1, 2
SUMS = ("pixels", "before", "after", "gained", "lost", "std")


def transitions(before: NDArray[np.uint8], after: NDArray[np.uint8], values: Sequence[int]) -> NDArray[np.int64]:
    """How many pixels went from each class to each other.

    Parameters
    ----------
    before, after : (...) uint8 classes of the same pixels, 255 where no data
    values : the k classes that are counted, in this order; pixels of others do not count

    Returns
    -------
    (k, k) : from (rows) and to (columns)

    Examples
    --------
    >>> transitions(np.array([1, 1, 2, 255], "uint8"), np.array([1, 2, 2, 2], "uint8"), [1, 2])
    array([[1, 1],
           [0, 1]])
    """
    k = len(values)
    place = np.full(256, k, np.intp)
    place[list(values)] = np.arange(k)
    pairs = place[before].ravel() * (k + 1) + place[after].ravel()
    counts = np.bincount(pairs, minlength=(k + 1) ** 2).reshape(k + 1, k + 1)
    return np.asarray(counts[:k, :k], np.int64)


def class_change(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.int16]:
    """What each pixel became: 0 the same as before, n class n, 255 unclassified, -1 no data in one of the maps."""
    became = np.where(after == 0, BECAME_UNCLASSIFIED, after).astype(np.int16)
    became[before == after] = UNCHANGED
    became[(before == NO_CLASS) | (after == NO_CLASS)] = NO_CHANGE_KNOWN
    return became


def change_std(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float32]:
    """Standard deviation of a difference from those of both sides, whose errors are independent."""
    return np.hypot(before, after)


def significance(change: NDArray[np.float32], std: NDArray[np.float32], z: float) -> NDArray[np.uint8]:
    """Whether a change is larger than z standard deviations: 0 no, 1 a decrease, 2 an increase, 255 unknown.

    Examples
    --------
    >>> significance(np.array([0.1, -0.3, 0.3, np.nan]), np.full(4, 0.1), 1.96)
    array([  0,   1,   2, 255], dtype=uint8)
    """
    with np.errstate(invalid="ignore"):
        larger = np.abs(change) > z * std
        found = np.where(larger, np.where(change > 0, INCREASE, DECREASE), WITHIN_ERROR).astype(np.uint8)
    found[~(np.isfinite(change) & np.isfinite(std))] = NO_CLASS
    return found


def balance(
    before: NDArray[np.float32], after: NDArray[np.float32], std: NDArray[np.float32] | None = None
) -> NDArray[np.float64]:
    """Sums over the pixels that have a value in both maps.

    Parameters
    ----------
    before, after : (plane, y, x)
    std : of the difference, the same shape

    Returns
    -------
    (plane, 6) : pixels; sums of `before`, of `after`, of what was gained, of what was lost (not negative) and of
        `std`, NaN without it

    Examples
    --------
    >>> balance(np.array([[[0.2, 0.5, np.nan]]]), np.array([[[0.6, 0.4, 1.0]]])).round(3)
    array([[2. , 0.7, 1. , 0.4, 0.1, nan]])
    """
    change = after.astype(np.float64) - before
    known = np.isfinite(change)

    def total(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(np.where(known, values, 0).sum(axis=(1, 2), dtype=np.float64))

    unsure = np.full(len(change), np.nan) if std is None else total(std)
    sums = [known.sum(axis=(1, 2)), total(before), total(after), total(change.clip(0)), total((-change).clip(0))]
    return np.stack([*sums, unsure], axis=-1)
