"""Continuum removal: spectra over their convex hull, and what absorbs below it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hsi_dask.kernels.compiled import compiled

Spectra = NDArray[np.floating[Any]]


class Absorption(NamedTuple):
    """The deepest absorption of every spectrum, each (n,) float64; NaN where the spectrum has no continuum.

    depth : 1 - reflectance / continuum at its minimum, 0 where the hull is the spectrum, 1 where nothing is reflected.
    wavelength : of the minimum of a parabola through the deepest band and its neighbours; NaN where depth is 0.
    area : integral of 1 - reflectance / continuum over wavelength, in the wavelength's unit.
    """

    depth: NDArray[np.float64]
    wavelength: NDArray[np.float64]
    area: NDArray[np.float64]


def continuum(spectra: Spectra, wavelength: ArrayLike) -> Spectra:
    """The upper convex hull of every spectrum: the lowest concave line above it.

    Parameters
    ----------
    spectra : (n, L) float. A NaN makes its whole spectrum NaN.
    wavelength : (L,) ascending.

    Returns
    -------
    (n, L) of the spectra's type, at no place below the spectrum and equal to it at both ends.

    References
    ----------
    Clark & Roush 1984, J. Geophys. Res. 89(B7), 6329-6340. Andrew 1979, Information Processing Letters 9(5) (the hull).

    Examples
    --------
    >>> continuum(np.array([[0.2, 0.1, 0.4, 0.2]]), [400.0, 500.0, 600.0, 700.0]).round(12).tolist()
    [[0.2, 0.3, 0.4, 0.2]]
    """
    values, grid = _checked(spectra, wavelength)
    out = np.empty_like(values)
    _continuum(values, grid, out)
    return out


def continuum_removed(spectra: Spectra, wavelength: ArrayLike) -> Spectra:
    """Every spectrum over its continuum: 1 on the hull, less within absorptions, whatever the brightness.

    Parameters, result and references as in `continuum`. NaN where the continuum is not above zero.

    Examples
    --------
    >>> continuum_removed(np.array([[0.2, 0.15, 0.4, 0.2]]), [400.0, 500.0, 600.0, 700.0]).round(12).tolist()
    [[1.0, 0.5, 1.0, 1.0]]
    """
    values, grid = _checked(spectra, wavelength)
    hull = np.empty_like(values)
    _continuum(values, grid, hull)
    return np.divide(values, hull, out=np.full_like(values, np.nan), where=hull > 0)


def absorption(spectra: Spectra, wavelength: ArrayLike, window: tuple[float, float] = (-np.inf, np.inf)) -> Absorption:
    """The deepest absorption within a window, below the continuum between the ends of that window.

    Parameters
    ----------
    spectra : (n, L) float. A NaN within the window makes all of its spectrum's results NaN.
    wavelength : (L,) ascending.
    window : (from, to), both ends included, with three bands at least: the shoulders of the absorption.

    References
    ----------
    Clark & Roush 1984, J. Geophys. Res. 89(B7). Rodger et al. 2012, Remote Sensing of Environment 118, 273-283 (the
    parabola).

    Examples
    --------
    >>> spectrum = np.array([[0.4, 0.3, 0.2, 0.3, 0.4]])
    >>> found = absorption(spectrum, [2000.0, 2100.0, 2200.0, 2300.0, 2400.0])
    >>> found.depth.round(12).tolist(), found.wavelength.tolist(), found.area.round(9).tolist()
    ([0.5], [2200.0], [100.0])
    """
    low, high = window
    grid = np.asarray(wavelength, dtype=np.float64)
    inside = (grid >= low) & (grid <= high)
    if inside.sum() < 3:
        raise ValueError(f"the window {low:g} to {high:g} has {inside.sum()} bands; an absorption needs 3 at least")
    grid = grid[inside]
    depths = 1.0 - np.asarray(continuum_removed(spectra[:, inside], grid), dtype=np.float64)
    missing = np.isnan(depths).any(axis=1)
    depths[missing] = 0.0
    deepest = depths.argmax(axis=1)
    depth = depths[np.arange(len(depths)), deepest]
    position = np.where(depth > 0, _parabola(depths, deepest, grid), np.nan)
    area = ((depths[:, 1:] + depths[:, :-1]) / 2.0) @ np.diff(grid)
    return Absorption(*(np.where(missing, np.nan, each) for each in (depth, position, area)))


def _parabola(depths: NDArray[np.float64], deepest: NDArray[np.intp], grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the parabola through the deepest band and its neighbours ends; bands may be spaced unevenly."""
    middle = np.clip(deepest, 1, grid.size - 2)  # the ends have depth 0: where one is deepest, nothing absorbs
    rows = np.arange(len(depths))
    left, right = grid[middle] - grid[middle - 1], grid[middle + 1] - grid[middle]
    rise = (depths[rows, middle] - depths[rows, middle - 1]) / left
    fall = (depths[rows, middle] - depths[rows, middle + 1]) / right
    bend = rise + fall
    shift = (rise * right - fall * left) / np.where(bend > 0, 2.0 * bend, np.inf)
    return np.asarray(grid[middle] + shift)


def _checked(spectra: Spectra, wavelength: ArrayLike) -> tuple[Spectra, NDArray[np.float64]]:
    grid = np.ascontiguousarray(wavelength, dtype=np.float64)
    if spectra.ndim != 2 or spectra.dtype not in (np.float32, np.float64) or grid.shape != spectra.shape[1:]:
        raise ValueError(
            f"spectra {spectra.shape} {spectra.dtype} must be (n, L) float, L as in wavelength {grid.shape}"
        )
    if not (np.diff(grid) > 0).all():
        raise ValueError("wavelengths must ascend; sort the spectra by them first")
    values = np.ascontiguousarray(spectra, dtype=spectra.dtype.newbyteorder("=")).view()
    values.flags.writeable = False
    return values, grid


@compiled()
def _continuum(spectra: Any, grid: Any, out: Any) -> None:
    """Corners of the hull so far are kept; a new point drops those that it leaves below the line."""
    wavelengths = grid.size
    corners = np.empty(wavelengths, np.int64)
    for n in range(spectra.shape[0]):
        spectrum, hull = spectra[n], out[n]
        count = 0
        finite = True
        for k in range(wavelengths):
            finite &= spectrum[k] - spectrum[k] == 0
            while count > 1:
                a, b = corners[count - 2], corners[count - 1]
                up = (np.float64(spectrum[b]) - spectrum[a]) * (grid[k] - grid[a])
                if up > (np.float64(spectrum[k]) - spectrum[a]) * (grid[b] - grid[a]):
                    break
                count -= 1
            corners[count] = k
            count += 1
        for c in range(count - 1):
            a, b = corners[c], corners[c + 1]
            slope = (np.float64(spectrum[b]) - spectrum[a]) / (grid[b] - grid[a])
            hull[a], hull[b] = spectrum[a], spectrum[b]
            for k in range(a + 1, b):
                hull[k] = max(np.float64(spectrum[a]) + slope * (grid[k] - grid[a]), np.float64(spectrum[k]))
        if count == 1:
            hull[0] = spectrum[0]
        if not finite:
            for k in range(wavelengths):
                hull[k] = np.nan
