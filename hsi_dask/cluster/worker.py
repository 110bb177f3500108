"""Loaded by every worker of a job before it accepts tasks: `dask worker --preload hsi_dask.cluster.worker`.

A task that a worker cannot import would kill it and the next workers, one by one. A worker that fails here ends its
job, whose log then holds the reason, and the watchdog reads it.
"""

import multiprocessing
import os

from hsi_dask import __version__
from hsi_dask.cluster.options import EXPECTED_VERSION
from hsi_dask.errors import ClusterError


def require_package() -> None:
    """Import all that tasks need; raise if that fails or the driver has another version."""
    import hsi_dask.batch.execution.tile  # noqa: F401

    if (expected := os.environ.get(EXPECTED_VERSION, __version__)) != __version__:
        raise ClusterError(f"this worker has hsi_dask {__version__}, its driver {expected}; install the same one here")


def dask_setup(worker: object) -> None:
    """Without a nanny the worker is this process. Dask only logs an error raised here, unless it is SystemExit."""
    try:
        require_package()
    except Exception as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error


# With a nanny the worker is a child of the process that the job starts. The nanny loads this module as well and does
# not need the package's imports: it stays small
if multiprocessing.parent_process() is not None:
    require_package()
