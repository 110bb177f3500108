"""What a NEON reflectance file says about itself, whatever its revision; no pixel is read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import PurePath
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from hsi_dask.errors import FileFormatError, GridError
from hsi_dask.io import crs as reference
from hsi_dask.io import hdf5
from hsi_dask.io import hdf5_values as values
from hsi_dask.io.decoding import Say, no_data_of, scale_of
from hsi_dask.io.hdf5 import StoredArray
from hsi_dask.io.neon.layers import ROLES, layer_names, read_layers
from hsi_dask.io.neon.listing import release_of
from hsi_dask.io.plausible import doubt_of_scale
from hsi_dask.io.tile_source import TileSource
from hsi_dask.schema import WATER_VAPOUR_WINDOWS

NAME = re.compile(r"NEON_D\d\d_[A-Z0-9]{4}_(DP\d)_(.+?)_(bidirectional_)?reflectance.*\.h5")
_CORNER = re.compile(r"_(\d{6})_(\d{7})_")  # easting_northing of the south-west corner in a tile's name
_VISIT = re.compile(r"20\d\d_[A-Z0-9]{4}_\d+")  # a folder of what `neonutilities` downloads
_WINDOW = re.compile(r"Band_Window_\d+_Nanometers")
_DATE = re.compile(r"(?<!\d)(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?!\d)")


_REMARKS = ("Cloud_conditions", "Cloud conditions", "BRDF Correction")  # by revision


def read_metadata(path: str | os.PathLike[str]) -> TileSource:
    """Read what a NEON reflectance file says about itself: a few ms, no pixel, safe in threads.

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
    _require_plausible(found)
    return found.told()


def _read(file: h5py.File) -> TileSource:
    notes: list[str] = []
    say = notes.append
    named = NAME.fullmatch(os.path.basename(file.filename))
    site, group = _reflectance_group(file)
    data = _member(group, "Reflectance_Data", h5py.Dataset)
    metadata = _member(group, "Metadata", h5py.Group)
    stored = _cube(data)
    wavelength, fwhm = _spectral(_member(metadata, "Spectral_Data", h5py.Group), stored.shape[2], say)
    grid = _grid(_member(metadata, "Coordinate_System", h5py.Group), say)
    windows, own_windows = _windows(group, data, say)
    layers = layer_names(metadata)
    remarks = {n.lower().replace(" ", "_"): values.text(values.attribute(data, n)) for n in _REMARKS if n in data.attrs}
    level, product = _product(named, layers, remarks)
    flight_lines, dates = _acquisition(named, hdf5.member(metadata, "Logs"))
    release, citation = release_of(stored.path)
    return TileSource(
        path=stored.path, site=site, level=level, product=product, product_inferred=named is None,
        reflectance=stored, scale_factor=_scale(data, say), fill_value=_no_data(data, say),
        wavelength=wavelength, fwhm=fwhm, windows=windows, own_windows=own_windows,
        crs=f"EPSG:{grid.epsg}", west=grid.west, north=grid.north, resolution=grid.resolution,
        dates=dates, visit=_visit(stored.path), flight_lines=flight_lines, release=release, citation=citation,
        remarks=remarks,
        layer_names=layers, layers=partial(read_layers, stored.path, stored.name, stored.shape),
        layer_roles={role: name for role, name in ROLES.items() if name in layers}, notes=tuple(notes),
        file_size=stored.file_size, mtime_ns=stored.mtime_ns,
    )  # fmt: skip


def _require_plausible(source: TileSource) -> None:
    """What needs more than the file's own words: the CRS, and the scale of floats."""
    code = source.epsg or 0
    if code // 100 not in (326, 327):  # not UTM: then PROJ is asked, which takes a tenth of a second to import
        try:
            geographic = reference.is_geographic(source.crs)
        except GridError as error:
            raise FileFormatError(f"{source.path}: {error}") from error
        if geographic:
            raise FileFormatError(
                f"{source.path}: EPSG code {code} ({reference.name(source.crs)}) is not in metres; correct 'EPSG Code'"
            )
    doubt = doubt_of_scale(source, "its Scale_Factor")
    if doubt is not None:
        raise FileFormatError(f"{source.path} {doubt}; write the right Scale_Factor")


def _reflectance_group(file: h5py.File) -> tuple[str, h5py.Group]:
    """The site's code and its group Reflectance; what else NEON delivers in HDF5 is named and refused."""
    if isinstance(hdf5.member(file, "Reflectance"), h5py.Dataset):
        raise values.error(file, "has the flat layout of 2013 to 2015; download the reprocessed DP1.30006 or DP3.30006")
    groups = [(name, group) for name, group in hdf5.members(file) if isinstance(group, h5py.Group)]
    found = [(name, hdf5.member(group, "Reflectance")) for name, group in groups]
    sites = [(name, group) for name, group in found if isinstance(group, h5py.Group)]
    if len(sites) > 1:
        raise values.error(file, f"holds two sites, {sites[0][0]} and {sites[1][0]}; write each to a file of its own")
    if sites:
        return sites[0]
    if any("Radiance" in group for _, group in groups):
        raise values.error(file, "holds at-sensor radiance, not reflectance; download DP1.30006 or DP3.30006")
    held = ", ".join(list(file)[:5]) or "nothing"
    raise values.error(file, f"has no group <SITE>/Reflectance but {held}; give a NEON reflectance file")


def _member(parent: h5py.Group, name: str, kind: type) -> Any:
    found = hdf5.member(parent, name)
    if isinstance(found, kind):
        return found
    what = "dataset" if kind is h5py.Dataset else "group"
    raise values.error(parent, f"has no {what} {parent.name}/{name}; download it again")


def _cube(data: h5py.Dataset) -> StoredArray:
    if data.dtype.kind not in "iuf":
        raise values.error(data, f"holds {data.dtype} in {data.name}, not numbers; give a NEON reflectance file")
    if data.ndim != 3 or not data.size:
        raise values.error(data, f"holds {data.shape} in {data.name}, not (y, x, band) pixels; download it again")
    return hdf5.stored_array(data, data.file.filename)


def _spectral(group: h5py.Group, bands: int, say: Say) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wavelengths and widths, nm, one a band."""
    stored = _member(group, "Wavelength", h5py.Dataset)
    if stored.size != bands:
        raise values.error(group, f"has {stored.size} wavelengths for {bands} bands; download it again")
    wavelength = np.asarray(stored[()], dtype=np.float64).ravel()
    wrong = ~(np.isfinite(wavelength) & (wavelength > np.append(0.0, wavelength[:-1])))
    if wrong.any():
        at = int(wrong.argmax())
        raise values.error(group, f"has wavelength {wavelength[at]:g} at {at}, not increasing; download it again")
    if wavelength[-1] < 100:
        raise values.error(
            group,
            f"has wavelengths up to {wavelength[-1]:g}, micrometres as in the layout of 2013 to 2015; "
            "download the reprocessed file, or rewrite Wavelength and FWHM in nm",
        )
    return wavelength, _fwhm(hdf5.member(group, "FWHM"), bands, say)


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
    info = values.line(system, "Map_Info")
    fields = [part.strip() for part in info.strip("{} ").split(",")]
    try:
        column, row, east, north, dx, dy = (float(part) for part in fields[1:7])
    except ValueError:
        column, row, east, north, dx, dy = (np.nan,) * 6
    if not np.isfinite([column, row, east, north, dx, dy]).all() or min(dx, dy) <= 0:
        raise values.error(system, f"has no position and pixel size in Map_Info, {info!r}; download it again")
    # pixel (1, 1) is the outer corner of the north-west pixel
    return _Grid(_epsg(system, fields, say), east - (column - 1) * dx, north + (row - 1) * dy, (dx, dy))


def _epsg(system: h5py.Group, fields: list[str], say: Say) -> int:
    stated = re.search(r"(?<!\d)\d{4,5}(?!\d)", values.line(system, "EPSG Code"))
    derived = _utm_epsg(fields)
    if stated:
        if derived not in (None, int(stated[0])):
            say(f"EPSG Code is {stated[0]}, Map_Info means {derived}: the code is used")
        return int(stated[0])
    if derived is None:
        raise values.error(system, f"has no EPSG code, nor a UTM zone in Map_Info; write '{system.name}/EPSG Code'")
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
    for item in (group, data):
        for name in filter(_WINDOW.fullmatch, item.attrs):
            ends = values.numbers(values.attribute(item, name))
            if ends.size != 2 or not ends[0] < ends[1]:
                raise values.error(group, f"has {name} {ends.tolist()}, not (low, high) nm; correct or delete it")
            windows.add((float(ends[0]), float(ends[1])))
    if windows:
        return tuple(sorted(windows)), True
    shown = " and ".join(f"{low:g}-{high:g}" for low, high in WATER_VAPOUR_WINDOWS)
    say(f"Band_Window attributes are missing: {shown} nm taken as water-vapour windows")
    return WATER_VAPOUR_WINDOWS, False


def _scale(data: h5py.Dataset, say: Say) -> float:
    scale = values.number(data, "Scale_Factor")
    if scale is None and data.dtype.kind == "f":
        raise values.error(data, f"has {data.dtype} reflectance without Scale_Factor; write it (1 if within 0 to 1)")
    if scale is not None and not 0 < scale < np.inf:
        raise values.error(data, f"has Scale_Factor {scale:g}; it must be positive, NEON's is 10000")
    return scale_of(data.dtype, scale, "Scale_Factor", say)


def _no_data(data: h5py.Dataset, say: Say) -> float | None:
    return no_data_of(data.dtype, values.number(data, "Data_Ignore_Value"), "Data_Ignore_Value", say)


def _product(named: re.Match[str] | None, layers: Sequence[str], remarks: Mapping[str, str]) -> tuple[str, str]:
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
    groups = hdf5.members(logs) if isinstance(logs, h5py.Group) else ()
    lines = [name for name, log in groups if isinstance(log, h5py.Group)]
    if named and named[1] == "DP1":
        lines = lines or [named[2]]
    told = _DATE.findall(" ".join([*lines, named[2] if named else ""]))
    return tuple(lines), tuple(sorted({"-".join(date) for date in told}))


def _visit(path: str) -> str:
    """The visit in the folders that a download leaves, such as 2022_SERC_6; "" where there is none."""
    return next((part for part in reversed(PurePath(path).parts[:-1]) if _VISIT.fullmatch(part)), "")


def corner_in_name(path: str) -> str | None:
    """easting_northing in a tile's name, None when it has none."""
    found = _CORNER.search(PurePath(path).name)
    return "_".join(found.groups()) if found else None
