"""Which pixels of a grid belong to places: the pixel that holds a point, or those whose centres a shape holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.io.places import Places

_STRIP = 2**20  # pixel centres that are looked at together
INSIDE, PARTLY, OUTSIDE, NO_GEOMETRY = "inside", "partly outside", "outside", "no geometry"

Indices = NDArray[np.intp]


class Pixels(NamedTuple):
    """Pixels of one place: rows and columns of the grid."""

    place: int
    rows: Indices
    columns: Indices


@dataclass(frozen=True)
class Lattice:
    """Pixel centres, evenly spaced: x = x0 + column dx, y = y0 + row dy; either step may be negative."""

    x0: float
    dx: float
    y0: float
    dy: float
    shape: tuple[int, int]

    @classmethod
    def of(cls, y: NDArray[np.float64], x: NDArray[np.float64]) -> Lattice:
        """Of coordinates of pixel centres; a single row or column is as wide as the other side's pixels are."""
        steps = [float(c[-1] - c[0]) / (c.size - 1) if c.size > 1 else np.nan for c in (y, x)]
        dy = steps[0] if steps[0] == steps[0] else -abs(steps[1])
        dx = steps[1] if steps[1] == steps[1] else abs(steps[0])
        dx, dy = (step if step == step else sign for step, sign in ((dx, 1.0), (dy, -1.0)))
        return cls(float(x[0]), dx, float(y[0]), dy, (y.size, x.size))

    def at(self, x: Any, y: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Row and column of the pixels that hold places, as whole floats; NaN where coordinates are not finite."""
        with np.errstate(invalid="ignore"):
            row = np.floor((np.asarray(y, np.float64) - self.y0) / self.dy + 0.5)
            column = np.floor((np.asarray(x, np.float64) - self.x0) / self.dx + 0.5)
        return np.where(np.isfinite(row), row, np.nan), np.where(np.isfinite(column), column, np.nan)

    def window(self, west: float, south: float, east: float, north: float) -> tuple[int, int, int, int]:
        """First and last row and column, not cut to the grid, of the pixels that touch a box."""
        rows, columns = self.at([west, east], [south, north])
        return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())


def states(places: Places, lattice: Lattice, buffer: float) -> list[str]:
    """Of each place whether it lies on the grid: inside, partly outside, outside, or no geometry."""
    found = []
    for place in range(places.count):
        box = _box(places, place, buffer)
        if box is None:
            found.append(NO_GEOMETRY)
            continue
        if not np.isfinite(box).all():
            found.append(OUTSIDE)
            continue
        top, bottom, left, right = lattice.window(*box)
        height, width = lattice.shape
        if bottom < 0 or right < 0 or top >= height or left >= width:
            found.append(OUTSIDE)
        else:
            within = top >= 0 and left >= 0 and bottom < height and right < width
            found.append(INSIDE if within else PARTLY)
    return found


def _box(places: Places, place: int, buffer: float) -> tuple[float, float, float, float] | None:
    shape = places.shapes[place] if places.shapes.size else None
    if shape is not None:
        west, south, east, north = shape.bounds
    elif np.isnan(places.x[place]) or np.isnan(places.y[place]):
        return None
    else:
        west = east = float(places.x[place])
        south = north = float(places.y[place])
    return west - buffer, south - buffer, east + buffer, north + buffer


def pixels_of(places: Places, place: int, lattice: Lattice, buffer: float) -> Iterator[Pixels]:
    """The pixels of a place that lie on the grid, in parts.

    A point has the pixel that holds it, with a buffer those whose centres are no farther; a polygon those whose centres
    it holds. One that holds no centre has the pixel in which it lies.
    """
    shape = places.shapes[place] if places.shapes.size else None
    if shape is None and not buffer:
        yield from _single(place, lattice, float(places.x[place]), float(places.y[place]))
        return
    found = False
    if shape is not None:
        import shapely

        shape = shape.buffer(buffer) if buffer else shape
        shapely.prepare(shape)
    for part in _window_pixels(places, place, lattice, buffer):
        x, y = lattice.x0 + part.columns * lattice.dx, lattice.y0 + part.rows * lattice.dy
        if shape is not None:
            kept = shapely.contains_xy(shape, x, y)
        else:
            kept = np.hypot(x - places.x[place], y - places.y[place]) <= buffer
        if kept.any():
            found = True
            yield Pixels(place, part.rows[kept], part.columns[kept])
    if not found:
        inside = shape.representative_point() if shape is not None else None
        x, y = (inside.x, inside.y) if inside is not None else (places.x[place], places.y[place])
        yield from _single(place, lattice, float(x), float(y))


def _single(place: int, lattice: Lattice, x: float, y: float) -> Iterator[Pixels]:
    row, column = lattice.at(x, y)
    if 0 <= row < lattice.shape[0] and 0 <= column < lattice.shape[1]:
        yield Pixels(place, np.array([int(row)], np.intp), np.array([int(column)], np.intp))


def _window_pixels(places: Places, place: int, lattice: Lattice, buffer: float) -> Iterator[Pixels]:
    """All pixels of the box around a place, some rows at a time."""
    box = _box(places, place, buffer)
    if box is None or not np.isfinite(box).all():
        return
    top, bottom, left, right = lattice.window(*box)
    top, bottom = max(top, 0), min(bottom, lattice.shape[0] - 1)
    left, right = max(left, 0), min(right, lattice.shape[1] - 1)
    if bottom < top or right < left:
        return
    columns, step = np.arange(left, right + 1), max(1, _STRIP // (right - left + 1))
    for first in range(top, bottom + 1, step):
        rows = np.arange(first, min(first + step, bottom + 1))
        yield Pixels(place, np.repeat(rows, columns.size), np.tile(columns, rows.size))
