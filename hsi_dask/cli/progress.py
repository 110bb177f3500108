"""What verbs show on stderr while they work."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from hsi_dask.batch.observer import Advanced, Observer


@contextlib.contextmanager
def run_observer() -> Iterator[Observer]:
    """Progress as it suits stderr: live on a terminal, lines elsewhere."""
    from hsi_dask.progress import in_lines, live

    with live(_terminal()) if sys.stderr.isatty() else in_lines() as observer:
        yield observer


def _terminal() -> IO[str]:
    """stderr for a live bar, which moves the cursor."""
    plain: IO[str] = getattr(sys.stderr, "plain", sys.stderr)
    return plain


@contextlib.contextmanager
def overviews_progress() -> Iterator[Advanced]:
    """The making of overviews on stderr, if they have to be made."""
    with _stage("making overviews") as advanced:
        yield advanced


@contextlib.contextmanager
def drawing_progress() -> Iterator[Advanced]:
    """The drawing of a report on stderr."""
    with _stage("drawing the report") as advanced:
        yield advanced


@contextlib.contextmanager
def comparing_progress() -> Iterator[Advanced]:
    """The computing of differences on stderr."""
    with _stage("comparing") as advanced:
        yield advanced


def _stage(what: str) -> contextlib.AbstractContextManager[Advanced]:
    from hsi_dask.progress import stage

    return stage(what, _terminal())


@contextlib.contextmanager
def downloading_progress() -> Iterator[Advanced]:
    """The download of files on stderr."""
    with _stage("downloading") as advanced:
        yield advanced
