"""connect(): from a configuration to a client whose workers have proved able to do the work."""

from __future__ import annotations

import inspect
import logging
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hsi_dask.cluster.config import ClusterConfig
from hsi_dask.errors import ClusterError, ConfigError
from hsi_dask.yaml_text import unknown_key

if TYPE_CHECKING:
    from distributed import Client

# Nobody else needs to reach workers on this machine; the dashboard is off unless asked for, and what is left of its
# server takes any free port, without a warning that 8787 is taken
_LOCAL: dict[str, Any] = {
    "host": "127.0.0.1",
    "dashboard_address": None,
    "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"},
    "silence_logs": logging.ERROR,
}
# Dask's profiler keeps an hour of call trees: on workers 60 kB a small tile, memory that grows as long as a run does
_NO_PROFILE = {"distributed.worker.profile.enabled": False}
# evaluated on workers, so that nothing of ours needs to be importable there to find out
_VERSION = "__import__('hsi_dask.batch.execution.tile').__version__"


@contextmanager
def connect(config: ClusterConfig) -> Iterator[Client]:
    """A client to the cluster's workers, each of which can import this version of hsi_dask.

    What was started for it ends with it. Workers that are jobs of a batch scheduler are watched meanwhile: a job that
    ends is replaced, and when none can be had the client is closed and leaving the block says why.

    Raises
    ------
    ConfigError
        An option that the cluster's class does not know, or a value that it refuses.
    ClusterError
        The scheduler cannot be reached, no worker comes in time or can be had any more, or a worker has no or another
        hsi_dask.
    """
    if config.queued:
        from hsi_dask.cluster.jobs import worker_jobs as started
    elif config.kind == "slurm-allocation":
        from hsi_dask.cluster.allocation import allocated as started
    else:
        started = {"local": _local, "scheduler": _scheduler}[config.kind]
    import dask

    with dask.config.set({"hsi-dask.stuck": config.stuck}), started(config) as client:
        if not config.queued:  # jobs prove it at their start
            _require_workers(client, config.wait)
        yield client


@contextmanager
def _local(config: ClusterConfig) -> Iterator[Client]:
    import dask
    from distributed import Client, LocalCluster, Nanny, Worker

    require_known(config.options, (LocalCluster, Nanny, Worker))
    defaults = {k: v for k, v in _LOCAL.items() if k != "scheduler_kwargs" or "dashboard_address" not in config.options}
    try:
        with dask.config.set(_NO_PROFILE), sheltered():
            cluster = LocalCluster(**defaults | config.options)
    except (TypeError, ValueError, OSError, RuntimeError) as error:
        raise ConfigError(f"the local workers do not start with these options: {error}") from error
    with cluster, Client(cluster) as client:
        yield client


@contextmanager
def sheltered() -> Iterator[None]:
    """Threads and processes started inside never see Ctrl-C: it is for this process, which ends them in order."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _scheduler(config: ClusterConfig) -> Iterator[Client]:
    from distributed import Client, Security

    require_known(config.options, (Client,))
    options = dict(config.options)
    where = options.get("address") or options.get("scheduler_file")
    if not where:
        raise ConfigError("options.address is missing; give the scheduler's, such as tcp://127.0.0.1:8786")
    try:
        if isinstance(options.get("security"), dict):
            options["security"] = Security(**options["security"])
        client = Client(**{"timeout": config.wait} | options)
    except (OSError, TypeError, ValueError) as error:
        raise ClusterError(
            f"no scheduler answers at {where} ({error}); start it, or correct options.address"
        ) from error
    with client:
        yield client


def _require_workers(client: Client, wait: float) -> None:
    """Import the package on every worker: a task that cannot be imported there would kill worker after worker."""
    try:
        client.wait_for_workers(1, timeout=wait)
    except TimeoutError as error:
        raise ClusterError(
            f"the scheduler has no worker after {wait:g} s; start some, or raise the key wait"
        ) from error
    here = eval(_VERSION)
    for worker, version in client.run(eval, _VERSION, on_error="return").items():
        if isinstance(version, BaseException):
            raise ClusterError(f"worker {worker} cannot import hsi_dask ({version}); install it where workers run")
        if version != here:
            raise ClusterError(f"worker {worker} has hsi_dask {version}, this is {here}; install the same one there")


def require_known(options: Mapping[str, Any], classes: Iterable[type], section: str = "options") -> None:
    """Refuse options that none of the classes names: they would be passed on and lost, or fail on workers."""
    parameters = [p for cls in classes for p in inspect.signature(cls.__init__).parameters.values()]  # type: ignore[misc]
    known = {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)} - {"self"}
    for name in options:
        if name not in known:
            raise ConfigError(unknown_key(str(name), sorted(known), f"{section}."))
