"""Where verbs may write: not over what they read, nor over the files of a run."""

from __future__ import annotations

import os
from pathlib import Path

from hsi_dask.batch.state.manifest import MANIFEST
from hsi_dask.batch.state.run_directory import OWN_NAMES
from hsi_dask.errors import ConfigError
from hsi_dask.io.durable import PART
from hsi_dask.io.levels import OVERVIEWS


def require_free(out: str | os.PathLike[str], *read: str | os.PathLike[str]) -> None:
    """Raise ConfigError if a file or folder to write is a run's own, is in one of its own, or is what is read.

    Examples
    --------
    >>> require_free("values.csv", "plots.csv")
    >>> require_free("plots.csv", "./plots.csv")
    Traceback (most recent call last):
    hsi_dask.errors.ConfigError: --out plots.csv is what is read; give another name
    """
    place = Path(os.path.realpath(out))
    if place in {Path(os.path.realpath(path)) for path in read}:
        raise ConfigError(f"--out {os.fspath(out)} is what is read; give another name")
    for folder in place.parents:
        name = place.relative_to(folder).parts[0]
        if name in {*OWN_NAMES, OVERVIEWS, OVERVIEWS + PART} and (folder / MANIFEST).is_file():
            raise ConfigError(f"--out {os.fspath(out)} is {name} of the run {folder}, or in it; give another place")
