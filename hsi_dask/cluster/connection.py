"""connect(): from a configuration to a client whose workers are able to compute tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hsi_dask import __version__
from hsi_dask.cluster.allocation import allocated_workers
from hsi_dask.cluster.config import QUEUED, ClusterConfig
from hsi_dask.cluster.existing import existing_scheduler
from hsi_dask.cluster.jobs import worker_jobs
from hsi_dask.cluster.local import local_workers
from hsi_dask.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client

_KINDS = {
    "local": local_workers,
    "scheduler": existing_scheduler,
    "slurm-allocation": allocated_workers,
    **dict.fromkeys(QUEUED, worker_jobs),
}


@contextmanager
def connect(config: ClusterConfig) -> Iterator[Client]:
    """A client to the cluster's workers, each of which can import this version of hsi_dask.

    Whatever is started for the client ends with it. Workers that are jobs of a batch scheduler are watched: a job that
    ends is replaced, and when no worker can be had any more the client is closed and leaving the block raises the
    reason. Pass `config.limits` to `run` together with the client.

    Raises
    ------
    ConfigError
        An option that the cluster's class does not know, or a value that it refuses.
    ClusterError
        The scheduler cannot be reached, no worker comes in time or can be had any more, or a worker has no or another
        hsi_dask.
    """
    with _KINDS[config.kind](config) as client:
        if not config.queued:  # worker jobs check themselves at their start
            _require_workers(client, config.wait)
        yield client


def _require_workers(client: Client, wait: float) -> None:
    """Import the package on every worker: a task that cannot be imported there would kill worker after worker."""
    try:
        client.wait_for_workers(1, timeout=wait)
    except TimeoutError as error:
        raise ClusterError(
            f"the scheduler has no worker after {wait:g} s; start some, or raise the key wait"
        ) from error
    for worker, version in client.run(_importing(__version__), on_error="return").items():
        if isinstance(version, OSError):
            raise ClusterError(
                f"worker {worker} was lost before it could compute ({version}); see its output and memory"
            )
        if isinstance(version, BaseException):
            raise ClusterError(f"worker {worker} cannot import hsi_dask ({version}); install it where workers run")
        if version != __version__:
            raise ClusterError(
                f"worker {worker} has hsi_dask {version}, this is {__version__}; install the same one there"
            )


def _importing(expected: str) -> Callable[[], str]:
    """A function that returns hsi_dask's version and, where it is the expected one, imports what tiles need.

    It is nested, so that cloudpickle sends its code: a worker without hsi_dask can still run it and report the error.
    """

    def version() -> str:
        from hsi_dask import __version__

        if __version__ == expected:
            from hsi_dask.cluster.worker import require_package

            require_package()
        return __version__

    return version
