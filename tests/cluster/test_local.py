"""Worker processes on this machine: what listens, who can reach it, and which options are refused."""

import asyncio
import os
import sys
import urllib.error
import urllib.request

import psutil
import pytest
from distributed import Security
from distributed.comm import connect as comm_connect

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


def test_nobody_without_this_clusters_credentials_can_talk_to_scheduler_nannies_or_workers(client):
    """Another user of the machine reaches the same ports; what keeps them out is not who they are."""

    async def ask(address, **arguments):
        comm = await comm_connect(address, timeout=2, **arguments)
        await comm.write({"op": "identity", "reply": True})
        return await comm.read()

    async def answers(addresses):
        questions = [asyncio.wait_for(ask(address, **arguments), 5) for address, arguments in addresses]
        return await asyncio.gather(*questions, return_exceptions=True)

    own = client.security.get_connection_args("client")
    (answer,) = client.sync(answers, [(client.scheduler.address, own)])
    assert answer["type"] == "Scheduler"
    strangers = {"tcp": {}, "tls": Security.temporary().get_connection_args("client")}
    ports = {port for _, port in listening()}
    assert len(ports) >= 4
    attempts = [(f"{protocol}://127.0.0.1:{port}", tls) for port in ports for protocol, tls in strangers.items()]
    assert all(isinstance(answer, OSError) for answer in client.sync(answers, attempts))


def test_there_are_no_pages_for_everybody(client):
    pages = ("", "info/main/workers.html", "json/identity.json", "metrics", "status", "health")
    for _, port in listening():
        for page in pages:
            with pytest.raises((urllib.error.HTTPError, OSError)) as refused:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=2)
            assert getattr(refused.value, "code", 404) == 404


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
    enter(security=False)


def test_a_dashboard_that_is_asked_for_is_for_this_machine():
    pytest.importorskip("bokeh")
    with connect(ClusterConfig(options=ONE_WORKER | {"dashboard_address": ":0"})) as client:
        assert {ip for ip, _ in listening()} == {"127.0.0.1"}
        port = client.scheduler_info()["services"]["dashboard"]
        assert urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=10).status == 200


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
