"""Dask arrays laid side by side as one: a graph whose tasks are made when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from dask.array.chunk import getitem
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer
from dask.task_spec import Alias, GraphNode, Task, TaskRef
from numpy.typing import NDArray

from hsi_dask.sources import find_source, register

Start = tuple[int, int, int]
Box = tuple[slice, slice, slice]


def patchwork(
    arrays: Sequence[Any], starts: Sequence[Start], shape: tuple[int, int, int], *, fill: float, last_first: bool
) -> Any:
    """One dask array (y, x, wavelength) of many, the fill value between them.

    Parameters
    ----------
    arrays : dask arrays of one dtype, all of shape[2] wavelengths
    starts : where the first element of each is in the whole
    last_first : where arrays overlap, which come first: the first that has data, wavelength by wavelength, holds
    """
    import dask.array as da
    from dask.base import tokenize

    spans = [
        {(start[axis], array.chunks[axis]) for start, array in zip(starts, arrays, strict=True)} for axis in range(3)
    ]
    edges = tuple(_edges(spans[axis], shape[axis]) for axis in range(3))
    covers: dict[tuple[int, int], list[int]] = {}
    for number, (start, array) in sorted(
        enumerate(zip(starts, arrays, strict=True)), key=lambda item: item[0], reverse=last_first
    ):
        down, across = (_touched(edges[a], start[a], start[a] + array.shape[a]) for a in (0, 1))
        for i in down:
            for j in across:
                covers.setdefault((i, j), []).append(number)
    name = f"mosaic-{tokenize([a.name for a in arrays], starts, shape, fill, last_first)}"
    layer = Patchwork(name, tuple(arrays), tuple(starts), edges, covers, fill)
    chunks = tuple(tuple(high - low for low, high in pairwise(ends)) for ends in edges)
    if len(arrays) == 1 and arrays[0].chunks == chunks and (source := find_source(arrays[0])) is not None:
        register(name, source)  # the one array, block by block
    return da.Array(HighLevelGraph({name: layer}, {name: set()}), name, chunks, meta=arrays[0]._meta)


def overlapping(joined: Any) -> tuple[int, int, int, int] | None:
    """Numbers of two arrays of a patchwork that overlap, and by how many rows and columns; None if none do."""
    layer = joined.dask.layers[joined.name]
    for numbers in layer.covers.values():
        for a, b in combinations(numbers, 2):
            rows, columns = (
                min(p + layer.arrays[a].shape[axis], q + layer.arrays[b].shape[axis]) - max(p, q)
                for axis, (p, q) in enumerate(zip(layer.starts[a][:2], layer.starts[b][:2], strict=True))
            )
            if min(rows, columns) > 0:
                return a, b, rows, columns
    return None


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


class Patchwork(Layer):
    """A graph of patches. Tasks are made when asked for: a diagonal of tiles costs its tiles, not its square.

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
