"""Runs on a real Grid Engine, with the file for it in cluster_configs made small; a local run is the oracle.

`.ci/gridengine start DIR` and `. DIR/env` give it; without it these tests skip. It has four slots on one host, which is
a network namespace, and its queue's shell is csh. Nothing here waits for ever.
"""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from hsi_dask.synthetic import Site

from .conftest import await_that, run_of

Whole = Callable[[Path], None]
File = Callable[..., Path]
Start = Callable[..., Any]
Records = Callable[[], int]
Hurry = Callable[[], None]


class Grid:
    """A Grid Engine of our own."""

    def __init__(self, folder: str) -> None:
        self.into = f"{folder}/into"

    def ask(self, *words: str) -> str:
        return subprocess.run([self.into, *words], capture_output=True, text=True, check=True).stdout

    def queue(self) -> dict[str, str]:
        """Jobs, by number, and the state of each."""
        rows = [line.split() for line in self.ask("qstat").splitlines()[2:]]
        return {row[0]: row[4] for row in rows}


@pytest.fixture
def grid() -> Iterator[Grid]:
    """Afterwards no job may be left."""
    folder = os.environ.get("HSI_DASK_TEST_GRIDENGINE")
    if not folder:
        pytest.skip("no Grid Engine for tests; as root, `.ci/gridengine start DIR` and `. DIR/env` give one")
    own = Grid(folder)
    assert own.queue() == {}
    try:
        yield own
        await_that(lambda: not own.queue())
    finally:
        for job in own.queue():
            subprocess.run([own.into, "qdel", "-f", job], check=False, capture_output=True)


@pytest.fixture
def cluster_file(small_file: File) -> File:
    return functools.partial(small_file, "sge", resource_spec="h_vmem=3G", job_extra_directives=["-w e"])


def test_a_worker_job_that_is_deleted_in_mid_run_is_replaced_and_the_bytes_are_those_of_a_local_run(
    grid: Grid,
    site: Site,
    cluster_file: File,
    command: Start,
    tmp_path: Path,
    records: Records,
    assert_whole: Whole,
    hurry: Hurry,
) -> None:
    words = run_of(site, cluster_file(1.5))
    running = command(*words, before=(grid.into,))
    await_that(lambda: records() >= 1)
    before = grid.queue()
    assert len(before) == 2
    victim = min(before)
    grid.ask("qdel", victim)
    await_that(lambda: "r" in [state for job, state in grid.queue().items() if job not in before])
    hurry()
    out, said = running.ends(0)
    assert "12 of 12 tiles done" in out
    assert f"worker job {victim} ended" in said
    assert_whole(tmp_path / "run")


def test_a_submitted_run_that_is_warned_stops_in_order_and_queues_up_again_until_it_is_complete(
    grid: Grid,
    site: Site,
    cluster_file: File,
    command: Start,
    tmp_path: Path,
    records: Records,
    assert_whole: Whole,
    hurry: Hurry,
) -> None:
    words = ("submit", site.folder, "--out", "run", "--count", "3", "--cluster", cluster_file(1))
    out, _ = command(*words, before=(grid.into,)).ends(0)
    job = re.findall(r"Your job (\d+)", out)[0]
    await_that(lambda: records() >= 2)
    script = f"/job_scripts/{job}"
    shells = [p for p in psutil.process_iter(["cmdline"]) if (p.info["cmdline"] or [""])[-1].endswith(script)]
    shell = min(shells, key=psutil.Process.create_time)  # the other one is its timer
    shell.send_signal(signal.SIGUSR1)  # as its own timer does, before the wall time
    log = tmp_path / f"hsi-dask-jobs/hsi-dask-run.o{job}"
    await_that(lambda: "stopped with" in log.read_text())
    hurry()
    await_that(lambda: not grid.queue())
    said = log.read_text()
    done = int(re.findall(r"stopped with (\d+) of 12 tiles done", said)[0])
    assert 2 <= done < 12
    assert f"12 of 12 tiles done ({done} before)" in said
    assert_whole(tmp_path / "run")


def test_parts_in_jobs_of_their_own_give_the_bytes_of_a_local_run(
    grid: Grid, site: Site, cluster_file: File, command: Start, tmp_path: Path, assert_whole: Whole
) -> None:
    words = ("submit", site.folder, "--out", "run", "--count", "3", "--cluster", cluster_file(), "--array", "2")
    command(*words, before=(grid.into,)).ends(0)
    assert len(grid.queue()) == 2
    await_that(lambda: not grid.queue())
    assert_whole(tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"job_extra_directives": ["-wd /no/folder"]},
            r"worker job \d+ will never start: in an error state: .*/no/folder",
        ),
        ({"job_script_prologue": ["echo module: cannot load python >&2", "exit 1"]}, r"ends with: module: cannot load"),
    ],
    ids=["error", "prologue"],
)
def test_workers_that_cannot_be_had_are_one_sentence(
    options: dict[str, Any], sentence: str, grid: Grid, site: Site, cluster_file: File, command: Start
) -> None:
    words = run_of(site, cluster_file(**options))
    out, said = command(*words, before=(grid.into,)).ends(2)
    assert out == ""
    assert re.search(sentence, said.splitlines()[-1]), said


def test_a_job_that_no_queue_takes_is_refused_at_once(
    grid: Grid, site: Site, cluster_file: File, command: Start
) -> None:
    file = cluster_file(driver={"job_extra_directives": ["-pe smp 9", "-w e"]})
    words = ("submit", site.folder, "--out", "run", "--count", "3", "--cluster", file)
    _, said = command(*words, before=(grid.into,)).ends(2)
    assert re.search(r"the job was refused: .*no suitable queues", said)


def test_a_check_tells_what_a_run_would_meet(grid: Grid, cluster_file: File, command: Start, tmp_path: Path) -> None:
    words = ("cluster", "check", cluster_file(), "--out", tmp_path / "run")
    out, _ = command(*words, before=(grid.into,)).ends(0)
    findings = dict(re.findall(r"^ok +(\w+(?: time)?) +(.*)$", out, re.MULTILINE))
    names = ("job", "wall time", "worker", "versions", "memory", "threads", "scratch", "output", "network")
    assert tuple(findings) == names
    assert findings["job"] == "verification: found suitable queue(s)"
    words = ("cluster", "check", cluster_file(queue="nosuch"))
    out, _ = command(*words, before=(grid.into,)).ends(1)
    assert re.search(r'^BAD +job +refused: .*unknown queue "nosuch"', out, re.MULTILINE)
    words = ("cluster", "check", cluster_file(resource_spec="h_vmem=1G"))
    out, _ = command(*words, before=(grid.into,)).ends(1)
    assert re.search(r"^BAD +memory +a job may address 1.00 GiB", out, re.MULTILINE)
