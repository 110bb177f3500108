"""Spectra of some pixels, kept as a pass over their cube reads it: nothing is inflated once more for a sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsi_dask.ops.whole_planes import Place
from hsi_dask.sources import Piece, PieceSource, Source, Spread, is_partial

_PLANES = 8  # of which one thread takes the numbers at a time


class KeptPixels:
    """Stored spectra at positions (2, k) of a cube that is read `through` this, by threads of this process."""

    def __init__(self, places: NDArray[np.intp]) -> None:
        self._places = places
        self._reader: _Reader | None = None

    def through(self, source: Source) -> Source:
        """The source of all blocks of the cube, of which what is read is also kept here."""
        rows, columns = (
            _in_array(at, blocks) for at, blocks in zip(self._places, (source.rows, source.columns), strict=True)
        )
        self._reader = _Reader(source.array, rows, columns, np.concatenate(source.wavelengths))
        return source._replace(array=self._reader)

    def spectra(self) -> NDArray[Any] | None:
        """(k, wavelength), or None where not all of it was read."""
        return None if self._reader is None or not self._reader.seen.all() else self._reader.spectra


class _Reader:
    """An array that reads as another, and keeps the numbers at some of its pixels.

    spectra : (k, wavelength) as stored.
    seen : (wavelength, k) which of them were read.
    """

    def __init__(
        self, array: PieceSource, rows: NDArray[np.intp], columns: NDArray[np.intp], wavelengths: NDArray[np.intp]
    ) -> None:
        self._array, self._wavelengths = array, wavelengths
        self._order = np.argsort(rows, kind="stable")
        self._rows, self._columns = rows[self._order], columns[self._order]
        self._planes = np.empty((wavelengths.size, rows.size), array.dtype)
        self.seen = np.zeros(self._planes.shape, dtype=bool)
        self.dtype, self.stored_chunks, self.is_partial = array.dtype, array.stored_chunks, is_partial(array)

    @property
    def spectra(self) -> NDArray[Any]:
        spectra = np.empty(self._planes.shape[::-1], self.dtype)
        spectra[self._order] = self._planes.T
        return spectra

    def __getitem__(self, key: Place) -> NDArray[Any]:
        values = self._array[key]
        self._keep(key, Piece(values, tuple(slice(0, size) for size in values.shape)), map)
        return values

    def pieces(self, key: Place, spread: Spread) -> Iterator[Piece]:
        for piece in self._array.pieces(key, spread):
            self._keep(key, piece, spread)
            yield piece

    def _keep(self, key: Place, piece: Piece, spread: Spread) -> None:
        """Of a piece of what a key asks for, the pixels that are wanted."""
        rows, columns, planes = piece.place
        top, left = key[0].start + rows.start, key[1].start + columns.start
        height, width, deep = piece.values.shape
        some = slice(*np.searchsorted(self._rows, (top, top + height)).tolist())
        across = self._columns[some] - left
        inside = np.flatnonzero((across >= 0) & (across < width))
        if not inside.size:
            return
        at = (self._rows[some][inside] - top) * width + across[inside]
        first = int(np.searchsorted(self._wavelengths, key[2][planes.start]))
        values = piece.values.transpose(2, 0, 1).reshape(deep, -1)
        take = partial(self._take, values, at, first, some.start + inside)
        for _ in spread(take, pairwise([*range(0, deep, _PLANES), deep])):
            pass

    def _take(
        self, values: NDArray[Any], at: NDArray[np.intp], first: int, numbers: NDArray[np.intp], ends: tuple[int, int]
    ) -> None:
        start, stop = ends
        self._planes[first + start : first + stop, numbers] = values[start:stop].take(at, axis=1)
        self.seen[first + start : first + stop, numbers] = True


def _in_array(at: NDArray[np.intp], blocks: Sequence[slice]) -> NDArray[np.intp]:
    """Positions along one dimension of a cube, counted along the array that its blocks are parts of."""
    edges = np.cumsum([0, *(block.stop - block.start for block in blocks)])
    number = np.searchsorted(edges, at, side="right") - 1
    starts = np.array([block.start for block in blocks])
    return np.asarray(at - edges[number] + starts[number])
