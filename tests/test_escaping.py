"""Foreign text per output: parsers of XML and CSV read back what is visible; hypothesis looks for a way through."""

import csv
import io
import unicodedata
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsi_dask.errors import HsiDaskError, RunError
from hsi_dask.escaping import csv_cell, visible, visible_lines, xml_attribute, xml_text

ANYTHING = st.text(st.characters(codec=None, exclude_categories=[]))  # lone surrogates too


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Grünland 水", "Grünland 水"),
        ("no\u202fbreak, نمی\u200cخواهم", "no\u202fbreak, نمی\u200cخواهم"),
        ("\x1b]0;x\x07", r"\x1b]0;x\x07"),
        ("two\nlines\r", r"two\nlines\r"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\udce4", r"\udce4"),
    ],
)
def test_letters_of_every_script_stay_and_what_acts_becomes_an_escape(text, shown):
    assert visible(text) == shown


@given(ANYTHING)
def test_nothing_that_acts_gets_through(text):
    kinds = {unicodedata.category(one) for one in visible(text).replace("\u200c", "").replace("\u200d", "")}
    assert not kinds & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert visible_lines(f"{text}\n\tb").encode().decode().endswith("\n\tb")


@given(ANYTHING)
def test_xml_parsers_read_back_what_is_visible(text):
    found = ElementTree.fromstring(f"<a b={xml_attribute(text)}>{xml_text(text)}</a>")
    assert (found.text or "", found.get("b")) == (visible(text), visible(text))


@given(ANYTHING)
def test_a_table_has_one_cell_for_a_name_and_no_formula(text):
    stream = io.StringIO()
    csv.writer(stream).writerow(["wavelength", csv_cell(text)])
    ((_, cell),) = csv.reader(stream.getvalue().splitlines())
    for part in cell.split(";"):  # a cell each, where a spreadsheet's language has ; between them
        assert not part.lstrip().startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠"))
    assert cell.replace("'", "") == visible(text).replace("'", "")


@pytest.mark.parametrize("text", ["=1+1", " =1", "oak;=1+1", "oak; @SUM(1)", "＝1", "a;-1;+2"])
def test_what_a_spreadsheet_would_compute_stays_text(text):
    assert all(part.lstrip().startswith("'") or part in ("oak", "a") for part in csv_cell(text).split(";"))
    assert csv_cell("oak; ash") == "oak; ash"


def test_messages_of_errors_are_one_line_without_control_characters():
    assert str(RunError("tile \x1b[31m\n  is bad")) == r"tile \x1b[31m is bad"
    assert str(HsiDaskError()) == ""


def test_a_message_that_quotes_without_end_keeps_its_beginning_and_its_way_out():
    said = str(RunError(f"a.zarr has {'x' * 10_000}; copy it again"))
    assert said.startswith("a.zarr has xxx")
    assert said.endswith("xxx; copy it again")
    assert len(said) < 1500
