"""Cloud-Optimized GeoTIFF in one pass: blocks are compressed and laid out as they come, the coarsest overview first.

GDAL's COG driver starts from a finished image, so it writes everything twice, and it takes twice the time to compress.
Here its GTiff driver gives the tags, from a file of one pixel, tifffile lays them out for every level, and ISA-L
compresses, to the same size.
"""

from __future__ import annotations

import io
import itertools
import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK = 512  # pixels along a block's sides
_PENDING = 16  # blocks at most that are being compressed or wait to be written; 1 MB each
_MOST_CLASSIC = 4_000_000_000  # bytes before compression; a TIFF's offsets end at 2^32, a BigTIFF's never

# TIFF's tags that follow from shape, dtype and compression; of the others an overview has only that of no data
_OF_LEVELS = {254, 256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338, 339}
_NO_DATA = 42113
# How GDAL knows the layout: blocks of a level lie in the order of their numbers, each with its size before it and its
# last four bytes once more behind it (gdal.org/drivers/raster/cog.html, "Header ghost area")
_NOTE = (
    "LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\nBLOCK_LEADER=SIZE_AS_UINT4\n"
    "BLOCK_TRAILER=LAST_4_BYTES_REPEATED\nKNOWN_INCOMPATIBLE_EDITION=NO\n "
)


class Level(NamedTuple):
    """An image or an overview of it.

    shape : (y, x)
    strips : band from 0 -> its rows from the north, `BLOCK` at a time, each (rows, x)
    """

    shape: tuple[int, int]
    strips: Callable[[int], Iterator[NDArray[Any]]]


def write_cog(
    path: Path, pattern: bytes, levels: Sequence[Level], fill: float, pool: Executor, *, compress: bool = True
) -> None:
    """Write an image and its overviews; returns when they are on disk.

    Parameters
    ----------
    path : Path
    pattern : bytes
        A GeoTIFF of any size and layout that says everything else: dtype, bands, CRS, names, colours. Here bands lie
        apart, and floats are compressed with predictor 3.
    levels : the image, then overviews, each coarser than the one before
    fill : what is not there; blocks of nothing else take no room
    pool : its threads compress
    compress : Deflate, or blocks as they are

    Raises
    ------
    OSError
    """
    from tifffile import TiffFile

    with TiffFile(io.BytesIO(pattern)) as file:
        model = file.pages.first
    tables: list[_Blocks] = []
    with open(path, "wb") as out:
        out.write(_head(model, levels, compress))
        for level in reversed(levels):
            tables.append(_Blocks([], []))
            for block in _packed_blocks(level, model.samplesperpixel, fill, pool, compress):
                tables[-1].offsets.append(out.tell() + 4 if block else 0)
                tables[-1].counts.append(len(block))
                if block:
                    out.writelines((len(block).to_bytes(4, "little"), block, block[-4:]))
    with TiffFile(path, mode="r+") as file:
        for page, blocks in zip(file.pages, reversed(tables), strict=True):
            tags = page.aspage().tags
            tags["TileOffsets"].overwrite(blocks.offsets)
            tags["TileByteCounts"].overwrite(blocks.counts)
        file.filehandle.flush()
        os.fsync(file.filehandle.fileno())


class _Blocks(NamedTuple):
    """Where the blocks of a level are, band by band and in a band by rows; both 0 where one takes no room."""

    offsets: list[int]
    counts: list[int]


def _head(model: Any, levels: Sequence[Level], compress: bool) -> bytes:
    """All before the blocks: the tags of every level, with room for where its blocks will be."""
    from tifffile import TiffWriter

    bands, head = model.samplesperpixel, io.BytesIO()
    extra = [
        (tag.code, tag.dtype, tag.count, _bytes(tag.value), True) for tag in model.tags if tag.code not in _OF_LEVELS
    ]
    blocks = [bands * math.prod(-(-side // BLOCK) for side in level.shape) for level in levels]
    size = sum(blocks) * BLOCK**2 * model.dtype.itemsize
    with TiffWriter(head, bigtiff=size > _MOST_CLASSIC, byteorder="<") as writer:
        writer.filehandle.write(f"GDAL_STRUCTURAL_METADATA_SIZE={len(_NOTE):06d} bytes\n{_NOTE}".encode())
        for number, (level, count) in enumerate(zip(levels, blocks, strict=True)):
            writer.write(
                itertools.repeat(b"", count),
                shape=(bands, *level.shape),
                dtype=model.dtype,
                tile=(BLOCK, BLOCK),
                planarconfig="separate" if bands > 1 else None,
                photometric=model.photometric,
                colormap=model.colormap,
                compression="adobe_deflate" if compress else None,
                predictor=3 if compress and model.dtype.kind == "f" else None,
                subfiletype=1 if number else 0,
                extratags=[tag for tag in extra if not number or tag[0] == _NO_DATA],
                metadata=None,
                software=False,
                contiguous=False,
            )
        return head.getvalue()


def _bytes(value: Any) -> Any:
    """GDAL's texts are UTF-8; tifffile writes text in ASCII, and bytes as they are."""
    return value.encode() if isinstance(value, str) else value


def _packed_blocks(level: Level, bands: int, fill: float, pool: Executor, compress: bool) -> Iterator[bytes]:
    """The blocks of a level in their order, packed; nothing for those without data."""
    pending: deque[Future[bytes]] = deque()
    for band in range(bands):
        for strip in level.strips(band):
            for left in range(0, strip.shape[1], BLOCK):
                pending.append(pool.submit(_packed, strip[:, left : left + BLOCK], fill, compress))
            while len(pending) > _PENDING:
                yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _packed(values: NDArray[Any], fill: float, compress: bool) -> bytes:
    import imagecodecs
    from isal import isal_zlib

    if _is(values[0, 0], fill) and _is(values, fill).all():  # most are told by one pixel
        return b""
    if values.shape != (BLOCK, BLOCK):
        whole = np.full((BLOCK, BLOCK), fill, values.dtype)
        whole[: values.shape[0], : values.shape[1]] = values
        values = whole
    if not compress:
        return values.tobytes()
    if values.dtype.kind == "f":
        return bytes(isal_zlib.compress(imagecodecs.floatpred_encode(values), 1))
    return bytes(imagecodecs.deflate_encode(values.tobytes(), 6))  # few bytes, which get fewer by a third


def _is(values: Any, fill: float) -> Any:
    return np.isnan(values) if math.isnan(fill) else values == fill
