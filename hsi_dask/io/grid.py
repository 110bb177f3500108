"""Any Zarr or netCDF-4 cube of reflectance on a map grid: names and CF attributes tell y, x and wavelength.

References: https://cfconventions.org (standard names, grid mappings, packed data)
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.errors import FileFormatError, GridError
from hsi_dask.io import crs as reference
from hsi_dask.io import foreign_zarr, netcdf
from hsi_dask.io.blocks import StoredCube
from hsi_dask.io.chunked import ChunkedArray
from hsi_dask.io.decoding import Reflectance, Say, no_data_of, scale_of
from hsi_dask.io.plausible import plausible
from hsi_dask.io.readers import Reader, file_identity
from hsi_dask.io.stored_variables import StoredVariable, StoredVariables
from hsi_dask.io.tile_source import TileSource
from hsi_dask.io.views import SomeBands, Transposed
from hsi_dask.io.wavelengths import ascending, nanometres_per
from hsi_dask.schema import WATER_VAPOUR_WINDOWS

_WAVELENGTHS = re.compile(r"(band_?)?wave_?lengths?|wl|wvl|(band_?)?cent(er|re)s?(_wavelengths?)?")
_SPECTRAL = {"radiation_wavelength", "sensor_band_central_radiation_wavelength"}
_NAMES = {
    "y": ({"y", "lat", "latitude", "northing"}, {"projection_y_coordinate", "latitude", "grid_latitude"}),
    "x": ({"x", "lon", "longitude", "easting"}, {"projection_x_coordinate", "longitude", "grid_longitude"}),
}
_OFF = 0.1  # pixels that a coordinate may be off a regular grid: float32 degrees are
_GOOD = re.compile(r"good_?wavelengths?|good_?bands?|bbl")
_WIDTHS = re.compile(r"fwhm|band_?widths?")
_MOST_COORDINATES = 2**24  # along one dimension
_DATE = re.compile(r"20\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])")


class _Axis(NamedTuple):
    """A dimension of the cube, and the coordinate along it."""

    dim: str
    coordinate: StoredVariable


class _Cube(NamedTuple):
    """The variable of reflectance, and its axes."""

    variable: StoredVariable
    y: _Axis
    x: _Axis
    wavelength: _Axis


def read(path: str) -> TileSource:
    """What a Zarr folder or netCDF-4 file says of the cube that it holds.

    Raises
    ------
    FileFormatError
        It holds none, or several; pixels are not on a regular, north-up grid; or there is no CRS.
    """
    held = _variables(path)
    cube = _found(held)
    _require_sizes(held, cube)
    notes: list[str] = []
    wavelength, kept = _wavelengths(held, cube, notes.append)
    west, north, resolution = _place(held, cube)
    stored, scale, fill = _numbers(held, cube, kept, notes.append)
    bad, (size, mtime_ns) = _bad(held, cube), _identity(path)
    source = TileSource(
        path=path, reader="grid", reflectance=stored, scale_factor=scale, fill_value=fill,
        wavelength=wavelength[kept], fwhm=_widths(held, cube, kept), bad=None if bad is None else bad[kept],
        windows=WATER_VAPOUR_WINDOWS if bad is None else (), own_windows=bad is not None,
        crs=_crs(held, cube, notes.append), west=west, north=north, resolution=resolution,
        site=_text(held, cube, "site"), product=_text(held, cube, "product"), visit=_text(held, cube, "visit"),
        dates=_dates(held, cube), notes=tuple(notes), file_size=size, mtime_ns=mtime_ns,
    )  # fmt: skip
    return plausible(source, f"{path}: {cube.variable.name}", "scale_factor", "_FillValue").told()


def _variables(path: str) -> StoredVariables:
    return foreign_zarr.read_variables(path) if os.path.isdir(path) else netcdf.read_variables(path)


# ------------------------------------------------------------------------------------------------ the cube


def _found(held: StoredVariables) -> _Cube:
    cubes = list(_cubes(held))
    named = [cube for cube in cubes if "reflectance" in cube.variable.own_name]
    chosen = named if len(named) == 1 else cubes
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        names = ", ".join(cube.variable.name for cube in chosen[:5])
        raise FileFormatError(f"{held.path} holds {len(chosen)} cubes ({names}); write each to a file of its own")
    if held.refused:
        name, reason = min(held.refused.items(), key=lambda one: "reflectance" not in one[0].lower())
        raise FileFormatError(f"{held.path} holds no cube that can be read: {name} is refused, {reason}")
    raise FileFormatError(f"{held.path} holds no cube (y, x, wavelength); {_lack(held)}")


def _require_sizes(held: StoredVariables, cube: _Cube) -> None:
    """Refuse coordinates that are more or fewer than what they are along; FileFormatError."""
    sizes = dict(zip(cube.variable.dims, cube.variable.array.shape, strict=True))
    for dim, coordinate in (cube.y, cube.x, cube.wavelength):
        if (count := coordinate.array.shape[0]) != sizes[dim]:
            raise FileFormatError(
                f"{held.path}: {coordinate.name} has {count} numbers, but {cube.variable.name} is {sizes[dim]} long "
                f"along {dim}; write it again"
            )


def _lack(held: StoredVariables) -> str:
    """What speaks against the cubes there are, as the end of a sentence."""
    for variable in held.variables.values():
        if len(variable.dims) == 3 and (band := _spectral_axis(held, variable)) is not None:
            others = [dim for dim in variable.dims if dim != band.dim]
            return f"{variable.name} has no coordinates along {' and '.join(others)}: orthorectify it to a map grid"
    return "give a variable of three dimensions with their coordinates, wavelengths among them"


def _cubes(held: StoredVariables) -> Iterator[_Cube]:
    for variable in held.variables.values():
        if len(set(variable.dims)) != 3 or variable.dtype.kind not in "iuf" or 0 in variable.array.shape:
            continue
        y, x, band = _axis(held, variable, "y"), _axis(held, variable, "x"), _spectral_axis(held, variable)
        if y and x and band and len({y.dim, x.dim, band.dim}) == 3:
            yield _Cube(variable, y, x, band)


def _axis(held: StoredVariables, variable: StoredVariable, which: str) -> _Axis | None:
    """The dimension that is y or x by its coordinate's standard name, axis or own name."""
    names, standard = _NAMES[which]
    for dim in variable.dims:
        if (coordinate := held.variables.get(dim)) is None or coordinate.dims != (dim,):
            continue
        known = coordinate.text("standard_name")
        if known in standard or (not known and (coordinate.text("axis").lower() == which or dim.lower() in names)):
            return _Axis(dim, coordinate)
    return None


def _spectral_axis(held: StoredVariables, variable: StoredVariable) -> _Axis | None:
    """The dimension along which there are wavelengths, under whatever name."""
    for dim in variable.dims:
        along = [one for one in held.variables.values() if one.dims == (dim,)]
        by_standard = [one for one in along if one.text("standard_name") in _SPECTRAL]
        by_name = [one for one in along if _WAVELENGTHS.fullmatch(one.own_name)]
        for one in (*by_standard, *by_name):
            if one.dtype.kind in "iuf":
                return _Axis(dim, one)
    return None


def _beside(held: StoredVariables, cube: _Cube, name: re.Pattern[str]) -> StoredVariable | None:
    """A variable along the cube's wavelengths."""
    along = (one for one in held.variables.values() if one.dims == (cube.wavelength.dim,))
    same = (one for one in along if one.array.shape == cube.wavelength.coordinate.array.shape)
    return next((one for one in same if name.fullmatch(one.own_name)), None)


def _values(variable: StoredVariable) -> NDArray[np.float64]:
    """(n,) numbers of a coordinate."""
    if variable.array.shape[0] > _MOST_COORDINATES:
        raise FileFormatError(f"{variable.name} has {variable.array.shape[0]} numbers: too many for a coordinate")
    return np.asarray(variable.array[:], dtype=np.float64)


# ------------------------------------------------------------------------------------------------ its numbers


def _numbers(
    held: StoredVariables, cube: _Cube, kept: NDArray[np.bool_], say: Say
) -> tuple[StoredCube, float, float | None]:
    """The cube as (y, x, wavelength), what a reflectance of 1 is stored as, and the number of no data."""
    variable, where = cube.variable, f"{held.path}: {cube.variable.name}"
    if variable.attrs.get("_Unsigned") is not None:
        raise FileFormatError(f"{where} is packed as _Unsigned; rewrite it with an unsigned type")
    factor, offset = variable.number("scale_factor"), variable.number("add_offset") or 0.0
    if factor is not None and not 0 < factor < np.inf:
        raise FileFormatError(f"{where} has scale_factor {factor:g}; it must be positive")
    percent = variable.text("units").lower() in ("%", "percent")
    if factor is None and (offset or percent):
        factor = 1.0
    fill, dtype = variable.number("_FillValue"), variable.dtype
    fill = no_data_of(dtype, variable.number("missing_value") if fill is None else fill, "_FillValue", say)
    scale = scale_of(dtype, None if factor is None else (100.0 if percent else 1.0) / factor, "scale_factor", say)
    stored = _ordered(cube)
    if not kept.all():
        stored = SomeBands(stored, tuple(np.flatnonzero(kept).tolist()))
    if offset:  # numbers that are not in proportion to reflectance: decoded as they are read
        return Reflectance(stored, scale, fill, -offset / (factor or 1.0)), 1.0, None
    return stored, scale, fill


def _ordered(cube: _Cube) -> ChunkedArray:
    axes = tuple(cube.variable.dims.index(axis.dim) for axis in (cube.y, cube.x, cube.wavelength))
    return cube.variable.array if axes == (0, 1, 2) else Transposed(cube.variable.array, axes)


def _wavelengths(held: StoredVariables, cube: _Cube, say: Say) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Wavelengths, nm, and which of them to keep so that they ascend."""
    coordinate = cube.wavelength.coordinate
    values = _values(coordinate)
    try:
        values = values * nanometres_per(coordinate.text("units"), values, say)
        return values, ascending(values, say)
    except ValueError as error:
        raise FileFormatError(f"{held.path} {error}") from error


def _widths(held: StoredVariables, cube: _Cube, kept: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    found = _beside(held, cube, _WIDTHS)
    if found is None or found.dtype.kind not in "iuf":
        return None
    values, along = _values(found), cube.wavelength.coordinate
    try:
        return values[kept] * nanometres_per(found.text("units") or along.text("units"), _values(along), _silent)
    except ValueError:
        return None


def _silent(note: str) -> None:
    """What was assumed of the wavelengths has been said."""


def _bad(held: StoredVariables, cube: _Cube) -> NDArray[np.bool_] | None:
    found = _beside(held, cube, _GOOD)
    return None if found is None else _values(found) == 0


# ------------------------------------------------------------------------------------------------ its place


def _place(held: StoredVariables, cube: _Cube) -> tuple[float, float, tuple[float, float]]:
    """West, north and pixel size, from the coordinates of pixel centres."""
    ends = {}
    for which, axis, sign in (("x", cube.x, 1), ("y", cube.y, -1)):
        values = _values(axis.coordinate)
        step = (values[-1] - values[0]) / max(1, values.size - 1) * sign
        if values.size > 1 and not step > 0:
            how = "descends" if which == "x" else "ascends"
            raise FileFormatError(f"{held.path}: {axis.dim} {how}; store the cube north-up (y descending, x ascending)")
        expected = values[0] + np.arange(values.size) * step * sign
        if values.size > 1 and not np.abs(values - expected).max() < _OFF * step:
            raise FileFormatError(f"{held.path}: {axis.dim} is not regular; resample the cube to a regular grid")
        ends[which] = float(values[0]), float(step)
    (x, dx), (y, dy) = ends["x"], ends["y"]
    dx, dy = dx or dy, dy or dx
    if not (np.isfinite([x, y, dx, dy]).all() and dx > 0):
        raise FileFormatError(f"{held.path}: one pixel says nothing of its size; give a cube of more")
    return x - dx / 2, y + dy / 2, (dx, dy)


def _crs(held: StoredVariables, cube: _Cube, say: Say) -> str:
    try:
        for attrs in _mappings(held, cube):
            if (found := reference.from_attrs(attrs)) is not None:
                return found
    except GridError as error:
        raise FileFormatError(f"{held.path} cannot be placed: {error}") from error
    if cube.x.coordinate.text("standard_name") == "longitude" or cube.x.dim.lower() in ("lon", "longitude"):
        say("a CRS is missing: latitude and longitude of WGS 84 assumed")
        return "EPSG:4326"
    raise FileFormatError(f"{held.path} has no CRS; write one (rioxarray: cube.rio.write_crs)")


def _mappings(held: StoredVariables, cube: _Cube) -> Iterator[Mapping[str, Any]]:
    """Attributes that may tell the CRS: of the grid mapping, of the cube, of the whole."""
    name = cube.variable.text("grid_mapping").partition(":")[0].split(" ")[0]
    for one in (name, "spatial_ref", "crs"):
        if one in held.variables:
            attrs = held.variables[one].attrs
            if _is_turned(str(attrs.get("GeoTransform", ""))):
                raise FileFormatError(f"{held.path} is rotated (GeoTransform of {one}); warp it north-up (gdalwarp)")
            yield attrs
    yield cube.variable.attrs
    yield held.attrs


def _is_turned(transform: str) -> bool:
    try:
        numbers = [float(part) for part in transform.split()]
    except ValueError:
        return False
    return len(numbers) == 6 and bool(numbers[2] or numbers[4])


# ------------------------------------------------------------------------------------------------ what it says


def _text(held: StoredVariables, cube: _Cube, key: str) -> str:
    """An attribute of the cube, or of the whole."""
    value = cube.variable.text(key) or held.attrs.get(key)
    return value.strip() if isinstance(value, str) else ""


def _dates(held: StoredVariables, cube: _Cube) -> tuple[str, ...]:
    told = [cube.variable.attrs.get("acquisition_dates"), _text(held, cube, "time_coverage_start")]
    return tuple(sorted(set(_DATE.findall(" ".join(map(str, told))))))


def _identity(path: str) -> tuple[int, int]:
    return foreign_zarr.identity(path) if os.path.isdir(path) else file_identity(path)


def _recognises(path: str) -> bool:
    """A cube in it, or an ending that says that there should be one."""
    if os.path.isdir(path):
        return foreign_zarr.is_zarr(path) and any(True for _ in _cubes(_variables(path)))
    with open(path, "rb") as stream:
        if stream.read(8) != b"\x89HDF\r\n\x1a\n":
            return False
    return any(True for _ in _cubes(_variables(path)))


READER = Reader(
    name="grid",
    title="Zarr or netCDF-4 cube with y, x and wavelength",
    suffixes=(".zarr", ".nc", ".nc4"),
    recognises=_recognises,
    read=read,
    identity=_identity,
)
