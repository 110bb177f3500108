"""Pixel grids that agree: one CRS, one pixel size, one set of wavelengths, pixels on common lines, not worlds apart."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.errors import GridError
from hsi_dask.schema import SAME_WAVELENGTH

_OFF_GRID = 0.01  # pixels: more is another grid
_SAME_SIZE = 1e-6  # relative: over 10 000 pixels it makes a hundredth of one
_MOST_APART = 10**6  # pixels: 1000 km of 1 m; a mistyped digit, not a site
_NAME = re.compile(r'\["([^"]*)"')  # of a CRS in its WKT


class PixelGrid(NamedTuple):
    """Where the pixels of something are.

    name : for messages
    crs : text; equal texts are equal CRS
    west, north : outer edges of the north-west pixel
    resolution : x, y of a pixel, both positive
    unit : of these
    """

    name: str
    crs: str
    west: float
    north: float
    resolution: tuple[float, float]
    unit: str
    wavelength: NDArray[np.float64]


def offset(first: PixelGrid, other: PixelGrid, advice: str) -> tuple[int, int]:
    """Rows and columns from the first grid's north-west pixel to the other's.

    Parameters
    ----------
    advice : the way out, where they do not agree

    Raises
    ------
    GridError
        Other CRS, pixel sizes, wavelengths or pixel lines, or too far apart. Names both with their values.
    """
    _require_alike(first, other, advice)
    dx, dy = first.resolution
    row, column = (first.north - other.north) / dy, (other.west - first.west) / dx
    if not max(abs(row), abs(column)) < _MOST_APART:
        raise GridError(
            f"{other.name} lies {abs(row):.10g} rows and {abs(column):.10g} columns from {first.name}: too far for one "
            f"mosaic; {advice}"
        )
    if max(abs(row - round(row)), abs(column - round(column))) > _OFF_GRID:
        raise GridError(
            f"{other.name} is off the pixel grid of {first.name} by {row % 1:.2f} rows and {column % 1:.2f} columns; "
            f"{advice}"
        )
    return round(row), round(column)


def corner_name(west: float, south: float) -> str:
    """What a tile is called by its south-west corner.

    Examples
    --------
    >>> corner_name(368000.0, 4306000.0), corner_name(-76.5625, 0.00005)
    ('368000_4306000', '-76.5625_0.00005')
    """
    return "_".join(map(_without_exponent, (west, south)))


def _without_exponent(value: float) -> str:
    text = f"{value:.10g}"
    return np.format_float_positional(value, 10, fractional=False, trim="-") if "e" in text else text


def _require_alike(one: PixelGrid, other: PixelGrid, advice: str) -> None:
    def refuse(has: str, ours: str, theirs: str) -> GridError:
        return GridError(f"{one.name} {has} {ours}, but {other.name} {has} {theirs}; {advice}")

    if one.crs != other.crs:
        raise refuse("lies in", *(_shown(grid.crs) for grid in (one, other)))
    if not np.allclose(one.resolution, other.resolution, rtol=_SAME_SIZE, atol=0):
        raise refuse("has pixels of", *(f"{g.resolution[0]:g} x {g.resolution[1]:g} {g.unit}" for g in (one, other)))
    w, v = one.wavelength, other.wavelength
    if w.size != v.size:
        raise refuse("has", f"{w.size} wavelengths", f"{v.size} wavelengths")
    if (apart := np.abs(w - v)).size and apart.max() > SAME_WAVELENGTH:
        n = int(apart.argmax())
        raise refuse("has", *(f"{values[n]:.2f} nm as wavelength {n + 1}" for values in (w, v)))


def _shown(crs: str) -> str:
    found = _NAME.search(crs)
    return f"{found[1]} ({crs[:40]}...)" if found else crs or "no CRS"
