"""Maps as bands of one picture, as rioxarray writes them."""

from __future__ import annotations

import numpy as np
import xarray as xr

from hsi_dask.errors import SchemaError
from hsi_dask.schema import X, Y
from hsi_dask.show.place_sums import layers_of


def to_bands(maps: xr.Dataset) -> xr.Dataset:
    """Every plane of every map as a variable of its own, (y, x) and float32, NaN where no data; lazy."""
    names = [str(name) for name, array in maps.data_vars.items() if {Y, X} <= set(array.dims)]
    if not names:
        raise SchemaError(f"there is no map of y and x among {', '.join(map(str, maps)) or 'no variables'}")
    found = {band: plane for name in names for band, plane in _planes(maps, name)}
    return xr.Dataset(found, attrs=maps.attrs)


def _planes(maps: xr.Dataset, name: str) -> list[tuple[str, xr.DataArray]]:
    array, layers = maps[name], layers_of(maps, name)
    values = array.astype(np.float32)
    if array.dtype.kind != "f" and layers.spec.role != "flag":  # flags say why there are no data
        values = values.where(array != layers.spec.fill_value)
    others = [dim for dim in array.dims if dim not in (Y, X)]
    flat = (
        values.stack(band=others, create_index=False).transpose("band", Y, X) if others else values.expand_dims("band")
    )
    kept = [key for key in flat.coords if key in (Y, X, "spatial_ref")]
    flat = flat.drop_vars([key for key in flat.coords if key not in kept])
    return [(band, _described(flat[n], band)) for n, band in enumerate(layers.columns)]


def _described(plane: xr.DataArray, band: str) -> xr.DataArray:
    units = {"units": plane.attrs["units"]} if "units" in plane.attrs else {}
    plane.attrs = {"long_name": band, **units}
    plane.encoding = {"_FillValue": np.float32(np.nan), "grid_mapping": "spatial_ref"}  # one no-data for all bands
    return plane
