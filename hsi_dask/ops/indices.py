"""Spectral indices: planes made of a few wavelengths, such as NDVI, and any that spyndex knows by its name."""

from __future__ import annotations

import difflib
from typing import Any

import numpy as np
import xarray as xr

from hsi_dask.errors import ConfigError, SchemaError
from hsi_dask.ops.bands import single_wavelength
from hsi_dask.schema import WAVELENGTH

# Centres of bands as Sentinel-2 has them, nm; of other bands the middle of what spyndex says
_CENTRES = {
    "A": 443.0, "B": 490.0, "G": 560.0, "R": 665.0, "RE1": 705.0, "RE2": 740.0, "RE3": 783.0, "N": 842.0,
    "N2": 865.0, "WV": 945.0, "S1": 1610.0, "S2": 2190.0,
}  # fmt: skip
_FAR = 30.0  # nm: a wavelength farther away is another band


def ndvi(cube: xr.DataArray) -> xr.DataArray:
    """Normalised difference vegetation index: (842 nm - 665 nm) / (842 nm + 665 nm), of (y, x); lazy.

    References
    ----------
    Rouse et al. (1974), NASA SP-351, 309-317.

    Examples
    --------
    >>> cube = xr.DataArray([[[0.1, 0.3]]], {"wavelength": [665.0, 842.0]}, ("y", "x", "wavelength"))
    >>> float(ndvi(cube).round(2)[0, 0])
    0.5
    """
    red, near = (_plane(cube, _CENTRES[band], band) for band in ("R", "N"))
    total = near + red
    found: xr.DataArray = ((near - red) / total.where(total != 0)).astype(np.float32)
    found.attrs = {"long_name": "normalised difference vegetation index", "units": "1"}
    return found.rename("ndvi")


def spectral_index(cube: xr.DataArray, name: str, **constants: float) -> xr.DataArray:
    """An index of spyndex by its name, such as "NDWI" or "EVI", of (y, x); lazy.

    Parameters
    ----------
    cube : (y, x, wavelength) reflectance.
    name : as `spyndex.indices` lists it.
    constants : such as `L=0.5`; others have spyndex's defaults.

    Raises
    ------
    ConfigError
        spyndex is not installed, knows no such index or constant, or the index needs other than reflectance.
    SchemaError
        The cube has no wavelength near a band.

    References
    ----------
    Montero et al. (2023), Scientific Data 10, 197; and `spyndex.indices[name].reference`.
    """
    try:
        import spyndex
    except ImportError as error:
        raise ConfigError(
            f'{name} needs spyndex, which is not installed; get it with: pip install "hsi-dask[indices]"'
        ) from error
    index = _known(spyndex.indices, name, "index")
    needed = {str(symbol) for symbol in index.bands}
    for constant in constants:
        _known({c: c for c in sorted(needed - set(spyndex.bands))}, constant, f"constant of {name}")
    values: dict[str, Any] = {}
    for symbol in sorted(needed):
        if symbol in spyndex.bands:
            values[symbol] = _plane(cube, _centre(spyndex.bands[symbol], symbol), symbol)
        elif symbol in constants:
            values[symbol] = constants[symbol]
        elif symbol in spyndex.constants and isinstance(spyndex.constants[symbol].default, int | float):
            values[symbol] = spyndex.constants[symbol].default
        else:
            raise ConfigError(f"{name} needs {symbol}, which is not reflectance; give it as {symbol}=...")
    found: xr.DataArray = spyndex.computeIndex(index=name, params=values).astype(np.float32)
    found.attrs = {"long_name": str(index.long_name), "units": "1", "references": str(index.reference)}
    return found.rename(name)


def _known(names: Any, name: str, what: str) -> Any:
    if name in names:
        return names[name]
    raise ConfigError(f"there is no {what} {name!r}{_hint(list(names), name)}")


def _hint(names: list[str], name: str) -> str:
    if near := difflib.get_close_matches(name.upper(), names, n=3):
        return f"; did you mean {', '.join(near)}?"
    more = f" and {len(names) - 5} others" if len(names) > 5 else ""
    return f"; there are {', '.join(names[:5])}{more}" if names else "; there are none"


def _centre(band: Any, symbol: str) -> float:
    return _CENTRES.get(symbol) or (float(band.min_wavelength) + float(band.max_wavelength)) / 2


def _plane(cube: xr.DataArray, wanted: float, band: str) -> xr.DataArray:
    """The plane nearest to a wavelength, without that coordinate."""
    if WAVELENGTH not in cube.dims or WAVELENGTH not in cube.coords:
        raise SchemaError(f"{cube.name or 'the array'} has no dimension wavelength with nm; give a cube")
    known = np.asarray(cube[WAVELENGTH], np.float64)
    number = int(np.abs(known - wanted).argmin())
    if abs(known[number] - wanted) > _FAR:
        raise SchemaError(
            f"the index needs {wanted:g} nm ({band}), the nearest wavelength is {known[number]:.1f} nm; keep that band"
        )
    plane = single_wavelength(cube, number)
    return plane.drop_vars([name for name in plane.coords if not plane[name].dims and name != "spatial_ref"])
