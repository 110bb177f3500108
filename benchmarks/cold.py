"""What the first run on a machine compiles, kernel by kernel: nothing is cached, every process is new.

Compilation is counted in processor seconds, which on an idle machine are seconds.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from numba.core import event

from benchmarks.measure import Claim, claim
from hsi_dask import RunConfig, run, synthetic

_ENDMEMBERS = 4


def cold(folder: Path, rounds: int) -> list[Claim]:
    """Seconds of compilation in a first run with four endmembers, and of the whole run beside a second one."""
    tiles = folder / "cold"
    if not tiles.exists():
        synthetic.simulate_site(tiles, tiles=(1, 1), size=50)
    kernels: dict[str, list[float]] = {}
    firsts, seconds = [], []
    for _ in range(max(1, rounds // 2)):
        with tempfile.TemporaryDirectory() as fresh:
            _copy_sources(Path(fresh))
            first, again = _run(tiles, fresh), _run(tiles, fresh)
        firsts.append(first)
        seconds.append(again)
        for name, spent in first["kernels"].items():
            kernels.setdefault(name, []).append(spent)
    claims = [claim(name, spent, "s") for name, spent in sorted(kernels.items())]
    return [
        *claims,
        claim("compilation, all", [sum(f["kernels"].values()) for f in firsts], "s", "<= 15"),
        claim("compilation in the second run", [sum(s["kernels"].values()) for s in seconds], "s", "<= 0"),
        claim("first run", [f["run"] for f in firsts], "s"),
        claim("second run", [s["run"] for s in seconds], "s"),
    ]


def _copy_sources(folder: Path) -> None:
    """Ours without what was compiled before, which numba would load from beside the sources."""
    for package in ("hsi_dask", "benchmarks"):
        source = Path(__file__).parents[1] / package
        shutil.copytree(source, folder / package, ignore=shutil.ignore_patterns("__pycache__"))


def _run(tiles: Path, fresh: str) -> dict[str, Any]:
    """What a process reports that runs on these tiles with the sources in a folder, and caches there."""
    command = [sys.executable, "-m", "benchmarks.cold", str(tiles.absolute())]
    env = os.environ | {"NUMBA_CACHE_DIR": f"{fresh}/cache", "PYTHONPATH": fresh}
    done = subprocess.run(command, env=env, cwd=fresh, capture_output=True, text=True, check=True)
    reported: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return reported


class _Recorder(event.Listener):
    """Processor seconds of each kernel's compilation, with what it calls."""

    def __init__(self) -> None:
        self.kernels: dict[str, float] = {}
        self._started: list[float] = []

    def on_start(self, event: Any) -> None:
        self._started.append(time.thread_time())

    def on_end(self, event: Any) -> None:
        spent = time.thread_time() - self._started.pop()
        if not self._started:
            function = event.data["dispatcher"].py_func
            name = f"{function.__module__.removeprefix('hsi_dask.')}.{function.__name__}"
            self.kernels[name] = self.kernels.get(name, 0.0) + spent


def _first_run(tiles: str) -> None:
    recorder = _Recorder()
    event.register("numba:compile", recorder)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run(RunConfig(tiles=(tiles,), endmembers={"count": _ENDMEMBERS}), folder)
    sys.stdout.write(json.dumps({"kernels": recorder.kernels, "run": time.perf_counter() - start}))


if __name__ == "__main__":
    _first_run(sys.argv[1])
