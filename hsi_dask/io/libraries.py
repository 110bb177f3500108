"""Files of spectra: CSV tables and ENVI libraries, read as they are, in their own units and order, and written."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.errors import EndmemberError
from hsi_dask.io.durable import write_file
from hsi_dask.schema import ENDMEMBER, WAVELENGTH

_TYPES = {1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 12: "u2", 13: "u4", 14: "i8", 15: "u8"}  # ENVI's data types


class RawSpectra(NamedTuple):
    """What a file holds, n spectra of L wavelengths.

    values : (n, L), NaN where there is none
    wavelength : (L,) in any unit and order
    names : n
    unit : text that may tell the unit of the wavelengths
    scale : what a reflectance of 1 is stored as, None if the file does not say
    fwhm : (L,) in the unit of the wavelengths
    """

    values: NDArray[np.float64]
    wavelength: NDArray[np.float64]
    names: list[str]
    unit: str
    scale: float | None = None
    fwhm: NDArray[np.float64] | None = None


# ------------------------------------------------------------------------------------------------ tables


def read_table(path: Path) -> RawSpectra:
    """A CSV table of either layout that `read_spectra` tells of."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        text = stream.read()
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if len(lines) < 2:
        raise EndmemberError(f"{path} has {len(lines)} lines; a table of spectra has names, then numbers")
    separator = max(",;\t", key=lines[0].count)
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator)]
    if any(len(row) != len(rows[0]) for row in rows):
        n, row = next((n, row) for n, row in enumerate(rows, 1) if len(row) != len(rows[0]))
        raise EndmemberError(f"{path} has {len(row)} cells in row {n}, but {len(rows[0])} in the first; complete it")
    return _by_rows(rows, path) if _has_wavelengths_above(rows[0]) else _by_columns(rows, path)


def _has_wavelengths_above(head: list[str]) -> bool:
    """Are the columns' names wavelengths, after at least one that is not? Names 1, 2, 3 of spectra are none."""
    if re.match(r"wave|lambda|wl\b|nm|um|µm", head[0].lower()) or _wavelength(head[0]) is not None:
        return False
    values = [value for cell in head if (value := _wavelength(cell)) is not None]
    counted = values == list(range(1, len(values) + 1))
    return len(values) > 1 and not counted and all(a < b for a, b in pairwise(values))


def _wavelength(cell: str) -> float | None:
    """The number in a name such as 400, 400.5 nm, X400 or wl_0.4."""
    found = re.fullmatch(r"(?:[a-z]{1,2}_?)?(\d+(?:\.\d+)?)\s*(?:nm|um|µm)?", cell.strip().lower())
    return float(found[1]) if found else None


def _by_rows(rows: list[list[str]], path: Path) -> RawSpectra:
    at = [n for n, cell in enumerate(rows[0]) if _wavelength(cell) is not None]
    label = next(n for n in range(len(rows[0])) if n not in at)
    wavelength = [float(_wavelength(rows[0][n]) or 0) for n in at]
    values = [[_number(row[n], path) for n in at] for row in rows[1:]]
    return RawSpectra(np.array(values), np.array(wavelength), [row[label] for row in rows[1:]], rows[0][at[0]])


def _by_columns(rows: list[list[str]], path: Path) -> RawSpectra:
    if _is_number(rows[0][0]):  # no line of names
        rows = [["wavelength", *(f"endmember_{n}" for n in range(1, len(rows[0])))], *rows]
    if not all(_is_number(row[0]) for row in rows[1:]):
        wrong = next(row[0] for row in rows[1:] if not _is_number(row[0]))
        raise EndmemberError(
            f"{path} has {wrong!r} in its first column, not a wavelength; give wavelengths in the first column and a "
            "spectrum in each further one, or a spectrum in each row under wavelengths as names of columns"
        )
    table = np.array([[_number(cell, path) for cell in row] for row in rows[1:]])
    if table.shape[1] < 2:
        raise EndmemberError(f"{path} has no column beside the wavelengths; give a spectrum in each further one")
    return RawSpectra(table[:, 1:].T, table[:, 0], rows[0][1:], rows[0][0])


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(cell: str, path: Path) -> float:
    if cell.lower() in {"", "na", "nan", "null"}:
        return np.nan
    if not _is_number(cell):
        raise EndmemberError(f"{path} has {cell!r} where a number should be; correct it")
    return float(cell)


# ------------------------------------------------------------------------------------------------ ENVI libraries


def read_library(path: Path) -> RawSpectra:
    """An ENVI spectral library: header and data."""
    header, data = _library_files(path)
    fields = _header(header)
    count, size = (_field(fields, key, header) for key in ("lines", "samples"))
    kind, offset = _field(fields, "data type", header), _field(fields, "header offset", header, 0)
    if kind not in _TYPES:
        raise EndmemberError(f"{header} has data type {kind}, which no spectrum has; give one of real numbers")
    dtype = np.dtype(_TYPES[kind]).newbyteorder(">" if _field(fields, "byte order", header, 0) else "<")
    needed = count * size * dtype.itemsize
    if needed <= 0 or data.stat().st_size < offset + needed:
        raise EndmemberError(
            f"{data} has {data.stat().st_size} bytes, but {count} spectra of {size} wavelengths need "
            f"{offset + needed}; copy it again"
        )
    values = np.fromfile(data, dtype, count * size, offset=offset).reshape(count, size).astype(np.float64)
    if "data ignore value" in fields:
        values[values == _real(fields["data ignore value"], header)] = np.nan
    wavelength = [_real(part, header) for part in _list(fields, "wavelength")]
    if len(wavelength) != size:
        raise EndmemberError(f"{header} has {len(wavelength)} wavelengths for {size} samples; complete its header")
    names = _list(fields, "spectra names") or [f"endmember_{n}" for n in range(1, count + 1)]
    if len(names) != count:
        raise EndmemberError(f"{header} has {len(names)} spectra names for {count} spectra; correct its header")
    scale = fields.get("reflectance scale factor")
    fwhm = [_real(part, header) for part in _list(fields, "fwhm")]
    return RawSpectra(
        values, np.array(wavelength), names, fields.get("wavelength units", ""),
        scale=None if scale is None else _real(scale, header), fwhm=np.array(fwhm) if len(fwhm) == size else None,
    )  # fmt: skip


def _library_files(path: Path) -> tuple[Path, Path]:
    """Header and data: `lib.sli` goes with `lib.hdr` or `lib.sli.hdr`."""
    if path.suffix.lower() == ".hdr":
        data = [path.with_suffix(""), path.with_suffix(".sli"), path.with_suffix(".SLI")]
        found = next((one for one in data if one.is_file() and one != path), None)
        if found is None:
            raise EndmemberError(f"{path} is a header, but there is no {data[1].name} beside it; copy both")
        return path, found
    headers = [path.with_name(path.name + ".hdr"), path.with_suffix(".hdr"), path.with_suffix(".HDR")]
    header = next((one for one in headers if one.is_file()), None)
    if header is None:
        raise EndmemberError(f"{path} has no header {headers[1].name} beside it; copy both")
    return header, path


def _header(path: Path) -> dict[str, str]:
    """`key = value` lines, values in braces over several lines."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if not text.lstrip().startswith("ENVI"):
        raise EndmemberError(f"{path} is not an ENVI header: it does not begin with ENVI")
    pairs = re.findall(r"^[ \t]*([^=\n{}]+?)[ \t]*=[ \t]*(\{[^}]*\}|[^\n]*)", text, re.MULTILINE)
    return {key.lower(): value.strip() for key, value in pairs}


def _list(fields: dict[str, str], key: str) -> list[str]:
    inside = fields.get(key, "").strip("{} \n\t\r")
    return [" ".join(part.split()) for part in inside.split(",")] if inside else []


def _real(text: str, header: Path) -> float:
    try:
        return float(text)
    except ValueError:
        raise EndmemberError(f"{header} has {text!r} where a number should be; correct it") from None


def _field(fields: dict[str, str], key: str, header: Path, default: int | None = None) -> int:
    if key not in fields and default is not None:
        return default
    if not fields.get(key, "").isdigit():
        raise EndmemberError(f"{header} has {key} = {fields.get(key, 'nothing')!r}, not a whole number; correct it")
    return int(fields[key])


# ------------------------------------------------------------------------------------------------ writing


def write_table(path: Path, endmembers: xr.DataArray) -> Path:
    """A CSV table: wavelengths in nm in the first column, a spectrum in each further one; float32 reads back equal."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["wavelength_nm", *_names(endmembers)])
    spectra = endmembers.transpose(WAVELENGTH, ENDMEMBER)
    for wavelength, values in zip(spectra[WAVELENGTH].values, spectra.values, strict=True):
        rows.writerow([f"{wavelength:.10g}", *map(str, values)])
    write_file(path, text.getvalue().encode())
    return path


def write_library(path: Path, endmembers: xr.DataArray) -> tuple[Path, Path]:
    """An ENVI spectral library `path` (.sli) of reflectance as fractions, wavelengths and fwhm in nm, and its .hdr."""
    spectra, header = endmembers.transpose(ENDMEMBER, WAVELENGTH), path.with_suffix(".hdr")
    count, size = spectra.shape
    fields = {
        "description": "{endmembers of a hsi_dask run, surface reflectance}",
        "samples": size, "lines": count, "bands": 1, "header offset": 0, "file type": "ENVI Spectral Library",
        "data type": 4, "interleave": "bsq", "byte order": 0, "reflectance scale factor": 1.0,
        "wavelength units": "Nanometers",
        "spectra names": _braced(re.sub(r"[{},\s]+", " ", name) for name in _names(endmembers)),
        "wavelength": _braced(f"{value:.10g}" for value in spectra[WAVELENGTH].values),
    }  # fmt: skip
    if "fwhm" in spectra.coords and np.isfinite(spectra["fwhm"]).all():
        fields["fwhm"] = _braced(f"{value:.10g}" for value in spectra["fwhm"].values)
    write_file(path, np.ascontiguousarray(spectra.values, "<f4").tobytes())
    write_file(header, "\n".join(["ENVI", *(f"{key} = {value}" for key, value in fields.items()), ""]).encode())
    return path, header


def _names(endmembers: xr.DataArray) -> list[str]:
    names = endmembers.attrs.get("names") or [f"endmember_{number}" for number in endmembers[ENDMEMBER].values]
    return [str(name) for name in names]


def _braced(parts: Iterable[str]) -> str:
    return "{" + ", ".join(parts) + "}"
