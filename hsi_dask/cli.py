"""The command line: each verb parses, calls one function and shows what came of it. Nothing else prints or exits.

Results go to stdout, progress and logs to stderr. Exit codes: 0 done; 1 some tile failed, or a check found something;
2 the request was wrong or could not be carried out, with one line that says why.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

# Everything else is imported by the verb that needs it: --help answers at once
from hsi_dask.errors import ConfigError, HsiDaskError, RunError

if TYPE_CHECKING:
    from hsi_dask.batch.execute import Observer, RunSummary
    from hsi_dask.batch.tile import Advanced
    from hsi_dask.cluster import ClusterConfig
    from hsi_dask.config import RunConfig
    from hsi_dask.io.neon import NeonFile
    from hsi_dask.synthetic import Agreement, Scene

DONE, FOUND, WRONG = 0, 1, 2
INTERRUPTED, TERMINATED, PIPE_CLOSED = (128 + int(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE))
DRAINED = 128 + int(signal.SIGUSR1)  # warned of the wall time: what was in work is finished

# The demo's site: small enough for a minute on two cores, compilation included, large enough to look at
DEMO_TILE = 250
# Light varies by 15 %: abundances that sum to one read shade as some of the darkest material
DEMO_SITE: dict[str, Any] = {"seed": 0, "no_data": 0.02, "illumination": (0.9, 1.05)}
# As in NEON's files, single pixels are wildly bright at the short end; N-FINDR looks for extremes and would find them
DEMO_WINDOWS = ((350.0, 400.0), (1340.0, 1445.0), (1790.0, 1955.0))

_COLLECT_AFTER = 50_000  # new objects; Python's own is hundreds
_TILE = "hsi-dask tile"  # the thread of a tile (batch.dispatch.THREAD): at the end it is in a read that never returns

app = typer.Typer(
    name="hsi-dask", add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Material maps from NEON imaging-spectrometer tiles: endmembers, abundances, classes.",
)  # fmt: skip

Tiles = Annotated[list[str], typer.Argument(metavar="TILE...", help="Reflectance files, folders of them, or patterns.")]
RunDir = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="What `run --out` wrote.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Carry out a command line and exit."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    # The libraries' objects stay to the end: looked through while they are imported, and once more at the exit, they
    # cost a sixth of the time of a tile
    gc.set_threshold(_COLLECT_AFTER)
    atexit.register(gc.freeze)
    code = _guarded(words)
    if any(thread.name == _TILE for thread in threading.enumerate()):  # it and its like would be waited for
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _guarded(words: list[str]) -> int:
    """The exit code of a command line; whatever goes wrong is one line on stderr."""
    debug = "--debug" in words
    with _logs(debug), _signals() as received:
        try:
            code = _dispatched(words)
            sys.stdout.flush()
            return code
        except KeyboardInterrupt as error:
            _complain(str(error) or "stopped; give the same command again to go on")
            came = received()
            codes = {signal.SIGTERM: TERMINATED, signal.SIGINT: INTERRUPTED, signal.SIGUSR1: DRAINED}
            return next((code for kind, code in codes.items() if kind in came), INTERRUPTED)
        except BrokenPipeError:  # `hsi-dask ... | head`: the reader has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return PIPE_CLOSED
        except Exception as error:
            if debug:
                traceback.print_exc()
            _complain(f"error: {_sentence(error)}")
            return WRONG


def _dispatched(words: list[str]) -> int:
    command = typer.main.get_command(app)
    words = sorted(words, key=lambda word: word != "--debug")  # it may stand anywhere
    try:  # not command.main(), which would end the process by itself on Ctrl-C
        with command.make_context("hsi-dask", words) as context:
            return int(command.invoke(context) or DONE)
    except typer.Exit as end:  # --help and --version
        return int(end.exit_code)


def _sentence(error: Exception) -> str:
    if isinstance(error, HsiDaskError):
        return str(error)
    # typer's usage errors have no public base class, but all say what was wrong in this way
    if (usage := getattr(error, "format_message", None)) is not None:
        command = getattr(getattr(error, "ctx", None), "command_path", "hsi-dask")
        return f"{str(usage()).rstrip('.')}; see {command} --help"
    return f"{type(error).__name__}: {error}; this is a bug: `hsi-dask --debug ...` shows where"


def _complain(sentence: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        print(" ".join(sentence.split()), file=sys.stderr, flush=True)


@contextlib.contextmanager
def _signals() -> Iterator[Any]:
    """SIGTERM ends as Ctrl-C does, in order; a second signal of either kind ends at once.

    Yields a function that tells which signals came. Whoever handles a signal inside, its number also goes into a
    pipe: so the exit code can say which one it was.
    """

    def stop(number: int, frame: object) -> None:
        for kind in (signal.SIGINT, signal.SIGTERM):
            signal.signal(kind, signal.SIG_DFL)
        raise KeyboardInterrupt

    source, sink = os.pipe()
    os.set_blocking(source, False)
    os.set_blocking(sink, False)
    handlers = {kind: signal.signal(kind, stop) for kind in (signal.SIGINT, signal.SIGTERM)}
    wakeup = signal.set_wakeup_fd(sink, warn_on_full_buffer=False)
    try:
        yield lambda: _arrived(source)
    finally:
        signal.set_wakeup_fd(wakeup)
        for kind, handler in handlers.items():
            signal.signal(kind, handler)
        os.close(source)
        os.close(sink)


def _arrived(source: int) -> set[int]:
    with contextlib.suppress(BlockingIOError):  # nothing came
        return set(os.read(source, 512))
    return set()


@contextlib.contextmanager
def _logs(debug: bool) -> Iterator[None]:
    """Our own log lines go to stderr, warnings and worse unless debugging; those of libraries are their affair."""
    import logging

    handler, ours = logging.StreamHandler(sys.stderr), logging.getLogger("hsi_dask")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    before = ours.handlers, ours.level
    ours.handlers = [handler]
    ours.setLevel(logging.DEBUG if debug else logging.WARNING)
    try:
        yield
    finally:
        ours.handlers = before[0]
        ours.setLevel(before[1])


def _version(asked: bool) -> None:
    if asked:
        from hsi_dask import __version__

        print(f"hsi-dask {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from, and every log line.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


# ---------------------------------------------------------------------------------------------------- demo


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="A new folder, or an earlier demo's.")] = Path(
        "hsi-dask-demo"
    ),
) -> int:
    """Simulate a small site, map it, compare with the truth.

    Four NEON tiles of both chunk layouts go through the same steps as real ones.
    """
    from hsi_dask.config import RunConfig
    from hsi_dask.synthetic import MATERIALS

    scene = _demo_scene(folder)
    settings = RunConfig(
        tiles=(str(folder / "tiles"),), endmembers={"count": len(MATERIALS)}, bands={"windows": DEMO_WINDOWS}
    )
    summary = _carry_out(settings, folder / "run", None)
    _show_summary(summary)
    page = _draw(summary)
    if summary.failed:
        return FOUND
    _show_agreement(scene, summary)
    west, north = scene.x[0] - 0.5, scene.y[0] + 0.5
    print(f"\nlook    {page or 'hsi-dask report ' + str(summary.run_dir)}: in a browser")
    print(f"        {summary.results}: in QGIS, Layer > Add Layer > Add Raster Layer, type Zarr (GDAL 3.11 or later)")
    print(f"        the site's north-west corner is {west:.0f} E, {north:.0f} N, UTM zone 18 north")
    print(f"check   hsi-dask verify {summary.run_dir}")
    return DONE


def _demo_scene(folder: Path) -> Scene:
    """The demo's scene, and its tiles in the folder; tiles of an earlier demo are kept, for its run is of them."""
    from hsi_dask.synthetic import simulate_scene, simulate_site

    held = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if (folder.exists() and not folder.is_dir()) or held - {"tiles", "run"}:
        what = f"holds other things ({', '.join(sorted(held)[:3])})" if held else "is a file"
        raise RunError(f"{folder} {what}; give a new folder, as in `hsi-dask demo DIR`")
    if len(list((folder / "tiles").glob("*.h5"))) == 4:
        return simulate_scene((2 * DEMO_TILE, 2 * DEMO_TILE), **DEMO_SITE)
    _complain(f"simulating a site of 4 tiles in {folder / 'tiles'}")
    try:
        return simulate_site(folder / "tiles", tiles=(2, 2), size=DEMO_TILE, **DEMO_SITE).scene
    except OSError as error:
        raise RunError(f"{folder} cannot be written ({error.strerror or error}); give another folder") from error


_LEGEND = """\
angle: between the found and the true spectrum; single pixels of dark water drown in the simulated noise
abundance: root mean square error of all pixels; light varies, and abundances have to sum to one
right: of the pixels that are 90 % or more of the material, those of its class"""


def _show_agreement(scene: Scene, summary: RunSummary) -> None:
    from hsi_dask.io.store import open_endmembers, open_results
    from hsi_dask.synthetic import compare_with_truth

    maps = open_results(summary.run_dir, chunks=None)
    found = compare_with_truth(open_endmembers(summary.run_dir), maps, scene)
    print(f"\nfound against simulated, {maps.sizes['y']} x {maps.sizes['x']} pixels:")
    table = _table("material", "endmember", "angle (degrees)", "abundance", "SAM right", "SID right")
    for row in _agreement_rows(found):
        table.add_row(*row)
    _show(table)
    print(_LEGEND)


def _agreement_rows(found: Agreement) -> Iterator[tuple[str, ...]]:
    import numpy as np

    for n, name in enumerate(found.names):
        yield (
            name, str(found.found[n] or "none"), f"{np.degrees(found.angle[n]):.2f}", f"{found.abundance_rmse[n]:.3f}",
            *(f"{found.classes[kind][n]:.1%}" for kind in ("sam_class", "sid_class")),
        )  # fmt: skip


# ---------------------------------------------------------------------------------------------------- info


@app.command()
def info(tiles: Tiles) -> int:
    """What is in the files.

    Site, revision, shape, wavelengths, CRS, stored chunks, no-data share. Reads metadata, and for the no-data share one
    plane at a wavelength outside the water-vapour windows.
    """
    from concurrent.futures import ThreadPoolExecutor

    from hsi_dask.batch.plan import find_tiles

    paths = find_tiles(tiles)
    with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as pool:
        looked = list(pool.map(_look, paths))
    good = [(file, share) for file, share in looked if not isinstance(file, Exception)]
    if len(paths) == 1 and good:
        _show_file(*good[0])
    elif good:
        _show_files(good)
    for file, _ in looked:
        if isinstance(file, Exception):
            _complain(f"error: {file}")
    return FOUND if len(good) < len(looked) else DONE


def _look(path: Path) -> tuple[Any, str]:
    """A file's metadata and its no-data share as text; or the error that says why not."""
    import numpy as np

    from hsi_dask.io.neon import read_metadata

    try:
        file = read_metadata(path)
        if file.fill_value is None:
            return file, "-"
        good = np.flatnonzero(file.good_wavelength)
        near = int(good[np.abs(file.wavelength[good] - 860).argmin()])  # nm: far from every absorption of air
        return file, f"{(file.reflectance[:, :, near] == file.fill_value).mean():.1%}"
    except (HsiDaskError, OSError) as error:
        return error, ""


def _show_file(file: NeonFile, share: str) -> None:
    import numpy as np

    from hsi_dask.io import hdf5

    west, south, east, north = file.bounds
    block, bands = hdf5.block_shape(file.reflectance), file.wavelength
    widths = (
        f"{np.nanmin(file.fwhm):.1f} to {np.nanmax(file.fwhm):.1f} nm" if np.isfinite(file.fwhm).any() else "unknown"
    )
    windows = ", ".join(f"{low:g} to {high:g}" for low, high in file.windows)
    rows = {
        "site": f"{file.site}, {file.product} ({'inferred from the layout' if file.product_inferred else file.level})",
        "pixels": f"{file.shape[0]} x {file.shape[1]} (y, x) of {file.resolution[0]:g} m, {share} no data",
        "wavelengths": f"{bands.size}, {bands[0]:.1f} to {bands[-1]:.1f} nm, FWHM {widths}",
        "windows": f"{windows} nm ({'from the file' if file.own_windows else 'not in the file: assumed'})",
        "CRS": f"EPSG:{file.epsg}",
        "bounds": f"{west:.10g} to {east:.10g} E, {south:.10g} to {north:.10g} N",
        "stored": f"{file.reflectance.dtype} in chunks of {_times(file.reflectance.stored_chunks)} (y, x, wavelength)",
        "blocks": f"{_times(block)}",
        "size": _bytes(file.file_size),
        "acquired": ", ".join(file.dates) or "unknown",
        "layers": ", ".join(file.layer_names) or "none",
    }
    print(file.path)
    _rows({f"  {key}": value for key, value in rows.items()} | {f"  note {n}": t for n, t in enumerate(file.notes, 1)})


def _show_files(files: list[tuple[NeonFile, str]]) -> None:
    table = _table("product", "pixels", "wavelengths, nm", "EPSG", "chunks", "no data", "size", "file")
    for file, share in files:
        table.add_row(
            file.product, _times(file.shape[:2]), f"{file.wavelength.size}, {file.wavelength[0]:.1f} on",
            str(file.epsg), _times(file.reflectance.stored_chunks), share, _bytes(file.file_size),
            os.path.basename(file.path),
        )  # fmt: skip
    _show(table)


# ---------------------------------------------------------------------------------------------------- run


@app.command()
def run(
    out: Annotated[Path, typer.Option("--out", metavar="RUN_DIR", help="Everything is written here.")],
    tiles: Annotated[
        list[str] | None, typer.Argument(metavar="TILE...", help="Reflectance files, folders of them, or patterns.")
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="What to compute; see `hsi-dask config`.")] = None,
    count: Annotated[int | None, typer.Option(metavar="N", help="How many endmembers (4).")] = None,
    endmembers: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Given spectra: an earlier run, endmembers.zarr, .csv or ENVI .sli."),
    ] = None,
    cluster: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to compute; see cluster_configs.")] = None,
    part: Annotated[
        str | None, typer.Option(metavar="I/N", help="Only this share of the tiles; others run beside it.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and stop.")] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Draw no page of pictures at the end.")] = False,
) -> int:
    """Map the materials of all tiles, or resume.

    Repeated, a run goes on where it stopped; then --out is all it needs.
    """
    settings = _given(_settings(tiles or [], out, config, count), count, endmembers)
    if dry_run:
        return _show_plan(settings, out)
    summary = _carry_out(settings, out, cluster, part)
    _show_summary(summary)
    if not no_report:
        _draw(summary)
    return FOUND if summary.failed else DONE


def _given(settings: RunConfig, count: int | None, endmembers: Path | None) -> RunConfig:
    """The settings with endmembers that are given, not found."""
    if endmembers is None:
        return settings
    if count is not None:
        raise ConfigError(f"--count {count} is for endmembers that are found; leave it out with --endmembers")
    return settings.replace(endmembers={"file": str(endmembers)})


def _settings(tiles: Sequence[str], out: Path, file: Path | None, count: int | None) -> RunConfig:
    from hsi_dask.batch.state import MANIFEST, Run
    from hsi_dask.config import RunConfig

    if file is not None:
        settings = RunConfig.from_yaml(file)
    elif not tiles and (out / MANIFEST).is_file():
        settings = Run.open(out).config.replace(tiles=())  # the tiles of its manifest
    else:
        settings = RunConfig()
    if tiles:
        settings = settings.replace(tiles=tuple(tiles))
    if not settings.tiles and not (out / MANIFEST).is_file():
        raise ConfigError("no tiles; give files, folders or patterns, or a --config that names them")
    return settings if count is None else settings.replace(endmembers={"count": count})


def _carry_out(settings: RunConfig, out: Path, cluster: Path | None, part: str | None = None) -> RunSummary:
    from hsi_dask.batch.execute import run as carry_out
    from hsi_dask.batch.lock import Part

    share = None if part is None else Part.parse(part)
    if cluster is None:
        with _observer() as observer:
            return carry_out(settings, out, observer=observer, part=share)
    from hsi_dask.cluster import ClusterConfig, connect

    place = ClusterConfig.from_yaml(cluster)
    _require_memory(place, settings, out)
    with _observer() as observer, contextlib.ExitStack() as stack:
        observer.message(f"getting workers ({cluster})")
        with _warning_ends():
            client = stack.enter_context(connect(place))
        return carry_out(settings, out, client=client, observer=observer, part=share)


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


def _require_memory(place: ClusterConfig, settings: RunConfig, out: Path) -> None:
    """Refuse workers that are too small for the largest tile, before any job is submitted for them."""
    from hsi_dask.batch.plan import find_tiles, make_plan
    from hsi_dask.batch.state import Run

    paths = find_tiles(settings.tiles) if settings.tiles else [Path(t.path) for t in Run.open(out).manifest.tiles]
    if (size := place.worker_size()) is None or not (present := [path for path in paths if path.is_file()]):
        return
    threads, limit = size
    plan = make_plan([max(present, key=os.path.getsize)], settings)
    if plan.tiles and (needed := plan.memory(threads)) > limit:
        raise ConfigError(
            f"a tile needs about {_bytes(needed)} with {threads} threads, a worker has {_bytes(limit)}; give workers "
            f"more memory or fewer threads ({_bytes(plan.memory(1))} with one)"
        )


def _show_plan(settings: RunConfig, out: Path) -> int:
    from dask.system import CPU_COUNT

    from hsi_dask.batch.plan import find_tiles, free_bytes, make_plan
    from hsi_dask.batch.state import MANIFEST, Run

    before = Run.open(out) if (out / MANIFEST).is_file() else None
    paths = find_tiles(settings.tiles) if settings.tiles or before is None else [t.path for t in before.manifest.tiles]
    plan = make_plan(paths, settings)
    done = len(before.done()) if before else 0
    (rows, columns), (tall, wide) = plan.grid.shape, plan.grid.chunk
    wanted, masks = plan.config.endmembers, plan.config.masks.model_dump(exclude_defaults=True)
    _rows({
        "tiles": f"{len(plan.tiles)} to map" + (f", {done} of them done before" if done else ""),
        "blocks": f"of whole stored chunks, up to {_bytes(max(t.block_bytes for t in plan.tiles))} each",
        "mosaic": f"{rows} x {columns} pixels in EPSG:{plan.grid.epsg}, chunks of {tall} x {wide}",
        "maps": ", ".join(plan.variables),
        "spectra": f"{wanted.count} endmembers, {f'from {wanted.file}' if wanted.file else 'to be found'}",
        "masks": ", ".join(f"{name} {value}" for name, value in masks.items()) or "of no data only",
        "to read": _bytes(plan.bytes_to_read),
        "to write": f"at most about {_bytes(plan.bytes_to_write)}, {_bytes(free_bytes(out))} free at {out}",
        "memory": f"about {_bytes(plan.memory(CPU_COUNT))} a process with {CPU_COUNT} threads, "
        f"{_bytes(plan.memory(1))} with one",
    })  # fmt: skip
    for tile in plan.bad:
        print(f"cannot be read  {tile.reason}")
    return FOUND if plan.bad else DONE


def _draw(summary: RunSummary) -> Path | None:
    """The run's report, once no tile is pending; a run is none the worse for a page that cannot be drawn."""
    import logging

    from hsi_dask.batch.state import Run
    from hsi_dask.show.report import REPORT, write_report

    page, run = summary.run_dir / REPORT, Run.open(summary.run_dir)
    if run.pending() or not run.done():
        return None
    try:
        if summary.done or summary.failed or not page.is_file():
            with _overviews_shown() as advanced:
                write_report(summary.run_dir, advanced=advanced)
    except Exception as error:
        logger = logging.getLogger(__name__)
        logger.warning("the report was not drawn: %s", _sentence(error))
        logger.debug("where:", exc_info=True)
        return None
    print(f"report   {page}")
    return page


def _show_summary(summary: RunSummary) -> None:
    finished = len(summary.done) + len(summary.skipped)
    total = finished + len(summary.failed)
    before = f" ({len(summary.skipped)} before)" if summary.skipped else ""
    failed = f", {len(summary.failed)} failed" if summary.failed else ""
    print(f"{finished} of {total} tiles done{before}{failed}, in {summary.seconds:.1f} s")
    for tile, reason in summary.failed.items():
        print(f"failed  {tile}: {reason}")
    if summary.failed:
        print(f"again   hsi-dask run --out {summary.run_dir}    tries the failed ones once more")
    if summary.pixels:
        print("pixels  " + ", ".join(f"{n:,} {reason.replace('_', ' ')}" for reason, n in summary.pixels.items()))
    if finished:
        _rows({
            "maps": str(summary.results),
            "spectra": str(summary.endmembers),
            "open": f'python -c "import hsi_dask as hsi; print(hsi.open_results({str(summary.run_dir)!r}))"',
        })  # fmt: skip


@contextlib.contextmanager
def _observer() -> Iterator[Observer]:
    """Progress as it suits stderr: live on a terminal, lines elsewhere."""
    from hsi_dask.progress import in_lines, live

    with live() if sys.stderr.isatty() else in_lines() as observer:
        yield observer


@contextlib.contextmanager
def _overviews_shown() -> Iterator[Advanced]:
    """The making of overviews on stderr, if they have to be made."""
    from hsi_dask.progress import stage

    with stage("making overviews") as advanced:
        yield advanced


# ---------------------------------------------------------------------------------------------------- clusters


@app.command()
def submit(
    out: Annotated[Path, typer.Option("--out", metavar="RUN_DIR", help="Everything is written here.")],
    cluster: Annotated[Path, typer.Option(metavar="FILE", help="A batch scheduler's file; see cluster_configs.")],
    tiles: Annotated[
        list[str] | None, typer.Argument(metavar="TILE...", help="Reflectance files, folders of them, or patterns.")
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="What to compute; see `hsi-dask config`.")] = None,
    count: Annotated[int | None, typer.Option(metavar="N", help="How many endmembers (4).")] = None,
    endmembers: Annotated[Path | None, typer.Option(metavar="FILE", help="Given spectra, as `run` takes them.")] = None,
    array: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="N jobs that share the tiles, and no worker jobs.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the job script, and submit nothing.")] = False,
) -> int:
    """Run as a job of a batch scheduler.

    Warned of its wall time the job finishes what is in work and queues up again, until the run is complete.
    """
    from hsi_dask.cluster import ClusterConfig
    from hsi_dask.cluster.submit import submit as hand_over
    from hsi_dask.cluster.submit import write_scripts

    place = ClusterConfig.from_yaml(cluster)
    settings = _given(_settings(tiles or [], out, config, count), count, endmembers)
    _require_memory(place, settings, out)
    options = {
        "--config": config,
        "--count": count,
        "--endmembers": endmembers,
        "--cluster": None if array else cluster,
    }
    words = [*(tiles or []), "--out", str(out)]
    words += [word for name, value in options.items() if value is not None for word in (name, str(value))]
    for script in write_scripts(place, words, out, array=array):
        if dry_run:
            print(script.text)
            script.path.unlink()
        else:
            print(f"{hand_over(script)}    {script.path}")
    return DONE


clusters = typer.Typer(help="Look into a cluster file before a run depends on it.", rich_markup_mode=None)
app.add_typer(clusters, name="cluster")


@clusters.command("check")
def check_cluster(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="See cluster_configs.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where runs will be written.")] = Path("."),
    script: Annotated[bool, typer.Option("--script", help="Only show the job script of a worker.")] = False,
) -> int:
    """Would a run work with this cluster file?

    Asks the batch scheduler, starts one worker and lets it tell; a line for each finding, with what to change.
    """
    from hsi_dask.cluster import ClusterConfig
    from hsi_dask.cluster.check import check
    from hsi_dask.cluster.jobs import make_job

    place = ClusterConfig.from_yaml(file)
    if script:
        if not place.queued:
            raise ConfigError(f"kind {place.kind} has no job script")
        print(make_job(place).job_script(), end="")
        return DONE
    wrong = 0
    for finding in check(place, out):
        print(f"{'ok ' if finding.good else 'BAD'}  {finding.what:9}  {finding.said}", flush=True)
        wrong += not finding.good
    return FOUND if wrong else DONE


# ---------------------------------------------------------------------------------------------------- status, verify


@app.command()
def status(
    run_dir: RunDir, as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON object.")] = False
) -> int:
    """Which tiles are done, pending and failed."""
    import json

    from hsi_dask.batch.state import Run

    state = Run.open(run_dir)
    done, failed, pending = state.done(), state.failed(), state.pending()
    if as_json:
        print(json.dumps({"run_dir": str(run_dir), "done": done, "pending": pending, "failed": failed}, indent=1))
        return FOUND if failed else DONE
    print(f"{len(done)} of {len(state.manifest.tiles)} tiles done, {len(pending)} pending, {len(failed)} failed")
    for tile in pending:
        print(f"pending {tile}")
    for tile, reason in failed.items():
        print(f"failed  {tile}: {reason}")
    if pending or failed:
        print(f"go on   hsi-dask run --out {run_dir}")
    return FOUND if failed else DONE


@app.command()
def verify(run_dir: RunDir) -> int:
    """Check every record against the store.

    Recomputes the checksum of every chunk that was written.
    """
    from hsi_dask.batch.state import Run
    from hsi_dask.batch.verify import verify as find_faults

    records = Run.open(run_dir).records()
    findings = find_faults(run_dir)
    for finding in findings:
        print(f"{finding.tile or 'run'}: {finding.what}")
    tiles, chunks = len(records), sum(len(record.chunks) for record in records)
    verdict = f"{len(findings)} found wrong" if findings else "all as recorded"
    print(f"{tiles} {'tile' if tiles == 1 else 'tiles'}, {chunks} chunks: {verdict}")
    return FOUND if findings else DONE


# ---------------------------------------------------------------------------------------------------- report


@app.command()
def report(run_dir: RunDir) -> int:
    """Write RUN_DIR/report.html: the run on one page.

    Summary, pictures of the site, endmembers, maps, classes with their areas, quality and tiles. It opens from disk,
    offline. `run` and `demo` write it at their end.
    """
    from hsi_dask.show.report import write_report

    with _overviews_shown() as advanced:
        page = write_report(run_dir, advanced=advanced)
    print(page)
    return DONE


@app.command()
def export(
    run_dir: RunDir,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The files are written here.")],
    compress: Annotated[
        bool, typer.Option(help="Without, files are half as large again, and written nearly as fast as the disk is.")
    ] = True,
) -> int:
    """Write maps and spectra for GIS programs.

    Cloud-Optimized GeoTIFFs for QGIS, ArcGIS and R; the endmembers as an ENVI spectral library and as CSV.
    """
    from hsi_dask.show.export import export as write_files
    from hsi_dask.show.export import tiles_of

    def wrote(file: Path) -> None:
        print(f"{file.name:24} {_bytes(file.stat().st_size)}", flush=True)

    with _overviews_shown() as advanced:
        files = write_files(run_dir, out, compress=compress, wrote=wrote, advanced=advanced)
    print(f"{len(files)} files in {out}, of {tiles_of(files[0])} tiles")
    return DONE


@app.command()
def view(
    run_dir: RunDir,
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="0 takes a free one.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
) -> int:
    """Look at a run in the browser.

    Zoom, switch layers, click pixels for their spectra, move thresholds. Served to this machine only, until Ctrl-C.
    """
    import webbrowser

    from hsi_dask.show.view import served, wait

    with _overviews_shown() as advanced, served(run_dir, port=port, advanced=advanced) as address:
        print(address, flush=True)
        _complain("Ctrl-C ends it")
        if not no_browser:
            webbrowser.open(address)
        with contextlib.suppress(KeyboardInterrupt):
            wait()
    return DONE


@app.command()
def config() -> None:
    """Print a commented RunConfig with every default.

    `hsi-dask config > run.yaml` is a good start.
    """
    from hsi_dask.config import RunConfig

    print(RunConfig().commented_yaml(), end="")


# ---------------------------------------------------------------------------------------------------- showing


def _rows(rows: dict[str, str]) -> None:
    """Aligned keys and values, not wrapped: they are copied and searched."""
    width = max((len(key) for key in rows), default=0)
    for key, value in rows.items():
        print(f"{key:{width}}  {value}".rstrip())


def _table(first: str, *others: str) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first)
    for column in others:
        table.add_column(column, justify="left" if column == "file" else "right")
    return table


def _show(table: Any) -> None:
    from rich.console import Console

    # a row is a line, however narrow the terminal: a folded table cannot be read or searched
    Console(file=sys.stdout, width=400, highlight=False).print(table)


def _times(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


def _bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
