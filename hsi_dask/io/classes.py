"""Classes of a library's spectra: from a column of its table, from its header, or from the table beside it."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from hsi_dask.errors import EndmemberError, FileFormatError
from hsi_dask.io.delimited import clean, read_delimited, shown, with_formula
from hsi_dask.io.libraries import RawSpectra

logger = logging.getLogger(__name__)

_USUAL = ("material", "materials", "materialclass", "class", "classname", "category", "landcover", "level2")


class Classes(NamedTuple):
    """The class of each spectrum, empty where none is told, and where it is from."""

    material: list[str]
    told: str


def find_classes(path: Path, raw: RawSpectra, beside: Path | None, column: str | None) -> Classes | None:
    """The classes of the spectra read from a file, None if nothing tells them.

    Parameters
    ----------
    path : the file.
    raw : what it holds.
    beside : a table of the spectra, which need not exist.
    column : the column of classes; None takes a usual one, and passes over a table beside that does not fit.

    Raises
    ------
    EndmemberError
        No such column; a table beside whose rows are not the spectra.
    """
    name = _column(raw.columns, column)
    if name is not None and (column is not None or any(raw.columns[name])):
        return Classes(raw.columns[name], f"{name} of {path.name}")
    others: list[str] = []
    if beside is not None and beside.exists():
        try:
            others, classes = _beside(beside, raw.names, column)
            if classes:
                return classes
        except (EndmemberError, FileFormatError, OSError) as error:
            if column is not None:
                raise
            logger.warning("classes beside %s are passed over: %s", path, error)
    if column is not None:
        raise EndmemberError(_unknown(path, beside, column, [*raw.columns, *others]))
    return None


def _column(columns: Iterable[str], wanted: str | None) -> str | None:
    """The column of that name, whatever its case; the first usual one if none is wanted."""
    if wanted is not None:
        return next((name for name in columns if name.strip().lower() == wanted.strip().lower()), None)
    plain = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in columns}
    return next((plain[usual] for usual in _USUAL if usual in plain), None)


def _unknown(path: Path, beside: Path | None, column: str, known: list[str]) -> str:
    if not known:
        where = f", and no table {beside.name} with columns is beside it" if beside else ": spectra are its columns"
        return f"{path} has no column {shown(column)}{where}; give a table with a spectrum in each row"
    near = difflib.get_close_matches(column, known, n=1)
    hint = f"did you mean {shown(near[0])}?" if near else f"the columns are {', '.join(map(shown, known[:20]))}"
    return f"{path} has no column {shown(column)}; {hint}"


def _beside(path: Path, names: list[str], column: str | None) -> tuple[list[str], Classes | None]:
    """Columns of a table of the spectra, and the classes of the named ones."""
    table = read_delimited(path)
    head = [clean(cell) for cell in table.head]
    chosen = _column(head, column)
    if chosen is None:
        return [name for name in head if name][:100], None
    at, label = head.index(chosen), next((n for n, name in enumerate(head) if name.lower() == "name"), 0)
    rows = [(clean(with_formula(row[label])), clean(with_formula(row[at]))) for _, row in table.rows]
    material, how = _matched(names, rows, path)
    return head, Classes(material, f"{chosen} of {path.name}, {how}")


def _matched(names: list[str], rows: list[tuple[str, str]], path: Path) -> tuple[list[str], str]:
    """The class of each name, by the order of rows where no name says otherwise, else by name."""
    known: dict[str, set[str]] = {}
    for label, material in rows:
        known.setdefault(label.lower(), set()).add(material)
    if len(rows) == len(names) and _in_order(names, rows, known):
        return [material for _, material in rows], "rows in order"
    for name in names:
        if len(found := known.get(name.lower(), set())) != 1:
            what = (
                f"classes {shown(name)} as {' and '.join(sorted(map(shown, found)))}"
                if found
                else (f"has no row for {shown(name)}")
            )
            raise EndmemberError(f"{path} {what}, and its {len(rows)} rows are not the {len(names)} spectra in order")
    return [next(iter(known[name.lower()])) for name in names], "rows by name"


def _in_order(names: list[str], rows: list[tuple[str, str]], known: Mapping[str, object]) -> bool:
    """Does each name that the table has stand in its own row, and at least every second name? Or are there no names?"""
    if names == [f"endmember_{n}" for n in range(1, len(names) + 1)]:
        return True
    same = [name.lower() == label.lower() for name, (label, _) in zip(names, rows, strict=True)]
    elsewhere = any(not here and name.lower() in known for name, here in zip(names, same, strict=True))
    return not elsewhere and sum(same) >= len(names) / 2
