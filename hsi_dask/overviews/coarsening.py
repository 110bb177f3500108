"""From each level of a mosaic to the next, which is half as fine: chunk by chunk, and only where there are tiles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsi_dask.io.levels import stored_array
from hsi_dask.io.map_grid import Grid
from hsi_dask.overviews.jobs import Stages
from hsi_dask.overviews.statistics import Cell, Plane, place
from hsi_dask.schema import Variable

WINDOW = 4.0  # what a plane of a coarser chunk costs, of reading a plane of a chunk


@dataclass(frozen=True)
class Step:
    """From one level to the next: Zarr folder and group of both, their grids, and the chunks that hold data."""

    source: Path
    group: str
    fine: Grid
    target: Path
    coarse: Grid
    coarse_group: str
    cells: Collection[Cell]

    def windows(self) -> dict[Cell, list[Cell]]:
        """The chunks of the coarse level that get data, and the fine ones that each is made of."""
        found: defaultdict[Cell, list[Cell]] = defaultdict(list)
        for row, column in self.cells:
            down, across = row * self.fine.chunk[0], column * self.fine.chunk[1]
            found[down // (2 * self.coarse.chunk[0]), across // (2 * self.coarse.chunk[1])].append((row, column))
        return found


def steps_between(finest: Path, group: str, part: Path, grids: Mapping[int, Grid], cells: set[Cell]) -> Iterator[Step]:
    """From each level to the next; the finest is in a folder and group of its own, the others are in `part`."""
    for fine, coarse in pairwise(grids):
        source, inside = (finest, group) if fine == 1 else (part, f"{fine}/")
        step = Step(source, inside, grids[fine], part, grids[coarse], f"{coarse}/", cells)
        yield step
        cells = set(step.windows())


def coarsen(step: Step, planes: Sequence[Plane], stages: Stages) -> None:
    """Fill the coarse level with these planes."""
    names = {plane.name for plane in planes}
    sources = {name: stored_array(step.source, step.group + name) for name in names}
    targets = {name: stored_array(step.target, step.coarse_group + name, "r+") for name in names}

    def one(job: tuple[Plane, tuple[Cell, list[Cell]]]) -> None:
        (variable, at), (window, cells) = job
        name = variable.name
        sides = zip(place(step.coarse, window), step.fine.shape, strict=True)
        rows, columns = (slice(2 * side.start, min(2 * side.stop, most)) for side, most in sides)
        shape = rows.stop - rows.start, columns.stop - columns.start
        values = np.full(shape, variable.fill_value, sources[name].dtype)
        for cell in cells:  # chunks of tiles that are not done are not looked at
            down, across = place(step.fine, cell)
            inside = _moved(down, rows.start), _moved(across, columns.start)
            values[inside] = sources[name][(*at, down, across)]
        targets[name][(*at, *place(step.coarse, window))] = halved(values, variable)

    for _ in stages.map(one, product(planes, step.windows().items()), WINDOW):
        pass  # to raise what a thread raised


def _moved(along: slice, start: int) -> slice:
    return slice(along.start - start, along.stop - start)


def halved(values: NDArray[Any], spec: Variable) -> NDArray[Any]:
    """Every 2 x 2 stored pixels of a map as one: the mean of those with data, or of classes and flags the commonest.

    Of equally common values the north-western one is taken. A last odd row or column stands for itself.
    """
    odd = [(0, n % 2) for n in values.shape]
    whole = np.pad(values, odd, constant_values=spec.fill_value) if any(map(any, odd)) else values
    quarters = [whole[i::2, j::2] for i in (0, 1) for j in (0, 1)]
    if values.dtype.kind != "f":
        return _commonest(np.stack(quarters), int(spec.fill_value))
    mean = (quarters[0] + quarters[1] + quarters[2] + quarters[3]) / np.float32(4)
    if np.isnan(mean).any():  # somewhere: only there are pixels with data counted
        _fill_means(mean, quarters)
    return np.asarray(mean)


def _fill_means(mean: NDArray[np.float32], quarters: Sequence[NDArray[np.float32]]) -> None:
    """Where a mean of four is none, the mean of those with data."""
    holes = np.isnan(mean)
    parts = np.stack([quarter[holes] for quarter in quarters])
    good = ~np.isnan(parts)
    with np.errstate(invalid="ignore"):  # 0 / 0: nothing has data
        mean[holes] = np.where(good, parts, 0).sum(axis=0, dtype=np.float32) / good.sum(axis=0, dtype=np.float32)


def _commonest(quarters: NDArray[Any], fill: int) -> NDArray[Any]:
    """(4, y, x) -> (y, x); the fill value only where there is nothing else."""
    votes = np.stack([(quarters == one).sum(axis=0, dtype=np.uint8) for one in quarters])
    votes[quarters == fill] = 0
    return np.asarray(np.take_along_axis(quarters, votes.argmax(axis=0)[None], axis=0)[0])
