"""Accuracy of a run's class map by classes that are known at places."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hsi_dask.errors import ConfigError, counted
from hsi_dask.io.damage import damage_named
from hsi_dask.io.durable import sync_folders, write_file
from hsi_dask.io.places import Places, read_places
from hsi_dask.io.store import open_results
from hsi_dask.ops.accuracy import MAP_CLASS, REFERENCE_CLASS, assess
from hsi_dask.schema import NO_CLASS
from hsi_dask.show.areas import class_counts, pixel_hectares
from hsi_dask.show.known_classes import SHOWN, UNCLASSIFIED_NAME, Classes, as_text, class_groups, resolved
from hsi_dask.show.places import csv_value, values_at, writable
from hsi_dask.show.summaries import class_map_in
from hsi_dask.show.tables import csv_text


def accuracy(
    run_dir: str | os.PathLike[str],
    points: Any,
    column: str,
    *,
    variable: str | None = None,
    classes: Mapping[Any, str | int] | None = None,
    buffer: float | None = None,
    crs: str | int | None = None,
    layer: str | None = None,
    confidence: float = 0.95,
) -> xr.Dataset:
    """Compare a class map with classes that are known at points or in polygons, each place one sample.

    Parameters
    ----------
    run_dir : path
    points : as `results.hsi.at` takes them
    column : str
        Of the places' table, that tells what is there: names of endmembers, or of materials of a library, whose spectra
        then count as one class, or class numbers. Places without a value are left out.
    variable : str, optional
        A class map or its method, `sam_class` or `sam`; the first of scores, or else the first, unless given.
    classes : mapping, optional
        For values of the column that are no names of classes the class that each stands for: {"Quercus alba": "oak"}.
    buffer, crs, layer
        As in `results.hsi.at`; of polygons, and with a buffer, the commonest class counts.
    confidence : float
        Of the intervals, 0 to 1.

    Returns
    -------
    xarray.Dataset
        `counts` (map_class, reference_class), the confusion matrix, and estimates for the whole map that take account
        of the mapped area of each class: `overall_accuracy`, `users_accuracy` (map_class), `producers_accuracy` and
        `hectares` (reference_class), each with its `_margin`, half the confidence interval; `sample_accuracy`, the
        share of samples that are right. attrs: `variable`, `column`, `confidence`, `samples`, and `notes`.

    Notes
    -----
    Margins are those of a random sample within the mapped classes, or within the map as a whole. Places chosen
    otherwise, such as where roads lead, give numbers, but no statement on the map. Errors of position count as errors
    of the map.

    Raises
    ------
    ConfigError
        No such column or class map, values that are no classes, or nothing that can be compared.
    FileFormatError, SchemaError, RunError
        As `results.hsi.at` and `open_results`.

    References
    ----------
    Olofsson et al. (2014), Remote Sensing of Environment 148:42-57.

    Examples
    --------
    >>> import tempfile
    >>> import hsi_dask as hsi
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     site = hsi.synthetic.simulate_site(f"{folder}/tiles", tiles=(1, 1), size=40, no_data=0)
    ...     summary = hsi.run(hsi.RunConfig(tiles=[f"{folder}/tiles"]), f"{folder}/run")
    ...     x, y = 368000 + 4.0 * np.arange(10), 4306020 + np.zeros(10)
    ...     known = hsi.open_results(f"{folder}/run").hsi.at(np.column_stack([x, y])).assign(x=x, y=y)
    ...     found = hsi.accuracy(f"{folder}/run", known, "sam_class_name")
    >>> float(found.overall_accuracy), int(found.counts.sum())
    (1.0, 10)
    """
    maps = open_results(run_dir)
    name = class_map_in(maps, variable)
    places = read_places(points, crs=crs, layer=layer)
    known = _known(places, column)
    values = values_at(maps[[name]], places, buffer=buffer)
    mapped = values[name].to_numpy()
    names = resolved(run_dir, maps, name, known, classes or {})
    used = np.array([text is not None for text in names]) & np.isfinite(mapped)
    if not used.any():
        raise ConfigError(f"none of the {places.count} places has a value in {column!r} and a class in {name}")
    groups = class_groups(run_dir, maps, name, {str(text) for text in names if text is not None})
    counts = _counted(groups, [str(names[n]) for n in np.flatnonzero(used)], mapped[used].astype(int))
    with damage_named(run_dir):
        hectares = _areas(maps[name], groups, pixel_hectares(maps))
    found = assess(counts, hectares, confidence=confidence)
    notes = list(_notes(found, places.count, int(used.sum()), column))
    return found.assign_attrs(variable=name, column=column, samples=int(used.sum()), notes=notes)


def _known(places: Places, column: str) -> list[str | None]:
    """What the table says of each place, as text; None where it says nothing."""
    if column not in places.columns:
        held = ", ".join(map(repr, list(places.columns)[:SHOWN])) or "none"
        raise ConfigError(f"the places have no column {column!r} but {held}")
    return [as_text(value) for value in places.columns[column]]


def _counted(groups: Classes, known: Sequence[str], mapped: Any) -> xr.DataArray:
    names = list(groups)
    row_of = {value: row for row, values in enumerate(groups.values()) for value in values}
    counts = np.zeros((len(names), len(names)), np.int64)
    for value, text in zip(mapped.tolist(), known, strict=True):
        counts[row_of[value], names.index(text)] += 1
    labels = np.array(names, dtype=object)
    return xr.DataArray(counts, {MAP_CLASS: labels, REFERENCE_CLASS: labels}, (MAP_CLASS, REFERENCE_CLASS))


def _areas(classes: xr.DataArray, groups: Classes, hectares: float) -> xr.DataArray:
    """Mapped hectares of each."""
    counts = class_counts(classes)[:NO_CLASS]
    return xr.DataArray([float(counts[values].sum()) * hectares for values in groups.values()], dims=MAP_CLASS)


def _notes(found: xr.Dataset, places: int, used: int, column: str) -> Iterator[str]:
    if used < places:
        yield f"{places - used} of {counted(places, 'place')} left out: outside, without data, or without {column}"
    samples, area = found.counts.sum(REFERENCE_CLASS), found.map_hectares
    lacking = (samples == 0) & (area > 0)
    if bool(lacking.any()):
        names = ", ".join(map(str, found[MAP_CLASS].to_numpy()[lacking.to_numpy()]))
        share = float(area.where(lacking, 0).sum() / area.sum())
        yield f"no sample in what is mapped as {names} ({share:.1%} of the area): it is left out of the estimates"
    single = (samples == 1) & (area > 0)
    if bool(single.any()):
        names = ", ".join(map(str, found[MAP_CLASS].to_numpy()[single.to_numpy()]))
        yield f"a single sample in what is mapped as {names}: intervals that it enters are unknown"


# ------------------------------------------------------------------------------------------------ tables


def accuracy_rows(found: xr.Dataset) -> list[list[Any]]:
    """A table of classes that occur: counts, accuracies and areas with their margins; last the whole."""
    counts, names = found.counts.to_numpy(), found[MAP_CLASS].to_numpy()
    seen = counts.sum(axis=0) + counts.sum(axis=1) > 0
    occurs = np.flatnonzero(seen | (found.map_hectares.to_numpy() > 0))
    known = occurs[names[occurs] != UNCLASSIFIED_NAME]  # what nobody finds on the ground
    each = [f"{name}{end}" for name in ("users_accuracy", "producers_accuracy", "hectares") for end in ("", "_margin")]
    overall = ["overall_accuracy", "overall_accuracy_margin"]
    nan = float("nan")
    rows: list[list[Any]] = [
        ["mapped_as", *(f"is_{names[n]}" for n in known), "samples", "map_hectares", *each, *overall]
    ]
    for n in occurs:
        values = [float(found[column][n]) for column in ("map_hectares", *each)]
        rows.append([str(names[n]), *counts[n, known].tolist(), int(counts[n].sum()), *values, nan, nan])
    whole = [float(found.map_hectares.sum()), *[nan] * len(each), *(float(found[name]) for name in overall)]
    rows.append(["all", *counts[:, known].sum(axis=0).tolist(), int(counts.sum()), *whole])
    return rows


def write_accuracy(out: Path, rows: Sequence[Sequence[Any]]) -> None:
    """The table as CSV.

    Raises
    ------
    RunError
        It cannot be written.
    """
    text = csv_text([[csv_value(value) for value in row] for row in rows])
    with writable(out):
        write_file(out, text.encode())
        sync_folders([out.parent])
