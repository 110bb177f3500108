"""N-FINDR over every pixel of a site: tiles are projected once, then asked until no pixel is a better vertex."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.batch.execution.dispatch import Failure, Workers, carry_out, raise_if_fatal
from hsi_dask.batch.execution.tile import Job, counted_pixels, open_tile, working
from hsi_dask.batch.observer import Advanced
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.batch.state.scene import search_folder
from hsi_dask.batch.tiles.plan import Plan, Tile
from hsi_dask.errors import EndmemberError, FileFormatError, RunError, counted
from hsi_dask.io.endmember_store import endmembers_digest
from hsi_dask.io.map_grid import Grid
from hsi_dask.io.scene import planes_file, read_arrays, read_planes, write_arrays
from hsi_dask.io.zarr_metadata import METADATA
from hsi_dask.ops.sampling import pixels_at
from hsi_dask.scene import vertices as scene
from hsi_dask.schema import ENDMEMBER, PIXEL, WAVELENGTH, Y


class Asked(NamedTuple):
    """What a worker is asked about a tile.

    identity : of the search
    first : number of the tile's first pixel in the scene
    question : or None
    places : (2, k) rows and columns of pixels whose spectra are wanted, or None
    """

    identity: dict[str, Any]
    first: int = 0
    question: scene.Question | None = None
    places: NDArray[np.int64] | None = None


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
    identity = {"version": scene.VERSION, "endmembers": endmembers_digest(first), "fingerprint": plan.fingerprint}
    places = _numbers(sample)
    chosen = np.array([places[at] for at in _numbers(first)])
    begun = scene.begin(sample, chosen, plan.config.endmembers.seed)
    write_arrays(folder / "begun", scene.begun_to(begun), identity)
    every = sorted(plan.tiles, key=lambda tile: tile.id)
    starts = np.cumsum([0, *(int(np.prod(tile.shape)) for tile in every)])
    jobs = {
        tile.id: Job(
            tile, str(state.path.absolute()), plan.config, asked=Asked(identity, int(start)), region=plan.region
        )
        for tile, start in zip(every, starts[:-1], strict=True)
    }
    jobs = _project(folder, jobs, workers)

    def ask(question: scene.Question) -> scene.Ranked:
        asked = [replace(job, asked=job.asked._replace(question=question)) for job in jobs.values()]
        found = {job.tile.id: outcome for job, outcome in _settled(answer_tile, asked, workers)}
        whole: scene.Ranked = reduce(scene.combine, (found[tile] for tile in sorted(found)))
        return whole

    numbers = np.array(
        [jobs[tile].asked.first + row * jobs[tile].tile.shape[1] + column for tile, row, column in _numbers(first)]
    )
    found = scene.search(ask, begun.space, numbers, begun.reference, begun.points, robust=robust)
    spectra = _spectra(
        np.unique(np.append(found.members[found.members >= 0], found.pixels)), every, starts, jobs, workers
    )
    endmembers = _endmembers(found, spectra)
    told = scene.certificate(found, robust) | _ground(found.dropped, every, starts, plan.grid)
    return endmembers.assign_attrs(first.attrs | {"sample": sample.sizes[PIXEL]} | told)


def project_tile(job: Job, threads: int, advanced: Advanced) -> str:
    """Keep the planes of a tile, slab by slab; returns the tile's id."""
    with working(threads, advanced):
        folder = search_folder(Path(job.run_dir))
        space = _begun(folder, job).space
        opened = open_tile(job)
        counted = counted_pixels(opened, job.config.masks)
        for number, (start, stop) in enumerate(job.tile.slabs):
            if read_planes(_slab(folder, job.tile, number), _identity(job)) is None:
                slab = {Y: slice(start, stop)}
                where = None if counted is None else counted.isel(slab)
                shape = len(space.basis), stop - start, job.tile.shape[1]
                with planes_file(_slab(folder, job.tile, number), shape, _identity(job)) as planes:
                    scene.store_planes(opened.cube.isel(slab), where, space, planes)
        return job.tile.id


def answer_tile(job: Job, threads: int, advanced: Advanced) -> scene.Ranked:
    """What the kept planes of a tile answer."""
    with working(threads, advanced):
        folder = search_folder(Path(job.run_dir))
        space = _begun(folder, job).space
        parts = (
            scene.answer_of(
                _planes(folder, job, number),
                job.asked.first + start * job.tile.shape[1],
                space,
                job.asked.question,
                threads,
            )
            for number, (start, _) in enumerate(job.tile.slabs)
        )
        return reduce(scene.combine, parts)


def pick_tile(job: Job, threads: int, advanced: Advanced) -> xr.DataArray:
    """Spectra of some pixels of a tile."""
    with working(threads, advanced):
        pixels = pixels_at(open_tile(job).cube, job.asked.places)
        return pixels.assign_coords(tile=(PIXEL, np.full(pixels.sizes[PIXEL], job.tile.id, dtype=object)))


def _project(folder: Path, jobs: dict[str, Job], workers: Workers) -> dict[str, Job]:
    """The jobs of tiles whose planes are kept."""
    todo = [job for job in jobs.values() if not _is_kept(folder, job)]
    workers.observer.stage("scene")
    workers.observer.message(f"every pixel as a vertex: {len(todo)} of {counted(len(jobs), 'tile')} to read")
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
    numbers: NDArray[np.int64], every: Sequence[Tile], starts: NDArray[np.int64], jobs: dict[str, Job], workers: Workers
) -> dict[int, xr.DataArray]:
    """The pixel of each number, read from its tile."""
    of_tile = np.searchsorted(starts, numbers, side="right") - 1
    asked = []
    for at in np.unique(of_tile):
        job = jobs[every[at].id]
        places = np.stack(np.divmod(numbers[of_tile == at] - starts[at], every[at].shape[1]))
        asked.append(replace(job, asked=job.asked._replace(places=places)))
    found: dict[int, xr.DataArray] = {}
    for job, pixels in _settled(pick_tile, asked, workers):
        row, column = job.asked.places
        found |= {
            int(job.asked.first + r * job.tile.shape[1] + c): pixels[k]
            for k, (r, c) in enumerate(zip(row, column, strict=True))
        }
    return found


def _ground(numbers: NDArray[np.int64], every: Sequence[Tile], starts: NDArray[np.int64], grid: Grid) -> dict[str, Any]:
    """Where pixels are that were dropped."""
    y, x = [], []
    for number in numbers.tolist():
        at = int(np.searchsorted(starts, number, side="right")) - 1
        row, column = divmod(number - int(starts[at]), every[at].shape[1])
        x.append(grid.west + (every[at].column + column + 0.5) * grid.resolution[0])
        y.append(grid.north - (every[at].row + row + 0.5) * grid.resolution[1])
    return {"dropped_y": y, "dropped_x": x}


def _endmembers(found: scene.Vertices, spectra: dict[int, xr.DataArray]) -> xr.DataArray:
    """Each the mean of its members, at the place of the vertex itself."""
    means = [
        np.mean([spectra[int(member)].values for member in members if member >= 0], axis=0, dtype=np.float64)
        for members in found.members
    ]
    places = [spectra[int(number)] for number in found.pixels]
    shared = {name: c.variable for name, c in places[0].coords.items() if c.dims == (WAVELENGTH,)}
    own = {name: (ENDMEMBER, [place[name].item() for place in places]) for name in ("y", "x", "row", "column", "tile")}
    coords: dict[Any, Any] = {**shared, **own, ENDMEMBER: np.arange(1, len(means) + 1)}
    return xr.DataArray(np.stack(means).astype(np.float32), coords, (ENDMEMBER, WAVELENGTH), "endmembers")


def _numbers(pixels: xr.DataArray) -> dict[tuple[str, int, int], int]:
    """Tile, row and column of each pixel, and its index."""
    names, rows, columns = (pixels[name].values.tolist() for name in ("tile", "row", "column"))
    return {at: index for index, at in enumerate(zip(names, rows, columns, strict=True))}


def _is_kept(folder: Path, job: Job) -> bool:
    return all(
        read_planes(_slab(folder, job.tile, number), _identity(job)) is not None
        for number in range(len(job.tile.slabs))
    )


def _begun(folder: Path, job: Job) -> scene.Begun:
    kept = folder / "begun"
    try:
        status = (kept / METADATA).stat()
    except OSError as error:
        raise _lost(folder) from error
    return _read_begun(kept, json.dumps(job.asked.identity, sort_keys=True), (status.st_ino, status.st_mtime_ns))


@lru_cache(maxsize=1)
def _read_begun(kept: Path, identity: str, file: tuple[int, int]) -> scene.Begun:
    """What the file holds; every tile asks for it with every question."""
    arrays = read_arrays(kept, json.loads(identity))
    if arrays is None:
        raise _lost(kept.parent)
    return scene.begun_from(arrays)


def _lost(folder: Path) -> FileFormatError:
    return FileFormatError(f"{folder} is not what this run keeps; run again")


def _planes(folder: Path, job: Job, number: int) -> NDArray[np.float32]:
    planes = read_planes(_slab(folder, job.tile, number), _identity(job))
    if planes is None:
        raise FileFormatError(f"{_slab(folder, job.tile, number)} is missing or damaged")
    return planes


def _slab(folder: Path, tile: Tile, number: int) -> Path:
    return folder / f"tile-{tile.id}-{number}"


def _identity(job: Job) -> dict[str, Any]:
    return {**job.asked.identity, "file_size": job.tile.file_size, "mtime_ns": job.tile.mtime_ns}
