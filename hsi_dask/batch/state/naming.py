"""Names for found endmembers, in a run's endmembers and in the legends of its class maps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import xarray as xr

from hsi_dask.batch.state.lock import held_whole
from hsi_dask.batch.state.run_directory import Run, create_results
from hsi_dask.errors import RunError
from hsi_dask.io import endmember_store
from hsi_dask.io.durable import sync_folders, write_file
from hsi_dask.schema import ENDMEMBER, NAME, endmember_names, endmember_numbers

LONGEST = 100  # characters of a name


def name_endmembers(run_dir: str | os.PathLike[str], names: Mapping[int, str]) -> xr.DataArray:
    """Give endmembers of a run names, by their numbers; the others keep theirs. No map is computed anew.

    Raises
    ------
    RunError
        The folder is not a run, is in use, or has no endmember of a number; or a name is empty or too long.
    """
    run = Run.open(run_dir)
    with held_whole(run.path):
        endmembers = endmember_store.read_endmembers(run.endmembers)
        numbers = endmember_numbers(endmembers).tolist()
        _require(names, numbers, run.path)
        before = endmember_names(endmembers) or [f"endmember {number}" for number in numbers]
        now = [names.get(number, known) for number, known in zip(numbers, before, strict=True)]
        endmembers.attrs["names"] = now
        endmembers = endmembers.assign_coords({NAME: (ENDMEMBER, np.array(now, dtype=object))})
        endmember_store.write_endmembers(run.endmembers, endmembers)
        if run.results.is_dir():
            _rename_classes(run, endmembers)
    return endmembers


def _require(names: Mapping[int, str], numbers: list[int], path: Path) -> None:
    for number, name in names.items():
        if number not in numbers:
            raise RunError(f"{path} has no endmember {number}; it has {', '.join(map(str, numbers))}")
        if not name.strip() or len(name) > LONGEST or not name.isprintable():
            raise RunError(f"{name!r} is no name; give 1 to {LONGEST} printable characters")


def _rename_classes(run: Run, endmembers: xr.DataArray) -> None:
    """Metadata of class maps with the new names; their chunks stay."""
    with TemporaryDirectory() as folder:
        fresh = Path(folder) / run.results.name
        create_results(fresh, run.manifest, endmembers)
        for variable in run.manifest.variables:
            if variable.role == "class":
                metadata = (fresh / variable.name / "zarr.json").read_bytes()
                write_file(run.results / variable.name / "zarr.json", metadata)
                sync_folders([run.results / variable.name])
