"""Do a cube's numbers go with what its file says of them? Scale and no data are judged by a few rows of one band.

Floats are looked at when a file is opened, integers when their numbers are first read; each file once in a process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from threading import Lock
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hsi_dask.errors import FileFormatError
from hsi_dask.io.blocks import StoredCube
from hsi_dask.io.chunked import AsAnother, ChunkedArray, Want, read_into
from hsi_dask.io.tile_source import TileSource
from hsi_dask.sources import Piece, Spread

LEAST, MOST = -1.0, 100.0  # beyond these no reflectance is; sun glint and noise stay within
_FRACTIONS, _DIGITAL = 2.0, 10.0  # medians of reflectance as fractions are below, of digital numbers above
_GREEN = 560.0  # nm, where water is not dark
_PLACES = 9  # that are looked at, from the first row to the last, until there are
_ENOUGH = 100  # pixels with data
_ROWS = 64  # at a place, or those of a stored chunk
_REPEATED = 10  # pixels of one such value are no accident
_FILES = 256  # whose judgement is known
_looking = Lock()  # threads that begin with one file read it once


class Scaled(Protocol):
    """What is needed to judge a scale: a `TileSource` has it."""

    @property
    def reflectance(self) -> StoredCube: ...
    @property
    def wavelength(self) -> NDArray[np.float64]: ...
    @property
    def scale_factor(self) -> float: ...
    @property
    def fill_value(self) -> float | None: ...


def plausible(source: TileSource, where: str, scale: str, no_data: str) -> TileSource:
    """The source, with numbers that may be what it says.

    Parameters
    ----------
    where : begins the sentence of an error: the file, and what in it
    scale, no_data : what in the file states them

    Raises
    ------
    FileFormatError
        Floats of another scale, or that hold a number which no reflectance is in many pixels. Integers raise the latter
        when they are first read.
    """
    if (doubt := doubt_of_scale(source, f"its {scale.strip(chr(39))}")) is not None:
        raise FileFormatError(f"{where} {doubt}; write the right {scale}")
    facts, way_out = facts_of(source), f"write the right {no_data}"
    if source.reflectance.dtype.kind != "f" and isinstance(source.reflectance, ChunkedArray):
        odd = _may_be_odd(source.reflectance.dtype, source.scale_factor)
        return replace(source, reflectance=JudgedWhenRead(*facts, where, way_out)) if odd else source
    _require_told(facts, where, way_out)
    return source


def doubt_of_scale(cube: Scaled, by: str) -> str | None:
    """What speaks against the scale of a cube of floats, as the end of a sentence; None where nothing does.

    Integers cannot be fractions; floats may be either, whatever the file says. Few rows of one band are read.

    by : what in the file states the scale
    """
    if cube.reflectance.dtype.kind != "f" or 0 in cube.reflectance.shape:
        return None
    facts = facts_of(cube)
    middle, at = _median(facts), f"{cube.wavelength[facts.band]:.0f} nm"
    if cube.scale_factor >= _DIGITAL and 0 < middle < _FRACTIONS:
        return f"holds fractions (median {middle:.3g} at {at}), but {by} is {cube.scale_factor:g}"
    if cube.scale_factor == 1 and middle > _DIGITAL:
        return f"holds digital numbers (median {middle:.4g} at {at}), but {by} is 1"
    return None


class Facts(NamedTuple):
    """What a judgement depends on: a stored cube, one of its bands, and what the file says of its numbers."""

    stored: Any  # a StoredCube that is equal to others of the same file as it is now
    band: int
    scale_factor: float
    fill_value: float | None


def facts_of(cube: Scaled) -> Facts:
    band = int(np.abs(cube.wavelength - _GREEN).argmin())
    return Facts(cube.reflectance, band, cube.scale_factor, cube.fill_value)


@lru_cache(maxsize=_FILES)
def _median(facts: Facts) -> float:
    """Of numbers that are data, as stored; 0 where none is found."""
    found = np.empty(0, np.float32)
    for place in np.linspace(0, 1, _PLACES).tolist():
        values = _rows(facts.stored, facts.band, place)
        found = np.append(found, values[np.isfinite(values) & (values != 0) & (values != facts.fill_value)])
        if found.size >= _ENOUGH:
            break
    return float(np.median(found)) if found.size else 0.0


@lru_cache(maxsize=_FILES)
def doubt_of_no_data(facts: Facts) -> str | None:
    """What speaks against the number of no data of a cube, as the end of a sentence; None where nothing does.

    A number that no reflectance can be, many times, means no data, though the file says another one: -9999 where
    xarray wrote NaN. The first, middle and last rows of one band are read.
    """
    if 0 in facts.stored.shape:
        return None
    scale, fill = facts.scale_factor, facts.fill_value
    values = np.concatenate([_rows(facts.stored, facts.band, place) for place in (0.0, 0.5, 1.0)])
    held = values[np.isfinite(values) & (values != (np.nan if fill is None else fill))]
    numbers, counts = np.unique(held[(held / scale <= LEAST) | (held / scale >= MOST)], return_counts=True)
    if not counts.size or counts.max() < _REPEATED:
        return None
    return (
        f"holds {numbers[counts.argmax()]:g} in {counts.max()} of {values.size} pixels that were looked at, which no "
        f"reflectance is, and says that {'nothing' if fill is None else f'{fill:g}'} is no data"
    )


@lru_cache(maxsize=_PLACES)  # what one judgement has read the other uses
def _rows(stored: Any, band: int, place: float) -> NDArray[Any]:
    """Of rows from the first (0) to the last (1) the numbers of a band."""
    step = min(stored.stored_chunks[0], _ROWS)
    start = round(place * max(0, stored.shape[0] - step))
    return np.asarray(stored[start : start + step, :, band]).ravel()


def _may_be_odd(dtype: np.dtype[Any], scale: float) -> bool:
    """Can integers of this type be numbers that no reflectance is?"""
    limits = np.iinfo(dtype)
    return limits.min <= LEAST * scale or limits.max >= MOST * scale


def _require_told(facts: Facts, where: str, way_out: str) -> None:
    with _looking:
        doubt = doubt_of_no_data(facts)
    if doubt is not None:
        raise FileFormatError(f"{where} {doubt}; {way_out}")


@dataclass(frozen=True)
class JudgedWhenRead(AsAnother):
    """A stored cube of integers; FileFormatError when it is read and its number of no data cannot be right."""

    stored: ChunkedArray
    band: int
    scale_factor: float
    fill_value: float | None
    where: str
    way_out: str

    def __getitem__(self, key: Any) -> NDArray[Any]:
        return self._judged()[key]

    def pieces(self, key: tuple[slice, slice, NDArray[np.intp]], spread: Spread = map) -> Iterator[Piece]:
        yield from self._judged().pieces(key, spread)

    def read_to(self, key: tuple[slice, slice, NDArray[np.intp]], out: NDArray[Any], spread: Spread = map) -> None:
        self._judged().read_to(key, out, spread)

    def fill(self, wanted: tuple[Want, ...], out: NDArray[Any], spread: Spread) -> None:
        read_into(self._judged(), tuple(want.along for want in wanted), out, spread)

    def _judged(self) -> ChunkedArray:
        facts = Facts(self.stored, self.band, self.scale_factor, self.fill_value)
        _require_told(facts, self.where, self.way_out)
        return self.stored
