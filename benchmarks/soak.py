"""Kill runs by the hundred and compare every byte; watch memory over many tiles. `python -m benchmarks.soak --help`.

Kills: a small site is run again and again while SIGKILL hits, at seeded random moments, the run itself, one of its
parts, a worker, the run that started the workers, or the scheduler. It is resumed until it is complete; then every
file of its stores is compared with those of a run that nothing disturbed, and `verify` looks at it.

Memory: many tiles, small in y and x, real in wavelength (or 8 tiles of 1 km), through workers with a memory limit.
Resident memory of the run's process, which holds the scheduler, and of each worker is sampled, fitted and plotted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from hsi_dask.batch.execution.run import run
from hsi_dask.batch.observer import Observer
from hsi_dask.batch.state.manifest import TileRecord
from hsi_dask.batch.state.verify import verify
from hsi_dask.cluster import ClusterConfig, connect
from hsi_dask.config import RunConfig
from hsi_dask.errors import HsiDaskError
from hsi_dask.synthetic import neon_wavelengths, simulate_site

SETTINGS: dict[str, Any] = {"endmembers": {"count": 3, "sample": 600, "restarts": 2}, "thresholds": {"sam": 0.3}}
# What is killed, and how often of a hundred: processes with workers of their own take ten times as long to start
TARGETS = {"run": 55, "part": 19, "worker": 14, "run with workers": 8, "scheduler": 4}
LOCAL = ClusterConfig(kind="local", options={"n_workers": 2, "threads_per_worker": 1, "memory_limit": "2GiB"})
KILLS_A_RUN = 4  # at most, on average half of it; then it may finish and is compared
FLAT = 0.02  # of the peak: what memory may grow in the second half of a run
STUCK = 180.0  # seconds after which a run that was left alone counts as hung


# ------------------------------------------------------------------------------------------------ kills


@dataclass
class Tally:
    """What the kills came to."""

    kills: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    resumes: int = 0
    files: int = 0
    bytes: int = 0
    differences: list[str] = field(default_factory=list)
    findings: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


class Child:
    """A process forked from this one, which has everything imported and has not started a thread."""

    def __init__(self, work: Callable[[], int], log: Path) -> None:
        self.log = log
        self.pid = os.fork()
        if self.pid == 0:
            code = 70
            try:
                os.setsid()
                descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(descriptor, 1)
                os.dup2(descriptor, 2)
                code = work()
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        self.code: int | None = None

    def poll(self) -> int | None:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def wait(self, seconds: float) -> int | None:
        end = time.monotonic() + seconds
        while self.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        return self.code

    def kill(self) -> bool:
        """True where it was alive."""
        alive = self.poll() is None
        if alive:
            os.kill(self.pid, signal.SIGKILL)
            self.wait(10)
        return alive

    def workers(self) -> list[psutil.Process]:
        """Worker processes below it: those that a nanny watches."""
        try:
            below = psutil.Process(self.pid).children(recursive=True)
            return [p for p in below if any("spawn_main" in word for word in p.cmdline())]
        except psutil.Error:
            return []

    def end(self) -> None:
        """Kill what is left of it and below it; only for when it is to be done with."""
        try:
            below = psutil.Process(self.pid).children(recursive=True) if self.poll() is None else []
        except psutil.Error:
            below = []
        self.kill()
        for process in below:
            with_no_error(process.kill)


def with_no_error(call: Callable[[], Any]) -> None:
    with contextlib.suppress(psutil.Error):
        call()


def finish(config: RunConfig, run_dir: Path, cluster: ClusterConfig | None, part: tuple[int, int] | None) -> int:
    """The run in a child: 0 done, 1 some tile failed, 2 a sentence."""
    try:
        if cluster is None:
            return int(bool(run(config, run_dir, part=part).failed))
        with connect(cluster) as client:
            return int(bool(run(config, run_dir, client=client).failed))
    except HsiDaskError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 2


class Soak:
    """One site, one undisturbed run, and many that are not left alone."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.chance, self.tally = folder, random.Random(seed), Tally()
        self.log = folder / "log.txt"
        self.config = RunConfig(tiles=[str(folder / "site")], **SETTINGS)
        self.expected: dict[str, bytes] = {}
        self.span = {"run": 1.0, "workers": 6.0}

    def prepare(self) -> None:
        def simulate() -> int:
            wavelength = neon_wavelengths(100, step=20.0)
            simulate_site(self.folder / "site", tiles=(2, 3), size=40, wavelength=wavelength, no_data=0.1)
            return 0

        self.must(Child(simulate, self.log))
        for name, cluster in (("workers", LOCAL), ("run", None)):
            started = time.monotonic()
            self.must(self.start(self.folder / f"undisturbed {name}", cluster))
            self.span[name] = time.monotonic() - started
        self.expected = stores(self.folder / "undisturbed run")
        if self.expected != stores(self.folder / "undisturbed workers"):
            raise SystemExit("two undisturbed runs differ already")

    def must(self, child: Child) -> None:
        if child.wait(STUCK) != 0:
            child.end()
            raise SystemExit(f"the preparation failed ({child.code}); see {self.log}")

    def start(self, run_dir: Path, cluster: ClusterConfig | None = None, part: tuple[int, int] | None = None) -> Child:
        return Child(lambda: finish(self.config, run_dir, cluster, part), self.log)

    def carry_on(self, kills: int, say: Callable[[str], None]) -> None:
        started = time.monotonic()
        number = 0
        while sum(self.tally.kills.values()) < kills:
            run_dir = self.folder / f"run{number}"
            for _ in range(self.chance.randint(1, KILLS_A_RUN)):
                target = self.chance.choices(list(TARGETS), list(TARGETS.values()))[0]
                hit = getattr(self, f"hit_{target.replace(' ', '_')}")(run_dir)
                self.tally.kills[target] += hit
            self.complete(run_dir)
            self.compare(run_dir)
            shutil.rmtree(run_dir)
            number += 1
            self.tally.seconds = time.monotonic() - started
            say(f"{sum(self.tally.kills.values())} kills, {self.tally.runs} runs compared, "
                f"{len(self.tally.differences)} differences, {self.tally.seconds:.0f} s")  # fmt: skip

    def hit_run(self, run_dir: Path) -> int:
        child = self.start(run_dir)
        child.wait(self.chance.uniform(0, 1.1 * self.span["run"]))
        return child.kill()

    def hit_part(self, run_dir: Path) -> int:
        """Two parts at a time, both killed, each at its own moment."""
        parts = [self.start(run_dir, part=(n, 2)) for n in (1, 2)]
        hits = 0
        for child in self.chance.sample(parts, 2):
            child.wait(self.chance.uniform(0, 0.8 * self.span["run"]))
            hits += child.kill()
        return hits

    def hit_worker(self, run_dir: Path) -> int:
        """Workers of a run that goes on without them."""
        child, hits = self.start(run_dir, LOCAL), 0
        for _ in range(2):
            child.wait(self.chance.uniform(0.2, 0.8) * self.span["workers"])
            if child.poll() is None and (workers := child.workers()):
                with_no_error(self.chance.choice(workers).kill)
                hits += 1
        if child.wait(STUCK) is None:
            self.tally.differences.append(f"{run_dir}: hung after a worker was killed")
        if child.code not in (0, 1):
            self.tally.refusals[f"workers killed: exit code {child.code}"] += 1
        child.end()
        return hits

    def hit_run_with_workers(self, run_dir: Path) -> int:
        """The driver alone: its workers may live on for a moment, and write."""
        child = self.start(run_dir, LOCAL)
        child.wait(self.chance.uniform(0.3, 1.0) * self.span["workers"])
        return child.kill()

    def hit_scheduler(self, run_dir: Path) -> int:
        where = self.folder / "scheduler.json"
        where.unlink(missing_ok=True)
        options = ["--scheduler-file", str(where)]
        own = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
        processes = [dask("scheduler", *options, *own, log=self.log)]
        for _ in range(2):
            own = ["--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard", "--death-timeout", "20"]
            processes.append(dask("worker", *options, *own, log=self.log))
        child = self.start(run_dir, ClusterConfig(kind="scheduler", options={"scheduler_file": str(where)}))
        child.wait(6 + self.chance.uniform(0, 0.5) * self.span["workers"])
        hit = child.poll() is None
        processes[0].kill()
        if child.wait(STUCK) is None:
            self.tally.differences.append(f"{run_dir}: hung after the scheduler was killed")
        child.end()
        for process in processes:
            process.kill()
            process.wait()
        return hit

    def complete(self, run_dir: Path) -> None:
        """Resume until it is complete; now nothing disturbs it but workers that outlived their driver."""
        for _ in range(4):
            self.tally.resumes += 1
            child = self.start(run_dir)
            if child.wait(STUCK) == 0:
                return
            child.end()
            self.tally.refusals[f"resumed: exit code {child.code}"] += 1
            time.sleep(1)
        self.tally.differences.append(f"{run_dir} does not complete; see {self.log}")

    def compare(self, run_dir: Path) -> None:
        found = stores(run_dir)
        self.tally.runs += 1
        self.tally.files += len(found)
        self.tally.bytes += sum(map(len, found.values()))
        different = [n for n in {*found, *self.expected} if found.get(n) != self.expected.get(n)]
        self.tally.differences += [f"{run_dir}/{name}" for name in different]
        self.tally.findings += len(verify(run_dir))


def dask(kind: str, *options: str, log: Path) -> subprocess.Popen[bytes]:
    with open(log, "ab") as stream:
        words = [sys.executable, "-m", "dask", kind, *options]
        return subprocess.Popen(words, stdout=stream, stderr=stream, cwd=log.parent)


def stores(run_dir: Path) -> dict[str, bytes]:
    """Every file of a run's stores, by name."""
    folders = (run_dir / "results.zarr", run_dir / "endmembers.zarr")
    return {str(p.relative_to(run_dir)): p.read_bytes() for f in folders for p in f.rglob("*") if p.is_file()}


# ------------------------------------------------------------------------------------------------ memory


@dataclass(frozen=True)
class Sample:
    """Resident bytes of the run's process and of each worker, and what the scheduler holds, at one moment."""

    seconds: float
    done: int
    driver: int
    workers: dict[int, int]
    tasks: int


class Watch(Observer):
    """Samples until it is told to stop."""

    def __init__(self, client: Any, every: float) -> None:
        self.client, self.every, self.done = client, every, 0
        self.samples: list[Sample] = []
        self.tasks: list[int] = []
        self.started, self.over = time.monotonic(), threading.Event()
        self.me = psutil.Process()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def tile_done(self, record: TileRecord) -> None:
        self.done += 1
        self.tasks.append(self.client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))

    def watch(self) -> None:
        while not self.over.wait(self.every):
            workers = {}
            for process in self.me.children(recursive=True):
                try:
                    if any("spawn_main" in word for word in process.cmdline()):
                        workers[process.pid] = process.memory_info().rss
                except psutil.Error:
                    continue
            now, tasks = time.monotonic() - self.started, self.tasks[-1] if self.tasks else 0
            self.samples.append(Sample(now, self.done, self.me.memory_info().rss, workers, tasks))


def memory(folder: Path, tiles: int, size: int, limit: str, plot: Path) -> dict[str, Any]:
    """Run so many tiles through two limited workers; what their memory did."""
    rows = max(n for n in range(1, int(tiles**0.5) + 1) if tiles % n == 0)
    site = folder / "site"
    if not site.is_dir():
        simulate_site(site, tiles=(rows, tiles // rows), size=size, no_data=0.02)
    shutil.rmtree(folder / "run", ignore_errors=True)
    options = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": limit, "local_directory": str(folder)}
    config = RunConfig(tiles=[str(site)], endmembers={"sample": 20_000, "restarts": 3})
    started = time.monotonic()
    with connect(ClusterConfig(kind="local", options=options)) as client:
        watch = Watch(client, every=0.2 if size < 1000 else 0.5)
        summary = run(config, folder / "run", client=client, observer=watch)
        watch.over.set()
        watch.thread.join()
    seconds = time.monotonic() - started
    figures = {
        "tiles": len(summary.done), "failed": len(summary.failed), "pixels": [size, size], "seconds": round(seconds, 1),
        "limit": limit, "most tasks on the scheduler": max(watch.tasks), "findings": len(verify(folder / "run")),
        **trend(watch.samples),
    }  # fmt: skip
    draw(watch.samples, figures, plot)
    return figures | {"plot": str(plot)}


def trend(samples: Sequence[Sample]) -> dict[str, Any]:
    """Peaks in MB, MB a tile in each half of the run, and whether the second half grew by less than `FLAT`.

    The first half may grow: compiled code, libraries and bounded caches load. What still grows in the second has no
    end in sight. Look at the plot, too.
    """
    total = max(s.done for s in samples)
    found: dict[str, Any] = {"samples": len(samples), "flat": True}
    for name in ("worker", "driver"):
        peak = max(_held(s, name) for s in samples)
        found[f"peak {name} MB"] = round(peak, 1)
        for half, low in (("first", 0.1), ("second", 0.5)):
            part = [s for s in samples if low <= s.done / total <= (0.5 if low < 0.5 else 1) and _held(s, name)]
            rise = slope(np.array([s.done for s in part]), np.array([_held(s, name) for s in part]))
            found[f"{name} kB a tile, {half} half"] = round(1000 * rise, 1)
        found["flat"] &= bool(rise * total / 2 < FLAT * peak)
    return found


def _held(sample: Sample, name: str) -> float:
    """MB of the run's process, or of the largest worker."""
    return (sample.driver if name == "driver" else max(sample.workers.values(), default=0)) / 1e6


def slope(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> float:
    return float(np.polyfit(x, y, 1)[0]) if np.ptp(x) else 0.0


def draw(samples: Sequence[Sample], figures: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5), layout="constrained")
    at = [s.seconds for s in samples]
    axes.plot(at, [s.driver / 1e6 for s in samples], label="run and scheduler")
    for number, pid in enumerate(sorted({pid for s in samples for pid in s.workers}), 1):
        axes.plot(at, [s.workers.get(pid, np.nan) / 1e6 for s in samples], label=f"worker {number}")
    axes.set(xlabel="seconds", ylabel="resident memory, MB", ylim=(0, None))
    axes.set_title(f"{figures['tiles']} tiles of {figures['pixels'][0]} x {figures['pixels'][1]} x 426, "
                   f"workers limited to {figures['limit']}")  # fmt: skip
    right = axes.twinx()
    right.plot(at, [s.done for s in samples], color="0.6", linestyle=":", label="tiles done (right)")
    right.set_ylabel("tiles done")
    lines = [*axes.get_legend_handles_labels()[0], *right.get_legend_handles_labels()[0]]
    axes.legend(handles=lines, loc="lower right")
    figure.savefig(path, dpi=110)


# ------------------------------------------------------------------------------------------------ command


def main() -> None:
    options = arguments()
    folder = options.dir or Path(tempfile.mkdtemp(prefix="hsi-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    if options.tiles or options.full:
        tiles, size, limit = (8, 1000, "4GiB") if options.full else (options.tiles, options.size, "1GiB")
        figures = memory(folder, tiles, size, limit, options.plot or folder / "memory.png")
        bad = figures["failed"] or figures["findings"] or not figures["flat"]
    else:
        soak = Soak(folder, options.seed)
        soak.prepare()
        soak.carry_on(options.kills, (lambda text: None) if options.json else say)
        tally = soak.tally
        figures = vars(tally) | {"kills": dict(tally.kills), "refusals": dict(tally.refusals)}
        figures["survived"] = sum(tally.kills.values())
        bad = tally.differences or tally.findings
    say(json.dumps(figures, indent=1) if options.json else "\n".join(f"{k:34}{v}" for k, v in figures.items()))
    if options.dir is None and not (options.tiles or options.full) and not bad:
        shutil.rmtree(folder)
    sys.exit(1 if bad else 0)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--kills", type=int, default=200, metavar="N", help="kill so many times (200)")
    parser.add_argument("--seed", type=int, default=0, help="of targets and moments (0)")
    parser.add_argument("--tiles", type=int, default=0, metavar="N", help="memory over so many tiles instead")
    parser.add_argument("--size", type=int, default=100, metavar="PIXELS", help="of a tile's edge, with --tiles (100)")
    parser.add_argument("--full", action="store_true", help="memory over 8 tiles of 1 km instead; 5 GB of disk")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="where the memory plot goes")
    parser.add_argument("--dir", type=Path, help="work here, and leave it")
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
