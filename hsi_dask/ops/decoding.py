"""How stored numbers become reflectance: one rule for every operation."""

from __future__ import annotations

import xarray as xr

from hsi_dask.errors import SchemaError


def storage(cube: xr.DataArray) -> tuple[float, float | None]:
    """Reflectance of one stored number, and the number that means no data.

    Raises
    ------
    SchemaError
        Integers that do not say what they mean.
    """
    if cube.dtype.kind == "f":
        return 1.0, None
    if "scale_factor" not in cube.attrs:
        raise SchemaError(f"the cube is {cube.dtype} without a scale_factor in attrs; divide it to reflectance first")
    fill = cube.attrs.get("_FillValue")
    return float(cube.attrs["scale_factor"]), None if fill is None else float(fill)
