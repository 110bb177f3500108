"""Pixels of maps and cubes as rows of a table, as estimators want them, and values of such rows as a map again."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from hsi_dask.errors import SchemaError
from hsi_dask.ops.whole_spectra import whole_spectra
from hsi_dask.schema import CUBE_DIMS, NO_CLASS, PIXEL, WAVELENGTH, X, Y, no_data_value, require_labels

FEATURE = "feature"
PLACES = {Y: "row", X: "column"}


def features(held: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """(y, x, feature) float32, lazy where it was, each block with all features; a pixel that lacks one is NaN.

    Of a cube the features are its wavelengths, and the dimension stays `wavelength`; of a map with three dimensions its
    planes; of a dataset the planes of all its maps, with the coordinate `feature`, such as "abundance 1".
    """
    if not isinstance(held, xr.Dataset):
        held = require_labels(held, CUBE_DIMS, "the cube")
    if isinstance(held, xr.DataArray) and WAVELENGTH in held.dims:
        return whole_spectra(held.transpose(Y, X, WAVELENGTH))
    maps = {held.name or "value": held} if isinstance(held, xr.DataArray) else dict(held.data_vars)
    planes, names = [], []
    for name, array in maps.items():
        if not {Y, X} <= set(array.dims) or array.ndim > 3 or array.dtype.kind not in "iuf":
            continue
        array = array.transpose(..., Y, X)
        known = array if array.dtype.kind == "f" else array.where(array != no_data_value(array.dtype))
        first = array.dims[0] if array.ndim == 3 else None
        labels = [f" {label}" for label in np.asarray(array[first])] if first else [""]
        names += [f"{name}{label}" for label in labels]
        planes.append(known.astype(np.float32).data if first else known.astype(np.float32).data[None])
    if not planes:
        raise SchemaError("there are no maps (y, x) of numbers to take features from")
    data = _stacked(planes)
    grid = {k: c.variable for k, c in held.coords.items() if set(c.dims) <= {Y, X}}
    return xr.DataArray(data, {**grid, FEATURE: np.array(names, dtype=object)}, (Y, X, FEATURE))


def _stacked(planes: list[Any]) -> Any:
    """Planes (k, y, x) each, as (y, x, feature) with all features in a block, NaN where one is."""
    if not any(hasattr(part, "dask") for part in planes):
        return _complete(np.moveaxis(np.concatenate(planes), 0, 2))
    import dask.array as da

    together = da.moveaxis(da.concatenate([da.asarray(part) for part in planes]), 0, 2).rechunk({2: -1})
    return together.map_blocks(_complete, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32))


def _complete(block: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(np.isnan(block).any(axis=2, keepdims=True), np.float32(np.nan), block)


def to_samples(held: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """All pixels with data of a cube, a map or results as rows, computed.

    Parameters
    ----------
    held : (y, x, wavelength), any map (y, x) or (..., y, x), or a dataset of maps.

    Returns
    -------
    (pixel, feature) float32 without missing values; of a cube (pixel, wavelength). Coordinates `y`, `x`, `row` and
    `column` of each pixel. `from_samples` brings values of these rows back.

    Examples
    --------
    >>> cube = xr.DataArray([[[0.1, 0.2], [np.nan, 0.3]]], {"wavelength": [500.0, 600.0]}, ("y", "x", "wavelength"))
    >>> samples = to_samples(cube)
    >>> samples.values.round(2).tolist(), samples.column.values.tolist()
    ([[0.10000000149011612, 0.20000000298023224]], [0])
    """
    table = features(held)
    values = np.asarray(table)
    rows, columns = np.nonzero(~np.isnan(values).any(axis=2))
    coords: dict[Any, Any] = {k: c.variable for k, c in table.coords.items() if not {Y, X} & set(c.dims)}
    for (dim, position), at in zip(PLACES.items(), (rows, columns), strict=True):
        if dim in table.coords:
            coords[dim] = (PIXEL, np.asarray(table[dim])[at], table[dim].attrs)
        coords[position] = (PIXEL, at)
    name = "reflectance" if WAVELENGTH in table.dims else "samples"
    return xr.DataArray(values[rows, columns], coords, (PIXEL, table.dims[2]), name)


def from_samples(values: ArrayLike, samples: xr.DataArray, like: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Values of sampled pixels as a map on the grid of what they were sampled from.

    Parameters
    ----------
    values : (pixel,) or (pixel, k), such as labels or components that an estimator gave.
    samples : from `to_samples`, or any with the coordinates `row` and `column`.
    like : the cube or maps.

    Returns
    -------
    (y, x), or (output, y, x) with `output` from 1. Elsewhere NaN; of whole numbers 255 where all are 0 to 254, else -1.

    Examples
    --------
    >>> cube = xr.DataArray([[[0.1, 0.2], [np.nan, 0.3]]], {"wavelength": [500.0, 600.0]}, ("y", "x", "wavelength"))
    >>> from_samples([7], to_samples(cube), cube).values.tolist()
    [[7, 255]]
    """
    found, samples = np.asarray(values), require_labels(samples, (PIXEL, WAVELENGTH), "samples")
    if missing := [name for name in PLACES.values() if name not in samples.coords]:
        raise SchemaError(f"samples have no coordinate {' and '.join(missing)}; take them from to_samples")
    if found.ndim not in (1, 2) or len(found) != samples.sizes[PIXEL]:
        raise SchemaError(f"values are of shape {found.shape}, the samples have {samples.sizes[PIXEL]} pixels")
    dtype, no_data = map_dtype(found)
    sizes = like.sizes
    out = np.full((*found.shape[1:], sizes[Y], sizes[X]), no_data, dtype)
    out[..., np.asarray(samples["row"]), np.asarray(samples["column"])] = found.T
    coords: dict[Any, Any] = {k: c.variable for k, c in like.coords.items() if set(c.dims) <= {Y, X}}
    if found.ndim == 1:
        return xr.DataArray(out, coords, (Y, X))
    return xr.DataArray(out, {**coords, "output": np.arange(1, found.shape[1] + 1)}, ("output", Y, X))


def map_dtype(values: NDArray[Any]) -> tuple[np.dtype[Any], float | int]:
    """What a map of these values is stored as, and what means no data in it."""
    if values.dtype.kind == "f":
        return np.dtype(np.float32), np.nan
    if values.dtype.kind not in "iub":
        raise SchemaError(f"values are {values.dtype}; a map takes numbers")
    small = not values.size or (values.min() >= 0 and values.max() < NO_CLASS)
    dtype = np.dtype(np.uint8 if small else np.int32)
    return dtype, no_data_value(dtype)
