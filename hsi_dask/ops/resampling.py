"""Given spectra on the wavelengths of a cube, as its spectrometer would have seen them."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.errors import EndmemberError
from hsi_dask.schema import ENDMEMBER, MAX_ENDMEMBERS, WAVELENGTH, describe, describe_coordinates, require_dims

Array = NDArray[Any]

_RESPONSE = np.linspace(-4.0, 4.0, 81)  # standard deviations at which a band's Gaussian response is sampled
_FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))  # widths at half maximum in a standard deviation
_SAME = 0.01  # nm: closer wavelengths are the same, as in `schema.require_wavelengths`


def resample_endmembers(spectra: xr.DataArray, cube: xr.DataArray) -> xr.DataArray:
    """Given spectra as the cube's spectrometer sees them: through each band's Gaussian response.

    Parameters
    ----------
    spectra : (endmember, wavelength) reflectance, nm ascending, NaN where unknown; `fwhm` (nm) if known.
    cube : anything with the coordinates `wavelength` and, if known, `fwhm`, nm; bands of unknown width are taken
        as wide as the spacing of the wavelengths.

    Returns
    -------
    (endmember, wavelength) float32 on the cube's wavelengths; attrs as those of `spectra`, and `resampled`.

    Notes
    -----
    A spectrum counts as straight between its points: where it is finer than the bands it is averaged by their
    response, where it is coarser it is interpolated. What width it has itself is not added a second time.
    Spectra of the cube's own grid (to 0.01 nm, and not finer), such as those of an earlier run, are taken as they are.

    Raises
    ------
    EndmemberError : a spectrum does not cover the cube's wavelengths, or there are none or more than 254.
    """
    spectra = require_dims(spectra, (ENDMEMBER, WAVELENGTH), "spectra")
    if not 1 <= spectra.sizes[ENDMEMBER] <= MAX_ENDMEMBERS:
        raise EndmemberError(
            f"there are {spectra.sizes[ENDMEMBER]} spectra, and 1 to {MAX_ENDMEMBERS} can be used; choose some by "
            "their names (endmembers.names)"
        )
    known, wanted = (np.asarray(a[WAVELENGTH], dtype=np.float64) for a in (spectra, cube))
    values = np.asarray(spectra, dtype=np.float64)
    _require_cover(spectra, known, wanted, values)
    nearest = np.abs(known[:, None] - wanted).argmin(axis=0)
    if np.abs(known[nearest] - wanted).max() <= _SAME and not _is_finer(known, wanted):
        resampled, how = values[:, nearest], "no: the same wavelengths"
    else:
        resampled, how = _through_response(known, values, wanted, _widths(spectra, cube)), "Gaussian response"
    for name, spectrum in zip(_names(spectra), resampled, strict=True):
        if not spectrum.any():
            raise EndmemberError(f"the spectrum {name!r} is zero at every wavelength; leave it out")
    coords = {k: c.variable for k, c in cube.coords.items() if c.dims == (WAVELENGTH,)}
    coords[ENDMEMBER] = xr.Variable(ENDMEMBER, np.arange(1, len(resampled) + 1))
    found = xr.DataArray(resampled.astype(np.float32), coords, (ENDMEMBER, WAVELENGTH))
    describe_coordinates({k: v.variable for k, v in found.coords.items()})
    return describe(found, "endmembers", **{k: v for k, v in spectra.attrs.items() if k != "fwhm"} | {"resampled": how})


def _is_finer(known: Array, wanted: Array) -> bool:
    """A library at every nanometre holds the cube's wavelengths too, but not as the cube sees them."""
    return wanted.size > 1 and bool(np.median(np.diff(known)) < 0.5 * np.median(np.diff(wanted)))


def _names(spectra: xr.DataArray) -> list[str]:
    count, names = spectra.sizes[ENDMEMBER], spectra.attrs.get("names", ())
    return [str(name) for name in (names if len(names) == count else range(1, count + 1))]


def _require_cover(spectra: xr.DataArray, known: Array, wanted: Array, values: Array) -> None:
    """Every wavelength of the cube must lie at or between two that a spectrum has values at."""
    for name, spectrum in zip(_names(spectra), values, strict=True):
        there = np.isfinite(spectrum)
        weight = np.interp(wanted, known, there.astype(float), left=0.0, right=0.0)
        missing = wanted[(weight < 1 - 1e-9) & ~_touches(wanted, known, spectrum)]
        if not missing.size:
            continue
        shown = [f"{w:.1f}" for w in missing]
        some = ", ".join(shown) if len(shown) < 4 else f"{shown[0]}, {shown[1]} and so on to {shown[-1]}"
        covers = f"covers {known[there][0]:.1f} to {known[there][-1]:.1f} nm" if there.any() else "has no value"
        raise EndmemberError(
            f"the spectrum {name!r} {covers}, but not {missing.size} of the {wanted.size} wavelengths that are kept "
            f"({some} nm); leave these out with bands.windows or bands.drop_last, or give other spectra"
        )


def _touches(wanted: Array, known: Array, spectrum: Array) -> Array:
    """Wavelengths at which the spectrum has a value itself, whatever its neighbours lack."""
    nearest = np.abs(known[:, None] - wanted).argmin(axis=0)
    touches: Array = (np.abs(known[nearest] - wanted) <= _SAME) & np.isfinite(spectrum[nearest])
    return touches


def _widths(spectra: xr.DataArray, cube: xr.DataArray) -> Array:
    """Full widths that are still to be applied to the spectra, nm."""
    wanted, known = np.asarray(cube[WAVELENGTH], dtype=np.float64), np.asarray(spectra[WAVELENGTH], dtype=np.float64)
    spacing = np.gradient(wanted) if wanted.size > 1 else np.zeros(1)
    width = np.asarray(cube["fwhm"], dtype=np.float64) if "fwhm" in cube.coords else np.full(wanted.size, np.nan)
    width = np.where(np.isfinite(width), width, spacing)
    if "fwhm" not in spectra.coords:
        return width
    own = np.nan_to_num(np.interp(wanted, known, np.asarray(spectra["fwhm"], dtype=np.float64)))
    still: Array = np.sqrt(np.maximum(width**2 - own**2, 0.0))
    return still


def _through_response(known: Array, values: Array, wanted: Array, width: Array) -> Array:
    """(n, bands): means of the spectra, straight between their points, under Gaussians; ends of the range cut off."""
    at = wanted[:, None] + width[:, None] / _FWHM * _RESPONSE
    weight = np.exp(-(_RESPONSE**2) / 2) * ((at >= known[0]) & (at <= known[-1]))
    weight[:, _RESPONSE.size // 2] = np.maximum(weight[:, _RESPONSE.size // 2], 1e-12)  # the centre is always inside
    weight /= weight.sum(axis=1, keepdims=True)
    found = np.empty((len(values), wanted.size))
    for n, spectrum in enumerate(values):
        there = np.isfinite(spectrum)
        found[n] = (np.interp(at, known[there], spectrum[there]) * weight).sum(axis=1)
    return found
