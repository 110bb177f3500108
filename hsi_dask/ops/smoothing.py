"""Smooth spectra and their derivatives, of cubes and libraries."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.errors import ConfigError
from hsi_dask.kernels.smoothing import savitzky_golay
from hsi_dask.ops.whole_spectra import whole_spectra
from hsi_dask.schema import WAVELENGTH


def smooth(spectra: xr.DataArray, *, window: int = 11, order: int = 2, derivative: int = 0) -> xr.DataArray:
    """Spectra smoothed along wavelength by local polynomials (Savitzky-Golay), or their derivative.

    Parameters
    ----------
    spectra : (..., wavelength), a cube as in `map_materials`, a library or samples; numpy or dask.
    window : wavelengths that a polynomial is fitted to, odd. None is fitted across a gap, such as a dropped window of
        water vapour.
    order : of the polynomial, below `window`.
    derivative : 0 is the smooth spectrum itself; 1 and more per nm to that power.

    Returns
    -------
    (..., wavelength) float32, lazy where the spectra are; a spectrum with a missing value is NaN.

    Raises
    ------
    ConfigError : window, order and derivative that do not fit, or wavelengths that do not ascend.

    References
    ----------
    Savitzky, A. & Golay, M. J. E. (1964). Analytical Chemistry 36(8), 1627-1639.

    Examples
    --------
    >>> wavelength = {"wavelength": [400.0, 410.0, 420.0, 430.0]}
    >>> spectra = xr.DataArray([[0.1, 0.4, 0.1, 0.4]], wavelength, ("pixel", "wavelength"))
    >>> smooth(spectra, window=3, order=1).values.astype(float).round(2).tolist()
    [[0.2, 0.2, 0.3, 0.3]]
    """
    values = whole_spectra(spectra)
    try:
        matrix = savitzky_golay(values[WAVELENGTH], window, order, derivative)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    smoothed = partial(_smoothed, matrix=np.ascontiguousarray(matrix.T))
    data = values.data
    if hasattr(data, "dask"):
        data = data.map_blocks(smoothed, dtype=np.float32, meta=np.empty((0,) * data.ndim, np.float32))
    else:
        data = smoothed(data)
    name = f"derivative {derivative} of reflectance by nm" if derivative else "smoothed reflectance"
    attrs = {"long_name": name, "units": f"nm-{derivative}" if derivative else "1"}
    coords = {key: c.variable for key, c in values.coords.items()}
    return xr.DataArray(data, coords, values.dims, spectra.name, attrs).transpose(*spectra.dims)


def _smoothed(block: NDArray[Any], *, matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(block @ matrix, dtype=np.float32)
