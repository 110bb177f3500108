"""Loaded by every worker of a job before it takes work, as `dask worker --preload hsi_dask.cluster.worker`.

A task that a worker cannot import would kill it and the next ones, one by one; a worker that fails here ends its job,
whose log then says why, and the watchdog reads it.
"""

import os
from importlib import import_module

from hsi_dask import __version__
from hsi_dask.cluster.jobs import EXPECTED
from hsi_dask.errors import ClusterError

import_module("hsi_dask.batch.tile")  # all that tasks need, not only the package
if (expected := os.environ.get(EXPECTED, __version__)) != __version__:
    raise ClusterError(f"this worker has hsi_dask {__version__}, its driver {expected}; install the same one here")
