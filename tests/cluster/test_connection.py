"""Clients to real schedulers and workers on this machine, and to such as cannot be used."""

import os
import re
import subprocess
import sys
import time

import pytest
from distributed import Client, LocalCluster

from hsi_dask import __version__
from hsi_dask.cluster import ClusterConfig, connect
from hsi_dask.cluster.credentials import write_security
from hsi_dask.errors import ClusterError, ConfigError

ONE_WORKER = {"n_workers": 1, "threads_per_worker": 1, "memory_limit": 0}


@pytest.fixture(scope="module")
def plain():
    """The address of a scheduler without TLS that has a worker."""
    with connect(ClusterConfig(options=ONE_WORKER | {"security": False})) as client:
        yield client.scheduler.address


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """TLS files, as a configuration names them."""
    folder = tmp_path_factory.mktemp("tls")
    write_security(folder)
    own = {
        f"tls_{role}_{part}": str(folder / f"{part}.pem") for role in ("client", "worker") for part in ("cert", "key")
    }
    return own | {"tls_ca_file": str(folder / "ca.pem")}


def existing(address, **options):
    return ClusterConfig(kind="scheduler", wait=5, options={"address": address} | options)


def test_a_running_scheduler_is_joined_and_left_running(plain):
    with connect(existing(plain)) as joined:
        assert joined.submit(sum, (1, 2)).result(timeout=10) == 3
    with connect(existing(plain)) as joined:
        assert joined.submit(sum, (2, 2)).result(timeout=10) == 4


def test_a_scheduler_with_tls_is_joined_with_its_files_and_not_without(tmp_path, files):
    security = write_security(tmp_path)
    own = {f"tls_client_{part}": str(tmp_path / f"{part}.pem") for part in ("cert", "key")}
    own["tls_ca_file"] = str(tmp_path / "ca.pem")
    with LocalCluster(**ONE_WORKER, security=security, dashboard_address="127.0.0.1:0") as cluster:
        address = cluster.scheduler_address
        with connect(existing(address, security=own)) as joined:
            assert joined.submit(sum, (1, 2)).result(timeout=10) == 3
        with pytest.raises(ConfigError, match=r"options.security is missing; tls://.* needs TLS files"):
            enter(existing(address))
        with pytest.raises(ClusterError, match=r"no scheduler answers at tls://"):
            enter(existing(address, security=files).model_copy(update={"wait": 1.0}))


def enter(config):
    with connect(config):
        pass


def test_a_scheduler_without_tls_is_refused_where_tls_is_on(plain, files):
    with pytest.raises(ClusterError, match=r"the scheduler at tcp://.* is refused: encryption required"):
        enter(existing(plain, security=files))
    with pytest.raises(ConfigError, match=r"options.security.require_encryption must be true"):
        enter(existing(plain, security=files | {"require_encryption": False}))


@pytest.mark.parametrize(
    ("security", "sentence"),
    [
        ({"tls_ca_fiel": "x"}, "options.security: Unknown parameters: .'tls_ca_fiel'."),
        ({"tls_ca_file": "/no/ca.pem", "tls_client_cert": "/no/cert.pem"}, "options.security: .*No such file"),
        (True, "options.security must be a mapping of TLS files"),
    ],
)
def test_wrong_tls_files_are_a_sentence(security, sentence):
    with pytest.raises(ConfigError, match=sentence):
        enter(existing("tls://127.0.0.1:9", security=security))


def test_a_scheduler_needs_an_address():
    with pytest.raises(ConfigError, match=r"options\.address is missing"):
        enter(ClusterConfig(kind="scheduler"))


def test_a_scheduler_that_does_not_answer_is_an_error_in_time():
    config = ClusterConfig(kind="scheduler", wait=0.5, options={"address": "tcp://127.0.0.1:9"})
    with pytest.raises(ClusterError, match=r"no scheduler answers at tcp://127\.0\.0\.1:9"):
        enter(config)


def test_a_cluster_without_workers_is_an_error_in_time():
    with pytest.raises(ClusterError, match=r"no worker after 0.5 s"):
        enter(ClusterConfig(wait=0.5, options={"n_workers": 0}))


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        ("raise ImportError('no hsi_dask here')", "cannot import hsi_dask .no hsi_dask here.; install it"),
        ("__version__ = '0.0.9'", f"has hsi_dask 0.0.9, this is {re.escape(__version__)};"),
    ],
)
def test_a_worker_without_the_package_or_with_another_one_is_found_before_the_run(tmp_path, module, sentence):
    (tmp_path / "hsi_dask").mkdir()
    (tmp_path / "hsi_dask/__init__.py").write_text(module)
    options = {"n_workers": 0, "security": None, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        address = cluster.scheduler_address
        words = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
        command = [sys.executable, "-m", "distributed.cli.dask_worker", address, *words]
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        worker = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL)
        try:
            client.wait_for_workers(1, timeout=30)
            started = time.monotonic()
            with pytest.raises(ClusterError, match=sentence):
                enter(existing(address))
            assert time.monotonic() - started < 30
        finally:
            worker.kill()
            worker.wait()
