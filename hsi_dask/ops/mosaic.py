"""Many lazy cubes as one on their common grid; where there is none, there is no data."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import xarray as xr
from dask._task_spec import Alias, GraphNode, Task, TaskRef
from dask.array.chunk import getitem
from dask.highlevelgraph import Layer, MaterializedLayer
from numpy.typing import NDArray

from hsi_dask.errors import ConfigError, GridError, SchemaError
from hsi_dask.schema import CUBE_DIMS, GRID_MAPPING, WAVELENGTH, X, Y, describe_coordinates, require_dims

Overlap = Literal["error", "first", "last"]

_OFF_GRID = 0.01  # pixels: more is another grid
_APART = 0.01  # nm: more are other wavelengths, as in `schema.require_wavelengths`
_STORED = ("scale_factor", "_FillValue")  # what stored integers mean; the rest of the attributes may differ

Box = tuple[slice, slice, slice]


class _Place(NamedTuple):
    """A cube on the grid: outer edges and pixel size in metres, and where its north-west pixel is."""

    name: str
    west: float
    north: float
    resolution: tuple[float, float]
    row: int = 0
    column: int = 0


def mosaic(cubes: Sequence[xr.DataArray], *, overlap: Overlap = "error") -> xr.DataArray:
    """Join lazy cubes into one that spans them all. Nothing is computed; no data lie between them.

    Parameters
    ----------
    cubes : (y, x, wavelength) each, on dask, on one pixel grid and one set of wavelengths.
    overlap : what holds where cubes overlap: "error" refuses; "first", "last" take the first or last of
        them that has data, wavelength by wavelength.

    Returns
    -------
    (y, x, wavelength), lazy. Blocks are the cubes' own where these agree; a cube whose edges lie inside the
    blocks of larger ones is fitted into them. attrs: what all cubes have in common, `tiles` (easting_northing of
    each cube's south-west corner) and `tile_bounds` (west, south, east, north of each in turn, metres).

    Raises
    ------
    GridError : different CRS, resolution, wavelengths or pixel grids, or cubes that overlap. Names both.
    SchemaError : a cube is not lazy, or stored integers that mean different things.
    """
    if overlap not in get_args(Overlap):
        raise ConfigError(f"overlap must be one of {', '.join(get_args(Overlap))}, not {overlap!r}")
    if not cubes:
        raise ConfigError("a mosaic needs at least one cube")
    cubes = [require_dims(cube, CUBE_DIMS, "each cube of a mosaic") for cube in cubes]
    places = [_place(cube, f"cube {n}") for n, cube in enumerate(cubes, 1)]
    for cube, place in zip(cubes[1:], places[1:], strict=True):
        _require_alike(cubes[0], places[0], cube, place)
    places, shape = _on_grid(places, cubes)
    arrays = [cube.data for cube in cubes]
    blocks = _blocks(arrays, places, (*shape, cubes[0].sizes[WAVELENGTH]), _fill(cubes[0]), overlap)
    return _labelled(cubes, places, _array(blocks, arrays[0]))


# ------------------------------------------------------------------------------------------------ one grid


def _place(cube: xr.DataArray, otherwise: str) -> _Place:
    name = str(cube.attrs.get("source", otherwise))
    if not hasattr(cube.data, "dask"):
        raise SchemaError(f"{name} is not lazy; open it with chunks, or call .chunk()")
    dx, dy = (_spacing(cube, dim, name) for dim in (X, Y))
    return _Place(name, float(cube[X][0]) - dx / 2, float(cube[Y][0]) + dy / 2, (dx, dy))


def _spacing(cube: xr.DataArray, dim: str, name: str) -> float:
    """Metres between pixels, positive; of a single one as its CRS says."""
    if dim not in cube.coords:
        raise SchemaError(f"{name} has no coordinate {dim}; a mosaic goes by the ground")
    values = np.asarray(cube[dim], dtype=np.float64)
    if values.size > 1:
        step = (values[-1] - values[0]) / (values.size - 1)
        return float(step if dim == X else -step)
    transform = str(cube.coords[GRID_MAPPING].attrs.get("GeoTransform", "")) if GRID_MAPPING in cube.coords else ""
    numbers = [float(part) for part in transform.split()]
    return abs(numbers[1 if dim == X else 5]) if len(numbers) == 6 else 1.0


def _require_alike(one: xr.DataArray, at: _Place, other: xr.DataArray, there: _Place) -> None:
    def refuse(has: str, ours: str, theirs: str) -> GridError:
        return GridError(f"{at.name} {has} {ours}, but {there.name} {has} {theirs}; open them apart")

    ours, theirs = (_crs(cube) for cube in (one, other))
    if ours != theirs:
        raise refuse("lies in", ours, theirs)
    if not np.allclose(at.resolution, there.resolution, rtol=0, atol=1e-6):
        raise refuse("has pixels of", *(f"{p.resolution[0]:g} x {p.resolution[1]:g} m" for p in (at, there)))
    w, v = (np.asarray(cube[WAVELENGTH], dtype=np.float64) for cube in (one, other))
    if w.size != v.size:
        raise refuse("has", f"{w.size} wavelengths", f"{v.size} wavelengths")
    if (apart := np.abs(w - v)).size and apart.max() > _APART:
        n = int(apart.argmax())
        raise refuse("has", *(f"{values[n]:.2f} nm as wavelength {n + 1}" for values in (w, v)))
    for key in _STORED:
        if one.attrs.get(key) != other.attrs.get(key):
            raise SchemaError(
                f"{at.name} has {key} {one.attrs.get(key)}, but {there.name} {other.attrs.get(key)}; "
                "open with masked=True"
            )
    if one.dtype != other.dtype:
        raise SchemaError(f"{at.name} holds {one.dtype}, but {there.name} {other.dtype}; open with masked=True")


def _crs(cube: xr.DataArray) -> str:
    if "epsg" in cube.attrs:
        return f"EPSG:{cube.attrs['epsg']}"
    return str(cube.coords[GRID_MAPPING].attrs.get("crs_wkt", "")) if GRID_MAPPING in cube.coords else "no CRS"


def _on_grid(places: Sequence[_Place], cubes: Sequence[xr.DataArray]) -> tuple[list[_Place], tuple[int, int]]:
    """The places with their rows and columns, and the pixels (y, x) that they span."""
    first, (dx, dy) = places[0], places[0].resolution
    found = []
    for place in places:
        row, column = (first.north - place.north) / dy, (place.west - first.west) / dx
        if max(abs(row - round(row)), abs(column - round(column))) > _OFF_GRID:
            raise GridError(
                f"{place.name} is off the pixel grid of {first.name} by {row % 1:.2f} rows and {column % 1:.2f} "
                "columns; open them apart"
            )
        found.append(place._replace(row=round(row), column=round(column)))
    top, left = min(p.row for p in found), min(p.column for p in found)
    bottom = max(p.row + c.sizes[Y] for p, c in zip(found, cubes, strict=True))
    right = max(p.column + c.sizes[X] for p, c in zip(found, cubes, strict=True))
    return [p._replace(row=p.row - top, column=p.column - left) for p in found], (bottom - top, right - left)


def _fill(cube: xr.DataArray) -> float:
    if cube.dtype.kind == "f":
        return float("nan")
    if "_FillValue" not in cube.attrs:
        raise SchemaError(f"the cubes are {cube.dtype} without a _FillValue in attrs; open with masked=True")
    return float(cube.attrs["_FillValue"])


def _labelled(cubes: Sequence[xr.DataArray], places: Sequence[_Place], data: Any) -> xr.DataArray:
    first, (dx, dy) = cubes[0], places[0].resolution
    west, north = places[0].west - places[0].column * dx, places[0].north + places[0].row * dy
    coords: dict[Any, Any] = {
        Y: xr.Variable(Y, north - (np.arange(data.shape[0]) + 0.5) * dy),
        X: xr.Variable(X, west + (np.arange(data.shape[1]) + 0.5) * dx),
        **{name: c.variable for name, c in first.coords.items() if c.dims == (WAVELENGTH,)},
    }
    if "good_wavelength" in coords:
        good = np.all([cube["good_wavelength"].values for cube in cubes], axis=0)
        coords["good_wavelength"] = xr.Variable(WAVELENGTH, good)
    if GRID_MAPPING in first.coords:
        transform = " ".join(map(str, (west, dx, 0.0, north, 0.0, -dy)))
        coords[GRID_MAPPING] = xr.Variable((), 0, first[GRID_MAPPING].attrs | {"GeoTransform": transform})
    describe_coordinates(coords)
    common = {k: v for k, v in first.attrs.items() if all(k in c.attrs and c.attrs[k] == v for c in cubes)}
    bounds = [
        (p.west, p.north - c.sizes[Y] * dy, p.west + c.sizes[X] * dx, p.north)
        for p, c in zip(places, cubes, strict=True)
    ]
    attrs = {"tiles": [f"{b[0]:.10g}_{b[1]:.10g}" for b in bounds], "tile_bounds": list(sum(bounds, ()))}
    joined = xr.DataArray(data, coords, CUBE_DIMS, first.name, common | attrs)
    joined.encoding["grid_mapping"] = GRID_MAPPING
    return joined


# ------------------------------------------------------------------------------------------------ blocks


def _blocks(
    arrays: Sequence[Any], places: Sequence[_Place], shape: tuple[int, int, int], fill: float, overlap: Overlap
) -> _Blocks:
    from dask.base import tokenize

    starts = [(p.row, p.column, 0) for p in places]
    spans = [
        {(start[axis], array.chunks[axis]) for start, array in zip(starts, arrays, strict=True)} for axis in range(3)
    ]
    edges = tuple(_edges(spans[axis], shape[axis]) for axis in range(3))
    covers: dict[tuple[int, int], list[int]] = {}
    for number, (start, array) in enumerate(zip(starts, arrays, strict=True)):
        ranges = [_touched(edges[axis], start[axis], start[axis] + array.shape[axis]) for axis in (0, 1)]
        for i in ranges[0]:
            for j in ranges[1]:
                covers.setdefault((i, j), []).append(number)
    _settle_overlaps(covers, arrays, places, overlap)
    name = f"mosaic-{tokenize([a.name for a in arrays], starts, shape, fill, overlap)}"
    return _Blocks(name, tuple(arrays), tuple(starts), edges, covers, fill)


def _edges(spans: Iterable[tuple[int, tuple[int, ...]]], size: int) -> tuple[int, ...]:
    """Where the mosaic's blocks begin and end along a dimension.

    The longest cubes lay down their own blocks; a shorter one that lies within is fitted into these, for
    its edges would cut the stored chunks of all its neighbours.
    """
    ordered = sorted(spans, key=lambda span: (-sum(span[1]), span[0], span[1]))
    step = max(max(sizes) for _, sizes in ordered)
    edges, covered = {0, size}, list[tuple[int, int]]()
    for start, sizes in ordered:
        bounds = (start + np.cumsum((0, *sizes))).tolist()
        edges |= {b for b in bounds if not any(low < b < high for low, high in covered)}
        covered.append((bounds[0], bounds[-1]))
    for low, high in pairwise(sorted(edges)):  # a gap between tiles may be wide
        edges |= set(range(low + step, high, step))
    return tuple(sorted(edges))


def _touched(edges: Sequence[int], start: int, stop: int) -> range:
    """Numbers of the blocks that share pixels with [start, stop)."""
    return range(int(np.searchsorted(edges, start, "right")) - 1, int(np.searchsorted(edges, stop, "left")))


def _settle_overlaps(
    covers: Mapping[tuple[int, int], list[int]], arrays: Sequence[Any], places: Sequence[_Place], overlap: Overlap
) -> None:
    """Put the cubes of each block in the order in which they count, or refuse those that share pixels."""
    for numbers in covers.values():
        if len(numbers) < 2:
            continue
        if overlap == "last":
            numbers.reverse()
        for n, a in enumerate(numbers if overlap == "error" else ()):
            for b in numbers[n + 1 :]:
                rows, columns = (
                    min(p + arrays[a].shape[axis], q + arrays[b].shape[axis]) - max(p, q)
                    for axis, p, q in (
                        (0, places[a].row, places[b].row),
                        (1, places[a].column, places[b].column),
                    )
                )
                if min(rows, columns) > 0:
                    raise GridError(
                        f"{places[a].name} and {places[b].name} overlap by {rows} rows and {columns} columns; "
                        'say which holds with overlap="first" or "last", or leave one out'
                    )


def _array(blocks: _Blocks, like: Any) -> Any:
    import dask.array as da
    from dask.highlevelgraph import HighLevelGraph

    graph = HighLevelGraph({blocks.name: blocks}, {blocks.name: set()})
    chunks = tuple(tuple(high - low for low, high in pairwise(edges)) for edges in blocks.edges)
    return da.Array(graph, blocks.name, chunks, meta=like._meta)


class _Blocks(Layer):
    """The mosaic's graph. Tasks are made when asked for: a diagonal of tiles costs its tiles, not its square.

    A block that is one of a cube's own is that cube's task under another key, so that a slice fuses into the read.
    """

    has_legacy_tasks = False  # what the base class would find out by making every task

    def __init__(
        self,
        name: str,
        arrays: tuple[Any, ...],
        starts: tuple[tuple[int, int, int], ...],
        edges: tuple[tuple[int, ...], ...],
        covers: Mapping[tuple[int, int], Sequence[int]],
        fill: float,
    ) -> None:
        super().__init__()
        self.name, self.arrays, self.starts, self.edges, self.covers, self.fill = (
            name, arrays, starts, edges, covers, fill,
        )  # fmt: skip
        self.dtype = arrays[0].dtype
        self.bounds = {chunks: np.cumsum((0, *chunks)).tolist() for a in arrays for chunks in a.chunks}
        self.below: dict[str, Mapping[Any, Any]] = {
            layer: tasks for array in arrays for layer, tasks in array.dask.layers.items()
        }

    def is_materialized(self) -> bool:
        return False

    def get_output_keys(self) -> set[Any]:
        return set(self._own_keys())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._closure(self._own_keys()))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, key: Any) -> Any:
        if key[0] == self.name:
            return self._block(key)
        if key[0] == f"{self.name}-piece":
            _, number, source, *box = key
            array = self.arrays[number]
            return Task(key, getitem, TaskRef((array.name, *source)), tuple(slice(*ends) for ends in box))
        return self.below[key[0]][key]

    def cull(self, keys: set[Any], all_hlg_keys: Collection[Any]) -> tuple[Layer, Mapping[Any, set[Any]]]:
        tasks = self._closure(key for key in keys if isinstance(key, tuple) and key[0] == self.name)
        return MaterializedLayer(tasks), {key: set() for key in tasks}

    def _own_keys(self) -> Iterator[Any]:
        for at in np.ndindex(*(len(edges) - 1 for edges in self.edges)):
            yield (self.name, *at)

    def _closure(self, keys: Iterable[Any]) -> dict[Any, Any]:
        """The tasks of these keys and of all that they need."""
        tasks: dict[Any, Any] = {}
        left = list(keys)
        while left:
            key = left.pop()
            if key not in tasks:
                tasks[key] = task = self[key]
                left += task.dependencies
        return tasks

    def _block(self, key: Any) -> Any:
        at = key[1:]
        low, high = zip(*((e[n], e[n + 1]) for e, n in zip(self.edges, at, strict=True)), strict=True)
        shape = tuple(b - a for a, b in zip(low, high, strict=True))
        pieces = [piece for number in self.covers.get(at[:2], ()) for piece in self._pieces(number, low, high)]
        if not pieces:
            return Task(key, _blank, shape, self.dtype, self.fill)
        number, source, box, target = pieces[0]
        if len(pieces) == 1 and self._is_whole(number, source, box) and _lengths(target) == shape:
            own = (self.arrays[number].name, *source)
            task = self.below[own[0]][own]
            return task.substitute({}, key=key) if isinstance(task, GraphNode) else Alias(key, own)
        parts: list[Any] = [(f"{self.name}-piece", n, s, *((b.start, b.stop) for b in box)) for n, s, box, _ in pieces]
        order = tuple((n, target) for n, _, _, target in pieces)
        return Task(key, _assembled, shape, self.dtype, self.fill, order, *map(TaskRef, parts))

    def _pieces(
        self, number: int, low: tuple[int, ...], high: tuple[int, ...]
    ) -> Iterator[tuple[int, tuple[int, ...], Box, Box]]:
        """What a cube gives to a box of the mosaic: source block, part of it, and where it goes."""
        start, array = self.starts[number], self.arrays[number]
        found = []
        for axis in range(3):
            bounds = self.bounds[array.chunks[axis]]
            first, last = max(low[axis] - start[axis], 0), min(high[axis] - start[axis], bounds[-1])
            parts = []
            for n in _touched(bounds, first, last) if first < last else ():
                a, b = max(first, bounds[n]), min(last, bounds[n + 1])
                shift = start[axis] - low[axis]
                parts.append((n, slice(a - bounds[n], b - bounds[n]), slice(a + shift, b + shift)))
            found.append(parts)
        for y in found[0]:
            for x in found[1]:
                for w in found[2]:
                    yield number, (y[0], x[0], w[0]), (y[1], x[1], w[1]), (y[2], x[2], w[2])

    def _is_whole(self, number: int, source: tuple[int, ...], box: Box) -> bool:
        chunks = self.arrays[number].chunks
        return _lengths(box) == tuple(chunks[axis][n] for axis, n in enumerate(source))


def _lengths(box: Box) -> tuple[int, ...]:
    return tuple(part.stop - part.start for part in box)


@lru_cache(maxsize=4)  # missing tiles share one block: nobody writes into a task's input
def _blank(shape: tuple[int, int, int], dtype: np.dtype[Any], fill: float) -> NDArray[Any]:
    """No data, planes contiguous as in blocks that are read."""
    return np.full((shape[2], shape[0], shape[1]), fill, dtype).transpose(1, 2, 0)


def _assembled(
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    fill: float,
    order: Sequence[tuple[int, Box]],
    *pieces: NDArray[Any],
) -> NDArray[Any]:
    """Pieces in their places; where they overlap, the first that has data."""
    out = np.full((shape[2], shape[0], shape[1]), fill, dtype).transpose(1, 2, 0)
    first = order[0][0]
    for (number, target), piece in zip(order, pieces, strict=True):
        if number == first:
            out[target] = piece
            continue
        there = out[target]
        free = np.isnan(there) if math.isnan(fill) else there == fill
        np.copyto(there, piece, where=free)
    return out
