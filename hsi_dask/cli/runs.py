"""What verbs that run have in common: settings from flags, the run itself, its summary and report."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hsi_dask.cli.app import sentence
from hsi_dask.cli.output import bytes_text, print_rows
from hsi_dask.cli.progress import drawing_progress, overviews_progress, run_observer
from hsi_dask.errors import ConfigError, counted
from hsi_dask.escaping import visible

if TYPE_CHECKING:
    from hsi_dask.batch.execution.run import RunSummary
    from hsi_dask.cluster import ClusterConfig
    from hsi_dask.config import RunConfig


def settings_of(tiles: Sequence[str], out: Path, file: Path | None) -> RunConfig:
    """The settings in a file, of the run that goes on, or the defaults, for these tiles."""
    from hsi_dask.batch.state.manifest import MANIFEST
    from hsi_dask.batch.state.run_directory import Run
    from hsi_dask.config import RunConfig
    from hsi_dask.io.endmember_store import ENDMEMBERS

    if file is not None:
        settings = RunConfig.from_yaml(file)
    elif (out / MANIFEST).is_file() and (not tiles or (out / ENDMEMBERS).exists()):
        # what is not said is as it was; tiles are those of its manifest
        settings = Run.open(out).require_current().config.replace(tiles=())
    else:
        settings = RunConfig()
    if tiles:
        settings = settings.replace(tiles=tuple(tiles))
    if not settings.tiles and not (out / MANIFEST).is_file():
        raise ConfigError("no tiles; give files, folders or patterns, or a --config that names them")
    return settings


def carry_out_run(
    settings: RunConfig, out: Path, cluster: Path | None, part: str | None = None, *, same_content: bool = False
) -> RunSummary:
    from hsi_dask.batch.execution.run import run as carry_out
    from hsi_dask.batch.execution.tile import share_heap
    from hsi_dask.batch.state.lock import Part

    share = None if part is None else Part.parse(part)
    if cluster is None:
        share_heap()
        with run_observer() as observer:
            return carry_out(settings, out, observer=observer, part=share, same_content=same_content)
    from hsi_dask.cluster import ClusterConfig, connect

    place = ClusterConfig.from_yaml(cluster)
    require_memory(place, settings, out)
    with run_observer() as observer, contextlib.ExitStack() as stack:
        observer.message(f"getting workers ({cluster})")
        with _warning_ends():
            client = stack.enter_context(connect(place))
        return carry_out(
            settings, out, client=client, observer=observer, part=share, limits=place.limits, same_content=same_content
        )


@contextlib.contextmanager
def _warning_ends() -> Iterator[None]:
    """SIGUSR1, the warning before a wall time, ends a wait for workers: they would come too late."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def require_memory(place: ClusterConfig, settings: RunConfig, out: Path) -> None:
    """Refuse workers that are too small for the largest tile, before any job is submitted for them."""
    from hsi_dask.batch.state.run_directory import Run, input_paths
    from hsi_dask.batch.tiles.planning import make_plan
    from hsi_dask.batch.tiles.search import find_tiles
    from hsi_dask.io.readers import identity

    paths = find_tiles(settings.tiles) if settings.tiles else input_paths(Run.open(out))
    if (size := place.worker_size()) is None or not (present := [path for path in paths if path.exists()]):
        return
    threads, limit = size
    anywhere = {"bounds": None, "bounds_crs": None, "region": None}  # which changes no block's size
    whole = settings.replace(area=anywhere, year=None, visit=None)
    plan = make_plan([max(present, key=lambda path: identity(str(path))[0])], whole)
    if plan.tiles and (needed := plan.memory(threads)) > limit:
        raise ConfigError(
            f"a tile needs about {bytes_text(needed)} with {counted(threads, 'thread')}, a worker has "
            f"{bytes_text(limit)}; give workers more memory or fewer threads ({bytes_text(plan.memory(1))} with one)"
        )


def show_summary(summary: RunSummary) -> None:
    finished = len(summary.done) + len(summary.skipped)
    total = finished + len(summary.failed)
    before = f" ({len(summary.skipped)} before)" if summary.skipped else ""
    failed = f", {len(summary.failed)} failed" if summary.failed else ""
    print(f"{finished} of {counted(total, 'tile')} done{before}{failed}, in {summary.seconds:.1f} s")
    for tile, reason in summary.failed.items():
        print(f"failed  {tile}: {visible(reason)}")
    if summary.failed:
        print(f"again   hsi-dask run --out {summary.run_dir}    tries the failed ones once more")
    if summary.pixels:
        print("pixels  " + ", ".join(f"{n:,} {reason.replace('_', ' ')}" for reason, n in summary.pixels.items()))
    if finished:
        print_rows({
            "maps": str(summary.results),
            "spectra": str(summary.endmembers),
            "open": f'python -c "import hsi_dask as hsi; print(hsi.open_results({str(summary.run_dir)!r}))"',
        })  # fmt: skip


def draw_report(summary: RunSummary) -> Path | None:
    """The run's report, once no tile is pending; a run is none the worse for a page that cannot be drawn."""
    import logging

    from hsi_dask.batch.state.run_directory import Run
    from hsi_dask.show.report import REPORT, report

    page, run = summary.run_dir / REPORT, Run.open(summary.run_dir)
    if run.pending() or not run.done():
        return None
    try:
        if summary.done or summary.failed or not page.is_file():
            with overviews_progress() as advanced, drawing_progress() as drawn:
                report(summary.run_dir, advanced=advanced, drawn=drawn)
    except Exception as error:
        logger = logging.getLogger(__name__)
        logger.warning("the report was not drawn: %s", sentence(error))
        logger.debug("where:", exc_info=True)
        return None
    print(f"report   {page}")
    return page
