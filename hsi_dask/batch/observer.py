"""Observer: how a run reports its progress to whoever started it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from hsi_dask.batch.state.manifest import TileRecord
    from hsi_dask.batch.tiles.plan import Plan, Tile

logger = logging.getLogger(__name__)

Advanced = Callable[[float], None]  # takes the finished fraction of a tile or a stage, 0 to 1
COMPILING = "compiling (once for this machine)"
Stage = Literal["checksums", "sampling", "endmembers", "scene", "mapping"]


class Observer:
    """Receives the events of a run. This one logs a line a tile; derive from it to show more.

    `tile_advanced` and `compiling` come from other threads, several times a second; the rest from the thread that runs.
    """

    def planned(self, plan: Plan, todo: Sequence[Tile], skipped: Sequence[str]) -> None:
        """Before anything is computed."""
        logger.info("%d tiles to do, %d done before", len(todo), len(skipped))

    def tile_advanced(self, tile: str, fraction: float) -> None:
        """This share of the tile is finished; 0 when it starts. "" stands for all files while they are hashed."""

    def tile_done(self, record: TileRecord) -> None:
        logger.info("tile %s done in %.1f s", record.tile, record.seconds)

    def tile_failed(self, tile: str, reason: str) -> None:
        logger.warning("tile %s failed: %s", tile, reason)

    def stage(self, stage: Stage) -> None:
        """What the fractions of tiles that follow are of."""

    def compiling(self, tile: str, running: bool) -> None:
        """Kernels begin to be compiled for a tile, once for a machine, or are; "" is no tile. The tile waits for it."""
        if running:
            logger.info(COMPILING)

    def message(self, text: str) -> None:
        """Something worth a line, such as a tile that is left out of the sample."""
        logger.info("%s", text)
