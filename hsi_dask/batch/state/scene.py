"""What a run keeps of its whole scene: where each reduction is, and what it was computed from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from hsi_dask.batch.tiles.plan import Tile
from hsi_dask.config import RunConfig
from hsi_dask.errors import RunError
from hsi_dask.io import endmember_store
from hsi_dask.io.scene import SCENE, Arrays, read_arrays
from hsi_dask.methods.registry import method
from hsi_dask.methods.specification import Background
from hsi_dask.ops.classes import Range, absolute_limits, limits_of
from hsi_dask.scene import ranges
from hsi_dask.scene.moments import MOMENTS, background
from hsi_dask.scene.reduction import Reduction


def scene_reductions(config: RunConfig) -> tuple[str, ...]:
    """Names of the reductions that a run needs; later ones may use earlier ones."""
    return ((MOMENTS.name,) if _needs_moments(config) else ()) + ((ranges.NAME,) if _relative(config) else ())


def reduction_of(run_dir: Path, config: RunConfig, name: str) -> Reduction:
    """The reduction of this name, as this run needs it."""
    if name == MOMENTS.name:
        return MOMENTS
    endmembers = endmember_store.read_endmembers(run_dir / endmember_store.ENDMEMBERS)
    chosen = _relative(config)
    options = {each: values for each, values in config.method_options.items() if each in chosen}
    settings = {"endmembers": endmember_store.endmembers_digest(endmembers), "options": options}
    return ranges.score_ranges(endmembers, chosen, options, scene_background(run_dir, config), settings)


def scene_background(run_dir: Path, config: RunConfig) -> Background | None:
    """The statistics of the scene as a run keeps them; None where no method needs them.

    Raises
    ------
    RunError
        They are missing or damaged.
    """
    return background(_whole(run_dir, config, MOMENTS)) if _needs_moments(config) else None


def scene_ranges(run_dir: Path, config: RunConfig) -> dict[str, Range] | None:
    """By method the ranges that its relative thresholds are fractions of; None where thresholds are scores.

    Raises
    ------
    RunError
        They are missing or damaged.
    """
    if not _relative(config):
        return None
    return ranges.ranges_in(_whole(run_dir, config, reduction_of(run_dir, config, ranges.NAME)))


def scene_thresholds(run_dir: Path, config: RunConfig) -> dict[str, list[float]]:
    """By class map its relative thresholds as scores; none where thresholds are scores."""
    found = {}
    for name, known in (scene_ranges(run_dir, config) or {}).items():
        spec = method(name)
        limits = limits_of(config.limits[name], known.low.size, name, None)
        if limits is not None and spec.classes and spec.classed:
            found[spec.classes.name] = [float(limit) for limit in absolute_limits(limits, known, spec.classed)]
    return found


def search_folder(run_dir: Path) -> Path:
    """Of what a search for endmembers among every pixel keeps until they are found."""
    return run_dir / SCENE / "vertices"


def kept_by_search(run_dir: Path) -> int:
    """Bytes that a search has kept so far."""
    return sum(file.lstat().st_size for file in search_folder(run_dir).glob("tile-*/*"))


def forget_search(run_dir: Path) -> None:
    """Remove what a search has kept."""
    shutil.rmtree(search_folder(run_dir), ignore_errors=True)


def whole_folder(run_dir: Path, reduction: Reduction) -> Path:
    """Of the arrays of all tiles."""
    return run_dir / SCENE / reduction.name / "whole"


def tile_folder(run_dir: Path, reduction: Reduction, tile: Tile) -> Path:
    """Of a tile's arrays."""
    return run_dir / SCENE / reduction.name / f"tile-{tile.id}"


def identity(reduction: Reduction, config: RunConfig) -> Mapping[str, Any]:
    """What the arrays depend on, beside the tiles."""
    settings = config.model_dump(mode="json", include={"bands", "masks"})
    return {"reduction": reduction.name, "version": reduction.version, **settings, **reduction.settings}


def tile_identity(reduction: Reduction, config: RunConfig, tile: Tile) -> Mapping[str, Any]:
    """What a tile's arrays depend on."""
    return {**identity(reduction, config), "file_size": tile.file_size, "mtime_ns": tile.mtime_ns}


def _needs_moments(config: RunConfig) -> bool:
    return any(method(name).background for name in config.methods)


def _relative(config: RunConfig) -> tuple[str, ...]:
    """Methods whose thresholds are fractions of the range of their scores."""
    if not config.thresholds.relative:
        return ()
    return tuple(name for name, value in config.limits.items() if value is not None)


def _whole(run_dir: Path, config: RunConfig, reduction: Reduction) -> Arrays:
    folder = whole_folder(run_dir, reduction)
    try:
        status = (folder / "zarr.json").stat()
    except OSError as error:
        raise RunError(f"{folder} is missing; run again to compute it anew") from error
    return _kept(folder, json.dumps(identity(reduction, config), sort_keys=True), (status.st_ino, status.st_mtime_ns))


@lru_cache(maxsize=4)
def _kept(folder: Path, known: str, file: tuple[int, int]) -> Arrays:
    """What the file holds; every tile asks for the same."""
    arrays = read_arrays(folder, json.loads(known))
    if arrays is None:
        raise RunError(f"{folder} is damaged; run again to compute it anew")
    return arrays
