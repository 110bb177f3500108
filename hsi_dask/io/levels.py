"""Overviews store: the mosaic at coarser levels, one group each, laid out by the multiscales convention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask import schema
from hsi_dask.errors import RunError
from hsi_dask.io import map_arrays, store
from hsi_dask.io.map_grid import Grid
from hsi_dask.io.zarr_metadata import read_array_metadata, read_group_metadata
from hsi_dask.schema import WAVELENGTH, Variable, endmember_names

OVERVIEWS = "overviews.zarr"
QUICKLOOK = "quicklook"
ENOUGH = 1000  # pixels: a mosaic, or a level of it, whose longer side has no more needs no coarser one
_CHUNK = 512  # pixels, at least, along a chunk's sides

_CONVENTION = {
    "schema_url": "https://raw.githubusercontent.com/zarr-conventions/multiscales/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/multiscales/blob/v1/README.md",
    "uuid": "d35379db-88df-4056-af3a-620245f8e347",
    "name": "multiscales",
    "description": "Multiscale layout of zarr datasets",
}


def level_grids(grid: Grid) -> dict[int, Grid]:
    """The grids of a mosaic by their factor: 1, and 2, 4, ... up to the first of at most `ENOUGH` pixels a side.

    A chunk of a level is made of whole chunks of the level before: none is read twice.

    Examples
    --------
    >>> levels = level_grids(Grid("EPSG:32618", 0.0, 9000.0, (1.0, 1.0), (9000, 3001), (1000, 1000)))
    >>> {factor: level.shape for factor, level in levels.items()}
    {1: (9000, 3001), 2: (4500, 1501), 4: (2250, 751), 8: (1125, 376), 16: (563, 188)}
    """
    chunk = grid.chunk[0] * max(1, _CHUNK // grid.chunk[0]), grid.chunk[1] * max(1, _CHUNK // grid.chunk[1])
    levels, factor = {1: grid}, 1
    while max(levels[factor].shape) > ENOUGH:
        finer = levels[factor]
        shape = -(-finer.shape[0] // 2), -(-finer.shape[1] // 2)
        factor *= 2
        levels[factor] = replace(
            finer,
            resolution=(finer.resolution[0] * 2, finer.resolution[1] * 2),
            shape=shape,
            chunk=(min(chunk[0], shape[0]), min(chunk[1], shape[1])),
        )
    return levels


def create_levels(
    part: Path,
    levels: Mapping[int, Grid],
    variables: Sequence[Variable],
    endmembers: xr.DataArray,
    wavelength: NDArray[np.float64],
    attrs: Mapping[str, Any],
) -> None:
    """Empty levels in a folder: maps from factor 2 on, and quicklooks of so many wavelengths in all of them."""
    import zarr

    multiscales = _multiscales(levels) if len(levels) > 1 else {}
    own = map_arrays.spatial_attrs(levels[1])
    own["zarr_conventions"] = [*own["zarr_conventions"], *([_CONVENTION] if multiscales else [])]
    root = zarr.open_group(part, mode="w", zarr_format=3, attributes={**own, **multiscales, **attrs})
    planes, spectral = map_arrays.endmember_planes(endmembers), {WAVELENGTH: wavelength}
    names = endmember_names(endmembers)
    for factor, grid in levels.items():
        group = root.create_group(str(factor), attributes=map_arrays.spatial_attrs(grid))
        if factor == 1:  # its maps are the results store
            map_arrays.fill_group(group, grid, [schema.QUICKLOOK], spectral)
        else:
            map_arrays.fill_group(group, grid, [*variables, schema.QUICKLOOK], {**planes, **spectral}, names)


def require_levels(
    path: Path, levels: Mapping[int, Grid], variables: Sequence[Variable], sizes: Mapping[str, int]
) -> None:
    """Refuse levels that are not as `create_levels` lays them out, in RunError."""
    for factor, grid in levels.items():
        group, looks = str(factor), read_array_metadata(path, f"{factor}/{QUICKLOOK}").shape[0]
        wanted = [schema.QUICKLOOK] if factor == 1 else [*variables, schema.QUICKLOOK]
        map_arrays.require_layout(path, grid, wanted, {**sizes, WAVELENGTH: looks}, group)


def create_map_levels(
    part: Path,
    levels: Mapping[int, Grid],
    variables: Sequence[Variable],
    endmembers: xr.DataArray,
    attrs: Mapping[str, Any],
) -> None:
    """Empty levels of maps that are in no results store, in a folder, from factor 1 on."""
    import zarr

    root = zarr.open_group(part, mode="w", zarr_format=3, attributes={**map_arrays.spatial_attrs(levels[1]), **attrs})
    planes, names = map_arrays.endmember_planes(endmembers), endmember_names(endmembers)
    for factor, grid in levels.items():
        group = root.create_group(str(factor), attributes=map_arrays.spatial_attrs(grid))
        map_arrays.fill_group(group, grid, variables, planes, names)


def require_class_levels(path: Path, levels: Mapping[int, Grid], variable: Variable) -> None:
    """Refuse levels that are not as `create_map_levels` lays them out, in RunError."""
    for factor, grid in levels.items():
        map_arrays.require_layout(path, grid, [variable], {}, str(factor))


def note(path: Path, **attrs: Any) -> None:
    """Add attributes to the whole."""
    import zarr

    zarr.open_group(path, mode="r+").attrs.update(attrs)


def _multiscales(levels: Mapping[int, Grid]) -> dict[str, Any]:
    """The levels that hold every variable, each twice as coarse as the one before."""
    layout: list[dict[str, Any]] = []
    for factor, grid in levels.items():
        if factor == 1:
            continue
        level = {"asset": str(factor), "spatial:shape": list(grid.shape), "spatial:transform": list(grid.transform)}
        step = {"scale": [2.0, 2.0], "translation": [0.0, 0.0]}
        layout.append(level | ({"derived_from": layout[-1]["asset"], "transform": step} if layout else {}))
    return {"multiscales": {"layout": layout, "resampling_method": "average"}}


def stored_array(path: Path, name: str, mode: Literal["r", "r+"] = "r") -> Any:
    """One array of a Zarr folder, "quality" or "4/quality", to read and assign by index.

    A chunk without any data is not written: it costs no disk.
    """
    import zarr

    from hsi_dask.io.local_stores import PlainFiles

    sizes = {name: read_array_metadata(path, name).chunk_bytes}
    return zarr.open_array(PlainFiles(path, sizes) if mode == "r" else path, path=name, mode=mode)


def level_attrs(path: Path) -> dict[str, Any]:
    """The attributes of the whole; nothing where there is no readable store."""
    try:
        return dict(read_group_metadata(path).attributes)
    except RunError:
        return {}


def open_level(path: Path, factor: int, results: Path, *, chunks: Any = "auto") -> xr.Dataset:
    """Maps and quicklook at one level."""
    if factor > 1:
        return store.open_maps(path, group=str(factor), chunks=chunks)
    looks = store.open_maps(path, group="1", chunks=chunks)
    return store.open_maps(results, chunks=chunks).assign({QUICKLOOK: looks[QUICKLOOK]})
