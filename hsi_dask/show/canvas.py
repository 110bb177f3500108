"""What an interactive page shows: layers of a run painted for a window at the level that fits it, and single pixels.

Nothing here knows of browsers. A window is read from the overviews: the whole mosaic costs as little as a corner.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.batch.observer import Advanced
from hsi_dask.errors import HsiDaskError
from hsi_dask.io import store
from hsi_dask.io.levels import QUICKLOOK, level_grids
from hsi_dask.io.readers import read_source
from hsi_dask.io.store import Grid
from hsi_dask.ops.bands import select_bands
from hsi_dask.ops.materials import threshold_classes
from hsi_dask.overviews.overviews import open_overviews
from hsi_dask.schema import ENDMEMBER, FLAGS, NO_CLASS, WAVELENGTH, X, Y
from hsi_dask.show.figures import BANDS, PICTURES, names_of
from hsi_dask.show.palettes import class_colours, class_table, quality_table

logger = logging.getLogger(__name__)

MOST_PIXELS = 1600  # along a side of what is read and sent for one window
SCORES = {"sam": "sam_angle", "sid": "sid_divergence"}
_HELD = 2  # arrays of one window: the whole mosaic, coarsely, and what is in view
_GAMMA = 0.7  # of pictures: most of the ground is darker than half of the brightest
_TITLES = {"abundance": "abundance", "sam_angle": "spectral angle", "sid_divergence": "divergence"}


class Bounds(NamedTuple):
    """Outer edges, metres."""

    west: float
    south: float
    east: float
    north: float


class Layer(NamedTuple):
    """Something to look at: a variable, one endmember's plane of it, or a picture of some of its wavelengths."""

    group: str
    title: str
    variable: str
    number: int = 0  # of the endmember, from 1
    picture: str = ""

    @property
    def key(self) -> str:
        return "/".join(filter(None, (self.variable, self.picture or str(self.number or ""))))

    @property
    def method(self) -> str:
        """Of a class map: sam or sid."""
        return self.variable.partition("_")[0] if self.variable.endswith("_class") else ""


class Painted(NamedTuple):
    """A layer in a window.

    rgba : (y, x, 4) uint8, north first
    bounds : of these pixels; they cover the window where there is mosaic
    factor : pixels of the mosaic along a side of each
    shares : of a class map, the share of each class among the pixels with one, by class value
    """

    rgba: NDArray[np.uint8]
    bounds: Bounds
    factor: int
    shares: dict[int, float]


@dataclass(frozen=True)
class Pixel:
    """What a run knows of one pixel; maps by their names, (endmember,) or one number."""

    row: int
    column: int
    y: float
    x: float
    maps: Mapping[str, NDArray[Any]]
    path: str  # of its tile, "" where none is done

    @property
    def reasons(self) -> list[str]:
        """Why it is masked."""
        quality = int(self.maps["quality"])
        return [name.replace("_", " ") for name, bit in FLAGS.items() if quality & bit]


class Canvas:
    """A run, opened for looking at: its layers, painted for any window, and its pixels.

    Parameters
    ----------
    run_dir : path
        Its overviews are made first if need be; `advanced` hears of that, as in `open_overviews`.

    Raises
    ------
    RunError
        The folder is not a run, has no finished tile, or cannot be written.
    """

    def __init__(self, run_dir: str | os.PathLike[str], *, advanced: Advanced = lambda share: None) -> None:
        overviews = open_overviews(run_dir, advanced=advanced)
        self.run = overviews.run
        self.endmembers = store.open_endmembers(run_dir)
        self.names = names_of(self.endmembers)
        self.colours = class_colours(len(self.names))
        self.grids = level_grids(self.run.manifest.grid)
        self.levels = {factor: overviews.level(factor, chunks=None) for factor in self.grids}
        chunks = [(chunk.key.split("/"), record.path) for record in overviews.records for chunk in record.chunks]
        self._held: dict[tuple[Any, ...], xr.DataArray] = {}  # what was read last, for a threshold that moves
        self._limits: dict[str, tuple[float, float]] = {}
        self._paths = {(int(parts[-2]), int(parts[-1])): path for parts, path in chunks}

    @property
    def bounds(self) -> Bounds:
        return Bounds(*self.run.manifest.grid.bbox)

    @cached_property
    def layers(self) -> dict[str, Layer]:
        """Every layer of the run by its key, in groups."""
        here = [variable.name for variable in self.run.manifest.variables]
        found = [Layer("Picture", title, QUICKLOOK, picture=name) for name, title in PICTURES.items()]
        for name, group in (("sam_class", "Classes"), ("sid_class", "Classes")):
            found += [Layer(group, f"{name[:3].upper()} classes", name)] if name in here else []
        for name, title in _TITLES.items():
            planes = enumerate(self.names, 1) if name in here else ()
            found += [Layer(title.capitalize(), f"{title}, {text}", name, number) for number, text in planes]
        for name in ("residual", "quality"):
            found += [Layer("Quality", name, name)] if name in here else []
        return {layer.key: layer for layer in found}

    # -------------------------------------------------------------------------------------------- layers

    def paint(self, layer: Layer, window: Bounds, threshold: float | None = None) -> Painted:
        """A layer where the window and the mosaic overlap; None as threshold gives the classes that are stored."""
        factor, rows, columns = self._level(window)
        part = self._read(layer, factor, rows, columns, stored=threshold is None)
        shares: dict[int, float] = {}
        if layer.method:
            classes = part if threshold is None else threshold_classes(part, threshold)
            rgba, shares = class_table(range(1, len(self.names) + 1))[classes.values], _shares(classes.values)
        elif layer.variable == "quality":
            rgba = quality_table()[part.values]
        elif layer.picture:
            rgba = _picture(part.values, self.limits(layer))
        else:
            rgba = _coloured(part.values, self.limits(layer), self.colour_map(layer))
        return Painted(rgba, _edges(self.grids[factor], rows, columns), factor, shares)

    def limits(self, layer: Layer) -> tuple[float, float]:
        """What the ends of a layer's colours stand for: the same in every window."""
        if layer.variable == "abundance":
            return 0.0, 1.0
        name = layer.picture or layer.variable
        if name not in self._limits:
            # of all endmembers alike, so that their maps can be compared
            every = slice(None), slice(None)
            values = self._read(layer._replace(number=0), max(self.levels), *every, stored=False).values
            good = values[np.isfinite(values)]
            low, high = np.percentile(good, (1, 99)) if good.size else (0.0, 1.0)
            self._limits[name] = float(low), float(max(high, low + 1e-6))
        return self._limits[name]

    @staticmethod
    def colour_map(layer: Layer) -> NDArray[np.uint8]:
        """(256, 3) RGB from low to high."""
        from bokeh.palettes import Cividis256, Viridis256

        palette = Viridis256 if layer.variable == "abundance" else Cividis256
        return np.array([list(bytes.fromhex(colour[1:7])) for colour in palette], np.uint8)

    def highest_score(self, method: str) -> float:
        """Above nearly all scores of the nearest endmember: no smaller threshold leaves every pixel its class."""
        scores = self.levels[max(self.levels)][SCORES[method]].values
        good = scores[:, np.isfinite(scores).all(axis=0)]
        return float(np.percentile(good.min(axis=0), 99.9)) if good.size else 1.0

    def threshold(self, method: str) -> float | None:
        """The run's own, where it is one for all endmembers."""
        value = getattr(self.run.config.thresholds, method)
        return float(value) if isinstance(value, float) else None

    def _level(self, window: Bounds) -> tuple[int, slice, slice]:
        """The finest level at which the window is not more than so many pixels, and the pixels it covers there."""
        found = ((factor, *_covered(grid, window)) for factor, grid in self.grids.items())
        fit = (level for level in found if max(part.stop - part.start for part in level[1:]) <= MOST_PIXELS)
        return next(fit)  # the coarsest level always does

    def _read(self, layer: Layer, factor: int, rows: slice, columns: slice, *, stored: bool) -> xr.DataArray:
        """The layer's pixels at a level, in memory; of classes that are not the stored ones, all scores."""
        name = SCORES[layer.method] if layer.method and not stored else layer.variable
        key = name, layer.picture, layer.number, factor, str(rows), str(columns)
        if key not in self._held:
            part = self.levels[factor][name].isel({Y: rows, X: columns})
            if layer.picture:
                part = part.sel({WAVELENGTH: list(BANDS[layer.picture])}, method="nearest")
            elif layer.number:
                part = part.isel({ENDMEMBER: layer.number - 1})
            while len(self._held) >= _HELD:
                del self._held[next(iter(self._held))]
            self._held[key] = part.load()
        return self._held[key]

    # -------------------------------------------------------------------------------------------- pixels

    def pixel(self, x: float, y: float) -> Pixel | None:
        """The pixel at a place, at full resolution; None outside the mosaic."""
        grid = self.run.manifest.grid
        row, column = (
            math.floor((grid.north - y) / grid.resolution[1]),
            math.floor((x - grid.west) / grid.resolution[0]),
        )
        if not (0 <= row < grid.shape[0] and 0 <= column < grid.shape[1]):
            return None
        maps = (
            self.levels[1][[variable.name for variable in self.run.manifest.variables]].isel({Y: row, X: column}).load()
        )
        path = self._paths.get((row // grid.chunk[0], column // grid.chunk[1]), "")
        values = {str(name): maps[name].values for name in maps}
        return Pixel(row, column, float(maps[Y]), float(maps[X]), values, path)

    def spectrum(self, pixel: Pixel) -> xr.DataArray | str:
        """A pixel's reflectance in its tile, at the run's wavelengths; or why it cannot be had."""
        name = Path(pixel.path).name
        if not pixel.path:
            return "no tile is done here"
        if not os.path.exists(pixel.path):
            return f"no spectrum: {name} is no longer there"
        try:
            cube = read_source(pixel.path).cube(masked=True)
            bands = self.run.config.bands
            half = min(self.run.manifest.grid.resolution) / 2
            here = cube.sel({X: pixel.x, Y: pixel.y}, method="nearest", tolerance=half)
            return select_bands(here, windows=bands.windows, drop_last=bands.drop_last).compute(scheduler="threads")
        except KeyError:
            return f"no spectrum: {name} is now of another place"
        except (HsiDaskError, OSError) as error:
            logger.info("%s: %s", pixel.path, error)
            return f"no spectrum: {name} cannot be read"

    def fit(self, pixel: Pixel) -> xr.DataArray | None:
        """(wavelength,) reflectance that the pixel's abundances make of the endmembers; None without abundances."""
        abundance = pixel.maps.get("abundance")
        if abundance is None or not np.isfinite(abundance).all():
            return None
        return (self.endmembers * xr.DataArray(abundance, dims=ENDMEMBER)).sum(ENDMEMBER)


def _covered(grid: Grid, window: Bounds) -> tuple[slice, slice]:
    """Rows and columns of the grid's pixels that the window touches; at least one of each."""
    (height, width), (dx, dy) = grid.shape, grid.resolution

    def within(first: float, last: float, size: int) -> slice:
        start = min(max(math.floor(first), 0), size - 1)
        return slice(start, max(min(math.ceil(last), size), start + 1))

    rows = within((grid.north - window.north) / dy, (grid.north - window.south) / dy, height)
    return rows, within((window.west - grid.west) / dx, (window.east - grid.west) / dx, width)


def _edges(grid: Grid, rows: slice, columns: slice) -> Bounds:
    dx, dy = grid.resolution
    west, east = grid.west + columns.start * dx, grid.west + columns.stop * dx
    return Bounds(west, grid.north - rows.stop * dy, east, grid.north - rows.start * dy)


def _shares(classes: NDArray[np.uint8]) -> dict[int, float]:
    counts = np.bincount(classes.ravel(), minlength=256)[:NO_CLASS]
    return {int(value): float(counts[value] / counts.sum()) for value in np.flatnonzero(counts)}


def _picture(planes: NDArray[np.float32], limits: tuple[float, float]) -> NDArray[np.uint8]:
    """Red, green and blue (3, y, x), stretched alike, so that grey ground stays grey."""
    good = np.isfinite(planes).all(axis=0)
    scaled = np.clip((np.where(good, planes, 0) - limits[0]) / (limits[1] - limits[0]), 0, 1) ** _GAMMA
    rgba = np.empty((*good.shape, 4), np.uint8)
    rgba[..., :3] = np.moveaxis(scaled * 255 + 0.5, 0, -1)
    rgba[..., 3] = good * 255
    return rgba


def _coloured(plane: NDArray[np.float32], limits: tuple[float, float], colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    good = np.isfinite(plane)
    scaled = np.clip((np.where(good, plane, 0) - limits[0]) / (limits[1] - limits[0]), 0, 1)
    rgba = np.empty((*plane.shape, 4), np.uint8)
    rgba[..., :3] = colours[(scaled * 255 + 0.5).astype(np.uint8)]
    rgba[..., 3] = good * 255
    return rgba
