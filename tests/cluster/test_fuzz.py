"""Mutated cluster files: a configuration and the script of its jobs, or one sentence; nothing written elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from hsi_dask.cluster import ClusterConfig
from hsi_dask.cluster.jobs import make_job
from hsi_dask.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "cluster_configs"


def originals() -> dict[str, dict[str, bytes]]:
    """The files that come with the project, with and without the keys that are commented out; as JSON, too."""
    found = {}
    for path in sorted(CONFIGS.glob("*.yaml")):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("# ")]
        found[path.stem] = {"cluster.yaml": "\n".join(lines).encode()}
        every = "\n".join(re.sub(r"^#  ", "  ", line).partition("  #")[0] for line in lines)
        found[f"{path.stem}, all keys"] = {"cluster.yaml": every.encode()}
        found[f"{path.stem}, values"] = {"cluster.yaml": json.dumps(yaml.safe_load(every)).encode()}
    return found


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "TMPDIR", "SCRATCH"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_mutated_cluster_files_are_read_or_one_sentence(fuzz: Callable, tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue")

    def look(path: Path) -> None:
        config = ClusterConfig.from_yaml(path)
        assert config.limits.patience > 0
        config.worker_size()
        logs = str(config.options.get("log_directory") or "logs")
        if config.queued and Path(tmp_path, logs).is_relative_to(tmp_path) and ".." not in logs:
            for driver in (False, True):
                assert "\0" not in make_job(config, driver=driver).job_script()

    assert set(fuzz(originals(), look, few=200)) == {"read", "refused"}


@pytest.mark.parametrize(
    ("disk", "said"), [("[1]", "[1]"), ("2022-06", "'2022-06'"), ("null", "missing"), ("true", "True")]
)
def test_the_disk_of_a_job_is_told_in_our_words(tmp_path: Path, disk: str, said: str) -> None:
    pytest.importorskip("dask_jobqueue")
    path = tmp_path / "cluster.yaml"
    path.write_text(f"kind: htcondor\noptions: {{cores: 1, memory: 1GiB, disk: {disk}}}")
    with pytest.raises(ConfigError) as refused:
        make_job(ClusterConfig.from_yaml(path))
    assert str(refused.value) == f"options.disk is {said}; it must be the disk of a job, such as 2GiB"
