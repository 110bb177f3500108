"""A tile's masks: its quality layers read, its spectra looked at, its sample kept clear of them."""

from __future__ import annotations

import logging
import math

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.config import MaskConfig
from hsi_dask.errors import EndmemberError, FileFormatError
from hsi_dask.io.layers import Role
from hsi_dask.io.tile_source import TileSource
from hsi_dask.ops.quality import NEAR_INFRARED, Masks, has_spectral, layer_flags, plane_numbers, spectral_flags
from hsi_dask.ops.sampling import Gather, drawn_pixels
from hsi_dask.schema import PIXEL, WAVELENGTH, X, Y

logger = logging.getLogger(__name__)

_MOST = 8  # times as many pixels as wanted are drawn where masks leave few


def tile_flags(file: TileSource, cube: xr.DataArray, config: MaskConfig) -> xr.DataArray | None:
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
    masks = masks_of(config)
    if masks == Masks():
        return None
    planes = _planes(file, cube, masks)
    layers = _layer_flags(file, masks, planes)
    if not has_spectral(masks):
        return layers.assign_coords({dim: cube[dim] for dim in (Y, X)})
    flags = spectral_flags(cube, masks, planes)
    return flags if not masks.layers else flags | layers.chunk({dim: flags.chunksizes[dim] for dim in (Y, X)})


def unmasked_pixels(
    file: TileSource,
    cube: xr.DataArray,
    size: int,
    seed: int,
    config: MaskConfig,
    inside: NDArray[np.bool_] | None = None,
    gather: Gather | None = None,
) -> xr.DataArray:
    """`sample_pixels` that no mask flags. Spectra are judged by those drawn: no plane is read for it.

    inside : (y, x) the area of interest; None is all
    gather : another way to the stored spectra at positions of the cube

    Raises
    ------
    EndmemberError
        There is no such pixel; further, the errors of `tile_flags`.
    """
    masks = masks_of(config)
    area = None if inside is None else xr.DataArray(inside, dims=(Y, X))
    if masks == Masks():
        return drawn_pixels(cube, size, seed, area, gather)
    planes = _planes(file, cube, masks) if masks.shadow else None
    where = _layer_flags(file, masks, planes) == 0 if masks.layers else None
    if area is not None:
        where = area if where is None else where & area
    if where is not None and not where.any():
        raise EndmemberError(f"{file.path} has no pixel left that is not masked; loosen the masks")
    drawn, good = size, np.empty(0, np.intp)
    while True:
        pixels = drawn_pixels(cube, drawn, seed, where, gather)
        good = np.flatnonzero(spectral_flags(pixels, masks) == 0)
        if good.size >= size or pixels.sizes[PIXEL] < drawn or drawn == _MOST * size:
            break
        share = max(good.size / drawn, 1 / _MOST)
        drawn = min(math.ceil(1.2 * size / share), _MOST * size)
    if not good.size:
        raise EndmemberError(f"{file.path}: the masks leave none of {pixels.sizes[PIXEL]} pixels drawn; loosen them")
    return pixels.isel({PIXEL: good[:size]})


def masks_of(config: MaskConfig) -> Masks:
    """The masks that a configuration asks for: the same settings, as an operation takes them."""
    return Masks(**config.model_dump())


def missing_layer(file: TileSource, masks: MaskConfig) -> str | None:
    """What a file lacks for the masks, as the end of a sentence; None if nothing."""
    lacking = (role for role in masks_of(masks).layers if file.layer_name(role) not in file.layer_names)
    return next((_lack(file, role) for role in lacking), None)


def _lack(file: TileSource, role: Role) -> str:
    """The masks are called as the roles are."""
    name, default = file.layer_name(role), "null" if role == "cloud" else "false"
    return f"has no layer {name}, which masks.{role} needs; set masks.{role} to {default}, or leave it out"


def _planes(file: TileSource, cube: xr.DataArray, masks: Masks) -> xr.DataArray | None:
    """The few planes that masks look at, as stored, read with their own chunks only."""
    numbers = [
        int(np.abs(file.wavelength - cube[WAVELENGTH].values[n]).argmin()) for n in plane_numbers(cube, masks).values()
    ]
    return file.numbers(chunks=None).isel({WAVELENGTH: numbers}).load() if numbers else None


def _layer_flags(file: TileSource, masks: Masks, planes: xr.DataArray | None) -> xr.DataArray:
    wanted = masks.layers
    if not wanted:
        return xr.DataArray(np.zeros(file.shape[:2], np.uint8), dims=(Y, X))
    found: dict[str, NDArray[np.float32]] = {role: _by_role(file, role) for role in wanted}
    brightness = None
    if masks.shadow and planes is not None:  # where no data, no edge: the fill value is negative
        brightness = planes.sel({WAVELENGTH: NEAR_INFRARED}, method="nearest", drop=True)
    logger.info("%s: masks by %s", file.path, ", ".join(map(file.layer_name, wanted)))
    return layer_flags(found, masks, brightness)


def _by_role(file: TileSource, role: Role) -> NDArray[np.float32]:
    """(y, x) as the layer's role has it, NaN where unknown."""
    if (layer := file.layer(role)) is None:
        raise FileFormatError(f"{file.path} {_lack(file, role)}")
    return layer.by_role(slice(None), slice(None))
