"""Documents by their schema: what fits comes back typed, everything else is one sentence; json is the oracle."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hsi_dask.errors import RunError
from hsi_dask.io.documents import Count, Form, Name, Text, as_typed, between, matching, read_document
from hsi_dask.io.durable import read_plain


class Pair(NamedTuple):
    """A value by its key."""

    key: Name
    value: Count


@dataclass(frozen=True)
class Inner:
    """A part that may have other keys."""

    OTHER_KEYS: ClassVar[bool] = True
    kind: Literal["a", "b"]


@dataclass(frozen=True)
class Outer:
    """All kinds of values."""

    count: Count
    share: Annotated[float, between(0, 1)]
    name: Annotated[str, matching(r"[a-z]+", "small letters")]
    shape: tuple[int, int]
    pairs: tuple[Pair, ...]
    inner: Inner
    maps: Mapping[Name, float]
    flag: bool = False
    note: Text | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


RIGHT = {
    "count": 3, "share": 1, "name": "soil", "shape": [2, 3], "pairs": [["x", 1], ["y", 2]],
    "inner": {"kind": "a", "other": [1]}, "maps": {"m": 2},
}  # fmt: skip
PATH = Path("x.json")


def test_what_fits_comes_back_typed() -> None:
    found = as_typed(RIGHT, Outer, PATH)
    assert found == Outer(3, 1.0, "soil", (2, 3), (Pair("x", 1), Pair("y", 2)), Inner("a"), {"m": 2.0})
    assert (type(found.share), type(found.maps["m"]), found.flag, found.note) == (float, float, False, None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"count": -1}, "count is -1, not a number from 0"),
        ({"count": True}, "count is True, not a whole number"),
        ({"count": 1.0}, "count is 1.0, not a whole number"),
        ({"count": "3"}, "count is '3', not a whole number"),
        ({"share": 2}, "share is 2, not a number from 0 to 1"),
        ({"share": float("inf")}, "share is inf, not a number"),
        ({"name": "Soil"}, "name is 'Soil', not small letters"),
        ({"shape": [1]}, r"shape is \[1\], not a list of 2"),
        ({"shape": [1, None]}, r"shape\[1\] is None, not a whole number"),
        ({"pairs": [["x", 1], ["../y", 2]]}, r"pairs\[1\]\[0\] is '../y', not a name"),
        ({"pairs": {"x": 1}}, "pairs is {'x': 1}, not a list"),
        ({"inner": {"kind": "c"}}, "inner.kind is 'c', not 'a' or 'b'"),
        ({"inner": {}}, "inner is {}, not complete: it has no kind"),
        ({"maps": {"m": "x"}}, "maps.m is 'x', not a number"),
        ({"maps": {"a/b": 1}}, "maps is 'a/b', not a name"),
        ({"note": 5}, "note is 5, not"),
        ({"note": "x" * 20_000}, "note is 'xxx.*', not"),
        ({"more": [1]}, r"more is \[1\], not an object"),
        ({"unknown": 1}, "it is .*, not free of other keys such as 'unknown'"),
    ],
)
def test_what_does_not_fit_is_named_with_its_key_and_value(change: dict[str, Any], said: str) -> None:
    with pytest.raises(RunError, match=rf"^x.json is damaged: {said}.*; restore it from a copy") as caught:
        as_typed(RIGHT | change, Outer, PATH)
    assert len(str(caught.value)) < 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*RIGHT, "flag", "note", "more", "x"]), JSON))
def test_whatever_comes_is_typed_or_a_sentence(change: dict[str, Any]) -> None:
    try:
        found = as_typed(json.loads(json.dumps(RIGHT | change)), Outer, PATH)
    except RunError:
        return
    assert as_typed(json.loads(json.dumps(asdict(found))), Outer, PATH) == found


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "not JSON"), (b"\xff", "not UTF-8 text"), (b"[" * 100_000, "not JSON"), (b"NaN", "no number of JSON"),
        (b"9" * 5000, "not JSON"), (b"", "not JSON"), (b"[1e999]", "not a whole number"),
    ],
)  # fmt: skip
def test_what_is_no_json_is_a_sentence(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(RunError, match=said):
        read_document(tmp_path / "x.json", tuple[Count, ...])


def test_too_large_a_document_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "x.json", "wb") as file:
        file.truncate(2**40)  # a hole
    with pytest.raises(RunError, match="it has 1099511627776 bytes, more than such a file can have"):
        read_document(tmp_path / "x.json", Outer)


@pytest.mark.parametrize("name", ["../x", "a/../x", "a//x", "./x", "", "/x"])
def test_a_name_that_leads_elsewhere_is_not_followed(name: str, tmp_path: Path) -> None:
    (tmp_path / "root/a").mkdir(parents=True)
    (tmp_path / "x").write_text("secret")
    (tmp_path / "root/x").write_text("mine")
    with pytest.raises(OSError, match="its name leads elsewhere"):
        read_plain(tmp_path / "root", name, 100)
    assert read_plain(tmp_path / "root", "x", 100) == b"mine"


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/x").write_text("x")
    (tmp_path / "a/link").symlink_to("b")
    before = len(os.listdir("/proc/self/fd"))
    for name in ("a/b/x", "a/b/y", "a/link/x", "a/b", "c/d/e", "a/b/x/z"):
        for _ in range(5):
            try:
                read_plain(tmp_path, name, 100)
            except OSError:
                continue
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_form_is_words_and_a_test() -> None:
    even = Annotated[int, Form("an even number", lambda value: value % 2 == 0)]
    assert as_typed([2, 4], tuple[even, ...], PATH) == (2, 4)  # type: ignore[valid-type]
    with pytest.raises(RunError, match=r"\[1\] is 3, not an even number"):
        as_typed([2, 3], tuple[even, ...], PATH)  # type: ignore[valid-type]


def test_a_small_file_takes_little_memory_however_large_it_might_be(tmp_path):
    (tmp_path / "x").write_bytes(b"mine")
    tracemalloc.start()
    try:
        assert read_plain(tmp_path, "x", 2**30) == b"mine"
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
