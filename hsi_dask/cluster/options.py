"""Options that are passed on to dask: which ones its classes know, and the settings that every run's workers have."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from hsi_dask import __version__
from hsi_dask.errors import ConfigError
from hsi_dask.yaml_text import one_line, shortened, unknown_key

# What dask's classes raise for values of options that they cannot use
REFUSALS = (TypeError, ValueError, AttributeError, LookupError, OSError, RuntimeError)
EXPECTED_VERSION = "HSI_DASK_EXPECTED"  # environment variable of workers: the driver's hsi_dask
WORKER_SETTINGS: dict[str, Any] = {
    # the profiler keeps an hour of call trees: 60 kB a small tile, memory that grows as long as a run does
    "distributed.worker.profile.enabled": False,
    # results are small; what is spilled is read back as pickles, from scratch that others may write to
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    # pages about a worker are plain HTTP, and loopback is open to every user of a machine
    "distributed.worker.http.routes": [],
}
_BATCH_SETTINGS: dict[str, Any] = {
    "distributed.scheduler.no-workers-timeout": None,  # jobs may be pending for longer; the watchdog decides
    "distributed.deploy.lost-worker-timeout": "60s",  # a nanny restarts a worker in less
}


def scheduler_settings(*, dashboard: bool) -> dict[str, Any]:
    """Dask's settings for a scheduler in this process; its pages, plain HTTP as well, are there only if asked for."""
    return {} if dashboard else {"distributed.scheduler.http.routes": []}


def batch_settings(*, dashboard: bool) -> dict[str, Any]:
    """The same for a scheduler whose workers are jobs."""
    return _BATCH_SETTINGS | scheduler_settings(dashboard=dashboard)


def worker_environment() -> dict[str, str]:
    """Environment variables of workers that a command line starts; dask reads its settings from them."""
    settings = {f"DASK_{key.upper().replace('.', '__')}": str(value) for key, value in WORKER_SETTINGS.items()}
    # Lustre and NFS often have no locks, and tiles are only read
    return {"HDF5_USE_FILE_LOCKING": "FALSE", EXPECTED_VERSION: __version__} | settings


def reason(error: BaseException) -> str:
    """What an error of dask's says, in one line.

    Of a RuntimeError, by which dask reports only that something failed to start, that is what the error it comes from
    says.
    """
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return one_line(error)


def require_mapping(options: Mapping[str, Any], key: str, section: str = "options") -> dict[str, Any]:
    """The mapping that an option is; empty where it is not set."""
    value = options.get(key)
    if not isinstance(value, dict | None):
        raise ConfigError(f"{section}.{key} is {shortened(value)}; it must be a mapping")
    return dict(value or {})


def require_known(options: Mapping[str, Any], classes: Iterable[type], section: str = "options") -> None:
    """Refuse options that none of the classes names: they would be passed on and lost, or fail on workers."""
    parameters = [p for cls in classes for p in inspect.signature(cls.__init__).parameters.values()]  # type: ignore[misc]
    known = {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)} - {"self"}
    for name in options:
        if name not in known:
            raise ConfigError(unknown_key(str(name), sorted(known), f"{section}."))
