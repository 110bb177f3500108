"""The stage between sampling and mapping: what methods ask of the whole scene, a tile at a time, safe to stop."""

from __future__ import annotations

from pathlib import Path

from hsi_dask.batch.execution.dispatch import Failure, Workers, carry_out, raise_if_fatal
from hsi_dask.batch.execution.tile import Job, counted_pixels, give_back_heap, open_tile, working
from hsi_dask.batch.observer import Advanced
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.batch.state.scene import (
    identity,
    reduction_of,
    scene_reductions,
    tile_folder,
    tile_identity,
    whole_folder,
)
from hsi_dask.batch.tiles.plan import Plan, Tile
from hsi_dask.errors import RunError, counted
from hsi_dask.io.scene import Arrays, read_arrays, write_arrays
from hsi_dask.scene.reduction import Reduction


def ensure_scene(state: Run, plan: Plan, workers: Workers) -> None:
    """Compute once what the methods ask of the whole scene.

    A tile that cannot be read is left out, with a message; it will fail in the mapping too.

    Raises
    ------
    RunError
        No tile could be reduced.
    """
    for name in scene_reductions(plan.config):
        _ensure(state, plan, reduction_of(state.path, plan.config, name), workers)


def reduce_tile(job: Job, threads: int, advanced: Advanced) -> str:
    """Reduce a tile and keep the arrays with the run; returns the tile's id."""
    with working(threads, advanced):
        opened = open_tile(job)
        where = counted_pixels(opened, job.config.masks)
        run_dir = Path(job.run_dir)
        reduction = reduction_of(run_dir, job.config, job.reduction)
        arrays = reduction.reduce(opened.cube, where)
        folder = tile_folder(run_dir, reduction, job.tile)
        write_arrays(folder, arrays, tile_identity(reduction, job.config, job.tile))
    return job.tile.id


def _ensure(state: Run, plan: Plan, reduction: Reduction, workers: Workers) -> None:
    whole = whole_folder(state.path, reduction)
    if read_arrays(whole, identity(reduction, plan.config)) is not None:
        return
    tiles = sorted(plan.tiles, key=lambda tile: tile.id)
    todo = [tile for tile in tiles if _kept(state, plan, reduction, tile) is None]
    observer = workers.observer
    observer.stage("scene")
    observer.message(f"{reduction.title} of the scene: {len(todo)} of {counted(len(tiles), 'tile')} to read")
    jobs = [
        Job(tile, str(state.path.absolute()), plan.config, reduction=reduction.name, region=plan.region)
        for tile in todo
    ]
    for job, outcome in carry_out(reduce_tile, jobs, workers):
        if isinstance(outcome, Failure):
            raise_if_fatal(outcome)
            observer.message(f"tile {job.tile.id} is left out of the {reduction.title}: {outcome.reason}")
    give_back_heap()
    found = (_kept(state, plan, reduction, tile) for tile in tiles)
    combined = reduction.combine_all(part for part in found if part is not None)
    if combined is None:
        raise RunError(f"no tile could be read for the {reduction.title} of the scene; see the messages above")
    write_arrays(whole, combined, identity(reduction, plan.config))


def _kept(state: Run, plan: Plan, reduction: Reduction, tile: Tile) -> Arrays | None:
    return read_arrays(tile_folder(state.path, reduction, tile), tile_identity(reduction, plan.config, tile))
