"""Arrays of maps as they lie in Zarr: CF and GeoZarr georeferencing, a chunk each for every plane."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask import schema
from hsi_dask.errors import RunError
from hsi_dask.io import crs as reference
from hsi_dask.io.map_grid import Grid
from hsi_dask.io.zarr_groups import RESTORE
from hsi_dask.io.zarr_metadata import require_known
from hsi_dask.schema import ENDMEMBER, GRID_MAPPING, MATERIAL, Variable, X, Y, endmember_materials, endmember_numbers

if TYPE_CHECKING:
    import zarr

# On a tile's maps half the time of plain zstd 1 and 14 % smaller, because bytes of like weight lie together.
# Blosc's own threads would order the same data differently, but it uses them on the main thread alone, and Zarr
# encodes on others: a resumed run gives the same bytes. GDAL reads it from 3.11 on, the first with final Zarr v3
COMPRESSION = {"cname": "lz4", "clevel": 1, "shuffle": "shuffle"}

_RAW = "https://raw.githubusercontent.com/zarr-conventions"
_CONVENTIONS = [
    {
        "schema_url": f"{_RAW}/{repository}/refs/tags/v1/schema.json",
        "spec_url": f"https://github.com/zarr-conventions/{repository}/blob/v1/README.md",
        "uuid": identity,
        "name": name,
        "description": description,
    }
    for repository, identity, name, description in (
        (
            "geo-proj",
            "f17cb550-5864-4468-aeb7-f3180cfb622f",
            "proj",
            "Coordinate reference system information for geospatial data",
        ),
        ("spatial", "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "spatial", "Spatial coordinate information"),
    )
]


def endmember_planes(endmembers: xr.DataArray) -> dict[str, NDArray[Any]]:
    """The coordinates of dimensions before y and x: numbers of endmembers, and of materials where these have any."""
    planes: dict[str, NDArray[Any]] = {ENDMEMBER: endmember_numbers(endmembers)}
    if (materials := endmember_materials(endmembers)) is not None:
        planes[MATERIAL] = np.arange(1, len(set(materials)) + 1)
    return planes


def spatial_attrs(grid: Grid) -> dict[str, Any]:
    """Group attributes; the transform is stored per array, as the conventions ask."""
    own = {"Conventions": "CF-1.11", "coordinates": GRID_MAPPING}  # so that xarray takes it as one without being asked
    return {**own, **_common(grid), "spatial:bbox": list(grid.bbox)}


def _common(grid: Grid) -> dict[str, Any]:
    crs = {"proj:code": grid.crs} if grid.epsg else {"proj:wkt2": grid.crs}
    return {"zarr_conventions": _CONVENTIONS, **crs, "spatial:dimensions": [Y, X]}


def fill_group(
    group: zarr.Group,
    grid: Grid,
    variables: Sequence[Variable],
    planes: Mapping[str, NDArray[Any]],
    names: Sequence[str] | None = None,
) -> None:
    """Coordinates, CRS and empty maps of a grid; `planes` are the coordinates of other dimensions, a chunk each."""
    axes = reference.axis_attrs(grid.crs)
    coordinates: dict[Hashable, xr.Variable] = {
        Y: xr.Variable(Y, grid.y, axes[Y]),
        X: xr.Variable(X, grid.x, axes[X]),
        **{name: xr.Variable(name, values) for name, values in planes.items()},
        GRID_MAPPING: xr.Variable((), np.int64(0), reference.grid_mapping(grid.crs, grid.transform)),
    }
    schema.describe_coordinates(coordinates)
    for name, variable in coordinates.items():
        create_array(group, str(name), variable, None)
    sizes = {**{name: values.size for name, values in planes.items()}, Y: grid.shape[0], X: grid.shape[1]}
    chunks = {**dict.fromkeys(planes, 1), Y: grid.chunk[0], X: grid.chunk[1]}
    for spec in variables:
        shape = tuple(sizes[dim] for dim in spec.dims)
        blank = xr.Variable(
            spec.dims,
            np.broadcast_to(np.array(spec.fill_value, spec.dtype), shape),
            _attrs(spec, planes.get(ENDMEMBER, ()), names),
        )
        blank.attrs |= {
            "grid_mapping": GRID_MAPPING,
            **_common(grid),
            "spatial:transform": list(grid.transform),
            "spatial:shape": list(grid.shape),
        }
        create_array(group, spec.name, blank, tuple(chunks[dim] for dim in spec.dims), spec.fill_value)


def require_layout(
    path: Path, grid: Grid, variables: Sequence[Variable], planes: Mapping[str, int], group: str = ""
) -> None:
    """Refuse a group in which these maps are not laid out as `fill_group` does, with so many planes, in RunError."""
    arrays = require_known(path, group)
    sizes = {**planes, Y: grid.shape[0], X: grid.shape[1]}
    chunks = {**dict.fromkeys(planes, 1), Y: grid.chunk[0], X: grid.chunk[1]}
    for spec in variables:
        name = spec.name
        shape, chunk = (tuple(found[dim] for dim in spec.dims) for found in (sizes, chunks))
        if (array := arrays.get(name)) is None:
            raise RunError(f"{path / group / name} is missing; {RESTORE}")
        if (array.dimension_names, array.shape, array.chunks, array.data_type) != (spec.dims, shape, chunk, spec.dtype):
            raise RunError(f"{path / group / name} is not laid out as the run's manifest says; {RESTORE}")


def _attrs(spec: Variable, numbers: Sequence[int] | NDArray[Any], names: Sequence[str] | None) -> dict[str, Any]:
    attrs = schema.variable_attrs(spec)
    if spec.role == "class":
        # NaN needs no _FillValue: it is a missing value to every reader
        attrs |= {"_FillValue": spec.fill_value, **schema.class_attrs([int(n) for n in numbers], names)}
    return attrs


def create_array(
    group: zarr.Group, name: str, variable: xr.Variable, chunks: tuple[int, ...] | None, fill: Any = None
) -> None:
    """An array in the group: empty when it has a fill value, else with its data."""
    from zarr.codecs import BloscCodec

    array = group.create_array(
        name,
        shape=variable.shape,
        chunks=chunks or tuple(map(max, variable.shape, (1,) * variable.ndim)),
        dtype=variable.dtype,
        compressors=BloscCodec(**COMPRESSION),  # type: ignore[arg-type]
        fill_value=fill if fill is not None else _neutral(variable.dtype),
        attributes={key: plain_json(value) for key, value in variable.attrs.items()},
        dimension_names=[str(dim) for dim in variable.dims],
    )
    if fill is None:
        array[...] = variable.values


def _neutral(dtype: np.dtype[Any]) -> Any:
    return np.nan if dtype.kind == "f" else 0


def plain_json(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value
