"""A map of a run as a GeoTIFF with overviews: what it says of itself, and its pixels a row of chunks at a time."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hsi_dask.errors import RunError
from hsi_dask.io import cog
from hsi_dask.io.levels import level_grids, stored_array
from hsi_dask.io.map_grid import Grid
from hsi_dask.overviews.coarsening import halved
from hsi_dask.overviews.statistics import Cell, Statistics, damage_named, place
from hsi_dask.schema import CLASS_DIMS, Variable
from hsi_dask.show.palettes import class_table, colours_of, quality_table


def value_colours(variable: Variable, numbers: Collection[int], legend: Collection[int]) -> NDArray[np.uint8]:
    """(n, 4) RGBA of the values of a map of classes, flags, or models with these numbers."""
    if variable.role == "flag":
        return quality_table()
    if variable.role != "model":
        return class_table(numbers)
    table = np.zeros((max(legend, default=0) + 1, 4), np.uint8)
    for number in legend:
        table[number] = [*bytes.fromhex(colours_of([number])[0][1:]), 255]
    return table


class Levels(Protocol):
    """Maps at every level, with statistics: what a run's overviews are, or the change between two runs."""

    @property
    def grid(self) -> Grid: ...

    @property
    def cells(self) -> Collection[Cell]:
        """The chunks of the finest level that hold data."""
        ...

    @property
    def statistics(self) -> Mapping[str, Sequence[Statistics]]:
        """Of every plane, by the map's name."""
        ...

    def source(self, name: str, factor: int = 1) -> tuple[Path, str]:
        """Zarr folder and name of a map's array at a level."""
        ...


@dataclass(frozen=True)
class MapImage:
    """A map on its way into a GeoTIFF, with its overviews.

    Attributes
    ----------
    planes : names of endmembers or materials, one a band
    legend : names of values; none of a map of numbers
    colours : (n, 4) RGBA of values
    tags : of the file
    """

    spec: Variable
    overviews: Levels
    planes: Sequence[str]
    legend: Mapping[int, str]
    colours: NDArray[np.uint8]
    tags: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def grid(self) -> Grid:
        return self.overviews.grid

    @property
    def bands(self) -> list[str]:
        name = self.name.replace("_", " ")
        return [f"{name}: {plane}" for plane in self.planes] if len(self.spec.dims) > len(CLASS_DIMS) else [name]

    def pattern(self) -> bytes:
        """A GeoTIFF of one pixel without data that says all the rest."""
        from rasterio import MemoryFile
        from rasterio.crs import CRS
        from rasterio.errors import CRSError
        from rasterio.transform import Affine

        try:
            crs = CRS.from_user_input(self.grid.crs)
        except CRSError as error:
            raise RunError(f"{self.name} is in {self.grid.label}, which GDAL does not know") from error
        profile = {
            "driver": "GTiff", "dtype": self.spec.dtype, "count": len(self.bands), "nodata": self.spec.fill_value,
            "height": 1, "width": 1, "crs": crs, "transform": Affine(*self.grid.transform),
        }  # fmt: skip
        with MemoryFile() as memory:
            with memory.open(**profile) as file:
                self.describe(file)
            return bytes(memory.getbuffer())

    def describe(self, file: Any) -> None:
        """Metadata, names, units and statistics of bands, colours of classes and flags."""
        file.update_tags(TIFFTAG_IMAGEDESCRIPTION=self.spec.long_name, **self.tags)
        for number, name in enumerate(self.bands, 1):
            file.set_band_description(number, name)
            if self.spec.units and self.spec.units != "1":
                file.set_band_unit(number, self.spec.units)
            file.update_tags(number, **self.statistics(number - 1))
        if self.spec.dtype == "uint8" and len(self.bands) == 1:  # only then has a GeoTIFF a colour table
            file.write_colormap(1, dict(enumerate(map(tuple, self.colours[:256].tolist()))))

    def statistics(self, band: int) -> dict[str, str]:
        """As GDAL keeps them; nothing of a band without data."""
        found = self.overviews.statistics[self.name][band]
        if not found.count:
            return {}
        told = {
            "MINIMUM": found.minimum, "MAXIMUM": found.maximum, "MEAN": found.mean, "STDDEV": found.std,
            "VALID_PERCENT": 100 * found.count / math.prod(self.grid.shape),
        }  # fmt: skip
        return {f"STATISTICS_{what}": f"{value:.9g}" for what, value in told.items()}

    def levels(self, pool: Executor) -> list[cog.Level]:
        """The map, its overviews as stored, and what these lack down to a single block."""
        sources: list[_Stored | _Halved] = []
        for factor, grid in level_grids(self.grid).items():
            path, name = self.overviews.source(self.name, factor)
            cells = self.overviews.cells if factor == 1 else None
            sources.append(_Stored(self.spec, stored_array(path, name), grid, path, cells, pool))
        while max(sources[-1].shape) > cog.BLOCK:
            sources.append(_Halved(self.spec, sources[-1]))
        return [cog.Level(source.shape, source.strips) for source in sources]


@dataclass(frozen=True)
class _Stored:
    """A level in a Zarr store, read a row of chunks at a time; of these cells only, if they are given."""

    spec: Variable
    array: Any
    grid: Grid
    path: Path
    cells: Collection[Cell] | None
    pool: Executor

    @property
    def shape(self) -> tuple[int, int]:
        return self.grid.shape

    def strips(self, band: int) -> Iterator[NDArray[Any]]:
        (height, width), tall = self.shape, self.grid.chunk[0]
        last = (height - 1) // tall
        number, rows, coming = -1, np.empty((0, width), self.array.dtype), self._started(band, 0)
        for first in range(0, height, cog.BLOCK):
            strip = np.empty((min(cog.BLOCK, height - first), width), rows.dtype)
            done = 0
            while done < len(strip):
                if (first + done) // tall != number:
                    number += 1
                    rows, jobs = coming
                    for job in jobs:
                        job.result()
                    if number < last:
                        coming = self._started(band, number + 1)
                piece = rows[first + done - number * tall :][: len(strip) - done]
                strip[done : done + len(piece)] = piece
                done += len(piece)
            yield strip

    def _started(self, band: int, row: int) -> tuple[NDArray[Any], list[Future[None]]]:
        """A row of chunks, and the jobs that decode them into it side by side."""
        cells = [(row, column) for column in range(-(-self.shape[1] // self.grid.chunk[1]))]
        places = [place(self.grid, cell) for cell in cells if self.cells is None or cell in self.cells]
        down = place(self.grid, cells[0])[0]
        rows = np.full((down.stop - down.start, self.shape[1]), self.spec.fill_value, self.array.dtype)
        return rows, [self.pool.submit(self._read, band, at, rows) for at in places]

    def _read(self, band: int, at: tuple[slice, slice], rows: NDArray[Any]) -> None:
        way_out = {} if self.cells is not None else {"way_out": "remove that folder and export again"}
        with damage_named(self.spec.name, at, self.path, **way_out):
            rows[:, at[1]] = self.array[(*[band] * (self.array.ndim - 2), *at)]


@dataclass(frozen=True)
class _Halved:
    """One level below another, made in memory: of levels of a thousand pixels and less."""

    spec: Variable
    finer: _Stored | _Halved

    @property
    def shape(self) -> tuple[int, int]:
        down, across = (-(-side // 2) for side in self.finer.shape)
        return down, across

    def strips(self, band: int) -> Iterator[NDArray[Any]]:
        values = halved(np.concatenate(list(self.finer.strips(band))), self.spec)
        yield from (values[top : top + cog.BLOCK] for top in range(0, len(values), cog.BLOCK))
