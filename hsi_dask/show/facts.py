"""What a run's report tells, gathered once, and numbers as people say them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.batch.state.manifest import TileRecord
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.errors import FileFormatError
from hsi_dask.io.endmember_store import open_endmembers
from hsi_dask.io.readers import read_source
from hsi_dask.io.tile_source import TileSource
from hsi_dask.kernels.correlation import std_of_sum
from hsi_dask.overviews.overviews import Overviews
from hsi_dask.overviews.statistics import Statistics
from hsi_dask.schema import MATERIAL, Variable
from hsi_dask.show.areas import Interval, interval_of, lengths_of
from hsi_dask.show.labels import Labels, dim_of, labels_of
from hsi_dask.show.settings import Settings
from hsi_dask.show.thresholds import threshold_text

_PIXELS = 600  # of the overviews that are drawn, at least, along their longer side


@dataclass(frozen=True)
class Facts:
    """A run, its overviews and statistics, its endmembers and what its files say.

    Attributes
    ----------
    composite : names of the fractions that are red, green and blue; None: the largest
    """

    overviews: Overviews
    composite: tuple[str, ...] | None = None

    @property
    def run(self) -> Run:
        return self.overviews.run

    @cached_property
    def maps(self) -> xr.Dataset:
        return self.overviews.at(_PIXELS, chunks=None)

    @property
    def statistics(self) -> dict[str, tuple[Statistics, ...]]:
        return self.overviews.statistics

    @cached_property
    def endmembers(self) -> xr.DataArray:
        return open_endmembers(self.run.path)

    @property
    def records(self) -> list[TileRecord]:
        return self.overviews.records

    @cached_property
    def failed(self) -> dict[str, str]:
        return self.run.failed()

    @cached_property
    def variables(self) -> dict[str, Variable]:
        """Every map by its name."""
        return {variable.name: variable for variable in self.overviews.variables}

    @cached_property
    def labels(self) -> Labels:
        """Of the endmembers."""
        return labels_of(self.endmembers)

    def labels_of(self, variable: Variable) -> Labels:
        """Of what the planes, or the class values, of a map stand for."""
        return labels_of(self.endmembers, MATERIAL) if dim_of(variable, self.variables) == MATERIAL else self.labels

    @cached_property
    def settings(self) -> Settings:
        return Settings(self.run)

    def limit(self, classes: Variable) -> str:
        """The threshold of a class map, as a sentence."""
        own = {c.variable.name: c.thresholds for c in self.overviews.reclassified}
        threshold = own.get(classes.name) or self.settings.threshold(classes)
        return threshold_text(threshold, self.variables[classes.of]) if classes.of in self.variables else ""

    @cached_property
    def _limits(self) -> dict[str, tuple[float, float]]:
        return {}

    def limits(self, variable: Variable) -> tuple[float, float]:
        """What the ends of a map's colours stand for, alike for all its planes."""
        if variable.limits is not None:
            return variable.limits
        if variable.name not in self._limits:
            self._limits[variable.name] = usual_range(self.maps[variable.name].values)
        return self._limits[variable.name]

    def area_interval(self, fractions: Variable, number: int) -> Interval | None:
        """Hectares between which the area of a fraction's plane lies; None without its uncertainty."""
        unsure = next((v for v in self.variables.values() if v.role == "uncertainty" and v.of == fractions.name), None)
        found = self.statistics[fractions.name][number]
        if unsure is None or not found.count:
            return None
        errors = self.statistics[unsure.name][number]
        std = std_of_sum(errors.total, errors.squares, self._lengths(fractions.name)[number])
        return interval_of(*(self.pixel_area * pixels for pixels in (found.total, std, found.count)))

    def _lengths(self, name: str) -> list[float]:
        """The correlation length of each plane of a map, pixels."""
        if name not in self._known_lengths:
            self._known_lengths[name] = lengths_of(self.overviews.level(1)[name])
        return self._known_lengths[name]

    @cached_property
    def _known_lengths(self) -> dict[str, list[float]]:
        return {}

    @property
    def valid(self) -> int:
        """Pixels that were good enough to be mapped."""
        return sum(record.pixels.get("valid", 0) for record in self.records)

    @property
    def pixel_area(self) -> float:
        """Hectares."""
        return self.run.manifest.grid.pixel_area / 1e4

    def file(self, tile: str) -> TileSource | None:
        """What the tile's file says of itself, None where it is gone or damaged."""
        paths = {one.id: one.path for one in self.run.manifest.tiles}
        try:
            return read_source(paths[tile])
        except (KeyError, FileFormatError, OSError):
            return None

    @cached_property
    def first(self) -> TileSource | None:
        """The first file that can still be read: it stands for its site."""
        found = (self.file(tile.id) for tile in self.run.manifest.tiles)
        return next((file for file in found if file), None)


def usual_range(values: NDArray[np.float32]) -> tuple[float, float]:
    """Where all values but the outermost hundredths lie, for the ends of colours; NaNs do not count."""
    good = values[np.isfinite(values)]
    low, high = np.percentile(good, (1, 99)) if good.size else (0.0, 1.0)
    return float(low), float(max(high, low + 1e-6))


def area(hectares: float) -> str:
    """Hectares with three digits or more, so that a column of them has one unit; square metres below a tenth."""
    if hectares >= 100:
        return f"{hectares:,.0f} ha"
    if hectares and hectares < 0.1:
        return f"{hectares * 1e4:.3g} m²"
    return f"{hectares:#.3g} ha".replace(". ", " ") if hectares else "0 ha"


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def bytes_text(count: float) -> str:
    """Bytes in decimal units."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
