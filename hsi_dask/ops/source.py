"""Where a dask cube is read from, so that an operation can take stored pieces as they come and skip the block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Spread = Callable[..., Iterable[Any]]  # `map`, or what does the same in threads


class Piece(Protocol):
    """Stored numbers of some pixels and wavelengths, and their place in what was asked for."""

    @property
    def values(self) -> NDArray[Any]: ...  # (y, x, wavelength), in whatever memory order they are stored
    @property
    def place(self) -> tuple[slice, slice, slice]: ...


class PieceSource(Protocol):
    """A lazy array (y, x, wavelength) that can give what an index asks for piece by piece.

    The pieces of the same pixels follow each other, every stored chunk is read once, and a piece is good until
    the next one is asked for. `spread` maps over the reads of a piece.
    """

    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def stored_chunks(self) -> tuple[int, ...]: ...
    def __getitem__(self, key: Any) -> NDArray[Any]: ...
    def pieces(self, key: tuple[slice, slice, NDArray[np.intp]], spread: Spread) -> Iterator[Piece]: ...


class Source(NamedTuple):
    """What the blocks of a dask cube are read from: `array[rows[i], columns[j], wavelengths[k]]`."""

    array: PieceSource
    rows: list[slice]
    columns: list[slice]
    wavelengths: list[NDArray[np.intp]]

    def block(self, i: int, j: int, k: int) -> tuple[slice, slice, NDArray[np.intp]]:
        """Where in the array a block is."""
        return self.rows[i], self.columns[j], self.wavelengths[k]


def find_source(data: Any) -> Source | None:
    """The source of a dask cube that is read from one, directly or through `select_bands`; None for any other."""
    from dask.array.chunk import getitem
    from dask.highlevelgraph import MaterializedLayer

    layer, chosen = data.dask.layers[data.name], None
    if isinstance(layer, MaterializedLayer) and all(getattr(t, "func", None) is getitem for t in layer.values()):
        chosen = layer
        (below,) = data.dask.dependencies[data.name]
        layer = data.dask.layers[below]
    down, across, deep = data.numblocks
    try:
        reads = {at: _read(layer, chosen, (data.name, *at)) for at in np.ndindex(down, across, deep)}
    except (AttributeError, KeyError, TypeError, ValueError):  # another kind of graph
        return None
    array = reads[0, 0, 0][0]
    if not hasattr(array, "pieces") or any(a is not array and a != array for a, *_ in reads.values()):
        return None
    wavelengths = [reads[0, 0, k][3] for k in range(deep)]
    rows = [reads[i, 0, 0][1] for i in range(down)]
    columns = [reads[0, j, 0][2] for j in range(across)]
    return Source(array, rows, columns, wavelengths)


def _read(layer: Any, chosen: Any, block: Any) -> tuple[Any, slice, slice, NDArray[np.intp]]:
    """Array, rows, columns and wavelengths that one block is read from."""
    key = None
    if chosen is not None:
        source, key = chosen[block].args
        block = source.key
    array, index = (getattr(a, "value", a) for a in layer[block].args)
    rows, columns, deep = index
    bands = np.arange(deep.start, deep.stop)
    if key is not None:
        if key[:2] != (slice(None), slice(None)):
            raise ValueError("the block is cut in y or x")
        bands = bands[key[2]]
    return array, rows, columns, bands
