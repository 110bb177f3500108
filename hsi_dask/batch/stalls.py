"""Stall detection and worker restart: which tiles make no progress, on which workers, and how these are freed.

A read from a dead file system never returns, while the worker around it lives and sends heartbeats.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

_TIMES = 5  # times the slowest tile: until then a stall may be the last file on its way to disk
REMARK = 60.0  # seconds until a stall in this process is reported
_RESTART = 30.0  # seconds for a nanny to end a process


class Move(NamedTuple):
    """Where a tile is; when it began there, and when it last moved (monotonic seconds)."""

    worker: str
    place: str
    begun: float
    last: float


class Stand(NamedTuple):
    """Where a tile has stalled, and the sentence about it."""

    worker: str
    told: str


class Moves:
    """The tiles in flight. Progress may be reported from any thread."""

    def __init__(self, limit: float) -> None:
        self.limit, self.slowest = limit, 0.0
        self._moves: dict[str, Move] = {}

    def moved(self, tile: str, worker: str, place: str) -> None:
        before, now = self._moves.get(tile), time.monotonic()
        begun = before.begun if before and before.worker == worker else now
        self._moves[tile] = Move(worker, place, begun, now)

    def ended(self, tile: str, *, by_itself: bool) -> None:
        move = self._moves.pop(tile, None)
        if move and by_itself:
            self.slowest = max(self.slowest, time.monotonic() - move.begun)

    def still(self) -> dict[str, Move]:
        """Tiles that have not moved for the limit, or a few times as long as the slowest took."""
        oldest = time.monotonic() - max(self.limit, _TIMES * self.slowest)
        return {tile: move for tile, move in list(self._moves.items()) if move.last < oldest}


def standing(client: Client, moves: Moves, keys: Mapping[str, str]) -> dict[str, Stand]:
    """Those of the tiles with these keys that have stalled on a worker that is alive and holds them."""
    still = {tile: move for tile, move in moves.still().items() if tile in keys}
    if not still:
        return {}
    held = {(worker, key) for worker, those in client.processing().items() for key in those}
    for tile, move in still.items():
        if (move.worker, keys[tile]) not in held:
            moves.ended(tile, by_itself=False)  # its worker was lost meanwhile: it waits for another
    return {
        tile: Stand(move.worker, f"{stands(move.last)} on worker {move.place}")
        for tile, move in still.items()
        if (move.worker, keys[tile]) in held
    }


def free(client: Client, workers: Iterable[str]) -> None:
    """Restart workers. A process in an uninterruptible read stays, but is no longer a worker.

    Who watches over worker jobs replaces one that has lost its worker.
    """
    try:
        client.sync(
            client.scheduler.restart_workers,  # type: ignore[union-attr]  # the client's own verb also waits until all have come back
            workers=list(workers), timeout=_RESTART, wait_for_workers=False, on_error="return",
            stimulus_id=f"hsi-dask-standstill-{time.time()}",
        )  # fmt: skip
    except (OSError, TimeoutError, ValueError) as error:  # gone in the meantime
        logger.debug("restart of %s: %s", workers, error)


def elsewhere(client: Client, worker: str) -> list[str] | None:
    """Workers on other hosts; None where there are none."""
    host = urlsplit(worker).hostname
    return [other for other in client.nthreads() if urlsplit(other).hostname != host] or None


def stands(last: float) -> str:
    """`has not moved for 600 s (since 12:00:01)`."""
    seconds = time.monotonic() - last
    return (
        f"has not moved for {seconds:.0f} s (since {time.strftime('%H:%M:%S', time.localtime(time.time() - seconds))})"
    )


class Patience:
    """Stall detection for threads of this process, which cannot be killed."""

    def __init__(self) -> None:
        self.moved()

    def moved(self) -> None:
        self.last, self._next = time.monotonic(), REMARK

    def look(self, what: str) -> float:
        """Seconds since the last progress; logged after a minute, and then at growing intervals."""
        seconds = time.monotonic() - self.last
        if seconds > self._next:
            self._next *= 2
            logger.warning("%s %s; does its file system answer?", what, stands(self.last))
        return seconds
