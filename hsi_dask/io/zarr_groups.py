"""Groups of the stores that runs write, opened: only what hsi_dask wrote, and damage told in a sentence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xarray as xr

from hsi_dask.errors import RunError
from hsi_dask.io.zarr_metadata import require_known

RESTORE = "restore it from a copy, or start a new run directory"


def open_group(path: Path, group: str, chunks: Any) -> xr.Dataset:
    """A group of a store as a dataset, if it is one that hsi_dask wrote; values are as they are stored."""
    from hsi_dask.io.local_stores import PlainFiles

    sizes = {f"{group}/{name}".lstrip("/"): array.chunk_bytes for name, array in require_known(path, group).items()}
    with readable(path):
        dataset: xr.Dataset = xr.open_zarr(
            PlainFiles(path, sizes), group=group or None, consolidated=False, chunks=chunks, decode_coords="all",
            mask_and_scale=False, decode_times=False, decode_timedelta=False,
        )  # fmt: skip
    return dataset


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise RunError for whatever Zarr, its codecs and xarray make of metadata and bytes that are damaged."""
    try:
        yield
    except (RunError, MemoryError):  # the second tells of the process, not of the store
        raise
    except Exception as error:
        raise RunError(f"{path} cannot be read ({error}); {RESTORE}") from error


def part_of_run(run_dir: str | os.PathLike[str], name: str) -> Path:
    folder = Path(run_dir)
    if not (folder / "manifest.json").is_file():
        what = "is not a run directory: it has no manifest.json" if folder.is_dir() else "does not exist"
        raise RunError(f"{folder} {what}; give the folder that `hsi-dask run --out` wrote")
    if not (folder / name).exists():
        raise RunError(f"{folder} has no {name} yet; run `hsi-dask run --out {folder}` on until a tile is done")
    if (folder / name).is_symlink():
        raise RunError(f"{folder / name} is a link, and may lead anywhere; put what it points to in its place")
    return folder / name
