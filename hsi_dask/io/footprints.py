"""Which pixels of a grid belong to places: the pixel that holds a point, or those whose centres a shape holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.io.places import Places

_STRIP = 2**20  # pixel centres that are looked at together
_EDGE = 1e-6  # pixels: a shape that ends on the grid's edge is inside
INSIDE, PARTLY, OUTSIDE, NO_GEOMETRY = "inside", "partly outside", "outside", "no geometry"

Indices = NDArray[np.intp]
Floats = NDArray[np.float64]


class Pixels(NamedTuple):
    """Pixels of places: of each the number of its place, and its row and column in the grid."""

    place: Indices
    rows: Indices
    columns: Indices

    def part(self, which: Any) -> Pixels:
        return Pixels(*(values[which] for values in self))


@dataclass(frozen=True)
class Lattice:
    """Pixel centres, evenly spaced: x = x0 + column dx, y = y0 + row dy; either step may be negative."""

    x0: float
    dx: float
    y0: float
    dy: float
    shape: tuple[int, int]

    @classmethod
    def of(cls, y: Floats, x: Floats) -> Lattice:
        """Of coordinates of pixel centres; a single row or column is as wide as the other side's pixels are."""
        steps = [float(c[-1] - c[0]) / (c.size - 1) if c.size > 1 else np.nan for c in (y, x)]
        dy = steps[0] if steps[0] == steps[0] else -abs(steps[1])
        dx = steps[1] if steps[1] == steps[1] else abs(steps[0])
        dx, dy = (step if step == step else sign for step, sign in ((dx, 1.0), (dy, -1.0)))
        return cls(float(x[0]), dx, float(y[0]), dy, (y.size, x.size))

    def at(self, x: Any, y: Any) -> tuple[Floats, Floats]:
        """How far down and across places lie, in pixels from the outer corner of the first; NaN where not finite."""
        with np.errstate(invalid="ignore"):
            down = (np.asarray(y, np.float64) - self.y0) / self.dy + 0.5
            across = (np.asarray(x, np.float64) - self.x0) / self.dx + 0.5
        return np.where(np.isfinite(down), down, np.nan), np.where(np.isfinite(across), across, np.nan)


def _boxes(places: Places, buffer: float) -> Floats:
    """(n, 4) west, south, east, north of each place with its buffer; NaN without geometry."""
    boxes = np.column_stack([places.x, places.y, places.x, places.y])
    if places.shapes.size:
        import shapely

        bounds = shapely.bounds(places.shapes)
        boxes = np.where(np.isnan(bounds), boxes, bounds)
    return np.asarray(boxes + np.array([-buffer, -buffer, buffer, buffer]))


def _spans(places: Places, lattice: Lattice, buffer: float) -> tuple[Floats, Floats]:
    """(2, n) least and largest distance of each place down, and across."""
    boxes = _boxes(places, buffer)
    down, across = lattice.at(boxes[:, [0, 2]], boxes[:, [1, 3]])
    return np.sort(down, axis=1).T, np.sort(across, axis=1).T


def states(places: Places, lattice: Lattice, buffer: float) -> NDArray[Any]:
    """Of each place whether it lies on the grid: inside, partly outside, outside, or no geometry."""
    found = np.full(places.count, INSIDE, dtype=object)
    is_point = _are_points(places, buffer)
    for (low, high), size in zip(_spans(places, lattice, buffer), lattice.shape, strict=True):
        found[(low < -_EDGE) | (high > size + _EDGE)] = PARTLY
    for (low, high), size in zip(_spans(places, lattice, buffer), lattice.shape, strict=True):
        beyond = np.where(is_point, (low < 0) | (low >= size), (high <= 0) | (low >= size))
        found[beyond | np.isnan(low) | np.isnan(high)] = OUTSIDE
    has_shape = np.array([shape is not None for shape in places.shapes], bool) if places.shapes.size else False
    found[(np.isnan(places.x) | np.isnan(places.y)) & ~np.asarray(has_shape)] = NO_GEOMETRY
    return found


def _are_points(places: Places, buffer: float) -> NDArray[np.bool_]:
    """Places that have one pixel each."""
    if buffer:
        return np.zeros(places.count, bool)
    return (
        np.array([shape is None for shape in places.shapes], bool)
        if places.shapes.size
        else np.ones(places.count, bool)
    )


def pixels_of(places: Places, chosen: Indices, lattice: Lattice, buffer: float) -> Iterator[Pixels]:
    """The pixels of these places that lie on the grid, in their order, in parts.

    A point has the pixel that holds it, with a buffer those whose centres are no farther; a polygon those whose centres
    it holds. One that holds no centre has the pixel in which it lies.
    """
    single = _are_points(places, buffer)[chosen]
    if single.all():
        yield _holding(chosen, lattice, places.x[chosen], places.y[chosen])
        return
    spans = _spans(places, lattice, buffer)
    for place, alone in zip(chosen, single, strict=True):
        one = np.array([place], np.intp)
        if alone:
            yield _holding(one, lattice, places.x[one], places.y[one])
        else:
            yield from _within(places, one, lattice, buffer, spans)


def _holding(place: Indices, lattice: Lattice, x: Any, y: Any) -> Pixels:
    """The pixels that hold points, of those on the grid."""
    down, across = lattice.at(x, y)
    inside = (down >= 0) & (across >= 0) & (down < lattice.shape[0]) & (across < lattice.shape[1])
    return Pixels(place[inside], down[inside].astype(np.intp), across[inside].astype(np.intp))


def _within(
    places: Places, one: Indices, lattice: Lattice, buffer: float, spans: tuple[Floats, Floats]
) -> Iterator[Pixels]:
    """The pixels whose centres lie in a polygon, or near a place."""
    place, found = int(one[0]), False
    shape = places.shapes[place] if places.shapes.size else None
    if shape is not None:
        import shapely

        with np.errstate(all="ignore"):
            shape = shape.buffer(buffer) if buffer else shape
        shapely.prepare(shape)
    for part in _window(one, lattice, spans):
        x, y = lattice.x0 + part.columns * lattice.dx, lattice.y0 + part.rows * lattice.dy
        if shape is not None:
            with np.errstate(all="ignore"):  # vertices may be as far away as numbers go
                kept = shapely.contains_xy(shape, x, y)
        else:
            kept = np.hypot(x - places.x[place], y - places.y[place]) <= buffer
        if kept.any():
            found = True
            yield part.part(kept)
    if not found:
        inside = shape.representative_point() if shape is not None else None
        x, y = (inside.x, inside.y) if inside is not None else (places.x[place], places.y[place])
        yield _holding(one, lattice, np.array([x]), np.array([y]))


def _window(one: Indices, lattice: Lattice, spans: tuple[Floats, Floats]) -> Iterator[Pixels]:
    """All pixels of the box around a place, some rows at a time."""
    (top, bottom), (left, right) = (
        (max(int(np.floor(low)), 0), min(int(np.ceil(high)), size))
        for (low, high), size in zip((span[:, one[0]] for span in spans), lattice.shape, strict=True)
    )
    if bottom <= top or right <= left:
        return
    columns, step = np.arange(left, right), max(1, _STRIP // (right - left))
    for first in range(top, bottom, step):
        rows = np.arange(first, min(first + step, bottom))
        yield Pixels(
            np.full(rows.size * columns.size, one[0]), np.repeat(rows, columns.size), np.tile(columns, rows.size)
        )
