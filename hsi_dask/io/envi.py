"""ENVI images: a text header beside a file of plain numbers, as HyTools, AVIRIS and many field instruments leave them.

References: https://www.nv5geospatialsoftware.com/docs/enviheaderfiles.html
"""

from __future__ import annotations

import math
import os
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.errors import FileFormatError, GridError
from hsi_dask.io import crs as reference
from hsi_dask.io.decoding import Say, no_data_of, scale_of
from hsi_dask.io.envi_arrays import ORDERS, EnviArray
from hsi_dask.io.envi_header import TYPES, Header
from hsi_dask.io.plausible import plausible
from hsi_dask.io.readers import Reader, file_identity
from hsi_dask.io.tile_source import TileSource
from hsi_dask.io.views import SomeBands
from hsi_dask.io.wavelengths import ascending, nanometres_per
from hsi_dask.schema import WATER_VAPOUR_WINDOWS

_DATA = (".bsq", ".bil", ".bip", ".img", ".dat")
# EPSG codes by datum: geographic, and what the number of a UTM zone is added to, north and south
_DATUMS = {
    "wgs-84": (4326, 32600, 32700), "north america 1983": (4269, 26900, 0), "north america 1927": (4267, 26700, 0),
}  # fmt: skip
_DATE = re.compile(r"20\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])")


class _Spectral(NamedTuple):
    """Wavelengths and widths in nm, and which bands `bbl` marks as bad, of the bands that are kept."""

    wavelength: NDArray[np.float64]
    fwhm: NDArray[np.float64] | None
    bad: NDArray[np.bool_] | None
    kept: NDArray[np.bool_]


def read(path: str) -> TileSource:
    """What an ENVI header says of the image beside it.

    Raises
    ------
    FileFormatError
        Fields are missing or wrong, there is no data file, or pixels are not on the ground or not north-up.
    """
    header = Header(_header_of(path))
    if _is_library(header):
        raise header.error("is of a library of spectra, not of an image; give it as endmembers")
    if (data := _data_of(header.path)) is None:
        raise header.error("has no file of numbers beside it; copy both")
    notes: list[str] = []
    array, size = _array(header, data), file_identity(header.path)
    spectral = _spectral(header, array.shape[2], notes.append)
    west, north, resolution, crs = _place(header)
    source = TileSource(
        path=header.path, reader="envi",
        reflectance=array if spectral.kept.all() else SomeBands(array, tuple(np.flatnonzero(spectral.kept).tolist())),
        wavelength=spectral.wavelength, fwhm=spectral.fwhm, bad=spectral.bad,
        scale_factor=_scale(header, array, notes.append), fill_value=_no_data(header, array, notes.append),
        windows=WATER_VAPOUR_WINDOWS if spectral.bad is None else (), own_windows=spectral.bad is not None,
        crs=crs, west=west, north=north, resolution=resolution,
        dates=tuple(sorted(set(_DATE.findall(header.text("acquisition time"))))), remarks=_remarks(header),
        notes=tuple(notes), file_size=size[0] + array.file_size, mtime_ns=max(size[1], array.mtime_ns),
    )  # fmt: skip
    return plausible(source, header.path, "'reflectance scale factor'", "'data ignore value'").told()


def _array(header: Header, data: str) -> EnviArray:
    kind, interleave = header.whole("data type"), header.text("interleave").lower()
    if kind not in TYPES:
        raise header.error(f"has data type {kind}, which no reflectance has; give an image of real numbers")
    if interleave not in ORDERS:
        raise header.error(f"has interleave {interleave[:20]!r}, not bsq, bil or bip; correct it")
    stored = np.dtype(TYPES[kind]).newbyteorder(">" if header.whole("byte order", 0) else "<")
    shape = header.whole("lines"), header.whole("samples"), header.whole("bands")
    offset, (size, mtime_ns) = header.whole("header offset", 0), file_identity(data)
    needed = offset + math.prod(shape) * stored.itemsize
    if not all(shape):
        raise header.error(f"is of {shape} lines, samples and bands: nothing; correct it")
    if size < needed:
        raise FileFormatError(f"{data} has {size} bytes, but its header asks for {needed}; copy it again")
    return EnviArray(data, shape, stored, interleave, offset, size, mtime_ns)


def _spectral(header: Header, bands: int, say: Say) -> _Spectral:
    wavelength, fwhm, good = (header.reals(key, bands, "bands") for key in ("wavelength", "fwhm", "bbl"))
    if wavelength is None:
        raise header.error("has no wavelengths; write them, or give an image that has them")
    if fwhm is None:
        say("fwhm is missing: widths are NaN")
    try:
        factor = nanometres_per(header.text("wavelength units"), wavelength, say)
        kept = ascending(wavelength * factor, say)
    except ValueError as error:
        raise header.error(str(error)) from error
    return _Spectral(
        wavelength[kept] * factor,
        None if fwhm is None else fwhm[kept] * factor,
        None if good is None else good[kept] == 0,
        kept,
    )


def _place(header: Header) -> tuple[float, float, tuple[float, float], str]:
    """West, north, pixel size and CRS."""
    parts = header.list("map info")
    rotation = next((part.partition("=")[2] for part in parts if part.lower().startswith("rotation")), "0")
    try:
        column, row, east, north, dx, dy = (float(part) for part in parts[1:7])
        turned = float(rotation) != 0
    except ValueError:
        column = row = east = north = dx = dy = np.nan
        turned = False
    if parts and parts[0].lower() == "arbitrary":
        raise header.error("has an arbitrary map, not one on the ground; georeference the image")
    if not np.isfinite([column, row, east, north, dx, dy]).all() or min(dx, dy) <= 0:
        raise header.error("has no position and pixel size in 'map info'; georeference the image")
    if turned:
        raise header.error(f"is rotated by {rotation[:20]} degrees; warp the image north-up (gdalwarp)")
    # pixel (1, 1) is the outer corner of the north-west pixel
    return east - (column - 1) * dx, north + (row - 1) * dy, (dx, dy), _crs(header, parts)


def _crs(header: Header, parts: list[str]) -> str:
    wkt = header.text("coordinate system string") or _by_name(parts)
    if not wkt:
        raise header.error(f"has a map info {parts[0][:40]!r} that tells no CRS; write its 'coordinate system string'")
    try:
        return reference.canonical(wkt)
    except GridError as error:
        raise header.error(f"cannot be placed: {error}") from error


def _by_name(parts: list[str]) -> str:
    """The EPSG code of the projections that 'map info' defines by itself; "" for others."""
    name, datum = parts[0].lower(), next((d for d in _DATUMS if d in (part.lower() for part in parts[7:])), "")
    zone, hemisphere = (*parts[7:9], "", "")[:2]
    if not datum:
        return ""
    if name.startswith("geographic"):
        return f"EPSG:{_DATUMS[datum][0]}"
    first = _DATUMS[datum][1 if hemisphere.lower() != "south" else 2]
    whole = zone.isascii() and zone.isdigit() and 1 <= int(zone) <= 60
    return f"EPSG:{first + int(zone)}" if name == "utm" and first and whole else ""


def _scale(header: Header, array: EnviArray, say: Say) -> float:
    gains = header.reals("data gain values", array.shape[2], "bands")
    offsets = header.reals("data offset values", array.shape[2], "bands")
    if (offsets is not None and offsets.any()) or (gains is not None and (gains != gains[0]).any()):
        raise header.error("has gains or offsets that differ by band; apply them to the numbers, and remove them")
    scale = header.real("reflectance scale factor")
    if scale is None and gains is not None and gains[0] > 0:
        scale = 1 / float(gains[0])
    if scale is not None and not 0 < scale < np.inf:
        raise header.error(f"has reflectance scale factor {scale:g}; it must be positive")
    return scale_of(array.dtype, scale, "reflectance scale factor", say)


def _no_data(header: Header, array: EnviArray, say: Say) -> float | None:
    return no_data_of(array.dtype, header.real("data ignore value"), "data ignore value", say)


def _remarks(header: Header) -> dict[str, str]:
    wanted = {"sensor": header.text("sensor type"), "description": header.text("description")}
    return {name: text[:200] for name, text in wanted.items() if text}


# ------------------------------------------------------------------------------------------------ files


def _is_library(header: Header) -> bool:
    return "library" in header.text("file type").lower()


def _header_of(path: str) -> str:
    """The header that goes with a path: itself, or `image.hdr` or `image.img.hdr` beside `image.img`."""
    if path.lower().endswith(".hdr"):
        return path
    stem = os.path.splitext(path)[0]
    names = (f"{path}.hdr", f"{stem}.hdr", f"{path}.HDR", f"{stem}.HDR")
    found = next((name for name in names if os.path.isfile(name)), None)
    if found is None:
        raise FileFormatError(f"{path} has no header {os.path.basename(stem)}.hdr beside it; copy both")
    return found


def _data_of(header: str) -> str | None:
    """The numbers beside a header."""
    stem = header[:-4]
    ends = ("", *_DATA, *(end.upper() for end in _DATA))
    return next((stem + end for end in ends if os.path.isfile(stem + end)), None)


def _main_file(path: str) -> str:
    try:
        return _header_of(path)
    except FileFormatError:
        return path


def _recognises(path: str) -> bool:
    """An ENVI header with wavelengths and a file beside it, or that file."""
    if not os.path.isfile(path):
        return False
    try:
        header = Header(_header_of(path))
    except (FileFormatError, OSError):
        return False
    return bool(header.text("wavelength")) and not _is_library(header) and _data_of(header.path) is not None


def _identity(path: str) -> tuple[int, int]:
    """Of header and numbers together."""
    header = _main_file(path)
    both = [file_identity(one) for one in (header, _data_of(header)) if one]
    return sum(size for size, _ in both), max(mtime for _, mtime in both)


def _files(path: str) -> tuple[str, ...]:
    header = _main_file(path)
    return tuple(one for one in (header, _data_of(header)) if one)


READER = Reader(
    name="envi",
    title="ENVI image, header and data",
    suffixes=(".hdr", *_DATA),
    recognises=_recognises,
    read=read,
    identity=_identity,
    main_file=_main_file,
    files=_files,
)
