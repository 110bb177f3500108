"""How stored numbers become reflectance: one rule for every operation."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.errors import SchemaError
from hsi_dask.kernels.moments import LARGEST

_BEYOND = 20.0  # reflectance of nothing, also not of noise; of digital numbers every scene has larger ones
_SAME = 1e-5  # relative: no data that was multiplied by the scale


class Storage(NamedTuple):
    """Reflectance of one stored number, and the number that means no data, if any does."""

    scale: float
    fill: float | None

    def valid(self, stored: NDArray[Any]) -> NDArray[np.bool_]:
        """Which numbers are data."""
        return np.abs(stored) < LARGEST if stored.dtype.kind == "f" else np.asarray(stored != self.fill)

    def reflectance(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Reflectance of numbers that are data."""
        if stored.dtype.kind == "f":
            return stored.astype(np.float32)
        return (stored * np.float64(self.scale)).astype(np.float32)


def storage(cube: xr.DataArray) -> Storage:
    """Reflectance of one stored number, and the number that means no data: of floats 1, and NaN alone.

    Raises
    ------
    SchemaError
        Integers that do not say what they mean.
    """
    if cube.dtype.kind == "f":
        return Storage(1.0, None)
    if "scale_factor" not in cube.attrs:
        raise SchemaError(f"the cube is {cube.dtype} without a scale_factor in attrs; divide it to reflectance first")
    fill = cube.attrs.get("_FillValue")
    return Storage(float(cube.attrs["scale_factor"]), None if fill is None else float(fill))


def checked(cube: xr.DataArray) -> xr.DataArray:
    """The cube; of floats that still carry the scale of stored integers, with values that are looked at.

    `where` and arithmetic make floats of integers and keep their attributes: such floats are reflectance only if the
    scale was applied. Where they are none, computing them raises SchemaError; where the cube is in memory, this does.
    """
    if cube.dtype.kind != "f" or cube.attrs.get("scale_factor", 1.0) == 1.0:
        return cube
    look = partial(require_reflectance, attrs={key: cube.attrs.get(key) for key in ("scale_factor", "_FillValue")})
    if not hasattr(cube.data, "dask"):
        look(np.asarray(cube.data))
        return cube
    return cube.copy(data=cube.data.map_blocks(look, dtype=cube.dtype, meta=np.empty((0,) * cube.ndim, cube.dtype)))


def require_reflectance(values: NDArray[Any], attrs: dict[str, Any]) -> NDArray[Any]:
    """The values, which with these attributes may be digital numbers; SchemaError where they are.

    Raises
    ------
    SchemaError
        Floats beyond any reflectance, or that are what means no data multiplied by the scale.
    """
    scale, fill = attrs.get("scale_factor"), attrs.get("_FillValue")
    if values.dtype.kind != "f" or scale is None or scale == 1 or not values.size:
        return values
    way_out = "multiply by it and mask _FillValue first, open with masked=True, or drop these attributes"
    largest = float(np.nanmax(np.abs(values), initial=0.0))
    if np.isfinite(largest) and largest > _BEYOND:
        raise SchemaError(
            f"the cube holds floats up to {largest:g} and says scale_factor {scale:g}: digital numbers, not "
            f"reflectance; {way_out}"
        )
    if fill is not None and np.isclose(values, float(fill) * float(scale), rtol=_SAME, atol=0).any():
        raise SchemaError(
            f"the cube holds {float(fill) * float(scale):g}, its _FillValue {fill:g} times its scale_factor, as "
            f"reflectance; mask it before scaling, or open with masked=True"
        )
    return values
