"""NEON layouts -> Dataset: groups, attributes, coordinates, QA layers. An xarray backend, engine="neon"."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from hsi_dask import schema
from hsi_dask.errors import FileFormatError, SchemaError
from hsi_dask.io import hdf5
from hsi_dask.io.hdf5 import StoredArray
from hsi_dask.schema import CUBE_DIMS, GRID_MAPPING, WAVELENGTH, X, Y

logger = logging.getLogger(__name__)

# What files that lost an attribute mean by its absence: the value of every NEON file looked at
WATER_VAPOUR_WINDOWS = ((1340.0, 1445.0), (1790.0, 1955.0))  # nm
SCALE_FACTOR, NO_DATA = 10000.0, -9999.0
OFF_SWATH = 241.0  # no data in one-byte layers, which cannot hold the -9999 that their attribute claims

_NAME = re.compile(r"NEON_D\d\d_[A-Z0-9]{4}_(DP\d)_(.+?)_(bidirectional_)?reflectance.*\.h5")
_WINDOW = re.compile(r"Band_Window_\d+_Nanometers")
_DATE = re.compile(r"(?<!\d)(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?!\d)")

Say = Callable[[str], None]  # takes one sentence on what the file lacks and what was done about it


@dataclass(frozen=True)
class Layer:
    """A map beside the cube, (y, x) or (y, x, n), as stored; elements equal to `fill_value` are no data."""

    stored: StoredArray
    fill_value: float | None
    attrs: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class NeonFile:
    """What a NEON reflectance file holds, without its pixels. Pickles; no handle inside.

    Attributes
    ----------
    site : str, the root group's name
    level : "DP1" (flight line), "DP3" (mosaic tile) or "unknown"
    product : such as "DP3.30006.001", or "unknown"; inferred from the layout unless the file's name tells
    reflectance : the cube (y, x, wavelength) as stored: reflectance x `scale_factor`, no data `fill_value`
    wavelength, fwhm : (L,) float64, nm; a width the file does not give is NaN
    windows : (low, high) of the water-vapour windows, nm; the fallback where `own_windows` is False
    west, north : outer edges of the north-west pixel, metres in `epsg`
    resolution : (x, y) of a pixel, metres, both positive
    dates, flight_lines : days of acquisition, "2022-06-23", and lines, where the name or the logs tell
    remarks : the file's own words on cloud conditions and BRDF correction
    layers : quality and ancillary maps by their name in lower case
    notes : one sentence for everything that was missing and how it was replaced
    """

    site: str
    level: str
    product: str
    product_inferred: bool
    reflectance: StoredArray
    scale_factor: float
    fill_value: float | None
    wavelength: NDArray[np.float64] = field(repr=False)
    fwhm: NDArray[np.float64] = field(repr=False)
    windows: tuple[tuple[float, float], ...]
    own_windows: bool
    epsg: int
    west: float
    north: float
    resolution: tuple[float, float]
    dates: tuple[str, ...]
    flight_lines: tuple[str, ...]
    remarks: Mapping[str, str]
    layers: Mapping[str, Layer] = field(repr=False)
    notes: tuple[str, ...]

    @property
    def path(self) -> str:
        return self.reflectance.path

    @property
    def shape(self) -> tuple[int, ...]:
        return self.reflectance.shape

    @property
    def file_size(self) -> int:
        return self.reflectance.file_size

    @property
    def mtime_ns(self) -> int:
        return self.reflectance.mtime_ns

    @property
    def good_wavelength(self) -> NDArray[np.bool_]:
        """(L,) bool: outside the water-vapour windows, whose ends belong to them."""
        w = self.wavelength
        good: NDArray[np.bool_] = np.all([(w < low) | (w > high) for low, high in self.windows], axis=0)
        return good

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Outer edges (west, south, east, north), metres."""
        (rows, columns), (dx, dy) = self.shape[:2], self.resolution
        return self.west, self.north - rows * dy, self.west + columns * dx, self.north


# ------------------------------------------------------------------------------------------------ opening


def open_neon(path: str | os.PathLike[str], *, chunks: Any = "auto", masked: bool = True) -> xr.DataArray:
    """Open a NEON reflectance tile or flight line as a lazy labelled cube.

    Parameters
    ----------
    path : path
        An HDF5 file of DP3.30006 or DP1.30006, from 2016 on.
    chunks : "auto", None or anything xarray accepts
        "auto": dask blocks of whole stored chunks, about 64 MB of stored numbers. None: no dask, read when
        indexed. Dimensions that a dict does not name are blocked as by "auto".
    masked : bool
        True: float32 reflectance, NaN where no data. False: the file's numbers, with `scale_factor` (to
        multiply with) and `_FillValue` in the attributes.

    Returns
    -------
    xarray.DataArray
        "reflectance" (y, x, wavelength). Coordinates: y (descending) and x of the pixel centres, metres;
        wavelength and fwhm, nm; good_wavelength, False in the water-vapour windows; spatial_ref, so that
        `.rio.crs` works. Attributes tell where the data come from, and in `notes` what the file lacked.

    Raises
    ------
    FileFormatError
        Not HDF5, truncated, at-sensor radiance, the flat layout of 2013 to 2015, or a part is missing.

    Examples
    --------
    >>> import tempfile
    >>> from hsi_dask.synthetic import simulate_scene, write_neon_tile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cube = open_neon(write_neon_tile(folder, simulate_scene((20, 30))))
    >>> dict(cube.sizes), str(cube.dtype), cube.rio.crs.to_epsg()
    ({'y': 20, 'x': 30, 'wavelength': 426}, 'float32', 32618)
    """
    import rioxarray  # noqa: F401  registers .rio; half a second that reading metadata need not pay

    return open_cube(read_metadata(path), chunks=chunks, masked=masked)


def open_cube(file: NeonFile, *, chunks: Any = "auto", masked: bool = False) -> xr.DataArray:
    """The cube of a file whose metadata are known, as `open_neon` gives it; touches no file."""
    stored = file.reflectance.masked(file.scale_factor, file.fill_value) if masked else file.reflectance
    variable, spec = _variable(CUBE_DIMS, stored, chunks), schema.VARIABLES["reflectance"]
    variable.attrs = {"long_name": spec.long_name, "units": spec.units, **spec.attrs, **_provenance(file)}
    if not masked:
        variable.attrs["scale_factor"] = 1 / file.scale_factor
        if file.fill_value is not None:
            variable.attrs["_FillValue"] = stored.dtype.type(file.fill_value).item()
    return xr.Dataset({spec.name: variable}, _coordinates(file))[spec.name]


class NeonBackend(BackendEntrypoint):
    """xarray's engine "neon": the cube, the quality layers and the view angles of one file.

    `xr.open_dataset(path, engine="neon", chunks={})` blocks by whole stored chunks. Layers carry the file's
    names in lower case; no data are NaN, or with `mask_and_scale=False` stay as stored, beside `_FillValue`.
    """

    description: ClassVar[str] = "NEON AOP surface reflectance (DP1.30006, DP3.30006), HDF5"
    url: ClassVar[str] = "https://data.neonscience.org/data-products/DP3.30006.001"

    def open_dataset(  # type: ignore[override]  # xarray's own engines add their options in the same way
        self,
        filename_or_obj: str | os.PathLike[str],
        *,
        drop_variables: str | Iterable[str] | None = None,
        mask_and_scale: bool = True,
    ) -> xr.Dataset:
        """Open lazily, without dask.

        Parameters
        ----------
        drop_variables : str or iterable of str, optional
            Names to leave out; a name that is not there is ignored.
        mask_and_scale : bool
            True: reflectance as float32, layers as floats wide enough for their integers, no data NaN.
        """
        file = read_metadata(filename_or_obj)
        layers = xr.Dataset({name: _layer_variable(name, layer) for name, layer in file.layers.items()})
        if mask_and_scale:
            layers = xr.decode_cf(layers, decode_times=False, decode_coords=False)
        cube = open_cube(file, chunks=None, masked=mask_and_scale)
        dataset = cube.to_dataset().assign(layers.variables)
        dataset.attrs = _provenance(file)
        dropped = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        return dataset.drop_vars(dropped, errors="ignore")

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        if not isinstance(filename_or_obj, str | os.PathLike):
            return False
        return _NAME.fullmatch(os.path.basename(os.fspath(filename_or_obj))) is not None


class _Indexed(BackendArray):
    """A stored array as xarray's lazy indexing wants it."""

    def __init__(self, stored: StoredArray) -> None:
        self.stored, self.shape, self.dtype = stored, stored.shape, stored.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        support = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, support, self.stored.__getitem__)


def _variable(dims: tuple[str, ...], stored: StoredArray, chunks: Any) -> xr.Variable:
    block = hdf5.block_shape(stored)
    encoding = {"grid_mapping": GRID_MAPPING, "preferred_chunks": dict(zip(dims, block, strict=True))}
    if chunks is None:
        return xr.Variable(dims, indexing.LazilyIndexedArray(_Indexed(stored)), encoding=encoding)
    if isinstance(chunks, Mapping):
        if unknown := [str(dim) for dim in chunks if dim not in dims]:
            raise SchemaError(f"chunks name the dimensions {unknown}; the cube has {dims}")
        chunks = tuple(chunks.get(dim, size) for dim, size in zip(dims, block, strict=True))
    return xr.Variable(dims, hdf5.lazy(stored, chunks), encoding=encoding)


def _layer_variable(name: str, layer: Layer) -> xr.Variable:
    third = "rgb" if name == "weather_quality_indicator" else f"{name}_component"
    variable = _variable((Y, X, third)[: layer.stored.ndim], layer.stored, None)
    fill = {} if layer.fill_value is None else {"_FillValue": layer.stored.dtype.type(layer.fill_value)}
    variable.attrs = {**layer.attrs, **fill}
    return variable


def _coordinates(file: NeonFile) -> dict[Hashable, xr.Variable]:
    """Pixel centres, half a pixel inside the outer edge, so that tiles join; spectra; the CRS."""
    (rows, columns), (dx, dy) = file.shape[:2], file.resolution
    transform = (file.west, dx, 0.0, file.north, 0.0, -dy)
    crs = _crs_attrs(file.epsg) | {"GeoTransform": " ".join(map(str, transform))}
    coordinates: dict[Hashable, xr.Variable] = {
        Y: xr.Variable(Y, file.north - (np.arange(rows) + 0.5) * dy),
        X: xr.Variable(X, file.west + (np.arange(columns) + 0.5) * dx),
        WAVELENGTH: xr.Variable(WAVELENGTH, file.wavelength),
        "fwhm": xr.Variable(WAVELENGTH, file.fwhm),
        "good_wavelength": xr.Variable(WAVELENGTH, file.good_wavelength),
        GRID_MAPPING: xr.Variable((), 0, crs),
    }
    schema.describe_coordinates(coordinates)
    return coordinates


@lru_cache
def _crs_attrs(epsg: int) -> dict[str, Any]:
    """CF grid mapping, and beside it the older WKT that GDAL looks for."""
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        crs = CRS.from_epsg(epsg)
    except CRSError as error:
        raise FileFormatError(f"EPSG code {epsg} is unknown to PROJ; correct 'EPSG Code'") from error
    if not crs.is_projected:
        raise FileFormatError(f"EPSG code {epsg} ({crs.name}) is not in metres; correct 'EPSG Code'")
    return {**crs.to_cf(), "spatial_ref": crs.to_wkt("WKT1_GDAL")}


def _provenance(file: NeonFile) -> dict[str, Any]:
    """Where the data come from: strings, numbers and flat lists, as netCDF, Zarr and JSON can hold them."""
    facts: dict[str, Any] = {
        "source": os.path.basename(file.path),
        "site": file.site,
        "product": file.product,
        "product_from": "layout" if file.product_inferred else "file name",
        "acquisition_dates": list(file.dates),
        "flight_lines": list(file.flight_lines),
        "epsg": file.epsg,
        "water_vapour_windows": list(sum(file.windows, ())),  # nm: low, high, low, high
        "water_vapour_windows_from": "file" if file.own_windows else "fallback",
        **file.remarks,
        "notes": list(file.notes),
    }
    return {name: value for name, value in facts.items() if value != []}


# ------------------------------------------------------------------------------------------------ metadata

_REMARKS = ("Cloud_conditions", "Cloud conditions", "BRDF Correction")  # by revision


def read_metadata(path: str | os.PathLike[str]) -> NeonFile:
    """Read what a NEON reflectance file says about itself: some 10 ms, no pixel, safe in threads.

    Raises
    ------
    FileFormatError
        As `open_neon`.
    """
    where = os.path.abspath(os.path.expanduser(os.fspath(path)))
    with hdf5.open_file(where) as file:
        try:
            found = _read(file)
        except FileFormatError:
            raise
        except (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError) as error:
            # what h5py and numpy raise on damaged headers and on attributes of absurd types
            raise FileFormatError(f"{where} has unreadable metadata ({error}); download it again") from error
    for note in found.notes:
        logger.info("%s: %s", where, note)
    return found


def _read(file: h5py.File) -> NeonFile:
    notes: list[str] = []
    say = notes.append
    named = _NAME.fullmatch(os.path.basename(file.filename))
    site, group = _reflectance_group(file)
    data = _member(group, "Reflectance_Data", h5py.Dataset)
    metadata = _member(group, "Metadata", h5py.Group)
    stored = _cube(data)
    wavelength, fwhm = _spectral(_member(metadata, "Spectral_Data", h5py.Group), stored.shape[2], say)
    grid = _grid(_member(metadata, "Coordinate_System", h5py.Group), say)
    windows, own_windows = _windows(group, data, say)
    layers = _layers(metadata, stored, say)
    remarks = {n.lower().replace(" ", "_"): _text(data.attrs[n]) for n in _REMARKS if n in data.attrs}
    level, product = _product(named, layers, remarks)
    flight_lines, dates = _acquisition(named, metadata.get("Logs"))
    return NeonFile(
        site=site, level=level, product=product, product_inferred=named is None,
        reflectance=stored, scale_factor=_scale(data, say), fill_value=_no_data(data, say),
        wavelength=wavelength, fwhm=fwhm, windows=windows, own_windows=own_windows,
        epsg=grid.epsg, west=grid.west, north=grid.north, resolution=grid.resolution,
        dates=dates, flight_lines=flight_lines, remarks=remarks, layers=layers, notes=tuple(notes),
    )  # fmt: skip


def _error(item: Any, sentence: str) -> FileFormatError:
    return FileFormatError(f"{item.file.filename} {sentence}")


def _reflectance_group(file: h5py.File) -> tuple[str, h5py.Group]:
    """The site's code and its group Reflectance; what else NEON delivers in HDF5 is named and refused."""
    if isinstance(file.get("Reflectance"), h5py.Dataset):
        raise _error(file, "has the flat layout of 2013 to 2015; download the reprocessed DP1.30006 or DP3.30006")
    sites = [(name, group) for name, group in file.items() if isinstance(group, h5py.Group)]
    for name, group in sites:
        if isinstance(group.get("Reflectance"), h5py.Group):
            return name, group["Reflectance"]
    if any("Radiance" in group for _, group in sites):
        raise _error(file, "holds at-sensor radiance, not reflectance; download DP1.30006 or DP3.30006")
    held = ", ".join(list(file)[:5]) or "nothing"
    raise _error(file, f"has no group <SITE>/Reflectance but {held}; give a NEON reflectance file")


def _member(parent: h5py.Group, name: str, kind: type) -> Any:
    found = parent.get(name)
    if isinstance(found, kind):
        return found
    what = "dataset" if kind is h5py.Dataset else "group"
    raise _error(parent, f"has no {what} {parent.name}/{name}; download it again")


def _cube(data: h5py.Dataset) -> StoredArray:
    if data.dtype.kind not in "iuf":
        raise _error(data, f"holds {data.dtype} in {data.name}, not numbers; give a NEON reflectance file")
    if data.ndim != 3 or not data.size:
        raise _error(data, f"holds {data.shape} in {data.name}, not (y, x, band) pixels; download it again")
    return hdf5.stored_array(data, data.file.filename)


def _spectral(group: h5py.Group, bands: int, say: Say) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wavelengths and widths, nm, one a band."""
    stored = _member(group, "Wavelength", h5py.Dataset)
    if stored.size != bands:
        raise _error(group, f"has {stored.size} wavelengths for {bands} bands; download it again")
    wavelength = np.asarray(stored[()], dtype=np.float64).ravel()
    wrong = ~(np.isfinite(wavelength) & (wavelength > np.append(0.0, wavelength[:-1])))
    if wrong.any():
        at = int(wrong.argmax())
        raise _error(group, f"has wavelength {wavelength[at]:g} at {at}, not increasing; download it again")
    if wavelength[-1] < 100:
        raise _error(
            group,
            f"has wavelengths up to {wavelength[-1]:g}, micrometres as in the layout of 2013 to 2015; "
            "download the reprocessed file, or rewrite Wavelength and FWHM in nm",
        )
    return wavelength, _fwhm(group.get("FWHM"), bands, say)


def _fwhm(stored: Any, bands: int, say: Say) -> NDArray[np.float64]:
    """(bands,) nm. Missing entries are taken to be the last ones, NaN; too many fit no band: all NaN."""
    fwhm = np.full(bands, np.nan)
    count = stored.size or 0 if isinstance(stored, h5py.Dataset) else 0
    if 0 < count <= bands:
        fwhm[:count] = np.asarray(stored[()], dtype=np.float64).ravel()
    if count != bands:
        unknown = "the last are NaN" if 0 < count < bands else "all are NaN"
        say(f"FWHM has {count or 'no'} entries for {bands} bands: {unknown}")
    return fwhm


class _Grid(NamedTuple):
    """Where the pixels are: outer edges of the north-west one and the size of one, metres."""

    epsg: int
    west: float
    north: float
    resolution: tuple[float, float]


def _grid(system: h5py.Group, say: Say) -> _Grid:
    """The grid by Map_Info and "EPSG Code"; not by Proj4, which is malformed in files of 2016."""
    info = _line(system, "Map_Info")
    fields = [part.strip() for part in info.strip("{} ").split(",")]
    try:
        column, row, east, north, dx, dy = (float(part) for part in fields[1:7])
    except ValueError:
        column, row, east, north, dx, dy = (np.nan,) * 6
    if not np.isfinite([column, row, east, north, dx, dy]).all() or min(dx, dy) <= 0:
        raise _error(system, f"has no position and pixel size in Map_Info, {info!r}; download it again")
    # pixel (1, 1) is the outer corner of the north-west pixel
    return _Grid(_epsg(system, fields, say), east - (column - 1) * dx, north + (row - 1) * dy, (dx, dy))


def _epsg(system: h5py.Group, fields: list[str], say: Say) -> int:
    stated = re.search(r"(?<!\d)\d{4,5}(?!\d)", _line(system, "EPSG Code"))
    derived = _utm_epsg(fields)
    if stated:
        if derived not in (None, int(stated[0])):
            say(f"EPSG Code is {stated[0]}, Map_Info means {derived}: the code is used")
        return int(stated[0])
    if derived is None:
        raise _error(system, f"has no EPSG code, nor a UTM zone in Map_Info; write '{system.name}/EPSG Code'")
    say(f"EPSG Code is missing: {derived} taken from Map_Info")
    return derived


def _utm_epsg(fields: list[str]) -> int | None:
    zone, hemisphere, datum = (*fields[7:10], "", "", "")[:3]
    first = {"north": 32600, "south": 32700}.get(hemisphere.lower())
    if fields[0].upper() != "UTM" or not datum.upper().startswith("WGS") or first is None:
        return None
    return first + int(zone) if zone in map(str, range(1, 61)) else None


def _windows(group: h5py.Group, data: h5py.Dataset, say: Say) -> tuple[tuple[tuple[float, float], ...], bool]:
    """The water-vapour windows, nm, and whether they are the file's own."""
    windows = set()
    for attrs in (group.attrs, data.attrs):
        for name in filter(_WINDOW.fullmatch, attrs):
            ends = _numbers(attrs[name])
            if ends.size != 2 or not ends[0] < ends[1]:
                raise _error(group, f"has {name} {ends.tolist()}, not (low, high) nm; correct or delete it")
            windows.add((float(ends[0]), float(ends[1])))
    if windows:
        return tuple(sorted(windows)), True
    shown = " and ".join(f"{low:g}-{high:g}" for low, high in WATER_VAPOUR_WINDOWS)
    say(f"Band_Window attributes are missing: {shown} nm taken as water-vapour windows")
    return WATER_VAPOUR_WINDOWS, False


def _scale(data: h5py.Dataset, say: Say) -> float:
    scale = _number(data, "Scale_Factor")
    if scale is None and data.dtype.kind == "f":
        raise _error(data, f"has {data.dtype} reflectance without Scale_Factor; write it (1 if within 0 to 1)")
    if scale is None:
        say(f"Scale_Factor is missing: {SCALE_FACTOR:g} assumed")
        return SCALE_FACTOR
    if not 0 < scale < np.inf:
        raise _error(data, f"has Scale_Factor {scale:g}; it must be positive, NEON's is 10000")
    return scale


def _no_data(data: h5py.Dataset, say: Say) -> float | None:
    value = _number(data, "Data_Ignore_Value")
    if value is None:
        say(f"Data_Ignore_Value is missing: {NO_DATA:g} assumed")
        value = NO_DATA
    if _holds(data.dtype, value):
        return value
    say(f"Data_Ignore_Value {value:g} cannot occur in {data.dtype}: nothing is taken as no data")
    return None


def _layers(metadata: h5py.Group, cube: StoredArray, say: Say) -> dict[str, Layer]:
    """Quality layers and view angles on the cube's pixels, handed on as stored.

    Whether Cast_Shadow's 1 is lit or shaded is documented both ways, and codes of Haze_Cloud_Water_Map are
    doubtful in .002: who makes a mask of them decides it from the data.
    """
    layers: dict[str, Layer] = {}
    imagery = metadata.get("Ancillary_Imagery")
    for group in (metadata, *([imagery] if isinstance(imagery, h5py.Group) else [])):
        for name, data in group.items():
            if not isinstance(data, h5py.Dataset):
                continue
            # some files spell Acquisition_Date without its i
            key = re.sub(r"\W+", "_", name).lower().replace("acqusition", "acquisition")
            dtype, shape = data.dtype, data.shape or ()
            if dtype.kind not in "iuf" or shape[:2] != cube.shape[:2] or len(shape) > 3 or 0 in shape:
                say(f"layer {name} is {dtype} {shape}, not the cube's pixels: left out")
            elif key not in layers:
                layers[key] = _layer(name, data, dtype)
    return layers


def _layer(name: str, data: h5py.Dataset, dtype: np.dtype[Any]) -> Layer:
    candidates = (_number(data, "Data_Ignore_Value"), NO_DATA, OFF_SWATH)
    fill = next((value for value in candidates if value is not None and _holds(dtype, value)), None)
    texts = {"units": _text(data.attrs.get("Units")), "description": _text(data.attrs.get("Description"))}
    attrs = {"long_name": name.replace("_", " ")} | {key: text for key, text in texts.items() if text}
    return Layer(hdf5.stored_array(data, data.file.filename), fill, attrs)


def _product(named: re.Match[str] | None, layers: Mapping[str, Layer], remarks: Mapping[str, str]) -> tuple[str, str]:
    """Level, and product with revision: by NEON's name, else by the layout, for no attribute states them."""
    if named:
        return named[1], f"{named[1]}.30006.{'002' if named[3] else '001'}"
    if not layers:
        return "unknown", "unknown"
    level = "DP3" if "data_selection_index" in layers else "DP1"  # a flight line selects from no others
    corrected = "brdf_correction" in remarks or "aerosol_optical_thickness" in layers
    return level, f"{level}.30006.{'002' if corrected else '001'}"


def _acquisition(named: re.Match[str] | None, logs: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Flight lines, by the subgroups of the logs or the name of a line's file, and the dates these tell."""
    groups = logs.items() if isinstance(logs, h5py.Group) else ()
    lines = [name for name, log in groups if isinstance(log, h5py.Group)]
    if named and named[1] == "DP1":
        lines = lines or [named[2]]
    told = _DATE.findall(" ".join([*lines, named[2] if named else ""]))
    return tuple(lines), tuple(sorted({"-".join(date) for date in told}))


# ------------------------------------------------------------------------------------------------ values


def _text(value: Any) -> str:
    """Text that may come as str, as bytes, or as either in an array of one; "" for anything else."""
    first = value.ravel()[0] if isinstance(value, np.ndarray) and value.size else value
    if isinstance(first, bytes):
        return first.decode("utf-8", "replace").strip()
    return first.strip() if isinstance(first, str) else ""


def _line(parent: h5py.Group, name: str) -> str:
    """A dataset of one string or one number as text; "" where there is none."""
    found = parent.get(name)
    if not isinstance(found, h5py.Dataset) or found.size != 1:
        return ""
    value = found[()]
    return _text(value) or str(np.ravel(value)[0])


def _numbers(value: Any) -> NDArray[np.float64]:
    """(n,) numbers that may come as a scalar, an array or text such as "15000.0"; ValueError if none."""
    if text := _text(value):
        value = text.strip("[] ").replace(",", " ").split()
    return np.asarray(value, dtype=np.float64).ravel()


def _number(data: h5py.Dataset, name: str) -> float | None:
    if name not in data.attrs:
        return None
    value = data.attrs[name]
    try:
        (number,) = _numbers(value)
    except (ValueError, TypeError) as error:
        raise _error(data, f"has {name} {value!r} on {data.name}, not one number; correct it") from error
    return float(number)


def _holds(dtype: np.dtype[Any], value: float) -> bool:
    """Can an element of this dtype be equal to the value?"""
    if dtype.kind == "f":
        return True
    limits = np.iinfo(dtype)
    return value.is_integer() and limits.min <= value <= limits.max
