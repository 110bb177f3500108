"""Tiles on one pixel grid: the mosaic they span, and the cells of it that each tile owns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import NamedTuple

import numpy as np

from hsi_dask.errors import GridError
from hsi_dask.io import hdf5
from hsi_dask.io.neon.metadata import NeonFile
from hsi_dask.io.store import Grid

# A cell of more pixels is cut into chunks of rows, and computed in slabs of about so many pixels: 16 planes of
# float32 are 270 MB
SLAB_PIXELS = 1536 * 1536
_CHUNK_PIXELS = 1000 * 1000  # of such chunks: what a tile of 1 km has
_CORNER = re.compile(r"_(\d{6})_(\d{7})_")  # easting_northing of the south-west corner in NEON's file names


class Box(NamedTuple):
    """Pixels of the mosaic: rows [top, bottom), columns [left, right)."""

    top: int
    left: int
    bottom: int
    right: int


class Layout(NamedTuple):
    """The mosaic's grid, and each file's pixels in it, in the order of the files."""

    grid: Grid
    boxes: tuple[Box, ...]


def lay_out(files: Sequence[NeonFile], reserved: Sequence[str] = ()) -> Layout:
    """Place files on one grid of cells, one tile a cell.

    Parameters
    ----------
    files : at least one
    reserved : paths of tiles that cannot be read now; room is left where their names put them

    Raises
    ------
    GridError
        Different CRS, resolution, wavelengths or pixel grids; two tiles in one cell. Names both files.
    """
    for file in files[1:]:
        _require_same(files[0], file)
    boxes = [_box(files[0], file) for file in files]
    if len(files) == 1:
        (box,) = boxes
        cell, origin = _rows_of_chunks(files[0]), (box.top, box.left)
    else:
        cell, origin = _cells(files, boxes)
    cells = {_cell_of(box, cell, origin) for box in boxes}
    spaces = [*boxes, *_reserved(files[0], cell, origin, cells, reserved)]
    top = _floor(min(b.top for b in spaces), origin[0], cell[0])
    left = _floor(min(b.left for b in spaces), origin[1], cell[1])
    bottom, right = max(b.bottom for b in spaces), max(b.right for b in spaces)
    first, (dx, dy) = files[0], files[0].resolution
    grid = Grid(
        epsg=first.epsg,
        west=first.west + left * dx,
        north=first.north - top * dy,
        resolution=first.resolution,
        shape=(bottom - top, right - left),
        chunk=(min(cell[0], bottom - top), min(cell[1], right - left)),
    )
    return Layout(grid, tuple(Box(b.top - top, b.left - left, b.bottom - top, b.right - left) for b in boxes))


def slabs(file: NeonFile, grid: Grid) -> tuple[tuple[int, int], ...]:
    """Row ranges of the tile to compute one after another: whole chunks of the store, whole blocks of the file."""
    rows, columns = file.shape[:2]
    if rows * columns <= SLAB_PIXELS or grid.chunk[0] >= rows:
        return ((0, rows),)
    step = grid.chunk[0] * max(1, SLAB_PIXELS // (grid.chunk[0] * columns))
    return tuple((start, min(start + step, rows)) for start in range(0, rows, step))


def corner_in_name(path: str) -> str | None:
    """easting_northing in a NEON file name, None when it has none."""
    found = _CORNER.search(PurePath(path).name)
    return "_".join(found.groups()) if found else None


def difference(one: NeonFile, other: NeonFile) -> str:
    """Why two files cannot be in one mosaic, whatever their place; "" where they can."""
    try:
        _require_same(one, other)
        _box(one, other)
    except GridError as error:
        return str(error)
    return ""


def _require_same(one: NeonFile, other: NeonFile) -> None:
    if one.epsg != other.epsg:
        raise GridError(_differ(one, other, "lies in", f"EPSG:{one.epsg}", f"EPSG:{other.epsg}"))
    if not np.allclose(one.resolution, other.resolution, rtol=0, atol=1e-6):
        raise GridError(_differ(one, other, "has pixels of", f"{one.resolution} m", f"{other.resolution} m"))
    if one.wavelength.size != other.wavelength.size:
        sizes = (f"{one.wavelength.size} wavelengths", f"{other.wavelength.size} wavelengths")
        raise GridError(_differ(one, other, "has", *sizes))
    apart = np.abs(one.wavelength - other.wavelength)
    if apart.max() > 0.01:  # nm, as in schema.require_wavelengths
        at = int(apart.argmax())
        ours, theirs = (f"{f.wavelength[at]:.2f} nm as wavelength {at + 1}" for f in (one, other))
        raise GridError(_differ(one, other, "has", ours, theirs))


def _differ(one: NeonFile, other: NeonFile, has: str, ours: str, theirs: str) -> str:
    return f"{one.path} {has} {ours}, but {other.path} {has} {theirs}; run them in directories of their own"


def _box(first: NeonFile, file: NeonFile) -> Box:
    """The file's pixels, counted from the north-west pixel of the first file."""
    dx, dy = first.resolution
    top, left = (first.north - file.north) / dy, (file.west - first.west) / dx
    if max(abs(top - round(top)), abs(left - round(left))) > 0.01:  # pixels
        raise GridError(
            f"{file.path} is off the pixel grid of {first.path} by {top % 1:.2f} rows and {left % 1:.2f} columns; "
            "run them in directories of their own"
        )
    return Box(round(top), round(left), round(top) + file.shape[0], round(left) + file.shape[1])


def _cells(files: Sequence[NeonFile], boxes: Sequence[Box]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Size and origin of cells so that each tile lies in one of its own."""
    tallest = max(boxes, key=lambda b: b.bottom - b.top)
    widest = max(boxes, key=lambda b: b.right - b.left)
    own = (tallest.bottom - tallest.top, widest.right - widest.left), (tallest.top, widest.left)
    (dx, dy), first = files[0].resolution, files[0]
    # where every tile of a site is cropped, NEON's own lines of 1 km still part them
    kilometre = (max(1, round(1000 / dy)), max(1, round(1000 / dx)))
    lines = kilometre, (round(first.north % 1000 / dy), round(-(first.west % 1000) / dx))
    clash = _clash(files, boxes, *own)
    if clash is None:
        return own
    if _clash(files, boxes, *lines) is None:
        return lines
    raise GridError(clash)


def _clash(
    files: Sequence[NeonFile], boxes: Sequence[Box], cell: tuple[int, int], origin: tuple[int, int]
) -> str | None:
    taken: dict[tuple[int, int], NeonFile] = {}
    for file, box in zip(files, boxes, strict=True):
        at = _cell_of(box, cell, origin)
        if (other := taken.setdefault(at, file)) is not file:
            return (
                f"{other.path} {_place(other)} and {file.path} {_place(file)} overlap or share one cell of "
                f"{cell[0]} x {cell[1]} pixels; run them in directories of their own"
            )
        if _cell_of(Box(box.bottom - 1, box.right - 1, 0, 0), cell, origin) != at:
            neighbour = next((f for f in files if f is not file), file)
            return (
                f"{file.path} {_place(file)} lies across the cells of {cell[0]} x {cell[1]} pixels that "
                f"{neighbour.path} {_place(neighbour)} is on; run it in a directory of its own"
            )
    return None


def _place(file: NeonFile) -> str:
    west, south, east, north = file.bounds
    return f"({west:.10g}..{east:.10g} E, {south:.10g}..{north:.10g} N)"


def _cell_of(box: Box, cell: tuple[int, int], origin: tuple[int, int]) -> tuple[int, int]:
    return (box.top - origin[0]) // cell[0], (box.left - origin[1]) // cell[1]


def _floor(value: int, origin: int, step: int) -> int:
    return (value - origin) // step * step + origin


def _rows_of_chunks(file: NeonFile) -> tuple[int, int]:
    """Chunk of a mosaic of one tile: the tile, or whole rows of blocks of it where it is large."""
    rows, columns = file.shape[:2]
    block = hdf5.block_shape(file.reflectance)[0]
    if rows * columns <= SLAB_PIXELS or block >= rows:
        return rows, columns
    return min(rows, block * max(1, _CHUNK_PIXELS // (block * columns))), columns


def _reserved(
    first: NeonFile,
    cell: tuple[int, int],
    origin: tuple[int, int],
    taken: set[tuple[int, int]],
    paths: Sequence[str],
) -> list[Box]:
    """Cells of unreadable tiles by their names; none where the name says nothing or the cell is taken."""
    found: list[Box] = []
    dx, dy = first.resolution
    if len(taken) == 1 and cell[0] < first.shape[0]:
        return found  # chunks of rows: no other tile fits beside
    for corner in filter(None, map(corner_in_name, paths)):
        easting, northing = map(int, corner.split("_"))
        bottom, left = round((first.north - northing) / dy), round((easting - first.west) / dx)
        box = Box(bottom - cell[0], left, bottom, left + cell[1])
        aligned = (box.top - origin[0]) % cell[0] == 0 == (box.left - origin[1]) % cell[1]
        if aligned and _cell_of(box, cell, origin) not in taken:
            found.append(box)
    return found
