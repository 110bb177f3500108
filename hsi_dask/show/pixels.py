"""Spectra and planes from the tiles of a run: of one pixel, of a region, or of a wavelength in a window."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.batch.state.manifest import TileRecord
from hsi_dask.errors import HsiDaskError
from hsi_dask.io.map_grid import Grid
from hsi_dask.io.readers import read_source
from hsi_dask.ops.bands import select_bands
from hsi_dask.schema import FLAGS, WAVELENGTH, X, Y
from hsi_dask.show.settings import Settings

logger = logging.getLogger(__name__)

MOST_TILES = 6  # that are read for wavelengths of a window: each may have to be inflated whole
_MOST_REGION = 4000  # pixels of a region whose spectra are read; of larger ones every n-th
_KEPT = 24  # planes of tiles in memory


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


class Tiles:
    """The files of a run's tiles, read as it read them."""

    def __init__(self, grid: Grid, records: Sequence[TileRecord], settings: Settings) -> None:
        self.grid, self.settings = grid, settings
        self._paths = {cell: record.path for record in records for cell in record.cells}
        self._planes: OrderedDict[tuple[str, float], tuple[int, int, NDArray[np.float32]]] = OrderedDict()

    def path_at(self, row: int, column: int) -> str:
        """The file of a pixel of the mosaic; "" where no tile is done."""
        return self._paths.get((row // self.grid.chunk[0], column // self.grid.chunk[1]), "")

    def paths_in(self, rows: slice, columns: slice) -> list[str]:
        """The files of pixels of the mosaic."""
        (tall, wide), cells = self.grid.chunk, self._paths
        down = range(rows.start // tall, (rows.stop - 1) // tall + 1)
        across = range(columns.start // wide, (columns.stop - 1) // wide + 1)
        return list(dict.fromkeys(cells[i, j] for i in down for j in across if (i, j) in cells))

    def spectrum(self, pixel: Pixel) -> xr.DataArray | str:
        """A pixel's reflectance, at the run's wavelengths; or why it cannot be had."""
        name = Path(pixel.path).name
        if not pixel.path:
            return "no tile is done here"
        if not os.path.exists(pixel.path):
            return f"no spectrum: {name} is no longer there"
        try:
            cube = read_source(pixel.path).cube(masked=True)
            half = min(self.grid.resolution) / 2
            here = cube.sel({X: pixel.x, Y: pixel.y}, method="nearest", tolerance=half)
            return self._chosen(here).compute(scheduler="threads")
        except KeyError:
            return f"no spectrum: {name} is now of another place"
        except (HsiDaskError, OSError) as error:
            logger.info("%s: %s", pixel.path, error)
            return f"no spectrum: {name} cannot be read"

    def region(self, x: Sequence[float], y: Sequence[float]) -> xr.DataArray | str:
        """The mean spectrum of the pixels in a polygon, with `pixels`, how many it is of; or why there is none."""
        rows, columns, inside = self._inside(x, y)
        if not inside.any():
            return "no pixel of the mosaic is in the region"
        total, pixels, wavelength = 0.0, 0, None
        try:
            for spectra, nm in self._regions(rows, columns, inside):
                good, wavelength = spectra[np.isfinite(spectra).all(axis=1)], nm
                total, pixels = total + good.sum(axis=0, dtype=np.float64), pixels + len(good)
        except (HsiDaskError, OSError) as error:
            logger.info("%s", error)
            return "no spectrum: a tile of the region cannot be read"
        if wavelength is None or not pixels:
            return "no pixel with data is in the region"
        return xr.DataArray(total / pixels, {WAVELENGTH: wavelength}, (WAVELENGTH,), attrs={"pixels": pixels})

    def _inside(self, x: Sequence[float], y: Sequence[float]) -> tuple[slice, slice, NDArray[np.bool_]]:
        """Rows and columns around a polygon, and which of their pixels have their centre in it."""
        from rasterio.features import geometry_mask
        from rasterio.transform import Affine

        (dx, dy), (height, width) = self.grid.resolution, self.grid.shape
        across = (np.array(x, np.float64) - self.grid.west) / dx
        down = (self.grid.north - np.array(y, np.float64)) / dy
        rows, columns = (
            slice(int(np.clip(np.floor(side.min()), 0, size)), int(np.clip(np.ceil(side.max()), 0, size)))
            for side, size in ((down, height), (across, width))
        )
        shape = max(rows.stop - rows.start, 0), max(columns.stop - columns.start, 0)
        if min(shape) < 1:
            return rows, columns, np.zeros((0, 0), bool)
        ring = list(zip((across - columns.start).tolist(), (down - rows.start).tolist(), strict=True))
        polygon = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
        return rows, columns, geometry_mask([polygon], shape, Affine.identity(), invert=True)

    def _regions(
        self, rows: slice, columns: slice, inside: NDArray[np.bool_]
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[Any]]]:
        """Spectra (pixel, wavelength) of a region and nm, a tile at a time; of a large one every n-th pixel."""
        step = max(1, int(np.ceil(np.sqrt(inside.sum() / _MOST_REGION))))
        for path in self.paths_in(rows, columns):
            cube = self._chosen(read_source(path).cube(masked=True))
            top, left = self._place(cube)
            own = slice(max(rows.start - top, 0), min(rows.stop - top, cube.sizes[Y]), step)
            across = slice(max(columns.start - left, 0), min(columns.stop - left, cube.sizes[X]), step)
            if own.stop <= own.start or across.stop <= across.start:
                continue
            mask = inside[own.start + top - rows.start : own.stop + top - rows.start : step,
                          across.start + left - columns.start : across.stop + left - columns.start : step]  # fmt: skip
            values = cube.isel({Y: own, X: across}).transpose(Y, X, WAVELENGTH).compute(scheduler="threads")
            yield values.values[mask], np.asarray(values[WAVELENGTH])

    def planes(
        self, factor: int, rows: slice, columns: slice, wavelengths: Sequence[float]
    ) -> NDArray[np.float32] | str:
        """(n, y, x) reflectance at these wavelengths, nm, of pixels at a level, every `factor`-th of the mosaic's."""
        fine = slice(rows.start * factor, min(rows.stop * factor, self.grid.shape[0]))
        wide = slice(columns.start * factor, min(columns.stop * factor, self.grid.shape[1]))
        paths = self.paths_in(fine, wide)
        if len(paths) > MOST_TILES:
            return f"zoom in: wavelengths are read from the tiles themselves, {MOST_TILES} at most, not {len(paths)}"
        out = np.full((len(wavelengths), rows.stop - rows.start, columns.stop - columns.start), np.nan, np.float32)
        try:
            for number, wanted in enumerate(wavelengths):
                for path in paths:
                    top, left, plane = self._plane(path, wanted)
                    _put(out[number], plane, top, left, rows.start * factor, columns.start * factor, factor)
        except (HsiDaskError, OSError) as error:
            logger.info("%s", error)
            return "a tile in view cannot be read"
        return out

    def _plane(self, path: str, wanted: float) -> tuple[int, int, NDArray[np.float32]]:
        """Row and column of a tile's north-west pixel, and its plane nearest to a wavelength."""
        cube = read_source(path).cube(masked=True)
        number = int(np.abs(np.asarray(cube[WAVELENGTH], np.float64) - wanted).argmin())
        key = path, float(number)
        if key not in self._planes:
            values = cube.isel({WAVELENGTH: number}).compute(scheduler="threads").values
            self._planes[key] = (*self._place(cube), values)
            while len(self._planes) > _KEPT:
                self._planes.popitem(last=False)
        self._planes.move_to_end(key)
        return self._planes[key]

    def _place(self, cube: xr.DataArray) -> tuple[int, int]:
        """Row and column in the mosaic of a cube's north-west pixel."""
        (dx, dy), y, x = self.grid.resolution, float(cube[Y][0]), float(cube[X][0])
        return round((self.grid.north - y) / dy - 0.5), round((x - self.grid.west) / dx - 0.5)

    def _chosen(self, cube: xr.DataArray) -> xr.DataArray:
        """The run's wavelengths."""
        return select_bands(cube, windows=self.settings.windows, drop_last=self.settings.drop_last)


def _put(
    out: NDArray[np.float32], plane: NDArray[np.float32], top: int, left: int, first: int, leftmost: int, factor: int
) -> None:
    """Every `factor`-th pixel of a tile's plane at (top, left) of the mosaic, into a window that begins elsewhere."""
    targets, sources = [], []
    for begin, start, size, room in ((top, first, plane.shape[0], out.shape[0]),
                                     (left, leftmost, plane.shape[1], out.shape[1])):  # fmt: skip
        low = max(0, -(-(begin - start) // factor))  # the first of the window's pixels that the tile has
        high = min(room, -(-(begin + size - start) // factor))
        targets.append(slice(low, high))
        sources.append(slice(start + low * factor - begin, start + (high - 1) * factor - begin + 1, factor))
        if high <= low:
            return
    out[tuple(targets)] = plane[tuple(sources)]
