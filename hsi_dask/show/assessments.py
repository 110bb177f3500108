"""Accuracies that were assessed, kept in the run directory as data, from which the report draws them."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import xarray as xr

from hsi_dask.batch.state.manifest import Moment, now
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.errors import RunError, counted
from hsi_dask.escaping import visible
from hsi_dask.io.documents import Count, Form, Name, Text, between, read_document
from hsi_dask.io.durable import sync_folders, write_file
from hsi_dask.ops.accuracy import MAP_CLASS, REFERENCE_CLASS, assess
from hsi_dask.show.accuracy import accuracy_rows
from hsi_dask.show.facts import area
from hsi_dask.show.places import csv_value
from hsi_dask.show.tables import address

logger = logging.getLogger(__name__)

ACCURACY = "accuracy.json"  # in the run directory
_MOST = 50  # that are kept: the last


@dataclass(frozen=True)
class Assessment:
    """What a class map was compared with, and what came of it.

    Attributes
    ----------
    variable, column, places : the class map, and the column of the table of places that tells what is there
    classes, counts, hectares : names; how often each is mapped (row) where each is known (column); areas as mapped
    tiles : that were done then
    """

    variable: Name
    column: Text
    places: Text
    confidence: Annotated[float, between(1e-6, 1 - 1e-6)]
    classes: Annotated[tuple[Text, ...], Form("1 to 300 names", lambda names: 0 < len(set(names)) == len(names) <= 300)]
    counts: tuple[tuple[Count, ...], ...]
    hectares: tuple[Annotated[float, between(0, 1e12)], ...]
    notes: tuple[Text, ...]
    tiles: Count
    made: Moment

    @property
    def is_whole(self) -> bool:
        """Whether counts and areas are of these classes, and there are any."""
        sizes = {len(self.counts), len(self.hectares), *map(len, self.counts)}
        return sizes == {len(self.classes)} and any(map(any, self.counts)) and any(self.hectares)

    def dataset(self) -> xr.Dataset:
        """As `hsi_dask.accuracy` gives it."""
        labels = np.array(list(map(visible, self.classes)), dtype=object)
        dims = MAP_CLASS, REFERENCE_CLASS
        counts = xr.DataArray(np.array(self.counts, np.int64), {MAP_CLASS: labels, REFERENCE_CLASS: labels}, dims)
        return assess(counts, xr.DataArray(list(self.hectares), dims=MAP_CLASS), confidence=self.confidence)


@dataclass(frozen=True)
class _Document:
    assessments: tuple[Assessment, ...]


def keep_accuracy(run_dir: str | os.PathLike[str], found: xr.Dataset, places: str) -> Path:
    """Keep what `hsi_dask.accuracy` gives; another of the same map and column goes. Returns the file.

    Raises
    ------
    RunError
        The run directory cannot be written.
    """
    run = Run.open(run_dir)
    own = Assessment(
        variable=found.attrs["variable"], column=found.attrs["column"], places=os.path.basename(places),
        confidence=float(found.attrs["confidence"]), classes=tuple(map(str, found[MAP_CLASS].to_numpy())),
        counts=tuple(map(tuple, found.counts.to_numpy().tolist())),
        hectares=tuple(found.map_hectares.to_numpy().tolist()), notes=tuple(found.attrs["notes"]),
        tiles=len(run.done()), made=now(),
    )  # fmt: skip
    others = [one for one in kept_accuracies(run) if (one.variable, one.column) != (own.variable, own.column)]
    path, document = run.path / ACCURACY, _Document((*others[1 - _MOST :], own))
    try:
        write_file(path, json.dumps(asdict(document), indent=1).encode())
        sync_folders([run.path])
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror}); make room or restore access") from error
    return path


def kept_accuracies(run: Run) -> list[Assessment]:
    """Those that the run directory keeps; nothing where its file is damaged."""
    path = run.path / ACCURACY
    if not path.is_file():
        return []
    try:
        return [one for one in read_document(path, _Document).assessments if one.is_whole]
    except RunError as error:
        logger.warning("%s", error)
        return []


# ------------------------------------------------------------------------------------------------ the page


def section(run: Run, done: int) -> Iterator[dict[str, Any]]:
    """What the page tells of each: confusion matrix, accuracies and areas."""
    for one in kept_accuracies(run):
        found = one.dataset()
        head, *each, whole = accuracy_rows(found)
        after = head.index("samples") + 1
        notes = list(one.notes)
        if one.tiles != done:
            notes.append(f"then {counted(one.tiles, 'tile')} done, now {done}")
        yield {
            "variable": one.variable, "made": one.made[:10], "notes": list(map(visible, notes)),
            "column": visible(one.column), "places": visible(one.places),
            "known": [name.removeprefix("is_") for name in head[1 : after - 1]], "level": f"{one.confidence:.0%}",
            "matrix": [(row[0], *row[1:after]) for row in (*each, whole)],
            "rows": [_row(row[0], *row[after : after + 7]) for row in each],
            "overall": _percent(float(found.overall_accuracy), float(found.overall_accuracy_margin)),
            "samples": int(found.counts.sum()),
            "csv": address([[csv_value(value) for value in row] for row in (head, *each, whole)]),
        }  # fmt: skip


def _row(name: str, mapped: float, users: float, users_margin: float, producers: float, producers_margin: float,
         hectares: float, margin: float) -> tuple[str, ...]:  # fmt: skip
    covered = "-" if hectares != hectares else area(hectares) + (f" ± {area(margin)}" if margin == margin else "")
    return name, _percent(users, users_margin), _percent(producers, producers_margin), covered, area(mapped)


def _percent(value: float, margin: float) -> str:
    if value != value:
        return "-"
    return f"{value:.1%} ± {100 * margin:.1f}" if margin == margin else f"{value:.1%}"
