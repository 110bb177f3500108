"""Stored numbers as reflectance: a scale, perhaps an offset, and a number that means no data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsi_dask.io.blocks import StoredCube
from hsi_dask.io.chunked import ChunkedArray
from hsi_dask.sources import Piece, Spread, is_partial

Say = Callable[[str], None]  # takes one sentence on what the file lacks and what was done about it

# What integers that lost these fields mean by their absence: the values of every NEON file, and of most others
SCALE, NO_DATA = 10000.0, -9999.0


@dataclass(frozen=True)
class Reflectance:
    """A stored cube as float32 reflectance: (number - offset) / scale_factor, NaN where it equals the fill value."""

    stored: StoredCube
    scale_factor: float
    fill_value: float | None
    offset: float = 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored.shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32)

    @property
    def stored_chunks(self) -> tuple[int, ...]:
        return self.stored.stored_chunks

    @property
    def is_partial(self) -> bool:
        """Whether `pieces` leaves out pixels."""
        return is_partial(self.stored)

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        return self._decoded(np.asarray(self.stored[key]))

    def pieces(self, key: Any, spread: Spread = map) -> Iterator[Piece]:
        """As of `PieceSource`; of a cube that has no pieces, all of it as one."""
        if not hasattr(self.stored, "pieces"):
            sizes = [range(n)[k] if isinstance(k, slice) else k for k, n in zip(key, self.shape, strict=True)]
            yield Piece(self[key], tuple(slice(0, len(size)) for size in sizes))
            return
        in_place = isinstance(self.stored, ChunkedArray) and self.stored.dtype == np.float32  # whose pieces are buffers
        for values, place in self.stored.pieces(key, spread):
            yield Piece(self._decoded(values, copy=not in_place), place)

    def _decoded(self, raw: NDArray[Any], *, copy: bool = True) -> NDArray[np.float32]:
        missing = raw == self.fill_value if self.fill_value is not None else None
        with np.errstate(over="ignore", invalid="ignore"):  # damaged floats may be beyond float32: infinite, no warning
            values = raw.astype(np.float32, order="K", copy=copy)
        if self.offset:
            values -= np.float32(self.offset)
        if self.scale_factor != 1:
            values /= np.float32(self.scale_factor)
        if missing is not None:
            values[missing] = np.nan
        return values


def scale_of(dtype: np.dtype[Any], stated: float | None, name: str, say: Say) -> float:
    """What a reflectance of 1 is stored as: as the file states, else by its kind of numbers."""
    if stated is None and dtype.kind in "iu":
        say(f"{name} is missing: {SCALE:g} assumed")
    return stated if stated is not None else SCALE if dtype.kind in "iu" else 1.0


def no_data_of(dtype: np.dtype[Any], stated: float | None, name: str, say: Say) -> float | None:
    """The number that means no data, as it is stored; None where there is none, as where NaN says it."""
    if stated is None:
        say(f"{name} is missing: {NO_DATA:g} assumed")
        stated = NO_DATA
    if np.isnan(stated):
        return None
    if holds(dtype, stated):
        return float(dtype.type(stated))  # -3.4e38 in a text has other digits than in the numbers
    say(f"{name} {stated:g} cannot occur in {dtype}: nothing is taken as no data")
    return None


def holds(dtype: np.dtype[Any], value: float) -> bool:
    """Can an element of this dtype be equal to the value?"""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return not np.isfinite(value) or bool(np.isfinite(dtype.type(value)))
    limits = np.iinfo(dtype)
    return value.is_integer() and limits.min <= value <= limits.max
