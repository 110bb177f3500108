"""Masks: from quality layers and from the spectra to the flags of `quality`, and from these to the maps."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.errors import ConfigError
from hsi_dask.ops.decoding import checked, storage
from hsi_dask.schema import FLAGS, QUALITY, QUALITY_OF_AREA, WAVELENGTH, X, Y, describe, no_data_value

logger = logging.getLogger(__name__)

# The indices' wavelengths are the band centres of Sentinel-2, whose thresholds people know
GREEN, RED, NEAR_INFRARED = 560.0, 665.0, 842.0  # nm
_NEAR = 15.0  # nm: a wavelength farther away is another one
_EDGES = 50  # pixels along edges of shadows: fewer say nothing about which side is darker
_DARKER = 0.05  # relative difference across such edges that is more than noise
_SPECTRAL = sum(FLAGS[name] for name in ("saturated", "negative", "water", "vegetation", "not_vegetation"))


class Masks(NamedTuple):
    """Which pixels to flag; the defaults flag none.

    cloud : percent, 10 or 50, that may not be exceeded
    shadow : by the layer of cast shadows
    saturated : reflectance that may not be exceeded at any wavelength
    negative : below zero at any wavelength
    water : NDWI above this
    vegetation, not_vegetation : NDVI above, below this
    """

    cloud: Literal[10, 50] | None = None
    shadow: bool = False
    saturated: float | None = None
    negative: bool = False
    water: float | None = None
    vegetation: float | None = None
    not_vegetation: float | None = None

    @property
    def layers(self) -> tuple[Literal["cloud", "shadow"], ...]:
        """The roles of the quality layers that are needed; the masks are called alike."""
        wanted: dict[Literal["cloud", "shadow"], bool] = {"cloud": self.cloud is not None, "shadow": self.shadow}
        return tuple(role for role, asked in wanted.items() if asked)


def layer_flags(
    layers: Mapping[str, NDArray[Any]], masks: Masks, brightness: xr.DataArray | None = None
) -> xr.DataArray:
    """Flags by quality layers, computed.

    Parameters
    ----------
    layers : by their roles, (y, x): "cloud" 1 (below 10 %), 2 (10 to 50 %) or 3 (above 50 %); "shadow" 0 and 1, of
        which one is shade; NaN where unknown
    masks : which of them count
    brightness : (y, x) of the same pixels, not positive where unknown; tells which value of "shadow" is shade

    Returns
    -------
    (y, x) uint8. A pixel that a layer says nothing about (off the swath) is not flagged by it.
    """
    flags = np.zeros(next(iter(layers.values())).shape, np.uint8)
    if masks.cloud is not None:
        flags[layers["cloud"] >= (2 if masks.cloud == 10 else 3)] |= FLAGS["cloud"]
    if masks.shadow:
        shade = layers["shadow"]
        flags[shade == _shaded(shade, brightness)] |= FLAGS["shadow"]
    return xr.DataArray(flags, dims=(Y, X))


def spectral_flags(cube: xr.DataArray, masks: Masks, planes: xr.DataArray | None = None) -> xr.DataArray:
    """Flags by the spectra themselves: saturated, negative, water, vegetation; lazy where the cube is.

    Parameters
    ----------
    cube : (..., wavelength) reflectance, or stored integers with `scale_factor` in attrs
    planes : some wavelengths of the same pixels in memory, as stored; an index is taken from these if given

    Returns
    -------
    (...) uint8. Pixels without data may have any of these flags; `mask_maps` clears them.

    Raises
    ------
    ConfigError
        The cube does not have a wavelength that a mask needs.
    """
    cube, scale = checked(cube), storage(cube).scale
    flags = xr.zeros_like(cube.isel({WAVELENGTH: 0}, drop=True), dtype=np.uint8)
    flags.attrs = {}

    def index(more: float, less: float, mask: str) -> xr.DataArray:
        where = cube if planes is None else planes
        a, b = (
            where.isel({WAVELENGTH: _number(where, wavelength, mask)}, drop=True).astype(np.float32)
            for wavelength in (more, less)
        )
        return (a - b) / (a + b).where(a + b > 0)  # NaN is above and below nothing

    if masks.saturated is not None:
        flags |= _flag(cube.max(WAVELENGTH, skipna=False) * scale > masks.saturated, "saturated")
    if masks.negative:
        flags |= _flag(cube.min(WAVELENGTH, skipna=False) < 0, "negative")
    if masks.water is not None:
        flags |= _flag(index(GREEN, NEAR_INFRARED, "water") > masks.water, "water")
    if masks.vegetation is not None:
        flags |= _flag(index(NEAR_INFRARED, RED, "vegetation") > masks.vegetation, "vegetation")
    if masks.not_vegetation is not None:
        flags |= _flag(index(NEAR_INFRARED, RED, "not_vegetation") < masks.not_vegetation, "not_vegetation")
    return flags


def has_spectral(masks: Masks) -> bool:
    """Does a mask need the spectra?"""
    return masks._replace(cloud=None, shadow=False) != Masks()


def plane_numbers(cube: xr.DataArray, masks: Masks) -> dict[float, int]:
    """The single wavelengths that masks look at, nm, and where the cube has them, ascending."""
    wanted = {NEAR_INFRARED: "shadow"} if masks.shadow else {}
    if masks.vegetation is not None or masks.not_vegetation is not None:
        wanted |= dict.fromkeys(
            (RED, NEAR_INFRARED), "vegetation" if masks.vegetation is not None else "not_vegetation"
        )
    if masks.water is not None:
        wanted |= dict.fromkeys((GREEN, NEAR_INFRARED), "water")
    return {wavelength: _number(cube, wavelength, wanted[wavelength]) for wavelength in sorted(wanted)}


def mask_maps(
    maps: xr.Dataset,
    validity: NDArray[np.floating[Any]],
    flags: NDArray[np.uint8] | None,
    inside: NDArray[np.bool_] | None = None,
) -> xr.Dataset:
    """Maps with their `quality`; flagged pixels become no data in all maps, in place.

    Parameters
    ----------
    maps : of `map_materials`, in memory
    validity : (y, x), not 0 where a pixel has no data, as `ops.materials.mapped` gives it
    flags : (y, x) what else is flagged; None if nothing is
    inside : (y, x) which pixels are in the area of interest: of the others nothing is known but that; None without one
    """
    spec = QUALITY if inside is None else QUALITY_OF_AREA
    missing = validity != 0
    quality = np.where(missing, FLAGS["no_data"], 0).astype(spec.dtype)
    if flags is not None:
        quality |= np.where(missing, flags & ~np.uint8(_SPECTRAL), flags)
    if inside is not None:
        quality[~inside] = FLAGS["outside"]
    masked = (quality != 0) & ~missing
    if masked.any():
        for values in maps.values():
            is_flag = "flag_masks" in values.attrs
            values.values[..., masked] = FLAGS["no_data"] if is_flag else no_data_value(values.dtype)
    coords = {name: c for name, c in maps.coords.items() if set(c.dims) <= {Y, X}}
    return maps.assign(quality=describe(xr.DataArray(quality, coords, (Y, X)), spec))


def count_flags(quality: NDArray[np.unsignedinteger[Any]]) -> dict[str, int]:
    """How many pixels are "valid", "no_data", and by every other reason that occurs; a pixel may have several."""
    values = np.arange(2 * max(FLAGS.values()))
    counts = np.bincount(quality.ravel(), minlength=values.size)
    found = {name: int(counts[(values & bit) != 0].sum()) for name, bit in FLAGS.items()}
    return {"valid": int(counts[0])} | {name: n for name, n in found.items() if n or name == "no_data"}


def _flag(where: xr.DataArray, name: str) -> xr.DataArray:
    return where.astype(np.uint8) * np.uint8(FLAGS[name])


def _number(cube: xr.DataArray, wavelength: float, mask: str) -> int:
    known = np.asarray(cube[WAVELENGTH], dtype=np.float64)
    at = int(np.abs(known - wavelength).argmin())
    if abs(known[at] - wavelength) > _NEAR:
        raise ConfigError(
            f"masks.{mask} needs {wavelength:g} nm, but the nearest wavelength that is kept is {known[at]:.1f} nm; "
            f"change bands.windows, or set masks.{mask} to its default"
        )
    return at


def _shaded(layer: NDArray[Any], brightness: xr.DataArray | None) -> int:
    """Which value of the layer, 0 or 1, is shade: the darker one across its edges.

    It is documented both ways. Where brightness does not tell, 0 is shade, as in the files that were looked at.
    """
    darker = None if brightness is None else _brighter_by(layer, brightness)
    if darker is None or abs(darker) < _DARKER:
        logger.info("cast shadow: 0 is taken as shade, as is usual; its edges do not tell")
        return 0
    shade = 0 if darker > 0 else 1
    logger.info(
        "cast shadow: %d is shade; across its edges the other side is %.0f %% brighter", shade, 100 * abs(darker)
    )
    return shade


def _brighter_by(layer: NDArray[Any], brightness: xr.DataArray) -> float | None:
    """Median of (b1 - b0) / (b1 + b0) over neighbours of which one has 1 and the other 0; None if there are few.

    Neighbours and not all pixels: a lake in the sun is darker than a forest in the shade.
    """
    bright = np.asarray(brightness, dtype=np.float32)
    found = []
    for axis in (0, 1):
        one, other = (
            tuple(slice(*ends) if a == axis else slice(None) for a in (0, 1)) for ends in ((None, -1), (1, None))
        )
        for here, there in ((one, other), (other, one)):
            edge = (layer[here] == 1) & (layer[there] == 0) & (bright[here] > 0) & (bright[there] > 0)
            b1, b0 = bright[here][edge], bright[there][edge]
            found.append((b1 - b0) / (b1 + b0))
    differences = np.concatenate(found)
    return float(np.median(differences)) if differences.size >= _EDGES else None
