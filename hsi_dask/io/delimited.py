"""Delimited text as spreadsheets and spectrometers save it: encodings, separators, decimal commas, empty margins."""

from __future__ import annotations

import codecs
import csv
import re
import unicodedata
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hsi_dask.errors import EndmemberError
from hsi_dask.escaping import FORMULA
from hsi_dask.io.regular import read_regular

MAX_BYTES = 2**28  # 7000 spectra of 2151 wavelengths are half as much
MAX_ROWS = 2**20  # of a spreadsheet
_LONGEST = 2**22  # characters of a line: 100 000 spectra side by side have fewer
_NAME = 200  # characters of a name; more fit no legend and no message
_LOOKED_AT = 50  # lines that show which separator and which decimal mark a table has

_MISSING = {"", "na", "n/a", "#n/a", "#nv", "nan", "null", "none"}
_POINT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+(?:[eE][+-]?[0-9]+)?")
_NO_TEXT = {*FORMULA, "#"}  # a spreadsheet runs a cell that begins so; a line is a comment
_BIDIRECTIONAL = {*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A)), "\u200e", "\u200f", "\u061c"}


class Delimited(NamedTuple):
    """A table of text.

    line : number of the first row's line in the file
    head : its cells
    rows : number of the line in the file, and as many cells as `head` has, of each further row that is not empty
    comma : decimals have a comma
    """

    line: int
    head: list[str]
    rows: Iterator[tuple[int, list[str]]]
    comma: bool


def read_delimited(path: Path, what: str = "spectra") -> Delimited:
    """The cells of a table, without blank lines, comments, empty rows and empty columns at the end.

    Lines that begin with #, and those with ; before the names, are comments. The separator is a tab, a semicolon or a
    comma, whichever gives all rows the same number of cells. UTF-8, or UTF-16 with its byte order mark.
    Errors say that it cannot be read as `what`.

    Raises
    ------
    EndmemberError
        No text, other encodings, rows of another length, too many or too long lines.
    """
    numbered = _lines(_text(path, what), path)
    separator = _stated_separator(numbered)
    numbered = _without_comments(numbered)
    separator = separator or _separator([line for _, line in numbered[:_LOOKED_AT]])
    rows = _rows(numbered, separator, path, what)
    line, head = next(rows, (1, [""]))
    begin = [cells for _, cells in islice(_rows(numbered, separator, path, what), 1, _LOOKED_AT)]
    numbers = [cell for cells in begin for cell in cells]
    comma = any(map(_COMMA.fullmatch, numbers)) and not any("." in c and _POINT.fullmatch(c) for c in numbers)
    return Delimited(line, head, _fitted(rows, head, separator, path), comma)


def number(cell: str, comma: bool = False) -> float | None:
    """The number in a cell, NaN where it says that there is none, None where it holds something else.

    Examples
    --------
    >>> number("0.5"), number("0,5", comma=True), number("NA"), number("oak")
    (0.5, 0.5, nan, None)
    """
    if cell.lower() in _MISSING:
        return np.nan
    if _COMMA.fullmatch(cell) and comma:
        return float(cell.replace(",", "."))
    if not _POINT.fullmatch(cell) or (comma and "." in cell):
        return None
    return float(cell)


def numbers(cells: list[str], comma: bool = False) -> list[float | None]:
    """`number` of each cell; a whole row of plain numbers is fast."""
    joined = "".join(cells)
    if not comma and joined.isascii() and "_" not in joined:  # float() takes 1_000 and digits of other scripts
        try:
            return list(map(float, cells))
        except ValueError:
            pass
    return [number(cell, comma) for cell in cells]


# ------------------------------------------------------------------------------------------------ text


def clean(text: str) -> str:
    """A name without control characters, lone surrogates and marks that turn the direction of writing, cut at 200.

    Examples
    --------
    >>> clean("oak\\x1b[31m  leaf\\n")
    'oak[31m leaf'
    """
    if text.isascii() and text.isprintable():
        return " ".join(text.split())[:_NAME].rstrip()
    kept = (" " if c.isspace() else c for c in text if c.isspace() or unicodedata.category(c) not in ("Cc", "Cs"))
    return " ".join("".join(c for c in kept if c not in _BIDIRECTIONAL).split())[:_NAME].rstrip()


def shown(text: str, longest: int = 60) -> str:
    """A text quoted for a message: its beginning, on one line, control characters escaped."""
    return repr(text if len(text) <= longest else text[: longest - 1] + "…")


def without_formula(text: str) -> str:
    """A cell of text that no spreadsheet runs: an apostrophe goes before what begins a formula, or a comment."""
    return f"'{text}" if text.lstrip("'")[:1] in _NO_TEXT else text


def with_formula(cell: str) -> str:
    """What `without_formula` was given."""
    return cell[1:] if cell[:1] == "'" and cell.lstrip("'")[:1] in _NO_TEXT else cell


def _text(path: Path, what: str) -> str:
    data = read_regular(path, MAX_BYTES)
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding, name = ("utf-16", "UTF-16, as its byte order mark says,") if wide else ("utf-8-sig", "UTF-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(encoding, "replace")
        line = 1 + before.count("\n" if "\n" in before else "\r")
        raise EndmemberError(
            f"{path} cannot be read as {what}: it is not {name} in line {line}; save it as CSV UTF-8"
        ) from error
    if "\0" in text:
        line = 1 + text.count("\n", 0, text.index("\0"))
        raise EndmemberError(
            f"{path} cannot be read as {what}: it has a null character in line {line}, as other files than text, and "
            "UTF-16 without its mark; save it as CSV UTF-8"
        )
    return text


def _lines(text: str, path: Path) -> list[tuple[int, str]]:
    """Lines that are not blank, with their numbers."""
    found, count, last, end = list[tuple[int, str]](), 1, 0, "\n" if "\n" in text else "\r"
    for match in re.finditer(r"[^\r\n]+", text):
        count += text.count(end, last, match.start())
        last = match.start()
        if match.end() - last > _LONGEST:
            raise EndmemberError(
                f"{path} has {match.end() - last} characters in line {count}, but up to {_LONGEST} are read; split it"
            )
        if not match[0].isspace():
            found.append((count, match[0]))
        if len(found) > MAX_ROWS:
            raise EndmemberError(f"{path} has more than {MAX_ROWS} lines, but so many are read; split it")
    return found


def _stated_separator(numbered: list[tuple[int, str]]) -> str | None:
    """Excel's own first line `sep=;`, which is taken away."""
    found = re.fullmatch(r'"?sep=([,;\t])"?', numbered[0][1].strip(" "), re.IGNORECASE) if numbered else None
    if found:
        del numbered[0]
    return found[1] if found else None


def _without_comments(numbered: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Without lines that begin with #, nor those with ; before the names, if it separates no cells there."""
    kept = [(n, line) for n, line in numbered if not line.lstrip().startswith("#")]
    last = next((line for _, line in reversed(kept) if re.search(r"\w", line)), "")
    comments = (line.lstrip().startswith(";") and line.count(";") != last.count(";") for _, line in kept)
    first = next((n for n, comment in enumerate(comments) if not comment), len(kept))
    return kept[first:]


def _separator(lines: list[str]) -> str:
    """The separator by which all lines have the same number of cells; else the most frequent, in the first line."""
    for separator in "\t;,":
        if len(sizes := _sizes(lines, separator)) == 1 and sizes != {1}:
            return separator
    frequent = [max("\t;,", key=line.count) for line in lines if re.search("[\t;,]", line)]
    return frequent[0] if frequent else ","


def _sizes(lines: list[str], separator: str) -> set[int]:
    try:
        return {len(row) for row in csv.reader(lines, delimiter=separator)}
    except csv.Error:  # reading the rows says where
        return set()


def _rows(numbered: list[tuple[int, str]], separator: str, path: Path, what: str) -> Iterator[tuple[int, list[str]]]:
    """Stripped cells of each row that has any, with the number of its line."""
    reader = csv.reader((line + "\n" for _, line in numbered), delimiter=separator)
    while True:
        at = reader.line_num
        try:
            row = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            raise EndmemberError(
                f"{path} cannot be read as {what}: {error} in line {numbered[min(at, len(numbered) - 1)][0]}; "
                "a quotation mark may be open"
            ) from error
        if any(row):
            yield numbered[at][0], row


def _fitted(
    rows: Iterator[tuple[int, list[str]]], head: list[str], separator: str, path: Path
) -> Iterator[tuple[int, list[str]]]:
    """Rows as long as the first; empty cells at the end count for nothing."""
    named = _without_end(head)
    for line, row in rows:
        if len(row) < named or _without_end(row) > len(head):
            cells = _without_end(row) if len(row) > len(head) else len(row)
            hint = "a line above the names begins with #"
            if separator == "," and cells == 2 * named - 1:
                hint = "numbers with a decimal comma need ; between them"
            raise EndmemberError(
                f"{path} has {cells} cells in row {line}, but {named} in the first; complete it ({hint})"
            )
        yield line, (row + [""] * len(head))[: len(head)]


def _without_end(row: list[str]) -> int:
    """Cells up to the last that is not empty."""
    return next((n for n in range(len(row), 0, -1) if row[n - 1]), 0)
