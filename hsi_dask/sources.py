"""What lazy cubes are read from: a registry by the name of the dask array, so that pieces can be read as stored.

Who makes a dask array of a stored cube registers it under the array's name; who selects wavelengths of it registers the
new name. An array that neither has seen, such as a slice, is computed block by block: right, and slower. The registry
is asked while graphs are built, never in a task, and holds no array alive.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

Index = slice | NDArray[np.intp]
Spread = Callable[..., Iterable[Any]]  # `map`, or what does the same in threads


class Piece(NamedTuple):
    """Stored numbers (y, x, wavelength) of some pixels and wavelengths, and their place in what was asked for."""

    values: NDArray[Any]
    place: tuple[slice, ...]


class PieceSource(Protocol):
    """A stored array (y, x, wavelength) that can give what an index asks for piece by piece.

    The pieces of the same pixels follow each other, every stored chunk is read once, and a piece is good until
    the next one is asked for. `spread` maps over the reads of a piece. Pixels may be left out, which have no data;
    then the attribute `is_partial` is True. Two are options: `read_to(key, out, spread)` puts all of it to `out`, and
    what means no data where pixels are left out; `piece_groups(key, count, spread)` gives lists of up to `count` of the
    same pieces, if they are of whole planes, that are good until the next list.
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
    rows: Sequence[slice]
    columns: Sequence[slice]
    wavelengths: Sequence[NDArray[np.intp]]

    def block(self, i: int, j: int, k: int) -> tuple[slice, slice, NDArray[np.intp]]:
        """Where in the array a block is."""
        return self.rows[i], self.columns[j], self.wavelengths[k]


class Selection(NamedTuple):
    """Wavelengths chosen from the blocks of another dask array.

    parent, chunks : name and chunks of that array
    axis : its dimension of wavelengths
    blocks : of each block of the selection along that dimension, the number of the parent's block and the numbers of
        the wavelengths in it
    """

    parent: str
    chunks: tuple[tuple[int, ...], ...]
    axis: int
    blocks: tuple[tuple[int, NDArray[np.intp]], ...]

    def numbers(self) -> NDArray[np.intp]:
        """The chosen wavelengths, counted along the whole parent."""
        starts = np.cumsum((0, *self.chunks[self.axis]))
        return np.concatenate([starts[number] + inside for number, inside in self.blocks])

    def array(self, selected: Any) -> Any:
        """The parent as a dask array, from the graph of the array that was selected from it."""
        import dask.array as da

        below = selected.dask.cull_layers({self.parent})  # else dask sees another user of each block and fuses no slice
        return da.Array(below, self.parent, self.chunks, dtype=selected.dtype)


class _Places(NamedTuple):
    """Where the blocks of a dask array are, and the live arrays that they are read from: all are equal."""

    arrays: list[weakref.ref[PieceSource]]
    rows: Sequence[slice]
    columns: Sequence[slice]
    wavelengths: Sequence[NDArray[np.intp]]


_MOST_SELECTIONS = 4096  # of which the youngest are known: each is a few kB
_PLACES: dict[str, _Places] = {}
_SELECTIONS: dict[str, Selection] = {}


def is_partial(array: Any) -> bool:
    """Whether the pieces of an array leave out pixels."""
    return bool(getattr(array, "is_partial", False))


def unchecked(array: Any) -> Any:
    """The array for reading it once more, without its checksums where that is cheaper: it has a field that says so."""
    return replace(array, unchecked=True) if hasattr(array, "unchecked") else array


def register(name: str, source: Source) -> None:
    """The dask array of this name is read from this source, as long as anything holds the source's array."""

    def forget(gone: weakref.ref[PieceSource]) -> None:
        places = _PLACES.get(name)
        if places is not None and gone in places.arrays:
            places.arrays.remove(gone)
            if not places.arrays:
                _PLACES.pop(name, None)

    places = _PLACES.setdefault(name, _Places([], source.rows, source.columns, source.wavelengths))
    if all(known() is not source.array for known in places.arrays):
        places.arrays.append(weakref.ref(source.array, forget))


def register_selection(name: str, selection: Selection) -> None:
    """The dask array of this name holds some wavelengths of another, whose source it shares."""
    while len(_SELECTIONS) >= _MOST_SELECTIONS:
        _SELECTIONS.pop(next(iter(_SELECTIONS)), None)
    _SELECTIONS[name] = selection
    for source in _live(selection.parent) if selection.axis == 2 else ():  # all: which of them stays alive is not known
        wavelengths = [source.wavelengths[number][inside] for number, inside in selection.blocks]
        register(name, source._replace(wavelengths=wavelengths))


def find_source(data: Any) -> Source | None:
    """The source of a dask cube that is read from one, directly or through `select_bands`; None for any other."""
    source = _known(data.name)
    if source is None and logger.isEnabledFor(logging.DEBUG) and any(map(_known, data.dask.layers)):
        logger.debug("%s comes from a stored cube in a way that is not followed: read block by block", data.name)
    return source


def find_selection(data: Any) -> Selection | None:
    """The selection of wavelengths that a dask array is, if it is one."""
    return _SELECTIONS.get(data.name)


def _known(name: str) -> Source | None:
    return next(iter(_live(name)), None)


def _live(name: str) -> list[Source]:
    """The source of this name by each of the live arrays that it may be read from."""
    if (places := _PLACES.get(name)) is None:
        return []
    arrays = [array for known in places.arrays if (array := known()) is not None]
    return [Source(array, places.rows, places.columns, places.wavelengths) for array in arrays]
