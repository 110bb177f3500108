"""Tiles on one pixel grid: the mosaic they span, and the cells of it that each tile owns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hsi_dask.errors import GridError
from hsi_dask.io import blocks
from hsi_dask.io import crs as reference
from hsi_dask.io.map_grid import Grid
from hsi_dask.io.readers import corner_in_name
from hsi_dask.io.tile_source import TileSource
from hsi_dask.ops.grids import PixelGrid, offset

# A cell of more pixels is cut into chunks of rows, and computed in slabs of about so many pixels: 16 planes of
# float32 are 270 MB
SLAB_PIXELS = 1536 * 1536
_CHUNK_PIXELS = 1000 * 1000  # of such chunks: what a tile of 1 km has
_APART = "run them in directories of their own"


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


class Lines(NamedTuple):
    """Where cells are: rows and columns of one, and west and north of a corner."""

    size: tuple[int, int]
    corner: tuple[float, float]


def lay_out(files: Sequence[TileSource], reserved: Sequence[str] = (), lines: Lines | None = None) -> Layout:
    """Place files on one grid of cells, one tile a cell.

    Parameters
    ----------
    files : at least one
    reserved : paths of tiles that cannot be read now; room is left where their names put them
    lines : of the cells, if they are known

    Raises
    ------
    GridError
        Different CRS, resolution, wavelengths or pixel grids; two tiles in one cell. Names both files.
    """
    boxes = boxes_of(files)
    if lines is not None:
        (dx, dy), (west, north) = files[0].resolution, lines.corner
        cell, origin = lines.size, (round((files[0].north - north) / dy), round((west - files[0].west) / dx))
    elif len(files) == 1:
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
        crs=first.crs,
        west=first.west + left * dx,
        north=first.north - top * dy,
        resolution=first.resolution,
        shape=(bottom - top, right - left),
        chunk=(min(cell[0], bottom - top), min(cell[1], right - left)),
    )
    return Layout(grid, tuple(Box(b.top - top, b.left - left, b.bottom - top, b.right - left) for b in boxes))


def boxes_of(files: Sequence[TileSource]) -> list[Box]:
    """Each file's pixels, counted from the north-west pixel of the first; GridError where their grids do not align."""
    return [_box(files[0], file) for file in files]


def slabs(file: TileSource, grid: Grid) -> tuple[tuple[int, int], ...]:
    """Row ranges of the tile to compute one after another: whole chunks of the store, whole blocks of the file."""
    rows, columns = file.shape[:2]
    if rows * columns <= SLAB_PIXELS or grid.chunk[0] >= rows:
        return ((0, rows),)
    step = grid.chunk[0] * max(1, SLAB_PIXELS // (grid.chunk[0] * columns))
    return tuple((start, min(start + step, rows)) for start in range(0, rows, step))


def difference(one: TileSource, other: TileSource) -> str:
    """Why two files cannot be in one mosaic, whatever their place; "" where they can."""
    try:
        offset(_pixels(one), _pixels(other), _APART)
    except GridError as error:
        return str(error)
    return ""


def _pixels(file: TileSource) -> PixelGrid:
    unit = reference.unit(file.crs)
    return PixelGrid(file.path, file.crs, file.west, file.north, file.resolution, unit, file.wavelength)


def _box(first: TileSource, file: TileSource) -> Box:
    """The file's pixels, counted from the north-west pixel of the first file."""
    top, left = offset(_pixels(first), _pixels(file), _APART)
    return Box(top, left, top + file.shape[0], left + file.shape[1])


def _cells(files: Sequence[TileSource], boxes: Sequence[Box]) -> tuple[tuple[int, int], tuple[int, int]]:
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
    files: Sequence[TileSource], boxes: Sequence[Box], cell: tuple[int, int], origin: tuple[int, int]
) -> str | None:
    occupied: dict[tuple[int, int], TileSource] = {}
    for file, box in zip(files, boxes, strict=True):
        at = _cell_of(box, cell, origin)
        if (other := occupied.setdefault(at, file)) is not file:
            return (
                f"{other.path} {_place(other)} and {file.path} {_place(file)} overlap or share one cell of "
                f"{cell[0]} x {cell[1]} pixels; {_APART}, or say which holds where they overlap (--overlap first, "
                "last or best)"
            )
        if _cell_of(Box(box.bottom - 1, box.right - 1, 0, 0), cell, origin) != at:
            neighbour = next((f for f in files if f is not file), file)
            return (
                f"{file.path} {_place(file)} lies across the cells of {cell[0]} x {cell[1]} pixels that "
                f"{neighbour.path} {_place(neighbour)} is on; run it in a directory of its own, or cut all "
                "into cells (--overlap first, last or best)"
            )
    return None


def _place(file: TileSource) -> str:
    west, south, east, north = file.bounds
    return f"({west:.10g}..{east:.10g} E, {south:.10g}..{north:.10g} N)"


def _cell_of(box: Box, cell: tuple[int, int], origin: tuple[int, int]) -> tuple[int, int]:
    return (box.top - origin[0]) // cell[0], (box.left - origin[1]) // cell[1]


def _floor(value: int, origin: int, step: int) -> int:
    return (value - origin) // step * step + origin


def _rows_of_chunks(file: TileSource) -> tuple[int, int]:
    """Chunk of a mosaic of one tile: the tile, or whole rows of blocks of it where it is large."""
    rows, columns = file.shape[:2]
    block = blocks.block_shape(file.reflectance)[0]
    if rows * columns <= SLAB_PIXELS or block >= rows:
        return rows, columns
    return min(rows, block * max(1, _CHUNK_PIXELS // (block * columns))), columns


def _reserved(
    first: TileSource,
    cell: tuple[int, int],
    origin: tuple[int, int],
    occupied: set[tuple[int, int]],
    paths: Sequence[str],
) -> list[Box]:
    """Cells of unreadable tiles by their names; none where the name says nothing or the cell is taken."""
    found: list[Box] = []
    dx, dy = first.resolution
    if len(occupied) == 1 and cell[0] < first.shape[0]:
        return found  # chunks of rows: no other tile fits beside
    for corner in filter(None, map(corner_in_name, paths)):
        easting, northing = map(float, corner.split("_"))
        bottom, left = round((first.north - northing) / dy), round((easting - first.west) / dx)
        box = Box(bottom - cell[0], left, bottom, left + cell[1])
        aligned = (box.top - origin[0]) % cell[0] == 0 == (box.left - origin[1]) % cell[1]
        if aligned and _cell_of(box, cell, origin) not in occupied:
            found.append(box)
    return found
