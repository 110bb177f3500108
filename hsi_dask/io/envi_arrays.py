"""The numbers of ENVI images, read from a plain file by regions that lie together.

They are read with `pread` and not through a memory map: a file that is cut short under it, or a network file system
that fails, would end the process, and pages of a map count as its memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.errors import FileFormatError
from hsi_dask.io.chunked import ChunkedArray, Want, take
from hsi_dask.io.readers import file_identity
from hsi_dask.sources import Index, Spread

_CHUNK_BYTES = 2**20  # read together: whole lines, or rows of one band
_GAP_BYTES = 2**16  # less than this is read over: a call of its own would take longer
# By interleave, which of y, x, band each dimension in the file is
ORDERS = {"bsq": (2, 0, 1), "bil": (0, 2, 1), "bip": (0, 1, 2)}


class _Region(NamedTuple):
    """Numbers that lie together in the file, and what is wanted of them.

    start : of the first number
    shape : by the file's dimensions
    target : where what is wanted goes, along the first two dimensions
    wanted : of the region, along its dimensions
    """

    start: int
    shape: tuple[int, int, int]
    target: tuple[slice, slice]
    wanted: tuple[Index, Index, Index]


@dataclass(frozen=True)
class EnviArray(ChunkedArray):
    """The numbers (y, x, band) of an ENVI image; a file that changed since is refused.

    stored : dtype with the file's byte order
    offset : bytes before the first number
    """

    path: str
    shape: tuple[int, ...]
    stored: np.dtype[Any]
    interleave: str
    offset: int
    file_size: int
    mtime_ns: int

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        return self.stored.newbyteorder("=")

    @property
    def stored_chunks(self) -> tuple[int, ...]:  # type: ignore[override]
        rows, columns, bands = self.shape
        deep = 1 if self.interleave == "bsq" else bands
        return max(1, min(rows, _CHUNK_BYTES // (columns * deep * self.stored.itemsize))), columns, deep

    def fill(self, wanted: tuple[Want, ...], out: NDArray[Any], spread: Spread) -> None:
        if file_identity(self.path) != (self.file_size, self.mtime_ns):
            raise FileFormatError(f"{self.path} changed since it was opened; open it again")
        order = ORDERS[self.interleave]
        index = tuple(wanted[axis].along for axis in order)
        regions = list(_regions(index, tuple(self.shape[axis] for axis in order), self.stored.itemsize))
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            for _ in spread(partial(self._read, descriptor, out.transpose(order)), regions):
                pass
        finally:
            os.close(descriptor)

    def _read(self, descriptor: int, target: NDArray[Any], region: _Region) -> None:
        count = int(np.prod(region.shape)) * self.stored.itemsize
        data = os.pread(descriptor, count, self.offset + region.start * self.stored.itemsize)
        if len(data) != count:
            raise FileFormatError(f"{self.path} is cut short: {len(data)} bytes instead of {count}; copy it again")
        target[region.target] = take(np.frombuffer(data, self.stored).reshape(region.shape), region.wanted)


def _regions(index: tuple[Index, ...], shape: tuple[int, ...], itemsize: int) -> Iterator[_Region]:
    """What an ascending index along the file's dimensions asks of the file, in few reads."""
    first, second, third = (_numbers(one) for one in index)
    line, plane = shape[2], shape[1] * shape[2]
    low, high = int(third[0]), int(third[-1]) + 1
    narrow = (line - (high - low)) * itemsize > _GAP_BYTES
    runs = list(_runs(second, 1 if narrow else 1 + _GAP_BYTES // (line * itemsize)))
    whole = len(runs) == 1 and not narrow and second[0] == 0 and second[-1] == shape[1] - 1
    most = max(1, _CHUNK_BYTES // (plane * itemsize)) if whole else 1
    for top, stop in _runs(first, 1, most):
        for left, right in runs:
            a, b = int(second[left]), int(second[right - 1]) + 1
            start = int(first[top]) * plane + a * line
            if narrow:  # of each line only what is wanted
                for n in range(left, right):
                    at = start + (int(second[n]) - a) * line + low
                    yield _Region(at, (1, 1, high - low), (slice(top, stop), slice(n, n + 1)),
                                  (slice(0, 1), slice(0, 1), third - low))  # fmt: skip
                continue
            size = (int(first[stop - 1]) - int(first[top]) + 1, b - a, line)
            yield _Region(start, size, (slice(top, stop), slice(left, right)),
                          (slice(0, size[0]), _plain(second[left:right] - a), _plain(third)))  # fmt: skip


def _numbers(index: Index) -> NDArray[np.intp]:
    return np.arange(index.start, index.stop) if isinstance(index, slice) else index


def _plain(index: NDArray[np.intp]) -> Index:
    """A slice where that is the same."""
    return slice(int(index[0]), int(index[-1]) + 1) if index[-1] - index[0] + 1 == index.size else index


def _runs(index: NDArray[np.intp], step: int, most: int | None = None) -> Iterator[tuple[int, int]]:
    """Positions (first, stop) of what follows each other with steps up to this, at most so many together."""
    breaks = [0, *(np.flatnonzero(np.diff(index) > step) + 1).tolist(), index.size]
    for first, stop in pairwise(breaks):
        for start in range(first, stop, most or stop):
            yield start, min(stop, start + (most or stop))
