"""The command line: each verb parses, calls one function and shows what came of it. Nothing else prints or exits.

Results go to stdout, progress and logs to stderr. Exit codes: 0 done; 1 some tile failed, or a check found something;
2 the request was wrong or could not be carried out, with one line that says why. A stderr that is lost and a reader of
stdout that has seen enough change neither the work nor its exit code.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

# Everything else is imported by the verb that needs it: --help answers at once
from hsi_dask.cli.streams import Shown, lasting_streams
from hsi_dask.errors import HsiDaskError

DONE, FOUND, WRONG = 0, 1, 2
INTERRUPTED, TERMINATED = (128 + int(s) for s in (signal.SIGINT, signal.SIGTERM))
DRAINED = 128 + int(signal.SIGUSR1)  # warned of the wall time: what was in work is finished

_ONCE_MORE = 0.01  # seconds after which a signal is raised again that was dropped
_COLLECT_AFTER = 50_000  # new objects; Python's own is hundreds

app = typer.Typer(
    name="hsi-dask", add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Material maps from imaging-spectrometer tiles (NEON, ENVI, Zarr, netCDF): endmembers, abundances, classes.",
)  # fmt: skip

Tiles = Annotated[list[str], typer.Argument(metavar="TILE", help="Reflectance files, folders of them, or patterns.")]
RunDir = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="What `run --out` wrote.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Carry out a command line and exit."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    # The libraries' objects stay to the end: looked through while they are imported, and once more at the exit, they
    # cost a sixth of the time of a tile
    gc.set_threshold(_COLLECT_AFTER)
    atexit.register(gc.freeze)
    code = _guarded(words)
    dispatch = sys.modules.get("hsi_dask.batch.execution.dispatch")
    if dispatch and dispatch.has_running_tile():  # in a read that does not return: Python would wait for its threads
        os._exit(code)
    sys.exit(code)


def _guarded(words: list[str]) -> int:
    """The exit code of a command line; whatever goes wrong is one line on stderr."""
    debug = "--debug" in words
    with lasting_streams() as (out, _), _logs(debug), _signals() as received:
        try:
            return _with_output(out, _dispatched(words))
        except KeyboardInterrupt as error:
            complain(str(error) or "stopped; give the same command again to go on")
            came = received()
            codes = {signal.SIGTERM: TERMINATED, signal.SIGINT: INTERRUPTED, signal.SIGUSR1: DRAINED}
            return next((code for kind, code in codes.items() if kind in came), INTERRUPTED)
        except Exception as error:
            if debug:
                traceback.print_exc()
            complain(f"error: {sentence(error)}")
            return WRONG


def _with_output(out: Shown, code: int) -> int:
    """The work's exit code, unless its results could not be written although somebody wants them."""
    out.flush()
    if out.lost is None or out.is_unwanted:
        return code
    complain(f"error: standard output is incomplete ({out.lost.strerror}); the work itself is done")
    return WRONG


def _dispatched(words: list[str]) -> int:
    command = typer.main.get_command(app)
    words = sorted(words, key=lambda word: word != "--debug")  # it may stand anywhere
    try:  # not command.main(), which would end the process by itself on Ctrl-C
        with command.make_context("hsi-dask", words) as context:
            return int(command.invoke(context) or DONE)
    except typer.Exit as end:  # --help and --version
        return int(end.exit_code)


def sentence(error: Exception) -> str:
    if isinstance(error, HsiDaskError):
        return str(error)
    # typer's usage errors have no public base class, but all say what was wrong in this way
    if (usage := getattr(error, "format_message", None)) is not None:
        command = getattr(getattr(error, "ctx", None), "command_path", "hsi-dask")
        return f"{str(usage()).rstrip('.')}; see {command} --help"
    if isinstance(error, OSError) and error.strerror and error.filename:  # of the machine, not of the program
        return f"{os.fspath(error.filename)}: {error.strerror}"
    return f"{type(error).__name__}: {error}; this is a bug: `hsi-dask --debug ...` shows where"


def complain(sentence: str) -> None:
    print(" ".join(sentence.split()), file=sys.stderr, flush=True)


@contextlib.contextmanager
def _signals() -> Iterator[Any]:
    """SIGTERM ends as Ctrl-C does, in order; a second signal of either kind ends at once.

    Yields a function that tells which signals came. Whoever handles a signal inside, its number also goes into a
    pipe: so the exit code can say which one it was. Python drops what is raised where nobody can catch it, in a
    finaliser or a weak reference's callback, and the command would go on for ever: it is raised once more then.
    """

    def stop(number: int, frame: object) -> None:
        for kind in (signal.SIGINT, signal.SIGTERM):
            signal.signal(kind, signal.SIG_DFL)
        raise KeyboardInterrupt

    def dropped(what: sys.UnraisableHookArgs) -> None:
        if what.exc_type is KeyboardInterrupt and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, _ONCE_MORE)
        else:
            unraisable(what)

    source, sink = os.pipe()
    os.set_blocking(source, False)
    os.set_blocking(sink, False)
    kinds = signal.SIGINT, signal.SIGTERM, *([signal.SIGALRM] if hasattr(signal, "SIGALRM") else [])
    handlers = {kind: signal.signal(kind, stop) for kind in kinds}
    wakeup = signal.set_wakeup_fd(sink, warn_on_full_buffer=False)
    unraisable, sys.unraisablehook = sys.unraisablehook, dropped
    try:
        yield lambda: _arrived(source)
    finally:
        sys.unraisablehook = unraisable
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
