"""Blocks that hold all wavelengths of their pixels, for what looks at a spectrum as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.errors import SchemaError
from hsi_dask.ops.decoding import Storage, checked, storage
from hsi_dask.schema import CUBE_DIMS, WAVELENGTH, require_labels

_BLOCK_BYTES = 32 * 2**20  # of reflectance: a few blocks a thread, and what is made of them, stay below 1 GB


def whole_spectra(spectra: xr.DataArray) -> xr.DataArray:
    """Float32 reflectance (..., wavelength), lazy where the spectra are, each block with all wavelengths.

    A spectrum with a missing value, or of zeros alone, is NaN at all wavelengths.

    Examples
    --------
    >>> stored = xr.DataArray([[1000, 2000], [0, 0], [-9999, 5]], {"wavelength": [500.0, 600.0]}, ("x", "wavelength"))
    >>> stored.attrs = {"scale_factor": 1e-4, "_FillValue": -9999}
    >>> whole_spectra(stored).values.round(3).tolist()
    [[0.10000000149011612, 0.20000000298023224], [nan, nan], [nan, nan]]
    """
    spectra = require_labels(spectra, CUBE_DIMS, "spectra")
    if WAVELENGTH not in spectra.dims or WAVELENGTH not in spectra.coords:
        raise SchemaError(f"spectra need a dimension and coordinate {WAVELENGTH!r} in nm, and have {spectra.dims}")
    spectra = checked(spectra.transpose(..., WAVELENGTH))
    read = partial(_reflectance, how=storage(spectra))
    data = spectra.data
    if not hasattr(data, "dask"):
        return spectra.copy(data=read(np.asarray(data)))
    data = data.rechunk(_chunks(data.chunks, data.shape))
    return spectra.copy(data=data.map_blocks(read, dtype=np.float32, meta=np.empty((0,) * data.ndim, np.float32)))


def _reflectance(stored: NDArray[Any], how: Storage) -> NDArray[np.float32]:
    known = how.valid(stored).all(axis=-1) & stored.any(axis=-1)
    values = how.reflectance(stored)
    if not known.all():
        values[~known] = np.nan
    return values


def _chunks(chunks: Sequence[tuple[int, ...]], shape: Sequence[int]) -> tuple[Any, ...]:
    """Chunks with all wavelengths, cut along the first dimension where they would be large."""
    if len(shape) == 1:
        return (-1,)
    widest = int(np.prod([max(sizes) for sizes in chunks[1:-1]]))
    most = max(1, _BLOCK_BYTES // max(1, 4 * shape[-1] * widest))
    first = tuple(min(most, size - start) for size in chunks[0] for start in range(0, size, most))
    return (first or chunks[0], *chunks[1:-1], -1)
