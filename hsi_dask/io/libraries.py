"""ENVI spectral libraries read as they are, in their own units and order; libraries written for ENVI and as CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.errors import EndmemberError
from hsi_dask.io.delimited import clean, without_formula
from hsi_dask.io.durable import write_file
from hsi_dask.io.envi_header import TYPES, Header
from hsi_dask.io.regular import read_regular
from hsi_dask.schema import ENDMEMBER, WAVELENGTH

NAME, MATERIAL = "name", "material"  # coordinates beside `endmember`
MAX_VALUES = 2**25  # of a library: 15 000 spectra at each nanometre from 350 to 2500; 0.3 GB
_MAX_BYTES = 2**29  # of its data, twice what so many values need


class RawSpectra(NamedTuple):
    """What a file holds, n spectra of L wavelengths.

    values : (n, L), NaN where there is none
    wavelength : (L,) in any unit and order
    names : n
    unit : text that may tell the unit of the wavelengths
    scale : what a reflectance of 1 is stored as, None if the file does not say
    fwhm : (L,) in the unit of the wavelengths
    columns : what else is told of each spectrum, by the names of the columns
    """

    values: NDArray[np.float64]
    wavelength: NDArray[np.float64]
    names: list[str]
    unit: str
    scale: float | None = None
    fwhm: NDArray[np.float64] | None = None
    columns: Mapping[str, list[str]] = MappingProxyType({})


def require_size(path: Path, count: int, size: int) -> None:
    """Refuse more values than a library can sensibly have."""
    if count * size > MAX_VALUES:
        raise EndmemberError(
            f"{path} has {count} or more spectra of {size} wavelengths, but up to {MAX_VALUES} values are read; "
            "choose fewer spectra"
        )


# ------------------------------------------------------------------------------------------------ ENVI libraries


def read_library(path: Path) -> RawSpectra:
    """An ENVI spectral library: header and data. What `bbl` marks with 0, and the ignore value, come as NaN."""
    named, data = library_files(path)
    header = Header(str(named))
    values = _values(header, data)
    count, size = values.shape
    wavelength = header.reals("wavelength", size, "samples")
    if wavelength is None:
        raise header.error("has no wavelengths; complete it")
    if (good := header.reals("bbl", size, "samples")) is not None:
        values[:, good == 0] = np.nan
    names = header.list("spectra names") or [f"endmember_{n}" for n in range(1, count + 1)]
    if len(names) != count:
        raise header.error(f"has {len(names)} spectra names for {count} spectra; correct it")
    material = header.list("material")
    return RawSpectra(
        values, wavelength, names, header.text("wavelength units"), scale=header.real("reflectance scale factor"),
        fwhm=header.reals("fwhm", size, "samples") if len(header.list("fwhm")) == size else None,
        columns={"material": material} if len(material) == count else {},
    )  # fmt: skip


def _values(header: Header, data: Path) -> NDArray[np.float64]:
    """(lines, samples) float64, NaN where the file has its ignore value."""
    count, size = header.whole("lines"), header.whole("samples")
    kind, offset = header.whole("data type"), header.whole("header offset", 0)
    if kind not in TYPES:
        raise header.error(f"has data type {kind}, which no spectrum has; give one of real numbers")
    dtype = np.dtype(TYPES[kind]).newbyteorder(">" if header.whole("byte order", 0) else "<")
    require_size(data, count, size)
    found, needed = read_regular(data, _MAX_BYTES), count * size * dtype.itemsize
    if needed <= 0 or len(found) < offset + needed:
        raise EndmemberError(
            f"{data} has {len(found)} bytes, but {count} spectra of {size} wavelengths need {offset + needed}; "
            "copy it again"
        )
    stored = np.frombuffer(found, dtype, count * size, offset)
    with np.errstate(invalid="ignore"):  # signalling NaNs become quiet ones
        values = stored.astype(np.float64).reshape(count, size)
    if (ignored := header.real("data ignore value")) is not None:
        with np.errstate(over="ignore"):  # text has more digits than a float32
            values[(values == ignored) | (values == np.float64(np.float32(ignored)))] = np.nan
    return values


def library_files(path: Path) -> tuple[Path, Path]:
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


# ------------------------------------------------------------------------------------------------ writing


def write_table(path: Path, endmembers: xr.DataArray) -> Path:
    """A CSV table that reads back equal in float32.

    Wavelengths in nm in the first column and a spectrum in each further one; endmembers with a coordinate `material`:
    a spectrum in each row, behind its name and material. Names that a spreadsheet would run as a formula get an
    apostrophe, which reading takes away.
    """
    text = io.StringIO()
    rows, names = csv.writer(text, lineterminator="\n"), [without_formula(name) for name in names_of(endmembers)]
    spectra = endmembers.transpose(ENDMEMBER, WAVELENGTH)
    wavelength = [f"{value:.10g}" for value in spectra[WAVELENGTH].values]
    if MATERIAL in spectra.coords:
        rows.writerow([NAME, MATERIAL, *wavelength])
        materials = [without_formula(clean(str(one))) for one in spectra[MATERIAL].values]
        rows.writerows([a, b, *map(str, values)] for a, b, values in zip(names, materials, spectra.values, strict=True))
    else:
        rows.writerow(["wavelength_nm", *names])
        rows.writerows([w, *map(str, values)] for w, values in zip(wavelength, spectra.values.T, strict=True))
    write_file(path, text.getvalue().encode())
    return path


def write_library(path: Path, endmembers: xr.DataArray) -> tuple[Path, Path]:
    """An ENVI spectral library `path` (.sli) of reflectance as fractions, wavelengths and fwhm in nm, and its .hdr.

    A coordinate `material` is a field of the header, which ENVI passes over and `read_spectra` reads.
    """
    spectra, header = endmembers.transpose(ENDMEMBER, WAVELENGTH), path.with_suffix(".hdr")
    count, size = spectra.shape
    fields = {
        "description": "{endmembers of a hsi_dask run, surface reflectance}",
        "samples": size, "lines": count, "bands": 1, "header offset": 0, "file type": "ENVI Spectral Library",
        "data type": 4, "interleave": "bsq", "byte order": 0, "reflectance scale factor": 1.0,
        "wavelength units": "Nanometers",
        "spectra names": _braced(names_of(endmembers)),
        "wavelength": _braced(f"{value:.10g}" for value in spectra[WAVELENGTH].values),
    }  # fmt: skip
    if MATERIAL in spectra.coords:
        fields["material"] = _braced(clean(str(one)) for one in spectra[MATERIAL].values)
    if "fwhm" in spectra.coords and np.isfinite(spectra["fwhm"]).all():
        fields["fwhm"] = _braced(f"{value:.10g}" for value in spectra["fwhm"].values)
    write_file(path, np.ascontiguousarray(spectra.values, "<f4").tobytes())
    write_file(header, "\n".join(["ENVI", *(f"{key} = {value}" for key, value in fields.items()), ""]).encode())
    return path, header


def names_of(endmembers: xr.DataArray) -> list[str]:
    """The names of endmembers: their coordinate, the attribute of runs, or their numbers; no control characters."""
    if NAME in endmembers.coords:
        names = endmembers[NAME].values.tolist()
    else:
        names = endmembers.attrs.get("names") or [f"endmember_{number}" for number in endmembers[ENDMEMBER].values]
    return [clean(str(name)) for name in names]


def _braced(parts: Iterable[str]) -> str:
    """A list of ENVI's: commas and braces have a meaning of their own there."""
    return "{" + ", ".join(" ".join(re.sub(r"[{},]", " ", part).split()) for part in parts) + "}"
