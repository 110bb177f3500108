"""The pixel grid of maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from hsi_dask.io import crs as reference
from hsi_dask.io.documents import Text, between
from hsi_dask.io.zarr_metadata import Side

Metres = Annotated[float, between(-1e9, 1e9)]
Step = Annotated[float, between(1e-9, 1e6)]  # metres or degrees


@dataclass(frozen=True)
class Grid:
    """A north-up pixel grid, cut into chunks. West and north are outer edges, in the units of the CRS."""

    crs: Text  # "EPSG:n" where there is such a code, else WKT
    west: Metres
    north: Metres
    resolution: tuple[Step, Step]  # x, y; both positive
    shape: tuple[Side, Side]  # y, x
    chunk: tuple[Side, Side]  # y, x

    @property
    def epsg(self) -> int | None:
        """The code of the CRS, if it has one."""
        return reference.epsg(self.crs)

    @property
    def label(self) -> str:
        """The CRS as people call it."""
        return reference.label(self.crs)

    @property
    def unit(self) -> str:
        """Of west, north and resolution: "m", "degree", ..."""
        return reference.unit(self.crs)

    @property
    def pixel_area(self) -> float:
        """Square metres of a pixel, in degrees of the one in the middle."""
        west, south, east, north = self.bbox
        return reference.pixel_area(self.crs, (west + east) / 2, (south + north) / 2, self.resolution)

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """Affine coefficients (a, b, c, d, e, f): x = a column + b row + c, y = d column + e row + f."""
        return self.resolution[0], 0.0, self.west, 0.0, -self.resolution[1], self.north

    @property
    def bbox(self) -> tuple[float, float, float, float]:
        """Outer edges (west, south, east, north)."""
        (rows, columns), (dx, dy) = self.shape, self.resolution
        return self.west, self.north - rows * dy, self.west + columns * dx, self.north

    @property
    def y(self) -> NDArray[np.float64]:
        """Pixel centres, descending."""
        return np.asarray(self.north - (np.arange(self.shape[0]) + 0.5) * self.resolution[1], np.float64)

    @property
    def x(self) -> NDArray[np.float64]:
        """Pixel centres, ascending."""
        return np.asarray(self.west + (np.arange(self.shape[1]) + 0.5) * self.resolution[0], np.float64)
