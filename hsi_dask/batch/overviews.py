"""Overviews of a run: its maps and a quicklook of its tiles at coarser levels, and exact statistics of the maps.

Kept beside the results as `overviews.zarr`, and made anew when other tiles are done than when it was made. They are
made chunk by chunk: memory is a few chunks a thread, and disk is used only where there are tiles.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.batch.state import Run, TileRecord
from hsi_dask.batch.statistics import Cell, Plane, Statistics, place, planes_of, statistics_of
from hsi_dask.errors import FileFormatError, RunError
from hsi_dask.io import levels as levels_store
from hsi_dask.io import store
from hsi_dask.io.durable import digest, whole_folder
from hsi_dask.io.levels import OVERVIEWS, QUICKLOOK, level_grids, stored_array
from hsi_dask.io.metadata import NeonFile, read_metadata
from hsi_dask.io.neon import open_cube
from hsi_dask.io.store import Grid
from hsi_dask.schema import ENDMEMBER, VARIABLES, WAVELENGTH, X, Y

logger = logging.getLogger(__name__)

# Blue, green, red and near infrared as Sentinel-2 has them: true colour and colour infrared are made of these
QUICKLOOK_WAVELENGTHS = (490.0, 560.0, 665.0, 842.0)  # nm
_FORMAT = 1  # of the overviews; others are made anew


def open_overview(run_dir: str | os.PathLike[str], pixels: int, *, chunks: Any = "auto") -> xr.Dataset:
    """The maps of a run at the coarsest level whose longer side still has so many pixels; the finest if none has.

    Parameters
    ----------
    run_dir : path
        Its overviews are made first if need be.
    pixels : along the longer side of the figure
    chunks : as in `open_results`

    Returns
    -------
    xarray.Dataset
        As `open_results`, lazy, with CRS; beside the maps `quicklook` (wavelength, y, x), reflectance at 490, 560, 665
        and 842 nm, NaN where a tile's file is gone. Coarser levels hold means of abundances, residual, scores and
        reflectance over the pixels with data, and the commonest class and quality of the pixels with data.

    Raises
    ------
    RunError
        The folder is not a run, has no finished tile, or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import hsi_dask as hsi
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     site = hsi.synthetic.simulate_site(folder, tiles=(1, 2), size=40)
    ...     summary = hsi.run(hsi.RunConfig(tiles=[folder]), f"{folder}/run")
    ...     maps = open_overview(summary.run_dir, 600)
    >>> dict(maps.quicklook.sizes), maps.rio.crs.to_epsg()
    ({'wavelength': 4, 'y': 40, 'x': 80}, 32618)
    """
    path, run = refresh_overviews(run_dir), Run.open(run_dir)
    sizes = {factor: max(grid.shape) for factor, grid in level_grids(run.manifest.grid).items()}
    factor = max((factor for factor, size in sizes.items() if size >= pixels), default=1)
    return levels_store.open_level(path, factor, run.results, chunks=chunks)


def overview_statistics(run_dir: str | os.PathLike[str]) -> dict[str, list[Statistics]]:
    """Exact statistics of every map of a run, by its name; of maps with endmembers one for each."""
    found = levels_store.level_attrs(refresh_overviews(run_dir))["statistics"]
    return {name: [Statistics(**plane) for plane in planes] for name, planes in found.items()}


def refresh_overviews(run_dir: str | os.PathLike[str]) -> Path:
    """Make the overviews of a run, of the tiles that are done now, unless they are there; returns their folder."""
    run = Run.open(run_dir)
    target = run.path / OVERVIEWS
    with _in_turn(run.path):
        records = run.records()
        if not records or not run.results.is_dir():
            raise RunError(f"{run.path} has no finished tile; `hsi-dask run --out {run.path}` goes on with it")
        identity = digest(f"{_FORMAT} {[(r.tile, r.endmembers, r.chunks) for r in records]}".encode())
        if levels_store.level_attrs(target).get("records") != identity:
            try:
                _make(run, records, target, identity)
            except OSError as error:
                if isinstance(error, RunError) or error.errno is None:
                    raise
                raise RunError(
                    f"{error.filename or target}: {error.strerror}; overviews need room and access"
                ) from error
    return target


@contextmanager
def _in_turn(folder: Path) -> Iterator[None]:
    """One process at a time; where the file system has no locks, the last one's overviews stay."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
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


def _make(run: Run, records: Sequence[TileRecord], target: Path, identity: str) -> None:
    count, variables = store.read_endmembers(run.endmembers).sizes[ENDMEMBER], run.manifest.variables
    grids, planes = level_grids(run.manifest.grid), planes_of(variables, count)
    looks = [Plane(QUICKLOOK, (n,)) for n in range(len(QUICKLOOK_WAVELENGTHS))]
    cells = {cell for record in records for cell in _cells_of(record)}
    with whole_folder(target) as part, ThreadPoolExecutor(os.cpu_count()) as pool:
        statistics = statistics_of(run.results, grids[1], planes, sorted(cells), pool)
        attrs = {"records": identity, "statistics": statistics}
        levels_store.create_levels(part, grids, variables, count, np.array(QUICKLOOK_WAVELENGTHS), attrs)
        _write_quicklooks(run, records, part, pool)
        for fine, coarse in pairwise(grids):
            source, group = (run.results, "") if fine == 1 else (part, f"{fine}/")
            step = _Step(source, group, grids[fine], part, grids[coarse], f"{coarse}/", cells)
            _coarsen(step, planes, pool)
            _coarsen(_Step(part, f"{fine}/", grids[fine], part, grids[coarse], f"{coarse}/", cells), looks, pool)
            cells = set(step.windows())


def _cells_of(record: TileRecord) -> set[Cell]:
    """The chunks of the mosaic that a tile wrote, from their keys: abundance/c/0/3/5."""
    numbers = (chunk.key.rsplit("/", 2)[1:] for chunk in record.chunks)
    return {(int(row), int(column)) for row, column in numbers}


def _coarsen(step: _Step, planes: Sequence[Plane], pool: Executor) -> None:
    names = {plane.name for plane in planes}
    sources = {name: stored_array(step.source, step.group + name) for name in names}
    targets = {name: stored_array(step.target, step.coarse_group + name, "r+") for name in names}

    def one(job: tuple[Plane, tuple[Cell, list[Cell]]]) -> None:
        (name, at), (window, cells) = job
        sides = zip(place(step.coarse, window), step.fine.shape, strict=True)
        rows, columns = (slice(2 * side.start, min(2 * side.stop, most)) for side, most in sides)
        shape = rows.stop - rows.start, columns.stop - columns.start
        values = np.full(shape, VARIABLES[name].fill_value, sources[name].dtype)
        for cell in cells:  # chunks of tiles that are not done are not looked at
            down, across = place(step.fine, cell)
            inside = _moved(down, rows.start), _moved(across, columns.start)
            values[inside] = sources[name][(*at, down, across)]
        targets[name][(*at, *place(step.coarse, window))] = halved(values, name)

    for _ in pool.map(one, product(planes, step.windows().items())):
        pass  # to raise what a thread raised


def _moved(along: slice, start: int) -> slice:
    return slice(along.start - start, along.stop - start)


def halved(values: NDArray[Any], name: str) -> NDArray[Any]:
    """Every 2 x 2 stored pixels of a map as one: the mean of those with data, or of classes and flags the commonest.

    Of equally common values the north-western one is taken. A last odd row or column stands for itself.
    """
    spec = VARIABLES[name]
    odd = [(0, n % 2) for n in values.shape]
    whole = np.pad(values, odd, constant_values=spec.fill_value) if any(map(any, odd)) else values
    quarters = np.stack([whole[i::2, j::2] for i in (0, 1) for j in (0, 1)])
    if values.dtype == np.uint8:
        return _commonest(quarters, int(spec.fill_value))
    good = ~np.isnan(quarters)
    with np.errstate(invalid="ignore"):  # 0 / 0: nothing has data
        mean = np.where(good, quarters, 0).sum(axis=0, dtype=np.float32) / good.sum(axis=0, dtype=np.float32)
    return np.asarray(mean)


def _commonest(quarters: NDArray[np.uint8], fill: int) -> NDArray[np.uint8]:
    """(4, y, x) -> (y, x); the fill value only where there is nothing else."""
    votes = np.stack([(quarters == one).sum(axis=0, dtype=np.uint8) for one in quarters])
    votes[quarters == fill] = 0
    return np.asarray(np.take_along_axis(quarters, votes.argmax(axis=0)[None], axis=0)[0])


# ------------------------------------------------------------------------------------------------ quicklook


def _write_quicklooks(run: Run, records: Sequence[TileRecord], part: Path, pool: Executor) -> None:
    """Four planes of every tile whose file can be read, at full resolution."""
    array, grid = stored_array(part, f"1/{QUICKLOOK}", "r+"), run.manifest.grid

    def one(record: TileRecord) -> None:
        try:
            file = read_metadata(record.path)
            values = _planes(file)
        except (FileFormatError, OSError) as error:
            logger.info("no quicklook of tile %s: %s", record.tile, error)
            return
        row = round((grid.north - file.north) / grid.resolution[1])
        column = round((file.west - grid.west) / grid.resolution[0])
        array[:, row : row + values.shape[1], column : column + values.shape[2]] = values  # its own chunks

    for _ in pool.map(one, records):
        pass  # to raise what a thread raised


def _planes(file: NeonFile) -> NDArray[Any]:
    """(wavelength, y, x) float32 reflectance at the quicklook's wavelengths."""
    cube = open_cube(file, chunks=None, masked=True)
    nearest = [int(np.abs(file.wavelength - wanted).argmin()) for wanted in QUICKLOOK_WAVELENGTHS]
    numbers, order = np.unique(nearest, return_inverse=True)  # a file of few wavelengths may have one for two
    values = cube.isel({WAVELENGTH: numbers}).transpose(WAVELENGTH, Y, X).values
    return np.asarray(values[order])
