"""Runs that are disturbed end in the same bytes as one that is not, killed with real processes."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsi_dask.batch.execution import dispatch
from hsi_dask.batch.execution import run as execute
from hsi_dask.batch.execution.run import Interrupted, run
from hsi_dask.batch.execution.sampling import sample_site
from hsi_dask.batch.execution.tile import sample_tile
from hsi_dask.batch.observer import Observer
from hsi_dask.batch.state.manifest import TileRecord
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.batch.state.verify import verify
from hsi_dask.batch.tiles.plan import Plan, Tile
from hsi_dask.batch.tiles.planning import make_plan
from hsi_dask.config import RunConfig
from hsi_dask.errors import ConfigError, EndmemberError, RunError
from hsi_dask.io.endmember_store import open_endmembers
from hsi_dask.io.neon.metadata import read_metadata
from hsi_dask.io.store import open_results
from hsi_dask.ops.bands import select_bands
from hsi_dask.ops.materials import map_materials
from hsi_dask.synthetic import Site, neon_wavelengths, simulate_scene, write_neon_tile

Store = Callable[[Path], dict[str, bytes]]
Spawn = Callable[[str], "subprocess.Popen[str]"]


class Listener(Observer):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.todo: list[str] = []
        self.skipped: list[str] = []
        self.done: list[str] = []
        self.failed: dict[str, str] = {}
        self.fractions: dict[str, list[float]] = {}
        self.messages: list[str] = []

    def planned(self, plan: Plan, todo: Sequence[Tile], skipped: Sequence[str]) -> None:
        self.todo, self.skipped = [tile.id for tile in todo], list(skipped)

    def tile_advanced(self, tile: str, fraction: float) -> None:
        self.fractions.setdefault(tile, []).append(fraction)

    def tile_done(self, record: TileRecord) -> None:
        self.done.append(record.tile)

    def tile_failed(self, tile: str, reason: str) -> None:
        self.failed[tile] = reason

    def message(self, text: str) -> None:
        self.messages.append(text)


def script(config: RunConfig, run_dir: Path, before: str = "") -> str:
    """A driver process that says each finished tile."""
    return f"""
import signal, sys, time
from hsi_dask.batch.execution.run import Interrupted, run
from hsi_dask.batch.observer import Observer
from hsi_dask.config import RunConfig
signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs the tests in the background may ignore it
{before}
class Telling(Observer):
    def tile_done(self, record):
        print("done", record.tile, flush=True)
if __name__ == "__main__":
    try:
        print(run(RunConfig(**{config.model_dump()!r}), {str(run_dir)!r}, observer=Telling()).done)
    except Interrupted as stopped:
        print(stopped)
        sys.exit(3)
"""


# a slow disk, so that a process can be hit in mid-tile
SLOW = """
import os
from hsi_dask.io import durable
replace = os.replace
def slowly(a, b):
    time.sleep(0.01)
    replace(a, b)
durable.os.replace = slowly
"""


def test_maps_are_those_of_the_public_operations(undisturbed: Path, site: Site, config: RunConfig) -> None:
    results = open_results(undisturbed)
    endmembers = open_endmembers(undisturbed)
    for path in site.paths[:2]:
        cube = select_bands(read_metadata(path).cube())
        maps = map_materials(cube, endmembers, thresholds={"sam": config.thresholds.sam})
        there = results.sel(y=maps.y, x=maps.x)
        for name in maps.data_vars:
            np.testing.assert_array_equal(there[name], maps[name], err_msg=str(name))
    assert results.rio.crs.to_epsg() == 32618


def test_endmembers_are_pixels_of_the_tiles_they_name(config: RunConfig, site: Site, tmp_path: Path) -> None:
    run(config.replace(endmembers={"robust": False}), tmp_path / "run")
    endmembers = open_endmembers(tmp_path / "run")
    by_id = {tile.id: tile.path for tile in make_plan(site.paths, RunConfig()).tiles}
    for one in endmembers:
        cube = select_bands(read_metadata(by_id[str(one.tile.values)]).cube(masked=True))
        pixel = cube.sel(y=float(one.y), x=float(one.x))
        np.testing.assert_array_equal(pixel, one)
        np.testing.assert_array_equal(pixel, cube.isel(y=int(one.row), x=int(one.column)))


@pytest.mark.parametrize("config", ["run.yaml", np.ones((2, 2)), {"tiles": []}])
def test_what_is_no_configuration_is_a_sentence(config: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a RunConfig, not of (str|ndarray|dict); give hsi.RunConfig"):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_running_again_does_nothing(done_run: Path, config: RunConfig, store_of: Store) -> None:
    before = store_of(done_run)
    heard = Listener()
    summary = run(config, done_run, observer=heard)
    assert (summary.done, len(summary.skipped), heard.todo, heard.fractions) == ((), 6, [], {})
    assert store_of(done_run) == before
    assert run(config.replace(tiles=[]), done_run).skipped == summary.skipped


def test_a_tile_reports_movement_from_nothing_on(config: RunConfig, tmp_path: Path) -> None:
    heard = Listener()
    summary = run(config, tmp_path / "run", observer=heard)
    assert heard.done == list(summary.done) == heard.todo
    assert set(heard.fractions) == set(summary.done)
    assert all(f[0] == 0 and all(0 <= x <= 1 for x in f) for f in heard.fractions.values())


@pytest.mark.parametrize("where", ["here", "worker"])
def test_compiling_is_told_and_is_no_part_of_a_tiles_seconds(
    config: RunConfig, undisturbed: Path, tmp_path: Path, spawn: Spawn, where: str
) -> None:
    """Machine code is kept in a folder of this test, so that the first tile waits for it, and the second does not."""
    given = config.replace(
        endmembers={"file": str(undisturbed)}, methods=["ucls"], thresholds={"sam": None}, tiles=config.tiles
    )
    code = f"""
import contextlib, os, time
os.environ["NUMBA_CACHE_DIR"] = {str(tmp_path / "numba")!r}
from hsi_dask.batch.execution.run import run
from hsi_dask.batch.observer import Observer
from hsi_dask.config import RunConfig
class Telling(Observer):
    def compiling(self, tile, running):
        print("compiling" if running else "compiled", tile, time.monotonic(), flush=True)
    def tile_done(self, record):
        print("done", record.tile, record.seconds, time.monotonic(), flush=True)
if __name__ == "__main__":
    with contextlib.ExitStack() as stack:
        client = None
        if {where!r} == "worker":
            from distributed import Client, LocalCluster
            options = dict(n_workers=1, threads_per_worker=1, dashboard_address=None)
            options["scheduler_kwargs"] = dict(dashboard_address="127.0.0.1:0")
            cluster = stack.enter_context(LocalCluster(**options))
            client = stack.enter_context(Client(cluster))
        print("begun", time.monotonic(), flush=True)
        run(RunConfig(**{given.model_dump()!r}), {str(tmp_path / "run")!r}, client=client, observer=Telling())
"""
    said = [line.split() for line in spawn(code).communicate()[0].splitlines()]
    begun = next(float(line[1]) for line in said if line[0] == "begun")
    times = [float(line[2]) for line in said if line[0] in ("compiling", "compiled")]
    done = [line for line in said if line[0] == "done"]
    assert times, said
    assert len(times) % 2 == 0
    assert {line[1] for line in said if line[0].startswith("compil")} == {done[0][1]}  # of the first tile
    seconds = sum(times[1::2]) - sum(times[::2])
    assert seconds > 1
    first = float(done[0][3]) - begun  # from the start of the run to the end of the first tile
    assert float(done[0][2]) < first - 0.9 * seconds


def test_a_killed_run_resumed_gives_the_same_bytes(
    config: RunConfig, tmp_path: Path, spawn: Spawn, undisturbed: Path, store_of: Store
) -> None:
    for tiles in (1, 2, 1):  # three times killed by SIGKILL, each in the middle of the next tile
        driver = spawn(script(config, tmp_path / "run", SLOW))
        assert driver.stdout is not None
        for _ in range(tiles):
            assert driver.stdout.readline().startswith("done")
        time.sleep(0.07)
        driver.kill()
        driver.wait()
    state = Run.open(tmp_path / "run")
    assert 4 <= len(state.done()) < 6
    assert verify(tmp_path / "run") == []
    summary = run(config, tmp_path / "run")
    assert len(summary.done) + len(summary.skipped) == 6
    assert store_of(tmp_path / "run") == store_of(undisturbed)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_says_how_to_go_on(
    config: RunConfig, tmp_path: Path, spawn: Spawn, undisturbed: Path, store_of: Store, number: int
) -> None:
    driver = spawn(script(config, tmp_path / "run", SLOW))
    assert driver.stdout is not None
    driver.stdout.readline()
    driver.send_signal(number)
    said, _ = driver.communicate(timeout=60)
    assert driver.returncode == 3, said
    assert f"of 6 tiles done; run again with --out {tmp_path / 'run'} to go on" in said
    assert Run.open(tmp_path / "run").pending()
    run(config, tmp_path / "run")
    assert store_of(tmp_path / "run") == store_of(undisturbed)


def test_a_stopped_run_leaves_no_thread_at_work(tmp_path: Path, spawn: Spawn) -> None:
    """One that is inside HDF5 when Python ends leaves its lock behind, and the process would never end."""
    driver = spawn("""
import signal, time
from _thread import interrupt_main
from hsi_dask.batch.execution.dispatch import Workers, carry_out
signal.signal(signal.SIGTERM, signal.default_int_handler)
let_go = []
def work(job, threads, advanced):
    interrupt_main(signal.SIGTERM)
    time.sleep(1.5)
    let_go.append(job)
try:
    list(carry_out(work, ["tile"], Workers()))
except KeyboardInterrupt:
    print("let go", let_go)
""")
    said, _ = driver.communicate(timeout=60)
    assert said == "let go ['tile']\n"


def test_an_interrupted_call_carries_its_summary(config: RunConfig, tmp_path: Path) -> None:
    class Stopping(Observer):
        def tile_done(self, record: TileRecord) -> None:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="stopped with 1 of 6 tiles done") as stopped:
        run(config, tmp_path / "run", observer=Stopping())
    assert (len(stopped.value.summary.done), len(stopped.value.summary.pending)) == (1, 5)


def test_a_corrupt_tile_fails_alone_and_is_retried_when_it_is_mended(
    own_site: Path, site: Site, config: RunConfig, tmp_path: Path, undisturbed: Path, store_of: Store
) -> None:
    own = config.replace(tiles=[str(own_site)])
    run(own, tmp_path / "run")
    tile = "368040_4306000"
    broken = next(own_site.glob(f"*{tile}*"))
    times = os.stat(broken)
    good = broken.read_bytes()
    where = read_metadata(broken).reflectance
    from hsi_dask.io.hdf5 import _chunk_index

    offset, size, _ = max(_chunk_index(where.path, where.name, where.mtime_ns, where.file_size).where.values())
    broken.write_bytes(good[:offset] + b"\0" * size + good[offset + size :])
    os.utime(broken, ns=(times.st_atime_ns, times.st_mtime_ns))
    shutil.rmtree(tmp_path / "run/results.zarr")
    shutil.rmtree(tmp_path / "run/records")  # the same endmembers, all tiles anew
    heard = Listener()
    summary = run(own, tmp_path / "run", observer=heard)
    assert set(summary.failed) == set(heard.failed) == {tile}
    assert str(broken) in summary.failed[tile]
    assert len(summary.done) == 5
    assert Run.open(tmp_path / "run").failed() == summary.failed
    assert set(run(own, tmp_path / "run").failed) == {tile}
    broken.write_bytes(good)  # another mtime: a failed tile may come back as another file
    assert run(own, tmp_path / "run").done == (tile,)
    assert not Run.open(tmp_path / "run").failed()
    assert store_of(tmp_path / "run") == store_of(undisturbed)


def test_a_truncated_tile_fails_alone_and_joins_when_it_is_mended(
    own_site: Path, config: RunConfig, tmp_path: Path
) -> None:
    torn = next(own_site.glob("*368080_4306000*"))
    good = torn.read_bytes()
    torn.write_bytes(good[: len(good) // 2])
    own = config.replace(tiles=[str(own_site)])
    summary = run(own, tmp_path / "run")
    assert list(summary.failed) == ["368080_4306000"]
    assert "truncated" in summary.failed["368080_4306000"]
    assert len(summary.done) == 5
    torn.write_bytes(good)
    again = run(own, tmp_path / "run")
    assert (again.done, again.failed) == (("368080_4306000",), {})
    assert len(Run.open(tmp_path / "run").done()) == 6


def test_inputs_of_done_tiles_may_be_moved_away_before_the_rest_is_run(
    own_site: Path, config: RunConfig, tmp_path: Path
) -> None:
    class Stopping(Observer):
        def tile_done(self, record: TileRecord) -> None:
            raise KeyboardInterrupt

    own = config.replace(tiles=[str(own_site)])
    with pytest.raises(Interrupted) as stopped:
        run(own, tmp_path / "run", observer=Stopping())
    (first,) = stopped.value.summary.done
    next(own_site.glob(f"*{first}*")).unlink()
    summary = run(own.replace(tiles=[]), tmp_path / "run")
    assert (len(summary.done), summary.skipped, summary.failed) == (5, (first,), {})
    next(own_site.glob("*.h5")).unlink()
    assert len(run(own.replace(tiles=[]), tmp_path / "run").skipped) == 6


def test_tiles_without_data_are_done_and_the_sample_goes_on_without_them(
    own_site: Path, config: RunConfig, tmp_path: Path
) -> None:
    empty = simulate_scene((40, 40), no_data=1.0, origin=(368120, 4306000), wavelength=neon_wavelengths(100, step=20.0))
    write_neon_tile(own_site, empty)
    heard = Listener()
    config = config.replace(endmembers={"sample_tiles": 7})
    summary = run(config.replace(tiles=[str(own_site)]), tmp_path / "run", observer=heard)
    assert len(summary.done) == 7
    assert any("368120_4306000 is left out of the sample" in text for text in heard.messages)
    record = Run.open(tmp_path / "run").record("368120_4306000")
    assert record is not None
    assert record.pixels == {"valid": 0, "no_data": 1600}
    assert verify(tmp_path / "run") == []
    alone = config.replace(tiles=[str(next(own_site.glob("*368120*")))])
    with pytest.raises(EndmemberError, match="no tile has a usable pixel"):
        run(alone, tmp_path / "alone")


def test_the_sample_reads_a_bounded_number_of_tiles_spread_over_the_site(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled = []

    def counting(job: Any, threads: int, advanced: Any) -> Any:
        sampled.append((job.tile.row, job.tile.column))
        return sample_tile(job, threads, advanced)

    monkeypatch.setattr(execute, "sample_site", partial(sample_site, task=counting))
    run(config.replace(endmembers={"sample_tiles": 2}), tmp_path / "run")
    assert sampled == [(0, 40), (40, 80)]
    sampled.clear()
    run(config, tmp_path / "all")
    assert len(sampled) == 6  # every tile of a small site


def test_a_full_disk_ends_the_run_and_blames_no_tile(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: Path, store_of: Store
) -> None:
    real, written = os.replace, []

    def full(source: Any, target: Any) -> None:
        written.append(target)
        if len(written) > 60:
            raise OSError(28, "No space left on device")
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(RunError, match="No space left on device; finished tiles are safe"):
            run(config, tmp_path / "run")
    state = Run.open(tmp_path / "run")
    assert state.done()
    assert not state.failed()
    assert verify(tmp_path / "run") == []
    run(config, tmp_path / "run")
    assert store_of(tmp_path / "run") == store_of(undisturbed)


def test_too_little_disk_is_refused_before_anything_is_computed(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute, "free_bytes", lambda path: 10)
    with pytest.raises(RunError, match=r"has 0.0 GB free, the results need about"):
        run(config, tmp_path / "run")


def test_slabs_give_the_same_maps_as_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hsi_dask.batch.tiles import layout
    from hsi_dask.io import blocks

    scene = simulate_scene((120, 30), wavelength=neon_wavelengths(100, step=20.0), no_data=0.2)
    path = write_neon_tile(tmp_path / "line.h5", scene, chunks=(10, 30, 50))
    config = RunConfig(tiles=[str(path)], endmembers={"count": 3, "sample": 500, "restarts": 1})
    run(config, tmp_path / "whole")
    monkeypatch.setattr(layout, "SLAB_PIXELS", 50 * 30)
    monkeypatch.setattr(layout, "_CHUNK_PIXELS", 25 * 30)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 10 * 30 * 100 * 2)
    run(config, tmp_path / "slabs")
    whole, slabs = open_results(tmp_path / "whole"), open_results(tmp_path / "slabs")
    assert slabs.abundance.chunks[1] == (20,) * 6
    np.testing.assert_array_equal(whole.sam_class, slabs.sam_class)
    np.testing.assert_allclose(whole.abundance, slabs.abundance, atol=1e-6)
    assert verify(tmp_path / "slabs") == []


# ------------------------------------------------------------------------------------------------ with a client


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from distributed import Client, LocalCluster

    free = {"dashboard_address": "127.0.0.1:0"}  # any port: others on this machine may have taken Dask's own
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, scheduler_kwargs=free) as cluster,
        Client(cluster) as client,
    ):
        yield client


def test_a_run_in_a_users_process_does_not_touch_its_allocator(config: RunConfig, tmp_path: Path, spawn: Spawn) -> None:
    tell = """
import sys
sys.addaudithook(lambda event, values: print("found", values[1]) if event == "ctypes.dlsym" else None)
"""
    said, _ = spawn(script(config, tmp_path / "run", tell)).communicate()
    assert "mallopt" not in said


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="only glibc tells its heaps")
def test_threads_of_the_commands_run_share_a_heap(config: RunConfig, tmp_path: Path, spawn: Spawn) -> None:
    """Each with its own would keep what a tile leaves there: 0.4 GB after a few."""
    tell = """
import atexit, ctypes
def tell():
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    stream = ctypes.c_void_p(libc.fopen(b"heaps.xml", b"w"))
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    print("heaps", open("heaps.xml").read().count("<heap "))
atexit.register(tell)
from hsi_dask.cli.app import main
"""
    (tmp_path / "run.yaml").write_text(config.to_yaml())
    words = ["run", "--config", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "run"), "--no-report"]
    said, _ = spawn(f"{tell}main({words})").communicate()
    heaps = int(said.rpartition("heaps ")[2])
    assert heaps <= 2, said  # one more is that of threads which imported libraries started


def test_workers_give_the_same_bytes_as_this_process(
    config: RunConfig, tmp_path: Path, cluster: Any, undisturbed: Path, store_of: Store
) -> None:
    heard = Listener()
    summary = run(config, tmp_path / "run", client=cluster, observer=heard)
    assert sorted(heard.done) == sorted(summary.done) == sorted(Run.open(undisturbed).done())
    assert set(heard.fractions) == set(summary.done)
    assert store_of(tmp_path / "run") == store_of(undisturbed)

    def tasks(dask_scheduler: Any) -> list[str]:
        return list(dask_scheduler.tasks)

    deadline = time.monotonic() + 30
    while (left := cluster.run_on_scheduler(tasks)) and time.monotonic() < deadline:
        time.sleep(0.05)  # a released future's message takes another road than this question
    assert left == []


def test_a_killed_worker_is_not_the_tiles_fault(
    config: RunConfig, tmp_path: Path, cluster: Any, undisturbed: Path, store_of: Store
) -> None:
    class Killing(Listener):
        def tile_done(self, record: TileRecord) -> None:
            if not self.done:
                victim = next(iter(cluster.run(os.getpid).values()))
                os.kill(victim, signal.SIGKILL)
            super().tile_done(record)

    summary = run(config, tmp_path / "run", client=cluster, observer=Killing())
    assert (len(summary.done), summary.failed) == (6, {})
    assert store_of(tmp_path / "run") == store_of(undisturbed)


def test_a_tile_that_kills_its_workers_fails_and_the_others_do_not(site: Site, config: RunConfig, cluster: Any) -> None:
    """Its neighbours in the workers' queues die with it at first; tried alone, they are cleared."""

    def deadly(job: Any, threads: int, advanced: Any) -> str:
        import os
        import time

        if job.tile.row == job.tile.column == 0:
            os._exit(1)
        time.sleep(0.1)
        return str(job.tile.id)

    deadly.__module__ = "__main__"  # travels by value
    cluster.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 0))
    jobs = [dispatch.Job(tile, "", config) for tile in make_plan(site.paths, config).tiles]
    outcomes = {job.tile.id: outcome for job, outcome in dispatch.carry_out(deadly, jobs, dispatch.Workers(cluster))}
    failed = {tile: outcome for tile, outcome in outcomes.items() if isinstance(outcome, dispatch.Failure)}
    assert list(failed) == ["368000_4306040"]
    assert "the workers that held it died in 3 attempts" in failed["368000_4306040"].reason
    assert sorted(outcomes) == sorted(job.tile.id for job in jobs)


def test_workers_with_too_little_memory_are_refused_before_anything_starts(
    config: RunConfig, tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.wait_for_workers(2)  # those that an earlier test killed come back
    monkeypatch.setattr(Plan, "memory", lambda self, threads: 2**50)
    with pytest.raises(RunError, match=r"a tile needs about 1048576.0 GiB with 1 thread, worker .* may use"):
        run(config, tmp_path / "run", client=cluster)


def test_a_lost_scheduler_ends_the_run_with_a_sentence(
    config: RunConfig, tmp_path: Path, spawn: Spawn, undisturbed: Path, store_of: Store
) -> None:
    before = """
from distributed import Client, LocalCluster
import hsi_dask.batch.execution.run as execute
plain = run
def run(config, run_dir, observer):
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster:
        client = Client(cluster)
        class Losing(type(observer)):
            def tile_done(self, record):
                client.close()
        try:
            return plain(config, run_dir, client=client, observer=Losing())
        except Exception as error:
            print(type(error).__name__, error)
            sys.exit(4)
"""
    driver = spawn(script(config, tmp_path / "run", before))
    said, _ = driver.communicate(timeout=60)
    assert driver.returncode == 4, said
    assert "ClusterError the scheduler is gone" in said
    run(config, tmp_path / "run")
    assert store_of(tmp_path / "run") == store_of(undisturbed)


def test_no_workers_for_long_ends_the_run_with_a_sentence(config: RunConfig, tmp_path: Path, spawn: Spawn) -> None:
    before = """
from distributed import Client, LocalCluster
from hsi_dask.batch.execution import dispatch
from hsi_dask.limits import Limits
dispatch._POLL = 0.2
plain = run
def run(config, run_dir, observer):
    with LocalCluster(n_workers=0, dashboard_address=":0") as cluster, Client(cluster) as client:
        try:
            return plain(config, run_dir, client=client, observer=observer, limits=Limits(patience=1.0))
        except Exception as error:
            print(type(error).__name__, error)
            sys.exit(4)
"""
    driver = spawn(script(config, tmp_path / "run", before))
    said, _ = driver.communicate(timeout=60)
    assert driver.returncode == 4, said
    assert "ClusterError no worker for" in said
