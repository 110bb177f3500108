"""Change on disk: difference maps at every level, with exact statistics, made block by block for files and pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import dask.array as da
import xarray as xr
from dask.base import compute
from dask.callbacks import Callback

from hsi_dask.batch.observer import Advanced
from hsi_dask.comparison.changes import change_variables, changes_of
from hsi_dask.comparison.pairs import Pair
from hsi_dask.io import levels as levels_store
from hsi_dask.io import map_arrays, store
from hsi_dask.io.damage import damage_named
from hsi_dask.io.levels import level_grids, stored_array
from hsi_dask.io.map_grid import Grid
from hsi_dask.overviews.coarsening import WINDOW, coarsen, steps_between
from hsi_dask.overviews.jobs import Stages
from hsi_dask.overviews.statistics import Cell, Statistics, planes_of, statistics_of
from hsi_dask.schema import Variable, X, Y

_DIFFERENCES = 0.6  # the share of time in which differences are computed; the rest are levels and statistics


@dataclass(frozen=True)
class Changes:
    """Difference maps of two runs in a Zarr folder.

    Attributes
    ----------
    tables : the areas and transitions of `compare`, in memory
    variables : the maps
    statistics : of every plane, by the map's name
    """

    pair: Pair
    path: Path
    tables: xr.Dataset
    variables: tuple[Variable, ...]
    statistics: Mapping[str, tuple[Statistics, ...]]

    @property
    def grid(self) -> Grid:
        return self.pair.grid

    @property
    def cells(self) -> set[Cell]:
        """The chunks of the maps: all, for those without data are not there and cost nothing."""
        return _cells(self.grid)

    def source(self, name: str, factor: int = 1) -> tuple[Path, str]:
        """Zarr folder and name of a map's array at a level."""
        return self.path, f"{factor}/{name}"

    def at(self, pixels: int) -> xr.Dataset:
        """The maps at the coarsest level whose longer side still has so many pixels, in memory when indexed."""
        sizes = {factor: max(grid.shape) for factor, grid in level_grids(self.grid).items()}
        factor = max((factor for factor, size in sizes.items() if size >= pixels), default=1)
        return store.open_maps(self.path, group=str(factor), chunks=None)


def store_changes(pair: Pair, path: Path, *, confidence: float, advanced: Advanced) -> Changes:
    """Compute the change of two runs into a folder; blocks that are in work are the memory.

    Raises
    ------
    RunError
        A map cannot be read.
    OSError
        The folder cannot be written.
    """
    changes, variables = changes_of(pair, confidence), change_variables(pair)
    grids = level_grids(pair.grid)
    advanced(0.0)
    levels_store.create_map_levels(path, grids, variables, pair.endmembers, {})
    tables = changes[[name for name in changes if not {Y, X} & set(changes[name].dims)]]
    targets = [stored_array(path, f"1/{v.name}", "r+") for v in variables]
    sources = [changes[v.name].data for v in variables]
    with damage_named(pair.before.path, pair.after.path), _Progress(advanced, _DIFFERENCES):
        writing = da.store(sources, targets, lock=False, compute=False)
        _, tables = compute(writing, tables, scheduler="threads")
    return Changes(pair, path, tables, variables, _with_levels(pair, path, variables, advanced))


def _with_levels(
    pair: Pair, path: Path, variables: tuple[Variable, ...], advanced: Advanced
) -> dict[str, tuple[Statistics, ...]]:
    """Fill the coarser levels; exact statistics of the finest."""
    grids, cells = level_grids(pair.grid), _cells(pair.grid)
    sizes = {dim: numbers.size for dim, numbers in map_arrays.endmember_planes(pair.endmembers).items()}
    planes = planes_of(variables, sizes)
    steps = list(steps_between(path, "1/", path, grids, cells))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        total = len(planes) * (len(cells) + WINDOW * sum(len(step.windows()) for step in steps))
        stages = Stages(pool, total, lambda share: advanced(_DIFFERENCES + (1 - _DIFFERENCES) * share))
        found = statistics_of(path / "1", pair.grid, planes, sorted(cells), stages)
        for step in steps:
            coarsen(step, planes, stages)
    return {name: tuple(Statistics(**one) for one in each) for name, each in found.items()}


def _cells(grid: Grid) -> set[Cell]:
    rows, columns = (-(-size // chunk) for size, chunk in zip(grid.shape, grid.chunk, strict=True))
    return set(product(range(rows), range(columns)))


class _Progress(Callback):
    """Tells which share of a dask computation is done, of the first `most` of a whole."""

    def __init__(self, advanced: Advanced, most: float) -> None:
        super().__init__(posttask=self._told)
        self.advanced, self.most = advanced, most

    def _told(self, key: Any, result: Any, dsk: Any, state: Mapping[str, Any], worker: Any) -> None:
        done = len(state["finished"])
        left = sum(len(state[name]) for name in ("ready", "waiting", "running"))
        self.advanced(self.most * done / max(done + left, 1))
