"""Results store: one mosaic, each tile whole chunks of its own; CF and GeoZarr georeferencing.

Zarr v3, unsharded, blosc. A chunk reaches its name by rename after fsync, so that a chunk that is there is
whole, and its receipt (key, bytes, checksum) is kept in the tile's record.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hsi_dask import schema
from hsi_dask.errors import RunError
from hsi_dask.io.durable import whole_folder
from hsi_dask.io.endmember_store import open_endmembers
from hsi_dask.io.map_arrays import endmember_planes, fill_group, spatial_attrs
from hsi_dask.io.map_grid import Grid
from hsi_dask.io.zarr_groups import open_group, part_of_run, readable
from hsi_dask.schema import ENDMEMBER, MATERIAL, NAME, WAVELENGTH, Variable, endmember_materials, endmember_names

logger = logging.getLogger(__name__)

RESULTS = "results.zarr"

# Attributes of what is stored that are no longer true of a part of it, or that only Zarr can hold
_OF_THE_STORE = {
    "zarr_conventions", "proj:code", "spatial:dimensions", "spatial:bbox", "spatial:transform", "spatial:shape",
    "GeoTransform", "variables",
}  # fmt: skip
_FLAGS_OF_CLASSES = {"flag_values", "flag_masks"}  # of the dtype of what they are of
_KEPT_ENCODING = {"chunks", "preferred_chunks", "grid_mapping", "coordinates"}


def create_results(
    path: Path, grid: Grid, variables: Sequence[Variable], endmembers: xr.DataArray, **attrs: Any
) -> None:
    """Create an empty results store: metadata and coordinates, no map chunk; replaces what is there.

    Parameters
    ----------
    path : folder to create
    variables : with dimensions among endmember, material, y, x
    endmembers : whose numbers, names and materials the maps have
    attrs : JSON values for the store's own attributes
    """
    import zarr

    with whole_folder(path) as part:
        attrs = {"variables": [variable.name for variable in variables], **attrs}
        group = zarr.open_group(part, mode="w", zarr_format=3, attributes=spatial_attrs(grid) | attrs)
        fill_group(group, grid, variables, endmember_planes(endmembers), endmember_names(endmembers))


def open_results(run_dir: str | os.PathLike[str], *, chunks: Any = "auto") -> xr.Dataset:
    """Open the maps of a run, complete or not, as a lazy mosaic; where no tile is done there is no data.

    Parameters
    ----------
    run_dir : path
        The run directory (the folder with `manifest.json`).
    chunks : "auto", None or anything xarray accepts
        "auto": dask blocks of whole stored chunks. None: no dask, read when indexed.

    Returns
    -------
    xarray.Dataset
        The variables that the run computed, with the CRS: `.rio.crs` works. Classes stay uint8, 255 where no data.
        Coordinates beside y, x: `endmember`, of each its `name` and its spectrum `endmembers` (endmember, wavelength),
        and `material` of fractions. Where pixels are is told by the coordinates alone, so that it stays right after
        `isel`, `coarsen` or `sel`; `to_netcdf` and `to_zarr` take the dataset as it is, `.rio.to_raster` a map,
        several of (y, x), or all as `.hsi.to_bands()`.

    Raises
    ------
    RunError
        The folder is not a run, or has no results yet.
    """
    maps = open_maps(part_of_run(run_dir, RESULTS), chunks=chunks)
    try:
        spectra = open_endmembers(run_dir)
    except RunError as error:  # the maps are none the worse for it
        logger.warning("%s", error)
        return maps
    numbers = spectra[ENDMEMBER].values
    names = endmember_names(spectra) or [f"endmember {number}" for number in numbers]
    own: dict[Hashable, xr.Variable] = {
        "endmembers": xr.Variable(spectra.dims, spectra.values, schema.variable_attrs(schema.VARIABLES["endmembers"])),
        NAME: xr.Variable(ENDMEMBER, np.array(names, dtype=object)),
        **{name: xr.Variable(name, spectra[name].values, spectra[name].attrs) for name in (ENDMEMBER, WAVELENGTH)},
    }
    if MATERIAL in maps.dims:
        of_library = sorted(set(endmember_materials(spectra) or ()))
        own[MATERIAL] = xr.Variable(MATERIAL, np.array(of_library, dtype=object))
    return maps.assign_coords(own)


def open_maps(path: Path, *, group: str | None = None, chunks: Any = "auto") -> xr.Dataset:
    """The maps in a Zarr folder or a group of it, as `open_results` gives them."""
    import rioxarray  # noqa: F401  registers .rio

    dataset = open_group(path, group or "", {} if isinstance(chunks, str) else chunks)
    order = dataset.attrs.get("variables")
    known = [name for name in order if name in dataset] if isinstance(order, list) else sorted(map(str, dataset))
    chosen = dataset[known]
    with readable(path):
        _forget_storage(chosen.attrs)
        for variable in chosen.variables.values():
            _forget_storage(variable.attrs, variable.dtype)
    for variable in chosen.variables.values():
        variable.encoding = {name: value for name, value in variable.encoding.items() if name in _KEPT_ENCODING}
        if variable.dtype == np.float32:
            variable.encoding["_FillValue"] = np.float32("nan")
    chosen.encoding["source"] = os.fspath(path)
    return chosen


def _forget_storage(attrs: dict[Any, Any], dtype: Any = np.uint8) -> None:
    """Leave what is true of arrays in memory and of any part of them, in types that every format can write."""
    for name in _OF_THE_STORE & attrs.keys():
        del attrs[name]
    for name in _FLAGS_OF_CLASSES & attrs.keys():
        attrs[name] = np.array(attrs[name], dtype)
