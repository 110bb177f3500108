"""Zarr arrays, read chunk by chunk without the zarr library: a chunk takes no more memory than its shape asks for.

References: https://zarr-specs.readthedocs.io
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from hsi_dask.errors import FileFormatError
from hsi_dask.io.checksums import crc32c
from hsi_dask.io.chunked import ChunkedArray, Part, Want, put
from hsi_dask.sources import Spread

_MOST_OVERHEAD = 2**16  # bytes by which a chunk that does not compress may be longer
_BLOSC_HEADER = 16  # bytes
_CRC_BYTES, _ABSENT = 4, 2**64 - 1

Decode = Callable[..., Any]


def _blosc(data: bytes, out: Any) -> Any:
    """Blosc goes by the sizes in its header, of what it reads and of what it writes."""
    whole = len(data) >= _BLOSC_HEADER and int.from_bytes(data[12:16], "little") == len(data)
    if not whole or int.from_bytes(data[4:8], "little") != out.size:
        raise ValueError("its blosc header says other sizes")
    decode: Decode = imagecodecs.blosc_decode  # its type stubs know no arrays
    return decode(data, out=out)


CODECS: dict[str, Decode] = {
    "blosc": _blosc,
    "zstd": imagecodecs.zstd_decode,
    "gzip": imagecodecs.gzip_decode,
    "zlib": imagecodecs.deflate_decode,
    "lz4": lambda data, out: imagecodecs.lz4_decode(data[4:], out=out),  # numcodecs writes the size first
}


@dataclass(frozen=True)
class Chunks:
    """How chunks are named and encoded, in their order of decoding.

    key : prefix and separator of names: "c/0/1", "0.1"
    """

    dtype: np.dtype[Any]  # with its byte order
    codecs: tuple[str, ...]
    prefix: str
    separator: str
    order: str
    index: tuple[str, ...] = ()  # codecs of a shard's index, "bytes" among them; none: no shards
    index_first: bool = False


@dataclass(frozen=True)
class ZarrArray(ChunkedArray):
    """An array of a Zarr folder, in its own order of dimensions.

    stamp : size and time of the folder when it was looked at
    """

    path: str
    shape: tuple[int, ...]
    stored_chunks: tuple[int, ...]
    outer_chunks: tuple[int, ...]
    chunks: Chunks
    fill_value: float
    stamp: tuple[int, int]

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        return self.chunks.dtype.newbyteorder("=")

    def fill(self, wanted: tuple[Want, ...], out: NDArray[Any], spread: Spread) -> None:
        parts = list(product(*(want.parts for want in wanted)))
        for _ in spread(partial(self._put, out), parts):
            pass

    def _put(self, out: NDArray[Any], parts: tuple[Part, ...]) -> None:
        chunk = self._chunk(tuple(part.number for part in parts))
        if chunk is None:  # never written: all fill value
            chunk = np.broadcast_to(np.asarray(self.fill_value, self.dtype), self.stored_chunks)
        put(chunk, parts, out)

    def _chunk(self, number: tuple[int, ...]) -> NDArray[Any] | None:
        how = self.chunks
        per = [outer // inner for outer, inner in zip(self.outer_chunks, self.stored_chunks, strict=True)]
        outer = [n // many for n, many in zip(number, per, strict=True)]
        name = how.separator.join([*filter(None, [how.prefix]), *map(str, outer)]) or "0"
        try:
            with opened(os.path.join(self.path, name)) as (descriptor, size):
                start, size = (0, size)
                if how.index:
                    inside = tuple(n % many for n, many in zip(number, per, strict=True))
                    start, size = _place_in_shard(descriptor, size, how, per, inside)
                if start == size == _ABSENT:
                    return None
                if size > 2 * math.prod(self.stored_chunks) * self.dtype.itemsize + _MOST_OVERHEAD:
                    raise ValueError(f"it has {size} bytes, more than it can need")
                data = os.pread(descriptor, size, start)
                return _decoded(data, how.codecs, how.dtype, self.stored_chunks, how.order)
        except FileNotFoundError:
            return None
        except (OSError, RuntimeError, ValueError) as error:
            raise FileFormatError(f"{self.path}: the chunk {name} is damaged ({error}); copy it again") from error


@contextmanager
def opened(path: str) -> Iterator[tuple[int, int]]:
    """A regular file's descriptor and size; a link, a pipe or a device is not opened."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no regular file")
        yield descriptor, status.st_size
    finally:
        os.close(descriptor)


def _place_in_shard(
    descriptor: int, size: int, how: Chunks, per: list[int], inside: tuple[int, ...]
) -> tuple[int, int]:
    """Offset and size of a chunk in a shard; both `_ABSENT` where it was never written."""
    length = 16 * math.prod(per) + (_CRC_BYTES if "crc32c" in how.index else 0)
    data = os.pread(descriptor, length, 0 if how.index_first else max(0, size - length))
    index = _decoded(data, how.index, np.dtype("<u8"), (*per, 2), "C")
    offset, nbytes = (int(value) for value in index[inside])
    if offset + nbytes > size and (offset, nbytes) != (_ABSENT, _ABSENT):
        raise ValueError("it lies beyond the end of its shard")
    return offset, nbytes


def _decoded(
    data: Any, codecs: tuple[str, ...], dtype: np.dtype[Any], shape: tuple[int, ...], order: str
) -> NDArray[Any]:
    """A chunk from its bytes: never more memory than its shape asks for; ValueError or RuntimeError where damaged."""
    expected = math.prod(shape) * dtype.itemsize
    for codec in codecs:
        if codec == "crc32c":
            data = _checked(data)
        elif codec != "bytes":
            data = CODECS[codec](data, out=np.empty(expected, np.uint8))
    if len(data) != expected:
        raise ValueError(f"it has {len(data)} bytes instead of {expected}")
    return np.frombuffer(data, dtype).reshape(shape, order=order)  # type: ignore[call-overload, no-any-return]


def _checked(data: Any) -> Any:
    body = data[:-_CRC_BYTES]
    if crc32c(bytes(body)) != int.from_bytes(data[-_CRC_BYTES:], "little"):
        raise ValueError("its checksum differs")
    return body
