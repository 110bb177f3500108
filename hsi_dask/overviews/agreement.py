"""How class maps agree: how many pixels have each pair of classes, over all tiles that are done."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated

import numpy as np

from hsi_dask.io.documents import Count, matching
from hsi_dask.io.levels import stored_array
from hsi_dask.io.map_grid import Grid
from hsi_dask.overviews.jobs import Stages
from hsi_dask.overviews.statistics import Cell, damage_named, place
from hsi_dask.schema import MATERIAL, NO_CLASS, UNCLASSIFIED, Variable

Source = tuple[Path, str]  # Zarr folder and name of an array
_CLASS = r"(25[0-4]|2[0-4]\d|1?\d?\d)"  # all but no data
Pair = Annotated[str, matching(f"{_CLASS},{_CLASS}", "two classes such as 1,3")]
Counts = Mapping[Pair, Count]  # how many pixels have each pair of classes


@dataclass(frozen=True)
class Agreement:
    """How often two class maps say the same.

    Attributes
    ----------
    pixels : with data in both
    classified : of these, with a class in both
    same : share of the classified with the same class
    kappa : Cohen's, of the classified: 1 where all agree, 0 where no more do than by chance
    """

    pixels: int
    classified: int
    same: float
    kappa: float


def agreement_of(counts: Counts) -> Agreement:
    """From joint counts.

    References
    ----------
    Cohen (1960), Educational and Psychological Measurement 20(1).

    Examples
    --------
    >>> agreement_of({"1,1": 40, "1,2": 10, "2,1": 10, "2,2": 40, "0,1": 5})
    Agreement(pixels=105, classified=100, same=0.8, kappa=0.6)
    """
    table = np.zeros((NO_CLASS, NO_CLASS))
    for pair, number in counts.items():
        one, other = map(int, pair.split(","))
        table[one, other] = number
    both = table[UNCLASSIFIED + 1 :, UNCLASSIFIED + 1 :]
    classified = both.sum()
    if not classified:
        return Agreement(int(table.sum()), 0, float("nan"), float("nan"))
    same = float(np.trace(both) / classified)
    chance = float(both.sum(axis=1) @ both.sum(axis=0) / classified**2)
    kappa = (same - chance) / (1 - chance) if chance < 1 else 1.0
    return Agreement(int(table.sum()), int(classified), same, round(kappa, 12))


def comparable(variables: Sequence[Variable]) -> Iterator[tuple[Variable, Variable]]:
    """Pairs of class maps whose classes mean the same: endmembers, or materials of a library."""
    named = {variable.name: variable for variable in variables}
    of_materials = {v.name: MATERIAL in named[v.of].dims for v in variables if v.role == "class" and v.of in named}
    classes = [variable for variable in variables if variable.role == "class"]
    for one, other in combinations(classes, 2):
        if of_materials.get(one.name, False) == of_materials.get(other.name, False):
            yield one, other


def joint_counts(one: Source, other: Source, grid: Grid, cells: Collection[Cell], stages: Stages) -> dict[str, int]:
    """How many pixels have each pair of classes, as "1,3"; pixels without data in one do not count."""
    arrays = [(source[1], source[0], stored_array(*source)) for source in (one, other)]

    def counted(cell: Cell) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        window, values = place(grid, cell), []
        for name, path, array in arrays:
            with damage_named(name, window, path):
                values.append(array[window].ravel())
        pairs = values[0].astype(np.uint16) * np.uint16(256) + values[1]
        return np.bincount(pairs, minlength=1 << 16)

    total = np.zeros(1 << 16, np.int64)
    for counts in stages.map(counted, sorted(cells)):
        total += counts
    table = total.reshape(256, 256)[:NO_CLASS, :NO_CLASS]
    return {f"{a},{b}": int(table[a, b]) for a, b in np.argwhere(table).tolist()}
