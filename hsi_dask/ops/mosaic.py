"""Many lazy cubes as one on their common grid; where there is none, there is no data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import xarray as xr

from hsi_dask.errors import ConfigError, GridError, SchemaError
from hsi_dask.ops.patchwork import overlapping, patchwork
from hsi_dask.schema import CUBE_DIMS, GRID_MAPPING, WAVELENGTH, X, Y, describe_coordinates, require_dims

Overlap = Literal["error", "first", "last"]

_OFF_GRID = 0.01  # pixels: more is another grid
_APART = 0.01  # nm: more are other wavelengths, as in `schema.require_wavelengths`
_STORED = ("scale_factor", "_FillValue")  # what stored integers mean; the rest of the attributes may differ


class _Place(NamedTuple):
    """A cube on the grid: outer edges and pixel size in metres, and where its north-west pixel is."""

    name: str
    west: float
    north: float
    resolution: tuple[float, float]
    row: int = 0
    column: int = 0


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
    places = [_place(cube, f"cube {n}") for n, cube in enumerate(cubes, 1)]
    for cube, place in zip(cubes[1:], places[1:], strict=True):
        _require_alike(cubes[0], places[0], cube, place)
    places, shape = _on_grid(places, cubes)
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


def _place(cube: xr.DataArray, otherwise: str) -> _Place:
    name = str(cube.attrs.get("source", otherwise))
    if not hasattr(cube.data, "dask"):
        raise SchemaError(f"{name} is not lazy; open it with chunks, or call .chunk()")
    dx, dy = (_spacing(cube, dim, name) for dim in (X, Y))
    return _Place(name, float(cube[X][0]) - dx / 2, float(cube[Y][0]) + dy / 2, (dx, dy))


def _spacing(cube: xr.DataArray, dim: str, name: str) -> float:
    """Metres between pixels, positive; of a single one as its CRS says."""
    if dim not in cube.coords:
        raise SchemaError(f"{name} has no coordinate {dim}; a mosaic goes by the ground")
    values = np.asarray(cube[dim], dtype=np.float64)
    if values.size > 1:
        step = (values[-1] - values[0]) / (values.size - 1)
        return float(step if dim == X else -step)
    transform = str(cube.coords[GRID_MAPPING].attrs.get("GeoTransform", "")) if GRID_MAPPING in cube.coords else ""
    numbers = [float(part) for part in transform.split()]
    return abs(numbers[1 if dim == X else 5]) if len(numbers) == 6 else 1.0


def _require_alike(one: xr.DataArray, at: _Place, other: xr.DataArray, there: _Place) -> None:
    def refuse(has: str, ours: str, theirs: str) -> GridError:
        return GridError(f"{at.name} {has} {ours}, but {there.name} {has} {theirs}; open them apart")

    ours, theirs = (_crs(cube) for cube in (one, other))
    if ours != theirs:
        raise refuse("lies in", ours, theirs)
    if not np.allclose(at.resolution, there.resolution, rtol=0, atol=1e-6):
        raise refuse("has pixels of", *(f"{p.resolution[0]:g} x {p.resolution[1]:g} m" for p in (at, there)))
    w, v = (np.asarray(cube[WAVELENGTH], dtype=np.float64) for cube in (one, other))
    if w.size != v.size:
        raise refuse("has", f"{w.size} wavelengths", f"{v.size} wavelengths")
    if (apart := np.abs(w - v)).size and apart.max() > _APART:
        n = int(apart.argmax())
        raise refuse("has", *(f"{values[n]:.2f} nm as wavelength {n + 1}" for values in (w, v)))
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
    return str(cube.coords[GRID_MAPPING].attrs.get("crs_wkt", "")) if GRID_MAPPING in cube.coords else "no CRS"


def _on_grid(places: Sequence[_Place], cubes: Sequence[xr.DataArray]) -> tuple[list[_Place], tuple[int, int]]:
    """The places with their rows and columns, and the pixels (y, x) that they span."""
    first, (dx, dy) = places[0], places[0].resolution
    found = []
    for place in places:
        row, column = (first.north - place.north) / dy, (place.west - first.west) / dx
        if max(abs(row - round(row)), abs(column - round(column))) > _OFF_GRID:
            raise GridError(
                f"{place.name} is off the pixel grid of {first.name} by {row % 1:.2f} rows and {column % 1:.2f} "
                "columns; open them apart"
            )
        found.append(place._replace(row=round(row), column=round(column)))
    top, left = min(p.row for p in found), min(p.column for p in found)
    bottom = max(p.row + c.sizes[Y] for p, c in zip(found, cubes, strict=True))
    right = max(p.column + c.sizes[X] for p, c in zip(found, cubes, strict=True))
    return [p._replace(row=p.row - top, column=p.column - left) for p in found], (bottom - top, right - left)


def _fill(cube: xr.DataArray) -> float:
    if cube.dtype.kind == "f":
        return float("nan")
    if "_FillValue" not in cube.attrs:
        raise SchemaError(f"the cubes are {cube.dtype} without a _FillValue in attrs; open with masked=True")
    return float(cube.attrs["_FillValue"])


def _labelled(cubes: Sequence[xr.DataArray], places: Sequence[_Place], data: Any) -> xr.DataArray:
    first, (dx, dy) = cubes[0], places[0].resolution
    west, north = places[0].west - places[0].column * dx, places[0].north + places[0].row * dy
    coords: dict[Any, Any] = {
        Y: xr.Variable(Y, north - (np.arange(data.shape[0]) + 0.5) * dy),
        X: xr.Variable(X, west + (np.arange(data.shape[1]) + 0.5) * dx),
        **{name: c.variable for name, c in first.coords.items() if c.dims == (WAVELENGTH,)},
    }
    if "good_wavelength" in coords:
        good = np.all([cube["good_wavelength"].values for cube in cubes], axis=0)
        coords["good_wavelength"] = xr.Variable(WAVELENGTH, good)
    if GRID_MAPPING in first.coords:
        transform = " ".join(map(str, (west, dx, 0.0, north, 0.0, -dy)))
        coords[GRID_MAPPING] = xr.Variable((), 0, first[GRID_MAPPING].attrs | {"GeoTransform": transform})
    describe_coordinates(coords)
    common = {k: v for k, v in first.attrs.items() if all(k in c.attrs and c.attrs[k] == v for c in cubes)}
    bounds = [
        (p.west, p.north - c.sizes[Y] * dy, p.west + c.sizes[X] * dx, p.north)
        for p, c in zip(places, cubes, strict=True)
    ]
    attrs = {"tiles": [f"{b[0]:.10g}_{b[1]:.10g}" for b in bounds], "tile_bounds": list(sum(bounds, ()))}
    joined = xr.DataArray(data, coords, CUBE_DIMS, first.name, common | attrs)
    joined.encoding["grid_mapping"] = GRID_MAPPING
    return joined
