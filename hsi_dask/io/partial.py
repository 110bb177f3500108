"""Stored cubes of which only some chunks are read: where nobody looks, there is no data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsi_dask.io.chunked import AsAnother, Cut, Part, Want, narrowed, read_into
from hsi_dask.sources import Spread


@dataclass(frozen=True, eq=False)
class PartOfCube(AsAnother):
    """A stored cube (y, x, wavelength) read only in some of its chunks; elsewhere it holds the fill value.

    stored : the whole
    needed : (down, across) bool, by chunk along y and x
    void : what it holds elsewhere
    """

    needed: NDArray[np.bool_]
    void: float

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        from dask.base import normalize_token

        return type(self).__name__, normalize_token(self.stored), self.needed.tobytes(), self.void

    @property
    def is_partial(self) -> bool:
        """Whether `pieces` leaves out pixels."""
        return True

    def cuts(self, key: tuple[slice, slice, NDArray[np.intp]], count: int = 1) -> Iterator[tuple[Cut, ...]]:
        """As of `ChunkedArray`, without those in which nothing is needed."""
        return filter(self._is_needed, super().cuts(key, count))

    def _is_needed(self, piece: tuple[Cut, ...]) -> bool:
        down, across = ([part.number for part in want.parts] for want, _ in piece[:2])
        return bool(self.needed[np.ix_(down, across)].any())

    def fill(self, wanted: tuple[Want, ...], out: NDArray[Any], spread: Spread) -> None:
        """As of `ChunkedArray`: what is needed in rectangles of whole chunks, so that neighbours are read together."""
        down, across, deep = wanted
        for is_needed, rows, columns in self._rectangles(down.parts, across.parts):
            (y, to_rows), (x, to_columns) = (
                narrowed(want.along, parts, chunk)
                for want, parts, chunk in zip((down, across), (rows, columns), self.stored_chunks, strict=False)
            )
            target = out[to_rows, to_columns]
            if not is_needed:
                target.fill(self.void)
            else:
                read_into(self.stored, (y.along, x.along, deep.along), target, spread)

    def _rectangles(self, down: list[Part], across: list[Part]) -> Iterator[tuple[bool, list[Part], list[Part]]]:
        """Parts of chunks, all needed or none: rows of chunks that are needed alike, cut where that changes."""
        columns = [part.number for part in across]
        for alike, rows in groupby(down, lambda part: self.needed[part.number, columns].tobytes()):
            runs = groupby(zip(across, np.frombuffer(alike, bool), strict=True), lambda pair: bool(pair[1]))
            together = list(rows)
            yield from ((is_needed, together, [part for part, _ in run]) for is_needed, run in runs)


def chunks_touched(inside: NDArray[np.bool_], stored_chunks: tuple[int, ...]) -> NDArray[np.bool_]:
    """(down, across) bool: the chunks along y and x with a pixel that is inside.

    Examples
    --------
    >>> chunks_touched(np.array([[False, False, True], [False, False, False]]), (2, 2, 1)).tolist()
    [[False, True]]
    """
    found = inside
    for axis in (0, 1):
        found = np.logical_or.reduceat(found, np.arange(0, inside.shape[axis], stored_chunks[axis]), axis=axis)
    return found
