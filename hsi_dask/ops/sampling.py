"""Sampling pixels from a cube: seeded, the same whatever the chunks, reading few blocks."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.errors import ConfigError, EndmemberError
from hsi_dask.ops.decoding import require_reflectance, storage
from hsi_dask.schema import CUBE_DIMS, PIXEL, WAVELENGTH, X, Y, describe_coordinates, require_dims, require_pixels
from hsi_dask.sources import PieceSource, find_selection, find_source, unchecked

WINDOW = 32  # pixels: candidates come from square windows, because a stored chunk is read for one or for all
PER_WINDOW = 16  # candidates a window: 20 000 pixels come from all windows of a tile of 1 km, fewer from a part of them
_FREE = 32  # candidates a window where one pixel costs as much as all
_SPARE = 1.25  # candidates for a pixel wanted: what some pixels without data would cost otherwise is a second reading
Gather = Callable[[NDArray[np.intp]], NDArray[Any]]
_READ_BYTES = 16 * 2**20  # read at a time; so small that the allocator reuses the memory


def sample_pixels(cube: xr.DataArray, size: int, *, seed: int = 0, where: xr.DataArray | None = None) -> xr.DataArray:
    """Spectra of `size` valid pixels, drawn at random from windows that are spread evenly over the cube.

    The draw goes by position in the cube alone: the same seed gives the same pixels whatever the chunks,
    the scheduler or the number of workers. Only stored chunks that hold candidates are read, or where a cube is
    not read straight from a file, only blocks that do.

    Parameters
    ----------
    cube : (y, x, wavelength) reflectance, or stored integers with `scale_factor` and `_FillValue` in attrs.
    size : how many pixels; all valid ones where there are fewer.
    seed : of the draw.
    where : (y, x) bool, pixels that may be drawn; None is all.

    Returns
    -------
    (pixel, wavelength) float32 reflectance without missing values, computed, with the coordinates `y`, `x`
    (metres), `row`, `column` (position in the cube) and `tile` of each pixel.

    Raises
    ------
    EndmemberError : the cube has no valid pixel.
    ConfigError : size is below 1.
    """
    return drawn_pixels(cube, size, seed, where)


def drawn_pixels(
    cube: xr.DataArray, size: int, seed: int, where: xr.DataArray | None, gather: Gather | None = None
) -> xr.DataArray:
    """`sample_pixels`, with another way to the stored spectra (k, wavelength) at positions (2, k)."""
    if size < 1:
        raise ConfigError(f"size must be 1 or more pixels, not {size}")
    cube = require_pixels(require_dims(cube, CUBE_DIMS, "the cube"))
    how = storage(cube)
    candidates = _candidates(cube.sizes[Y], cube.sizes[X], np.random.default_rng(seed))
    pixels = cube.sizes[Y] * cube.sizes[X]
    if where is not None:
        allowed = np.asarray(require_dims(where, (Y, X), "where"), dtype=bool)
        candidates = (at[:, allowed[at[0], at[1]]] for at in candidates)
        pixels = int(np.count_nonzero(allowed))
    free = pixels * _FREE // WINDOW**2 if _is_read_whole(cube.data) else 0
    places: list[NDArray[np.intp]] = []
    spectra: list[NDArray[np.float32]] = []
    have, share = 0, 1.0
    while have < size:
        wanted = max(min(_SPARE * (size - have) / share, 8 * size), free)
        places_now = _next_places(candidates, wanted)
        if not places_now.size:
            break
        stored = stored_at(cube, places_now) if gather is None else gather(places_now)
        stored = require_reflectance(stored, cube.attrs)
        valid = how.valid(stored).all(axis=1) & stored.any(axis=1)  # a pixel of zeros alone has no spectrum
        chosen = np.flatnonzero(valid)[: size - have]
        places.append(places_now[:, chosen])
        spectra.append(how.reflectance(stored[chosen]))
        have += chosen.size
        share = max(float(valid.mean()), 0.05)
    if not have:
        raise EndmemberError("the cube has no pixel with data at all its wavelengths; choose another tile")
    return labelled(cube, np.concatenate(places, axis=1), np.concatenate(spectra))


def pixels_at(cube: xr.DataArray, places: NDArray[Any]) -> xr.DataArray:
    """Spectra of a cube (y, x, wavelength) at these positions (2, k), labelled as those of `sample_pixels`.

    For a cube all of which was read before: compressed chunks are inflated only up to the last row with a position,
    and their checksums, which stand at their ends, are not seen again.
    """
    stored = require_reflectance(stored_at(cube, places, checked=False), cube.attrs)
    return labelled(cube, places, storage(cube).reflectance(stored))


def _candidates(height: int, width: int, rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    """Candidate positions (2, k), window after window, spread evenly; later passes take what earlier ones left."""
    down, across = -(-height // WINDOW), -(-width // WINDOW)
    windows = _spread_order(down, across, rng)
    seeds = rng.integers(2**63, size=down * across)
    for start in range(0, WINDOW * WINDOW, PER_WINDOW):
        for window in windows:
            cells = np.random.default_rng(seeds[window]).permutation(WINDOW * WINDOW)[start : start + PER_WINDOW]
            row, column = divmod(int(window), across)
            at = np.stack([row * WINDOW + cells // WINDOW, column * WINDOW + cells % WINDOW])
            yield at[:, (at[0] < height) & (at[1] < width)]


def _spread_order(down: int, across: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """The cells of a grid so that the first n, for any n, are spread evenly over it: quadrants of quadrants in turn."""
    bits = max(1, (max(down, across) - 1).bit_length())
    row, column = np.divmod(np.arange(down * across), across)
    shift = int(rng.integers(4**bits))
    key = np.zeros(down * across, np.int64)
    for bit in range(bits):  # the highest bits of the place become the lowest of the rank
        pair = 2 * ((row >> (bits - 1 - bit)) & 1) + ((column >> (bits - 1 - bit)) & 1)
        digit = pair ^ ((shift >> 2 * bit) & 3)
        key |= digit << (2 * bit)
    return np.argsort(key, kind="stable")


def _next_places(candidates: Iterator[NDArray[np.intp]], wanted: float) -> NDArray[np.intp]:
    """The next candidates (2, k), at least as many as wanted while there are any."""
    chosen = [np.empty((2, 0), np.intp)]
    count = 0
    while count < wanted and (places := next(candidates, None)) is not None:
        chosen.append(places)
        count += places.shape[1]
    return np.concatenate(chosen, axis=1)


def _is_read_whole(data: Any) -> bool:
    """Whether one pixel costs as much as all (in memory, or whole planes stored apart): more candidates are free."""
    return not hasattr(data, "dask") or (data.numblocks[:2] == (1, 1) and data.numblocks[2] > 1)


def stored_at(cube: xr.DataArray, places: NDArray[Any], *, checked: bool = True) -> NDArray[Any]:
    """Stored spectra (k, wavelength) at positions (2, k), each block read once, within its bounding box."""
    data = cube.data
    if not hasattr(data, "dask"):
        return _pick(np.asarray(data), places)
    import dask.array as da
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph
    from dask.task_spec import Task, TaskRef

    edges = [np.cumsum((0, *c)) for c in data.chunks[:2]]
    blocks = [np.searchsorted(e, at, side="right") - 1 for e, at in zip(edges, places, strict=True)]
    block = blocks[0] * data.numblocks[1] + blocks[1]
    name, source = f"sample-{tokenize(data.name, places)}", find_source(data)
    array = None if source is None else source.array if checked else unchecked(source.array)
    boxes: dict[Any, tuple[Any, tuple[slice, ...]]] = {}
    graph: dict[Any, Any] = {}
    sizes, order = [], []
    for n, number in enumerate(np.unique(block)):
        i, j = divmod(int(number), data.numblocks[1])
        members = np.flatnonzero(block == number)
        inside = places[:, members] - np.array([[edges[0][i]], [edges[1][j]]])
        low, high = inside.min(axis=1), inside.max(axis=1) + 1
        box = (slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1])), slice(None))
        for k in range(data.numblocks[2]):
            key = (name, n, k)
            if source:
                graph[key] = Task(key, _pick_stored, array, source.block(i, j, k), inside)
                continue
            boxes[f"{name}-box", n, k] = (data.name, i, j, k), box
            graph[key] = Task(key, _pick, TaskRef((f"{name}-box", n, k)), inside - low[:, None])
        sizes.append(members.size)
        order.append(members)
    layered = HighLevelGraph.from_collections(name, graph) if source else _cut(data, name, boxes, graph)
    picked = da.Array(layered, name, (tuple(sizes), data.chunks[2]), dtype=data.dtype)
    out = np.empty((places.shape[1], data.shape[2]), data.dtype)
    out[np.concatenate(order)] = picked.compute()
    return out


def _cut(data: Any, name: str, boxes: dict[Any, tuple[Any, tuple[slice, ...]]], graph: dict[Any, Any]) -> Any:
    """The graph with its boxes of blocks cut out by tasks that fuse into the read.

    dask fuses one slice with a read, not two: the wavelengths that `select_bands` takes from a block and the box are
    made one.
    """
    from dask.array.chunk import getitem
    from dask.highlevelgraph import HighLevelGraph
    from dask.task_spec import Task, TaskRef

    selection = find_selection(data)
    for key, ((_, i, j, k), box) in boxes.items():
        if selection is None:
            graph[key] = Task(key, getitem, TaskRef((data.name, i, j, k)), box)
            continue
        number, wavelengths = selection.blocks[k]
        graph[key] = Task(key, getitem, TaskRef((selection.parent, i, j, number)), (*box[:2], wavelengths))
    below = selection.array(data) if selection else data
    return HighLevelGraph.from_collections(name, graph, dependencies=[below])


def _pick(block: NDArray[Any], places: NDArray[np.intp]) -> NDArray[Any]:
    picked: NDArray[Any] = block[places[0], places[1]]
    return picked


def _pick_stored(
    array: PieceSource, block: tuple[slice, slice, NDArray[np.intp]], inside: NDArray[Any]
) -> NDArray[Any]:
    """Stored spectra (k, wavelength) at positions (2, k) in a block: each chunk that has one is read, once."""
    rows, columns, wavelengths = block
    at = inside + np.array([[rows.start], [columns.start]])
    down, across, deep = array.stored_chunks
    several = max(1, _READ_BYTES // (down * across * deep * array.dtype.itemsize)) * deep
    groups = np.split(wavelengths, np.flatnonzero(np.diff(wavelengths // several)) + 1)
    picked = np.empty((wavelengths.size, at.shape[1]), array.dtype)
    chunk = at[0] // down * (columns.stop // across + 1) + at[1] // across
    for number in np.unique(chunk):
        members = np.flatnonzero(chunk == number)
        top, bottom = int(at[0, members].min()), int(at[0, members].max()) + 1
        left = at[1, members[0]] // across * across
        done = 0
        for group in groups:
            values = array[top:bottom, left : min(left + across, columns.stop), group]
            planes = values.transpose(2, 0, 1).reshape(group.size, -1)
            place = (at[0, members] - top) * values.shape[1] + at[1, members] - left
            picked[done : done + group.size, members] = planes.take(place, axis=1)
            done += group.size
    return picked.T


def labelled(cube: xr.DataArray, places: NDArray[np.intp], spectra: NDArray[np.float32]) -> xr.DataArray:
    """Spectra (k, wavelength) with the coordinates that the cube has at their positions (2, k)."""
    coords: dict[Hashable, Any] = {k: v for k, v in cube.coords.items() if v.dims == (WAVELENGTH,) or not v.dims}
    for axis, (dim, position) in enumerate(((Y, "row"), (X, "column"))):
        if dim in cube.coords:
            coords[dim] = (PIXEL, np.asarray(cube[dim])[places[axis]], cube[dim].attrs)
        coords[position] = (PIXEL, places[axis])
    if "tile" in cube.attrs:
        coords["tile"] = (PIXEL, np.full(places.shape[1], cube.attrs["tile"]))
    elif "tiles" in cube.attrs and Y in coords and X in coords:
        coords["tile"] = (PIXEL, _tiles_at(cube, coords[Y][1], coords[X][1]))
    pixels = xr.DataArray(spectra, coords, (PIXEL, WAVELENGTH), "reflectance", {"units": "1"})
    describe_coordinates({k: v.variable for k, v in pixels.coords.items()})
    return pixels


def _tiles_at(mosaic: xr.DataArray, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[Any]:
    """The tile of a mosaic that each place (metres) is in, by the bounds in its attributes; "" in none."""
    found = np.full(y.size, "", dtype=object)
    bounds = np.reshape(mosaic.attrs["tile_bounds"], (-1, 4))
    for name, (west, south, east, north) in zip(mosaic.attrs["tiles"], bounds, strict=True):
        found[(west < x) & (x < east) & (south < y) & (y < north) & (found == "")] = name
    return found
