"""Cluster configurations as files."""

from pathlib import Path

import pytest

from hsi_dask.cluster import ClusterConfig
from hsi_dask.cluster.options import require_known
from hsi_dask.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "cluster_configs"


def written(folder, text):
    path = folder / "cluster.yaml"
    path.write_text(text)
    return path


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

    require_known(config.options, (LocalCluster, Nanny, Worker))


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
        ("kind: slurm\noptions: {cores: 1, memory: 1e999GiB}", "options.memory is '1e999GiB'; it must be the memory"),
        ("kind: slurm\noptions: {cores: 1, memory: 0}", "options.memory is 0; it must be"),
        ("options: {local_directory: $" + "N" * 9000 + "}", "NNN' is not set in the environment; set it or write"),
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


@pytest.mark.parametrize(
    ("values", "patience"),
    [({"stuck": 5.0}, 300.0), ({"kind": "slurm", "wait": 10.0, "options": {"cores": 1, "memory": "1GB"}}, 70.0)],
)
def test_a_run_waits_longer_than_the_watchdog_of_worker_jobs_and_for_a_stuck_tile_as_the_file_says(values, patience):
    config = ClusterConfig(**values)
    assert (config.limits.patience, config.limits.stuck) == (patience, config.stuck)
