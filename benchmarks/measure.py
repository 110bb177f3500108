"""Paired timing, and the cost of a whole process as the operating system counts it."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple


class Claim(NamedTuple):
    """One line of the table: what was measured, its spread, and what was aimed at."""

    what: str
    median: float
    least: float
    most: float
    unit: str
    target: str
    met: bool | None
    samples: list[float]


class Cost(NamedTuple):
    """Of a finished process: seconds from start to exit, processor seconds, peak memory in MB."""

    wall: float
    cpu: float
    peak: float


def claim(what: str, samples: Sequence[float], unit: str, target: str = "") -> Claim:
    """A claim over samples; a target reads like '<= 1.5' or '>= 100', nothing is a figure without one."""
    middle = statistics.median(samples)
    met = None
    if target:
        sign, bound = target.split()[:2]
        met = middle <= float(bound) if sign == "<=" else middle >= float(bound)
    return Claim(what, middle, min(samples), max(samples), unit, target, met, [round(s, 4) for s in samples])


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turn(rounds: int, *works: Callable[[], object]) -> list[list[float]]:
    """Seconds of each work, measured in turn after one round to warm up."""
    for work in works:
        work()
    return [list(times) for times in zip(*([seconds(work) for work in works] for _ in range(rounds)), strict=True)]


def ratios(first: Sequence[float], second: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(first, second, strict=True)]


def process(*arguments: str, **environment: str) -> Cost:
    """Run `python -m hsi_dask` with these arguments and wait for it; RuntimeError if it fails."""
    command = [sys.executable, "-m", "hsi_dask", *arguments]
    start = time.perf_counter()
    with tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=complaints, env=os.environ | environment)
        highest = 0.0
        while os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            highest = max(highest, peak(child.pid))
            time.sleep(0.02)
        wall = time.perf_counter() - start
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            complaints.seek(0)
            raise RuntimeError(
                f"{' '.join(command)} ended with {child.returncode}: {complaints.read().decode()[-2000:]}"
            )
    return Cost(wall, usage.ru_utime + usage.ru_stime, highest)


def peak(pid: int) -> float:
    """Largest resident memory of a process so far, MB; wait4 would count what this process held at the fork."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0.0
