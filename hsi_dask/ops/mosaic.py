"""Many lazy cubes as one on their common grid; where there is none, there is no data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import xarray as xr

from hsi_dask.errors import ConfigError, GridError, SchemaError
from hsi_dask.ops.decoding import storage
from hsi_dask.ops.grids import PixelGrid, corner_name, offset
from hsi_dask.ops.patchwork import overlapping, patchwork
from hsi_dask.schema import CUBE_DIMS, GRID_MAPPING, WAVELENGTH, X, Y, describe_coordinates, require_dims

Overlap = Literal["error", "first", "last"]

_STORED = ("scale_factor", "_FillValue")  # what stored integers mean; the rest of the attributes may differ


class _Place(NamedTuple):
    """A cube on the grid: where it is on the ground, and where its north-west pixel is in the mosaic."""

    grid: PixelGrid
    row: int = 0
    column: int = 0

    @property
    def name(self) -> str:
        return self.grid.name


def mosaic(cubes: Sequence[xr.DataArray], *, overlap: Overlap = "error") -> xr.DataArray:
    """Join lazy cubes into one that spans them all. Nothing is computed; no data lie between them.

    Parameters
    ----------
    cubes : (y, x, wavelength) each, on dask, on one pixel grid and one set of wavelengths.
    overlap : what holds where cubes overlap: "error" refuses; "first", "last" take the first or last of
        them that has data, wavelength by wavelength.

    Returns
    -------
    (y, x, wavelength), lazy. Blocks are the cubes' own where these agree; a cube whose edges lie inside the
    blocks of larger ones is fitted into them. attrs: what all cubes have in common, `tiles` (easting_northing of
    each cube's south-west corner) and `tile_bounds` (west, south, east, north of each in turn, metres).

    Raises
    ------
    GridError : different CRS, resolution, wavelengths or pixel grids, or cubes that overlap. Names both.
    SchemaError : a cube is not lazy, or stored integers that mean different things.
    """
    if overlap not in get_args(Overlap):
        raise ConfigError(f"overlap must be one of {', '.join(get_args(Overlap))}, not {overlap!r}")
    if not cubes:
        raise ConfigError("a mosaic needs at least one cube")
    cubes = [require_dims(cube, CUBE_DIMS, "each cube of a mosaic") for cube in cubes]
    grids = [_grid(cube, f"cube {n}") for n, cube in enumerate(cubes, 1)]
    places = [_Place(grid, *offset(grids[0], grid, "open them apart")) for grid in grids]
    for cube, grid in zip(cubes[1:], grids[1:], strict=True):
        _require_same_numbers(cubes[0], grids[0], cube, grid)
    places, shape = _from_corner(places, cubes)
    joined = patchwork(
        [cube.data for cube in cubes], [(p.row, p.column, 0) for p in places], (*shape, cubes[0].sizes[WAVELENGTH]),
        fill=_fill(cubes[0]), last_first=overlap == "last",
    )  # fmt: skip
    if overlap == "error" and (shared := overlapping(joined)) is not None:
        a, b, rows, columns = shared
        raise GridError(
            f"{places[a].name} and {places[b].name} overlap by {rows} rows and {columns} columns; "
            'say which holds with overlap="first" or "last", or leave one out'
        )
    return _labelled(cubes, places, joined)


# ------------------------------------------------------------------------------------------------ one grid


def _grid(cube: xr.DataArray, otherwise: str) -> PixelGrid:
    name = str(cube.attrs.get("source", otherwise))
    if not hasattr(cube.data, "dask"):
        raise SchemaError(f"{name} is not lazy; open it with chunks, or call .chunk()")
    dx, dy = _resolution(cube, name)
    west, north = float(cube[X][0]) - dx / 2, float(cube[Y][0]) + dy / 2
    wavelength = np.asarray(cube[WAVELENGTH], dtype=np.float64)
    return PixelGrid(name, _crs(cube), west, north, (dx, dy), str(cube[X].attrs.get("units", "m")), wavelength)


def _resolution(cube: xr.DataArray, name: str) -> tuple[float, float]:
    """Between pixels, x and y, positive; where there is one pixel, as along the other dimension."""
    found = []
    for dim, sign in ((X, 1), (Y, -1)):
        if dim not in cube.coords:
            raise SchemaError(f"{name} has no coordinate {dim}; a mosaic goes by the ground")
        values = np.asarray(cube[dim], dtype=np.float64)
        found.append(float(sign * (values[-1] - values[0]) / (values.size - 1)) if values.size > 1 else None)
    dx, dy = found
    return dx or dy or 1.0, dy or dx or 1.0


def _require_same_numbers(one: xr.DataArray, at: PixelGrid, other: xr.DataArray, there: PixelGrid) -> None:
    for key in _STORED:
        if one.attrs.get(key) != other.attrs.get(key):
            raise SchemaError(
                f"{at.name} has {key} {one.attrs.get(key)}, but {there.name} {other.attrs.get(key)}; "
                "open with masked=True"
            )
    if one.dtype != other.dtype:
        raise SchemaError(f"{at.name} holds {one.dtype}, but {there.name} {other.dtype}; open with masked=True")


def _crs(cube: xr.DataArray) -> str:
    if "epsg" in cube.attrs:
        return f"EPSG:{cube.attrs['epsg']}"
    return str(cube.coords[GRID_MAPPING].attrs.get("crs_wkt", "")) if GRID_MAPPING in cube.coords else ""


def _from_corner(places: Sequence[_Place], cubes: Sequence[xr.DataArray]) -> tuple[list[_Place], tuple[int, int]]:
    """The places counted from the mosaic's north-west pixel, and the pixels (y, x) that they span."""
    top, left = min(p.row for p in places), min(p.column for p in places)
    bottom = max(p.row + c.sizes[Y] for p, c in zip(places, cubes, strict=True))
    right = max(p.column + c.sizes[X] for p, c in zip(places, cubes, strict=True))
    return [p._replace(row=p.row - top, column=p.column - left) for p in places], (bottom - top, right - left)


def _fill(cube: xr.DataArray) -> float:
    if cube.dtype.kind == "f":
        return float("nan")
    if (fill := storage(cube).fill) is None:
        raise SchemaError(f"the cubes are {cube.dtype} without a _FillValue in attrs; open with masked=True")
    return fill


def _labelled(cubes: Sequence[xr.DataArray], places: Sequence[_Place], data: Any) -> xr.DataArray:
    first, (dx, dy) = cubes[0], places[0].grid.resolution
    west, north = places[0].grid.west - places[0].column * dx, places[0].grid.north + places[0].row * dy
    coords: dict[Any, Any] = {
        Y: xr.Variable(Y, north - (np.arange(data.shape[0]) + 0.5) * dy, first[Y].attrs),
        X: xr.Variable(X, west + (np.arange(data.shape[1]) + 0.5) * dx, first[X].attrs),
        **{name: c.variable for name, c in first.coords.items() if c.dims == (WAVELENGTH,)},
    }
    if "good_wavelength" in coords:
        good = np.all([cube["good_wavelength"].values for cube in cubes], axis=0)
        coords["good_wavelength"] = xr.Variable(WAVELENGTH, good)
    if GRID_MAPPING in first.coords:
        coords[GRID_MAPPING] = first[GRID_MAPPING].variable
    describe_coordinates(coords)
    common = {k: v for k, v in first.attrs.items() if all(k in c.attrs and c.attrs[k] == v for c in cubes)}
    bounds = [
        (p.grid.west, p.grid.north - c.sizes[Y] * dy, p.grid.west + c.sizes[X] * dx, p.grid.north)
        for p, c in zip(places, cubes, strict=True)
    ]
    attrs = {"tiles": [corner_name(*b[:2]) for b in bounds], "tile_bounds": list(sum(bounds, ()))}
    joined = xr.DataArray(data, coords, CUBE_DIMS, first.name, common | attrs)
    joined.encoding["grid_mapping"] = GRID_MAPPING
    return joined
