"""Worker processes on this machine: what listens, who can reach it, and which options are refused."""

import http.client
import os
import subprocess
import sys

import psutil
import pytest

from hsi_dask.cluster import ClusterConfig, connect
from hsi_dask.cluster.addresses import dashboard_address
from hsi_dask.cluster.options import WORKER_SETTINGS
from hsi_dask.errors import ClusterError, ConfigError

ONE_WORKER = {"n_workers": 1, "threads_per_worker": 1, "memory_limit": 0}


@pytest.fixture(scope="module")
def client():
    with connect(ClusterConfig(options=ONE_WORKER)) as client:
        yield client


def listening():
    """Addresses at which this process and its children listen."""
    own = psutil.Process()
    connections = [c for process in (own, *own.children(recursive=True)) for c in process.net_connections()]
    return {(c.laddr.ip, c.laddr.port) for c in connections if c.status == psutil.CONN_LISTEN}


def enter(**options):
    with connect(ClusterConfig(options=ONE_WORKER | options)):
        pass


def test_workers_are_processes_bound_to_this_machine(client):
    (worker,) = client.scheduler_info()["workers"].values()
    assert worker["nthreads"] == 1
    assert worker["host"] == "127.0.0.1"
    (pid,) = client.run(os.getpid).values()
    assert pid != os.getpid()
    assert {ip for ip, _ in listening()} == {"127.0.0.1"}


# Asks every port what it is, without TLS and with credentials of its own; prints one line for each
STRANGER = """
import asyncio, sys
from distributed import Security
from distributed.comm import connect

async def ask(address, arguments):
    comm = await connect(address, timeout=2, **arguments)
    await comm.write({"op": "identity", "reply": True})
    return await comm.read()

async def main():
    kinds = {"tcp": {}, "tls": Security.temporary().get_connection_args("client")}
    attempts = [(f"{kind}://127.0.0.1:{port}", arguments) for port in sys.argv[1:] for kind, arguments in kinds.items()]
    asked = [asyncio.wait_for(ask(address, arguments), 6) for address, arguments in attempts]
    for (address, _), answer in zip(attempts, await asyncio.gather(*asked, return_exceptions=True)):
        print(address, "refuses" if isinstance(answer, OSError) else answer)

asyncio.run(main())
"""


def answers(ports):
    command = [sys.executable, "-c", STRANGER, *map(str, ports)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()


def test_nobody_without_this_clusters_credentials_can_talk_to_scheduler_nannies_or_workers(client):
    """Another user of the machine reaches the same ports; what keeps them out is not who they are."""
    ports = {port for _, port in listening()}
    assert len(ports) >= 4
    found = answers(ports)
    assert len(found) == 2 * len(ports)
    assert [line for line in found if not line.endswith(" refuses")] == []


def test_without_tls_everybody_can_talk_to_them():
    """The attempt above is one that succeeds where it can."""
    with connect(ClusterConfig(options=ONE_WORKER | {"security": False})) as client:
        port = client.scheduler.address.rpartition(":")[2]
        assert any("'type': 'Scheduler'" in line for line in answers([port]))


def status(port, page):
    """The code of an HTTP answer; None where none comes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", f"/{page}")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def test_there_are_no_pages_for_everybody(client):
    pages = ("", "info/main/workers.html", "json/identity.json", "metrics", "status", "health")
    assert {status(port, page) for _, port in listening() for page in pages} == {None, 404}


def test_workers_have_the_settings_of_a_run(client):
    def settings(names):
        import dask

        return [dask.config.get(name) for name in names]

    (found,) = client.run(settings, list(WORKER_SETTINGS)).values()
    assert found == list(WORKER_SETTINGS.values())


def test_without_cryptography_the_ways_out_are_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(
        ClusterError, match=r"pip install cryptography; or leave out --cluster.*options.security to false"
    ):
        enter()


def test_a_dashboard_that_is_asked_for_is_for_this_machine():
    pytest.importorskip("bokeh")
    with connect(ClusterConfig(options=ONE_WORKER | {"dashboard_address": ":0"})) as client:
        assert {ip for ip, _ in listening()} == {"127.0.0.1"}
        port = client.scheduler_info()["services"]["dashboard"]
        assert status(port, "status") == 200


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0:8787", "0:8787", ":::8787", "[::]:8787", "*:8787", "::ffff:0.0.0.0:8787", "http://0.0.0.0:8787"],
)
def test_a_dashboard_for_everybody_on_the_network_is_refused(address):
    with pytest.raises(ConfigError, match=r"a page for everybody on the network; write 127.0.0.1:8787"):
        dashboard_address(address, "options")


@pytest.mark.parametrize("address", ["8787x", "node", True, None, ["a:1"]])
def test_an_address_of_a_dashboard_that_is_none_is_a_sentence(address):
    with pytest.raises(ConfigError, match=r"options.dashboard_address is .*; it must be host:port"):
        dashboard_address(address, "options")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"n_wrokers": 1}, "unknown key options.n_wrokers; did you mean options.n_workers?"),
        ({"memory_limit": "a lot"}, "the local workers do not start with these options"),
        ({"security": "yes"}, "options.security must be true, false or a mapping of TLS files"),
        ({"protocol": "tcp://"}, "the local workers do not start with these options: .*encryption"),
    ],
)
def test_options_that_local_workers_cannot_have_are_refused(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        enter(**options)
