"""N-FINDR over every pixel of a site: tiles are projected once, then asked until no pixel is a better vertex."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.batch.execution.dispatch import Failure, Workers, carry_out, raise_if_fatal
from hsi_dask.batch.execution.sampling import sample_site
from hsi_dask.batch.execution.searched_tile import (
    BEGUN,
    FIRST_ROWS,
    Asked,
    answer_tile,
    is_kept,
    pick_first_rows,
    pick_tile,
    project_tile,
    read_basis,
    scan_tile,
)
from hsi_dask.batch.execution.tile import Job
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.batch.state.scene import search_folder
from hsi_dask.batch.tiles.plan import Plan
from hsi_dask.errors import EndmemberError, RunError, counted
from hsi_dask.io.durable import digest
from hsi_dask.io.endmember_store import endmembers_digest
from hsi_dask.io.scene import write_arrays
from hsi_dask.scene import vertices as scene
from hsi_dask.schema import ENDMEMBER, WAVELENGTH, X, Y

_PIXELS = 4000  # of first rows, of all tiles together
_ENOUGH = 500  # of which a basis is made
_FEW = 2  # endmembers, where it is not known yet how many: their basis serves up to ten


class _Numbering:
    """The pixels of all tiles, by name of the tile and row by row: their numbers in the scene."""

    def __init__(self, plan: Plan) -> None:
        self.tiles = sorted(plan.tiles, key=lambda tile: tile.id)
        self.starts = np.cumsum([0, *(math.prod(tile.shape) for tile in self.tiles)])[:-1]
        self._grid = plan.grid

    def places(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.int64]]:
        """Which of the tiles each is in, and its row and column there."""
        tiles = np.searchsorted(self.starts, numbers, side="right") - 1
        widths = np.array([tile.shape[1] for tile in self.tiles])
        return tiles, *np.divmod(numbers - self.starts[tiles], widths[tiles])

    def at(self, numbers: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """The centres of pixels."""
        tiles, rows, columns = self.places(numbers)
        first_rows, first_columns = np.array([(tile.row, tile.column) for tile in self.tiles])[tiles].T
        dx, dy = self._grid.resolution
        y: NDArray[np.float64] = self._grid.north - (first_rows + rows + 0.5) * dy
        x: NDArray[np.float64] = self._grid.west + (first_columns + columns + 0.5) * dx
        return {Y: y, X: x}


def sample_and_project(state: Run, plan: Plan, workers: Workers) -> xr.DataArray:
    """`sample_site`, which keeps the planes of the tiles that it samples: each is read once for both.

    The first rows of the tiles, of which whole planes are inflated no further, give the basis. Where they have no data,
    or where a search has begun before, tiles are only sampled.
    """
    basis = _basis_of_first_rows(plan, state, workers)  # also where it was kept and lost: the search asks for it
    if basis is None or (search_folder(state.path) / BEGUN).exists():
        return sample_site(plan, state.path, workers)
    return sample_site(plan, state.path, workers, scan_tile, Asked(_of_planes(plan, basis)))


def search_site(state: Run, plan: Plan, workers: Workers, sample: xr.DataArray, first: xr.DataArray) -> xr.DataArray:
    """Endmembers among all pixels of all tiles, beginning with those found in a sample.

    Every tile is projected once, and its planes kept with the run until the endmembers are found: a run that was
    stopped goes on with the tiles that are missing. A tile that cannot be read is left out, with a message.

    Parameters
    ----------
    sample : (pixel, wavelength) with `tile`, `row` and `column`.
    first : (endmember, wavelength) found in it.

    Raises
    ------
    RunError
        What was kept cannot be read any more.
    """
    robust = bool(first.attrs["robust"])
    folder = search_folder(state.path)
    at_places = _numbers(sample)
    chosen = np.array([at_places[at] for at in _numbers(first)])
    known = read_basis(folder, _of_search(plan))
    begun = scene.begin(sample, chosen, plan.config.endmembers.seed, known, first)
    of_planes = _of_planes(plan, begun.space.basis)
    of_begun = {**of_planes, "endmembers": endmembers_digest(first)}
    write_arrays(folder / BEGUN, scene.space_to(begun.space), of_begun)
    every = _Numbering(plan)
    jobs = {
        tile.id: Job(
            tile,
            str(state.path.absolute()),
            plan.config,
            asked=Asked(of_planes, of_begun, int(start)),
            region=plan.region,
        )
        for tile, start in zip(every.tiles, every.starts, strict=True)
    }
    jobs = _project(folder, jobs, workers)

    def ask(question: scene.Question) -> scene.Ranked:
        asked = [replace(job, asked=job.asked._replace(question=question)) for job in jobs.values()]
        found = {job.tile.id: outcome for job, outcome in _settled(answer_tile, asked, workers)}
        whole: scene.Ranked = reduce(scene.combine, (found[tile] for tile in sorted(found)))
        return whole

    if lost := sorted({tile for tile, _, _ in _numbers(first)} - set(jobs)):
        raise RunError(f"tile {lost[0]} could be sampled and then not be read; run again to look for endmembers anew")
    numbers = np.array(
        [jobs[tile].asked.first + row * jobs[tile].tile.shape[1] + column for tile, row, column in _numbers(first)]
    )
    found = scene.search(ask, begun.space, numbers, begun.reference, begun.points, sample=begun.sample, robust=robust)
    wanted = scene.members_to_read(found)
    spectra = scene.mean_spectra(found, sample.values, wanted, _spectra(wanted, every, jobs, workers))
    tiles, rows, columns = every.places(found.pixels)
    names = np.array([every.tiles[number].id for number in tiles], dtype=object)
    own = {**every.at(found.pixels), "row": rows, "column": columns, "tile": names}
    shared = {name: c.variable for name, c in sample.coords.items() if c.dims in ((WAVELENGTH,), ())}
    placed = {name: (ENDMEMBER, values) for name, values in own.items()}
    coords: dict[Any, Any] = {**shared, **placed, ENDMEMBER: np.arange(1, len(spectra) + 1)}
    endmembers = xr.DataArray(spectra, coords, (ENDMEMBER, WAVELENGTH), "endmembers")
    return endmembers.assign_attrs(scene.told(found, first, sample, every.at))


def _basis_of_first_rows(plan: Plan, state: Run, workers: Workers) -> NDArray[np.float64] | None:
    """The basis of a sample of the first rows of tiles, kept with the run; None where too few of them have data."""
    folder = search_folder(state.path)
    if (known := read_basis(folder, _of_search(plan))) is not None:
        return known
    tiles = plan.in_sampling_order()[: plan.sampled]
    size = -(-_PIXELS // len(tiles))
    jobs = [
        Job(tile, str(state.path.absolute()), plan.config, size, plan.config.endmembers.seed, region=plan.region)
        for tile in tiles
    ]
    found = {}
    for job, outcome in carry_out(pick_first_rows, jobs, workers):
        if isinstance(outcome, Failure):
            raise_if_fatal(outcome)  # what else is wrong with it, the sample of the whole tile will say
        else:
            found[job.tile.id] = outcome
    if sum(map(len, found.values())) < _ENOUGH:
        return None
    spectra = np.concatenate([found[tile] for tile in sorted(found)])
    count = plan.config.endmembers.count
    basis = scene.basis_of(spectra, _FEW if count == "auto" else count)
    write_arrays(folder / FIRST_ROWS, {"basis": basis}, _of_search(plan))
    return basis


def _of_search(plan: Plan) -> dict[str, Any]:
    """What everything that is kept of a search depends on."""
    return {"version": scene.VERSION, "fingerprint": plan.fingerprint}


def _of_planes(plan: Plan, basis: NDArray[np.float64]) -> dict[str, Any]:
    return {**_of_search(plan), "basis": digest(basis.tobytes())}


def _project(folder: Path, jobs: dict[str, Job], workers: Workers) -> dict[str, Job]:
    """The jobs of tiles whose planes are kept."""
    todo = [job for job in jobs.values() if not is_kept(folder, job)]
    workers.observer.stage("scene")
    left = f"{len(todo)} of {counted(len(jobs), 'tile')} to read"
    workers.observer.message(f"every pixel as a vertex: {left if todo else 'all tiles were read for the sample'}")
    lost = set()
    for job, outcome in carry_out(project_tile, todo, workers):
        if isinstance(outcome, Failure):
            raise_if_fatal(outcome)
            lost.add(job.tile.id)
            workers.observer.message(f"tile {job.tile.id} is left out of the search for endmembers: {outcome.reason}")
    if len(lost) == len(jobs):
        raise EndmemberError("no tile could be read to find endmembers in; see the messages above")
    return {tile: job for tile, job in jobs.items() if tile not in lost}


def _settled(task: Callable[..., Any], jobs: Sequence[Job], workers: Workers) -> Iterator[tuple[Job, Any]]:
    """Jobs with their results; a failure ends the search."""
    for job, outcome in carry_out(task, jobs, workers):
        if isinstance(outcome, Failure):
            raise_if_fatal(outcome)
            raise RunError(f"tile {job.tile.id}: {outcome.reason}; run again to look for endmembers anew")
        yield job, outcome


def _spectra(
    numbers: NDArray[np.int64], every: _Numbering, jobs: dict[str, Job], workers: Workers
) -> NDArray[np.float32]:
    """(k, wavelength) of pixels by their ascending numbers, read from their tiles."""
    tiles, rows, columns = every.places(numbers)
    asked, found = [], {}
    for at in np.unique(tiles):
        job, some = jobs[every.tiles[at].id], tiles == at
        asked.append(replace(job, asked=job.asked._replace(places=np.stack([rows[some], columns[some]]))))
    for job, spectra in _settled(pick_tile, asked, workers):
        found[job.asked.first] = spectra
    parts = [found[first] for first in sorted(found)]
    return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


def _numbers(pixels: xr.DataArray) -> dict[tuple[str, int, int], int]:
    """Tile, row and column of each pixel, and its index."""
    names, rows, columns = (pixels[name].values.tolist() for name in ("tile", "row", "column"))
    return {at: index for index, at in enumerate(zip(names, rows, columns, strict=True))}
