"""What changed between two runs in tables: for CSV files, a page and a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from hsi_dask.comparison.changes import DECREASE, INCREASE, QUANTITIES, class_prefix, class_values
from hsi_dask.comparison.stored import Changes
from hsi_dask.schema import MATERIAL, Variable
from hsi_dask.show.labels import Labels, labels_of

Row = Sequence[Any]


class Areas(NamedTuple):
    """Hectares of a class or of what a fraction is of, in both runs.

    gained, lost : of classes the pixels that came and went, of fractions what pixels gained and lost
    net_std : standard deviation of the net, NaN where it is not known
    decreased, increased : shares of pixels whose change is larger than its error, NaN where it is not known
    """

    name: str
    colour: str
    number: int
    before: float
    after: float
    gained: float
    lost: float
    net: float
    net_std: float = float("nan")
    decreased: float = float("nan")
    increased: float = float("nan")


class Transitions(NamedTuple):
    """Pixels and hectares from (rows) and to (columns) each class that occurs, with names and colours.

    changed : share of the pixels that have another class than before
    """

    numbers: tuple[int, ...]
    names: tuple[str, ...]
    colours: tuple[str, ...]
    pixels: np.ndarray
    hectares: np.ndarray

    @property
    def changed(self) -> float:
        return 1 - float(np.trace(self.pixels)) / max(float(self.pixels.sum()), 1)


def labels_in(changes: Changes, variable: Variable) -> Labels:
    """Of the planes, or of the class values, of a map that both runs have."""
    is_of_materials = MATERIAL in variable.dims or (
        variable.role == "class" and bool(class_prefix(changes.pair, variable))
    )
    return labels_of(changes.pair.endmembers, MATERIAL) if is_of_materials else labels_of(changes.pair.endmembers)


def transitions_of(changes: Changes, classes: Variable) -> Transitions:
    """The classes that occur in one of the runs, those with numbers first."""
    table: xr.DataArray = changes.tables[f"{classes.name}_transitions"]
    values, known = class_values(changes.pair, classes), labels_in(changes, classes).classes
    pixels = np.asarray(table)
    occurs = [n for n in (*range(1, len(values)), 0) if pixels[n].sum() + pixels[:, n].sum()]
    own = np.ix_(occurs, occurs)
    return Transitions(
        tuple(values[n] for n in occurs), tuple(known[values[n]][0] for n in occurs),
        tuple(known[values[n]][1] for n in occurs), pixels[own], pixels[own] * changes.pair.hectares,
    )  # fmt: skip


def areas_of(changes: Changes, variable: Variable) -> list[Areas]:
    """Of every class that occurs, or of every plane of a map of fractions."""
    table = np.asarray(changes.tables[f"{variable.name}_hectares"])
    if variable.role == "class":
        return [
            Areas(name, colour, value, *map(float, table[:, n]))
            for n, (value, (name, colour)) in enumerate(labels_in(changes, variable).classes.items())
            if table[:2, n].any()
        ]
    labels = labels_in(changes, variable)
    planes = zip(labels.numbers, labels.names, labels.colours, strict=True)
    if table.ndim == 1:
        planes, table = zip((0,), (variable.long_name,), ("#5c666d",), strict=True), table[:, None]
    return [
        Areas(name, colour, number, *map(float, table[:, n]), **_errors(changes, variable, n))
        for n, (number, name, colour) in enumerate(planes)
    ]


def _errors(changes: Changes, variable: Variable, plane: int) -> dict[str, float]:
    """What is known of the error of a fraction's change."""
    if variable.name not in changes.pair.stds:
        return {}
    found = changes.statistics[f"{variable.name}_significant"][plane]
    decreased, increased = (found.values.get(str(flag), 0) / max(found.count, 1) for flag in (DECREASE, INCREASE))
    std = np.atleast_1d(np.asarray(changes.tables[f"{variable.name}_net_std"]))[plane]
    return {"net_std": float(std), "decreased": decreased, "increased": increased}


def of_role(changes: Changes, role: str) -> list[Variable]:
    """The maps of a role that both runs have."""
    return [variable for variable in changes.pair.variables if variable.role == role]


def tables(changes: Changes) -> dict[str, Iterator[Row]]:
    """Rows by name of file."""
    found = {"areas.csv": _areas(changes)}
    if classes := of_role(changes, "class"):
        found["transitions.csv"] = _transitions(changes, classes)
    return found | {f"{one.name}_transitions.csv": _matrix(changes, one) for one in classes}


def _areas(changes: Changes) -> Iterator[Row]:
    yield "map", "number", "name", *(f"{name}_ha" for name in QUANTITIES), "net_std_ha", "decreased", "increased"
    for variable in (*of_role(changes, "class"), *of_role(changes, "fraction")):
        for one in areas_of(changes, variable):
            numbers = (one.before, one.after, one.gained, one.lost, one.net, one.net_std, one.decreased, one.increased)
            yield variable.name, one.number, one.name, *("" if n != n else f"{n:.6g}" for n in numbers)


def _transitions(changes: Changes, classes: Sequence[Variable]) -> Iterator[Row]:
    """Every pair of classes."""
    yield "map", "from", "from_name", "to", "to_name", "pixels", "hectares"
    for variable in classes:
        found = transitions_of(changes, variable)
        for row, (a, a_name) in enumerate(zip(found.numbers, found.names, strict=True)):
            for column, (b, b_name) in enumerate(zip(found.numbers, found.names, strict=True)):
                hectares = f"{found.hectares[row, column]:.6g}"
                yield variable.name, a, a_name, b, b_name, int(found.pixels[row, column]), hectares


def _matrix(changes: Changes, classes: Variable) -> Iterator[Row]:
    """Hectares from (rows) and to (columns) each class, with sums."""
    found = transitions_of(changes, classes)
    yield "hectares from \\ to", *found.names, "before"
    for name, row in zip(found.names, found.hectares, strict=True):
        yield name, *(f"{value:.6g}" for value in row), f"{row.sum():.6g}"
    yield "after", *(f"{value:.6g}" for value in found.hectares.sum(axis=0)), f"{found.hectares.sum():.6g}"
