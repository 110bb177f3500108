"""Worker jobs by PBS's commands, as Slurm has them, in front of a real Slurm; a local run is the oracle.

`.ci/slurm start DIR`, `.ci/pbs start DIR` and `. DIR/env` of both give them; without them this skips. Not a real PBS:
what is tried is that its job scripts are taken as they are meant, and that the answers of its commands are understood.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hsi_dask.synthetic import Site

from .conftest import await_that, run_of


@pytest.fixture
def into() -> Iterator[str]:
    """What a command line begins with to find PBS's commands. Afterwards no job may be left."""
    folder = os.environ.get("HSI_DASK_TEST_PBS")
    if not folder:
        pytest.skip("no PBS commands for tests; with `.ci/slurm`, `.ci/pbs start DIR` and `. DIR/env` give them")
    assert not living()
    try:
        yield f"{folder}/into"
        await_that(lambda: not living())
    finally:
        for job, *_ in living():
            subprocess.run(["scancel", job], check=False)


def living() -> list[list[str]]:
    """Jobs: the number of each, its wall time and its memory."""
    told = subprocess.run(["squeue", "--noheader", "--format=%A %l %m"], capture_output=True, text=True, check=True)
    return [line.split() for line in told.stdout.splitlines()]


def test_a_worker_job_that_is_deleted_in_mid_run_is_replaced_and_the_bytes_are_those_of_a_local_run(
    into: str,
    site: Site,
    small_file: Callable[..., Path],
    command: Callable[..., Any],
    tmp_path: Path,
    records: Callable[[], int],
    hurry: Callable[[], None],
    assert_whole: Callable[[Path], None],
) -> None:
    file = small_file("pbs", 1.5)
    words = run_of(site, file)
    running = command(*words, before=(into,))
    await_that(lambda: records() >= 1)
    before = sorted(living())
    assert [size for _, *size in before] == [["10:00", "971M"]] * 2  # 700 MiB, 10 % and 200 MiB
    for job, *_ in before:  # both: then the queue's command knows none of them any more
        subprocess.run([into, "qdel", job], check=True)
    hurry()
    out, said = running.ends(0)
    assert "12 of 12 tiles done" in out
    assert all(f"worker job {job} ended" in said for job, *_ in before)
    assert_whole(tmp_path / "run")
