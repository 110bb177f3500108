"""Tables of a run as CSV text, which its page offers to save."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from hsi_dask.escaping import csv_cell
from hsi_dask.schema import WAVELENGTH
from hsi_dask.show.facts import Facts

Row = Sequence[Any]
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[-+]\d+)?")


def tables(facts: Facts, seams: Sequence[Row]) -> dict[str, str]:
    """By name of file its address: the page holds it itself."""
    found = {
        "classes.csv": _classes(facts), "means.csv": _means(facts), "endmembers.csv": _spectra(facts),
        "tiles.csv": _tiles(facts), "seams.csv": seams,
    }  # fmt: skip
    return {name: address(rows) for name, rows in found.items()}


def address(rows: Iterable[Row]) -> str:
    """Rows as CSV that a page holds itself."""
    return "data:text/csv;charset=utf-8," + quote(csv_text(rows))


def csv_text(rows: Iterable[Row]) -> str:
    """Rows as CSV, in which no text is a formula.

    Examples
    --------
    >>> csv_text([("name", "hectares"), ("=1+1", -0.5)])
    "name,hectares\\n'=1+1,-0.5\\n"
    """
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([list(map(_cell, row)) for row in rows])
    return stream.getvalue()


def _cell(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula stays text; numbers stay numbers."""
    return csv_cell(value) if isinstance(value, str) and not _NUMBER.fullmatch(value) else value


def _classes(facts: Facts) -> Iterator[Row]:
    yield "map", "class", "name", "pixels", "hectares", "share"
    for variable in facts.variables.values():
        if variable.role == "class":
            found = facts.statistics[variable.name][0]
            for value, (name, _) in facts.labels_of(variable).classes.items():
                pixels = found.values.get(str(value), 0)
                share = pixels / max(found.count, 1)
                yield variable.name, value, name, pixels, f"{pixels * facts.pixel_area:.6g}", f"{share:.6f}"


def _means(facts: Facts) -> Iterator[Row]:
    yield "map", "of", "units", "pixels", "mean", "standard_deviation", "least", "largest", "hectares", "low", "high"
    for variable in facts.variables.values():
        if variable.role in ("class", "flag", "model"):
            continue
        planes = facts.statistics[variable.name]
        names = facts.labels_of(variable).names if len(variable.dims) > 2 else ("",)
        for number, (name, one) in enumerate(zip(names, planes, strict=True)):
            told = (
                [f"{value:.6g}" for value in (one.mean, one.std, one.minimum, one.maximum)] if one.count else [""] * 4
            )
            covered = f"{one.total * facts.pixel_area:.6g}" if variable.role == "fraction" else ""
            interval = facts.area_interval(variable, number) if variable.role == "fraction" else None
            ends = [f"{value:.6g}" for value in interval] if interval else ["", ""]
            yield variable.name, name, variable.units or "1", one.count, *told, covered, *ends


def _spectra(facts: Facts) -> Iterator[Row]:
    yield "wavelength", *facts.labels.names
    wavelength = np.asarray(facts.endmembers[WAVELENGTH], np.float64)
    for nm, values in zip(wavelength, np.asarray(facts.endmembers.transpose(WAVELENGTH, ...)), strict=True):
        yield f"{nm:.6g}", *(f"{value:.5g}" for value in values)


def _tiles(facts: Facts) -> Iterator[Row]:
    yield "tile", "state", "pixels", "seconds", "file"
    done = {record.tile: record for record in facts.records}
    for tile in facts.run.manifest.tiles:
        record = done.get(tile.id)
        state = "done" if record else "failed" if tile.id in facts.failed else "pending"
        yield (
            tile.id,
            state,
            record.pixels.get("valid", 0) if record else 0,
            record.seconds if record else "",
            tile.path,
        )
