"""Lazy chunked HDF5 reading that scales with cores: raw chunk reads, inflated without the HDF5 lock."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import imagecodecs
import numpy as np
from isal import igzip_lib
from isal.igzip_lib import IsalError
from numpy.typing import NDArray

from hsi_dask.errors import FileFormatError
from hsi_dask.io.chunked import ChunkedArray, Part, Want, put
from hsi_dask.sources import Index, Spread

READ_BYTES = 2**20  # chunks that lie together are read together up to this: fewer trips to a network file system
MAX_CHUNK_BYTES = 2**30  # a larger chunk is a damaged header: one band of the longest flight line is 25 MB
_WORTH = 0.9  # of a chunk's rows: this decoder stops where it is told to, and takes a tenth longer
_DEFLATE, _SHUFFLE = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE
# Registered plug-ins of HDF5 that are met in the field: https://github.com/HDFGroup/hdf5_plugins
_PLUGINS = {
    307: "bzip2", 32001: "Blosc", 32004: "LZ4", 32008: "Bitshuffle", 32013: "ZFP", 32015: "Zstandard", 32017: "SZ",
    32026: "Blosc2",
}  # fmt: skip

_Place = tuple[int, int, int]  # of a stored chunk: offset, size, mask of the filters left out


@dataclass(frozen=True)
class StoredArray(ChunkedArray):
    """One dataset of an HDF5 file. A file that changed since the facts were taken is refused.

    unchecked : inflate chunks up to the last row that is wanted of them. Their checksums, at their ends, are not seen.
    """

    path: str
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stored_chunks: tuple[int, ...]
    file_size: int
    mtime_ns: int
    unchecked: bool = False

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        what = (self.path, self.name, self.file_size, self.mtime_ns)
        return (type(self).__name__, *what, self.shape, str(self.dtype))

    def fill(self, wanted: tuple[Want, ...], out: NDArray[Any], spread: Spread) -> None:
        _fill(self, wanted, out, spread)


class _ChunkIndex(NamedTuple):
    """Where a dataset's chunks lie in the file; `raw` is False where only the HDF5 library can read them."""

    raw: bool
    dtype: np.dtype[Any]
    filters: tuple[int, ...]
    fill: Any
    where: dict[tuple[int, ...], _Place]  # by chunk number


class _Stored(NamedTuple):
    """A stored chunk and what is wanted of it along each dimension."""

    place: _Place
    parts: tuple[Part, ...]


@contextmanager
def open_file(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """The HDF5 file, open for reading; FileFormatError in one sentence when it is not one."""
    path = Path(path)
    if not path.exists():
        raise FileFormatError(f"{path} does not exist; check the path")
    if path.is_dir():
        raise FileFormatError(f"{path} is a folder; give an HDF5 file")
    if not path.is_file():  # a pipe would be waited for
        raise FileFormatError(f"{path} is a pipe or a device; give an HDF5 file")
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
        return "is not HDF5 (it looks like an ENVI image); open it with open_cube"
    return "is not an HDF5 file; give one of reflectance"


def member(group: h5py.Group, name: str, *, links: int = 8) -> Any:
    """What a group holds under a name, None where nothing is; links that leave the file are refused unopened."""
    link = group.get(name, getlink=True)
    if link is None:
        return None
    if isinstance(link, h5py.SoftLink) and links:
        item = group.file["/"] if link.path.startswith("/") else group
        for part in filter(None, link.path.split("/")):
            item = member(item, part, links=links - 1) if isinstance(item, h5py.Group) else None
        return item
    if not isinstance(link, h5py.HardLink):
        raise _outside(group.file.filename, f"{group.name.rstrip('/')}/{name}", "a link leads elsewhere")
    return group[name]


def members(group: h5py.Group) -> Iterator[tuple[str, Any]]:
    """Names and members of a group, without what links leave the file for."""
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.ExternalLink):
            yield name, member(group, name)


def _outside(path: str, name: str, why: str) -> FileFormatError:
    return FileFormatError(f"{path}: {name} is refused: its data lie outside the file ({why}); copy them into it")


def stored_array(dataset: h5py.Dataset, path: str | os.PathLike[str]) -> StoredArray:
    """The facts of an open dataset; reads no data.

    Raises
    ------
    FileFormatError
        Its data lie outside the file, or go through a filter that is not installed; or its header is damaged.
    """
    status = os.stat(path)
    if dataset.is_virtual or dataset.external or not os.path.samefile(dataset.file.filename, path):
        why = "a virtual dataset" if dataset.is_virtual else "external storage" if dataset.external else "another file"
        raise _outside(os.fspath(path), dataset.name, why)
    chunks = dataset.chunks or _rows_as_chunks(dataset.shape, dataset.dtype.itemsize)
    if prod(chunks) * dataset.dtype.itemsize > MAX_CHUNK_BYTES:
        raise FileFormatError(
            f"{path}: {dataset.name} is stored in chunks of {chunks}, above 1 GB each; the file is damaged"
        )
    _require_filters(dataset, path)
    return StoredArray(
        path=os.path.abspath(path),
        name=dataset.name,
        shape=tuple(map(int, dataset.shape)),
        dtype=dataset.dtype.newbyteorder("="),
        stored_chunks=chunks,
        file_size=status.st_size,
        mtime_ns=status.st_mtime_ns,
    )


def _filters(dataset: h5py.Dataset) -> tuple[int, ...]:
    properties = dataset.id.get_create_plist()
    return tuple(properties.get_filter(number)[0] for number in range(properties.get_nfilters()))


def _require_filters(dataset: h5py.Dataset, path: str | os.PathLike[str]) -> None:
    """Filters that HDF5 has as plug-ins come with hdf5plugin, where that is installed."""
    for number in _filters(dataset):
        if not h5py.h5z.filter_avail(number) and find_spec("hdf5plugin") is not None:
            import_module("hdf5plugin")  # registers its filters
        if not h5py.h5z.filter_avail(number):
            name = _PLUGINS.get(number, "unknown")
            raise FileFormatError(
                f"{path}: {dataset.name} is stored with the HDF5 filter {number} ({name}), which is not installed; "
                "`pip install hdf5plugin`, or rewrite the file with gzip (h5repack -f GZIP=3)"
            )


def _rows_as_chunks(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """What a dataset that is stored in one piece is read by: whole rows of about 1 MB."""
    if not shape:
        return ()
    row = max(1, prod(shape[1:]) * itemsize)
    return (max(1, min(shape[0], 2**20 // row)), *(max(1, n) for n in shape[1:]))


def _fill(array: StoredArray, wanted: tuple[Want, ...], out: NDArray[Any], spread: Spread) -> None:
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
            put(np.broadcast_to(np.asarray(chunks.fill, chunks.dtype), array.stored_chunks), parts, out)
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
        if (rows := _first_rows(array, chunks, place, parts)) is not None:
            put(_load_rows(array, chunks, deflated, parts, rows), parts, out)
            continue
        room = np.empty(array.stored_chunks, chunks.dtype) if room is None else room
        put(_load(array, chunks, deflated, place, parts, room), parts, out)


def _place_of_whole(
    array: StoredArray, chunks: _ChunkIndex, place: _Place, parts: tuple[Part, ...], out: NDArray[Any]
) -> NDArray[Any] | None:
    """Where in `out` a chunk may be inflated to: all of it is wanted, just as it is, in one run of memory."""
    if chunks.filters != (_DEFLATE,) or place[2] or chunks.dtype != out.dtype or any(len(p.runs) > 1 for p in parts):
        return None
    target = out[tuple(p.runs[0][1] for p in parts)]
    return target if target.shape == array.stored_chunks and target.flags.c_contiguous else None


def _first_rows(array: StoredArray, chunks: _ChunkIndex, place: _Place, parts: tuple[Part, ...]) -> int | None:
    """How many rows of a chunk are worth inflating by themselves; None for all of it."""
    if not array.unchecked or chunks.filters != (_DEFLATE,) or place[2]:
        return None
    last = parts[0].runs[-1][0]
    rows = last.stop if isinstance(last, slice) else int(last[-1]) + 1
    return rows if rows < _WORTH * array.stored_chunks[0] else None


def _load_rows(
    array: StoredArray, chunks: _ChunkIndex, data: memoryview, parts: tuple[Part, ...], rows: int
) -> NDArray[Any]:
    """The first rows of a stored chunk; the rest of its stream is not looked at."""
    shape = (rows, *array.stored_chunks[1:])
    size = prod(shape) * chunks.dtype.itemsize
    try:
        inflated = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_ZLIB).decompress(data, size)
    except IsalError:  # type: ignore[misc]  # its type stubs take it for a value
        inflated = b""
    if len(inflated) != size:
        raise _damaged(array, parts, "does not inflate")
    return np.frombuffer(inflated, chunks.dtype).reshape(shape).astype(chunks.dtype.newbyteorder("="), copy=False)


def _check_unchanged(array: StoredArray) -> None:
    try:
        status = os.stat(array.path)
    except FileNotFoundError as error:
        raise FileFormatError(f"{array.path} is gone; restore the file or run without it") from error
    if (status.st_size, status.st_mtime_ns) != (array.file_size, array.mtime_ns):
        raise FileFormatError(f"{array.path} changed since it was opened; open it again")


@lru_cache(maxsize=64)  # a worker has a few tiles in flight; 8192 chunks a tile take 2 MB
def _chunk_index(path: str, name: str, mtime_ns: int, file_size: int) -> _ChunkIndex:
    with open_file(path) as file:
        dataset = file[name]
        filters = _filters(dataset)
        raw = dataset.chunks is not None and filters in {(), (_DEFLATE,), (_SHUFFLE,), (_SHUFFLE, _DEFLATE)}
        where: dict[tuple[int, ...], _Place] = {}

        def add(chunk: Any) -> None:
            number = tuple(o // c for o, c in zip(chunk.chunk_offset, dataset.chunks, strict=True))
            where[number] = (chunk.byte_offset, chunk.size, chunk.filter_mask)

        try:
            if raw:
                dataset.id.chunk_iter(add)
            return _ChunkIndex(raw, dataset.dtype, filters, dataset.fillvalue, where)
        except (RuntimeError, OSError, TypeError) as error:  # the last of chunks that have no place
            raise FileFormatError(f"{path}: the chunk index of {name} is damaged; download the file again") from error


def _load(
    array: StoredArray, chunks: _ChunkIndex, data: Any, place: _Place, parts: tuple[Part, ...], room: NDArray[Any]
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


def _damaged(array: StoredArray, parts: tuple[Part, ...], how: str) -> FileFormatError:
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
    return values.astype(array.dtype, copy=False)
