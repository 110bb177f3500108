"""Stored cubes seen in another way: dimensions in another order, or some of the bands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsi_dask.io.chunked import ChunkedArray, Want
from hsi_dask.sources import Piece, Spread


@dataclass(frozen=True)
class Transposed(ChunkedArray):
    """A stored array with its dimensions in another order, as `numpy.transpose(stored, axes)`."""

    stored: ChunkedArray
    axes: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return tuple(self.stored.shape[axis] for axis in self.axes)

    @property
    def stored_chunks(self) -> tuple[int, ...]:  # type: ignore[override]
        return tuple(self.stored.stored_chunks[axis] for axis in self.axes)

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        return self.stored.dtype

    def fill(self, wanted: tuple[Want, ...], out: NDArray[Any], spread: Spread) -> None:
        back = np.argsort(self.axes).tolist()
        self.stored.fill(tuple(wanted[axis] for axis in back), out.transpose(back), spread)


@dataclass(frozen=True)
class SomeBands(ChunkedArray):
    """A stored cube (y, x, band) without some of its bands; `numbers` of those that are left, ascending."""

    stored: ChunkedArray
    numbers: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (*self.stored.shape[:2], len(self.numbers))

    @property
    def stored_chunks(self) -> tuple[int, ...]:  # type: ignore[override]
        return (*self.stored.stored_chunks[:2], min(self.stored.stored_chunks[2], len(self.numbers)))

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        return self.stored.dtype

    def __getitem__(self, key: Any) -> NDArray[Any]:
        key = key if isinstance(key, tuple) else (key,)
        key = (*key, *(slice(None),) * (3 - len(key)))
        return self.stored[(*key[:2], np.array(self.numbers)[key[2]])]

    def piece_groups(
        self, key: tuple[slice, slice, NDArray[np.intp]], count: int, spread: Spread = map
    ) -> Iterator[list[Piece]]:
        yield from self.stored.piece_groups((*key[:2], np.array(self.numbers)[key[2]]), count, spread)

    def read_to(self, key: tuple[slice, slice, NDArray[np.intp]], out: NDArray[Any], spread: Spread = map) -> None:
        self.stored.read_to((*key[:2], np.array(self.numbers)[key[2]]), out, spread)

    def fill(self, wanted: tuple[Want, ...], out: NDArray[Any], spread: Spread) -> None:
        out[...] = self[tuple(want.along for want in wanted)]
