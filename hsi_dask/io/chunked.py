"""Stored cubes by chunks: any index is worked out once as what it asks of each chunk, and read, each chunk once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise, product
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.sources import Index, Piece, Spread

if TYPE_CHECKING:
    from hsi_dask.io.blocks import StoredCube

PIECE_BYTES = 2 * 2**20  # of a piece with all its planes: it is still in cache when it is used
PIECE_PLANES = 61  # of a piece of whole planes: what is summed over them goes through memory once a piece
PLANES_BYTES = 128 * 2**20  # of such a piece


class Part(NamedTuple):
    """What an index asks of one chunk along one dimension: where from and where to, in few runs."""

    number: int
    runs: list[tuple[Index, slice]]


class Want(NamedTuple):
    """An ascending index along one dimension, and what it asks of each chunk."""

    along: Index
    parts: list[Part]


Cut = tuple[Want, slice]  # of an index along one dimension: what a piece asks for, and where it stands in the whole


class ChunkedArray(ABC):
    """A stored array as a lazy one: facts only, so that it pickles and travels in a graph; no handle inside.

    Indexing reads, orthogonally (slices, integers and integer arrays, as xarray's outer indexing). A third
    dimension is held in memory as contiguous planes, seen as (y, x, plane). Who makes one says how it is read in
    `fill`, and what `shape`, `dtype` (native) and `stored_chunks` are: parts that are cheap to read by themselves.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stored_chunks: tuple[int, ...]

    @abstractmethod
    def fill(self, wanted: tuple[Want, ...], out: NDArray[Any], spread: Spread) -> None:
        """Put what is wanted along each dimension, never nothing, into `out`; `spread` maps over single reads."""

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        key = key if isinstance(key, tuple) else (key,)
        key = (*key, *(slice(None),) * (self.ndim - len(key)))
        normal = tuple(_normalise(k, n) for k, n in zip(key, self.shape, strict=True))
        wanted = tuple(_want(index, chunk) for (index, _), chunk in zip(normal, self.stored_chunks, strict=True))
        sizes = [length(want.along) for want in wanted]
        values = planes_first(sizes, self.dtype)
        if all(sizes):
            self.fill(wanted, values, map)
        for axis in reversed(range(self.ndim)):
            values = values[(*(slice(None),) * axis, normal[axis][1])]
        return values

    def pieces(self, key: tuple[slice, slice, NDArray[np.intp]], spread: Spread = map) -> Iterator[Piece]:
        """What a key (y and x slices, ascending planes) asks for, as stored numbers piece by piece.

        A piece is (y, x, plane) with contiguous planes: few pixels and all their planes, so that it stays in
        cache, or where chunks hold whole planes a group of planes. Pieces of the same pixels follow each other;
        every chunk is read once; a piece is good until the next one. `spread` maps over the reads of a piece: a
        thread pool's `map` shares them out.
        """
        return chain.from_iterable(self.piece_groups(key, 1, spread))

    def piece_groups(
        self, key: tuple[slice, slice, NDArray[np.intp]], count: int, spread: Spread = map
    ) -> Iterator[list[Piece]]:
        """The same pieces, up to `count` of whole planes read at a time: they are good until the next group."""
        buffer, planes = np.empty(0, self.dtype), self._together(key)[2]
        for cuts in self.cuts(key, count):
            wanted, targets = zip(*cuts, strict=True)
            height, width, deep = map(length, targets)
            if buffer.size < height * width * deep:
                buffer = np.empty(height * width * deep, self.dtype)
            out = buffer[: height * width * deep].reshape(deep, height, width).transpose(1, 2, 0)
            self.fill(wanted, out, spread)
            starts = [part.runs[0][1].start for part in wanted[2].parts[::planes]]
            first = targets[2].start
            yield [
                Piece(out[:, :, a:b], (*targets[:2], slice(first + a, first + b))) for a, b in pairwise([*starts, deep])
            ]

    def read_to(self, key: tuple[slice, slice, NDArray[np.intp]], out: NDArray[Any], spread: Spread = map) -> None:
        """Put what a key asks for to `out` (y, x, plane), each chunk read once; `spread` maps over the reads."""
        index = tuple(_normalise(k, n)[0] for k, n in zip(key, self.shape, strict=True))
        if all(map(length, index)):
            self.fill(tuple(map(_want, index, self.stored_chunks)), out, spread)

    def cuts(self, key: tuple[slice, slice, NDArray[np.intp]], count: int = 1) -> Iterator[tuple[Cut, ...]]:
        """What each group of up to `count` pieces of a key asks of the chunks."""
        index = tuple(_normalise(k, n)[0] for k, n in zip(key, self.shape, strict=True))
        down, across, planes = self._together(key)
        along = zip(index, self.stored_chunks, (down, across, planes * count), strict=True)
        # what is asked of chunks along one dimension is worked out once, not for each of hundreds of pieces
        yield from product(*(list(_cuts(*of)) for of in along))

    def _together(self, key: tuple[slice, slice, NDArray[np.intp]]) -> tuple[int, int, int]:
        """How many chunks a piece of a key has along each dimension."""
        index = tuple(_normalise(k, n)[0] for k, n in zip(key, self.shape, strict=True))
        down, across, deep = self.stored_chunks
        column = down * across * max(1, length(index[2])) * self.dtype.itemsize  # chunks of the same pixels
        if column <= PIECE_BYTES:
            return 1, PIECE_BYTES // column, self.shape[2]
        plane = max(1, length(index[0]) * length(index[1])) * self.dtype.itemsize
        return self.shape[0], self.shape[1], max(1, min(PIECE_PLANES, PLANES_BYTES // plane) // deep)


@dataclass(frozen=True, eq=False)
class AsAnother(ChunkedArray):
    """An array of the shape, type and chunks of a stored one, which is read in another way."""

    stored: StoredCube

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return self.stored.shape

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        return self.stored.dtype

    @property
    def stored_chunks(self) -> tuple[int, ...]:  # type: ignore[override]
        return self.stored.stored_chunks


class InMemory(ChunkedArray):
    """Numbers (y, x, wavelength) in memory as a stored cube: of formats that can only be read whole."""

    def __init__(self, values: NDArray[Any]) -> None:
        self.values = np.asarray(values, values.dtype.newbyteorder("="))
        self.shape, self.dtype, self.stored_chunks = values.shape, self.values.dtype, values.shape

    def fill(self, wanted: tuple[Want, ...], out: NDArray[Any], spread: Spread) -> None:
        out[...] = take(self.values, tuple(want.along for want in wanted))


def planes_first(sizes: list[int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Room for an array of these sizes; planes along a third dimension are contiguous."""
    planes = (2, 0, 1) if len(sizes) == 3 else tuple(range(len(sizes)))
    return np.empty([sizes[axis] for axis in planes], dtype).transpose(np.argsort(planes))


def length(index: Index) -> int:
    return index.stop - index.start if isinstance(index, slice) else index.size


def take(chunk: NDArray[Any], sources: tuple[Index, ...]) -> NDArray[Any]:
    """An orthogonal index of an array."""
    if all(isinstance(source, slice) for source in sources):
        return chunk[sources]
    for axis, source in enumerate(sources):
        chunk = chunk[(*(slice(None),) * axis, source)]
    return chunk


def put(chunk: NDArray[Any], parts: tuple[Part, ...], out: NDArray[Any]) -> None:
    """What the parts ask of a chunk, to its places in `out`."""
    for runs in product(*(p.runs for p in parts)):
        out[tuple(t for _, t in runs)] = take(chunk, tuple(s for s, _ in runs))


def read_into(stored: Any, index: tuple[Index, ...], out: NDArray[Any], spread: Spread) -> None:
    """What an ascending index asks of any stored array, to `out`."""
    if not isinstance(stored, ChunkedArray):
        out[...] = stored[index]
    elif all(map(length, index)):
        stored.fill(tuple(map(_want, index, stored.stored_chunks)), out, spread)


def narrowed(index: Index, parts: list[Part], chunk: int) -> Cut:
    """Of an ascending index what it asks of some chunks that follow each other, and where that stands in the whole."""
    target = slice(parts[0].runs[0][1].start, parts[-1].runs[-1][1].stop)
    first = index.start if isinstance(index, slice) else 0
    within = slice(first + target.start, first + target.stop)
    return _want(within if isinstance(index, slice) else index[within], chunk), target


def _normalise(key: Any, size: int) -> tuple[Index, Any]:
    """One dimension's key as an ascending index to read, and the key into what was read."""
    if isinstance(key, slice):
        start, stop, step = key.indices(size)
        if step == 1:
            return slice(start, max(start, stop)), slice(None)
        key = np.arange(start, stop, step)
    if np.ndim(key) == 0:
        at = range(size)[int(key)]
        return slice(at, at + 1), 0
    key = np.asarray(key)
    key = np.flatnonzero(key) if key.dtype == bool else key.astype(np.intp)
    if key.size and (key.min() < -size or key.max() >= size):
        raise IndexError(f"index {key.min()}..{key.max()} is outside a dimension of size {size}")
    wanted, back = np.unique(np.where(key < 0, key + size, key), return_inverse=True)
    if wanted.size and wanted[-1] - wanted[0] + 1 == wanted.size:
        return slice(int(wanted[0]), int(wanted[-1]) + 1), slice(None) if _is_range(back) else back
    return wanted, slice(None) if _is_range(back) else back


def _is_range(index: NDArray[np.intp]) -> bool:
    return bool((index == np.arange(index.size)).all())


def _want(index: Index, chunk: int) -> Want:
    return Want(index, list(_parts(index, chunk)))


def _parts(index: Index, chunk: int) -> Iterator[Part]:
    """The chunks that an ascending index touches, each once."""
    if not length(index):
        return
    if isinstance(index, slice):
        for number in range(index.start // chunk, ceil(index.stop / chunk)):
            start, stop = max(index.start, number * chunk), min(index.stop, (number + 1) * chunk)
            source = slice(start - number * chunk, stop - number * chunk)
            yield Part(number, [(source, slice(start - index.start, stop - index.start))])
        return
    numbers, first = np.unique(index // chunk, return_index=True)
    for number, start, stop in zip(numbers.tolist(), first.tolist(), [*first[1:].tolist(), index.size], strict=True):
        yield Part(number, _runs(index[start:stop] - number * chunk, start))


def _cuts(index: Index, chunk: int, together: int) -> Iterator[Cut]:
    """An ascending index cut after so many of the chunks it touches: each part, and where it stands in the whole."""
    parts = list(_parts(index, chunk))
    yield from (narrowed(index, parts[first : first + together], chunk) for first in range(0, len(parts), together))


def _runs(source: NDArray[np.intp], target: int) -> list[tuple[Index, slice]]:
    """An ascending index as slices where it has few gaps: copying slices is several times faster."""
    if source[-1] - source[0] + 1 == source.size:  # in chunks of one plane, hundreds of times
        return [(slice(int(source[0]), int(source[-1]) + 1), slice(target, target + source.size))]
    breaks = [0, *(np.flatnonzero(np.diff(source) > 1) + 1).tolist(), source.size]
    if len(breaks) > 4:
        return [(source, slice(target, target + source.size))]
    return [(slice(int(source[a]), int(source[b - 1]) + 1), slice(target + a, target + b)) for a, b in pairwise(breaks)]
