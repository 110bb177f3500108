"""Results store: one mosaic, each tile whole chunks of its own; CF and GeoZarr georeferencing.

Zarr v3, unsharded, blosc. A chunk reaches its name by rename after fsync, so that a chunk that is there is
whole, and its receipt (key, bytes, checksum) is kept in the tile's record.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask import schema
from hsi_dask.errors import RunError, SchemaError
from hsi_dask.io import crs as reference
from hsi_dask.io.documents import Digest, Text, as_typed, between
from hsi_dask.io.durable import digest, sync_folders, whole_folder
from hsi_dask.io.receipts import Receipt
from hsi_dask.io.zarr_metadata import METADATA, Side, read_array_metadata, read_group_metadata, require_known
from hsi_dask.schema import (
    ENDMEMBER,
    GRID_MAPPING,
    MATERIAL,
    NAME,
    WAVELENGTH,
    Variable,
    X,
    Y,
    endmember_materials,
    endmember_names,
    endmember_numbers,
)

if TYPE_CHECKING:
    import zarr

logger = logging.getLogger(__name__)

RESULTS, ENDMEMBERS = "results.zarr", "endmembers.zarr"
# On a tile's maps half the time of plain zstd 1 and 14 % smaller, because bytes of like weight lie together.
# Blosc's own threads would order the same data differently, but it uses them on the main thread alone, and Zarr
# encodes on others: a resumed run gives the same bytes. GDAL reads it from 3.11 on, the first with final Zarr v3
_WRITES = 16  # planes on their way to the disk at a time: what waits for it leaves the cores to others
COMPRESSION = {"cname": "lz4", "clevel": 1, "shuffle": "shuffle"}

Metres = Annotated[float, between(-1e9, 1e9)]
Step = Annotated[float, between(1e-9, 1e6)]  # metres or degrees

# Attributes of what is stored that are no longer true of a part of it, or that only Zarr can hold
_OF_THE_STORE = {
    "zarr_conventions", "proj:code", "spatial:dimensions", "spatial:bbox", "spatial:transform", "spatial:shape",
    "GeoTransform", "variables",
}  # fmt: skip
_FLAGS_OF_CLASSES = {"flag_values", "flag_masks"}  # of the dtype of what they are of
_KEPT_ENCODING = {"chunks", "preferred_chunks", "grid_mapping", "coordinates"}
_RESTORE = "restore it from a copy, or start a new run directory"

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


@dataclass(frozen=True)
class Grid:
    """A north-up pixel grid, cut into chunks. West and north are outer edges, in the units of the CRS."""

    crs: Text  # "EPSG:n" where there is such a code, else WKT
    west: Metres
    north: Metres
    resolution: tuple[Step, Step]  # x, y; both positive
    shape: tuple[Side, Side]  # y, x
    chunk: tuple[Side, Side]  # y, x

    @property
    def epsg(self) -> int | None:
        """The code of the CRS, if it has one."""
        return reference.epsg(self.crs)

    @property
    def label(self) -> str:
        """The CRS as people call it."""
        return reference.label(self.crs)

    @property
    def unit(self) -> str:
        """Of west, north and resolution: "m", "degree", ..."""
        return reference.unit(self.crs)

    @property
    def pixel_area(self) -> float:
        """Square metres of a pixel, in degrees of the one in the middle."""
        west, south, east, north = self.bbox
        return reference.pixel_area(self.crs, (west + east) / 2, (south + north) / 2, self.resolution)

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """Affine coefficients (a, b, c, d, e, f): x = a column + b row + c, y = d column + e row + f."""
        return self.resolution[0], 0.0, self.west, 0.0, -self.resolution[1], self.north

    @property
    def bbox(self) -> tuple[float, float, float, float]:
        """Outer edges (west, south, east, north)."""
        (rows, columns), (dx, dy) = self.shape, self.resolution
        return self.west, self.north - rows * dy, self.west + columns * dx, self.north

    @property
    def y(self) -> NDArray[np.float64]:
        """Pixel centres, descending."""
        return np.asarray(self.north - (np.arange(self.shape[0]) + 0.5) * self.resolution[1], np.float64)

    @property
    def x(self) -> NDArray[np.float64]:
        """Pixel centres, ascending."""
        return np.asarray(self.west + (np.arange(self.shape[1]) + 0.5) * self.resolution[0], np.float64)


# ------------------------------------------------------------------------------------------------ results


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
        _create(group, str(name), variable, None)
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
        _create(group, spec.name, blank, tuple(chunks[dim] for dim in spec.dims), spec.fill_value)


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
            raise RunError(f"{path / group / name} is missing; {_RESTORE}")
        if (array.dimension_names, array.shape, array.chunks, array.data_type) != (spec.dims, shape, chunk, spec.dtype):
            raise RunError(f"{path / group / name} is not laid out as the run's manifest says; {_RESTORE}")


def _attrs(spec: Variable, numbers: Sequence[int] | NDArray[Any], names: Sequence[str] | None) -> dict[str, Any]:
    attrs = schema.variable_attrs(spec)
    if spec.role == "class":
        # NaN needs no _FillValue: it is a missing value to every reader
        attrs |= {"_FillValue": spec.fill_value, **schema.class_attrs([int(n) for n in numbers], names)}
    return attrs


def _create(
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
        attributes={key: _json(value) for key, value in variable.attrs.items()},
        dimension_names=[str(dim) for dim in variable.dims],
    )
    if fill is None:
        array[...] = variable.values


def _neutral(dtype: np.dtype[Any]) -> Any:
    return np.nan if dtype.kind == "f" else 0


def _json(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value


def write_region(path: Path, maps: xr.Dataset, row: int, column: int) -> tuple[Receipt, ...]:
    """Write computed maps whose north-west pixel is at (row, column) of the mosaic, as whole chunks.

    The region is padded with no data to the edges of its chunks, so those chunks must be nobody else's.
    Returns when the bytes are on disk; the same maps give the same bytes.

    Returns
    -------
    receipts of every chunk, sorted by key
    """
    import zarr

    from hsi_dask.io.local_stores import Ledger

    ledger = Ledger(path)
    # chunks that hold no data are written too, so that every chunk of a record exists
    with zarr.config.set({"array.write_empty_chunks": True}):
        planes = [plane for name in maps.data_vars for plane in _planes(ledger, maps[name], row, column)]
        writing = [_writers(os.getpid()).submit(plane.write) for plane in planes]
        wait(writing)  # also those beside one that failed
        for written in writing:
            written.result()
    receipts = tuple(sorted(ledger.receipts))
    names = {name for r in receipts for name in accumulate(r.key.split("/")[:-1], "{}/{}".format)}
    sync_folders([path, *(path / name for name in sorted(names))])
    return receipts


@lru_cache
def _writers(process: int) -> ThreadPoolExecutor:
    """Threads that are kept, for starting them takes a hundredth of a tile's time; one pool per process."""
    return ThreadPoolExecutor(_WRITES, thread_name_prefix="hsi-dask-write")


class _Plane(NamedTuple):
    """A part of an array that Zarr stores as it is: cut by Zarr, several of them would be copied."""

    array: Any
    place: tuple[slice, ...]
    values: NDArray[Any]

    def write(self) -> None:
        self.array[self.place] = self.values


def _array(ledger: Any, name: str) -> Any:
    """One of the store's arrays, to write to; its metadata are cached, for every tile needs the same."""
    import zarr
    from zarr.storage import StorePath

    status = os.stat(Path(ledger.root) / name / "zarr.json")
    metadata = _metadata(Path(ledger.root), name, (status.st_ino, status.st_size, status.st_mtime_ns))
    return zarr.Array(zarr.AsyncArray(metadata, StorePath(ledger, name)))


@lru_cache(maxsize=32)
def _metadata(path: Path, name: str, file: tuple[int, ...]) -> Any:
    import zarr

    from hsi_dask.io.local_stores import PlainFiles

    read_array_metadata(path, name)
    return zarr.open_array(PlainFiles(path), path=name, mode="r").metadata


def _planes(ledger: Any, maps: xr.DataArray, row: int, column: int) -> Iterator[_Plane]:
    name = str(maps.name)
    array = _array(ledger, name)
    values = maps.transpose(*array.metadata.dimension_names).values
    padding: list[tuple[int, int]] = [(0, 0)] * (values.ndim - 2)
    target: list[slice] = []
    for axis, first in ((-2, row), (-1, column)):
        last, chunk = first + values.shape[axis], array.chunks[axis]
        if last > array.shape[axis]:
            raise SchemaError(f"{name}: {first}..{last} is outside the mosaic of {array.shape} pixels")
        start, stop = first // chunk * chunk, min(-(-last // chunk) * chunk, array.shape[axis])
        padding.append((first - start, stop - last))
        target.append(slice(start, stop))
    if any(map(any, padding)):
        values = np.pad(values, padding, constant_values=array.fill_value)
    for at in np.ndindex(values.shape[:-2]):
        plane = tuple(slice(k, k + 1) for k in at)
        yield _Plane(array, (*plane, *target), values[plane])


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
        `isel`, `coarsen` or `sel`; `to_netcdf`, `to_zarr` and `.rio.to_raster` take the dataset as it is.

    Raises
    ------
    RunError
        The folder is not a run, or has no results yet.
    """
    maps = open_maps(_part_of_run(run_dir, RESULTS), chunks=chunks)
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

    dataset = _open_zarr(path, group or "", {} if isinstance(chunks, str) else chunks)
    order = dataset.attrs.get("variables")
    known = [name for name in order if name in dataset] if isinstance(order, list) else sorted(map(str, dataset))
    chosen = dataset[known]
    with _readable(path):
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


def _open_zarr(path: Path, group: str, chunks: Any) -> xr.Dataset:
    """A group of a store as a dataset, if it is one that hsi_dask wrote; values are as they are stored."""
    from hsi_dask.io.local_stores import PlainFiles

    sizes = {f"{group}/{name}".lstrip("/"): array.chunk_bytes for name, array in require_known(path, group).items()}
    with _readable(path):
        dataset: xr.Dataset = xr.open_zarr(
            PlainFiles(path, sizes), group=group or None, consolidated=False, chunks=chunks, decode_coords="all",
            mask_and_scale=False, decode_times=False, decode_timedelta=False,
        )  # fmt: skip
    return dataset


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raise RunError for whatever Zarr, its codecs and xarray make of metadata and bytes that are damaged."""
    try:
        yield
    except (RunError, MemoryError):  # the second tells of the process, not of the store
        raise
    except Exception as error:
        raise RunError(f"{path} cannot be read ({error}); {_RESTORE}") from error


def _part_of_run(run_dir: str | os.PathLike[str], name: str) -> Path:
    folder = Path(run_dir)
    if not (folder / "manifest.json").is_file():
        what = "is not a run directory: it has no manifest.json" if folder.is_dir() else "does not exist"
        raise RunError(f"{folder} {what}; give the folder that `hsi-dask run --out` wrote")
    if not (folder / name).exists():
        raise RunError(f"{folder} has no {name} yet; run `hsi-dask run --out {folder}` on until a tile is done")
    if (folder / name).is_symlink():
        raise RunError(f"{folder / name} is a link, and may lead anywhere; put what it points to in its place")
    return folder / name


# ------------------------------------------------------------------------------------------------ endmembers


def write_endmembers(path: Path, endmembers: xr.DataArray) -> str:
    """Store endmember spectra with where each came from; returns their digest. Replaces what is there.

    Text does not go into Zarr arrays (fixed-width text stops GDAL): the tiles are in the attribute `tiles`.
    """
    import zarr

    described = schema.describe(endmembers.drop_vars(endmembers.coords).copy(), "endmembers")
    identity = endmembers_digest(endmembers)
    attrs = {key: _json(value) for key, value in endmembers.attrs.items() if key not in described.attrs}
    if "tile" in endmembers.coords:
        attrs["tiles"] = [str(tile) for tile in endmembers["tile"].values]
    if (names := endmember_names(endmembers)) is not None:
        attrs["names"] = names
    if MATERIAL in endmembers.coords:
        attrs["materials"] = [str(material) for material in endmembers[MATERIAL].values]
    coordinates: dict[Hashable, xr.Variable] = {
        name: xr.Variable(c.dims, c.values, c.attrs)
        for name, c in endmembers.coords.items()
        if c.dtype.kind in "iufb" and set(c.dims) <= {ENDMEMBER, WAVELENGTH}
    }
    coordinates.setdefault(ENDMEMBER, xr.Variable(ENDMEMBER, np.arange(1, endmembers.sizes[ENDMEMBER] + 1)))
    schema.describe_coordinates(coordinates)
    extra = " ".join(str(name) for name in coordinates if name not in (ENDMEMBER, WAVELENGTH))
    with whole_folder(path) as part:
        own = {"Conventions": "CF-1.11", "digest": identity, **attrs}
        group = zarr.open_group(part, mode="w", zarr_format=3, attributes=own)
        for name, variable in coordinates.items():
            _create(group, str(name), variable, None)
        variable = described.variable
        if extra:
            variable.attrs["coordinates"] = extra
        _create(group, "endmembers", variable, None)
    return identity


def open_endmembers(run_dir: str | os.PathLike[str]) -> xr.DataArray:
    """The endmember spectra of a run, in memory.

    Returns
    -------
    xarray.DataArray
        (endmember, wavelength) float32 with fwhm, and for each endmember the tile, pixel (row, col) and
        y, x that it came from; attributes tell the volume of the simplex and its spread over the restarts.

    Raises
    ------
    RunError
        The folder is not a run, or its endmembers are missing or damaged.
    """
    return read_endmembers(_part_of_run(run_dir, ENDMEMBERS))


def read_endmembers(path: Path) -> xr.DataArray:
    """As `open_endmembers`, from the Zarr folder itself; refuses spectra that do not match their digest."""
    if not any((path / name).exists() for name in (METADATA, ".zgroup")):
        raise RunError(f"{path} is no run directory, and no {ENDMEMBERS} of one; give either, or a file of spectra")
    return _endmembers(path, tuple(sorted(_files(path)))).copy()


def _files(path: Path) -> Iterator[tuple[str, int, int, int]]:
    """The files below a folder, and what changes with their contents."""
    for folder, _, names in os.walk(path):
        for name in names:
            status = os.stat(os.path.join(folder, name))
            yield os.path.join(folder, name), status.st_ino, status.st_size, status.st_mtime_ns


@lru_cache(maxsize=4)
def _endmembers(path: Path, files: tuple[Any, ...]) -> xr.DataArray:
    """The endmembers in these files; cached, for reading twenty small files takes a sixtieth of a tile's time."""
    arrays = require_known(path)
    told = as_typed(dict(read_group_metadata(path).attributes), _Told, path / METADATA)
    if "endmembers" not in arrays or arrays["endmembers"].dimension_names != (ENDMEMBER, WAVELENGTH):
        raise RunError(f"{path} holds no endmembers (endmember, wavelength); give a run directory or its {ENDMEMBERS}")
    with _open_zarr(path, "", None) as dataset, _readable(path):
        endmembers: xr.DataArray = dataset["endmembers"].load()
        found = endmembers_digest(endmembers)
    if found != told.digest:
        raise RunError(f"{path} is damaged: its spectra differ from their checksum; {_RESTORE}")
    wavelength = np.asarray(endmembers[WAVELENGTH], np.float64)
    if not (np.isfinite(wavelength).all() and (np.diff(wavelength) > 0).all() and np.isfinite(endmembers).all()):
        raise RunError(f"{path} is damaged: spectra must be finite, on ascending wavelengths; {_RESTORE}")
    count = endmembers.sizes[ENDMEMBER]
    for what, texts in (("tiles", told.tiles), ("names", told.names), ("materials", told.materials)):
        if texts is not None and len(texts) != count:
            raise RunError(f"{path} is damaged: it has {len(texts)} {what} of {count} endmembers; {_RESTORE}")
    shown = ("Conventions", "digest", "tiles", "materials")
    endmembers.attrs |= {name: value for name, value in dataset.attrs.items() if name not in shown}
    texts_of = {"tile": told.tiles, NAME: told.names, MATERIAL: told.materials}
    return endmembers.assign_coords(
        {name: (ENDMEMBER, np.array(texts, dtype=object)) for name, texts in texts_of.items() if texts is not None}
    )


@dataclass(frozen=True)
class _Told:
    """Attributes of an endmembers store that are relied on."""

    OTHER_KEYS: ClassVar[bool] = True
    digest: Digest
    tiles: tuple[Text, ...] | None = None
    names: tuple[Text, ...] | None = None
    materials: tuple[Text, ...] | None = None
    source: Text = ""


def endmembers_digest(endmembers: xr.DataArray) -> str:
    """Identity of the spectra: their values and wavelengths, not where they came from."""
    spectra = endmembers.transpose(ENDMEMBER, WAVELENGTH)
    values = np.ascontiguousarray(spectra.values, "<f4").tobytes()
    return digest(values + np.ascontiguousarray(spectra[WAVELENGTH].values, "<f8").tobytes())
