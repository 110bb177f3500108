"""Loaded by every worker of a job before it takes work, as `dask worker --preload hsi_dask.cluster.worker`.

A task that a worker cannot import would kill it and the next ones, one by one; a worker that fails here ends its job,
whose log then says why, and the watchdog reads it.
"""

import multiprocessing
import os
from importlib import import_module

from hsi_dask import __version__
from hsi_dask.cluster.jobs import EXPECTED
from hsi_dask.errors import ClusterError


def prove() -> None:
    """Import all that tasks need, in the version of the driver; raise if it cannot be."""
    import_module("hsi_dask.batch.execution.tile")
    if (expected := os.environ.get(EXPECTED, __version__)) != __version__:
        raise ClusterError(f"this worker has hsi_dask {__version__}, its driver {expected}; install the same one here")


def dask_setup(worker: object) -> None:
    """Without a nanny the worker is this process; dask only logs what goes wrong here, unless it is an exit."""
    try:
        prove()
    except Exception as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error


# Below a nanny the worker is a child of the process that the job starts. That one loads this module too, and is to stay
# small: a nanny is there to watch
if multiprocessing.parent_process() is not None:
    prove()
