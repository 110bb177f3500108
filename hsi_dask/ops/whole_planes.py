"""Cubes stored in whole planes, projected on many spectra: stored numbers are held in memory, not their sums.

Sums of such a cube are complete when its last plane is read, so those of all pixels are held: 8 bytes a spectrum and
pixel. Stored numbers take 2 bytes a wavelength and pixel, whatever the library, and can be held of some rows at a time.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.kernels.projection import TILE, Sums, Weights
from hsi_dask.sources import PieceSource, Spread

# With the process, what is read beside them and the maps, a worker stays below 1 GB:
SUM_BYTES, HELD_BYTES = 448 * 2**20, 600 * 2**20  # of sums, 57 spectra of a tile of 1 km; of stored numbers
STEP_PIXELS = 4 * TILE  # projected and finished at a time by a thread: of 300 spectra 10 MB
# Sums of so many bytes go through memory half as often where pieces are read by twos. That takes 122 MB more for a tile
# of 1 km: for fewer sums it is not worth them, with more a worker would not stay below 1 GB
_BY_TWOS = range(240 * 2**20, 340 * 2**20)
READ_PLANES = 4  # by one thread at a time, of what is decoded as it is read
_A_SUM = 8  # bytes of a pixel and plane

Place = tuple[slice, slice, NDArray[np.intp]]


class Bands(NamedTuple):
    """In which bands of rows a cube is read.

    rows : of each band.
    kept : so many of the first planes are held of all rows from the beginning; the others are read once for each band.
    """

    rows: list[slice]
    kept: int


def are_too_many(w: Weights, pixels: int) -> bool:
    """Whether the sums of so many pixels take more memory than may be held."""
    return sum_bytes(w, pixels) > SUM_BYTES


def sum_bytes(w: Weights, pixels: int) -> int:
    """What the sums of so many pixels take."""
    return pixels * _A_SUM * sum(len(values) for values in Sums.empty(w, 1) if values.size)


def pieces_at_once(sums: int) -> int:
    """How many pieces of whole planes are read at a time, beside sums of so many bytes.

    Examples
    --------
    >>> [pieces_at_once(number * 8 * 10**6) for number in (14, 35, 50)]
    [1, 2, 1]
    """
    return 2 if sums in _BY_TWOS else 1


def bands(planes: int, height: int, row_bytes: int) -> Bands:
    """The fewest bands of which one fits into what may be held, and how many planes of the others fit beside it.

    Examples
    --------
    >>> bands(362, 1000, 2000)
    Bands(rows=[slice(0, 500, None), slice(500, 1000, None)], kept=267)
    """
    count = min(height, -(-planes * height * row_bytes // HELD_BYTES))
    if count <= 1:
        return Bands([slice(0, height)], 0)
    tall = -(-height // count)
    kept = max(0, (count * HELD_BYTES // (height * row_bytes) - planes) // (count - 1))
    return Bands([slice(start, min(start + tall, height)) for start in range(0, height, tall)], kept)


def all_threads() -> int:
    """As many threads as dask was told to use, or has cores."""
    import dask
    from dask.system import CPU_COUNT

    return int(dask.config.get("num_workers", None) or CPU_COUNT)


def hold_in_threads(array: PieceSource, place: Place, *after: Any) -> NDArray[Any]:
    """`hold`, in all threads; in a graph, once what it comes `after` is done, whose room it takes."""
    with ThreadPoolExecutor(all_threads()) as pool:
        return hold(array, place, pool.map)


def hold(array: PieceSource, place: Place, spread: Spread) -> NDArray[Any]:
    """Stored numbers (plane, y, x) of a place; each stored chunk is read once. `spread` maps over the reads."""
    rows, columns, wavelengths = place
    held = np.empty((wavelengths.size, rows.stop - rows.start, columns.stop - columns.start), array.dtype)
    seen = held.transpose(1, 2, 0)
    if not held.size:
        return held
    if hasattr(array, "read_to"):  # inflates whole planes to where they stay
        array.read_to(place, seen, spread)
        return held
    deep = array.stored_chunks[2]
    group = wavelengths // (deep * max(1, READ_PLANES // deep))
    starts = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), wavelengths.size]

    def read(ends: tuple[int, int]) -> None:
        seen[:, :, slice(*ends)] = array[rows, columns, wavelengths[slice(*ends)]]

    for _ in spread(read, list(pairwise(starts))):
        pass
    return held
