"""Dask blocks of stored cubes: whole stored chunks, within a budget in bytes."""

from __future__ import annotations

from itertools import pairwise
from math import ceil, prod
from typing import Any, Protocol

import numpy as np

from hsi_dask.sources import Source, register

BLOCK_BYTES = 32 * 2**20  # stored bytes of one dask block: a few blocks a thread stay far below 1 GB


class Stored(Protocol):
    """What decides the blocks of an array."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def stored_chunks(self) -> tuple[int, ...]: ...


class StoredCube(Stored, Protocol):
    """A lazy array: what `hsi_dask.io.chunked.ChunkedArray` offers; `pieces` of `PieceSource` is an option."""

    def __getitem__(self, key: Any) -> Any: ...


def block_shape(array: Stored, budget: int | None = None) -> tuple[int, ...]:
    """A dask block within the budget in bytes: whole stored chunks, wavelengths first, then x, then y.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> tile = {"shape": (1000, 1000, 426), "dtype": np.dtype("i2")}
    >>> block_shape(SimpleNamespace(**tile, stored_chunks=(32, 63, 27)))
    (32, 1000, 426)
    >>> block_shape(SimpleNamespace(**tile, stored_chunks=(1000, 1000, 1)))
    (1000, 1000, 16)
    """
    budget = BLOCK_BYTES if budget is None else budget
    block = [min(c, n) if n else c for c, n in zip(array.stored_chunks, array.shape, strict=True)]
    for axis in (2, 1, 0)[-len(array.shape) :]:
        chunk, size = array.stored_chunks[axis], array.shape[axis]
        fits = max(1, budget // max(1, prod(block) * array.dtype.itemsize))
        block[axis] = min(size, chunk * min(fits, ceil(size / chunk))) if size else chunk
    return tuple(block)


def lazy(array: Any, chunks: Any = "auto") -> Any:
    """The array as a dask array on its stored chunks, named after its identity."""
    import dask.array as da
    from dask.base import tokenize

    chunks = block_shape(array) if isinstance(chunks, str) and chunks == "auto" else chunks
    chunks = da.core.normalize_chunks(
        chunks,
        array.shape,
        dtype=array.dtype,
        previous_chunks=da.core.normalize_chunks(array.stored_chunks, array.shape),
    )
    name = f"read-{tokenize(array, chunks)}"
    if hasattr(array, "pieces") and len(array.shape) == 3:
        edges = [np.cumsum((0, *sizes)).tolist() for sizes in chunks]
        rows, columns, _ = ([slice(*ends) for ends in pairwise(e)] for e in edges)
        register(name, Source(array, rows, columns, [np.arange(*ends) for ends in pairwise(edges[2])]))
    # inline: every task carries the facts itself, so that a slice fuses into the read
    return da.from_array(
        array,
        chunks=chunks,
        name=name,
        asarray=False,
        inline_array=True,
        meta=np.empty((0,) * len(array.shape), array.dtype),
    )
