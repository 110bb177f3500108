"""How a run shows itself: live on a terminal and in a notebook, plain lines in a log."""

from __future__ import annotations

import logging
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Any

from hsi_dask.batch.observer import COMPILING, Advanced, Observer
from hsi_dask.escaping import visible
from hsi_dask.pace import Pace

if TYPE_CHECKING:
    from hsi_dask.batch.state.manifest import TileRecord

SILENCE = 15.0  # seconds after which a log gets a line although no tile is finished
_BAR, _NARROW_BAR, _WIDE = 24, 12, 100  # columns: of the bar on a terminal of at least so many, and on a narrower one
_NOTEBOOK_PAUSE = 0.25  # seconds between two updates of a notebook's line
_BESIDE = 11  # columns of spinner, elapsed time and the spaces between


class _Lines(Pace):
    """A line for each event, and one now and then from inside tiles that take long."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self.write, self.said_compiling = write, False
        self.written = time.monotonic()

    def line(self, text: str) -> None:
        self.written = time.monotonic()
        self.write(f"{time.strftime('%H:%M:%S')} {visible(text)}")

    def message(self, text: str) -> None:
        self.line(text)

    def tile_advanced(self, tile: str, fraction: float) -> None:
        super().tile_advanced(tile, fraction)
        with self.lock:
            if time.monotonic() - self.written > SILENCE:
                self.line(f"{self.so_far()}; {self.inside()}")

    def compiling(self, tile: str, running: bool) -> None:
        with self.lock:
            if running and not self.said_compiling:
                self.said_compiling = True
                self.line(COMPILING)
        super().compiling(tile, running)

    def tile_done(self, record: TileRecord) -> None:
        super().tile_done(record)
        self.line(f"tile {record.tile} done in {record.seconds:.1f} s; {self.so_far()}")

    def tile_failed(self, tile: str, reason: str) -> None:
        super().tile_failed(tile, reason)
        self.line(f"tile {tile} failed: {reason}")


@contextmanager
def in_lines() -> Iterator[Observer]:
    """An observer that writes plain lines to stderr."""

    def write(text: str) -> None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    yield _Lines(write)


# ---------------------------------------------------------------------------------------------------- live


@contextmanager
def live(terminal: IO[str]) -> Iterator[Observer]:
    """An observer that keeps a bar, the rate and the time left on the terminal."""
    from rich.progress import TimeElapsedColumn

    bar = _progress(terminal, TimeElapsedColumn())
    ours = logging.getLogger("hsi_dask")
    before = ours.handlers
    ours.handlers = [*(one for one in before if type(one) is not logging.StreamHandler), _Above(bar.console)]
    try:
        with bar:
            yield _Live(bar)
    finally:
        ours.handlers = before


def _progress(terminal: IO[str], *columns: Any) -> Any:
    """A bar of fixed width with text and further columns beside it, as wide as the terminal at most."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
    from rich.table import Column

    console = Console(file=terminal, highlight=False, markup=False, emoji=False)
    spinner = SpinnerColumn("dots" if console.encoding.startswith("utf") else "line")
    bar = BarColumn(_BAR if console.width >= _WIDE else _NARROW_BAR)
    text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True))
    return Progress(spinner, bar, *columns, text, console=console, transient=True, refresh_per_second=8)


def _say(console: Any, text: str, style: str | None = None) -> None:
    """A message above the bar; lines end between words, and a word that is longer than a line stays whole."""
    lines = textwrap.wrap(visible(text), console.width, break_long_words=False, break_on_hyphens=False)
    console.print("\n".join(lines), style=style, soft_wrap=True)


class _Above(logging.Handler):
    """Log lines above the bar."""

    def __init__(self, console: Any) -> None:
        super().__init__()
        self.console = console
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        _say(self.console, self.format(record), "yellow" if record.levelno >= logging.WARNING else None)


class _Moving(Pace):
    """One place that shows how far all tiles are, also inside a tile; what is worth keeping is said beside it."""

    def show(self) -> None:
        """How far it is."""
        raise NotImplementedError

    def say(self, text: str, style: str | None = None) -> None:
        """A line that stays."""
        raise NotImplementedError

    def message(self, text: str) -> None:
        self.say(text)
        self.show()

    def tile_advanced(self, tile: str, fraction: float) -> None:
        super().tile_advanced(tile, fraction)
        self.show()

    def compiling(self, tile: str, running: bool) -> None:
        super().compiling(tile, running)
        self.show()

    def tile_done(self, record: TileRecord) -> None:
        super().tile_done(record)
        self.show()

    def tile_failed(self, tile: str, reason: str) -> None:
        super().tile_failed(tile, reason)
        self.say(f"tile {tile} failed: {reason}", "red")
        self.show()


class _Live(_Moving):
    """A bar on a terminal; lines above it."""

    def __init__(self, bar: Any) -> None:
        super().__init__()
        self.bar = bar
        self.task = bar.add_task("starting", total=None)

    def show(self) -> None:
        with self.lock:
            width = self.bar.console.width
            room = width - _BESIDE - (_BAR if width >= _WIDE else _NARROW_BAR)
            text = self.so_far_within(room) if self.total else self.inside() or "starting"
            self.bar.update(self.task, total=self.total or None, completed=self.progress, description=text)

    def say(self, text: str, style: str | None = None) -> None:
        _say(self.bar.console, text, style)


# ---------------------------------------------------------------------------------------------------- notebooks


class _Line:
    """A line below a notebook's cell that is written over, a few times a second at most."""

    def __init__(self) -> None:
        from importlib import import_module

        self.written = time.monotonic()
        self.handle = import_module("IPython.display").display(self.bundle(""), raw=True, display_id=True)

    @staticmethod
    def bundle(text: str) -> dict[str, str]:
        return {"text/plain": visible(text)}

    def write(self, text: str, *, last: bool = False) -> None:
        now = time.monotonic()
        if last or now - self.written > _NOTEBOOK_PAUSE:
            self.written = now
            self.handle.update(self.bundle(text), raw=True)


class _Cell(_Moving):
    """A line below a notebook's cell, of what was said last and how far the tiles are."""

    def __init__(self) -> None:
        super().__init__()
        self.line, self.said = _Line(), ""

    def show(self, *, last: bool = False) -> None:
        with self.lock:
            text = self.so_far_within(_WIDE) if self.total else self.inside() or "starting"
            self.line.write(f"{self.said}\n{text}".strip(), last=last)

    def say(self, text: str, style: str | None = None) -> None:
        self.said = f"{self.said}\n{text}".strip()


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


@contextmanager
def shown(progress: bool | None, observer: Observer | None = None) -> Iterator[Observer]:
    """The observer; without one, what suits where a run was started: a notebook, a terminal, or nothing to be seen.

    `progress` False shows nothing, True shows lines on stderr where it is no terminal, too.
    """
    if observer is not None or progress is False:
        yield observer or Observer()
    elif _in_notebook():
        cell = _Cell()
        yield cell
        cell.show(last=True)
    elif sys.stderr.isatty() or progress:
        with live(sys.stderr) if sys.stderr.isatty() else in_lines() as shows:
            yield shows
    else:
        yield Observer()


@contextmanager
def shown_stage(what: str, progress: bool | None, told: Advanced | None = None) -> Iterator[Advanced]:
    """Likewise what takes the finished share of a stage."""
    if told is not None or progress is False:
        yield told or (lambda share: None)
    elif _in_notebook():
        yield _in_cell(what)
    elif sys.stderr.isatty() or progress:
        with stage(what, sys.stderr) as advanced:
            yield advanced
    else:
        yield lambda share: None


def _in_cell(what: str) -> Advanced:
    lines: list[_Line] = []

    def advanced(share: float) -> None:
        if not lines:
            lines.append(_Line())
        lines[0].write(f"{what} {share:.0%}", last=share >= 1)

    return advanced


# ---------------------------------------------------------------------------------------------------- one stage


@contextmanager
def stage(what: str, terminal: IO[str]) -> Iterator[Advanced]:
    """Shows which share of a stage is done, as a run does; nothing if it is never called."""
    with ExitStack() as stack:
        shown = list[Advanced]()

        def advanced(share: float) -> None:
            if not shown:
                shown.append(stack.enter_context(_bar(what, terminal)) if terminal.isatty() else _lines(what))
            shown[0](share)
            if share >= 1:
                shown.clear()
                stack.close()

        yield advanced


def _lines(what: str) -> Advanced:
    begun = written = time.monotonic()

    def advanced(share: float) -> None:
        nonlocal written
        now = time.monotonic()
        if share == 0.0 or now - written > SILENCE:
            left = f", {share:.0%}, {timedelta(seconds=round((now - begun) * (1 / share - 1)))} left" if share else ""
            sys.stderr.write(f"{time.strftime('%H:%M:%S')} {what}{left}\n")
            sys.stderr.flush()
            written = now

    return advanced


@contextmanager
def _bar(what: str, terminal: IO[str]) -> Iterator[Advanced]:
    from rich.progress import TaskProgressColumn, TimeRemainingColumn

    with _progress(terminal, TaskProgressColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda share: bar.update(task, completed=share)
