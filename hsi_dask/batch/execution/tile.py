"""One tile, from its file to its record: what a worker does. It reads and writes; only receipts are sent back."""

from __future__ import annotations

import ctypes
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.batch.observer import Advanced
from hsi_dask.batch.state.manifest import TileRecord
from hsi_dask.batch.state.run_directory import Run, record_of
from hsi_dask.batch.state.scene import scene_background, scene_ranges
from hsi_dask.batch.tiles.area import cut
from hsi_dask.batch.tiles.masks import tile_flags, unmasked_pixels
from hsi_dask.batch.tiles.plan import Tile
from hsi_dask.config import MaskConfig, RunConfig
from hsi_dask.errors import FileFormatError
from hsi_dask.io import endmember_store, map_writer
from hsi_dask.io.readers import read_source
from hsi_dask.io.receipts import Receipt
from hsi_dask.io.regions import Region
from hsi_dask.io.tile_source import TileSource
from hsi_dask.ops.bands import select_bands
from hsi_dask.ops.materials import mapped
from hsi_dask.ops.passes import ZERO
from hsi_dask.ops.quality import count_flags, mask_maps
from hsi_dask.ops.sampling import Gather
from hsi_dask.schema import PIXEL, X, Y

# A process works on one tile at a time, with all its threads: two would double the memory and gain nothing
_ONE_TILE = threading.Lock()
_REPORT_SECONDS = 0.2  # between two reports of progress inside a tile
# Of glibc's mallopt: how much free memory at the end of a heap is kept, how large a block stands by itself, and heaps
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


@dataclass(frozen=True)
class Job:
    """What travels to a worker."""

    tile: Tile
    run_dir: str
    config: RunConfig
    size: int = 0  # pixels to sample
    seed: int = 0
    reduction: str = ""  # of the scene
    region: Region | None = None  # the area of interest
    asked: Any = None  # of a stage that asks more of a tile


def process_tile(job: Job, threads: int, advanced: Advanced) -> TileRecord:
    """Compute a tile's maps slab by slab, write them, and commit the record.

    Raises
    ------
    HsiDaskError, OSError
        For the tile's own reasons; nothing is committed.
    """
    from hsi_dask.kernels.compiled import CompileClock

    with _ONE_TILE, _one_blas_thread(), _in_threads(threads):
        advanced(0.0)
        started, clock = time.perf_counter(), CompileClock()
        run = Run.open(job.run_dir)
        endmembers = endmember_store.read_endmembers(run.endmembers)
        file, cube, inside = open_tile(job)
        config = job.config
        maps, validity = mapped(
            cube, endmembers, methods=config.methods, thresholds=config.limits, options=config.method_options,
            background=scene_background(run.path, config), ranges=scene_ranges(run.path, config),
        )  # fmt: skip
        whole = maps.assign(_validity=validity)
        flags = tile_flags(file, cube, config.masks)
        if flags is not None:
            whole = whole.assign(_flags=flags)
        spectra = endmember_store.endmembers_digest(endmembers)
        before = _recorded_before(run, job.tile, spectra)
        receipts: list[Receipt] = []
        counts: Counter[str] = Counter()
        for number, (start, stop) in enumerate(job.tile.slabs):
            with _Progress(advanced, number, len(job.tile.slabs)):
                slab = whole.isel(y=slice(start, stop)) if len(job.tile.slabs) > 1 else whole
                computed = slab.compute()
            valid, found = computed["_validity"].values, computed.get("_flags")
            within = None if inside is None else inside[start:stop]
            computed = mask_maps(computed[list(maps)], valid, None if found is None else found.values, within)
            receipts += map_writer.write_region(run.results, computed, job.tile.row + start, job.tile.column)
            counts.update(count_flags(computed["quality"].values))
            if zeros := int(((valid == ZERO) & (True if within is None else within)).sum()):
                counts["zero"] += zeros
            del computed, slab  # before the next slab needs the room
        if before is not None and before.chunks != tuple(receipts):
            raise FileFormatError(
                f"{job.tile.path} gives other maps than before its time changed, so its content is another; bring the "
                "former file back and run with --same-content, or start a new run directory"
            )
        record = record_of(
            run, job.tile, tuple(receipts), counts, time.perf_counter() - started - clock.seconds, spectra
        )
        run.commit(record)
        return record


def _recorded_before(run: Run, tile: Tile, spectra: str) -> TileRecord | None:
    """The record of the tile's maps by a file of another time, whose checksums those of this file must have.

    From now on it is trusted with no file, not even if the former one comes back: its maps are about to be replaced.
    """
    before = run.record(tile.id)
    if before is None or (before.fingerprint, before.endmembers) != (run.manifest.fingerprint, spectra):
        return None
    if (before.file_size, before.mtime_ns) == (tile.file_size, tile.mtime_ns):
        return None
    if before.mtime_ns:
        run.commit(replace(before, mtime_ns=0))
    return before


def sample_tile(job: Job, threads: int, advanced: Advanced) -> xr.DataArray:
    """Random pixels of a tile that have data, are inside the area and not masked: size x wavelengths x 4 bytes."""
    with working(threads, advanced):
        return sample_of(job, open_tile(job))


def sample_of(job: Job, opened: OpenTile, gather: Gather | None = None) -> xr.DataArray:
    """The sample of a tile that is open; `gather` is another way to stored spectra."""
    pixels = unmasked_pixels(opened.file, opened.cube, job.size, job.seed, job.config.masks, opened.inside, gather)
    return pixels.assign_coords(tile=(PIXEL, np.full(pixels.sizes[PIXEL], job.tile.id, dtype=object)))


@contextmanager
def working(threads: int, advanced: Advanced) -> Iterator[None]:
    """This process computes one tile, in so many threads, and reports how much of its only graph is done."""
    with _ONE_TILE, _one_blas_thread(), _Progress(advanced, 0, 1), _in_threads(threads):
        advanced(0.0)
        yield


class OpenTile(NamedTuple):
    """A tile's source, its cube with the wavelengths that are kept, and (y, x) what is in the area of interest."""

    file: TileSource
    cube: xr.DataArray
    inside: NDArray[np.bool_] | None


def counted_pixels(opened: OpenTile, masks: MaskConfig) -> xr.DataArray | None:
    """(y, x) bool, computed: pixels in the area of interest that are not masked; None where all are."""
    flags = tile_flags(opened.file, opened.cube, masks)
    where = None if flags is None else (flags == 0).compute()
    if opened.inside is None:
        return where
    inside = xr.DataArray(opened.inside, dims=(Y, X))
    return inside if where is None else inside & where


def open_tile(job: Job) -> OpenTile:
    """A tile as its run reads it; refused if it is not the file it was."""
    file = read_source(job.tile.path)
    if (file.file_size, file.mtime_ns) != (job.tile.file_size, job.tile.mtime_ns):
        raise FileFormatError(f"{job.tile.path} changed while the run was going; run again")
    bands, inside = job.config.bands, None
    if job.region is not None:
        file, inside = cut(file, job.region)
    return OpenTile(file, select_bands(file.numbers(), windows=bands.pairs, drop_last=bands.drop_last), inside)


def share_heap() -> None:
    """Let threads that are started from now on share one heap, which keeps what a tile leaves for the next.

    For processes that do nothing but run. glibc gives each thread a heap of its own, and five tiles leave 0.4 GB in
    them. Blocks above 32 MB are given back at once, as dask's workers do with all of them.
    """
    with suppress(AttributeError, OSError, TypeError):  # another C library, which does not do so
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def give_back_heap() -> None:
    """Let the system have what is free in the heap, where it would be kept for more of the same kind.

    Statistics of the scene leave 0.7 GB of it, which maps, of larger blocks by themselves, would come on top of.
    """
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _in_threads(number: int) -> AbstractContextManager[Any]:
    """Dask computes in so many threads here; asked for them by their name, it would import distributed (0.2 s)."""
    import dask
    from dask import threaded

    return dask.config.set(scheduler=threaded.get, num_workers=number)


def _one_blas_thread() -> AbstractContextManager[Any]:
    """Dask's threads fill the cores; BLAS threads below each of them would fight for the same ones."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(limits=1)
    return limits


def _Progress(advanced: Advanced, number: int, of: int) -> Any:  # noqa: N802  a class made late: dask is slow to import
    """Reports the share of a dask graph's tasks that are finished, as part `number` of `of`."""
    from dask.callbacks import Callback

    last = 0.0

    def posttask(key: Any, result: Any, dsk: Any, state: Any, worker: Any) -> None:
        nonlocal last
        if time.monotonic() - last < _REPORT_SECONDS:
            return
        last = time.monotonic()
        finished = len(state["finished"])
        total = finished + sum(len(state[name]) for name in ("waiting", "ready", "running"))
        advanced((number + finished / max(total, 1)) / of)

    return Callback(posttask=posttask)
