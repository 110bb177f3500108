"""The mapping pass and whole runs, against inflating the file and against h5py."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from benchmarks import tiles
from benchmarks.measure import Claim, claim, in_turn, peak, process, ratios, seconds
from hsi_dask import RunConfig
from hsi_dask.batch.execution.dispatch import Workers
from hsi_dask.batch.execution.run import run
from hsi_dask.batch.execution.sampling import sample_site
from hsi_dask.batch.execution.tile import Job, process_tile, sample_tile, share_heap, working
from hsi_dask.batch.execution.vertices import sample_and_project, search_site
from hsi_dask.batch.state.opening import open_run_directory
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.batch.state.scene import forget_search
from hsi_dask.batch.tiles.plan import Plan
from hsi_dask.batch.tiles.planning import make_plan
from hsi_dask.io import hdf5
from hsi_dask.io.readers import read_source
from hsi_dask.ops.endmembers import find_endmembers
from hsi_dask.scene.moments import MOMENTS

THREADS = os.cpu_count() or 1


def mapping_pass(folder: Path, rounds: int) -> list[Claim]:
    """Read, clean, FCLS, SAM, SID and writing Zarr, in one warm process, tile by tile."""
    claims = []
    for layout in tiles.LAYOUTS:
        path = tiles.tile(folder, layout)
        with _prepared(path) as (work, sample):
            mapped, sampled, floor, library = in_turn(
                rounds, work, sample, tiles.inflate_everything(path, THREADS), tiles.read_with_h5py(path)
            )
            claims += [
                claim(f"{layout} pass / inflating the file", ratios(mapped, floor), "x", "<= 1.5"),
                claim(f"{layout} pass / h5py dataset[...]", ratios(mapped, library), "x", "<= 0.4"),
                claim(f"{layout} sampling / inflating the file", ratios(sampled, floor), "x"),
                claim(f"{layout} pass", mapped, "s"),
                claim(f"{layout} floor", floor, "s"),
                claim(f"{layout} h5py", library, "s"),
                claim(f"{layout} bytes inflated / bytes in the file", [_inflated(path, work)], "x", "<= 1.0"),
            ]
    return claims


def five_methods(folder: Path, rounds: int) -> list[Claim]:
    """The mapping pass with FCLS, SAM, SID, NCC and ACE, statistics of the scene there, against the usual three."""
    claims = []
    for layout in tiles.LAYOUTS:
        path = tiles.tile(folder, layout)
        with _prepared(path) as (three, _), _prepared(path, ("fcls", "sam", "sid", "ncc", "ace")) as (five, _):
            more, usual = in_turn(rounds, five, three)
        claims += [
            claim(f"{layout} five methods / FCLS, SAM and SID", ratios(more, usual), "x", "<= 1.3"),
            claim(f"{layout} five methods", more, "s"),
        ]
    return claims


def scene_statistics(folder: Path, rounds: int) -> list[Claim]:
    """Mean, covariance and noise covariance of a tile as a run takes them, in one warm process."""
    share_heap()  # as the process of a run does
    claims = []
    for layout in tiles.LAYOUTS:
        path = tiles.tile(folder, layout)

        def work(path: Path = path) -> None:
            with working(THREADS, lambda fraction: None):
                MOMENTS.reduce(read_source(str(path)).numbers(), None)

        taken, floor = in_turn(rounds, work, tiles.inflate_everything(path, THREADS))
        claims += [
            claim(f"{layout} statistics of 426 bands / inflating the file", ratios(taken, floor), "x", "<= 2.2"),
            claim(f"{layout} statistics", taken, "s"),
        ]
    return claims


def whole_run(folder: Path, rounds: int) -> list[Claim]:
    """`hsi-dask run` on one tile, from the start of the process to its exit, its memory, and without a cache."""
    eight = _eight_tiles(folder)
    claims = []
    for layout in tiles.LAYOUTS:
        path = tiles.tile(folder, layout)
        inflate = tiles.inflate_everything(path, THREADS)
        _run_process(path)
        costs, floors = [], []
        for _ in range(rounds):
            costs.append(_run_process(path, "--no-report"))
            floors.append(seconds(inflate))
        claims += [
            claim(f"{layout} hsi-dask run / inflating the file", ratios([c.wall for c in costs], floors), "x", "<= 6"),
            claim(f"{layout} hsi-dask run", [c.wall for c in costs], "s"),
            claim(f"{layout} peak memory", [c.peak for c in costs], "MB", "<= 1000"),
            claim(f"{layout} the same, with its report", [_run_process(path).wall], "s"),
        ]
    with tempfile.TemporaryDirectory() as cache:
        cold = _run_process(path, "--no-report", NUMBA_CACHE_DIR=cache)
    claims.append(claim("the same, everything compiled anew", [cold.wall], "s"))
    cost = _run_process(eight[0], *map(str, eight[1:]), "--no-report", "--mix")
    claims.append(claim("peak memory, eight tiles of both one after another", [cost.peak], "MB", "<= 1000"))
    claims.append(claim("hsi-dask --help", [process("--help").wall for _ in range(rounds)], "s"))
    return claims


def every_pixel(folder: Path, rounds: int) -> list[Claim]:
    """What a run with every pixel as a vertex does before the mapping pass, against inflating and a usual sample."""
    sites = {layout: [tiles.tile(folder, layout)] for layout in tiles.LAYOUTS}
    claims = []
    for name, paths in (sites | {"eight tiles of both": _eight_tiles(folder)}).items():
        config = RunConfig(tiles=[str(path) for path in paths], endmembers={"sample": "all"}, mix=True)
        inflate = [tiles.inflate_everything(path, THREADS) for path in paths]
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            run_dir = Path(scratch) / "run"
            with open_run_directory(run_dir, make_plan(paths, config), None) as (state, plan):
                search, usual = partial(_search, state, plan), partial(_usual, state, plan)
                search()
                searched, sampled, floor = in_turn(rounds, search, usual, partial(_each, inflate))
        beyond = [every - some for every, some in zip(searched, sampled, strict=True)]
        target = "<= 1.6" if len(paths) == 8 else ""
        claims += [
            claim(f"{name}: endmembers among every pixel / inflating", ratios(searched, floor), "x", target),
            claim(f"{name}: beyond those of a sample / inflating", ratios(beyond, floor), "x"),
        ]
    return claims


def _each(works: list[Callable[[], None]]) -> None:
    for work in works:
        work()


def _search(state: Run, plan: Plan) -> None:
    forget_search(state.path)
    sample = sample_and_project(state, plan, Workers())
    search_site(state, plan, Workers(), sample, find_endmembers(sample, 4))


def _usual(state: Run, plan: Plan) -> None:
    find_endmembers(sample_site(plan, state.path, Workers()), 4)


def two_workers(folder: Path, rounds: int) -> list[Claim]:
    """Eight tiles on one worker of one thread, and on two: what a second worker brings, and the memory of each."""
    paths = _eight_tiles(folder)
    turns = [(_on_workers(paths, 1), _on_workers(paths, 2)) for _ in range(max(1, rounds // 2))]
    two = [there.wall for _, there in turns]
    peaks = list(zip(*(alone.peaks for alone, _ in turns), strict=True))
    return [
        claim("one worker / two, 8 tiles", ratios([alone.wall for alone, _ in turns], two), "x", ">= 1.8"),
        claim("two workers, 8 tiles", two, "s"),
        claim("one worker's peak memory, 8 tiles", peaks[0], "MB", "<= 1000"),
        claim("one worker's peak memory, 16 tiles", peaks[1], "MB", "<= 1000"),
    ]


def _eight_tiles(folder: Path) -> list[Path]:
    layouts = list(tiles.LAYOUTS)
    return [tiles.tile(folder, layouts[n % 2], n) for n in range(8)]


def flight_lines(folder: Path, rounds: int) -> list[Claim]:
    """Long lines of both layouts: within the memory of a tile, and no chunk inflated twice."""
    claims = []
    for shape, chunks in (((13548, 854), (424, 27, 14)), ((3014, 1118), (3014, 1118, 1))):
        path = tiles.line(folder, shape, chunks)
        cost = _run_process(path, "--no-report")
        name = f"line {shape[0]} x {shape[1]} in {chunks}"
        claims += [claim(f"{name}, hsi-dask run", [cost.wall], "s"), claim(f"{name}, peak memory", [cost.peak], "MB")]
        with _prepared(path) as (work, _):
            claims.append(claim(f"{name}, bytes inflated / bytes in the file", [_inflated(path, work)], "x"))
    return claims


def export_maps(folder: Path, rounds: int) -> list[Claim]:
    """`hsi-dask export` of 36 tiles, 2 GB of maps, against copying its files; both end when all is on disk."""
    site, claims = tiles.site(folder, 6), []
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        run_dir, out, again = (os.path.join(scratch, name) for name in ("run", "gis", "again"))
        process("run", str(site), "--out", run_dir)  # with its report, and so with overviews
        for option in ("--no-compress", "--compress"):
            export = partial(process, "export", run_dir, "--out", out, option)
            export()
            exported, copied = [], []
            for _ in range(rounds):
                shutil.rmtree(out)
                shutil.rmtree(again, ignore_errors=True)  # the memory of both is free: the system need not find any
                exported.append(seconds(export))
                copied.append(seconds(partial(_copy, Path(out), Path(again))))
            megabytes = sum(file.stat().st_size for file in Path(out).iterdir()) / 1e6
            target = "<= 1.2" if option == "--no-compress" else ""
            claims += [
                claim(f"export {option} / copying its files", ratios(exported, copied), "x", target),
                claim(f"export {option}", exported, "s"),
                claim(f"copying its files, {megabytes:.0f} MB", copied, "s"),
                claim(f"export {option}, peak memory", [export().peak], "MB", "<= 1000"),
            ]
    return claims


def _copy(source: Path, target: Path) -> None:
    """Each file as a new one that is on disk at the end, as those of an export are."""
    target.mkdir(exist_ok=True)
    for file in source.iterdir():
        with file.open("rb") as stored, (target / ".part").open("wb") as copy:
            shutil.copyfileobj(stored, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
        (target / ".part").replace(target / file.name)


@contextmanager
def _prepared(
    path: Path, methods: tuple[str, ...] = ("fcls", "sam", "sid")
) -> Iterator[tuple[Callable[[], object], Callable[[], object]]]:
    """Mapping one tile and sampling it as functions: endmembers found, results there, only the tile to be done."""
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        config = RunConfig(tiles=[str(path)], methods=list(methods))
        run(config, scratch + "/run")
        (tile,) = make_plan([path], config).tiles
        job = Job(tile, scratch + "/run", config)
        drawn = replace(job, size=config.endmembers.sampled)
        yield (
            lambda: process_tile(job, THREADS, lambda fraction: None),
            lambda: sample_tile(drawn, THREADS, lambda fraction: None),
        )


def _inflated(path: Path, work: Callable[[], object]) -> float:
    """Stored bytes that the work inflates, as a share of the cube's."""
    counted: list[int] = []
    inflate = hdf5._inflate

    def count(data: bytes, room: NDArray[Any]) -> NDArray[np.uint8] | None:
        counted.append(len(data))
        return inflate(data, room)

    with patch.object(hdf5, "_inflate", count):
        work()
    cube = tiles.stored(path)
    index = hdf5._chunk_index(cube.path, cube.name, cube.mtime_ns, cube.file_size)
    return sum(counted) / sum(size for _, size, _ in index.where.values())


def _run_process(path: Path, *words: str, **environment: str):  # type: ignore[no-untyped-def]
    scratch = Path(tempfile.mkdtemp(dir=path.parent))
    try:
        return process("run", str(path), "--out", str(scratch / "run"), *words, **environment)
    finally:
        shutil.rmtree(scratch)


class _Turn(NamedTuple):
    wall: float
    peaks: tuple[float, float]  # MB, of the largest worker: after all tiles, and after all of them once more


def _on_workers(paths: list[Path], workers: int) -> _Turn:
    from distributed import Client, LocalCluster

    with (
        tempfile.TemporaryDirectory(dir=paths[0].parent) as scratch,
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.run(lambda: __import__("hsi_dask.batch.execution.tile"))
        processes = client.run(os.getpid).values()
        config = RunConfig(tiles=[str(path) for path in paths], mix=True)
        run(config, scratch + "/warm", client=client)  # compiled code is loaded, files are in memory
        first = max(map(peak, processes))
        shutil.rmtree(scratch + "/warm/records")
        wall = seconds(lambda: run(config, scratch + "/warm", client=client))
        return _Turn(wall, (first, max(map(peak, processes))))
