"""Overlapping tiles and flight lines as cells that share no pixel, when a run asks for a rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hsi_dask.batch.tiles.layout import Box, Lines, boxes_of
from hsi_dask.io.cells import CRITERIA, SUFFIX, Cell, Order, Part, cell_source
from hsi_dask.io.tile_source import TileSource
from hsi_dask.ops.grids import corner_name

CELLS = "cells"  # the folder of a run directory that holds their documents
_KILOMETRE = 1000.0


@dataclass(frozen=True)
class Cut:
    """A mosaic cut into cells.

    Attributes
    ----------
    files : the cells as tiles
    cells : which files each is of, by the path of its document
    lines : where cells are
    sources : the files, by path
    rule : which file holds, in words
    """

    files: tuple[TileSource, ...]
    cells: Mapping[str, Cell]
    lines: Lines
    sources: Mapping[str, TileSource]
    rule: str

    def read_share(self, cell: TileSource) -> float:
        """Which share of its files' bytes is read for a cell: of files stored in whole planes all of them."""
        parts = [self.sources[part.path] for part in self.cells[cell.path].parts]
        read = sum(part.file_size * _share(part, cell) for part in parts)
        return read / max(1, sum(part.file_size for part in parts))


def cut_into_cells(files: Sequence[TileSource], order: Order, folder: Path) -> Cut:
    """Cells of files that may overlap: of 1 km along NEON's own lines, or as large as the largest file.

    Parameters
    ----------
    order : which file holds where several have data: the first or the last in the order of their paths; or the best,
        which is the least cloudy, then the one nearest to nadir, by those of these layers that all files have
    folder : where the cells' documents will be

    Raises
    ------
    GridError
        The files' pixel grids do not align, or their numbers mean different things. Names both.
    """
    ordered = sorted(files, key=lambda file: file.path, reverse=order == "last")
    rule = tuple(r for r in CRITERIA if order == "best" and all(r in file.layer_roles for file in files))
    boxes, (dx, dy), first = boxes_of(ordered), ordered[0].resolution, ordered[0]
    size, origin = _lines(first, boxes)
    held: dict[tuple[int, int], list[int]] = {}
    for number, box in enumerate(boxes):
        for at in _cells_of(box, size, origin):
            held.setdefault(at, []).append(number)
    cells, sources = {}, []
    for at, numbers in sorted(held.items()):
        box = _space(at, [boxes[n] for n in numbers], size, origin)
        parts = tuple(Part(ordered[n].path, ordered[n].file_size, ordered[n].mtime_ns) for n in numbers)
        cell = Cell(
            first.west + box.left * dx, first.north - box.top * dy, (box.bottom - box.top, box.right - box.left), parts,
            rule,  # type: ignore[arg-type]  # CRITERIA are these roles
        )  # fmt: skip
        path = str(folder / f"{corner_name(cell.west, cell.north - cell.shape[0] * dy)}{SUFFIX}")
        cells[path] = cell
        sources.append(cell_source(cell, path, [ordered[n] for n in numbers]))
    corner = first.west + origin[1] * dx, first.north - origin[0] * dy
    return Cut(tuple(sources), cells, Lines(size, corner), {file.path: file for file in files}, _in_words(order, rule))


_LEAST = {"cloud": "the least cloudy", "view_zenith": "the one nearest to nadir"}


def _in_words(order: Order, rule: Sequence[str]) -> str:
    """Which file holds; of the best, what is left of it where files lack layers."""
    if order != "best":
        return f"the {order} holds"
    lacking = " or ".join(role.replace("_", " ") for role in CRITERIA if role not in rule)
    holds = ", then ".join([*(_LEAST[role] for role in rule), "the first"])
    return f"{holds} holds" + (f" (not all files have a layer of {lacking})" if lacking else "")


def _lines(first: TileSource, boxes: Sequence[Box]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns of a cell, and the pixel where one begins."""
    dx, dy = first.resolution
    kilometre = max(1, round(_KILOMETRE / dy)), max(1, round(_KILOMETRE / dx))
    largest = max(box.bottom - box.top for box in boxes), max(box.right - box.left for box in boxes)
    if largest[0] >= kilometre[0] and largest[1] >= kilometre[1]:
        return kilometre, (round(first.north % _KILOMETRE / dy), round(-(first.west % _KILOMETRE) / dx))
    size = min(kilometre[0], largest[0]), min(kilometre[1], largest[1])
    return size, (min(box.top for box in boxes), min(box.left for box in boxes))


def _cells_of(box: Box, size: tuple[int, int], origin: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Row and column of every cell that a box touches."""
    top, left = (box.top - origin[0]) // size[0], (box.left - origin[1]) // size[1]
    bottom, right = (box.bottom - 1 - origin[0]) // size[0], (box.right - 1 - origin[1]) // size[1]
    for row in range(top, bottom + 1):
        yield from ((row, column) for column in range(left, right + 1))


def _space(at: tuple[int, int], boxes: Sequence[Box], size: tuple[int, int], origin: tuple[int, int]) -> Box:
    """The least box that holds what files have of a cell."""
    top, left = origin[0] + at[0] * size[0], origin[1] + at[1] * size[1]
    return Box(
        max(top, min(box.top for box in boxes)),
        max(left, min(box.left for box in boxes)),
        min(top + size[0], max(box.bottom for box in boxes)),
        min(left + size[1], max(box.right for box in boxes)),
    )


def _share(part: TileSource, cell: TileSource) -> float:
    """Which share of a file's chunks a cell needs, about."""
    rows, columns = part.shape[:2]
    if part.reflectance.stored_chunks[0] >= rows and part.reflectance.stored_chunks[1] >= columns:
        return 1.0
    (w, s, e, n), (west, south, east, north) = part.bounds, cell.bounds
    wide, tall = max(0.0, min(e, east) - max(w, west)), max(0.0, min(n, north) - max(s, south))
    return wide * tall / ((e - w) * (n - s))
