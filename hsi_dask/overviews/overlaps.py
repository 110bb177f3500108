"""Overlapping files in the cells of a run: which file each pixel is of, and how files differ where both have data."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hsi_dask.batch.state.manifest import TileRecord
from hsi_dask.batch.tiles.area import cut
from hsi_dask.errors import FileFormatError, GridError
from hsi_dask.io.cells import SUFFIX, Layers, parts_of
from hsi_dask.io.chunked import InMemory
from hsi_dask.io.decoding import Reflectance
from hsi_dask.io.readers import read_source
from hsi_dask.io.tile_source import TileSource
from hsi_dask.overviews.jobs import Stages
from hsi_dask.overviews.overviews import Overviews, nearest_bands, place_of
from hsi_dask.overviews.statistics import Cell, place
from hsi_dask.overviews.steps import FEWEST, Step, relative_step, rounded
from hsi_dask.schema import QUICKLOOK

logger = logging.getLogger(__name__)

_MOST = 5000  # pairs of neighbours of two files in a cell: more tell no more

Pixels = tuple[NDArray[np.intp], NDArray[np.intp]]


@dataclass(frozen=True)
class Overlapped:
    """Whose pixels a chunk has.

    Attributes
    ----------
    names : of the files
    owner_edges : numbers of files along first and last row, first and last column; -1 no data
    seams : numbers of two files, and their pixels that are neighbours, as places in the chunk
    overlaps : names of two files, and the steps in reflectance from the first to the second over pixels of both
    """

    names: tuple[str, ...]
    owner_edges: tuple[tuple[NDArray[np.int16], NDArray[np.int16]], ...]
    seams: tuple[tuple[int, int, Pixels], ...]
    overlaps: tuple[tuple[str, str, tuple[Step, ...]], ...]

    def meeting(self, other: Overlapped, axis: int) -> Iterator[tuple[str, str, NDArray[np.intp]]]:
        """Files that meet at the edge to the chunk in the south (axis 0) or east, and where along it."""
        mine, theirs = self.owner_edges[axis][1], other.owner_edges[axis][0]
        known = (mine >= 0) & (theirs >= 0)
        for a, b in sorted(set(zip(mine[known].tolist(), theirs[known].tolist(), strict=True))):
            if self.names[a] != other.names[b]:
                yield self.names[a], other.names[b], np.flatnonzero((mine == a) & (theirs == b))

    def inner(self) -> Iterator[tuple[str, str, Pixels]]:
        """Files that meet inside, and their pixels that are neighbours."""
        for a, b, pixels in self.seams:
            yield self.names[a], self.names[b], pixels


def overlapped(overviews: Overviews, stages: Stages) -> dict[Cell, Overlapped]:
    """Of the chunks that are cells of overlapping files which can be read, whose pixels they have."""

    def one(record: TileRecord) -> tuple[Cell, Overlapped] | None:
        if not record.path.endswith(SUFFIX):
            return None
        try:
            return _overlapped(overviews, record)
        except (FileFormatError, GridError, OSError) as error:
            logger.info("no seams inside %s: %s", record.tile, error)
            return None

    return dict(found for found in stages.map(one, overviews.records) if found is not None)


def _overlapped(overviews: Overviews, record: TileRecord) -> tuple[Cell, Overlapped]:
    file, grid, (cell,) = read_source(record.path), overviews.grid, record.cells
    layers = file.reflectance
    if not isinstance(layers, Layers):
        raise FileFormatError(f"{record.path} is no cell of overlapping tiles")
    row, column = place_of(file, grid, record)
    rows, columns = place(grid, cell)
    owner = np.full((rows.stop - rows.start, columns.stop - columns.start), -1, np.int16)
    top, left = row - rows.start, column - columns.start
    owner[top : top + file.shape[0], left : left + file.shape[1]] = layers.owner
    edges = (owner[0], owner[-1]), (owner[:, 0], owner[:, -1])
    names = tuple(Path(path).stem for path in parts_of(record.path))
    region = overviews.run.manifest.region
    inside = None if region is None else cut(file, region).inside
    steps = tuple((names[a], names[b], found) for a, b, found in _differences(file, layers, inside))
    return cell, Overlapped(names, edges, tuple(_seams(owner)), steps)


def _seams(owner: NDArray[np.int16]) -> Iterator[tuple[int, int, Pixels]]:
    """Neighbours of different files, by the numbers of these: the smaller first."""
    place_in = np.arange(owner.size).reshape(owner.shape)
    found: dict[tuple[int, int], list[NDArray[np.intp]]] = {}
    for (a, b), (at_a, at_b) in zip(
        ((owner[:-1], owner[1:]), (owner[:, :-1], owner[:, 1:])),
        ((place_in[:-1], place_in[1:]), (place_in[:, :-1], place_in[:, 1:])), strict=True,
    ):  # fmt: skip
        differ = (a != b) & (a >= 0) & (b >= 0)
        pairs, places = np.stack([a[differ], b[differ]]), np.stack([at_a[differ], at_b[differ]])
        turned = pairs[0] > pairs[1]
        places[:, turned] = places[::-1, turned]
        pairs.sort(axis=0)
        for one, other in np.unique(pairs, axis=1).T.tolist():
            mine = (pairs[0] == one) & (pairs[1] == other)
            found.setdefault((one, other), []).append(places[:, mine])
    for (one, other), parts in sorted(found.items()):
        both = np.concatenate(parts, axis=1)
        first, second = both[:, :: -(-both.shape[1] // _MOST)]
        yield one, other, (first, second)


def _differences(
    file: TileSource, layers: Layers, inside: NDArray[np.bool_] | None
) -> Iterator[tuple[int, int, tuple[Step, ...]]]:
    """Of every two files with common pixels the median difference of reflectance, and how it varies over pixels."""
    bands, order = nearest_bands(file)
    decoded = []
    for number in range(len(layers.parts)):
        stored = InMemory(layers.planes(number, bands))
        values = Reflectance(stored, file.scale_factor, file.fill_value)[:, :, order]
        if inside is not None:
            values[~inside] = np.nan
        decoded.append(values)
    for a, b in combinations(range(len(decoded)), 2):
        found = decoded[b] - decoded[a]
        both = np.isfinite(found).all(axis=-1)
        if both.sum() < FEWEST:
            continue
        first, second = decoded[a][both].T, decoded[b][both].T  # (wavelength, pixel)
        yield a, b, tuple(_compared(n, *planes) for n, planes in enumerate(zip(first, second, strict=True)))


def _compared(number: int, first: NDArray[np.float32], second: NDArray[np.float32]) -> Step:
    """The step between the same pixels, and how far single ones are from it."""
    change = second - first
    step = float(np.median(change))
    texture = rounded(float(np.median(np.abs(change - step))))
    return Step(QUICKLOOK.name, number, change.size, rounded(step), relative_step(first, second), texture=texture)
