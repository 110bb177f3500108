"""What the scheduler itself costs at size: a thousand tiles on dozens of workers that have almost nothing to do."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.measure import Claim, claim
from hsi_dask import RunConfig
from hsi_dask.batch.execution.run import run
from hsi_dask.cluster import ClusterConfig, connect
from hsi_dask.synthetic import neon_wavelengths, simulate_site

TILES, WORKERS = (25, 40), 64
# Workers share a process: what is measured is not what they do. Each has its own connection, heartbeat and name
_HOST = """
import asyncio, sys
from distributed import Worker
async def main():
    options = {"nthreads": 1, "memory_limit": 0, "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    workers = await asyncio.gather(*(Worker(sys.argv[1], name=str(n), **options) for n in range(int(sys.argv[2]))))
    await asyncio.gather(*(worker.finished() for worker in workers))
asyncio.run(main())
"""


def scheduling(folder: Path, rounds: int) -> list[Claim]:
    """Tasks a second, and the scheduler's CPU and memory over the run, by thirds."""
    site = folder / "thousand"
    if len(list(site.glob("*.h5"))) < TILES[0] * TILES[1]:
        simulate_site(site, tiles=TILES, size=10, wavelength=neon_wavelengths(100, step=20.0))
    settings = RunConfig(tiles=[str(site)], endmembers={"count": 3, "sample": 600, "restarts": 2})
    with tempfile.TemporaryDirectory() as work, _scheduler(Path(work)) as (address, process):
        config = ClusterConfig(kind="scheduler", options={"address": address})
        with connect(config) as client:
            client.wait_for_workers(WORKERS, timeout=120)
            with _sampled(process) as samples:
                started = time.perf_counter()
                summary = run(settings, Path(work) / "run", client=client)
                seconds = time.perf_counter() - started
    first, last = samples[len(samples) // 3], samples[-1]
    tasks = len(summary.done)
    return [
        claim(f"{tasks} tiles on {WORKERS} workers", [tasks / seconds], "tiles/s"),
        claim("scheduler CPU a tile", [1000 * (last[0] - samples[0][0]) / tasks], "ms"),
        claim("scheduler CPU of a core", [(last[0] - samples[0][0]) / seconds], "x", "<= 0.5"),
        claim("scheduler memory, end / a third in", [last[1] / first[1]], "x", "<= 1.05"),
        claim("scheduler memory", [last[1] / 1e6], "MB"),
    ]


@contextmanager
def _scheduler(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A scheduler and the host of its workers, each a process by itself; its address and process."""
    where = folder / "scheduler.json"
    words = ["-m", "dask", "scheduler", "--scheduler-file", str(where), "--host", "127.0.0.1", "--port", "0"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    scheduler = subprocess.Popen(
        [sys.executable, *words, "--no-dashboard", "--dashboard-address", "127.0.0.1:0"],
        **quiet,  # type: ignore[call-overload]
    )
    processes = [scheduler]
    try:
        while not where.is_file():
            time.sleep(0.1)
        address = json.loads(where.read_text())["address"]
        processes.append(subprocess.Popen([sys.executable, "-c", _HOST, address, str(WORKERS)], **quiet))  # type: ignore[call-overload]
        yield address, psutil.Process(scheduler.pid)
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextmanager
def _sampled(process: psutil.Process) -> Iterator[list[tuple[float, int]]]:
    """CPU seconds and resident bytes of a process, every half second."""
    samples: list[tuple[float, int]] = []
    ended = threading.Event()

    def watch() -> None:
        while True:
            times = process.cpu_times()
            samples.append((times.user + times.system, process.memory_info().rss))
            if ended.wait(0.5):
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()
