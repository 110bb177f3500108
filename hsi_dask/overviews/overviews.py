"""Overviews of a run: its maps and a quicklook of its tiles at coarser levels, and exact statistics of the maps.

Kept beside the results as `overviews.zarr`, and made anew when other tiles are done than when it was made. They are
made chunk by chunk: memory is a few chunks a thread, and disk is used only where there are tiles.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask import schema
from hsi_dask.batch.observer import Advanced
from hsi_dask.batch.state.run_directory import Run, TileRecord
from hsi_dask.errors import FileFormatError, GridError, RunError
from hsi_dask.io import levels as levels_store
from hsi_dask.io import store
from hsi_dask.io.documents import as_typed
from hsi_dask.io.durable import digest, whole_folder
from hsi_dask.io.levels import OVERVIEWS, QUICKLOOK, level_grids, stored_array
from hsi_dask.io.readers import read_source
from hsi_dask.io.store import Grid
from hsi_dask.io.tile_source import TileSource
from hsi_dask.overviews.jobs import Work
from hsi_dask.overviews.statistics import Cell, Plane, Statistics, place, planes_of, statistics_of
from hsi_dask.schema import WAVELENGTH, Variable, X, Y

logger = logging.getLogger(__name__)

# Blue, green, red and near infrared as Sentinel-2 has them: true colour and colour infrared are made of these
QUICKLOOK_WAVELENGTHS = (490.0, 560.0, 665.0, 842.0)  # nm
# What a quicklook of a tile and a plane of a coarser chunk cost, of reading a plane of a chunk for its statistics
_LOOK, _WINDOW = 0.5, 4.0
_FORMAT = 2  # of the overviews; others are made anew
_TRIES = 10  # to look at them before another process makes them of other tiles


@dataclass(frozen=True)
class Overviews:
    """A run with finished tiles, their records, and overviews of exactly these tiles.

    Attributes
    ----------
    run : Run
    records : of the tiles that are done, in the order of the manifest
    path : the overviews' Zarr folder
    """

    run: Run
    records: list[TileRecord]
    path: Path

    def at(self, pixels: int, *, chunks: Any = "auto") -> xr.Dataset:
        """The maps at the coarsest level whose longer side still has so many pixels; the finest if none has.

        Parameters
        ----------
        pixels : along the longer side of the figure
        chunks : as in `open_results`

        Returns
        -------
        xarray.Dataset
            As `open_results`, lazy, with CRS; beside the maps `quicklook` (wavelength, y, x), reflectance at 490, 560,
            665 and 842 nm, NaN where a tile's file is gone. Coarser levels hold means of abundances, residual, scores
            and reflectance over the pixels with data, and the commonest class and quality of the pixels with data.
        """
        sizes = {factor: max(grid.shape) for factor, grid in self.grids.items()}
        factor = max((factor for factor, size in sizes.items() if size >= pixels), default=1)
        return self.level(factor, chunks=chunks)

    def level(self, factor: int, *, chunks: Any = "auto") -> xr.Dataset:
        """The maps and the quicklook at one of the levels, as `at` gives them."""
        return levels_store.open_level(self.path, factor, self.run.results, chunks=chunks)

    @cached_property
    def identity(self) -> str:
        """Of the tiles that the overviews are of, as the overviews tell it."""
        return digest(f"{_FORMAT} {[(r.tile, r.endmembers, r.chunks) for r in self.records]}".encode())

    @property
    def are_there(self) -> bool:
        """Whether they are of these tiles, and whole; what is damaged is made anew."""
        if levels_store.level_attrs(self.path).get("records") != self.identity:
            return False
        try:
            levels_store.require_levels(self.path, self.grids, self.run.manifest.variables, self.sizes)
            return {name: len(planes) for name, planes in self._statistics().items()} == self.planes
        except RunError as error:
            logger.info("the overviews are made anew: %s", error)
            return False

    @cached_property
    def grids(self) -> dict[int, Grid]:
        """The levels' grids by their factor."""
        return level_grids(self.run.manifest.grid)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """How many planes there are along each dimension before y and x."""
        planes = store.endmember_planes(store.read_endmembers(self.run.endmembers))
        return {dim: numbers.size for dim, numbers in planes.items()}

    @property
    def planes(self) -> dict[str, int]:
        """How many planes each map has."""
        found = Counter(plane.name for plane in planes_of(self.run.manifest.variables, self.sizes))
        return dict(found)

    @cached_property
    def cells(self) -> set[Cell]:
        """The chunks of the results that hold finished tiles."""
        return {cell for record in self.records for cell in record.cells}

    @cached_property
    def statistics(self) -> dict[str, tuple[Statistics, ...]]:
        """Exact statistics of every map, by its name; of maps with endmembers one for each."""
        return self._statistics()

    def _statistics(self) -> dict[str, tuple[Statistics, ...]]:
        attrs = levels_store.level_attrs(self.path)
        return as_typed(attrs.get("statistics"), dict[str, tuple[Statistics, ...]], self.path)


def open_overviews(run_dir: str | os.PathLike[str], *, advanced: Advanced = lambda share: None) -> Overviews:
    """Open a run to look at what it has found so far; its overviews are made first, unless they are there.

    Parameters
    ----------
    run_dir : path
    advanced : callable, optional
        Hears which share of the overviews is made; nothing when they are there.

    Raises
    ------
    RunError
        The folder is not a run, has no finished tile, or cannot be written.
    """
    with kept_overviews(run_dir, advanced=advanced) as overviews:
        return overviews


@contextmanager
def kept_overviews(run_dir: str | os.PathLike[str], *, advanced: Advanced = lambda share: None) -> Iterator[Overviews]:
    """As `open_overviews`; whoever would make them anew meanwhile, because other tiles are done, waits for the end.

    Tiles that a run finishes while they are made are not in them: there would be no end to it before the run's.
    """
    run = Run.open(run_dir)
    with _turns(run.path) as take:
        take(fcntl.LOCK_SH)
        overviews, tries = _finished(run), 0
        while not overviews.are_there:
            if (tries := tries + 1) > _TRIES:
                raise RunError(f"{overviews.path} does not hold what was written to it; remove it, and try again")
            take(fcntl.LOCK_EX)
            overviews = _finished(run)
            _make_once(overviews, advanced)
            take(fcntl.LOCK_SH)  # another may come between the two
        yield overviews


def _finished(run: Run) -> Overviews:
    return Overviews(run, run.finished(), run.path / OVERVIEWS)


def _make_once(overviews: Overviews, advanced: Advanced) -> None:
    """Make them, unless another process did while this one waited for its turn."""
    if overviews.are_there:
        return
    try:
        _make(overviews, advanced)
    except OSError as error:
        if isinstance(error, RunError) or error.errno is None:
            raise
        where = error.filename or overviews.path
        raise RunError(f"{where}: {error.strerror}; overviews need room and access") from error


@contextmanager
def _turns(folder: Path) -> Iterator[Callable[[int], None]]:
    """Locks on a folder: one process makes, or many look; where the file system has no locks, all at once."""
    descriptor = os.open(folder, os.O_RDONLY)

    def take(kind: int) -> None:
        with suppress(OSError):
            fcntl.flock(descriptor, kind)

    try:
        yield take
    finally:
        os.close(descriptor)


# ------------------------------------------------------------------------------------------------ making


@dataclass(frozen=True)
class _Step:
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


def _make(overviews: Overviews, advanced: Advanced) -> None:
    run, records = overviews.run, overviews.records
    endmembers, variables = store.read_endmembers(run.endmembers), run.manifest.variables
    grids, planes = overviews.grids, planes_of(variables, overviews.sizes)
    looks = [Plane(schema.QUICKLOOK, (n,)) for n in range(len(QUICKLOOK_WAVELENGTHS))]
    cells = overviews.cells
    advanced(0.0)
    with whole_folder(overviews.path) as part, ThreadPoolExecutor(os.cpu_count()) as pool:
        steps = list(_steps(run.results, part, grids, cells))
        windows = sum(len(step.windows()) for step, _ in steps)
        total = len(planes) * (len(cells) + _LOOK * len(records)) + _WINDOW * (len(planes) + len(looks)) * windows
        work = Work(pool, total, advanced)
        statistics = statistics_of(run.results, grids[1], planes, sorted(cells), work)
        attrs = {"records": overviews.identity, "statistics": statistics}
        levels_store.create_levels(part, grids, variables, endmembers, np.array(QUICKLOOK_WAVELENGTHS), attrs)
        _write_quicklooks(run, records, part, work, _LOOK * len(planes))
        for of_maps, of_looks in steps:
            _coarsen(of_maps, planes, work)
            _coarsen(of_looks, looks, work)


def _steps(results: Path, part: Path, grids: Mapping[int, Grid], cells: set[Cell]) -> Iterator[tuple[_Step, _Step]]:
    """From each level to the next: of maps, whose finest are the results, and of quicklooks."""
    for fine, coarse in pairwise(grids):
        source, group = (results, "") if fine == 1 else (part, f"{fine}/")
        of_maps = _Step(source, group, grids[fine], part, grids[coarse], f"{coarse}/", cells)
        yield of_maps, replace(of_maps, source=part, group=f"{fine}/")
        cells = set(of_maps.windows())


def _coarsen(step: _Step, planes: Sequence[Plane], work: Work) -> None:
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

    for _ in work.map(one, product(planes, step.windows().items()), _WINDOW):
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


# ------------------------------------------------------------------------------------------------ quicklook


def _write_quicklooks(run: Run, records: Sequence[TileRecord], part: Path, work: Work, weight: float) -> None:
    """Four planes of every tile whose file can be read, at full resolution."""
    array, grid = stored_array(part, f"1/{QUICKLOOK}", "r+"), run.manifest.grid

    def one(record: TileRecord) -> None:
        try:
            file = read_source(record.path)
            row, column = _place_of(file, grid, record)
            values = _planes(file)
        except (FileFormatError, GridError, OSError) as error:
            logger.info("no quicklook of tile %s: %s", record.tile, error)
            return
        array[:, row : row + values.shape[1], column : column + values.shape[2]] = values  # its own chunks

    for _ in work.map(one, records, weight):
        pass  # to raise what a thread raised


def _place_of(file: TileSource, grid: Grid, record: TileRecord) -> tuple[int, int]:
    """Row and column of the file's north-west pixel; GridError where it does not lie in the chunks of the record."""
    row = round((grid.north - file.north) / grid.resolution[1])
    column = round((file.west - grid.west) / grid.resolution[0])
    ends = (row, column), (row + file.shape[0] - 1, column + file.shape[1] - 1)
    if not {(down // grid.chunk[0], across // grid.chunk[1]) for down, across in ends} <= record.cells:
        raise GridError(f"{file.path} is now of another place")
    return row, column


def _planes(file: TileSource) -> NDArray[Any]:
    """(wavelength, y, x) float32 reflectance at the quicklook's wavelengths."""
    cube = file.cube(chunks=None, masked=True)
    nearest = [int(np.abs(file.wavelength - wanted).argmin()) for wanted in QUICKLOOK_WAVELENGTHS]
    numbers, order = np.unique(nearest, return_inverse=True)  # a file of few wavelengths may have one for two
    values = cube.isel({WAVELENGTH: numbers}).transpose(WAVELENGTH, Y, X).values
    return np.asarray(values[order])
