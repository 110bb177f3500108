"""Continuum removal of cubes and libraries, and the depth, place and area of an absorption."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.errors import ConfigError, SchemaError
from hsi_dask.kernels import continuum as kernel
from hsi_dask.ops.whole_spectra import whole_spectra
from hsi_dask.schema import CUBE_DIMS, WAVELENGTH, require_labels

Window = tuple[float, float]
_ABSORPTION = {
    "absorption_depth": {"long_name": "depth of the absorption below the continuum", "units": "1"},
    "absorption_wavelength": {"long_name": "wavelength of the absorption's minimum", "units": "nm"},
    "absorption_area": {"long_name": "area of the absorption below the continuum", "units": "nm"},
}


def continuum_removal(spectra: xr.DataArray, *, window: Window | None = None) -> xr.DataArray:
    """Every spectrum over its convex hull: 1 on the hull, less within absorptions, whatever the brightness.

    Parameters
    ----------
    spectra : (..., wavelength), a cube as in `map_materials`, a library or samples; numpy or dask.
    window : (from, to) in nm, both included: the hull is that of these wavelengths alone. None is all.

    Returns
    -------
    (..., wavelength) float32, at most 1, lazy where the spectra are. NaN where the hull is not above zero, and all of a
    spectrum with a missing value.

    Raises
    ------
    SchemaError : no wavelengths, or wavelengths that do not ascend.
    ConfigError : a window with fewer than three of the wavelengths.

    References
    ----------
    Clark, R. N. & Roush, T. L. (1984). Journal of Geophysical Research 89(B7), 6329-6340.

    Examples
    --------
    >>> wavelength = {"wavelength": [400.0, 500.0, 600.0, 700.0]}
    >>> library = xr.DataArray([[0.2, 0.15, 0.4, 0.2]], wavelength, ("endmember", "wavelength"))
    >>> continuum_removal(library).values.tolist()
    [[1.0, 0.5, 1.0, 1.0]]
    """
    values = _within(spectra, window)
    grid = np.asarray(values[WAVELENGTH], np.float64)
    found = _blockwise(values.data, partial(_removed, grid=grid), grid.size)
    return xr.DataArray(
        found, _coords(values), values.dims, "continuum_removed",
        {"long_name": "reflectance over its continuum", "units": "1"},
    ).transpose(*spectra.dims)  # fmt: skip


def absorption(spectra: xr.DataArray, *, window: Window | None = None) -> xr.Dataset:
    """Depth, wavelength and area of the deepest absorption within a window.

    Parameters
    ----------
    spectra, window : as in `continuum_removal`. The window's ends are the shoulders of the absorption.

    Returns
    -------
    Dataset of float32 in the dimensions that are left, lazy where the spectra are: `absorption_depth`, 1 - reflectance
    over continuum at the minimum; `absorption_wavelength`, nm, of the minimum of a parabola through the deepest band
    and its neighbours, NaN where nothing absorbs; `absorption_area`, nm, between spectrum and continuum, which is 1.

    Raises
    ------
    As `continuum_removal`.

    References
    ----------
    Clark, R. N. & Roush, T. L. (1984). Journal of Geophysical Research 89(B7), 6329-6340. Rodger, A. et al. (2012).
    Remote Sensing of Environment 118, 273-283 (the parabola).

    Examples
    --------
    >>> wavelength = {"wavelength": [2000.0, 2100.0, 2200.0, 2300.0, 2400.0]}
    >>> library = xr.DataArray([[0.4, 0.3, 0.2, 0.3, 0.4]], wavelength, ("endmember", "wavelength"))
    >>> found = absorption(library, window=(2000, 2400))
    >>> found.absorption_depth.values.tolist(), found.absorption_wavelength.values.tolist()
    ([0.5], [2200.0])
    """
    values = _within(spectra, window, least=3)
    grid = np.asarray(values[WAVELENGTH], np.float64)
    planes = _blockwise(values.data, partial(_absorption, grid=grid), len(_ABSORPTION))
    coords = {name: c for name, c in _coords(values).items() if WAVELENGTH not in c.dims}
    dims = [dim for dim in spectra.dims if dim != WAVELENGTH]
    found = {
        name: xr.DataArray(planes[..., number], coords, values.dims[:-1], name, attrs).transpose(*dims)
        for number, (name, attrs) in enumerate(_ABSORPTION.items())
    }
    return xr.Dataset(found, attrs={"window": [float(grid[0]), float(grid[-1])]})


def _within(spectra: xr.DataArray, window: Window | None, least: int = 1) -> xr.DataArray:
    """Float32 reflectance of the window's wavelengths, whole spectra in each block."""
    spectra = require_labels(spectra, CUBE_DIMS, "spectra")
    if WAVELENGTH in spectra.coords and spectra[WAVELENGTH].dims == (WAVELENGTH,):
        grid = np.asarray(spectra[WAVELENGTH], np.float64)
        low, high = window or (-np.inf, np.inf)
        inside = (grid >= low) & (grid <= high)
        if inside.sum() < (3 if window else least):
            raise ConfigError(f"the window {low:g} to {high:g} nm has {inside.sum()} wavelengths; it needs 3 at least")
        if (np.diff(grid) <= 0).any():
            raise SchemaError("wavelengths must ascend for a continuum; call sortby('wavelength') first")
        spectra = spectra if inside.all() else spectra.isel({WAVELENGTH: inside})
    return whole_spectra(spectra)


def _coords(values: xr.DataArray) -> dict[Any, xr.Variable]:
    return {name: c.variable for name, c in values.coords.items()}


def _blockwise(data: Any, function: Callable[[NDArray[Any]], NDArray[np.float32]], size: int) -> Any:
    """Work on each block (..., wavelength) to (..., size)."""
    if not hasattr(data, "dask"):
        return function(data)
    meta = np.empty((0,) * data.ndim, np.float32)
    return data.map_blocks(function, chunks=(*data.chunks[:-1], (size,)), dtype=np.float32, meta=meta)


def _removed(block: NDArray[Any], *, grid: NDArray[np.float64]) -> NDArray[np.float32]:
    return kernel.continuum_removed(block.reshape(-1, grid.size), grid).reshape(block.shape)


def _absorption(block: NDArray[Any], *, grid: NDArray[np.float64]) -> NDArray[np.float32]:
    found = kernel.absorption(block.reshape(-1, grid.size), grid)
    return np.stack(found, axis=1).astype(np.float32).reshape(*block.shape[:-1], -1)
