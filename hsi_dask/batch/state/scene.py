"""What a run keeps of its whole scene: where each reduction is, and what it was computed from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from hsi_dask.batch.tiles.plan import Tile
from hsi_dask.config import RunConfig
from hsi_dask.errors import RunError
from hsi_dask.io.scene import SCENE, read_arrays
from hsi_dask.methods.registry import method
from hsi_dask.methods.specification import Background
from hsi_dask.scene.moments import MOMENTS, background
from hsi_dask.scene.reduction import Reduction


def needs_moments(config: RunConfig) -> bool:
    """Whether a method of the run asks for statistics of the scene."""
    return any(method(name).background for name in config.methods)


def scene_background(run_dir: Path, config: RunConfig) -> Background | None:
    """The statistics of the scene as a run keeps them; None where no method needs them.

    Raises
    ------
    RunError
        They are missing or damaged.
    """
    if not needs_moments(config):
        return None
    folder = whole_folder(run_dir, MOMENTS)
    try:
        status = (folder / "zarr.json").stat()
    except OSError as error:
        raise RunError(f"{folder} is missing; run again to compute it anew") from error
    known = json.dumps(identity(MOMENTS, config), sort_keys=True)
    return _background(folder, known, (status.st_ino, status.st_mtime_ns))


@lru_cache(maxsize=2)
def _background(folder: Path, known: str, file: tuple[int, int]) -> Background:
    """What the file holds; every tile asks for the same."""
    arrays = read_arrays(folder, json.loads(known))
    if arrays is None:
        raise RunError(f"{folder} is damaged; run again to compute it anew")
    return background(arrays)


def whole_folder(run_dir: Path, reduction: Reduction) -> Path:
    """Of the arrays of all tiles."""
    return run_dir / SCENE / reduction.name / "whole"


def tile_folder(run_dir: Path, reduction: Reduction, tile: Tile) -> Path:
    """Of a tile's arrays."""
    return run_dir / SCENE / reduction.name / f"tile-{tile.id}"


def identity(reduction: Reduction, config: RunConfig) -> Mapping[str, Any]:
    """What the arrays depend on, beside the tiles."""
    settings = config.model_dump(mode="json", include={"bands", "masks"})
    return {"reduction": reduction.name, "version": reduction.version, **settings}


def tile_identity(reduction: Reduction, config: RunConfig, tile: Tile) -> Mapping[str, Any]:
    """What a tile's arrays depend on."""
    return {**identity(reduction, config), "file_size": tile.file_size, "mtime_ns": tile.mtime_ns}
