"""Whatever dies, fills up, breaks or changes: one sentence, and after a resume the bytes of an undisturbed run.

Real processes and real signals, file systems and flags; the moments of the kills are random with a fixed seed.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import psutil
import pytest

from hsi_dask.batch.execution.run import run
from hsi_dask.batch.observer import Observer
from hsi_dask.batch.state.manifest import TileRecord
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.batch.state.verify import verify
from hsi_dask.config import RunConfig
from hsi_dask.errors import RunError
from hsi_dask.io.neon.cube import read_metadata
from hsi_dask.synthetic import Site, neon_wavelengths, simulate_scene, write_neon_tile

Store = Callable[[Path], dict[str, bytes]]
Process = subprocess.Popen[str]
Spawn = Callable[[str], Process]

TILE = "368040_4306000"

PROLOGUE = """
import sys, time
import hsi_dask.ops.endmembers
from hsi_dask.batch.execution.run import run
from hsi_dask.batch.observer import Observer
from hsi_dask.cluster import ClusterConfig, connect
from hsi_dask.config import RunConfig
from hsi_dask.errors import HsiDaskError
from hsi_dask.io import durable
def slow(seconds):
    plain = durable.os.replace
    def slowly(*names):
        time.sleep(seconds)
        plain(*names)
    durable.os.replace = slowly
class Telling(Observer):
    def tile_done(self, record):
        print("done", record.tile, flush=True)
"""
LOCAL = {"n_workers": 2, "threads_per_worker": 1}


def driver(config: RunConfig, run_dir: Path, cluster: dict[str, Any] | None = None, before: str = "") -> str:
    """A process that runs and tells each tile; on a cluster if one is given."""
    client = "None" if cluster is None else "client"
    where = "nullcontext()" if cluster is None else f"connect(ClusterConfig(**{cluster!r}))"
    return f"""
from contextlib import nullcontext
{PROLOGUE}
if __name__ == "__main__":
    {before}
    with {where} as client:
        print("ready", flush=True)
        try:
            run(RunConfig(**{config.model_dump()!r}), {str(run_dir)!r}, client={client}, observer=Telling())
        except HsiDaskError as error:
            print(type(error).__name__, error, flush=True)
            sys.exit(2)
"""


def hear(process: Process, start: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(start):
            return line
    raise AssertionError(f"ended with {process.wait()} without saying {start!r}")


@pytest.fixture
def assert_whole(config: RunConfig, undisturbed: Path, store_of: Store) -> Callable[[Path], None]:
    """Resume a run: every file is that of the undisturbed one, and verify finds nothing."""

    def check(run_dir: Path) -> None:
        assert verify(run_dir) == [] if (run_dir / "manifest.json").is_file() else True
        summary = run(config, run_dir)
        assert (len(summary.done) + len(summary.skipped), summary.failed) == (6, {})
        assert store_of(run_dir) == store_of(undisturbed)
        assert verify(run_dir) == []

    return check


# ------------------------------------------------------------------------------------------------ kill -9


def test_a_run_killed_at_random_moments(
    config: RunConfig, tmp_path: Path, spawn: Spawn, assert_whole: Callable[[Path], None]
) -> None:
    chance = random.Random(2)
    for latest in (0.1, 0.5, 1.0, 1.0):
        process = spawn(driver(config, tmp_path / "run", before="slow(0.005)"))
        hear(process, "ready")
        time.sleep(chance.uniform(0, latest))
        process.kill()
        process.wait()
    assert_whole(tmp_path / "run")


def test_a_run_killed_with_its_workers_and_workers_killed_in_mid_run(
    config: RunConfig, tmp_path: Path, spawn: Spawn, assert_whole: Callable[[Path], None]
) -> None:
    local = {"kind": "local", "options": LOCAL}
    process = spawn(driver(config, tmp_path / "run", local))
    hear(process, "done")
    victims = workers_of(process)
    assert len(victims) == 2
    victims[0].kill()  # replaced, and its tile is done anew
    hear(process, "done")
    process.kill()  # the workers may live on for a moment, and write
    process.wait()
    assert_whole(tmp_path / "run")


def workers_of(process: Process) -> list[psutil.Process]:
    below = psutil.Process(process.pid).children(recursive=True)
    return [p for p in below if any("spawn_main" in word for word in p.cmdline())]


@contextmanager
def scheduler(folder: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A scheduler with two workers, each a process by itself; the file that says where, and the scheduler."""
    where, dask = folder / "scheduler.json", [sys.executable, "-m", "dask"]
    at = ["--scheduler-file", str(where), "--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    processes = [subprocess.Popen([*dask, "scheduler", *at, "--port", "0", "--no-dashboard"], **quiet)]
    worker = [*dask, "worker", *at, "--nthreads", "1", "--no-dashboard", "--no-nanny", "--death-timeout", "30"]
    processes += [subprocess.Popen(worker, **quiet) for _ in range(2)]
    try:
        yield where, processes[0]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_killed_scheduler_ends_the_run_with_a_sentence(
    config: RunConfig, tmp_path: Path, spawn: Spawn, assert_whole: Callable[[Path], None]
) -> None:
    with scheduler(tmp_path) as (where, process):
        cluster = {"kind": "scheduler", "options": {"scheduler_file": str(where)}}
        running = spawn(driver(config, tmp_path / "run", cluster))
        hear(running, "done")
        process.kill()
        said, _ = running.communicate(timeout=60)
    assert running.returncode == 2, said
    assert "ClusterError the scheduler is gone" in said
    assert "finished tiles are safe, run again to go on" in said
    assert_whole(tmp_path / "run")


# ------------------------------------------------------------------------------------------------ signals


def command(config: RunConfig, run_dir: Path, *more: str) -> Process:
    """The command line, running these settings."""
    (run_dir.parent / "settings.yaml").write_text(config.to_yaml())
    words = ["run", "--config", str(run_dir.parent / "settings.yaml"), "--out", str(run_dir), *more]
    return subprocess.Popen(
        [sys.executable, "-m", "hsi_dask", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def await_tile(run_dir: Path) -> None:
    end = time.monotonic() + 60
    while not (run_dir / "records").is_dir() or not os.listdir(run_dir / "records"):
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_a_signal_takes_no_more_tiles_also_with_workers_and_says_how_to_go_on(
    number: int, code: int, config: RunConfig, tmp_path: Path, assert_whole: Callable[[Path], None]
) -> None:
    (tmp_path / "local.yaml").write_text("kind: local\noptions: {n_workers: 1, threads_per_worker: 1}\n")
    process = command(config, tmp_path / "run", "--cluster", str(tmp_path / "local.yaml"))
    await_tile(tmp_path / "run")
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert f"of 6 tiles done; run again with --out {tmp_path / 'run'} to go on" in said.splitlines()[-1]
    assert Run.open(tmp_path / "run").pending()
    assert_whole(tmp_path / "run")


def test_a_second_signal_ends_at_once(config: RunConfig, tmp_path: Path, assert_whole: Callable[[Path], None]) -> None:
    (tmp_path / "local.yaml").write_text("kind: local\noptions: {n_workers: 1, threads_per_worker: 1}\n")
    process = command(config, tmp_path / "run", "--cluster", str(tmp_path / "local.yaml"))
    await_tile(tmp_path / "run")
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)  # it now winds up its workers
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    process.communicate(timeout=60)
    assert time.monotonic() - started < 2
    assert process.returncode in (-signal.SIGINT, 130)
    assert_whole(tmp_path / "run")


# ------------------------------------------------------------------------------------------------ disks


class AfterTwo(Observer):
    """Does something when two tiles are done."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self.act, self.tiles = act, 0

    def tile_done(self, record: TileRecord) -> None:
        self.tiles += 1
        if self.tiles == 2:
            self.act()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(place: Path) -> None:
    """No byte is left, nor the tail of a page."""
    with open(place / "filler", "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)) == 4096:
                pass
        except OSError:
            pass


@pytest.mark.parametrize("files", range(2, 9))
def test_no_room_at_the_creation_of_a_run_directory_is_a_sentence(
    files: int, config: RunConfig, tmp_path: Path
) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size=32m,nr_inodes={files}", "tmpfs", str(place)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        with pytest.raises(RunError, match=rf"^{place}/run.*No space left on device"):
            run(config, place / "run")
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_disk_full_in_mid_run_leaves_nothing_recorded_that_is_not_there(
    config: RunConfig, small_disk: Path, assert_whole: Callable[[Path], None]
) -> None:
    run_dir = small_disk / "run"
    with pytest.raises(
        RunError, match=rf"^{run_dir}/results.zarr/.*: No space left on device; finished tiles are safe"
    ):
        run(config, run_dir, observer=AfterTwo(lambda: fill(small_disk)))
    state = Run.open(run_dir)
    assert (len(state.done()), state.failed()) == (2, {})
    (small_disk / "filler").unlink()
    assert_whole(run_dir)


def test_a_disk_full_before_the_endmembers_are_kept_is_a_sentence_too(
    config: RunConfig, small_disk: Path, assert_whole: Callable[[Path], None]
) -> None:
    class Filling(Observer):
        def message(self, text: str) -> None:
            if text.startswith("finding"):
                fill(small_disk)

    with pytest.raises(RunError, match="No space left on device; finished tiles are safe, make room"):
        run(config, small_disk / "run", observer=Filling())
    assert not Run.open(small_disk / "run").done()
    (small_disk / "filler").unlink()
    assert_whole(small_disk / "run")


@pytest.mark.parametrize("folder", ["results.zarr/sam_angle", "records"])
def test_permission_lost_in_mid_run_is_a_sentence(
    folder: str, config: RunConfig, tmp_path: Path, assert_whole: Callable[[Path], None]
) -> None:
    run_dir = tmp_path / "run"
    with locked_folder(run_dir / folder) as lock:
        with pytest.raises(RunError, match=rf"{run_dir}/{folder}.*not permitted|denied; finished tiles are safe"):
            run(config, run_dir, observer=AfterTwo(lock))
        assert (len(Run.open(run_dir).done()), Run.open(run_dir).failed()) == (2, {})
    assert_whole(run_dir)


@contextmanager
def locked_folder(folder: Path) -> Iterator[Callable[[], None]]:
    """What takes the permission to write below a folder, from root too; it is given back at the end."""

    def change(flag: str) -> None:
        for path in (folder, *(p for p in folder.rglob("*") if p.is_dir())):
            if os.geteuid() == 0:
                changed = subprocess.run(["chattr", flag, path], capture_output=True, text=True, check=False)
                if changed.returncode:
                    pytest.skip(f"root cannot be kept from writing here: {changed.stderr.strip()}")
            else:
                path.chmod(0o500 if flag == "+i" else 0o700)

    try:
        yield lambda: change("+i")
    finally:
        change("-i")


def test_results_taken_away_are_missed_and_no_tile_is_blamed(
    config: RunConfig, tmp_path: Path, assert_whole: Callable[[Path], None]
) -> None:
    results = tmp_path / "run/results.zarr"
    with pytest.raises(RunError, match=r"results.zarr is gone, finished tiles with it; put it back"):
        run(config, tmp_path / "run", observer=AfterTwo(lambda: results.rename(tmp_path / "away")))
    assert not Run.open(tmp_path / "run").failed()
    with pytest.raises(RunError, match=r"results.zarr is gone"):
        run(config, tmp_path / "run")
    (tmp_path / "away").rename(results)
    assert_whole(tmp_path / "run")


# ------------------------------------------------------------------------------------------------ bad tiles


def corrupt_chunk(path: Path) -> None:
    stored = read_metadata(path).reflectance
    with h5py.File(path) as file:
        info = file[stored.name].id.get_chunk_info(1)
    data = bytearray(path.read_bytes())
    middle = info.byte_offset + info.size // 2
    data[middle : middle + 40] = bytes(40)
    path.write_bytes(data)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def lose_dataset(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["SERC/Reflectance/Metadata/Spectral_Data/Wavelength"]


def scene_at(path: Path, **other: Any) -> Any:
    options = {"wavelength": neon_wavelengths(100, step=20.0), "origin": (368040, 4306000)} | other
    return simulate_scene((40, 40), **options)


def other_crs(path: Path) -> None:
    write_neon_tile(path, scene_at(path), zone=17)


def other_wavelengths(path: Path) -> None:
    write_neon_tile(path, scene_at(path, wavelength=neon_wavelengths(100, first=383.0, step=20.0)))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (corrupt_chunk, r"the chunk of /SERC/Reflectance/Reflectance_Data at \(.*\) does not inflate"),
        (truncate, "truncated or damaged HDF5 file"),
        (empty, "is empty; download it again"),
        (lose_dataset, "has no dataset /SERC/Reflectance/Metadata/Spectral_Data/Wavelength"),
        (other_crs, "lies in EPSG:32618, but .* lies in EPSG:32617"),
        (other_wavelengths, "has 381.50 nm as wavelength 1, but .* has 383.00 nm"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_bad_tile_fails_alone_in_a_sentence_and_is_retried_when_it_is_mended(
    spoil: Callable[[Path], None],
    sentence: str,
    own_site: Path,
    config: RunConfig,
    tmp_path: Path,
    undisturbed: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from hsi_dask import cli

    bad = next(own_site.glob(f"*{TILE}*"))
    good = bad.read_bytes()
    spoil(bad)
    own = config.replace(tiles=[str(own_site)])
    summary = run(own, tmp_path / "run")
    assert list(summary.failed) == [TILE]
    assert len(summary.done) == 5
    (note,) = (tmp_path / "run/failures").iterdir()
    assert note.name == f"{TILE}.json"
    (reason,) = Run.open(tmp_path / "run").failed().values()
    assert str(bad) in reason
    assert re.search(sentence, reason), reason
    with pytest.raises(SystemExit) as ended:
        cli.main(["status", str(tmp_path / "run")])
    assert ended.value.code == 1
    assert f"failed  {TILE}: {reason}" in capsys.readouterr().out
    assert verify(tmp_path / "run") == []
    bad.write_bytes(good)
    again = run(own, tmp_path / "run")
    assert (again.done, again.failed) == ((TILE,), {})
    assert not os.listdir(tmp_path / "run/failures")
    assert verify(tmp_path / "run") == []


def test_a_file_that_changes_in_mid_run_fails_and_is_computed_anew(
    own_site: Path, config: RunConfig, tmp_path: Path, undisturbed: Path, store_of: Store
) -> None:
    own = config.replace(tiles=[str(own_site)])
    last = max(Run.open(undisturbed).done())
    path = next(own_site.glob(f"*{last}*"))
    summary = run(own, tmp_path / "run", observer=AfterTwo(lambda: os.utime(path)))
    failed = {*summary.failed}
    assert failed == {last}
    assert "changed while the run was going; run again" in summary.failed[last]
    assert run(own, tmp_path / "run").done == (last,)
    assert store_of(tmp_path / "run") == store_of(undisturbed)


# ------------------------------------------------------------------------------------------------ power cut


def test_all_that_a_record_vouches_for_is_on_disk_before_the_record(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: Site
) -> None:
    """The order of fsync and rename: files before they get their names, their folders before the record."""
    events: list[tuple[str, str, str]] = []
    fsync, replace = os.fsync, os.replace

    def seen_fsync(descriptor: int) -> None:
        events.append(("fsync", os.readlink(f"/proc/self/fd/{descriptor}"), ""))
        fsync(descriptor)

    def seen_replace(source: Any, target: Any) -> None:
        events.append(("rename", str(source), str(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "replace", seen_replace)
    run_dir = tmp_path / "run"
    run(config, run_dir)
    renamed = {target: at for at, (what, _, target) in enumerate(events) if what == "rename"}

    def synced(path: Path, start: int, end: int) -> bool:
        return any(what == "fsync" and name == str(path) for what, name, _ in events[start:end])

    def kept(path: Path, end: int) -> bool:
        """Content on disk before the name, and the name before `end`."""
        at = renamed[str(path)]
        return at < end and synced(Path(events[at][1]), 0, at) and synced(path.parent, at, end)

    records = Run.open(run_dir).records()
    assert len(records) == 6
    for record in records:
        commit = renamed[str(run_dir / "records" / f"{record.tile}.json")]
        for chunk in record.chunks:
            assert kept(run_dir / "results.zarr" / chunk.key, commit), chunk.key
            for folder in (run_dir / "results.zarr" / chunk.key).parents[:-1]:
                if folder.is_relative_to(run_dir / "results.zarr"):
                    assert synced(folder, 0, commit)
        for name in ("config.yaml", "manifest.json", "endmembers.zarr", "results.zarr"):
            assert synced(run_dir, renamed[str(run_dir / name)], commit), name
        assert kept(run_dir / "records" / f"{record.tile}.json", len(events))
    assert renamed[str(run_dir / "config.yaml")] < renamed[str(run_dir / "manifest.json")]
    assert synced(tmp_path, 0, renamed[str(run_dir / "manifest.json")])


# ------------------------------------------------------------------------------------------------ verify


def test_verify_finds_an_edited_record_a_stranger_and_changed_coordinates(
    done_run: Path, config: RunConfig, undisturbed: Path, store_of: Store
) -> None:
    record = done_run / "records" / f"{TILE}.json"
    record.write_text(record.read_text().replace('"seconds": ', '"seconds": 1'))
    found = {(finding.tile, finding.variable) for finding in verify(done_run)}
    assert found == {(TILE, "")}
    assert TILE in Run.open(done_run).pending()  # an edited record vouches for nothing: the tile is computed anew
    assert run(config, done_run).done == (TILE,)
    assert store_of(done_run) == store_of(undisturbed)
    stranger = done_run / "results.zarr/residual/c/7/7"
    stranger.parent.mkdir()
    stranger.write_bytes(b"?")
    coordinate = next(p for p in (done_run / "results.zarr/x/c").rglob("*") if p.is_file())
    data = bytearray(coordinate.read_bytes())
    data[-1] ^= 1
    coordinate.write_bytes(data)
    found = {(finding.tile, finding.variable) for finding in verify(done_run)}
    assert found == {("", "residual"), ("", "x")}


def test_a_record_under_another_tiles_name_vouches_for_nothing(done_run: Path) -> None:
    other = "368080_4306000"
    shutil.copy(done_run / "records" / f"{TILE}.json", done_run / "records" / f"{other}.json")
    assert [finding.tile for finding in verify(done_run)] == [other]
    assert Run.open(done_run).pending() == [other]
