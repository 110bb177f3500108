"""Endmember files -> spectra: an earlier run, Zarr, CSV tables, ENVI spectral libraries; units sorted out."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask import schema
from hsi_dask.errors import EndmemberError, RunError
from hsi_dask.io import store
from hsi_dask.io.libraries import RawSpectra, read_library, read_table
from hsi_dask.schema import ENDMEMBER, WAVELENGTH

logger = logging.getLogger(__name__)

_DELETED = -1e30  # USGS libraries mark channels without a value by -1.23e34
_NOISE = 1.5  # reflectance that only noise exceeds; 1.5 % and less is dark everywhere
_NANOMETRES = {
    "nm": 1.0,
    "nanometer": 1.0,
    "um": 1000.0,
    "µm": 1000.0,
    "μm": 1000.0,
    "micrometer": 1000.0,
    "micron": 1000.0,
}


def read_spectra(path: str | os.PathLike[str], names: Sequence[str] | None = None) -> xr.DataArray:
    """Read endmember spectra.

    Parameters
    ----------
    path : path
        A run directory or its `endmembers.zarr`; a CSV table; an ENVI spectral library (.sli with its .hdr).
        A CSV table has wavelengths in its first column and a spectrum in each further one, under a line of names;
        or, as EcoSIS exports them, a spectrum in each row and wavelengths as the names of columns, where other columns
        say what it is and the first of them names it. Lines that begin with # are skipped.
    names : sequence of str, optional
        Which spectra, in this order; upper and lower case are the same. None takes all.

    Returns
    -------
    xarray.DataArray
        (endmember, wavelength) float32 reflectance, ascending nm, NaN where the file has no value; `fwhm` if the file
        tells. attrs: `names`, `source`, and in `units_from` how units were found: stated by the file, or by values.
        Wavelengths up to 100 are micrometres. Reflectance of which 99 % is below 1.5 is a fraction, below 150 percent,
        else out of 10000.

    Raises
    ------
    EndmemberError
        The file cannot be read as any of these, or lacks a name.
    """
    where = Path(os.path.abspath(os.path.expanduser(os.fspath(path))))
    if not where.exists():
        raise EndmemberError(f"{where} does not exist; give a run directory, endmembers.zarr, a .csv or a .sli file")
    try:
        spectra = _read(where)
    except (OSError, UnicodeDecodeError, RunError) as error:
        raise EndmemberError(f"{where} cannot be read as spectra: {error}") from error
    return _chosen(spectra, names, where)


def _read(path: Path) -> xr.DataArray:
    if path.is_dir():
        return _from_zarr(path)
    if path.suffix.lower() in {".csv", ".txt", ".tsv"}:
        return _sorted_out(path, read_table(path))
    if path.suffix.lower() in {".sli", ".hdr"}:
        return _sorted_out(path, read_library(path))
    raise EndmemberError(
        f"{path} is no file of spectra that is known; give a run directory, endmembers.zarr, a .csv or a .sli file"
    )


def _chosen(spectra: xr.DataArray, names: Sequence[str] | None, path: Path) -> xr.DataArray:
    """The spectra asked for, numbered from 1."""
    known = [str(name) for name in spectra.attrs["names"]]
    if names is not None:
        if not names:
            raise EndmemberError(
                f"no name is given of the {len(known)} spectra in {path}; name some, or none to take all"
            )
        spectra = spectra.isel({ENDMEMBER: [_position(name, known, path) for name in names]})
        spectra.attrs["names"] = [known[_position(name, known, path)] for name in names]
    count = spectra.sizes[ENDMEMBER]
    return spectra.assign_coords({ENDMEMBER: np.arange(1, count + 1)})


def _position(name: str, known: list[str], path: Path) -> int:
    import difflib

    lower = [one.strip().lower() for one in known]
    wanted = name.strip().lower()
    if lower.count(wanted) == 1:
        return lower.index(wanted)
    if wanted in lower:
        raise EndmemberError(f"{path} has {lower.count(wanted)} spectra named {name!r}; rename all but one")
    near = difflib.get_close_matches(wanted, lower, n=1)
    hint = f"did you mean {known[lower.index(near[0])]!r}?" if near else f"it has {', '.join(known[:5])} and so on"
    raise EndmemberError(f"{path} has no spectrum named {name!r}; {hint}")


def _from_zarr(path: Path) -> xr.DataArray:
    folder = path / store.ENDMEMBERS if (path / store.ENDMEMBERS).is_dir() else path
    spectra = store.read_endmembers(folder)
    kept = {name: spectra[name].variable for name in (WAVELENGTH, "fwhm") if name in spectra.coords}
    names = spectra.attrs.get("names") or [f"endmember_{n}" for n in spectra[ENDMEMBER].values]
    attrs = {"names": list(names), "source": str(path), "units_from": "an earlier run"}
    return _described(spectra.values, kept, attrs)


# ------------------------------------------------------------------------------------------------ units


def _sorted_out(path: Path, raw: RawSpectra) -> xr.DataArray:
    """Fractions on ascending nanometres."""
    spectra, grid = np.array(raw.values, dtype=np.float64), raw.wavelength
    spectra[~np.isfinite(spectra) | (spectra < _DELETED)] = np.nan
    order = np.argsort(grid)
    if grid.size < 2 or not np.isfinite(grid).all() or not (np.diff(grid[order]) > 0).all() or grid.min() <= 0:
        raise EndmemberError(f"{path} needs two or more wavelengths, positive and each once")
    unit, wavelengths_by = _nanometres(raw.unit, grid)
    one, values_by = _fraction(raw.scale, spectra, path)
    coords = {WAVELENGTH: xr.Variable(WAVELENGTH, grid[order] * unit)}
    if raw.fwhm is not None:
        coords["fwhm"] = xr.Variable(WAVELENGTH, raw.fwhm[order] * unit)
    told = f"{wavelengths_by}; {values_by}"
    logger.info("%s: %s", path, told)
    names = [name or f"endmember_{n}" for n, name in enumerate(raw.names, 1)]
    return _described(spectra[:, order] / one, coords, {"names": names, "source": str(path), "units_from": told})


def _nanometres(stated: str, grid: NDArray[np.float64]) -> tuple[float, str]:
    """Nanometres a unit, and how that is known."""
    words = set(
        re.findall(r"[a-zµμ]+", stated.lower().replace("micrometre", "micrometer").replace("nanometre", "nanometer"))
    )
    for word, factor in _NANOMETRES.items():
        if words & {word, f"{word}s"}:
            return factor, f"wavelengths in {word} as the file says"
    micrometres = float(grid.max()) < 100
    return (1000.0, "wavelengths in um by their values") if micrometres else (1.0, "wavelengths in nm by their values")


def _fraction(scale: float | None, spectra: NDArray[np.float64], path: Path) -> tuple[float, str]:
    """What a reflectance of 1 is stored as, and how that is known."""
    if scale is not None and scale > 0 and np.isfinite(scale):
        return scale, f"reflectance scale {scale:g} as the file says"
    if not np.isfinite(spectra).any():
        raise EndmemberError(f"{path} holds no value; give spectra")
    high = float(np.nanpercentile(spectra, 99))
    if high <= _NOISE:
        return 1.0, "reflectance as fractions by its values"
    if high <= 100 * _NOISE:
        return 100.0, "reflectance in percent by its values"
    return 10000.0, "reflectance out of 10000 by its values"


def _described(values: NDArray[Any], coords: dict[Any, Any], attrs: dict[str, Any]) -> xr.DataArray:
    spectra = xr.DataArray(values.astype(np.float32), coords, (ENDMEMBER, WAVELENGTH))
    schema.describe_coordinates({name: c.variable for name, c in spectra.coords.items()})
    return schema.describe(spectra, "endmembers", **attrs)
