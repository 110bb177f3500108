"""One tile of a search among every pixel: what a worker does, and what it keeps with the run."""

from __future__ import annotations

import json
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.batch.execution.tile import Job, OpenTile, counted_pixels, open_tile, sample_of, working
from hsi_dask.batch.observer import Advanced
from hsi_dask.batch.state.scene import search_folder
from hsi_dask.batch.tiles.plan import Tile
from hsi_dask.errors import FileFormatError
from hsi_dask.io.scene import planes_file, read_arrays, read_planes
from hsi_dask.io.zarr_metadata import METADATA
from hsi_dask.ops.bands import single_wavelength
from hsi_dask.ops.decoding import Storage, storage
from hsi_dask.ops.sampling import pixels_at, stored_at
from hsi_dask.scene import vertices as scene
from hsi_dask.schema import WAVELENGTH, Y

BEGUN, FIRST_ROWS = "begun", "first-rows"  # what is kept beside the planes
# Rows of a tile in which to look what spectra are like: of whole planes a sixteenth is inflated for them, and a quarter
# where data begin late
_ROWS, _LATE = 64, 4


class Asked(NamedTuple):
    """What a worker is asked about a tile.

    identity : of the planes that are kept
    begun : of the search, once it has begun
    first : number of the tile's first pixel in the scene
    question : or None
    places : (2, k) rows and columns of pixels whose spectra are wanted, or None
    """

    identity: dict[str, Any]
    begun: dict[str, Any] | None = None
    first: int = 0
    question: scene.Question | None = None
    places: NDArray[np.int64] | None = None


def pick_first_rows(job: Job, threads: int, advanced: Advanced) -> NDArray[np.float32]:
    """Spectra (k, wavelength) of some pixels of the first rows of a tile with data; none where they begin late."""
    with working(threads, advanced):
        opened = open_tile(job)
        how = storage(opened.cube)
        places = _in_first_rows(opened, how, 4 * job.size)
        chosen = np.random.default_rng(job.seed).choice(len(places), min(job.size, len(places)), replace=False)
        stored = stored_at(opened.cube, places[np.sort(chosen)].T, checked=False)
        return how.reflectance(stored[how.valid(stored).all(axis=1) & stored.any(axis=1)])


def _in_first_rows(opened: OpenTile, how: Storage, enough: int) -> NDArray[np.intp]:
    """(k, 2) rows and columns with data at one wavelength, of the first rows where enough pixels have it, or half."""
    height, _, deep = opened.cube.shape
    plane = single_wavelength(opened.cube, deep // 2)
    for start in range(0, max(1, height // _LATE), _ROWS):
        rows = slice(start, start + _ROWS)
        counts = how.valid(np.asarray(plane[rows]))
        if opened.inside is not None:
            counts &= opened.inside[rows]
        if np.count_nonzero(counts) >= min(enough, counts.size / 2):
            at: NDArray[np.intp] = np.argwhere(counts) + np.array([start, 0])
            return at
    return np.empty((0, 2), np.intp)


def scan_tile(job: Job, threads: int, advanced: Advanced) -> xr.DataArray:
    """The sample of a tile, whose planes are kept as it is read."""
    with working(threads, advanced):
        opened = open_tile(job)

        def gather(places: NDArray[np.intp]) -> NDArray[Any]:
            pixels = scene.KeptPixels(places)
            _keep_planes(job, opened, pixels)
            spectra = pixels.spectra()
            return stored_at(opened.cube, places) if spectra is None else spectra

        return sample_of(job, opened, gather)


def project_tile(job: Job, threads: int, advanced: Advanced) -> str:
    """Keep the planes of a tile; returns the tile's id."""
    with working(threads, advanced):
        _keep_planes(job, open_tile(job))
        return job.tile.id


def answer_tile(job: Job, threads: int, advanced: Advanced) -> scene.Ranked:
    """What the kept planes of a tile answer."""
    with working(threads, advanced):
        folder = search_folder(Path(job.run_dir))
        space = _space(folder, job)
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


def pick_tile(job: Job, threads: int, advanced: Advanced) -> NDArray[np.float32]:
    """Spectra (k, wavelength) of some pixels of a tile."""
    with working(threads, advanced):
        return np.asarray(pixels_at(open_tile(job).cube, job.asked.places))


def is_kept(folder: Path, job: Job) -> bool:
    """Whether the planes of a tile are kept."""
    return all(
        read_planes(_slab(folder, job.tile, number), _identity(job)) is not None
        for number in range(len(job.tile.slabs))
    )


def _keep_planes(job: Job, opened: OpenTile, pixels: scene.KeptPixels | None = None) -> None:
    """Keep the planes of a tile slab by slab, if they are not, and the spectra of pixels that are read on the way."""
    folder = search_folder(Path(job.run_dir))
    if is_kept(folder, job):
        return
    basis = _basis(folder, job)
    if basis.shape[1] != opened.cube.sizes[WAVELENGTH]:
        raise _lost(folder)
    counted = counted_pixels(opened, job.config.masks)
    planes = scene.projected(opened.cube, basis, pixels)
    for number, (start, stop) in enumerate(job.tile.slabs):
        if read_planes(_slab(folder, job.tile, number), _identity(job)) is None:
            where = None if counted is None else counted.isel({Y: slice(start, stop)})
            shape = len(basis), stop - start, job.tile.shape[1]
            with planes_file(_slab(folder, job.tile, number), shape, _identity(job)) as out:
                scene.store_planes(planes[:, start:stop], where, out)


def read_basis(folder: Path, identity: dict[str, Any]) -> NDArray[np.float64] | None:
    """The basis (r, wavelength) of first rows that is kept; None where there is none."""
    basis = (read_arrays(folder / FIRST_ROWS, identity) or {}).get("basis")
    return None if basis is None or basis.ndim != 2 or basis.dtype != np.float64 else basis


def _basis(folder: Path, job: Job) -> NDArray[np.float64]:
    """What the planes of a job are products with: of a search that has begun, or of the first rows."""
    if job.asked.begun is not None:
        return _space(folder, job).basis
    basis = read_basis(folder, {name: value for name, value in job.asked.identity.items() if name != "basis"})
    if basis is None:
        raise _lost(folder)
    return basis


def _space(folder: Path, job: Job) -> scene.Space:
    kept = folder / BEGUN
    try:
        status = (kept / METADATA).stat()
    except OSError as error:
        raise _lost(folder) from error
    return _read_space(kept, json.dumps(job.asked.begun, sort_keys=True), (status.st_ino, status.st_mtime_ns))


@lru_cache(maxsize=1)
def _read_space(kept: Path, identity: str, file: tuple[int, int]) -> scene.Space:
    """What the file holds; every tile asks for it with every question."""
    space = scene.space_from(read_arrays(kept, json.loads(identity)) or {})
    if space is None:
        raise _lost(kept.parent)
    return space


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
