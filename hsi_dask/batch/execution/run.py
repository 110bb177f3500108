"""Carry out a plan: endmembers, then the pending tiles, a bounded number at a time; safe to stop and repeat."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from hsi_dask.batch.execution.dispatch import MEND, Workers, carry_out, raise_if_fatal
from hsi_dask.batch.execution.sampling import sample_site
from hsi_dask.batch.execution.scene import ensure_scene
from hsi_dask.batch.execution.tile import Job, process_tile
from hsi_dask.batch.observer import Observer
from hsi_dask.batch.state.lock import Part, turn
from hsi_dask.batch.state.manifest import MANIFEST, RECORDS, TileRecord
from hsi_dask.batch.state.opening import open_run_directory
from hsi_dask.batch.state.run_directory import Run, create_results, input_paths, kept_region
from hsi_dask.batch.state.scene import forget_search, kept_by_search, scene_thresholds
from hsi_dask.batch.tiles.mixture import words
from hsi_dask.batch.tiles.plan import Plan, Tile, free_bytes, with_checksums
from hsi_dask.batch.tiles.planning import make_plan
from hsi_dask.batch.tiles.search import find_tiles
from hsi_dask.config import RunConfig
from hsi_dask.errors import ConfigError, HsiDaskError, RunError, counted
from hsi_dask.io import endmember_store
from hsi_dask.limits import Limits
from hsi_dask.schema import ENDMEMBER, PIXEL

if TYPE_CHECKING:
    import xarray as xr
    from distributed import Client


@dataclass(frozen=True)
class RunSummary:
    """What a run came to.

    Attributes
    ----------
    done : tiles computed now
    skipped : tiles that an earlier run had done
    failed : tile -> one sentence
    pending : tiles not reached, because the run was stopped
    pixels : of all tiles that are done: how many are "valid", "no_data", and masked for every other reason; a pixel
        may have several
    """

    run_dir: Path
    results: Path
    endmembers: Path
    done: tuple[str, ...]
    skipped: tuple[str, ...]
    failed: dict[str, str]
    pending: tuple[str, ...]
    seconds: float
    pixels: dict[str, int] = field(default_factory=dict)


class Interrupted(KeyboardInterrupt):
    """The run was stopped by a signal; everything recorded is safe. Its message says how to go on."""

    def __init__(self, summary: RunSummary, part: Part | None = None) -> None:
        finished, total = len(summary.done) + len(summary.skipped), len(summary.pending) + len(summary.failed)
        tiles, same = ("tiles", "") if part is None else (f"tiles of part {part}", f" --part {part}")
        super().__init__(
            f"stopped with {finished} of {finished + total} {tiles} done; "
            f"run again with --out {summary.run_dir}{same} to go on"
        )
        self.summary = summary


def run(
    config: RunConfig,
    run_dir: str | os.PathLike[str],
    *,
    client: Client | None = None,
    observer: Observer | None = None,
    part: Part | tuple[int, int] | None = None,
    limits: Limits | None = None,
    same_content: bool = False,
    progress: bool | None = None,
) -> RunSummary:
    """Map the materials of all tiles of a configuration, or go on where an earlier run stopped.

    Parameters
    ----------
    config : RunConfig
        With `tiles`; without, those of the run that `run_dir` holds.
    run_dir : path
        Everything is written here, nothing elsewhere. A run that is repeated does only what is missing.
    client : distributed.Client, optional
        Tiles go to its workers, which need to see the input files and `run_dir` under the same paths. None: one
        tile after another in this process, on all cores.
    observer : Observer, optional
        Hears about progress, in place of what `progress` shows.
    part : (i, n), optional
        Only the i-th of n shares of the tiles: every n-th by name, counted from 1. Parts may run at the same time on
        machines that know of each other only by the file system. The first to come makes the run and finds the
        endmembers, the others wait for it. A whole run beside parts is refused, as are parts of another n.
    limits : Limits, optional
        How long to wait for workers, and for a tile in which nothing moves; a cluster's are `ClusterConfig.limits`.
    same_content : bool
        Input files may have other times than when the run began, as after copying: tiles that were done are mapped once
        more, and fail unless the checksums of their maps are those on record.
    progress : bool, optional
        Whether to show how far it is. None: on a terminal and in a notebook; True: in lines on any other stderr, too.

    Returns
    -------
    RunSummary
        Of a part: about its own tiles.

    Raises
    ------
    ConfigError, GridError, FileFormatError, EndmemberError
        The request cannot be carried out; nothing was computed.
    RunError
        `run_dir` is in use, holds something else or a run with other settings or inputs; or it cannot be written any
        more, for want of space or permission.
    ClusterError
        Workers are lost for good.
    Interrupted
        Ctrl-C or SIGTERM; or SIGUSR1, after which the tiles in work are finished and no more begun. Everything recorded
        is safe; call again to go on.

    Examples
    --------
    >>> import tempfile
    >>> from hsi_dask.synthetic import simulate_site
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     site = simulate_site(folder, tiles=(1, 2), size=40)
    ...     summary = run(RunConfig(tiles=[folder]), f"{folder}/run")
    >>> summary.done
    ('368000_4306000', '368040_4306000')
    """
    from hsi_dask.progress import shown

    if not isinstance(config, RunConfig):
        raise ConfigError(
            f"a run is of a RunConfig, not of {type(config).__name__}; give hsi.RunConfig(tiles=[...]), or "
            f"hsi.RunConfig.from_yaml(file)"
        )
    with shown(progress, observer) as told:
        return _run(config, run_dir, Workers(client, told, limits or Limits()), part, same_content=same_content)


def _run(
    config: RunConfig,
    run_dir: str | os.PathLike[str],
    workers: Workers,
    part: Part | tuple[int, int] | None,
    *,
    same_content: bool,
) -> RunSummary:
    started = time.perf_counter()
    part = Part(*part) if isinstance(part, tuple) else part
    kept = kept_region(run_dir, config)
    plan = make_plan(_paths(config, Path(run_dir)), config, kept_region=kept, run_dir=run_dir)
    with _terminable():
        plan = _with_checksums(plan, Path(run_dir), workers.observer)
    with (
        _terminable(),
        _warned() as warned,
        open_run_directory(run_dir, plan, part, same_content=same_content) as (state, placed),
        _writing(state),
    ):
        outcome = _carry_out(state, placed, workers, part, warned)
        summary = replace(outcome, seconds=time.perf_counter() - started)
    if outcome.pending:
        raise Interrupted(summary, part)
    return summary


def _paths(config: RunConfig, run_dir: Path) -> list[Path]:
    if not config.tiles and (run_dir / MANIFEST).is_file():
        return input_paths(Run.open(run_dir).require_current())
    return find_tiles(config.tiles)


def _with_checksums(plan: Plan, run_dir: Path, observer: Observer) -> Plan:
    """The plan with checksums of input files, where they are asked for and the run is new."""
    if not plan.config.checksums or (run_dir / MANIFEST).exists():
        return plan
    observer.message(f"checksums of all input files, {sum(tile.file_size for tile in plan.tiles) / 1e9:.3g} GB")
    observer.stage("checksums")
    return with_checksums(plan, lambda share: observer.tile_advanced("", share))


def _carry_out(
    state: Run,
    whole: Plan,
    workers: Workers,
    part: Part | None,
    warned: Callable[[], bool],
) -> RunSummary:
    observer = workers.observer
    plan = whole if part is None else state.share(whole, part)
    own = {tile.id for tile in plan.tiles} | {tile.id for tile in plan.bad}
    skipped = [tile for tile in state.done() if tile in own or part is None] if state.endmembers.exists() else []
    todo = [tile for tile in plan.tiles if tile.id not in set(skipped)]
    _require_room(state, whole, todo, workers.client)
    observer.planned(plan, todo, skipped)
    done: list[str] = []
    failed = _settle_bad_tiles(state, plan, skipped, observer)
    interrupted = False
    try:
        for note in filter(None, (words(whole.contents), *whole.notes)):
            observer.message(note)
        if todo or part is None:
            with _turn(state, part, observer):
                _ensure_endmembers(state, whole, workers)
                ensure_scene(state, whole, workers)
                _ensure_results(state)
        observer.stage("mapping")
        jobs = [Job(tile, str(state.path.absolute()), plan.config, region=plan.region) for tile in todo]
        outcomes = carry_out(process_tile, jobs, workers, should_stop=warned)
        try:
            for job, outcome in outcomes:
                if isinstance(outcome, TileRecord):
                    done.append(job.tile.id)
                    observer.tile_done(outcome)
                    continue
                _require_results(state)
                raise_if_fatal(outcome)
                _fail(state, job.tile.id, job.tile.path, outcome.reason, failed, observer)
        finally:
            outcomes.close()  # type: ignore[attr-defined]  # a generator: drops what is in flight
    except KeyboardInterrupt:
        interrupted = True
    settled = {*skipped, *done, *failed}
    stopped = interrupted or warned()
    pending = tuple(tile.id for tile in todo if tile.id not in settled) if stopped else ()
    return RunSummary(
        run_dir=state.path,
        results=state.results,
        endmembers=state.endmembers,
        done=tuple(done),
        skipped=tuple(skipped),
        failed=failed,
        pending=pending,
        seconds=0.0,
        pixels=_pixels(state, {*skipped, *done}),
    )


def _pixels(state: Run, tiles: set[str]) -> dict[str, int]:
    """Counts by reason over these tiles' records."""
    counts: Counter[str] = Counter()
    for record in map(state.record, sorted(tiles)):
        counts.update(record.pixels if record else {})
    return dict(counts)


@contextmanager
def _writing(state: Run) -> Iterator[None]:
    """What the run directory refuses to take, in one sentence; tiles' own troubles never get here."""
    try:
        yield
    except OSError as error:
        if isinstance(error, HsiDaskError) or error.errno is None:
            raise
        where = error.filename or state.path
        raise RunError(f"{where}: {error.strerror}; finished tiles are safe, {MEND}") from error


def _turn(state: Run, part: Part | None, observer: Observer) -> AbstractContextManager[None]:
    """One part at a time makes what all of them need, and only the first has to."""
    if part is None:
        return nullcontext()
    return turn(state.path, part, lambda: state.endmembers.exists() and state.results.exists(), observer.message)


def _fail(state: Run, tile: str, path: str, reason: str, failed: dict[str, str], observer: Observer) -> None:
    state.fail(tile, path, reason)
    failed[tile] = reason
    observer.tile_failed(tile, reason)


def _settle_bad_tiles(state: Run, plan: Plan, done: Sequence[str], observer: Observer) -> dict[str, str]:
    """Note the files that cannot be read, and forget the notes of those that now can."""
    failed: dict[str, str] = {}
    for tile in plan.bad:
        if tile.id not in done:
            _fail(state, tile.id, tile.path, tile.reason, failed, observer)
    readable = {tile.path: tile.id for tile in plan.tiles}
    for before in state.manifest.tiles:
        if not before.readable and readable.get(before.path, before.id) != before.id:
            state.forget_failure(before.id)  # its name said nothing; now it goes by its place
    return failed


def _require_room(state: Run, plan: Plan, todo: Sequence[Tile], client: Client | None) -> None:
    """Refuse before anything starts what would end for want of disk or memory."""
    needed, free = sum(map(plan.output_bytes, todo)), free_bytes(state.path)
    if needed > free:
        raise RunError(
            f"{state.path} has {free / 1e9:.1f} GB free, the results need about {needed / 1e9:.1f} GB; make room"
        )
    planes = 0 if state.endmembers.exists() else plan.search_bytes - kept_by_search(state.path)
    if planes > free:  # they are gone before the first map is written
        raise RunError(
            f"{state.path} has {free / 1e9:.1f} GB free; looking at every pixel (endmembers.sample: all) keeps "
            f"{planes / 1e9:.1f} GB there until endmembers are found; make room, or sample a number of pixels"
        )
    if client is None:
        return
    for name, threads, limit in client.run_on_scheduler(_workers):
        if limit and (projected := plan.memory(threads)) > limit:
            raise RunError(
                f"a tile needs about {projected / 2**30:.1f} GiB with {counted(threads, 'thread')}, worker {name} "
                f"may use {limit / 2**30:.1f} GiB; give workers more memory or fewer threads"
            )


def _workers(dask_scheduler: Any) -> list[tuple[str, int, int]]:
    """Name, threads and memory limit of every worker; runs on the scheduler."""
    return [(str(w.name), w.nthreads, w.memory_limit) for w in dask_scheduler.workers.values()]


# ------------------------------------------------------------------------------------------------ endmembers


def _ensure_endmembers(state: Run, plan: Plan, workers: Workers) -> None:
    """Find the run's endmembers once, or take those given; they are reused by every later start."""
    if state.endmembers.exists():
        forget_search(state.path)
        stored = endmember_store.endmembers_digest(endmember_store.read_endmembers(state.endmembers))
        if plan.spectra is not None and endmember_store.endmembers_digest(plan.spectra) != stored:
            file = plan.config.endmembers.file
            raise RunError(f"{file} holds other spectra than when the run began; restore it, or start a new run")
        return
    if plan.spectra is not None:
        workers.observer.message(
            f"taking {counted(plan.spectra.sizes[ENDMEMBER], 'endmember')} from {plan.config.endmembers.file}"
        )
        endmember_store.write_endmembers(state.endmembers, plan.spectra)
        return
    from hsi_dask.kernels.compiled import compilations_told  # slow to import: only a new run needs it

    with compilations_told(partial(workers.observer.compiling, "")):
        endmember_store.write_endmembers(state.endmembers, _found_endmembers(state, plan, workers))
    forget_search(state.path)


def _found_endmembers(state: Run, plan: Plan, workers: Workers) -> xr.DataArray:
    """The endmembers of a sample of the run's tiles."""
    from hsi_dask.ops.counting import stable_count
    from hsi_dask.ops.endmembers import find_endmembers

    wanted, observer = plan.config.endmembers, workers.observer
    observer.stage("sampling")
    observer.message(f"sampling pixels of {plan.sampled} of {counted(len(plan.tiles), 'tile')}")
    started = time.perf_counter()
    pixels = _sampled(state, plan, workers)
    seconds = time.perf_counter() - started
    observer.stage("endmembers")
    sampled = len(set(pixels["tile"].values.tolist()))
    tiles = counted(len(plan.tiles), "tile")
    told = f"{pixels.sizes[PIXEL]} pixels of {sampled} of {tiles}, sampled in {seconds:.1f} s"
    how = {"method": wanted.method, "robust": wanted.robust, "seed": wanted.seed, **plan.config.extractor_options}
    count = wanted.count
    if count == "auto":
        observer.message(f"looking how many endmembers come back, up to {wanted.most}, among {told}")
        count = int(stable_count(pixels, wanted.most, **how)["count"])
        observer.message(f"{count} come back from either half of the sample: so many endmembers are looked for")
    observer.message(f"finding {counted(count, 'endmember')} among {told}")
    endmembers = find_endmembers(pixels, count, **how)
    if wanted.sample == "all":
        from hsi_dask.batch.execution.vertices import search_site

        endmembers = search_site(state, plan, workers, pixels, endmembers)
        observer.message(endmembers.attrs["certificate"])
    return endmembers


def _sampled(state: Run, plan: Plan, workers: Workers) -> xr.DataArray:
    """Pixels to find endmembers in; where every pixel is looked at later, tiles are read once for both."""
    if plan.config.endmembers.sample != "all":
        return sample_site(plan, state.path, workers)
    from hsi_dask.batch.execution.vertices import sample_and_project

    return sample_and_project(state, plan, workers)


def _ensure_results(state: Run) -> None:
    if state.results.exists() or state.recorded():
        _require_results(state)
        return
    endmembers = endmember_store.read_endmembers(state.endmembers)
    create_results(state.results, state.manifest, endmembers, scene_thresholds(state.path, state.config))


def _require_results(state: Run) -> None:
    """Refuse to go on without the results store: records would be of maps that are gone."""
    if not (state.results / "zarr.json").is_file():
        raise RunError(
            f"{state.results} is gone, finished tiles with it; put it back, or remove {state.path / RECORDS} to "
            "compute all anew, and run again"
        )


@contextmanager
def _handled(number: int, handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle a signal, unless the calling program has a handler of its own, or this is not its main thread."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(number) is not signal.SIG_DFL:
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def _terminable() -> AbstractContextManager[None]:
    """SIGTERM ends a run as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    return _handled(signal.SIGTERM, stop)


@contextmanager
def _warned() -> Iterator[Callable[[], bool]]:
    """Whether SIGUSR1 has come, which warns of the wall time: finish what is in work, begin no more."""
    warned = threading.Event()
    with _handled(signal.SIGUSR1, lambda number, frame: warned.set()):
        yield warned.is_set
