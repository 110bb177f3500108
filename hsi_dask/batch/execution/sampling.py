"""Pixels of a site to find endmembers in: from a bounded number of tiles, spread over all."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import xarray as xr

from hsi_dask.batch.execution.dispatch import Failure, Task, Workers, carry_out, raise_if_fatal
from hsi_dask.batch.execution.tile import Job, sample_tile
from hsi_dask.batch.tiles.plan import Plan, Tile
from hsi_dask.errors import EndmemberError
from hsi_dask.schema import PIXEL


def sample_site(
    plan: Plan, run_dir: Path, workers: Workers, task: Task = sample_tile, asked: Any = None
) -> xr.DataArray:
    """Pixels from a bounded number of tiles spread over all; a tile that gives none is replaced by another.

    Which pixels depends on the tiles, the sample's size and the seed, never on where or in what order they ran.

    Parameters
    ----------
    task : samples a tile, as `sample_tile` does.
    asked : what else it is asked.
    """
    wanted = plan.config.endmembers
    order, count = plan.in_sampling_order(), plan.sampled
    size = -(-wanted.sampled // count)
    found: dict[str, xr.DataArray] = {}
    reason = ""
    while order and len(found) < count:
        batch, order = order[: count - len(found)], order[count - len(found) :]
        jobs = [
            Job(
                tile,
                str(run_dir.absolute()),
                plan.config,
                size,
                _seed(wanted.seed, tile, len(plan.tiles)),
                region=plan.region,
                asked=asked,
            )
            for tile in batch
        ]
        for job, outcome in carry_out(task, jobs, workers):
            if isinstance(outcome, Failure):
                raise_if_fatal(outcome)
                reason = outcome.reason
                workers.observer.message(f"tile {job.tile.id} is left out of the sample: {reason}")
            else:
                found[job.tile.id] = outcome
    if not found:
        raise EndmemberError(f"no tile has a usable pixel to find endmembers in; the last said: {reason}")
    parts = [found[tile.id] for tile in plan.tiles if tile.id in found]
    return (
        parts[0] if len(parts) == 1 else xr.concat(parts, PIXEL, coords="minimal", compat="override", join="override")
    )


def _seed(seed: int, tile: Tile, tiles: int) -> int:
    """The run's seed, so that one tile gives what `sample_pixels` gives; of several each draws its own."""
    if tiles == 1:
        return seed
    return int.from_bytes(hashlib.blake2b(f"{seed}:{tile.id}".encode(), digest_size=4).digest(), "big")
