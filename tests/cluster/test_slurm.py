"""Runs on a real Slurm, undisturbed and with everything that goes wrong there; a local run is the oracle.

`.ci/slurm start DIR` and `. DIR/env` give the Slurm; without it these tests skip, for they would not be welcome on one
that other people use. Nothing here waits for ever: every command is given a time to end in.
"""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import psutil
import pytest
import yaml

from hsi_dask.cluster import ClusterConfig, connect
from hsi_dask.synthetic import Site

from .conftest import await_that, run_of

Whole = Callable[[Path], None]
File = Callable[..., Path]
Start = Callable[..., Any]
Records = Callable[[], int]
Hurry = Callable[[], None]

pytestmark = pytest.mark.usefixtures("slurm")

COMPLETING = 30.0  # seconds that Slurm may take to clear away jobs
# Loaded by workers: the first of them takes more memory than its job may have, while it is at work
HOG = """
import multiprocessing, os, threading, time
def hog():
    time.sleep(3)
    held = b"x" * 2**31
    time.sleep(60)
if multiprocessing.parent_process() is not None:
    try:
        os.close(os.open({once!r}, os.O_CREAT | os.O_EXCL))
        threading.Thread(target=hog, daemon=True).start()
    except FileExistsError:
        pass
"""


def queue(*options: str) -> list[str]:
    """What squeue says, a line a job."""
    told = subprocess.run(["squeue", "--noheader", *options], capture_output=True, text=True, check=True)
    return told.stdout.split("\n")[:-1]


@pytest.fixture
def slurm() -> Iterator[Path]:
    """The folder of a Slurm of our own. Afterwards no job may be left."""
    folder = os.environ.get("HSI_DASK_TEST_SLURM")
    if not folder:
        pytest.skip("no Slurm for tests; as root, `.ci/slurm start DIR` and `. DIR/env` give one")
    assert queue() == []
    try:
        yield Path(folder)
        await_that(lambda: not queue(), COMPLETING)
    finally:
        for job in queue("--format=%A"):
            subprocess.run(["scancel", job], check=False)
        await_that(lambda: not queue(), COMPLETING)


@pytest.fixture
def cluster_file(tmp_path: Path, slow: Callable[[float], str]) -> Callable[..., Path]:
    """Writes a cluster file: small worker jobs on Slurm, with these options changed."""

    def write(seconds: float = 0, **changes: Any) -> Path:
        top = {key: changes.pop(key) for key in ("kind", "jobs", "wait", "driver") if key in changes}
        options = {"cores": 1, "memory": "700MiB", "walltime": "00:10:00"} | changes
        if seconds:
            options["worker_extra_args"] = ["--preload", slow(seconds)]
        path = tmp_path / f"cluster{len(list(tmp_path.glob('cluster*')))}.yaml"
        path.write_text(yaml.safe_dump({"kind": "slurm", "jobs": 2, "wait": 60, "options": options} | top))
        return path

    return write


def worker_jobs(*options: str) -> list[str]:
    """Numbers of worker jobs."""
    return queue("--name=hsi-dask", "--format=%A", *options)


def nannies(folder: Path) -> list[psutil.Process]:
    """The processes of worker jobs that watch over a worker each; of a run in this folder, with its certificates."""
    words = {p: p.info["cmdline"] or [] for p in psutil.process_iter(["cmdline"])}
    ours = [p for p, said in words.items() if any(word.startswith(f"{folder}/") for word in said)]
    return [p for p in ours if "distributed.cli.dask_worker" in words[p]]


@pytest.fixture
def power_cut(slurm: Path) -> Iterator[Callable[[str], None]]:
    """Ends a node with all that runs on it, without a goodbye; the node is back after the test."""
    lost: list[str] = []

    def cut(node: str) -> None:
        lost.append(node)
        daemon = psutil.Process(int((slurm / f"slurmd.{node}.pid").read_text()))
        steps = [p for p in psutil.process_iter(["cmdline"]) if is_step(p.info["cmdline"], node)]
        dead = [daemon, *steps, *(child for step in steps for child in step.children(recursive=True))]
        for number in (signal.SIGSTOP, signal.SIGKILL):  # all at one moment: none sees another go
            for process in dead:
                process.send_signal(number)
        # Slurm notices by itself when SlurmdTimeout is over; this is an administrator who knows
        subprocess.run(["scontrol", "update", f"nodename={node}", "state=down", "reason=lost"], check=True)

    def is_step(words: list[str] | None, node: str) -> bool:
        found = re.match(r"slurmstepd: \[(\d+)\.", " ".join(words or []))
        if not found:
            return False
        ask = ["squeue", "--noheader", f"--jobs={found[1]}", "--format=%N"]  # it may be a step of another Slurm
        return subprocess.run(ask, capture_output=True, text=True, check=False).stdout.split() == [node]

    yield cut
    for node in lost:
        subprocess.run(["slurmd", "-N", node], check=True)
        # refused where the node has already told that it is back
        subprocess.run(["scontrol", "update", f"nodename={node}", "state=resume"], check=False)
        await_that(lambda node=node: "idle" in node_state(node))


def node_state(node: str) -> str:
    told = subprocess.run(["sinfo", "-h", "-n", node, "-o", "%T"], capture_output=True, text=True, check=True)
    return told.stdout


# ------------------------------------------------------------------------------------------------ three ways


def test_worker_jobs_give_the_bytes_of_a_local_run_also_when_not_all_of_them_can_start(
    site: Site, cluster_file: File, command: Start, tmp_path: Path, assert_whole: Whole
) -> None:
    file = cluster_file(jobs=7)
    out, _ = command(*run_of(site, file)).ends(0)
    assert "12 of 12 tiles done" in out
    assert_whole(tmp_path / "run")


def test_one_allocation_gives_the_bytes_of_a_local_run(
    site: Site, command: Start, tmp_path: Path, assert_whole: Whole
) -> None:
    (tmp_path / "cluster.yaml").write_text("kind: slurm-allocation\n")
    srun = ("srun", "--ntasks=3", "--cpus-per-task=1", "--mem-per-cpu=900")
    words = run_of(site, "cluster.yaml")
    out, _ = command(*words, before=srun).ends(0)
    assert out.count("12 of 12 tiles done") == 1
    assert_whole(tmp_path / "run")
    assert not list(tmp_path.glob(".hsi-dask-*"))  # nor the certificates


def test_an_array_of_parts_gives_the_bytes_of_a_local_run(
    site: Site, cluster_file: File, command: Start, tmp_path: Path, assert_whole: Whole
) -> None:
    words = ("submit", site.folder, "--out", "run", "--count", "3", "--cluster", cluster_file(), "--array", "2")
    out, _ = command(*words).ends(0)
    assert re.match(r"Submitted batch job \d+", out)
    assert len(queue("--array")) == 2
    await_that(lambda: not queue())
    assert_whole(tmp_path / "run")


def test_several_processes_a_job_work_and_are_replaced_together(
    site: Site, cluster_file: File, command: Start, tmp_path: Path, records: Records, assert_whole: Whole, hurry: Hurry
) -> None:
    file = cluster_file(1, jobs=1, cores=2, processes=2, memory="1400MiB")
    running = command(*run_of(site, file))
    await_that(lambda: records() >= 2)
    (first,) = worker_jobs()
    subprocess.run(["scancel", first], check=True)
    hurry()
    running.ends(0)
    assert_whole(tmp_path / "run")


# ------------------------------------------------------------------------------------------------ dying


def test_a_cancelled_job_and_killed_processes_are_replaced(
    site: Site, cluster_file: File, command: Start, tmp_path: Path, records: Records, assert_whole: Whole, hurry: Hurry
) -> None:
    file = cluster_file(1.5)
    running = command(*run_of(site, file))
    await_that(lambda: records() >= 1)
    before = worker_jobs()
    subprocess.run(["scancel", before[0]], check=True)
    await_that(lambda: set(worker_jobs("--states=RUNNING")) - set(before))
    left = [p for p in nannies(tmp_path) if p.status() != psutil.STATUS_ZOMBIE]
    for process in left[:1]:  # the other job, worker and nanny at once
        for one in (*process.children(recursive=True), process):
            one.kill()
    hurry()
    _, said = running.ends(0)
    assert f"worker job {before[0]} ended" in said
    assert_whole(tmp_path / "run")


def test_a_node_that_is_lost_with_all_workers_costs_time_and_nothing_else(
    site: Site,
    cluster_file: File,
    command: Start,
    tmp_path: Path,
    records: Records,
    assert_whole: Whole,
    power_cut: Callable[[str], None],
    hurry: Hurry,
) -> None:
    file = cluster_file(1.5)
    running = command(*run_of(site, file))
    await_that(lambda: records() >= 1)
    before = dict(line.split() for line in queue("--name=hsi-dask", "--states=RUNNING", "--format=%A %N"))
    assert set(before.values()) == {"node1"}  # Slurm fills one node first
    power_cut("node1")
    after = await_that(lambda: queue("--name=hsi-dask", "--states=RUNNING", "--format=%A %N"))
    assert {line.split()[1] for line in after} == {"node2"}
    assert not {line.split()[0] for line in after} & set(before)
    hurry()
    _, said = running.ends(0)
    for job in before:
        assert f"worker job {job} ended" in said
    assert_whole(tmp_path / "run")


def test_a_job_that_is_killed_by_memory_in_mid_run_is_replaced(
    site: Site, cluster_file: File, command: Start, tmp_path: Path, slow: Callable[[float], str], assert_whole: Whole
) -> None:
    (tmp_path / "hog.py").write_text(HOG.format(once=str(tmp_path / "hogged")))
    file = cluster_file(
        worker_extra_args=["--preload", slow(1.5), "--preload", str(tmp_path / "hog.py")],
        # Dask's nanny would be quicker than Slurm
        job_script_prologue=["export DASK_DISTRIBUTED__WORKER__MEMORY__TERMINATE=False"],
    )
    _, said = command(*run_of(site, file)).ends(0)
    assert (tmp_path / "hogged").exists()
    assert re.search(r"worker job \d+ ended", said)
    assert_whole(tmp_path / "run")


def test_a_driver_that_is_stopped_or_killed_leaves_no_job_behind_and_the_next_run_goes_on(
    site: Site, cluster_file: File, command: Start, tmp_path: Path, records: Records, assert_whole: Whole, hurry: Hurry
) -> None:
    file = cluster_file(0.5)
    words = run_of(site, file)
    running = command(*words)
    await_that(lambda: records() >= 1)
    running.process.send_signal(signal.SIGINT)
    _, said = running.ends(130)
    assert "run again with --out run to go on" in said.splitlines()[-1]
    assert queue("--states=PENDING,RUNNING") == []
    done = records()
    running = command(*words)
    await_that(lambda: records() > done)
    running.process.kill()
    running.process.communicate()
    await_that(lambda: not queue())
    hurry()
    out, _ = command(*words).ends(0)
    assert re.search(r"12 of 12 tiles done \(\d+ before\)", out)
    assert_whole(tmp_path / "run")


def test_a_controller_that_is_away_for_a_while_delays_a_replacement_and_no_more(
    slurm: Path,
    site: Site,
    cluster_file: File,
    command: Start,
    tmp_path: Path,
    records: Records,
    assert_whole: Whole,
    hurry: Hurry,
) -> None:
    file = cluster_file(2)
    running = command(*run_of(site, file))
    await_that(lambda: records() >= 1)
    controller = psutil.Process(int((slurm / "slurmctld.pid").read_text()))
    controller.terminate()
    controller.wait(20)
    try:
        victim = nannies(tmp_path)[0]
        for one in (*victim.children(recursive=True), victim):
            one.kill()
        done = records()
        await_that(lambda: records() >= done + 2)  # the other job works on
    finally:
        subprocess.run(["slurmctld"], check=True)
    hurry()
    running.ends(0)
    assert_whole(tmp_path / "run")


# ------------------------------------------------------------------------------------------------ no workers to be had


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"queue": "nosuch"}, r"a worker job was refused: sbatch: error: invalid partition specified: nosuch"),
        (
            {"python": "/no/python"},
            r"worker job \d+ ended before its worker came; its log in \S+ ends with: .*/no/python",
        ),
        ({"job_script_prologue": ["echo module: cannot load python >&2", "exit 1"]}, r"ends with: module: cannot load"),
        (
            {"job_script_prologue": ["export HSI_DASK_EXPECTED=9"]},
            r"ends with: .*this worker has hsi_dask 0.* driver 9",
        ),
        ({"walltime": "02:00:00"}, r"worker job \d+ will never start: PartitionTimeLimit; compare options.walltime"),
        ({"wait": 3, "job_extra_directives": ["--begin=now+1hour"]}, r"no worker for \d s .*3 waiting: BeginTime"),
        ({"job_mem": "60M"}, r"worker job \d+ ended before its worker came; .*[Ee]xceeded .*memory"),
    ],
    ids=["refused", "python", "prologue", "version", "walltime", "waiting", "memory"],
)
def test_workers_that_cannot_be_had_are_one_sentence(
    options: dict[str, Any], sentence: str, site: Site, cluster_file: File, command: Start, tmp_path: Path
) -> None:
    file = cluster_file(**{"jobs": 3} | options)
    running = command(*run_of(site, file))
    out, said = running.ends(2, seconds=60)
    assert out == ""
    last = said.splitlines()[-1]
    assert re.search(sentence, last), said
    assert last.endswith("what is finished is safe, run again to go on")


def test_too_small_workers_are_refused_before_any_job_is_submitted(
    site: Site, cluster_file: File, command: Start, tmp_path: Path
) -> None:
    file = cluster_file(memory="100MiB")
    _, said = command(*run_of(site, file)).ends(2)
    assert re.search(r"a tile needs about [\d.]+ MB with 1 thread, a worker has 104.9 MB; give workers more", said)
    assert not (tmp_path / "hsi-dask-jobs").exists()


# ------------------------------------------------------------------------------------------------ wall times


def test_a_submitted_run_that_is_warned_stops_in_order_and_queues_up_again_until_it_is_complete(
    site: Site, cluster_file: File, command: Start, tmp_path: Path, records: Records, assert_whole: Whole, hurry: Hurry
) -> None:
    file = cluster_file(1.5, driver={"memory": "1GiB"})
    out, _ = command("submit", site.folder, "--out", "run", "--count", "3", "--cluster", file).ends(0)
    job = re.findall(r"\d+", out)[0]
    await_that(lambda: records() >= 2)
    subprocess.run(["scancel", "--batch", "--signal=USR1", job], check=True)
    await_that(lambda: queue("--format=%A %T") == [f"{job} PENDING"])
    assert 2 <= records() < 12
    log = (tmp_path / f"hsi-dask-jobs/hsi-dask-run-{job}.err").read_text()
    assert f"stopped with {records()} of 12 tiles done" in log
    hurry()
    # Slurm holds a job that was queued again back for two minutes, and at least some seconds are needed
    subprocess.run(["scontrol", "update", f"jobid={job}", "starttime=now+3"], check=True)
    await_that(lambda: not queue())
    assert_whole(tmp_path / "run")


def test_wall_times_of_workers_and_of_a_driver_are_only_delays(
    site: Site, cluster_file: File, command: Start, tmp_path: Path, assert_whole: Whole, hurry: Hurry
) -> None:
    """Two runs side by side: one whose worker's time is up, one whose own is.

    Twelve tiles would take 90 s and more, and Slurm ends a job of one minute after at most 75.
    """
    short = cluster_file(7.5, jobs=1, walltime="00:01:00")
    running = command(*run_of(site, short, "short"))
    driven = cluster_file(7.5, jobs=1, driver={"memory": "1GiB", "walltime": "00:02:00"})
    out, _ = command("submit", site.folder, "--out", "driven", "--count", "3", "--cluster", driven).ends(0)
    job = re.findall(r"\d+", out)[0]
    await_that(lambda: list((tmp_path / "driven").glob("records/*.json")), 300)  # it has run: next it is held
    await_that(lambda: f"{job} PENDING" in queue("--format=%A %T"), 150)
    logs = tmp_path / "hsi-dask-jobs"
    await_that(lambda: any("DUE TO TIME LIMIT" in log.read_text() for log in logs.glob("hsi-dask-[0-9]*")), 150)
    hurry()
    subprocess.run(["scontrol", "update", f"jobid={job}", "starttime=now+3"], check=True)
    _, said = running.ends(0, seconds=300)
    assert "DUE TO TIME LIMIT" in said
    assert_whole(tmp_path / "short")
    await_that(lambda: not queue(), 240)
    assert_whole(tmp_path / "driven")


# ------------------------------------------------------------------------------------------------ inside


def look() -> dict[str, Any]:
    """Runs in a worker."""
    import threadpoolctl

    own = psutil.Process()
    listening = [c.laddr.ip for p in (own, own.parent()) for c in p.net_connections() if c.status == "LISTEN"]
    pools = [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    return {
        "listening": set(listening),
        "pools": pools,
        "locks": os.environ["HDF5_USE_FILE_LOCKING"],
    }


def test_nothing_listens_on_all_addresses_and_certificates_are_the_users_own(
    cluster_file: File, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ctrl_c = signal.getsignal(signal.SIGINT)
    with connect(ClusterConfig.from_yaml(cluster_file(jobs=1))) as client:
        assert signal.getsignal(signal.SIGINT) is ctrl_c  # an import of dask-jobqueue changes it
        scheduler = client.cluster.scheduler
        assert scheduler.address.startswith("tls://")
        cloudpickle.register_pickle_by_value(sys.modules[look.__module__])
        (inside,) = client.run(look).values()
        own = {c.laddr.ip for c in psutil.Process().net_connections() if c.status == "LISTEN"}
        assert not (inside["listening"] | own) & {"0.0.0.0", "::"}
        assert inside["pools"] == [] or set(inside["pools"]) == {1}
        assert inside["locks"] == "FALSE"
        (worker,) = client.scheduler_info()["workers"].values()
        assert (worker["nthreads"], worker["memory_limit"]) == (1, 700 * 2**20)
        secrets = list((tmp_path / "hsi-dask-jobs").glob(".hsi-dask-tls-*/*"))
        assert len(secrets) == 3
        assert {stat.S_IMODE(path.parent.stat().st_mode) for path in secrets} == {0o700}
        assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}
        assert stat.S_IMODE((tmp_path / "hsi-dask-jobs").stat().st_mode) == 0o700
    assert not list((tmp_path / "hsi-dask-jobs").glob(".hsi-dask-tls-*"))


def test_a_check_tells_what_a_run_would_meet(cluster_file: File, command: Start, tmp_path: Path) -> None:
    out, _ = command("cluster", "check", cluster_file(), "--out", tmp_path / "run").ends(0)
    findings = dict(re.findall(r"^ok +(\w+(?: time)?) +(.*)$", out, re.MULTILINE))
    names = ("job", "wall time", "worker", "versions", "memory", "threads", "scratch", "output", "network")
    assert tuple(findings) == names
    assert "00:10:00, of 1:00:00" in findings["wall time"]
    assert findings["network"].startswith("TLS")
    out, _ = command("cluster", "check", cluster_file(walltime="03:00:00", queue="short")).ends(1)
    assert "03:00:00 is above the partition's limit, 2:00" in out
    out, _ = command("cluster", "check", cluster_file(queue="nosuch")).ends(1)
    assert re.search(r"^BAD +job +refused: .*invalid partition", out, re.MULTILINE)
