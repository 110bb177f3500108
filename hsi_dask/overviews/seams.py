"""Seams of a mosaic: what changes from tile to tile, and from flight line to flight line, against what is ordinary.

Read from the maps and the quicklook as they are stored, each chunk once. Kept in the run directory as `seams.json`.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.batch.observer import Advanced
from hsi_dask.errors import RunError
from hsi_dask.io.cells import SUFFIX
from hsi_dask.io.documents import Digest, Text, read_document
from hsi_dask.io.durable import digest, write_file
from hsi_dask.io.levels import stored_array
from hsi_dask.io.map_grid import Grid
from hsi_dask.overviews.jobs import Stages
from hsi_dask.overviews.overlaps import Overlapped, overlapped
from hsi_dask.overviews.overviews import QUICKLOOK_WAVELENGTHS, Overviews
from hsi_dask.overviews.statistics import Cell, Plane, damage_named, place, planes_of
from hsi_dask.overviews.steps import Number, Ordinary, Step, ordinary, step_of, together
from hsi_dask.schema import CLASS_DIMS, QUICKLOOK

logger = logging.getLogger(__name__)

SEAMS = "seams.json"  # in the run directory
PLAIN = 4.0  # spreads of lines inside the tiles: a step of so many is no chance
_VERSION = 1
_ROLES = ("fraction", "score", "class", "residual", "shade")  # of maps that are compared

Where = Literal["edge", "inside", "overlap"]


@dataclass(frozen=True)
class Seam:
    """Where pixels of two tiles, or two flight lines, are neighbours, and what changes there.

    Attributes
    ----------
    first, second : tiles, the western or northern first; or files, where overlapping ones were cut into cells
    where : edge (of tiles or cells), inside (a cell), overlap (pixels that both files have)
    cell : the tile or cell, of an edge the first
    points : x and y along the seam: both ends of an edge; of seams inside a cell some of its pixels
    steps : for each plane of the maps that are compared
    """

    first: Text
    second: Text
    where: Where
    cell: Text
    points: tuple[tuple[Number, Number], ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class _Document:
    """As the run directory keeps them; `records` says of which tiles."""

    records: Digest
    seams: tuple[Seam, ...]


def seams_of(overviews: Overviews, advanced: Advanced = lambda share: None) -> tuple[Seam, ...]:
    """The seams between all finished tiles: those that the run directory keeps, or made now and kept.

    A run directory that cannot be written only costs the time again.
    """
    path = overviews.run.path / SEAMS
    identity = digest(f"{_VERSION} {overviews.identity}".encode())
    if path.is_file():
        try:
            kept = read_document(path, _Document)
        except RunError as error:
            logger.info("the seams are looked for anew: %s", error)
        else:
            if kept.records == identity:
                return kept.seams
    found = tuple(_found(overviews, advanced))
    with suppress(OSError):
        write_file(path, json.dumps(asdict(_Document(identity, found)), separators=(",", ":")).encode())
    return found


# ------------------------------------------------------------------------------------------------ where


class _Joint(NamedTuple):
    """Neighbours of two sources: which pixels of the edges of two chunks, or pairs of pixels inside one."""

    seam: Seam
    cells: tuple[Cell, Cell]
    axis: int = 0
    along: NDArray[np.intp] | slice = slice(None)
    pixels: tuple[NDArray[np.intp], NDArray[np.intp]] | None = None


def _joints(overviews: Overviews, found: Mapping[Cell, Overlapped]) -> Iterator[_Joint]:
    """Every place where sources meet: along the lines of chunks, and of overlapping files inside them."""
    tiles = {cell: record.tile for record in overviews.records for cell in record.cells}
    whole = {cell for record in overviews.records if not record.path.endswith(SUFFIX) for cell in record.cells}
    grid = overviews.grid
    for cell, tile in sorted(tiles.items()):
        for axis, other in ((1, (cell[0], cell[1] + 1)), (0, (cell[0] + 1, cell[1]))):
            if other not in tiles or tiles[other] == tile:
                continue
            if cell in found and other in found:
                for first, second, along in found[cell].meeting(found[other], axis):
                    points = _edge(grid, cell, axis, along)
                    yield _Joint(Seam(first, second, "edge", tile, points, ()), (cell, other), axis, along)
            elif cell in whole and other in whole:
                points = _edge(grid, cell, axis, slice(None))
                yield _Joint(Seam(tile, tiles[other], "edge", tile, points, ()), (cell, other), axis)
        if cell in found:
            window = place(grid, cell)
            for first, second, pixels in found[cell].inner():
                points = _spots(grid, window, pixels[0])
                yield _Joint(Seam(first, second, "inside", tile, points, ()), (cell, cell), pixels=pixels)


def _edge(grid: Grid, cell: Cell, axis: int, along: NDArray[np.intp] | slice) -> tuple[tuple[float, float], ...]:
    """The ends of the far edge of a chunk, or of the part that these pixels span: towards south (axis 0) or east."""
    rows, columns = place(grid, cell)
    start, stop = (columns.start, columns.stop) if axis == 0 else (rows.start, rows.stop)
    if not isinstance(along, slice):
        start, stop = start + int(along.min()), start + int(along.max()) + 1
    ends = ((rows.stop, start), (rows.stop, stop)) if axis == 0 else ((start, columns.stop), (stop, columns.stop))
    return tuple(_at(grid, *end) for end in ends)


def _spots(grid: Grid, window: tuple[slice, slice], pixels: NDArray[np.intp], most: int = 60) -> tuple[Any, ...]:
    """Some of these pixels of a chunk, by their place."""
    rows, columns = window
    chosen = pixels[:: -(-pixels.size // most)]
    down, across = np.unravel_index(chosen, (rows.stop - rows.start, columns.stop - columns.start))
    return tuple(_at(grid, rows.start + y + 0.5, columns.start + x + 0.5) for y, x in zip(down, across, strict=True))


def _at(grid: Grid, row: float, column: float) -> tuple[float, float]:
    (dx, dy), (west, north) = grid.resolution, (grid.west, grid.north)
    return float(west + column * dx), float(north - row * dy)


# ------------------------------------------------------------------------------------------------ steps


class _Profile(NamedTuple):
    """What seams need of a plane of a chunk: its edges, what is ordinary inside, and the steps inside."""

    edges: tuple[tuple[NDArray[Any], NDArray[Any]], ...]  # first and last row; first and last column
    usual: tuple[Ordinary | None, Ordinary | None]
    steps: list[Step | None]


def _found(overviews: Overviews, advanced: Advanced) -> Iterator[Seam]:
    """Seams with their steps; those without any, for want of pixels with data, are left out."""
    maps = [variable for variable in overviews.run.manifest.variables if variable.role in _ROLES]
    looks = [Plane(QUICKLOOK, (n,)) for n in range(len(QUICKLOOK_WAVELENGTHS))]
    planes, cells = [*looks, *planes_of(maps, overviews.sizes)], sorted(overviews.cells)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        stages = Stages(pool, max(1, len(planes) * len(cells) + len(overviews.records)), advanced)
        found = overlapped(overviews, stages)
        joints = list(_joints(overviews, found))
        steps: list[list[Step]] = [[] for _ in joints]
        for plane in planes if joints else ():
            profiles = _profiles(overviews, plane, cells, joints, stages)
            for number, joint in enumerate(joints):
                if (step := _step(joint, number, profiles, plane)) is not None:
                    steps[number].append(step)
    for joint, known in zip(joints, steps, strict=True):
        if known:
            yield replace(joint.seam, steps=tuple(known))
    for record in overviews.records:
        for cell in record.cells & found.keys():
            for first, second, both in found[cell].overlaps:
                points = _edge(overviews.grid, cell, 0, slice(None))
                yield Seam(first, second, "overlap", record.tile, points, both)
    advanced(1.0)


def _profiles(
    overviews: Overviews, plane: Plane, cells: Sequence[Cell], joints: Sequence[_Joint], stages: Stages
) -> dict[Cell, _Profile]:
    """A plane's chunks, each read once."""
    look = plane.variable is QUICKLOOK
    path, name = (overviews.path, f"1/{plane.name}") if look else (overviews.run.results, plane.name)
    array, grid = stored_array(path, name), overviews.grid
    inner: dict[Cell, list[_Joint]] = {cell: [] for cell in cells}
    for joint in joints:
        if joint.pixels is not None:
            inner[joint.cells[0]].append(joint)

    def one(cell: Cell) -> _Profile:
        window = place(grid, cell)
        with damage_named(plane.name, window, path):
            values = array[(*plane.at, *window)]
        usual = ordinary(values, 0, plane.variable), ordinary(values, 1, plane.variable)
        both = together([one for one in usual if one is not None])
        flat, number = values.ravel(), _number(plane)
        steps = [
            step_of(flat[a], flat[b], plane.variable, number, both)
            for a, b in (joint.pixels for joint in inner[cell] if joint.pixels is not None)
        ]
        edges = (values[0].copy(), values[-1].copy()), (values[:, 0].copy(), values[:, -1].copy())
        return _Profile(edges, usual, steps)

    return dict(zip(cells, stages.map(one, cells), strict=True))


def _number(plane: Plane) -> int:
    return plane.at[0] if len(plane.variable.dims) > len(CLASS_DIMS) else -1


def _step(joint: _Joint, number: int, profiles: Mapping[Cell, _Profile], plane: Plane) -> Step | None:
    one, other = (profiles[cell] for cell in joint.cells)
    if joint.pixels is not None:
        return one.steps.pop(0)  # in the order of the joints
    first, second = one.edges[joint.axis][1], other.edges[joint.axis][0]
    usual = together([found for found in (one.usual[joint.axis], other.usual[joint.axis]) if found is not None])
    return step_of(first[joint.along], second[joint.along], plane.variable, _number(plane), usual)
