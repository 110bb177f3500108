"""Spectra on matplotlib axes: gaps where wavelengths were left out, and an axis that no outlier stretches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.schema import WAVELENGTH
from hsi_dask.show.palettes import class_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GAP = 2.5  # steps between wavelengths: a wider one is a window that was left out
_BESIDE = 15.0  # nm beside a water-vapour window in which air is nearly opaque
_SHORT = 400.0  # nm below which sensors see little but noise
MOST_LINES = 100  # spectra in a figure; of larger libraries some of each material
_ROOM = 1.08  # of the axis above the largest value


def draw_spectra(
    ax: Axes,
    spectra: xr.DataArray,
    names: Sequence[str],
    windows: Sequence[tuple[float, float]] = (),
    colours: Sequence[str] | None = None,
) -> None:
    """Spectra (n, wavelength) against nm, with gaps where wavelengths were left out, and windows (nm) shaded.

    Of several lines of one name the legend has the first.
    """
    wavelength = np.asarray(spectra[WAVELENGTH], np.float64)
    values = np.asarray(spectra.transpose(..., WAVELENGTH), np.float32)
    grid, gapped = with_gaps(wavelength, values)
    width, labelled = 1.6 if len(set(names)) == len(names) else 0.8, set[str]()  # a bundle's lines share a name
    for spectrum, name, colour in zip(gapped, names, colours or class_colours(len(names)), strict=True):
        ax.plot(grid, spectrum, color=colour, linewidth=width, label="_" if name in labelled else name)
        labelled.add(name)
    for low, high in windows:
        ax.axvspan(low, high, color="#ededed", linewidth=0, zorder=0)
    ax.set_xlabel("wavelength (nm)")
    ax.set_ylabel("reflectance")
    ax.set_xlim(wavelength[0], wavelength[-1])
    ax.set_ylim(*reflectance_limits(wavelength, values, windows))
    ax.grid(visible=True, color="#e5e5e5", linewidth=0.6)
    ax.set_axisbelow(True)


def reflectance_limits(
    wavelength: NDArray[np.float64], values: NDArray[Any], windows: Sequence[tuple[float, float]] = ()
) -> tuple[float, float]:
    """An axis for spectra (..., wavelength): noise in windows and at the short end, and single outliers do not count.

    Examples
    --------
    >>> low, high = reflectance_limits(np.array([390.0, 500.0, 1400.0, 1600.0]), np.array([9.0, 0.2, 5.0, 0.4]),
    ...                                [(1340.0, 1445.0)])
    >>> round(low, 2), round(high, 2)
    (0.0, 0.43)
    """
    calm = (wavelength >= _SHORT) & np.isfinite(values).any(axis=tuple(range(values.ndim - 1)))
    for low, high in windows:
        calm &= (wavelength < low - _BESIDE) | (wavelength > high + _BESIDE)
    chosen = values[..., calm] if calm.any() else values
    spectra = [
        good for spectrum in chosen.reshape(-1, chosen.shape[-1]) if (good := spectrum[np.isfinite(spectrum)]).size
    ]
    if not spectra:
        return 0.0, 1.0
    # each spectrum by itself: the brightest of many is no outlier
    top = max(min(float(one.max()), 1.15 * float(np.percentile(one, 98))) for one in spectra)
    bottom = min(float(np.percentile(one, 1)) for one in spectra)
    return min(0.0, bottom), max(_ROOM * top, 1e-6)


def with_gaps(wavelength: NDArray[np.float64], values: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Wavelengths (n,) and values (..., n) with a NaN put into every gap, so that no line crosses it."""
    steps = np.diff(wavelength)
    if not steps.size:
        return wavelength, values
    at = np.flatnonzero(steps > _GAP * np.median(steps)) + 1
    middle = (wavelength[at - 1] + wavelength[at]) / 2
    return np.insert(wavelength, at, middle), np.insert(values, at, np.nan, axis=-1)
