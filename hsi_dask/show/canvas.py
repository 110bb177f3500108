"""What an interactive page shows: layers of a run painted for a window at the level that fits it, and single pixels.

Nothing here knows of browsers. A window is read from the overviews: the whole mosaic costs as little as a corner.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.batch.observer import Advanced
from hsi_dask.io import endmember_store
from hsi_dask.io.levels import QUICKLOOK, level_grids
from hsi_dask.io.map_grid import Grid
from hsi_dask.ops.classes import class_map
from hsi_dask.overviews.overviews import open_overviews
from hsi_dask.schema import CLASS_DIMS, ENDMEMBER, MATERIAL, WAVELENGTH, Variable, X, Y
from hsi_dask.show.composites import composite
from hsi_dask.show.facts import usual_range
from hsi_dask.show.figures import BANDS, picture_of
from hsi_dask.show.labels import Labels, dim_of, labels_of
from hsi_dask.show.layers import Layer, layers_of
from hsi_dask.show.palettes import class_table, colours_of, quality_table, ramp_of, ramp_table
from hsi_dask.show.pixels import Pixel, Tiles
from hsi_dask.show.settings import Settings
from hsi_dask.show.stretch import Stretch, stretch_of

MOST_PIXELS = 1600  # along a side of what is read and sent for one window
_HELD = 4  # arrays of one window: the whole mosaic, coarsely, and what is in view, each with the picture below it

Thresholds = float | Sequence[float | None] | None


class Bounds(NamedTuple):
    """Outer edges, metres."""

    west: float
    south: float
    east: float
    north: float


class Painted(NamedTuple):
    """A layer in a window.

    rgba : (y, x, 4) uint8, north first
    bounds : of these pixels; they cover the window where there is mosaic
    factor : pixels of the mosaic along a side of each
    shares : of a map of whole numbers, the share of each value among the pixels with one
    """

    rgba: NDArray[np.uint8]
    bounds: Bounds
    factor: int
    shares: dict[int, float]


class Canvas:
    """A run, opened for looking at: its layers, painted for any window, and its pixels.

    Parameters
    ----------
    run_dir : path
        Its overviews are made first if need be; `advanced` is called as by `open_overviews`.

    Raises
    ------
    RunError
        The folder is not a run, has no finished tile, or cannot be written.
    """

    def __init__(self, run_dir: str | os.PathLike[str], *, advanced: Advanced = lambda share: None) -> None:
        self.overviews = open_overviews(run_dir, advanced=advanced)
        self.run = self.overviews.run
        self.settings = Settings(self.run)
        self.endmembers = endmember_store.open_endmembers(run_dir)
        self.grids = level_grids(self.run.manifest.grid)
        self._held: dict[tuple[Any, ...], xr.DataArray] = {}  # what was read last, for a threshold that moves
        self._limits: dict[str, tuple[float, float]] = {}
        self.tiles = Tiles(self.run.manifest.grid, self.overviews.records, self.settings)
        self._opened()

    def _opened(self) -> None:
        """The maps, which change when classes are saved."""
        self.variables = {variable.name: variable for variable in self.overviews.variables}
        self.levels = {factor: self.overviews.level(factor, chunks=None) for factor in self.grids}
        self.layers: Mapping[str, Layer] = layers_of(self.overviews.variables, self.labels, self._means)

    def _means(self, variable: Variable) -> list[float]:
        """Of each plane, over all pixels."""
        return [plane.mean for plane in self.overviews.statistics[variable.name]]

    @property
    def bounds(self) -> Bounds:
        return Bounds(*self.run.manifest.grid.bbox)

    @cached_property
    def names(self) -> Labels:
        """Of the endmembers."""
        return labels_of(self.endmembers)

    def labels(self, variable: Variable) -> Labels:
        """Of what the planes, or the class values, of a map stand for."""
        material = dim_of(variable, self.variables) == MATERIAL
        return labels_of(self.endmembers, MATERIAL) if material else self.names

    # -------------------------------------------------------------------------------------------- layers

    def paint(self, layer: Layer, window: Bounds, thresholds: Thresholds = None) -> Painted:
        """A layer where the window and the mosaic overlap; None as thresholds gives the classes that are stored.

        Nothing but overviews and results is read: for wavelengths of the tiles themselves see `paint_bands`.
        """
        factor, rows, columns = self._level(window)
        part = self._read(layer, factor, rows, columns, stored=thresholds is None)
        bounds = _edges(self.grids[factor], rows, columns)
        if layer.role in ("class", "flag", "model"):
            values = (part if thresholds is None else self._classified(layer.spec, part, thresholds)).values
            rgba = self.table(layer)[values.astype(np.int64)]
            return Painted(rgba, bounds, factor, _shares(values, layer.spec.fill_value))
        if layer.mix:
            return Painted(composite(part.values), bounds, factor, {})
        if layer.picture:
            return Painted(picture_of(part.values, self.stretch(layer.picture)), bounds, factor, {})
        return Painted(_coloured(part.values, self.limits(layer), self.colour_map(layer)), bounds, factor, {})

    def table(self, layer: Layer) -> NDArray[np.uint8]:
        """(n, 4) RGBA of the values of a map of classes, flags or models; the last is of -1."""
        if layer.role == "flag":
            return quality_table()
        if layer.role == "class":
            return class_table(self.labels(layer.spec).numbers)
        statistics = self.overviews.statistics[layer.variable]
        largest = int(max((plane.maximum for plane in statistics if plane.count), default=0))
        table = np.zeros((largest + 2, 4), np.uint8)
        for number, colour in enumerate(colours_of(range(1, largest + 1)), 1):
            table[number] = [*bytes.fromhex(colour[1:]), 255]
        return table

    def limits(self, layer: Layer) -> tuple[float, float]:
        """What the ends of a layer's colours stand for: the same in every window and for all planes of a map."""
        name = layer.variable
        if layer.spec.limits is not None:
            return layer.spec.limits
        if name not in self._limits:
            self._limits[name] = usual_range(self.levels[max(self.levels)][name].values)
        return self._limits[name]

    def stretch(self, picture: str) -> Stretch:
        """How a picture of the quicklook becomes bright: the same in every window."""
        return self._stretches[_of_quicklook(picture)]

    @cached_property
    def _stretches(self) -> dict[str, Stretch]:
        looks = self.levels[max(self.levels)][QUICKLOOK].load()
        return {name: stretch_of(looks.sel({WAVELENGTH: list(nm)}, method="nearest").values)
                for name, nm in BANDS.items()}  # fmt: skip

    @staticmethod
    def colour_map(layer: Layer) -> NDArray[np.uint8]:
        """(256, 3) RGB from low to high."""
        return ramp_table(ramp_of(layer.spec))

    def mean(self, layer: Layer) -> float:
        """Of all pixels of a plane, NaN where none has data."""
        return self.overviews.statistics[layer.variable][layer.plane].mean

    # -------------------------------------------------------------------------------------------- thresholds

    def scores_of(self, classes: Variable) -> Variable | None:
        """The map whose best a class map shows."""
        return self.variables.get(classes.of or "")

    def score_range(self, classes: Variable) -> tuple[float, float]:
        """Between the best and the worst score of nearly all pixels: no threshold beyond changes a class."""
        scores = self.variables[str(classes.of)]
        if scores.limits is not None:
            return scores.limits
        values = self.levels[max(self.levels)][scores.name].values
        good = values[:, np.isfinite(values).all(axis=0)]
        if not good.size:
            return 0.0, 1.0
        if scores.better == "low":
            return 0.0, float(np.percentile(good.min(axis=0), 99.9))
        low, high = np.percentile(good.max(axis=0), (0.1, 99.9))
        return float(low), float(max(high, low + 1e-6))

    def thresholds(self, classes: Variable) -> list[float | None]:
        """By which a class map was made, one for each plane of its scores."""
        kept = [c.thresholds for c in self.overviews.reclassified if c.variable.name == classes.name]
        value = kept[0] if kept else self.settings.threshold(classes)
        count = len(self.labels(classes).numbers)
        return list(value) if isinstance(value, list | tuple) else [value] * count

    def save_classes(self, layer: Layer, name: str, thresholds: Sequence[float | None]) -> Layer:
        """Keep a class map by these thresholds in the run; its layer.

        Raises
        ------
        ConfigError
            The run has another map of that name, or a map cannot be called so.
        RunError
            The run cannot be written.
        """
        kept = {classes.variable.name: classes for classes in self.overviews.reclassified}
        like = kept[layer.variable].like if layer.variable in kept else layer.variable
        self.overviews.keep_classes(like, name, tuple(thresholds))
        self.overviews = open_overviews(self.run.path)
        self._held.clear()
        self._opened()
        return self.layers[name]

    def _classified(self, classes: Variable, scores: xr.DataArray, thresholds: Thresholds) -> xr.DataArray:
        of = self.variables[str(classes.of)]
        numbers = self.labels(classes).numbers
        each = [thresholds] * len(numbers) if isinstance(thresholds, float | int) else list(thresholds or ())
        without = np.inf if of.better == "low" else -np.inf
        limits = np.array([without if one is None else one for one in each], np.float64)
        planes = scores.rename({of.dims[0]: ENDMEMBER}) if of.dims[0] != ENDMEMBER else scores
        return class_map(planes.assign_coords({ENDMEMBER: list(numbers)}), limits, of, classes)

    # -------------------------------------------------------------------------------------------- reading

    def _level(self, window: Bounds) -> tuple[int, slice, slice]:
        """The finest level at which the window is not more than so many pixels, and the pixels it covers there."""
        found = ((factor, *_covered(grid, window)) for factor, grid in self.grids.items())
        fit = (level for level in found if max(part.stop - part.start for part in level[1:]) <= MOST_PIXELS)
        return next(fit)  # the coarsest level always does

    def _read(self, layer: Layer, factor: int, rows: slice, columns: slice, *, stored: bool) -> xr.DataArray:
        """The layer's pixels at a level, in memory; of classes that are not the stored ones, all scores."""
        name = layer.variable if stored or layer.role != "class" else str(layer.spec.of)
        key = name, layer.picture, layer.mix, layer.number, factor, str(rows), str(columns)
        if key not in self._held:
            part = self.levels[factor][name].isel({Y: rows, X: columns})
            if layer.picture:
                part = part.sel({WAVELENGTH: list(BANDS[_of_quicklook(layer.picture)])}, method="nearest")
            elif layer.mix:
                part = part[list(layer.mix)]
            elif layer.number:
                part = part[layer.plane]
            while len(self._held) >= _HELD:
                del self._held[next(iter(self._held))]
            self._held[key] = part.load()
        return self._held[key]

    def paint_bands(self, window: Bounds, wavelengths: Sequence[float]) -> Painted | str:
        """One or three wavelengths, nm, of the tiles in a window; or why they cannot be had. Slow: tiles are read."""
        factor, rows, columns = self._level(window)
        planes = self.tiles.planes(factor, rows, columns, wavelengths)
        if isinstance(planes, str):
            return planes
        rgba = picture_of(planes if len(planes) == 3 else np.repeat(planes, 3, axis=0))
        return Painted(rgba, _edges(self.grids[factor], rows, columns), factor, {})

    # -------------------------------------------------------------------------------------------- pixels

    def pixel(self, x: float, y: float) -> Pixel | None:
        """The pixel at a place, at full resolution; None outside the mosaic."""
        grid = self.run.manifest.grid
        row = math.floor((grid.north - y) / grid.resolution[1])
        column = math.floor((x - grid.west) / grid.resolution[0])
        if not (0 <= row < grid.shape[0] and 0 <= column < grid.shape[1]):
            return None
        maps = self.levels[1][list(self.variables)].isel({Y: row, X: column}).load()
        values = {str(name): maps[name].values for name in maps}
        return Pixel(row, column, float(maps[Y]), float(maps[X]), values, self.tiles.path_at(row, column))

    def spectrum(self, pixel: Pixel) -> xr.DataArray | str:
        """A pixel's reflectance in its tile, at the run's wavelengths; or why it cannot be had."""
        return self.tiles.spectrum(pixel)

    def region(self, x: Sequence[float], y: Sequence[float]) -> xr.DataArray | str:
        """The mean spectrum inside a polygon, metres; or why it cannot be had."""
        return self.tiles.region(x, y)

    @property
    def model(self) -> Variable | None:
        """The map of the library's spectra that stand for each material."""
        return next((v for v in self.variables.values() if v.role == "model" and MATERIAL in v.dims), None)

    def parts(self, pixel: Pixel) -> dict[str, xr.DataArray]:
        """What a pixel's mixture model is the sum of, by words: each library spectrum times its fraction.

        Empty without a map of models. Fractions of the lit part are brought back to the whole pixel by its shade.
        """
        model, variables = self.model, list(self.variables.values())
        fraction = next((v for v in variables if model and (v.role, v.dims) == ("fraction", model.dims)), None)
        if model is None or fraction is None or not np.isfinite(pixel.maps[fraction.name]).all():
            return {}
        numbers, shares = pixel.maps[model.name], pixel.maps[fraction.name].astype(np.float64)
        shade = next((v.name for v in variables if v.role == "shade"), None)
        if shade is not None and shares.sum():
            shares = shares * (1 - float(pixel.maps[shade])) / shares.sum()
        names = dict(zip(self.names.numbers, self.names.names, strict=True))
        return {
            f"{share:.2f} x {names[number]}": share * self.endmembers.sel({ENDMEMBER: number})
            for number, share in zip(numbers.tolist(), shares.tolist(), strict=True)
            if number in names
        }

    def fits(self, pixel: Pixel) -> dict[str, xr.DataArray]:
        """By map of fractions, or of models, (wavelength,) reflectance that a pixel's fractions make of the spectra."""
        parts = list(self.parts(pixel).values())
        found = {self.model.name: sum(parts[1:], parts[0])} if self.model and parts else {}
        for name, variable in self.variables.items():
            if variable.role == "fraction" and variable.dims == (ENDMEMBER, *CLASS_DIMS):
                fractions = pixel.maps[name]
                if np.isfinite(fractions).all():
                    found[name] = (self.endmembers * xr.DataArray(fractions, dims=ENDMEMBER)).sum(ENDMEMBER)
        return found


def _of_quicklook(picture: str) -> str:
    """The picture itself, or what stands for one that tiles have to be read for."""
    return picture if picture in BANDS else "true"


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


def _shares(values: NDArray[Any], missing: float) -> dict[int, float]:
    found, counts = np.unique(values, return_counts=True)
    known = {int(v): int(n) for v, n in zip(found, counts, strict=True) if v != missing}
    return {value: number / sum(known.values()) for value, number in known.items()}


def _coloured(plane: NDArray[np.float32], limits: tuple[float, float], colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    good = np.isfinite(plane)
    scaled = np.clip((np.where(good, plane, 0) - limits[0]) / (limits[1] - limits[0]), 0, 1)
    rgba = np.empty((*plane.shape, 4), np.uint8)
    rgba[..., :3] = colours[(scaled * 255 + 0.5).astype(np.uint8)]
    rgba[..., 3] = good * 255
    return rgba
