"""Tasks of one Slurm job step, without a Slurm: its environment variables are set here. With one, see test_slurm."""

import os
import subprocess
import sys

import pytest

from hsi_dask.cluster import ClusterConfig, connect
from hsi_dask.cluster.allocation import _await_scheduler, _rendezvous
from hsi_dask.errors import ClusterError, ConfigError

STEP = {"SLURM_JOB_ID": "17", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "2", "SLURM_CPUS_PER_TASK": "1"}
OTHER = 65534  # nobody


@pytest.fixture
def step(monkeypatch):
    """Sets the variables of a task of the step."""

    def become(rank):
        for name, value in (STEP | {"SLURM_PROCID": str(rank)}).items():
            monkeypatch.setenv(name, value)

    return become


def config(shared, **options):
    options = {"shared_temp_directory": str(shared), "memory_limit": "1GB"} | options
    return ClusterConfig(kind="slurm-allocation", wait=options.pop("wait", 30.0), options=options)


def enter(place):
    with connect(place):
        pass


def test_the_tasks_of_a_step_find_each_other_and_leave_nothing_behind(step, tmp_path):
    step(0)
    place = config(tmp_path, log_directory=str(tmp_path / "logs"))
    script = f"""
from hsi_dask.cluster import ClusterConfig, connect
with connect(ClusterConfig(**{place.model_dump(include={"kind", "wait", "options"})!r})):
    raise SystemExit("a worker's task came back")
"""
    command = [sys.executable, "-c", script]
    worker = subprocess.Popen(command, env=os.environ | {"SLURM_PROCID": "1"}, cwd=tmp_path)
    try:
        with connect(place) as client:
            assert client.scheduler.address.startswith("tls://")
            assert client.submit(os.getpid).result(timeout=30) != os.getpid()
            (folder,) = tmp_path.glob(".hsi-dask-17-0-0-*")
            assert {path.stat().st_mode & 0o777 for path in (folder, *folder.glob("*.pem"))} == {0o700, 0o600}
        worker.wait(timeout=60)
    finally:
        worker.kill()
        worker.wait()
    assert not list(tmp_path.glob(".hsi-dask-*"))
    assert "End worker" in (tmp_path / "logs/worker-17-1.log").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what another user would have made")
def test_a_scheduler_that_another_user_offers_is_not_joined(step, tmp_path):
    step(1)
    tmp_path.chmod(0o1777)
    theirs = tmp_path / ".hsi-dask-17-0-0-theirs"
    theirs.mkdir(mode=0o700)
    (theirs / "scheduler.json").write_text('{"address": "tcp://127.0.0.1:9"}')
    os.chown(theirs, OTHER, OTHER)
    (tmp_path / ".hsi-dask-17-0-0-link").symlink_to(theirs)
    with pytest.raises(ClusterError, match=r"task 0 has not started a scheduler in .* after 0.5 s"):
        enter(config(tmp_path, wait=0.5))
    (tmp_path / ".hsi-dask-17-0-0-open").mkdir()
    (tmp_path / ".hsi-dask-17-0-0-open").chmod(0o777)
    (tmp_path / ".hsi-dask-17-0-0-open/scheduler.json").touch()
    with pytest.raises(ClusterError, match=r"task 0 has not started a scheduler"):
        enter(config(tmp_path, wait=0.5))


def test_a_folder_left_behind_by_a_killed_run_is_not_taken_for_the_new_one(step, tmp_path):
    step(0)
    stale = tmp_path / ".hsi-dask-17-0-0-stale"
    stale.mkdir(mode=0o700)
    (stale / "scheduler.json").touch()
    with _rendezvous(tmp_path) as folder:
        (folder / "scheduler.json").touch()
        assert not stale.exists()
        assert _await_scheduler(tmp_path, 5) == folder
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"interfaec": "lo"}, "unknown key options.interfaec; did you mean options.interface"),
        ({"security": {"tls_ca_file": "x"}}, "options.security is .*; it must be true, false or, except"),
        ({"shared_temp_directory": [1]}, "options.shared_temp_directory is .1.; it must be text"),
        ({"memory_limit": -1}, "options.memory_limit is -1; it must be the memory of a worker"),
        ({"interface": "no0"}, "no scheduler starts with these options: .*no0"),
        ({"scheduler_options": {"x": 1}}, "no scheduler starts with these options: .*unexpected keyword"),
        ({"scheduler_options": {"dashboard_address": "0.0.0.0:1"}}, "options.scheduler_options.dashboard_address"),
    ],
)
def test_a_wrong_option_is_a_sentence(step, tmp_path, options, sentence):
    step(0)
    with pytest.raises(ConfigError, match=sentence):
        enter(config(tmp_path, **options))


def test_outside_a_job_and_with_a_single_task_there_are_no_workers(step, tmp_path, monkeypatch):
    with pytest.raises(ClusterError, match=r"srun hsi-dask run"):
        enter(config(tmp_path))
    step(0)
    monkeypatch.setenv("SLURM_NTASKS", "1")
    with pytest.raises(ClusterError, match=r"--ntasks 2 or more"):
        enter(config(tmp_path))
