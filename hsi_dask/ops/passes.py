"""One pass over a cube: sums over wavelength, block by block, and the finish of every method from the same sums."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import cache, partial
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.kernels.projection import TILE, Operator, Sums, Weights, accumulate, operator, project
from hsi_dask.methods.registry import method
from hsi_dask.ops.decoding import checked, storage
from hsi_dask.ops.whole_planes import (
    STEP_PIXELS,
    all_threads,
    are_too_many,
    bands,
    hold_in_threads,
    pieces_at_once,
    sum_bytes,
)
from hsi_dask.schema import Variable
from hsi_dask.sources import Piece, PieceSource, Source, Spread, find_source, is_partial

DATA, ZERO = 0.0, 2.0  # values of the first plane besides NODATA
NODATA = 1.0
_FINISH_PIXELS = 2**18  # pixels finished by one task: enough to hide what dask takes for it, few enough to share them
_CACHED_PIXELS = 2**14  # finished at a time: what one step leaves the next one finds in cache
_WAITING = 2  # sums over blocks of wavelengths that wait for each other: each holds planes of all its pixels
_SHARE_PIXELS = 64 * TILE  # of a plane that threads share: a few milliseconds of arithmetic


class Finish(NamedTuple):
    """How sums become maps: the prepared methods, by name or their `finish`, and the planes that each variable takes.

    The first plane says which pixels have data: DATA, NODATA where a value is missing, ZERO where all are zero.
    """

    prepared: tuple[tuple[str | Callable[[Any, Sums], Mapping[str, NDArray[Any]]], Any], ...]
    rows: Mapping[str, slice]

    @property
    def planes(self) -> int:
        """How many planes there are."""
        return max((rows.stop for rows in self.rows.values()), default=1)


def plane_rows(variables: tuple[Variable, ...], sizes: Mapping[str, int]) -> dict[str, slice]:
    """The planes of each variable, one for each index of its first dimension where it has three."""
    rows, start = {}, 1
    for variable in variables:
        count = sizes[variable.dims[0]] if len(variable.dims) > 2 else 1
        rows[variable.name] = slice(start, start + count)
        start += count
    return rows


def finished_planes(
    cube: xr.DataArray, w: Weights, finish: Finish, through: Callable[[Source], Source] | None = None
) -> Any:
    """All planes as one (plane, y, x) float32 array, lazy where the cube is.

    through : what a cube that is read from a source is read through, in its place.
    """
    cube = checked(cube)
    scale, fill = storage(cube)
    if not hasattr(cube.data, "dask"):
        sums = _project(np.asarray(cube.data), w, scale, fill)
        return _finish(finish, cube.shape[1], slice(0, cube.shape[0]), sums)
    source, (ys, xs, _) = find_source(cube.data), cube.data.chunks
    if source and through:
        source = through(source)
    if source and are_too_many(w, max(ys) * max(xs)):
        return _held_graph(cube.data, source, w, finish, scale, fill)
    return _graph(cube.data, source, w, finish, scale, fill)


def _graph(data: Any, source: Source | None, w: Weights, finish: Finish, scale: float, fill: float | None) -> Any:
    import dask.array as da
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph
    from dask.task_spec import DataNode, Task, TaskRef

    token = tokenize(data.name, *w, finish.prepared, scale, fill)
    ys, xs, ws = data.chunks
    edges = [0, sum(ws)] if source else np.cumsum((0, *ws)).tolist()  # a task that reads takes all wavelengths
    parts = [np.arange(a, b) for a, b in pairwise(edges)]
    graph: dict[Any, Any] = {}
    for k, part in enumerate(parts):
        graph[f"weights-{token}", k] = DataNode((f"weights-{token}", k), w.take(part))
    how = DataNode(f"finish-{token}", finish)
    graph[how.key] = how
    name, strips = f"materials-{token}", [_strips(0, rows, max(xs)) for rows in ys]
    for i, j in np.ndindex(len(ys), len(xs)):
        sums = []
        for k in range(len(parts)):
            key = (f"project-{token}", i, j, k)
            weighted = TaskRef((f"weights-{token}", k))
            if source:
                place = (source.rows[i], source.columns[j], np.concatenate(source.wavelengths))
                graph[key] = Task(key, _project_pieces, source.array, place, weighted, scale, fill, len(ws) > 1)
            else:
                graph[key] = Task(key, _project, TaskRef((data.name, i, j, k)), weighted, scale, fill)
            sums.append(key)
        sums = _add_up(graph, f"sum-{token}", (i, j), sums)
        first = sum(len(s) for s in strips[:i])
        for s, rows in enumerate(strips[i]):
            key = (name, 0, first + s, j)
            graph[key] = Task(key, _finish, TaskRef(how.key), xs[j], rows, *map(TaskRef, sums))
    layered = HighLevelGraph.from_collections(name, graph, dependencies=[] if source else [data])
    heights = tuple(rows.stop - rows.start for s in strips for rows in s)
    return da.Array(layered, name, ((finish.planes,), heights, xs), dtype=np.float32)


def _held_graph(data: Any, source: Source, w: Weights, finish: Finish, scale: float, fill: float | None) -> Any:
    """As `_graph`, where sums take too much memory: stored numbers are held, of one band of rows at a time."""
    import dask.array as da
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph
    from dask.task_spec import DataNode, Task, TaskRef

    token = tokenize(data.name, *w, finish.prepared, scale, fill)
    ys, xs, _ = data.chunks
    wavelengths = np.concatenate(source.wavelengths)
    name, how = f"materials-{token}", DataNode(f"finish-{token}", _Held(finish, w, operator(w, scale=scale, fill=fill)))
    graph: dict[Any, Any] = {how.key: how}
    heights: list[int] = []
    for i, rows in enumerate(source.rows):
        parts, kept = bands(wavelengths.size, ys[i], max(xs) * source.array.dtype.itemsize)
        strips = [_strips(part.start, part.stop, max(xs), _SHARE_PIXELS) for part in parts]
        for j, columns in enumerate(source.columns):
            first, number, done = (f"kept-{token}", i, j), len(heights), list[Any]()
            graph[first] = Task(first, hold_in_threads, source.array, (rows, columns, wavelengths[:kept]))
            for b, part in enumerate(parts):
                band = (f"band-{token}", i, j, b)
                place = slice(rows.start + part.start, rows.start + part.stop), columns, wavelengths[kept:]
                graph[band] = Task(
                    band, hold_in_threads, source.array, place, *map(TaskRef, done)
                )  # its room is that of the last
                done = [(name, 0, number + s, j) for s in range(len(strips[b]))]
                for key, strip in zip(done, strips[b], strict=True):
                    graph[key] = Task(key, _finish_held, TaskRef(how.key), strip, part, TaskRef(first), TaskRef(band))
                number += len(strips[b])
        heights += [strip.stop - strip.start for band in strips for strip in band]
    layered = HighLevelGraph.from_collections(name, graph, dependencies=[])
    return da.Array(layered, name, ((finish.planes,), tuple(heights), xs), dtype=np.float32)


def _strips(first: int, last: int, width: int, pixels: int = _FINISH_PIXELS) -> list[slice]:
    """The rows from the first to before the last in parts that are finished by one task each."""
    height = max(1, pixels // max(1, width))
    return [slice(start, min(last, start + height)) for start in range(first, last, height)] or [slice(first, first)]


def _add_up(graph: dict[Any, Any], name: str, at: tuple[int, int], parts: list[Any]) -> list[Any]:
    """Bring many partial sums down to a few, from the left: the order is fixed, and few are alive at a time."""
    from dask.task_spec import Task, TaskRef

    total, rest = parts[0], parts[1:]
    for step in range(0, len(rest) - _WAITING, _WAITING):
        key = (name, *at, step)
        graph[key] = Task(key, Sums.plus, TaskRef(total), *map(TaskRef, rest[step : step + _WAITING]))
        total = key
    return [total, *rest[-((len(rest) - 1) % _WAITING + 1) :]] if len(rest) > _WAITING else parts


def _project(block: NDArray[Any], w: Weights, scale: float, fill: float | None) -> Sums:
    """Sums of a block in memory."""
    planes = np.moveaxis(block, 2, 0)
    return project(planes.reshape(planes.shape[0], -1), w, scale=scale, fill=fill)


def _project_pieces(array: PieceSource, key: Any, w: Weights, scale: float, fill: float | None, shared: bool) -> Sums:
    """Sums of what a key asks of an array, piece by piece: a stored chunk is used while it is in cache.

    `shared` is True where one task covers what would be many blocks: idle threads share its reads and arithmetic.
    """
    height, width = (k.stop - k.start for k in key[:2])
    whole = Sums.missing(w, height * width) if is_partial(array) else Sums.empty(w, height * width)

    @cache
    def how(start: int, stop: int) -> Operator:
        return operator(w.take(slice(start, stop)), scale=scale, fill=fill)

    with ThreadPoolExecutor(all_threads()) if shared else nullcontext() as pool:
        spread: Spread = pool.map if pool else map
        groups = _piece_groups(array, key, pieces_at_once(sum_bytes(w, height * width)), spread)
        for (rows, columns), together in groupby(groups, key=lambda group: group[0].place[:2]):
            size = (rows.stop - rows.start) * (columns.stop - columns.start)
            sums = whole if size == height * width else Sums.empty(w, size)
            shares = [slice(start, start + _SHARE_PIXELS) for start in range(0, size, _SHARE_PIXELS)]
            for number, group in enumerate(together):
                steps = [
                    (values.transpose(2, 0, 1).reshape(-1, size), how(planes.start, planes.stop))
                    for values, (_, _, planes) in group
                ]
                for _ in spread(partial(_accumulate_all, steps, sums, number == 0), shares):
                    pass
            if sums is not whole:
                for plane, part_of_plane in zip(whole, sums, strict=True):
                    _on_grid(plane, height)[..., rows, columns] = _on_grid(part_of_plane, rows.stop - rows.start)
    return whole


def _piece_groups(array: PieceSource, key: Any, count: int, spread: Spread) -> Iterable[Sequence[Piece]]:
    """Pieces by so many, if the array can, else one by one."""
    if count > 1 and hasattr(array, "piece_groups"):
        return array.piece_groups(key, count, spread)  # type: ignore[no-any-return]
    return ([piece] for piece in array.pieces(key, spread))


def _accumulate_all(steps: Sequence[tuple[NDArray[Any], Operator]], sums: Sums, overwrite: bool, pixels: slice) -> None:
    """Add to the sums of some pixels, which stay in cache, one group of planes after another."""
    for number, (planes, how) in enumerate(steps):
        accumulate(planes, how, sums, pixels, overwrite=overwrite and number == 0)


class _Held(NamedTuple):
    """How stored numbers become maps."""

    finish: Finish
    weights: Weights
    operator: Operator


def _finish_held(how: _Held, rows: slice, band: slice, kept: NDArray[Any], rest: NDArray[Any]) -> NDArray[np.float32]:
    """The finished planes of some rows of a band, from their stored numbers: (plane, rows, width) float32."""
    inside = slice(rows.start - band.start, rows.stop - band.start)
    size = (rows.stop - rows.start) * kept.shape[2]
    held = [part.reshape(len(part), size) for part in (kept[:, rows], rest[:, inside])]
    planes = np.empty((how.finish.planes, size), np.float32)
    for start in range(0, size, STEP_PIXELS):
        pixels = slice(start, start + STEP_PIXELS)
        numbers = np.concatenate([part[:, pixels] for part in held])
        sums = Sums.empty(how.weights, numbers.shape[1])
        accumulate(numbers, how.operator, sums, overwrite=True)
        _finish_some(how.finish, sums, planes[:, pixels])
    return planes.reshape(-1, rows.stop - rows.start, kept.shape[2])


def _on_grid(plane: NDArray[np.float64], height: int) -> NDArray[np.float64]:
    """Planes of pixels as planes of rows and columns; one that was left out stays empty."""
    return plane.reshape(*plane.shape[:-1], height, plane.shape[-1] // height)


def _finish(finish: Finish, width: int, rows: slice, *parts: Sums) -> NDArray[np.float32]:
    """The finished planes of some rows, from the sums over parts of the wavelengths: (plane, rows, width) float32."""
    first, stop = rows.start * width, rows.stop * width
    planes = np.empty((finish.planes, stop - first), np.float32)
    for start in range(first, stop, _CACHED_PIXELS):
        pixels = slice(start, min(start + _CACHED_PIXELS, stop))
        sums, *others = [part.take(pixels) for part in parts]
        _finish_some(finish, sums.plus(*others) if others else sums, planes[:, start - first : pixels.stop - first])
    return planes.reshape(-1, rows.stop - rows.start, width)


def _finish_some(finish: Finish, sums: Sums, planes: NDArray[np.float32]) -> None:
    zero = sums.energy == 0.0
    planes[0] = np.where(np.isnan(sums.energy), NODATA, np.where(zero, ZERO, DATA))
    if zero.any():  # no spectrum: in no map
        sums = Sums(*(np.where(zero, np.nan, values) if values.size else values for values in sums))
    for how, model in finish.prepared:
        finished = method(how).finish(model, sums) if isinstance(how, str) else how(model, sums)
        for variable, values in finished.items():
            planes[finish.rows[variable]] = values
