"""Overviews of a run: its maps and a quicklook of its tiles at coarser levels, and exact statistics of the maps.

Kept beside the results as `overviews.zarr`, and made anew when other tiles are done than when it was made. They are
made chunk by chunk: memory is a few chunks a thread, and disk is used only where there are tiles.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask import schema
from hsi_dask.batch.observer import Advanced
from hsi_dask.batch.state.manifest import TileRecord
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.batch.tiles.area import cut
from hsi_dask.errors import FileFormatError, GridError, RunError
from hsi_dask.io import endmember_store, map_arrays, store
from hsi_dask.io import levels as levels_store
from hsi_dask.io.documents import as_typed
from hsi_dask.io.durable import digest, whole_folder
from hsi_dask.io.levels import OVERVIEWS, QUICKLOOK, level_grids, stored_array
from hsi_dask.io.map_grid import Grid
from hsi_dask.io.readers import read_source
from hsi_dask.io.regions import Region
from hsi_dask.io.tile_source import TileSource
from hsi_dask.overviews.agreement import Agreement, Counts, agreement_of, comparable, joint_counts
from hsi_dask.overviews.coarsening import WINDOW, coarsen, steps_between
from hsi_dask.overviews.jobs import Stages
from hsi_dask.overviews.reclassified import (
    CLASSES,
    Reclassified,
    Thresholds,
    kept_classes,
    reclassified,
    reclassify,
)
from hsi_dask.overviews.statistics import Cell, Plane, Statistics, planes_of, statistics_of
from hsi_dask.schema import QUALITY, WAVELENGTH, Variable, X, Y

logger = logging.getLogger(__name__)

# Blue, green, red and near infrared as Sentinel-2 has them: true colour and colour infrared are made of these
QUICKLOOK_WAVELENGTHS = (490.0, 560.0, 665.0, 842.0)  # nm
_LOOK = 0.5  # what a quicklook of a tile costs, of reading a plane of a chunk for its statistics
_FORMAT = 3  # of the overviews; others are made anew
_TRIES = 10  # to look at them before another process makes them of other tiles


@dataclass(frozen=True)
class Overviews:
    """A run with finished tiles, their records, and overviews of exactly these tiles.

    Attributes
    ----------
    run : Run
    records : of the tiles that are done, in the order of the manifest
    path : the overviews' Zarr folder
    reclassified : class maps by other thresholds, in place of the run's own or beside them
    """

    run: Run
    records: list[TileRecord]
    path: Path
    reclassified: tuple[Reclassified, ...] = ()

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        """The maps, quality last."""
        named = {variable.name: variable for variable in self.run.manifest.variables}
        named |= {classes.variable.name: classes.variable for classes in self.reclassified}
        return tuple(sorted(named.values(), key=lambda variable: variable.name == QUALITY.name))

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
        level = levels_store.open_level(self.path, factor, self.run.results, chunks=chunks)
        for classes in self.reclassified:
            name = classes.variable.name
            level[name] = store.open_maps(classes.path, group=str(factor), chunks=chunks)[name]
        return level

    def source(self, name: str, factor: int = 1) -> tuple[Path, str]:
        """Zarr folder and name of a map's array at a level."""
        for classes in self.reclassified:
            if classes.variable.name == name:
                return classes.source(factor)
        return (self.run.results, name) if factor == 1 else (self.path, f"{factor}/{name}")

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
            pairs = {f"{one.name} {other.name}" for one, other in comparable(self.run.manifest.variables)}
            counts = {name: len(planes) for name, planes in self._statistics().items()}
            return counts == self.planes and self._agreement().keys() == pairs
        except RunError as error:
            logger.info("the overviews are made anew: %s", error)
            return False

    @property
    def grid(self) -> Grid:
        """Of the finest level."""
        return self.run.manifest.grid

    @cached_property
    def grids(self) -> dict[int, Grid]:
        """The levels' grids by their factor."""
        return level_grids(self.grid)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """How many planes there are along each dimension before y and x."""
        planes = map_arrays.endmember_planes(endmember_store.read_endmembers(self.run.endmembers))
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
        return self._statistics() | {classes.variable.name: classes.statistics for classes in self.reclassified}

    def _statistics(self) -> dict[str, tuple[Statistics, ...]]:
        attrs = levels_store.level_attrs(self.path)
        return as_typed(attrs.get("statistics"), dict[str, tuple[Statistics, ...]], self.path)

    def _agreement(self) -> dict[str, Counts]:
        """Joint counts of the run's own class maps, by "one other"."""
        return as_typed(levels_store.level_attrs(self.path).get("agreement"), dict[str, Counts], self.path)

    @cached_property
    def agreements(self) -> dict[tuple[str, str], Agreement]:
        """How the class maps of the run agree, by pairs of their names."""
        counts, others = self._agreement(), {c.variable.name for c in self.reclassified}
        pairs = list(comparable(self.variables))
        found = {}
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            stages = Stages(pool, 1.0, lambda share: None)
            for a, b in ((one.name, other.name) for one, other in pairs):
                known = None if others & {a, b} else counts.get(f"{a} {b}")
                grid = self.run.manifest.grid
                joint = known or joint_counts(self.source(a), self.source(b), grid, self.cells, stages)
                found[a, b] = agreement_of(joint)
        return found

    def keep_classes(
        self, like: str, name: str, thresholds: Thresholds, *, advanced: Advanced = lambda share: None
    ) -> Reclassified:
        """Make a class map by other thresholds and keep it in the run under a name; replaces one of that name.

        Parameters
        ----------
        like : the class map of the run that it is as, but for the thresholds
        thresholds : one for each plane of the scores; None excludes nothing

        Raises
        ------
        ConfigError
            `like` is no class map, or the run has another map of that name.
        """
        folder = self.run.path / CLASSES
        classes = reclassified(self.run, like, name, thresholds, folder / f"{name}.zarr")
        with _turns(self.run.path) as take, _room_needed(folder):
            take(fcntl.LOCK_EX)
            folder.mkdir(exist_ok=True)
            reclassify(self.run, classes, self.identity, self.cells, advanced)
        return classes


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
def kept_overviews(
    run_dir: str | os.PathLike[str],
    *,
    thresholds: Mapping[str, Thresholds] | None = None,
    advanced: Advanced = lambda share: None,
) -> Iterator[Overviews]:
    """As `open_overviews`; whoever would make them anew meanwhile, because other tiles are done, waits for the end.

    Tiles that a run finishes while they are made are not in them: there would be no end to it before the run's.
    `thresholds` are of class maps by name: these are made anew by them, and forgotten at the end.
    """
    run = Run.open(run_dir)
    with _turns(run.path) as take, TemporaryDirectory(ignore_cleanup_errors=True) as aside:
        take(fcntl.LOCK_SH)
        overviews, tries = _finished(run), 0
        while _lacking(overviews):
            if (tries := tries + 1) > _TRIES:
                raise RunError(f"{overviews.path} does not hold what was written to it; remove it, and try again")
            take(fcntl.LOCK_EX)
            overviews = _finished(run)
            for make in _lacking(overviews):  # unless another process did while this one waited for its turn
                with _room_needed(overviews.path):
                    make(advanced)
            take(fcntl.LOCK_SH)  # another may come between the two
        made = []
        for like, limits in (thresholds or {}).items():
            made.append(reclassified(run, like, like, limits, Path(aside) / like))
            reclassify(run, made[-1], overviews.identity, overviews.cells, advanced)
        yield replace(overviews, reclassified=(*overviews.reclassified, *made))


def _finished(run: Run) -> Overviews:
    return Overviews(run, run.finished(), run.path / OVERVIEWS, tuple(kept_classes(run)))


def _lacking(overviews: Overviews) -> list[Callable[[Advanced], None]]:
    """What makes the overviews, and class maps that are kept with them, where these are not of the same tiles."""
    found: list[Callable[[Advanced], None]] = []
    if not overviews.are_there:
        found.append(lambda advanced: _make(overviews, advanced))
    run, identity, cells = overviews.run, overviews.identity, overviews.cells
    for classes in overviews.reclassified:
        if not classes.is_there(identity, overviews.grids):
            found.append(partial(reclassify, run, classes, identity, cells))
    return found


@contextmanager
def _room_needed(path: Path) -> Iterator[None]:
    """Raise RunError for what the system says of files below."""
    try:
        yield
    except OSError as error:
        if isinstance(error, RunError) or error.errno is None:
            raise
        raise RunError(f"{error.filename or path}: {error.strerror}; overviews need room and access") from error


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


def _make(overviews: Overviews, advanced: Advanced) -> None:
    run, records = overviews.run, overviews.records
    endmembers, variables = endmember_store.read_endmembers(run.endmembers), run.manifest.variables
    grids, planes = overviews.grids, planes_of(variables, overviews.sizes)
    looks = [Plane(schema.QUICKLOOK, (n,)) for n in range(len(QUICKLOOK_WAVELENGTHS))]
    cells, compared = overviews.cells, list(comparable(variables))
    pairs = {(a.name, b.name): ((run.results, a.name), (run.results, b.name)) for a, b in compared}
    advanced(0.0)
    with whole_folder(overviews.path) as part, ThreadPoolExecutor(os.cpu_count()) as pool:
        of_maps = list(steps_between(run.results, "", part, grids, cells))
        of_looks = list(steps_between(part, "1/", part, grids, cells))
        windows = sum(len(step.windows()) for step in of_maps)
        reads = len(planes) * (len(cells) + _LOOK * len(records)) + len(pairs) * len(cells)
        stages = Stages(pool, reads + WINDOW * (len(planes) + len(looks)) * windows, advanced)
        attrs = {
            "records": overviews.identity,
            "statistics": statistics_of(run.results, grids[1], planes, sorted(cells), stages),
            "agreement": {f"{a} {b}": joint_counts(*own, grids[1], cells, stages) for (a, b), own in pairs.items()},
        }
        levels_store.create_levels(part, grids, variables, endmembers, np.array(QUICKLOOK_WAVELENGTHS), attrs)
        _write_quicklooks(run, records, part, stages, _LOOK * len(planes))
        for maps, quicklooks in zip(of_maps, of_looks, strict=True):
            coarsen(maps, planes, stages)
            coarsen(quicklooks, looks, stages)


# ------------------------------------------------------------------------------------------------ quicklook


def _write_quicklooks(run: Run, records: Sequence[TileRecord], part: Path, stages: Stages, weight: float) -> None:
    """Four planes of every tile whose file can be read, at full resolution."""
    array, grid = stored_array(part, f"1/{QUICKLOOK}", "r+"), run.manifest.grid

    def one(record: TileRecord) -> None:
        try:
            file = read_source(record.path)
            row, column = place_of(file, grid, record)
            values = _planes(file, run.manifest.region)
        except (FileFormatError, GridError, OSError) as error:
            logger.info("no quicklook of tile %s: %s", record.tile, error)
            return
        array[:, row : row + values.shape[1], column : column + values.shape[2]] = values  # its own chunks

    for _ in stages.map(one, records, weight):
        pass  # to raise what a thread raised


def place_of(file: TileSource, grid: Grid, record: TileRecord) -> tuple[int, int]:
    """Row and column of the file's north-west pixel; GridError where it does not lie in the chunks of the record."""
    row = round((grid.north - file.north) / grid.resolution[1])
    column = round((file.west - grid.west) / grid.resolution[0])
    ends = (row, column), (row + file.shape[0] - 1, column + file.shape[1] - 1)
    if not {(down // grid.chunk[0], across // grid.chunk[1]) for down, across in ends} <= record.cells:
        raise GridError(f"{file.path} is now of another place")
    return row, column


def _planes(file: TileSource, region: Region | None) -> NDArray[Any]:
    """(wavelength, y, x) float32 reflectance at the quicklook's wavelengths; of an area of interest what is inside."""
    file, inside = (file, None) if region is None else cut(file, region)
    cube = file.cube(chunks=None, masked=True)
    numbers, order = nearest_bands(file)
    values = cube.isel({WAVELENGTH: numbers}).transpose(WAVELENGTH, Y, X).values
    values = np.asarray(values[order])
    if inside is not None:
        values[:, ~inside] = np.nan
    return values


def nearest_bands(file: TileSource) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The quicklook's wavelengths in a file, ascending, and which of these each is: of few one may stand for two."""
    nearest = [int(np.abs(file.wavelength - wanted).argmin()) for wanted in QUICKLOOK_WAVELENGTHS]
    numbers, order = np.unique(nearest, return_inverse=True)
    return numbers, order
