"""Spectra on the wavelengths of a cube, as its spectrometer would have seen them."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.errors import EndmemberError
from hsi_dask.schema import (
    CUBE_DIMS,
    ENDMEMBER,
    SAME_WAVELENGTH,
    WAVELENGTH,
    describe,
    describe_coordinates,
    require_dims,
    require_labels,
)

Array = NDArray[Any]

_RESPONSE = np.linspace(-4.0, 4.0, 81)  # standard deviations at which a band's Gaussian response is sampled
_FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))  # widths at half maximum in a standard deviation
_KEPT = ("name", "material")  # coordinates of the spectra beside their numbers


def resample_endmembers(spectra: xr.DataArray, cube: xr.DataArray, *, grid: Any = None) -> xr.DataArray:
    """Spectra as the cube's spectrometer sees them: through each band's Gaussian response.

    Parameters
    ----------
    spectra : (endmember, wavelength) reflectance, nm ascending, NaN where unknown; `fwhm` (nm) if known. Any number
        of them: thousands take seconds.
    cube : anything with the coordinates `wavelength` and, if known, `fwhm`, nm.
    grid : all wavelengths of the spectrometer, nm, before any were left out. Bands of unknown width are as wide as
        the spacing of this grid; without it, as the distance to the nearer neighbour among the cube's wavelengths,
        so that a window that was left out beside a band does not widen it.

    Returns
    -------
    (endmember, wavelength) float32 on the cube's wavelengths; numbers, `name` and `material` of the endmembers and
    attrs as those of `spectra`, and `resampled`.

    Notes
    -----
    A spectrum counts as straight between its points: where it is finer than the bands it is averaged by their
    response, where it is coarser it is interpolated. What width it has itself is not added a second time.
    Spectra of the cube's own grid (to 0.01 nm, and not finer), such as those of an earlier run, are taken as they are.

    Raises
    ------
    EndmemberError : a spectrum does not cover the cube's wavelengths or is zero at all of them, or there is none.
    """
    spectra = require_dims(spectra, (ENDMEMBER, WAVELENGTH), "spectra")
    if WAVELENGTH not in getattr(cube, "coords", ()):
        require_labels(cube, CUBE_DIMS, "the cube")
    if not spectra.sizes[ENDMEMBER]:
        raise EndmemberError("there are 0 spectra to resample; give one or more")
    known, wanted = (np.asarray(a[WAVELENGTH], dtype=np.float64) for a in (spectra, cube))
    if not (np.diff(known) > 0).all():
        raise EndmemberError("the wavelengths of the spectra do not ascend; call .sortby('wavelength') on them first")
    values = np.asarray(spectra, dtype=np.float64)
    nearest = np.abs(known[:, None] - wanted).argmin(axis=0)
    shared = np.abs(known[nearest] - wanted) <= SAME_WAVELENGTH
    _require_cover(spectra, known, wanted, values, np.where(shared, nearest, -1))
    if shared.all() and not _is_finer(known, wanted):
        resampled, how = values[:, nearest], "no: the same wavelengths"
    else:
        response = _response(known, wanted, _widths(spectra, cube, grid))
        resampled, how = _without_gaps(known, values) @ response.T, "Gaussian response"
    if (dark := np.flatnonzero(~resampled.any(axis=1))).size:
        raise EndmemberError(f"the spectrum {_names(spectra)[dark[0]]!r} is zero at every wavelength; leave it out")
    return _labelled(resampled, spectra, cube, how)


def _labelled(resampled: Array, spectra: xr.DataArray, cube: xr.DataArray, how: str) -> xr.DataArray:
    """Resampled values with the cube's wavelengths and the spectra's numbers, names and classes."""
    coords = {k: c.variable for k, c in cube.coords.items() if c.dims == (WAVELENGTH,)}
    coords |= {k: spectra[k].variable for k in (ENDMEMBER, *_KEPT) if k in spectra.coords}
    coords.setdefault(ENDMEMBER, xr.Variable(ENDMEMBER, np.arange(1, len(resampled) + 1)))
    found = xr.DataArray(resampled.astype(np.float32), coords, (ENDMEMBER, WAVELENGTH))
    describe_coordinates({k: v.variable for k, v in found.coords.items()})
    attrs = {k: v for k, v in spectra.attrs.items() if k != "fwhm"} | {"resampled": how}
    if "name" in spectra.coords:
        attrs["names"] = _names(spectra)
    return describe(found, "endmembers", **attrs)


def _names(spectra: xr.DataArray) -> list[str]:
    if "name" in spectra.coords:
        return [str(name) for name in spectra["name"].values]
    count, names = spectra.sizes[ENDMEMBER], spectra.attrs.get("names", ())
    return [str(name) for name in (names if len(names) == count else range(1, count + 1))]


# ------------------------------------------------------------------------------------------------ what is covered


def _is_finer(known: Array, wanted: Array) -> bool:
    """A library at every nanometre holds the cube's wavelengths too, but not as the cube sees them."""
    return wanted.size > 1 < known.size and bool(np.median(np.diff(known)) < 0.5 * np.median(np.diff(wanted)))


def _require_cover(spectra: xr.DataArray, known: Array, wanted: Array, values: Array, same: Array) -> None:
    """Every wavelength of the cube must be one that a spectrum has a value at, or lie between two such.

    same : of each wanted wavelength, the number of the known one that is the same, -1 for none.
    """
    there = np.isfinite(values)
    after = np.clip(np.searchsorted(known, wanted), 1, known.size - 1)
    between = there[:, after - 1] & there[:, after] & (wanted >= known[0]) & (wanted <= known[-1])
    covered = between | (there[:, same] & (same >= 0))
    lacking = np.flatnonzero(~covered.all(axis=1))
    if not lacking.size:
        return
    first = lacking[0]
    missing, has = wanted[~covered[first]], known[there[first]]
    shown = [f"{w:.1f}" for w in missing]
    some = ", ".join(shown) if len(shown) < 4 else f"{shown[0]}, {shown[1]} and so on to {shown[-1]}"
    covers = f"covers {has[0]:.1f} to {has[-1]:.1f} nm" if has.size else "has no value"
    more = f"; {lacking.size - 1} of the other {len(values) - 1} spectra lack some, too" if lacking.size > 1 else ""
    raise EndmemberError(
        f"the spectrum {_names(spectra)[first]!r} {covers}, but not {missing.size} of the {wanted.size} wavelengths "
        f"that are kept ({some} nm){more}; leave out what any of them lacks "
        f"(--windows {_windows(wanted, covered.all(axis=0))}; in Python cube.sel), or give other spectra"
    )


def _windows(wanted: Array, covered: Array) -> str:
    """The runs of wavelengths that are not covered, as `--windows` takes them: `381.5-396.6,2455.1-2460.2`."""
    ends = np.flatnonzero(np.diff(np.r_[False, ~covered, False].astype(int)))
    return ",".join(
        f"{np.floor(10 * wanted[first]) / 10:g}-{np.ceil(10 * wanted[after - 1]) / 10:g}"
        for first, after in ends.reshape(-1, 2)
    )


# ------------------------------------------------------------------------------------------------ responses


def _widths(spectra: xr.DataArray, cube: xr.DataArray, grid: Any) -> Array:
    """Full widths that are still to be applied to the spectra, nm."""
    wanted, known = np.asarray(cube[WAVELENGTH], dtype=np.float64), np.asarray(spectra[WAVELENGTH], dtype=np.float64)
    width = np.asarray(cube["fwhm"], dtype=np.float64) if "fwhm" in cube.coords else np.full(wanted.size, np.nan)
    width = np.where(np.isfinite(width), width, _spacing(wanted, grid))
    if "fwhm" not in spectra.coords:
        return width
    own = np.nan_to_num(np.interp(wanted, known, np.asarray(spectra["fwhm"], dtype=np.float64)))
    still: Array = np.sqrt(np.maximum(width**2 - own**2, 0.0))
    return still


def _spacing(wanted: Array, grid: Any) -> Array:
    """Spacing of the spectrometer's bands at the wanted ones, nm."""
    if grid is not None and np.size(grid) > 1:
        full = np.sort(np.asarray(grid, dtype=np.float64))
        spacing: Array = np.interp(wanted, full, np.gradient(full))
        return spacing
    if wanted.size < 2:
        return np.zeros(wanted.size)
    steps = np.abs(np.diff(wanted))
    nearer: Array = np.minimum(np.append(steps, np.inf), np.append(np.inf, steps))
    return nearer


def _response(known: Array, wanted: Array, width: Array) -> Array:
    """(bands, known) weights: means of what is straight between known points, under Gaussians cut off at the ends."""
    at = wanted[:, None] + width[:, None] / _FWHM * _RESPONSE
    weight = np.exp(-(_RESPONSE**2) / 2) * ((at >= known[0]) & (at <= known[-1]))
    weight[:, _RESPONSE.size // 2] = np.maximum(weight[:, _RESPONSE.size // 2], 1e-12)  # the centre is always inside
    weight /= weight.sum(axis=1, keepdims=True)
    after = np.clip(np.searchsorted(known, at), 1, known.size - 1)
    share = np.clip((at - known[after - 1]) / (known[after] - known[after - 1]), 0.0, 1.0)
    rows = np.broadcast_to(np.arange(wanted.size)[:, None] * known.size, at.shape)
    flat = np.concatenate([(rows + after - 1).ravel(), (rows + after).ravel()])
    parts = np.concatenate([(weight * (1 - share)).ravel(), (weight * share).ravel()])
    summed: Array = np.bincount(flat, parts, minlength=wanted.size * known.size).reshape(wanted.size, known.size)
    return summed


def _without_gaps(known: Array, values: Array) -> Array:
    """Spectra that are straight across their gaps, and level beyond their ends."""
    filled = values
    for n in np.flatnonzero(~np.isfinite(values).all(axis=1)):
        if filled is values:
            filled = values.copy()
        there = np.isfinite(values[n])
        filled[n] = np.interp(known, known[there], values[n, there])
    return filled
