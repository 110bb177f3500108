"""Lazy chunked HDF5 reading that scales with cores: raw chunk reads, inflated without the HDF5 lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import pairwise, product
from math import ceil, prod
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import imagecodecs
import numpy as np
from numpy.typing import NDArray

from hsi_dask.errors import FileFormatError

BLOCK_BYTES = 32 * 2**20  # stored bytes of one dask block: a few blocks a thread stay far below 1 GB
PIECE_BYTES = 2 * 2**20  # of a piece with all its planes: it is still in cache when it is used
PIECE_PLANES = 61  # of a piece of whole planes: what is summed over them goes through memory once a piece
PLANES_BYTES = 128 * 2**20  # of such a piece
READ_BYTES = 2**20  # chunks that lie together are read together up to this: fewer trips to a network file system
MAX_CHUNK_BYTES = 2**30  # a larger chunk is a damaged header: one band of the longest flight line is 25 MB
_DEFLATE, _SHUFFLE = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE

Index = slice | NDArray[np.intp]
Spread = Callable[..., Iterable[Any]]  # `map`, or what does the same in threads
_Place = tuple[int, int, int]  # of a stored chunk: offset, size, mask of the filters left out


@dataclass(frozen=True)
class StoredArray:
    """One dataset of an HDF5 file as a lazy array: facts only, so that it pickles and travels in a graph.

    Indexing reads, orthogonally (slices, integers and integer arrays, as xarray's outer indexing). A third
    dimension is held in memory as contiguous planes, seen as (y, x, plane). A file that changed since the
    facts were taken is refused.
    """

    path: str
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stored_chunks: tuple[int, ...]
    file_size: int
    mtime_ns: int
    scale_factor: float | None = None  # set by `masked`: float32 with NaN instead of the stored numbers
    fill_value: float | None = None

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        what = (self.path, self.name, self.file_size, self.mtime_ns)
        return (type(self).__name__, *what, self.shape, str(self.dtype), self.scale_factor, self.fill_value)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        key = key if isinstance(key, tuple) else (key,)
        key = (*key, *(slice(None),) * (self.ndim - len(key)))
        rows = tuple(_normalise(k, n) for k, n in zip(key, self.shape, strict=True))
        wanted = tuple(_want(index, chunk) for (index, _), chunk in zip(rows, self.stored_chunks, strict=True))
        values = _decode(_read(self, wanted), self)
        for axis in reversed(range(self.ndim)):
            values = values[(*(slice(None),) * axis, rows[axis][1])]
        return values

    def pieces(self, key: tuple[slice, slice, NDArray[np.intp]], spread: Spread = map) -> Iterator[Piece]:
        """What a key (y and x slices, ascending planes) asks for, as stored numbers piece by piece.

        A piece is (y, x, plane) with contiguous planes: few pixels and all their planes, so that it stays in
        cache, or where chunks hold whole planes a group of planes. Pieces of the same pixels follow each other;
        every chunk is read once; a piece is good until the next one. `spread` maps over the reads of a piece: a
        thread pool's `map` shares them out.
        """
        if self.scale_factor is not None or self.ndim != 3:
            raise TypeError("pieces are stored numbers of three dimensions")
        index = tuple(_normalise(k, n)[0] for k, n in zip(key, self.shape, strict=True))
        down, across, deep = self.stored_chunks
        column = down * across * max(1, _length(index[2])) * self.dtype.itemsize  # chunks of the same pixels
        if column <= PIECE_BYTES:
            together: tuple[int, ...] = (1, PIECE_BYTES // column, self.shape[2])
        else:
            plane = max(1, _length(index[0]) * _length(index[1])) * self.dtype.itemsize
            together = (*self.shape[:2], max(1, min(PIECE_PLANES, PLANES_BYTES // plane) // deep))
        buffer = np.empty(0, self.dtype)
        # what is asked of chunks along one dimension is worked out once, not for each of hundreds of pieces
        for cuts in product(*(list(_cuts(*along)) for along in zip(index, self.stored_chunks, together, strict=True))):
            height, width, planes = (_length(target) for _, target in cuts)
            if buffer.size < height * width * planes:
                buffer = np.empty(height * width * planes, self.dtype)
            out = buffer[: height * width * planes].reshape(planes, height, width).transpose(1, 2, 0)
            wanted, targets = zip(*cuts, strict=True)
            yield Piece(_read(self, wanted, out, spread), targets)

    def masked(self, scale_factor: float, fill_value: float | None) -> StoredArray:
        """The same data as float32: divided by the scale, NaN where it equals the fill value."""
        return replace(self, dtype=np.dtype("float32"), scale_factor=scale_factor, fill_value=fill_value)


class Piece(NamedTuple):
    """Stored numbers of some pixels and planes, and their place in what was asked for."""

    values: NDArray[Any]
    place: tuple[slice, ...]


class _ChunkIndex(NamedTuple):
    """Where a dataset's chunks lie in the file; `raw` is False where only the HDF5 library can read them."""

    raw: bool
    dtype: np.dtype[Any]
    filters: tuple[int, ...]
    fill: Any
    where: dict[tuple[int, ...], _Place]  # by chunk number


class _Part(NamedTuple):
    """What an index asks of one chunk along one dimension: where from and where to, in few runs."""

    number: int
    runs: list[tuple[Index, slice]]


class _Want(NamedTuple):
    """An ascending index along one dimension, and what it asks of each chunk."""

    along: Index
    parts: list[_Part]


class _Stored(NamedTuple):
    """A stored chunk and what is wanted of it along each dimension."""

    place: _Place
    parts: tuple[_Part, ...]


@contextmanager
def open_file(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """The HDF5 file, open for reading; FileFormatError in one sentence when it is not one."""
    path = Path(path)
    if not path.exists():
        raise FileFormatError(f"{path} does not exist; check the path")
    if path.is_dir():
        raise FileFormatError(f"{path} is a folder; give an HDF5 file")
    with _open(path) as file:
        yield file


def _open(path: Path) -> h5py.File:
    try:
        try:
            return h5py.File(path, "r", locking=False)  # shared file systems often refuse locks
        except OSError:  # HDF5 wants the same choice from everyone in the process: a notebook may have it open
            return h5py.File(path, "r")
    except PermissionError as error:
        raise FileFormatError(f"{path} may not be read; check its permissions") from error
    except OSError as error:
        raise FileFormatError(f"{path} {_diagnose(path)}") from error


def _diagnose(path: Path) -> str:
    """Why h5py could not open this file, from its first bytes."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(512)
    if not head:
        return "is empty; download it again"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return f"is a truncated or damaged HDF5 file ({size} bytes); download it again"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"{")):
        return "is a web page or a service's answer, not HDF5; download it again"
    if head.startswith(b"PK\x03\x04"):
        return "is a zip archive, not HDF5; unpack it and give the .h5 file"
    if path.suffix.lower() in {".dat", ".img", ".hdr", ".bsq", ".bil", ".bip"} or head.startswith(b"ENVI"):
        return "is not HDF5 (it looks like an ENVI image); give NEON's .h5 reflectance file"
    return "is not an HDF5 file; give NEON's .h5 reflectance file"


def stored_array(dataset: h5py.Dataset, path: str | os.PathLike[str]) -> StoredArray:
    """The facts of an open dataset; reads no data."""
    status = os.stat(path)
    chunks = dataset.chunks or _rows_as_chunks(dataset.shape, dataset.dtype.itemsize)
    if prod(chunks) * dataset.dtype.itemsize > MAX_CHUNK_BYTES:
        raise FileFormatError(
            f"{path}: {dataset.name} is stored in chunks of {chunks}, above 1 GB each; the file is damaged"
        )
    return StoredArray(
        path=os.path.abspath(path),
        name=dataset.name,
        shape=tuple(map(int, dataset.shape)),
        dtype=dataset.dtype.newbyteorder("="),
        stored_chunks=chunks,
        file_size=status.st_size,
        mtime_ns=status.st_mtime_ns,
    )


def block_shape(array: StoredArray, budget: int | None = None) -> tuple[int, ...]:
    """A dask block within the budget in bytes: whole stored chunks, wavelengths first, then x, then y.

    Examples
    --------
    >>> facts = ("tile.h5", "/r", (1000, 1000, 426), np.dtype("i2"))
    >>> block_shape(StoredArray(*facts, (32, 63, 27), 0, 0))
    (32, 1000, 426)
    >>> block_shape(StoredArray(*facts, (1000, 1000, 1), 0, 0))
    (1000, 1000, 16)
    """
    budget = BLOCK_BYTES if budget is None else budget
    block = [min(c, n) if n else c for c, n in zip(array.stored_chunks, array.shape, strict=True)]
    for axis in (2, 1, 0)[-array.ndim :]:
        chunk, size = array.stored_chunks[axis], array.shape[axis]
        fits = max(1, budget // max(1, prod(block) * array.dtype.itemsize))
        block[axis] = min(size, chunk * min(fits, ceil(size / chunk))) if size else chunk
    return tuple(block)


def lazy(array: StoredArray, chunks: Any = "auto") -> Any:
    """The array as a dask array on its stored chunks, named after the file's identity."""
    import dask.array as da
    from dask.base import tokenize

    chunks = block_shape(array) if isinstance(chunks, str) and chunks == "auto" else chunks
    chunks = da.core.normalize_chunks(
        chunks,
        array.shape,
        dtype=array.dtype,
        previous_chunks=da.core.normalize_chunks(array.stored_chunks, array.shape),
    )
    # inline: every task carries the facts itself, so that a slice fuses into the read
    return da.from_array(
        array,
        chunks=chunks,
        name=f"read-{tokenize(array, chunks)}",
        asarray=False,
        inline_array=True,
        meta=np.empty((0,) * array.ndim, array.dtype),
    )


def _rows_as_chunks(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """What a dataset that is stored in one piece is read by: whole rows of about 1 MB."""
    row = max(1, prod(shape[1:]) * itemsize)
    return (max(1, min(shape[0], 2**20 // row)), *(max(1, n) for n in shape[1:]))


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


def _decode(raw: NDArray[Any], array: StoredArray) -> NDArray[Any]:
    """Reflectance from stored numbers, in place of a second copy where that is possible."""
    if array.scale_factor is None:
        return raw
    with np.errstate(over="ignore", invalid="ignore"):  # damaged floats may be beyond float32: infinite, not a warning
        values = raw.astype(np.float32, order="K")
    values /= np.float32(array.scale_factor)
    if array.fill_value is not None:
        values[raw == array.fill_value] = np.nan
    return values


def _read(
    array: StoredArray, wanted: tuple[_Want, ...], out: NDArray[Any] | None = None, spread: Spread = map
) -> NDArray[Any]:
    """The stored numbers at an orthogonal ascending index, planes contiguous; in `out` if it is given."""
    if out is None:
        sizes = [_length(want.along) for want in wanted]
        planes = (2, 0, 1) if array.ndim == 3 else tuple(range(array.ndim))
        stored = _chunk_index(array.path, array.name, array.mtime_ns, array.file_size).dtype
        out = np.empty([sizes[axis] for axis in planes], stored.newbyteorder("=")).transpose(np.argsort(planes))
    if all(_length(want.along) for want in wanted):
        _fill(array, wanted, out, spread)
    return out


def _fill(array: StoredArray, wanted: tuple[_Want, ...], out: NDArray[Any], spread: Spread) -> None:
    """Put what an orthogonal ascending index asks for into `out`, each stored chunk read once."""
    _check_unchanged(array)
    chunks = _chunk_index(array.path, array.name, array.mtime_ns, array.file_size)
    if not chunks.raw:
        out[...] = _read_through_library(array, tuple(want.along for want in wanted))
        return
    stored: list[_Stored] = []
    for parts in product(*(want.parts for want in wanted)):
        place = chunks.where.get(tuple(p.number for p in parts))
        if place is None:  # never written: all fill value
            _put(np.broadcast_to(np.asarray(chunks.fill, chunks.dtype), array.stored_chunks), parts, out)
        elif place[0] + place[1] > array.file_size:
            raise _damaged(array, parts, "lies beyond the end of the file")
        else:
            stored.append(_Stored(place, parts))
    descriptor = os.open(array.path, os.O_RDONLY)
    try:
        for _ in spread(partial(_fill_run, array, chunks, descriptor, out), list(_together(stored))):
            pass
    finally:
        os.close(descriptor)


def _together(stored: list[_Stored]) -> Iterator[list[_Stored]]:
    """Chunks that lie one after another in the file, to be read together."""
    run: list[_Stored] = []
    for chunk in stored:
        end = run[-1].place[0] + run[-1].place[1] if run else 0
        if run and (chunk.place[0] != end or end - run[0].place[0] >= READ_BYTES):
            yield run
            run = []
        run.append(chunk)
    if run:
        yield run


def _fill_run(array: StoredArray, chunks: _ChunkIndex, descriptor: int, out: NDArray[Any], run: list[_Stored]) -> None:
    """Read chunks that lie together in the file and put what is wanted of them into `out`."""
    first = run[0].place[0]
    data = memoryview(os.pread(descriptor, run[-1].place[0] + run[-1].place[1] - first, first))
    room = None
    for place, parts in run:
        deflated = data[place[0] - first : place[0] - first + place[1]]
        if (target := _place_of_whole(array, chunks, place, parts, out)) is not None:
            _load(array, chunks, deflated, place, parts, target)
            continue
        room = np.empty(array.stored_chunks, chunks.dtype) if room is None else room
        _put(_load(array, chunks, deflated, place, parts, room), parts, out)


def _put(chunk: NDArray[Any], parts: tuple[_Part, ...], out: NDArray[Any]) -> None:
    for runs in product(*(p.runs for p in parts)):
        out[tuple(t for _, t in runs)] = _take(chunk, tuple(s for s, _ in runs))


def _place_of_whole(
    array: StoredArray, chunks: _ChunkIndex, place: _Place, parts: tuple[_Part, ...], out: NDArray[Any]
) -> NDArray[Any] | None:
    """Where in `out` a chunk may be inflated to: all of it is wanted, just as it is, in one run of memory."""
    if chunks.filters != (_DEFLATE,) or place[2] or chunks.dtype != out.dtype or any(len(p.runs) > 1 for p in parts):
        return None
    target = out[tuple(p.runs[0][1] for p in parts)]
    return target if target.shape == array.stored_chunks and target.flags.c_contiguous else None


def _check_unchanged(array: StoredArray) -> None:
    try:
        status = os.stat(array.path)
    except FileNotFoundError as error:
        raise FileFormatError(f"{array.path} is gone; restore the file or run without it") from error
    if (status.st_size, status.st_mtime_ns) != (array.file_size, array.mtime_ns):
        raise FileFormatError(f"{array.path} changed since it was opened; open it again")


def _length(index: Index) -> int:
    return index.stop - index.start if isinstance(index, slice) else index.size


def _want(index: Index, chunk: int) -> _Want:
    return _Want(index, list(_parts(index, chunk)))


def _parts(index: Index, chunk: int) -> Iterator[_Part]:
    """The chunks that an ascending index touches, each once."""
    if not _length(index):
        return
    if isinstance(index, slice):
        for number in range(index.start // chunk, ceil(index.stop / chunk)):
            start, stop = max(index.start, number * chunk), min(index.stop, (number + 1) * chunk)
            source = slice(start - number * chunk, stop - number * chunk)
            yield _Part(number, [(source, slice(start - index.start, stop - index.start))])
        return
    numbers, first = np.unique(index // chunk, return_index=True)
    for number, start, stop in zip(numbers.tolist(), first.tolist(), [*first[1:].tolist(), index.size], strict=True):
        yield _Part(number, _runs(index[start:stop] - number * chunk, start))


def _cuts(index: Index, chunk: int, together: int) -> Iterator[tuple[_Want, slice]]:
    """An ascending index cut after so many of the chunks it touches: each part, and where it stands in the whole."""
    parts = list(_parts(index, chunk))
    for few in (parts[first : first + together] for first in range(0, len(parts), together)):
        target = slice(few[0].runs[0][1].start, few[-1].runs[-1][1].stop)
        first = index.start if isinstance(index, slice) else 0
        within = slice(first + target.start, first + target.stop)
        yield _want(within if isinstance(index, slice) else index[within], chunk), target


def _runs(source: NDArray[np.intp], target: int) -> list[tuple[Index, slice]]:
    """An ascending index as slices where it has few gaps: copying slices is several times faster."""
    if source[-1] - source[0] + 1 == source.size:  # in chunks of one plane, hundreds of times
        return [(slice(int(source[0]), int(source[-1]) + 1), slice(target, target + source.size))]
    breaks = [0, *(np.flatnonzero(np.diff(source) > 1) + 1).tolist(), source.size]
    if len(breaks) > 4:
        return [(source, slice(target, target + source.size))]
    return [(slice(int(source[a]), int(source[b - 1]) + 1), slice(target + a, target + b)) for a, b in pairwise(breaks)]


def _take(chunk: NDArray[Any], sources: tuple[Index, ...]) -> NDArray[Any]:
    if all(isinstance(source, slice) for source in sources):
        return chunk[sources]
    for axis, source in enumerate(sources):
        chunk = chunk[(*(slice(None),) * axis, source)]
    return chunk


@lru_cache(maxsize=64)  # a worker has a few tiles in flight; 8192 chunks a tile take 2 MB
def _chunk_index(path: str, name: str, mtime_ns: int, file_size: int) -> _ChunkIndex:
    with open_file(path) as file:
        dataset = file[name]
        properties = dataset.id.get_create_plist()
        filters = tuple(properties.get_filter(i)[0] for i in range(properties.get_nfilters()))
        raw = dataset.chunks is not None and filters in {(), (_DEFLATE,), (_SHUFFLE,), (_SHUFFLE, _DEFLATE)}
        where: dict[tuple[int, ...], _Place] = {}

        def add(chunk: Any) -> None:
            number = tuple(o // c for o, c in zip(chunk.chunk_offset, dataset.chunks, strict=True))
            where[number] = (chunk.byte_offset, chunk.size, chunk.filter_mask)

        try:
            if raw:
                dataset.id.chunk_iter(add)
            return _ChunkIndex(raw, dataset.dtype, filters, dataset.fillvalue, where)
        except (RuntimeError, OSError) as error:
            raise FileFormatError(f"{path}: the chunk index of {name} is damaged; download the file again") from error


def _load(
    array: StoredArray, chunks: _ChunkIndex, data: Any, place: _Place, parts: tuple[_Part, ...], room: NDArray[Any]
) -> NDArray[Any]:
    """One stored chunk's bytes as an array; they are inflated into `room`, contiguous and of the chunk's shape."""
    _, size, mask = place
    if len(data) != size:
        raise _damaged(array, parts, "is cut short")
    for position in reversed(range(len(chunks.filters))):
        if mask & (1 << position):  # the writer skipped this filter for this chunk
            continue
        deflated = chunks.filters[position] == _DEFLATE
        data = _inflate(data, room) if deflated else _unshuffle(data, chunks.dtype.itemsize)
        if data is None:
            break
    if data is None or len(data) != room.nbytes:
        raise _damaged(array, parts, "does not inflate")
    chunk: NDArray[Any] = np.frombuffer(data, chunks.dtype).reshape(array.stored_chunks)
    return chunk.astype(chunks.dtype.newbyteorder("="), copy=False)


def _inflate(data: bytes | memoryview, room: NDArray[Any]) -> NDArray[np.uint8] | None:
    """A zlib stream inflated into a contiguous array's memory, as bytes; None where it is damaged."""
    try:
        out: Any = room.reshape(-1).view(np.uint8)  # its type stubs know no arrays
        inflated: Any = imagecodecs.deflate_decode(data, out=out)  # type: ignore[arg-type]
    except imagecodecs.DeflateError:
        return None
    return np.asarray(inflated)


def _unshuffle(data: Any, itemsize: int) -> bytes:
    whole = len(data) // itemsize * itemsize  # HDF5 leaves a rest as it is
    planes = np.frombuffer(data, np.uint8, whole).reshape(itemsize, -1)
    return planes.T.tobytes() + bytes(data[whole:])


def _damaged(array: StoredArray, parts: tuple[_Part, ...], how: str) -> FileFormatError:
    at = tuple(p.number * c for p, c in zip(parts, array.stored_chunks, strict=True))
    return FileFormatError(f"{array.path}: the chunk of {array.name} at {at} {how}; download the file again")


def _read_through_library(array: StoredArray, index: tuple[Index, ...]) -> NDArray[Any]:
    """The slow way, for filters and storage we do not know: h5py's bounding box, then the index within it."""
    box = tuple(
        i if isinstance(i, slice) else slice(int(i[0]), int(i[-1]) + 1) if i.size else slice(0, 0) for i in index
    )
    try:
        with open_file(array.path) as file:
            values: NDArray[Any] = file[array.name][box]
    except (OSError, RuntimeError) as error:
        raise FileFormatError(
            f"{array.path}: {array.name} cannot be read ({error}); download the file again"
        ) from error
    for axis, (i, b) in enumerate(zip(index, box, strict=True)):
        if not isinstance(i, slice):
            values = values.take(i - b.start, axis=axis)
    return values.astype(array.dtype if array.scale_factor is None else values.dtype.newbyteorder("="), copy=False)
