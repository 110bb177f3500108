"""How fast a run goes, and how long it still takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from hsi_dask.batch.observer import COMPILING, Observer, Stage
from hsi_dask.errors import counted

if TYPE_CHECKING:
    from hsi_dask.batch.state.manifest import TileRecord
    from hsi_dask.batch.tiles.plan import Plan, Tile

_DOING = {
    "checksums": "checksums of files",
    "sampling": "sampling",
    "endmembers": "finding endmembers",
    "scene": "statistics of",
}


class Pace(Observer):
    """Counts tiles: done, in flight with their fractions, the rate and the time left."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # news from inside tiles come from other threads
        self.total = self.settled = self.now = 0
        self.in_flight: dict[str, float] = {}
        self.mapping_since: float | None = None
        self.compilations: set[str] = set()  # tiles that wait for kernels to be compiled
        self.compiled, self.compiling_since = 0.0, 0.0  # seconds; a rate without them tells the time left
        self.current: Stage = "mapping"
        self.latest = ""

    def planned(self, plan: Plan, todo: Sequence[Tile], skipped: Sequence[str]) -> None:
        self.total, self.settled = len(todo) + len(skipped) + len(plan.bad), len(skipped)
        self.message(f"{counted(len(todo), 'tile')} to map" + (f", {len(skipped)} done before" if skipped else ""))

    def stage(self, stage: Stage) -> None:
        with self.lock:
            self.current, self.latest = stage, ""
            self.in_flight.clear()

    def tile_advanced(self, tile: str, fraction: float) -> None:
        with self.lock:
            if self.current == "mapping" and self.mapping_since is None:
                self.mapping_since = time.monotonic()
            self.in_flight[tile] = max(fraction, self.in_flight.get(tile, 0.0))
            self.latest = f"{tile} {self.in_flight[tile]:.0%}".lstrip()

    def compiling(self, tile: str, running: bool) -> None:
        with self.lock:
            if running and not self.compilations:
                self.compiling_since = time.monotonic()
            if not running and self.compilations == {tile} and self.mapping_since is not None:
                self.compiled += time.monotonic() - max(self.compiling_since, self.mapping_since)
            (self.compilations.add if running else self.compilations.discard)(tile)

    def tile_done(self, record: TileRecord) -> None:
        with self.lock:
            self.compiling(record.tile, False)
            self.settled, self.now = self.settled + 1, self.now + 1
            self.in_flight.pop(record.tile, None)

    def tile_failed(self, tile: str, reason: str) -> None:
        with self.lock:
            self.compiling(tile, False)
            self.settled += 1
            self.in_flight.pop(tile, None)

    @property
    def progress(self) -> float:
        """Tiles, with the finished part of those in flight."""
        with self.lock:
            return self.settled + (0.0 if self.current != "mapping" else sum(self.in_flight.values()))

    @property
    def rate(self) -> float:
        """Tiles mapped a second, since mapping began; 0 before there is anything to tell it from."""
        with self.lock:
            if self.mapping_since is None or self.current != "mapping":
                return 0.0
            now = max(self.compiling_since, self.mapping_since) if self.compilations else time.monotonic()
            seconds = now - self.mapping_since - self.compiled
            return (self.now + sum(self.in_flight.values())) / max(seconds, 1e-3)

    def so_far(self, *, rate: bool = True) -> str:
        """`2 of 8 tiles, 3.1 tiles a minute, 0:01:56 left`."""
        with self.lock:
            text = f"{self.settled} of {counted(self.total, 'tile')}"
            if (speed := self.rate) > 0:
                left = timedelta(seconds=round((self.total - self.progress) / speed))
                text += (f", {counted(f'{60 * speed:.3g}', 'tile')} a minute" if rate else "") + f", {left} left"
            return text

    def so_far_within(self, columns: int) -> str:
        """As much of that, and of what is in flight, as fits."""
        with self.lock:
            inside = self.inside()
            texts = [f"{self.so_far()}; {inside}"] if inside else []
            if self.compilations:  # it explains why nothing else moves
                texts.append(f"{self.settled} of {counted(self.total, 'tile')}; {inside}")
            texts += [self.so_far(), self.so_far(rate=False)]
            return next((text for text in texts if len(text) <= columns), f"{self.settled} of {self.total}")

    def inside(self) -> str:
        """What is in flight: `368000_4306000 45 %`, or how many."""
        with self.lock:
            if self.compilations:
                return COMPILING
            if self.current != "mapping":
                return f"{_DOING[self.current]} {self.latest}".rstrip()
            if len(self.in_flight) > 2:
                return f"{len(self.in_flight)} at a time"
            return ", ".join(f"{tile} {part:.0%}" for tile, part in sorted(self.in_flight.items()))


# ---------------------------------------------------------------------------------------------------- plain lines
