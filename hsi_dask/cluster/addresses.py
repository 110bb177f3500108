"""Addresses that a scheduler, its workers and their dashboards listen on: one network address each, never all."""

from __future__ import annotations

import ipaddress
import socket
import sys
import warnings
from typing import Any

from hsi_dask.errors import ConfigError
from hsi_dask.yaml_text import shortened

LOOPBACK = "127.0.0.1:0"  # of dashboards: this machine only, any free port
# The address by which a node reaches the driver; backquotes, for $(...) has a meaning of its own in HTCondor's files
_NODE_ADDRESS = (
    "`{python} -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
    's.connect(("{host}", 9)); print(s.getsockname()[0])\'`'
)


def dashboard_address(address: Any, section: str, key: str = "dashboard_address") -> str:
    """Where a dashboard listens. A port alone is on this machine only; all addresses at once are refused.

    Examples
    --------
    >>> dashboard_address(":8787", "options"), dashboard_address("node1:0", "options")
    ('127.0.0.1:8787', 'node1:0')
    """
    host, _, port = str(address).removeprefix("http://").rpartition(":")
    if not port.isdecimal() or isinstance(address, bool):
        raise ConfigError(f"{section}.{key} is {shortened(address)}; it must be host:port, such as 127.0.0.1:8787")
    if host and _is_unspecified(host):
        raise ConfigError(
            f"{section}.{key} is {shortened(address)}, a page for everybody on the network; write 127.0.0.1:{port}, "
            f"and reach it through ssh -L {port}:127.0.0.1:{port}"
        )
    return f"{host or '127.0.0.1'}:{port}"


def _is_unspecified(host: str) -> bool:
    """Whether a server on this address listens on all of the machine's: 0.0.0.0, in any spelling, :: or *."""
    try:
        return socket.inet_aton(host) == bytes(4)  # "0" as well
    except OSError:
        pass
    try:
        address = ipaddress.IPv6Address(host.strip("[]"))
    except ValueError:
        return host == "*"
    return (address.ipv4_mapped or address).is_unspecified


def scheduler_host(scheduler: dict[str, Any]) -> str:
    """The address that a scheduler with these options listens on; without an option that of the default route."""
    from distributed.utils import get_ip, get_ip_interface

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without a network it is loopback
        own = get_ip_interface(scheduler["interface"]) if scheduler.get("interface") else get_ip()
    return str(scheduler.get("host") or own)


def bind(options: dict[str, Any]) -> None:
    """Add to the options of a dask-jobqueue class the addresses that its scheduler and workers listen on."""
    if options.get("interface"):
        return
    scheduler = options["scheduler_options"]
    host = scheduler_host(scheduler)
    if "interface" not in scheduler:
        options["scheduler_options"] = scheduler | {"host": host}
    python = options.get("python") or sys.executable
    if "--host" not in options["worker_extra_args"]:
        options["worker_extra_args"] += ["--host", _NODE_ADDRESS.format(python=python, host=host)]
