"""A tile's masks: its quality layers read, its spectra looked at, its sample kept clear of them."""

from __future__ import annotations

import logging
import math

import numpy as np
import xarray as xr

from hsi_dask.config import MaskConfig
from hsi_dask.errors import EndmemberError, FileFormatError
from hsi_dask.io.layers import layer_dataset, read_layers
from hsi_dask.io.metadata import NeonFile
from hsi_dask.ops.quality import Masks, has_spectral, layer_flags, near_infrared, spectral_flags
from hsi_dask.ops.sampling import sample_pixels
from hsi_dask.schema import PIXEL, X, Y

logger = logging.getLogger(__name__)

_ROWS = 1000  # of a long flight line that are looked at to tell shade from light: a tile has as many
_MOST = 8  # times as many pixels as wanted are drawn where masks leave few


def tile_flags(file: NeonFile, cube: xr.DataArray, config: MaskConfig, threads: int) -> xr.DataArray | None:
    """Everything but no data that is flagged: (y, x) uint8, lazy as far as it needs the spectra; None if nothing is.

    Parameters
    ----------
    cube : the file's, with the wavelengths that are kept

    Raises
    ------
    FileFormatError
        The file lacks a layer that a mask needs.
    ConfigError
        An index needs a wavelength that is not kept.
    """
    masks = Masks(**config.model_dump())
    if masks == Masks():
        return None
    layers = _layer_flags(file, cube, masks, threads)
    flags = spectral_flags(cube, masks) if has_spectral(masks) else None
    if flags is None:
        return layers.assign_coords({dim: cube[dim] for dim in (Y, X)})
    return flags if not masks.layers else flags | layers.chunk({dim: flags.chunksizes[dim] for dim in (Y, X)})


def unmasked_pixels(
    file: NeonFile, cube: xr.DataArray, size: int, seed: int, config: MaskConfig, threads: int
) -> xr.DataArray:
    """`sample_pixels` that no mask flags. Spectra are judged by those drawn: no plane is read for it.

    Raises
    ------
    EndmemberError
        There is no such pixel; further, the errors of `tile_flags`.
    """
    masks = Masks(**config.model_dump())
    if masks == Masks():
        return sample_pixels(cube, size, seed=seed)
    where = _layer_flags(file, cube, masks, threads) == 0 if masks.layers else None
    if where is not None and not where.any():
        raise EndmemberError(f"{file.path} has no pixel left that is not masked; loosen the masks")
    drawn, good = size, np.empty(0, np.intp)
    while True:
        pixels = sample_pixels(cube, drawn, seed=seed, where=where)
        good = np.flatnonzero(spectral_flags(pixels, masks) == 0)
        if good.size >= size or pixels.sizes[PIXEL] < drawn or drawn == _MOST * size:
            break
        share = max(good.size / drawn, 1 / _MOST)
        drawn = min(math.ceil(1.2 * size / share), _MOST * size)
    if not good.size:
        raise EndmemberError(f"{file.path}: the masks leave none of {pixels.sizes[PIXEL]} pixels drawn; loosen them")
    return pixels.isel({PIXEL: good[:size]})


def missing_layer(names: tuple[str, ...], masks: MaskConfig) -> str | None:
    """What a file with these layers lacks for the masks, as the end of a sentence; None if nothing."""
    for layer, mask in Masks(**masks.model_dump()).layers.items():
        if layer not in names:
            default = "null" if mask == "cloud" else "false"
            return f"has no layer {layer}, which masks.{mask} needs; set masks.{mask} to {default}, or leave it out"
    return None


def _layer_flags(file: NeonFile, cube: xr.DataArray, masks: Masks, threads: int) -> xr.DataArray:
    wanted = masks.layers
    if not wanted:
        return xr.DataArray(np.zeros(cube.shape[:2], np.uint8), dims=(Y, X))
    found = read_layers(file, wanted).maps
    config = MaskConfig(cloud=masks.cloud, shadow=masks.shadow)
    if (lack := missing_layer(tuple(found), config)) is not None:
        raise FileFormatError(f"{file.path} {lack}")
    brightness = _brightness(file, cube, threads) if masks.shadow else None
    logger.info("%s: masks by %s", file.path, ", ".join(wanted))
    return layer_flags(layer_dataset(found), masks, brightness)


def _brightness(file: NeonFile, cube: xr.DataArray, threads: int) -> xr.DataArray:
    """Near infrared as stored, (y, x) float32, NaN where no data and beyond the rows that are looked at."""
    plane = near_infrared(cube, "shadow")
    first = max(0, (plane.sizes[Y] - _ROWS) // 2)
    rows = slice(first, first + _ROWS)
    values = plane.isel({Y: rows}).compute(scheduler="threads", num_workers=threads).values
    bright = np.full(plane.shape, np.nan, np.float32)
    bright[rows] = np.where(values == file.fill_value, np.nan, values)
    return xr.DataArray(bright, dims=(Y, X))
