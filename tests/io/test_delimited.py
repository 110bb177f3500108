"""Delimited text against the cells it was made from, as Excel, pandas and spectrometers write it."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsi_dask.errors import EndmemberError
from hsi_dask.io.delimited import clean, number, numbers, read_delimited, shown, with_formula, without_formula

CELLS = [["wavelength", "oak", "lake"], ["400", "0.25", "0.5"], ["500.5", "1e-3", "-0.01"]]


def text_of(cells: list[list[str]], separator: str = ",", end: str = "\n") -> str:
    return "".join(separator.join(row) + end for row in cells)


def with_commas(cells: list[list[str]]) -> list[list[str]]:
    return [[cell.replace(".", ",") for cell in row] for row in cells]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (text_of(CELLS), "utf-8"),
        (text_of(CELLS, end="\r\n"), "utf-8-sig"),
        (text_of(CELLS, "\t", "\r"), "utf-16"),
        (text_of(CELLS, ";"), "utf-8"),
        ("sep=;\r\n" + text_of(CELLS, ";", "\r\n"), "utf-8-sig"),
        ("# a; comment, first\n\n; another\n" + text_of(CELLS), "utf-8"),
        (text_of([[*row, "", ""] for row in CELLS]) + ",,,,\n,,,,\n", "utf-8"),
        (text_of([*CELLS[:2], ["", "", ""], [*CELLS[2], "", ""]]), "utf-8"),
        (text_of([[f'"{cell}"' for cell in row] for row in CELLS]), "utf-8"),
    ],
)
def test_a_table_is_its_cells_however_it_was_saved(tmp_path: Path, text: str, encoding: str) -> None:
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    table = read_delimited(tmp_path / "t.csv")
    assert [cell for cell in table.head if cell] == CELLS[0]
    assert [row[:3] for _, row in table.rows] == CELLS[1:]
    assert not table.comma


@pytest.mark.parametrize("separator", [";", "\t"])
def test_decimals_with_a_comma_are_noticed(tmp_path: Path, separator: str) -> None:
    (tmp_path / "t.csv").write_text(text_of(with_commas(CELLS), separator))
    table = read_delimited(tmp_path / "t.csv")
    assert table.comma
    found = [numbers(row, table.comma) for _, row in table.rows]
    np.testing.assert_array_equal(found, [list(map(float, row)) for row in CELLS[1:]])


def test_quoted_decimal_commas_between_commas_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('w,oak\n400,"0,25"\n500,"0,5"\n')
    table = read_delimited(tmp_path / "t.csv")
    assert [numbers(row, table.comma) for _, row in table.rows] == [[400, 0.25], [500, 0.5]]


@pytest.mark.parametrize(
    ("cell", "comma", "value"),
    [("1,5", True, 1.5), ("1.5", True, None), ("1,5", False, None), ("1_000", False, None), ("１", False, None)],
)  # fmt: skip
def test_a_number_has_the_decimal_mark_of_its_table_and_plain_digits(
    cell: str, comma: bool, value: float | None
) -> None:
    assert number(cell, comma) == value
    assert numbers([cell, "2"], comma) == [value, 2.0]


def test_cells_without_a_value_are_nan() -> None:
    assert np.isnan([number(cell) for cell in ("", "NA", "n/a", "NaN", "#N/A", "null")]).all()  # type: ignore[arg-type]
    assert numbers(["inf", "1"]) == [np.inf, 1.0]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("w,a\n400,1,2\n", "has 3 cells in row 2, but 2 in the first; complete it"),
        ("# one\n\nw,a,b\n400,1,2\n500,1\n", "has 2 cells in row 5, but 3 in the first"),
        ("w,a\n350,0,12\n", "numbers with a decimal comma need ; between them"),
        ("made by hand\nw,a\n", "has 2 cells in row 2, but 1 in the first; complete it .a line above the names begins"),
        (b"w,Stra\xdfe\n1,2\n", "is not UTF-8 in line 1; save it as CSV UTF-8"),
        (b"w,a\n1,2\n\xff", "is not UTF-8 in line 3"),
        (b"\xff\xfew", "is not UTF-16, as its byte order mark says, in line 1"),
        ("w,a\n".encode("utf-16-le"), "has a null character in line 1, as other files than text, and UTF-16 without"),
        ('w,a\n400,"' + "1" * 200_000, "larger than field limit .131072. in line 2; a quotation mark may be open"),
        ("x" * (2**22 + 1), "has 4194305 characters in line 1, but up to 4194304 are read; split it"),
        ("1\n" * (2**20 + 1), "has more than 1048576 lines"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_one_sentence_with_its_row(tmp_path: Path, content: str | bytes, sentence: str) -> None:
    (tmp_path / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(EndmemberError, match=sentence) as caught:
        list(read_delimited(tmp_path / "t.csv").rows)
    assert str(tmp_path / "t.csv") in str(caught.value)


@given(st.text())
def test_a_name_comes_back_from_a_cell_that_no_spreadsheet_runs(name: str) -> None:
    cell = without_formula(name)
    assert with_formula(cell) == name
    assert cell[:1] not in set("=+-@#")
    assert cell == name or name.lstrip("'")[0] in "=+-@#＝＋－＠"


@given(st.text(max_size=150))
def test_a_clean_name_is_one_printable_line_and_stays_so(name: str) -> None:
    cleaned = clean(name)
    assert clean(cleaned) == cleaned
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in cleaned)
    assert [c for c in cleaned if c.isalnum()] == [c for c in name if c.isalnum()]


def test_a_name_is_cut_where_no_legend_holds_it() -> None:
    assert clean("oak " * 1000) == " ".join(["oak"] * 50)


def test_a_quoted_text_in_a_message_is_short_and_escaped() -> None:
    assert shown("\x1b[31m") == r"'\x1b[31m'"
    assert len(shown("x" * 10_000)) == 62


def test_quoted_cells_may_hold_separators_and_line_breaks(tmp_path: Path) -> None:
    out = io.StringIO()
    csv.writer(out).writerows([["w", "oak, young", "two\nlines"], ["400", "1", "2"], ["500", "x", "3"]])
    (tmp_path / "t.csv").write_text(out.getvalue(), newline="")
    table = read_delimited(tmp_path / "t.csv")
    assert [clean(cell) for cell in table.head] == ["w", "oak, young", "two lines"]
    assert list(table.rows) == [(3, ["400", "1", "2"]), (4, ["500", "x", "3"])]
