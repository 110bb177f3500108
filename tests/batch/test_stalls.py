"""Tiles on a file system that stops answering: FUSE mounts whose server is stopped, and workers that are."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import psutil
import pytest
import yaml

from hsi_dask.batch.execution.run import run
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.batch.state.verify import verify
from hsi_dask.config import RunConfig

Spawn = Callable[[str], "subprocess.Popen[str]"]
Store = Callable[[Path], dict[str, bytes]]

TILE = "368040_4306000"
OTHERS = ["368000_4306000", "368080_4306000"]
# Loaded by workers: they tell when a tile has begun, and there is time to stop something before it looks at its file
SLOW = """
import os, time
from hsi_dask.io import endmember_store
def slowly(path, plain=endmember_store.read_endmembers):
    open(f"begun-{os.getpid()}", "w").close()
    time.sleep(1)
    return plain(path)
endmember_store.read_endmembers = slowly
"""


class Mount:
    """A folder seen through a file system of its own, whose server can be stopped."""

    def __init__(self, source: Path, place: Path) -> None:
        self.place = place
        place.mkdir()
        self.server = subprocess.Popen(["bindfs", "-f", source, place], stderr=subprocess.PIPE, text=True)
        while not place.is_mount():
            if self.server.poll() is not None:
                assert self.server.stderr is not None
                pytest.skip(f"nothing can be mounted here: {self.server.stderr.read().strip()}")
            time.sleep(0.02)

    def freeze(self) -> None:
        self.server.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.server.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        self.thaw()
        subprocess.run(["umount", "-l", self.place], check=False)
        self.server.kill()  # somebody may still hold a file open
        self.server.communicate()


@pytest.fixture
def mount(own_site: Path, tmp_path: Path) -> Iterator[Mount]:
    """One tile of the site lies behind it."""
    if not shutil.which("bindfs"):
        pytest.skip("needs bindfs, a FUSE file system, and root")
    source = tmp_path / "source"
    source.mkdir()
    (tile,) = own_site.glob(f"*{TILE}*")
    shutil.move(tile, source)
    mounted = Mount(source, tmp_path / "mount")
    yield mounted
    mounted.remove()


@pytest.fixture
def started(mount: Mount, own_site: Path, config: RunConfig, tmp_path: Path) -> RunConfig:
    """Settings of a run in `tmp_path / "run"`, in which that tile and two more are to be done."""
    own = config.replace(tiles=[str(own_site), str(mount.place)])
    run(own, tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "whole")
    for tile in (TILE, *OTHERS):
        (tmp_path / f"run/records/{tile}.json").unlink()
    return own


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """The command line on two workers, to which a tile that stands still for ten seconds is stuck."""
    processes = []

    def start(config: RunConfig, **options: Any) -> subprocess.Popen[str]:
        (tmp_path / "slow.py").write_text(SLOW)
        (tmp_path / "settings.yaml").write_text(config.to_yaml())
        options = {"n_workers": 2, "threads_per_worker": 1, "preload": [str(tmp_path / "slow.py")]} | options
        (tmp_path / "local.yaml").write_text(yaml.safe_dump({"kind": "local", "stuck": 10.0, "options": options}))
        words = ["run", "--config", "settings.yaml", "--out", "run", "--cluster", "local.yaml", "--no-report"]
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "hsi_dask", *words], cwd=tmp_path, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
        )  # fmt: skip
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def hear(stream: IO[str] | None, words: str) -> str:
    """What a process says, up to these words."""
    assert stream is not None
    said = ""
    for line in stream:
        said += line
        if words in line:
            return said
    raise AssertionError(f"ended without saying {words!r}: {said}")


@pytest.fixture
def assert_whole(tmp_path: Path, store_of: Store) -> Callable[[], None]:
    """Every file is as before anything was stopped."""

    def check() -> None:
        assert store_of(tmp_path / "run") == store_of(tmp_path / "whole")
        assert verify(tmp_path / "run") == []

    return check


def test_a_tile_that_hangs_in_two_workers_fails_alone_and_is_done_when_its_file_system_is_back(
    mount: Mount, started: RunConfig, command: Callable[..., Any], tmp_path: Path, assert_whole: Callable[[], None]
) -> None:
    running = command(started)
    hear(running.stderr, "tiles to map")
    mount.freeze()
    out, said = running.communicate(timeout=180)
    assert running.returncode == 1, said
    assert "5 of 6 tiles done" in out
    assert len(re.findall(rf"tile {TILE} has not moved for \d+ s \(since .*\) on worker .*; the worker is", said)) == 2
    failed = Run.open(tmp_path / "run").failed()
    assert list(failed) == [TILE]
    assert re.fullmatch(
        rf"{mount.place}/\S+: has not moved for \d+ s .* on worker .*, and again has not moved .* on worker .*; "
        "look whether its file system answers, and run again",
        failed[TILE],
    )
    mount.thaw()
    assert run(started, tmp_path / "run").done == (TILE,)
    assert_whole()


def test_a_worker_process_that_is_stopped_is_replaced_and_its_tile_not_blamed(
    started: RunConfig, command: Callable[..., Any], tmp_path: Path, assert_whole: Callable[[], None]
) -> None:
    """Its heartbeats end too; the tile's standstill is noticed first, for Dask waits for five minutes."""
    running = command(started)
    hear(running.stderr, "tiles to map")
    end = time.monotonic() + 60
    while not (begun := sorted(tmp_path.glob("begun-*"))):
        assert time.monotonic() < end
        time.sleep(0.02)
    time.sleep(0.3)  # its news are on their way
    worker = psutil.Process(int(begun[0].name.removeprefix("begun-")))
    worker.suspend()
    out, said = running.communicate(timeout=180)
    assert running.returncode == 0, said
    assert "the worker is restarted" in said
    assert "6 of 6 tiles done" in out
    assert not worker.is_running()
    assert_whole()


@pytest.mark.parametrize("way", ["Ctrl-C", "patience"])
def test_without_workers_a_tile_that_hangs_is_told_and_ends_the_run(
    way: str, mount: Mount, started: RunConfig, tmp_path: Path, spawn: Spawn, assert_whole: Callable[[], None]
) -> None:
    """Threads cannot be ended; the process ends all the same, by one Ctrl-C or at the limit."""
    (tmp_path / "settings.yaml").write_text(started.to_yaml())
    running = spawn(f"""
        from hsi_dask import cli
        from functools import partial
        from hsi_dask.batch import stalls
        from hsi_dask.batch.execution import run as execution
        from hsi_dask.limits import Limits
        limits = Limits(stuck={60 if way == "Ctrl-C" else 3})
        stalls.REMARK, execution.run = 1.0, partial(execution.run, limits=limits)
        exec({SLOW!r})
        cli.main(["run", "--config", {str(tmp_path / "settings.yaml")!r}, "--out", {str(tmp_path / "run")!r}])
    """)
    hear(running.stdout, "tiles to map")
    mount.freeze()
    said = hear(running.stdout, "does its file system answer?")
    assert re.search(rf"tile {TILE} \(.*\) has not moved for \d+ s", said)
    if way == "Ctrl-C":
        running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=60)
    if way == "Ctrl-C":
        assert running.returncode == 130, said
        assert "run again with --out" in said
    else:
        assert running.returncode == 2, said
        assert re.search(r"has not moved for \d+ s .*; finished tiles are safe, .*run again to go on", said)
        assert not Run.open(tmp_path / "run").failed()
    mount.thaw()
    assert TILE in run(started, tmp_path / "run").done
    assert_whole()
