"""Parts of a run, as concurrent processes, end in the same bytes as one run that did it all."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsi_dask.batch.execution.run import Interrupted, run
from hsi_dask.batch.observer import Observer
from hsi_dask.batch.state import lock
from hsi_dask.batch.state.lock import Part
from hsi_dask.batch.state.manifest import TileRecord
from hsi_dask.batch.state.opening import open_run_directory
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.batch.state.verify import verify
from hsi_dask.batch.tiles.planning import make_plan
from hsi_dask.batch.tiles.search import find_tiles
from hsi_dask.config import RunConfig
from hsi_dask.errors import ConfigError, HsiDaskError, RunError

Store = Callable[[Path], dict[str, bytes]]
Process = subprocess.Popen[str]
Spawn = Callable[[str], Process]

SLOW_DISK = "slow(durable.os, 'replace', 0.01)"
SLOW_SEARCH = "import hsi_dask.ops.endmembers as e; slow(e, 'find_endmembers', 60)"


def script(config: RunConfig, run_dir: Path, part: tuple[int, int] | None, before: str = "") -> str:
    """A process that waits for a line, then works on its part and tells what it does."""
    return f"""
import sys, time
from hsi_dask.batch.execution.run import Interrupted, run
from hsi_dask.batch.observer import Observer
from hsi_dask.config import RunConfig
from hsi_dask.errors import HsiDaskError
from hsi_dask.io import durable
class Telling(Observer):
    def message(self, text):
        print(text, flush=True)
    def tile_done(self, record):
        print("done", record.tile, flush=True)
def slow(module, name, seconds):
    plain = getattr(module, name)
    def slowly(*args, **kwargs):
        time.sleep(seconds)
        return plain(*args, **kwargs)
    setattr(module, name, slowly)
{before}
if __name__ == "__main__":
    print("ready", flush=True)
    input()
    try:
        summary = run(RunConfig(**{config.model_dump()!r}), {str(run_dir)!r}, observer=Telling(), part={part!r})
        print("finished", *summary.done, flush=True)
    except (Interrupted, HsiDaskError) as error:
        print("ended:", error)
        sys.exit(3)
"""


def go(process: Process, *, wait: str = "") -> Process:
    """Let it start, all at one time; and wait for a line."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    if wait:
        hear(process, wait)
    return process


def hear(process: Process, start: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(start):
            return line
    raise AssertionError(f"ended with {process.wait()} without saying {start!r}")


def ready(processes: Sequence[Process]) -> Sequence[Process]:
    for process in processes:
        hear(process, "ready")
    return processes


@given(st.integers(1, 12), st.integers(0, 40))
def test_every_tile_is_of_one_part_and_shares_are_even(parts: int, tiles: int) -> None:
    names = [f"{n:03}" for n in range(tiles)]
    shares = [Part(n, parts).share(names) for n in range(1, parts + 1)]
    assert sorted(chain(*shares)) == names
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("text", ["", "2", "0/4", "5/4", "1/0", "-1/4", "a/b", "1/2/3"])
def test_a_part_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="part"):
        Part.parse(text)


def test_parts_that_start_together_give_the_bytes_of_one_run(
    config: RunConfig, tmp_path: Path, spawn: Spawn, undisturbed: Path, store_of: Store
) -> None:
    processes = ready([spawn(script(config, tmp_path / "run", (n, 3))) for n in (1, 2, 3)])
    for process in processes:
        go(process)
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    assert sum("sampling pixels" in text for text in said) == 1
    done = [line.split()[1:] for text in said for line in text.splitlines() if line.startswith("finished")]
    assert [len(tiles) for tiles in done] == [2, 2, 2]
    assert sorted(chain(*done)) == sorted(Run.open(undisturbed).done()) == sorted(Run.open(tmp_path / "run").done())
    assert store_of(tmp_path / "run") == store_of(undisturbed)
    assert verify(tmp_path / "run") == []
    assert len(run(config, tmp_path / "run").skipped) == 6


def test_a_part_killed_while_it_makes_what_all_need_is_relieved_by_another(
    config: RunConfig, tmp_path: Path, spawn: Spawn, undisturbed: Path, store_of: Store
) -> None:
    first, second = ready([
        spawn(script(config, tmp_path / "run", (1, 2), SLOW_SEARCH)), spawn(script(config, tmp_path / "run", (2, 2)))
    ])  # fmt: skip
    go(first, wait="finding 3 endmembers")
    go(second, wait="another part is finding the endmembers; waiting for it, up to 60 minutes")
    assert Run.open(tmp_path / "run").pending() == sorted(Run.open(undisturbed).done())  # status works meanwhile
    first.kill()
    said, _ = second.communicate(timeout=60)
    assert second.returncode == 0, said
    assert len(run(config, tmp_path / "run", part=(1, 2)).done) == 3
    assert store_of(tmp_path / "run") == store_of(undisturbed)


def test_parts_killed_at_random_and_started_again_give_the_bytes_of_one_run(
    config: RunConfig, tmp_path: Path, spawn: Spawn, undisturbed: Path, store_of: Store
) -> None:
    chance = random.Random(4)
    for _ in range(2):
        processes = ready([spawn(script(config, tmp_path / "run", (n, 2), SLOW_DISK)) for n in (1, 2)])
        for process in map(go, processes):
            time.sleep(chance.uniform(0.1, 0.9))
            process.kill()
            process.wait()
    last = [go(process) for process in ready([spawn(script(config, tmp_path / "run", (n, 2))) for n in (1, 2)])]
    assert [process.wait(60) for process in last] == [0, 0]
    assert store_of(tmp_path / "run") == store_of(undisturbed)
    assert verify(tmp_path / "run") == []


def test_the_same_part_twice_other_parts_and_a_whole_run_beside_parts_are_refused(
    config: RunConfig, tmp_path: Path, spawn: Spawn
) -> None:
    (holder,) = ready([spawn(script(config, tmp_path / "run", (1, 2), SLOW_DISK + "; " + SLOW_SEARCH))])
    go(holder, wait="finding")
    who = rf"process {holder.pid} on .* since 20"
    with pytest.raises(RunError, match=rf"part 1/2 of .*run is in use by {who}.*; wait for it, or start another part"):
        run(config, tmp_path / "run", part=(1, 2))
    with pytest.raises(RunError, match=rf"is in use by its 2 parts, the first of them {who}"):
        run(config, tmp_path / "run", part=(1, 3))
    with pytest.raises(RunError, match=rf"is in use by its 2 parts, the first of them {who}"):
        run(config, tmp_path / "run")
    holder.kill()
    holder.wait()
    with open_run_directory(tmp_path / "run", make_plan(find_tiles(config.tiles), config), Part(3, 3)):
        pass


def test_a_part_beside_a_whole_run_is_refused(config: RunConfig, tmp_path: Path, spawn: Spawn) -> None:
    (holder,) = ready([spawn(script(config, tmp_path / "run", None, SLOW_SEARCH))])
    go(holder, wait="finding")
    with pytest.raises(RunError, match=rf"is in use by process {holder.pid} on"):
        run(config, tmp_path / "run", part=(1, 2))


def test_a_stopped_part_says_how_to_go_on(config: RunConfig, tmp_path: Path, spawn: Spawn) -> None:
    (process,) = ready([spawn(script(config, tmp_path / "run", (2, 2), SLOW_DISK))])
    go(process, wait="done")
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    assert f"of 3 tiles of part 2/2 done; run again with --out {tmp_path / 'run'} --part 2/2 to go on" in said


def test_a_bad_tile_is_the_trouble_of_one_part(own_site: Path, config: RunConfig, tmp_path: Path) -> None:
    own = config.replace(tiles=[str(own_site)])
    torn = next(own_site.glob("*368040_4306000*"))
    good = torn.read_bytes()
    torn.write_bytes(good[:1000])
    first, second = (run(own, tmp_path / "run", part=(n, 2)) for n in (1, 2))
    failed = {**first.failed, **second.failed}
    assert list(failed) == ["368040_4306000"] == list(Run.open(tmp_path / "run").failed())
    assert len(first.done) + len(second.done) == 5
    torn.write_bytes(good)
    again = [run(own, tmp_path / "run", part=(n, 2)).done for n in (1, 2)]
    assert sorted(again) == [(), ("368040_4306000",)]
    assert not Run.open(tmp_path / "run").failed()


def test_more_parts_than_tiles_have_nothing_to_do(config: RunConfig, tmp_path: Path) -> None:
    summary = run(config, tmp_path / "run", part=(9, 9))
    assert (summary.done, summary.skipped, summary.pending) == ((), (), ())
    assert len(Run.open(tmp_path / "run").pending()) == 6


# ------------------------------------------------------------------------------------------------ without locks


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: object, kind: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_part_1_makes_the_run_and_the_others_say_that_they_wait_for_it(
    config: RunConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: Path,
    store_of: Store,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(lock, "SETUP_SECONDS", 0.1)
    with pytest.raises(RunError, match=r"cannot be locked .*No locks available.*part 1 makes the run"):
        run(config, tmp_path / "run", part=(2, 2))
    assert "No locks available; start each part only once" in caplog.text

    class Stopping(Observer):
        def message(self, text: str) -> None:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        run(config, tmp_path / "run", part=(1, 2), observer=Stopping())
    with pytest.raises(RunError, match="has no endmembers after 0 minutes; see what part 1 does"):
        run(config, tmp_path / "run", part=(2, 2))
    assert len(run(config, tmp_path / "run", part=(1, 2)).done) == 3
    assert len(run(config, tmp_path / "run", part=(2, 2)).done) == 3
    assert store_of(tmp_path / "run") == store_of(undisturbed)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("mds@tcp:/work {} lustre rw,flock,lazystatfs 0 0", ""),
        ("mds@tcp:/work {} lustre rw,localflock 0 0", "it is on lustre mounted with localflock"),
        ("server:/home {} nfs4 rw,vers=4.2,local_lock=none 0 0", ""),
        ("server:/home {} nfs rw,vers=3,local_lock=all 0 0", "it is on nfs mounted with local_lock=all"),
    ],
)
def test_locks_that_only_this_machine_sees_are_told_from_the_mount(
    line: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "a b"
    (place / "parts").mkdir(parents=True)
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\n{line.format(str(place).replace(' ', chr(92) + '040'))}\n")
    monkeypatch.setattr(lock, "_MOUNTS", mounts)
    assert lock.unshared(place) == reason


def test_part_is_refused_with_a_sentence_by_run(config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(HsiDaskError, match="part 3/2 does not exist; give one of 1/2 to 2/2"):
        run(config, tmp_path / "run", part=(3, 2))


def test_records_of_parts_are_trusted_by_each_other(config: RunConfig, tmp_path: Path) -> None:
    class Looking(Observer):
        def tile_done(self, record: TileRecord) -> None:
            assert record.tile in Run.open(tmp_path / "run").done()

    run(config, tmp_path / "run", part=(1, 2), observer=Looking())
    assert len(run(config, tmp_path / "run", observer=Looking()).skipped) == 3
