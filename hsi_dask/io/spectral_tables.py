"""CSV tables of spectra: wavelengths in the first column, in pairs with each spectrum, or above, a spectrum a row."""

from __future__ import annotations

import re
from collections import Counter
from itertools import chain, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.errors import EndmemberError
from hsi_dask.io.delimited import Delimited, clean, number, numbers, read_delimited, shown, with_formula
from hsi_dask.io.libraries import RawSpectra, require_size

_GRID = re.compile(
    r"(?:wavelengths?|waves?|wvl|wl|lambda|nm|um|µm|μm|nanomet(?:er|re)s?|micromet(?:er|re)s?|microns?)(?![a-z])"
)
_ABOVE = re.compile(  # 400, 400.5 nm, X400, wl_0.4: a wavelength as the name of a column
    r"((?:[a-z]{1,2}|wvl|wave|wavelength|refl|reflectance|band)?[_ ]?)([0-9]{1,9}(?:[.,][0-9]{1,9})?)\s*(nm|um|µm|μm)?"
)
_NO_SPECTRUM = {
    "bbl", "count", "date", "day", "easting", "elevation", "fid", "fwhm", "id", "index", "lat", "latitude", "lon",
    "long", "longitude", "northing", "objectid", "oid", "time", "year",
}  # fmt: skip
_ENOUGH = 5  # values that tell a column that counts, or never changes, from a short spectrum
_TEXT = 1000  # cells without a number that make a column text, however long it is


class _Columns(NamedTuple):
    """Numbers of a table by columns, and the names above them."""

    names: list[str]
    values: NDArray[np.float64]


class _Text(NamedTuple):
    """Cells of a column that hold no number: how many, and the first, with its line."""

    cells: int
    line: int
    cell: str


def read_table(path: Path) -> RawSpectra:
    """A CSV table of any layout that `read_spectra` tells of.

    Raises
    ------
    EndmemberError
        No such table; a column that is no spectrum, by its name.
    """
    table = read_delimited(path)
    if re.match(r"wave[ _]?numbers?|cm-1|1/cm", table.head[0].lower()):
        raise EndmemberError(f"{path} has wavenumbers where wavelengths should be; give wavelengths in nm or um")
    at = _wavelengths_above(table)
    return _by_rows(table, at, path) if at else _by_columns(table, path)


# ------------------------------------------------------------------------------------------------ a spectrum a row


def _wavelengths_above(table: Delimited) -> list[int]:
    """Columns whose names are wavelengths, after at least one that is not; none if names are none, such as 1, 2, 3."""
    if _GRID.match(table.head[0].lower()) or _holds_number(table.head[0], table.comma):
        return []
    found = {n: match for n, cell in enumerate(table.head) if (match := _ABOVE.fullmatch(cell.lower()))}
    prefixes = Counter(match[1] for match in found.values())
    if not prefixes:
        return []
    prefix, count = prefixes.most_common(1)[0]
    at = [n for n, match in found.items() if match[1] == prefix]
    values = [_above(table.head[n]) for n in at]
    ordered = all(a < b for a, b in pairwise(values)) or all(a > b for a, b in pairwise(values))
    named = prefix.strip("_ ") in {"", "x", "w", "wl", "wvl", "wave", "wavelength"} or min(values) >= 200
    return at if count > 1 and ordered and named and not _counts(np.array(values)) else []


def _holds_number(cell: str, comma: bool) -> bool:
    value = number(cell, comma)
    return value is not None and bool(np.isfinite(value))


def _above(cell: str) -> float:
    found = _ABOVE.fullmatch(cell.lower())
    return float(found[2].replace(",", ".")) if found else np.nan


def _by_rows(table: Delimited, at: list[int], path: Path) -> RawSpectra:
    head, above = table.head, set(at)
    others = {clean(head[n]): n for n in reversed(range(len(head))) if n not in above}  # of one name: the first
    texts: dict[str, list[str]] = {name: [] for name in reversed(others)}
    spectra = list[NDArray[np.float64]]()
    for line, row in table.rows:
        values = numbers([row[n] for n in at], table.comma)
        if None in values:
            raise _no_number(path, row[at[values.index(None)]], line, table.comma)
        spectra.append(np.array(values, dtype=np.float64))
        require_size(path, len(spectra), len(head))
        for name, n in others.items():
            texts[name].append(clean(with_formula(row[n])))
    if not spectra:
        raise EndmemberError(f"{path} has wavelengths, but no spectrum below them; give one in each row")
    label = next((name for name in texts if name.lower() == "name"), next(iter(texts), None))
    names = [f"endmember_{n}" for n in range(1, len(spectra) + 1)] if label is None else texts[label]
    wavelength = np.array([_above(head[n]) for n in at])
    return RawSpectra(np.array(spectra), wavelength, names, head[at[0]], columns=texts)


# ------------------------------------------------------------------------------------------------ columns


def _by_columns(table: Delimited, path: Path) -> RawSpectra:
    columns = _columns(table, path)
    starts = [0, *(n for n in range(1, len(columns.names)) if _is_grid(columns, n))]
    groups = [list(range(a, b)) for a, b in pairwise([*starts, len(columns.names)])]
    for group in groups:
        _require_spectra(columns, group, path)
    wavelength, values = _on_one_grid([columns.values[:, group] for group in groups], path)
    names = [clean(with_formula(columns.names[n])) for group in groups for n in group[1:]]
    return RawSpectra(values, wavelength, names, columns.names[0])


def _columns(table: Delimited, path: Path) -> _Columns:
    """The numbers, without columns that have neither a name nor a value."""
    head, rows, text = table.head, list[NDArray[np.float64]](), dict[int, _Text]()
    headless = _holds_number(head[0], table.comma)
    for line, row in chain([(table.line, head)] if headless else [], table.rows):
        rows.append(_row(row, line, text, table.comma, path))
        require_size(path, len(rows), len(head))
        if text and max(one.cells for one in text.values()) > _TEXT:
            break
    if len(rows) + (not headless) < 2:
        raise EndmemberError(
            f"{path} has {len(rows) + (not headless and any(head))} lines beside comments and empty ones; "
            "a table of spectra has names, then numbers"
        )
    for column, found in sorted(text.items()):
        raise _refused(path, head[column], found, found.cells > len(rows) / 2, table.comma)
    values = np.array(rows)
    names = ["wavelength", *(f"endmember_{n}" for n in range(1, len(head)))] if headless else head
    kept = [n for n in range(len(head)) if (names[n] and not headless) or np.isfinite(values[:, n]).any()]
    if headless:
        _require_wavelengths_first(values[:, kept], path)
    return _Columns([names[n] for n in kept], values[:, kept])


def _row(row: list[str], line: int, text: dict[int, _Text], comma: bool, path: Path) -> NDArray[np.float64]:
    """Numbers of a row, NaN where there is none; cells that hold none are counted by their column."""
    values = numbers(row, comma)
    for n, value in enumerate(values):
        if value is None:
            first = text.get(n, _Text(0, line, row[n]))
            text[n] = first._replace(cells=first.cells + 1)
    if values[0] is None:
        raise EndmemberError(
            f"{path} has {shown(row[0])} in its first column, not a wavelength; give wavelengths in the first column "
            "and a spectrum in each further one, or a spectrum in each row under wavelengths as names of columns"
        )
    known = np.array([np.nan if value is None else value for value in values])
    return np.where(np.isfinite(known), known, np.nan)


def _refused(path: Path, name: str, text: _Text, column: bool, comma: bool) -> EndmemberError:
    """What is wrong with text among numbers: the column, or a single cell."""
    if not column:
        return _no_number(path, text.cell, text.line, comma)
    return EndmemberError(
        f"{path} has text such as {shown(text.cell)} in the column {shown(name)}, which is no spectrum; remove it"
    )


def _no_number(path: Path, cell: str, line: int, comma: bool) -> EndmemberError:
    mark = "a decimal comma, as others do" if comma else "a decimal point, as others do"
    hint = f"write it with {mark}" if re.fullmatch(r"[+-]?[\d.,]+", cell) else "correct it"
    return EndmemberError(f"{path} has {shown(cell)} where a number should be (row {line}); {hint}")


def _require_wavelengths_first(values: NDArray[np.float64], path: Path) -> None:
    """Without names above, a first row that ascends like wavelengths is no spectrum."""
    first, rest = values[0], values[1:]
    steps = np.diff(values[:, 0])
    ascends = first.size > 2 and bool((np.diff(first) > 0).all())
    above = first[0] > np.fmax.reduce(rest, axis=None, initial=-np.inf)
    if ascends and (above or not ((steps > 0).all() or (steps < 0).all())):
        raise EndmemberError(
            f"{path} seems to have its wavelengths, {first[0]:g} to {first[-1]:g}, in the first row; put a column of "
            "names before them, with a name above it"
        )


# ------------------------------------------------------------------------------------------------ what columns hold


def _is_grid(columns: _Columns, n: int) -> bool:
    """Does this column hold wavelengths, by its name and order, or the same as the first one?"""
    grid = columns.values[:, n]
    known = grid[np.isfinite(grid)]
    steps = np.diff(known)
    ordered = known.size > 1 and bool((steps > 0).all() or (steps < 0).all())
    same = known.size >= _ENOUGH and np.array_equal(grid, columns.values[:, 0], equal_nan=True)
    return ordered and (same or bool(_GRID.match(columns.names[n].lower())))


def _counts(values: NDArray[np.float64]) -> bool:
    """0, 1, 2, 3 or 1, 2, 3: numbers of rows, of bands or of names."""
    return bool(values[0] in (0, 1) and (np.diff(values) == 1).all())


def _require_spectra(columns: _Columns, group: list[int], path: Path) -> None:
    """Refuse wavelengths without a spectrum, and columns that are none, by their names."""
    if len(columns.names) < 2:
        raise EndmemberError(f"{path} has no column beside the wavelengths; give a spectrum in each further one")
    if len(group) < 2:
        raise EndmemberError(
            f"{path}: the column {shown(columns.names[group[0]])} holds wavelengths, but no spectrum follows; remove it"
        )
    for n in group[1:]:
        if why := _no_spectrum(columns.names[n], columns.values[:, n]):
            raise EndmemberError(f"{path}: the column {shown(columns.names[n])} {why}; remove it")


def _no_spectrum(name: str, values: NDArray[np.float64]) -> str | None:
    """Why a column of numbers is no spectrum, None if it may be one."""
    known = values[np.isfinite(values)]
    if name.strip().lower() in _NO_SPECTRUM:
        return "is no spectrum by its name"
    if known.size >= _ENOUGH and _counts(known):
        return f"counts from {known[0]:g} to {known[-1]:g} and is no spectrum"
    if known.size >= _ENOUGH and abs(known[0]) > 1.5 and (known == known[0]).all():
        return f"holds {known[0]:g} at every wavelength and is no spectrum"
    return None


def _on_one_grid(groups: list[NDArray[np.float64]], path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wavelengths and spectra (n, L) of groups of columns, each with its wavelengths first.

    A group may end sooner or begin later than others; what it does not have is NaN. Nothing is interpolated here,
    before it is known which values are missing.
    """
    if len(groups) == 1:
        return groups[0][:, 0], groups[0][:, 1:].T
    grids = [group[np.isfinite(group).any(axis=1)] for group in groups]
    union = np.unique(np.concatenate([grid[:, 0] for grid in grids]))
    require_size(path, sum(grid.shape[1] - 1 for grid in grids), union.size)
    spectra = list[NDArray[np.float64]]()
    for grid in grids:
        place = np.searchsorted(union, grid[:, 0])
        complete = place.size and np.isfinite(union).all() and np.unique(place).size == place.size
        if not complete or np.ptp(place) >= place.size:
            raise EndmemberError(
                f"{path} has pairs of wavelengths and spectra whose wavelengths differ ({union.size} in all, "
                f"{len(grid)} in one), or are missing or twice; give all spectra on one grid, or each grid a file"
            )
        values = np.full((grid.shape[1] - 1, union.size), np.nan)
        values[:, place] = grid[:, 1:].T
        spectra.extend(values)
    return union, np.array(spectra)
