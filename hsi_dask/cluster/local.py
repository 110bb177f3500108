"""Worker processes on this machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hsi_dask.cluster.addresses import LOOPBACK, dashboard_address
from hsi_dask.cluster.config import ClusterConfig
from hsi_dask.cluster.credentials import supplied_security, temporary_security
from hsi_dask.cluster.interrupts import sigint_blocked
from hsi_dask.cluster.options import (
    REFUSALS,
    WORKER_SETTINGS,
    reason,
    require_known,
    require_mapping,
    scheduler_settings,
)
from hsi_dask.errors import ConfigError

if TYPE_CHECKING:
    from distributed import Client, Security

# Nothing listens on other addresses than loopback, unless the file says so
_DEFAULTS: dict[str, Any] = {"host": "127.0.0.1", "silence_logs": logging.ERROR}
_WITHOUT_TLS = (
    "; or leave out --cluster, to compute in one process; or set options.security to false, and every user of this "
    "machine can run programs as you while the workers are there"
)


@contextmanager
def local_workers(config: ClusterConfig) -> Iterator[Client]:
    """A client to worker processes that are started for it and end with it.

    Loopback is open to every user of a machine, and who reaches a scheduler or a worker can run code in it: TLS with
    credentials made for this cluster keeps others out.
    """
    import dask
    from distributed import Client, LocalCluster, Nanny, Worker

    require_known(config.options, (LocalCluster, Nanny, Worker))
    options = _DEFAULTS | config.options | {"security": _security(config.options.get("security", True))}
    options |= _dashboards(options)
    settings = WORKER_SETTINGS | scheduler_settings(dashboard=options["dashboard_address"] is not None)
    try:
        with dask.config.set(settings), sigint_blocked():
            cluster = LocalCluster(**options)
    except REFUSALS as error:
        raise ConfigError(f"the local workers do not start with these options: {reason(error)}") from error
    with cluster, Client(cluster) as client:
        yield client


def _security(wanted: Any) -> Security | None:
    if wanted is True:
        return temporary_security(_WITHOUT_TLS)
    if wanted is False:
        return None
    if not isinstance(wanted, dict):
        raise ConfigError("options.security must be true, false or a mapping of TLS files")
    return supplied_security(wanted)


def _dashboards(options: dict[str, Any]) -> dict[str, Any]:
    """Dashboards are off unless asked for; what is left of their servers listens on any free port."""
    scheduler = require_mapping(options, "scheduler_kwargs")
    asked = scheduler.pop("dashboard_address", options.get("dashboard_address"))
    found: dict[str, Any] = {"dashboard_address": None, "scheduler_kwargs": scheduler | {"dashboard_address": LOOPBACK}}
    if asked is not None:
        found = {"dashboard_address": dashboard_address(asked, "options"), "scheduler_kwargs": scheduler}
    if (workers := options.get("worker_dashboard_address")) is not None:
        found["worker_dashboard_address"] = dashboard_address(workers, "options", "worker_dashboard_address")
    return found
