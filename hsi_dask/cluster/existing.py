"""A scheduler that is already running, with workers of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hsi_dask.cluster.config import ClusterConfig
from hsi_dask.cluster.credentials import supplied_security
from hsi_dask.cluster.options import reason, require_known
from hsi_dask.errors import ClusterError, ConfigError

if TYPE_CHECKING:
    from distributed import Client


@contextmanager
def existing_scheduler(config: ClusterConfig) -> Iterator[Client]:
    """A client to a scheduler that goes on running afterwards; with TLS files one without TLS is refused."""
    from distributed import Client, Security

    require_known(config.options, (Client,))
    options = dict(config.options)
    address = options.get("address") or options.get("scheduler_file")
    if not address:
        raise ConfigError("options.address is missing; give the scheduler's, such as tcp://127.0.0.1:8786")
    if files := options.pop("security", None):
        if not isinstance(files, dict):
            raise ConfigError("options.security must be a mapping of TLS files")
        options["security"] = supplied_security(files)
    elif str(address).startswith("tls://") and Security().get_connection_args("client")["ssl_context"] is None:
        raise ConfigError(f"options.security is missing; {address} needs TLS files, see cluster_configs/scheduler.yaml")
    try:
        client = Client(**{"timeout": config.wait} | options)
    except (OSError, TypeError, ValueError, AttributeError, LookupError) as error:
        raise ClusterError(
            f"no scheduler answers at {address} ({reason(error)}); start it, or correct options.address"
        ) from error
    except RuntimeError as error:
        raise ClusterError(f"the scheduler at {address} is refused: {reason(error)}") from error
    with client:
        yield client
