"""Cluster configurations as files, and clients to real schedulers and workers on this machine."""

from pathlib import Path

import pytest

from hsi_dask.cluster import ClusterConfig, connect, connection
from hsi_dask.errors import ClusterError, ConfigError

CONFIGS = Path(__file__).parents[2] / "cluster_configs"
ONE_WORKER = {"n_workers": 1, "threads_per_worker": 1, "memory_limit": 0}


@pytest.fixture(scope="module")
def client():
    with connect(ClusterConfig(options=ONE_WORKER)) as client:
        yield client


def written(folder, text):
    path = folder / "cluster.yaml"
    path.write_text(text)
    return path


# ---------------------------------------------------------------------------------------------------- the file


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_configuration_that_comes_with_the_project_is_valid_and_commented(path):
    assert ClusterConfig.from_yaml(path).kind == path.stem
    assert path.read_text().startswith("# ")


def test_the_keys_commented_out_in_local_are_known_to_its_class(tmp_path):
    text = (CONFIGS / "local.yaml").read_text()
    lines = [line.replace("#  ", "  ", 1) if line.startswith("#  ") else line for line in text.splitlines()]
    config = ClusterConfig.from_yaml(written(tmp_path, "\n".join(lines).replace("$TMPDIR", str(tmp_path))))
    assert set(config.options) >= {"n_workers", "threads_per_worker", "memory_limit", "local_directory"}
    from distributed import LocalCluster, Nanny, Worker

    connection.require_known(config.options, (LocalCluster, Nanny, Worker))


def test_environment_variables_are_expanded_at_any_depth(tmp_path, monkeypatch):
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    text = "kind: scheduler\noptions: {address: x, security: {tls_ca_file: '${SCRATCH}/ca.pem'}, list: [$SCRATCH, 1]}"
    options = ClusterConfig.from_yaml(written(tmp_path, text)).options
    assert options["security"] == {"tls_ca_file": "/scratch/me/ca.pem"}
    assert options["list"] == ["/scratch/me", 1]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("kind: locl", "kind is 'locl'; it must be local or scheduler or slurm-allocation or slurm or pbs"),
        ("kidn: local", "unknown key kidn; did you mean kind?"),
        ("kind: local\nsize: 3", "unknown key size; known keys are kind, wait, stuck, jobs, options, driver"),
        ("kind: local\nwait: soon", "wait is 'soon'; it must be seconds, above 0"),
        ("kind: local\noptions: [1]", "options is [1]; it must be a mapping"),
        ("options: {local_directory: $NO_SUCH_VARIABLE/x}", "but $NO_SUCH_VARIABLE is not set in the environment"),
        ("- kind", "a configuration is a mapping of keys to values, not list"),
        ("self: 1", "unknown key self; known keys are kind"),
        ("a: &a [1]", "line 1: &a is an anchor, and aliases are not read"),
        ("wait: " + "x" * 10_000, "; it must be seconds, above 0"),
        ("", "is empty; a cluster configuration has the key kind"),
        ("kind: [", "line 2: not YAML"),
    ],
)
def test_a_wrong_file_is_one_sentence_with_its_name(tmp_path, text, sentence):
    with pytest.raises(ConfigError) as refused:
        ClusterConfig.from_yaml(written(tmp_path, f"{text}\n"))
    assert str(refused.value).startswith(str(tmp_path / "cluster.yaml"))
    assert sentence in str(refused.value)


def test_a_file_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read the cluster configuration .*: No such file"):
        ClusterConfig.from_yaml(tmp_path / "no.yaml")


# ---------------------------------------------------------------------------------------------------- connecting


def test_local_workers_are_processes_bound_to_this_machine(client):
    import os

    (worker,) = client.scheduler_info()["workers"].values()
    assert worker["nthreads"] == 1
    assert worker["host"] == "127.0.0.1"
    (pid,) = client.run(os.getpid).values()
    assert pid != os.getpid()


def test_a_running_scheduler_is_joined_and_left_running(client):
    with connect(ClusterConfig(kind="scheduler", options={"address": client.scheduler.address})) as joined:
        assert joined.submit(sum, (1, 2)).result(timeout=10) == 3
    assert client.submit(sum, (2, 2)).result(timeout=10) == 4


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"n_wrokers": 1}, "unknown key options.n_wrokers; did you mean options.n_workers?"),
        ({**ONE_WORKER, "memory_limit": "a lot"}, "the local workers do not start with these options"),
    ],
)
def test_options_that_local_workers_cannot_have_are_refused(options, sentence):
    with pytest.raises(ConfigError, match=sentence), connect(ClusterConfig(options=options)):
        pass


def test_a_scheduler_needs_an_address():
    with pytest.raises(ConfigError, match=r"options\.address is missing"), connect(ClusterConfig(kind="scheduler")):
        pass


def test_a_scheduler_that_does_not_answer_is_an_error_in_time():
    config = ClusterConfig(kind="scheduler", wait=0.5, options={"address": "tcp://127.0.0.1:9"})
    with pytest.raises(ClusterError, match=r"no scheduler answers at tcp://127\.0\.0\.1:9"), connect(config):
        pass


def test_a_cluster_without_workers_is_an_error_in_time():
    config = ClusterConfig(wait=0.5, options={"n_workers": 0})
    with pytest.raises(ClusterError, match=r"no worker after 0.5 s"), connect(config):
        pass


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        ("__import__('os').getpid() == HERE or __import__('no_such_package')", "cannot import hsi_dask"),
        ("__import__('os').getpid()", r"has hsi_dask \d+, this is \d+"),
    ],
)
def test_a_worker_without_the_package_or_with_another_one_is_found_before_the_run(
    client, monkeypatch, version, sentence
):
    import os

    monkeypatch.setattr(connection, "_VERSION", version.replace("HERE", str(os.getpid())))
    config = ClusterConfig(kind="scheduler", options={"address": client.scheduler.address})
    with pytest.raises(ClusterError, match=sentence), connect(config):
        pass
