"""Sums of maps over the pixels of places, and the columns that they make: means, spread, commonest values, shares."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.schema import ENDMEMBER, WAVELENGTH, Variable, X, Y
from hsi_dask.show.labels import Labels
from hsi_dask.show.summaries import labels_in, specifications

_OFFSET = 2**31  # makes whole numbers positive


@dataclass(frozen=True)
class Layers:
    """The planes of a map: its specification, and what their columns are called.

    labels : of the values of a class map
    """

    spec: Variable
    columns: tuple[str, ...]
    labels: Labels | None = None


def layers_of(maps: xr.Dataset, name: str) -> Layers:
    array, spec = maps[name], specifications(maps)[name]
    others = [dim for dim in array.dims if dim not in (X, Y)]
    labels = labels_in(maps, name) if spec.role == "class" else None
    if not others:
        return Layers(spec, (name,), labels)
    words = [_words(maps, array, str(dim)) for dim in others]
    columns = [f"{name}_{'_'.join(at)}" for at in product(*words)]
    return Layers(spec, tuple(columns), labels)


def _words(maps: xr.Dataset, array: xr.DataArray, dim: str) -> list[str]:
    """What the planes along a dimension are called in names of columns."""
    if dim == WAVELENGTH and dim in array.coords:
        return [f"{float(nm):.1f}" for nm in array[dim].to_numpy()]
    numbers = array[dim].to_numpy().tolist() if dim in array.coords else list(range(1, array.sizes[dim] + 1))
    own = maps["name"].to_numpy().tolist() if dim == ENDMEMBER and "name" in maps.coords else numbers
    words = [_word(str(text), number) for text, number in zip(own, numbers, strict=True)]
    return words if len(set(words)) == len(words) else [str(number) for number in range(1, len(words) + 1)]


def _word(text: str, number: Any) -> str:
    """A name as part of a column's name; that of one without a name is its number."""
    plain = re.sub(r"\W+", "_", text).strip("_")
    return str(number) if not plain or re.fullmatch(r"endmember_\d+", plain) else plain


@dataclass
class Sums:
    """Sums over the pixels of each place, of a map of numbers or of whole numbers that stand for something.

    single : every place has one pixel
    """

    places: int
    single: bool
    layers: Layers
    count: NDArray[np.int64] = field(init=False)
    total: NDArray[np.float64] = field(init=False)
    squares: NDArray[np.float64] = field(init=False)
    pairs: list[list[tuple[NDArray[np.int64], NDArray[np.int64]]]] = field(init=False)

    def __post_init__(self) -> None:
        shape = len(self.layers.columns), self.places
        self.count, self.total, self.squares = np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape)
        self.pairs = [[] for _ in self.layers.columns]

    @property
    def of_codes(self) -> bool:
        return self.layers.spec.dtype[:5] != "float"

    def add(self, place: NDArray[np.intp], planes: NDArray[Any]) -> NDArray[np.bool_]:
        """Add pixels of places; tells which have a value in any plane."""
        known = np.zeros(place.size, bool)
        for n, values in enumerate(planes):
            good = values != self.layers.spec.fill_value if self.of_codes else np.isfinite(values)
            known |= good
            here = place[good]
            self.count[n] += np.bincount(here, minlength=self.places)
            if self.of_codes:
                pairs = (here.astype(np.int64) << 32) + values[good].astype(np.int64) + _OFFSET
                self.pairs[n].append(np.unique(pairs, return_counts=True))
            else:
                weights = values[good].astype(np.float64)
                self.total[n] += np.bincount(here, weights, self.places)
                self.squares[n] += np.bincount(here, weights**2, self.places)
        return known

    def columns(self) -> Iterator[tuple[str, Any]]:
        """Columns of the table, NaN where no pixel has a value."""
        for n, name in enumerate(self.layers.columns):
            if self.of_codes:
                yield from self._of_codes(name, n)
                continue
            with np.errstate(invalid="ignore", divide="ignore"):
                mean = self.total[n] / self.count[n]
                yield name, mean
                if not self.single:
                    spread = np.sqrt(np.maximum(self.squares[n] / self.count[n] - mean**2, 0))
                    yield f"{name}_spread", np.where(self.count[n] > 0, spread, np.nan)

    def _of_codes(self, name: str, n: int) -> Iterator[tuple[str, Any]]:
        """The commonest value, of classes its name and the shares of all."""
        place, value, times = self._counts(n)
        order = np.lexsort((value, -times, place))
        first = order[np.diff(place[order], prepend=-1) > 0]
        majority = np.full(self.places, np.nan)
        majority[place[first]] = value[first]
        yield name, majority
        if self.layers.labels is None:
            return
        known = self.layers.labels.classes.items()
        names = {number: text.removeprefix(f"{number} ") for number, (text, _) in known}
        yield f"{name}_name", [names.get(int(v), str(int(v))) if v == v else "" for v in majority]
        if not self.single:
            for number, text in names.items():
                share = np.where(self.count[n] > 0, 0.0, np.nan)
                own = value == number
                share[place[own]] = times[own] / self.count[n][place[own]]
                yield f"{name}_share_{_word(text, number)}", share

    def _counts(self, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Place, value, and how many pixels of that place have it."""
        if not self.pairs[n]:
            return (np.empty(0, np.int64),) * 3
        codes, times = (np.concatenate(values) for values in zip(*self.pairs[n], strict=True))
        found, at = np.unique(codes, return_inverse=True)
        counts = np.bincount(at, times, found.size).astype(np.int64)
        return found >> 32, (found & 0xFFFFFFFF) - _OFFSET, counts
