"""Stored numbers as reflectance: what scale and no data mean, against numpy on the same numbers."""

from types import SimpleNamespace

import numpy as np
import pytest

from hsi_dask.io.chunked import InMemory
from hsi_dask.io.decoding import Reflectance, doubt_of_no_data, doubt_of_scale, holds, no_data_of, scale_of

WAVELENGTH = np.array([450.0, 560.0, 860.0])


@pytest.mark.parametrize(
    ("dtype", "value", "held"),
    [
        ("i2", -9999.0, True),
        ("u1", -9999.0, False),
        ("i2", 0.5, False),
        ("f4", -9999.0, True),
        ("f4", 1e300, False),  # of a damaged file
        ("f4", np.nan, True),
    ],
)
def test_a_value_is_held_by_a_dtype_that_has_it(dtype: str, value: float, held: bool) -> None:
    assert holds(np.dtype(dtype), value) is held


@pytest.mark.parametrize(
    ("dtype", "scale", "fill", "expected", "said"),
    [
        ("i2", 1000.0, -1.0, (1000.0, -1.0), 0),
        ("i2", None, None, (10000.0, -9999.0), 2),
        ("u2", 10000.0, None, (10000.0, None), 2),  # missing, and -9999 cannot occur
        ("f4", None, np.nan, (1.0, None), 0),
        ("f4", 1.0, -3.40282347e38, (1.0, float(np.finfo("f4").min)), 0),
    ],
)
def test_what_is_missing_is_assumed_and_said(dtype, scale, fill, expected, said) -> None:
    notes: list[str] = []
    kind = np.dtype(dtype)
    assert (scale_of(kind, scale, "scale", notes.append), no_data_of(kind, fill, "fill", notes.append)) == expected
    assert len(notes) == said


@pytest.mark.parametrize("dtype", ["i2", "u2", "i4", "f4", "f8"])
def test_pieces_are_decoded_as_the_whole_is(dtype: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 9000, (20, 30, 7)).astype(dtype)
    values[rng.random(values.shape) < 0.1] = 65000 if dtype == "u2" else -9999
    fill = 65000.0 if dtype == "u2" else -9999.0
    decoded = Reflectance(InMemory(values), 10000.0, fill)
    expected = np.where(values == fill, np.nan, values.astype("f4") / np.float32(10000)).astype("f4")
    np.testing.assert_array_equal(decoded[:], expected)
    wanted = np.array([0, 1, 5])
    out = np.zeros((10, 30, 3), "f4")
    for piece in decoded.pieces((slice(5, 15), slice(0, 30), wanted)):
        out[piece.place] = piece.values
    np.testing.assert_array_equal(out, expected[5:15][:, :, wanted])


def test_an_offset_is_taken_off_before_the_scale() -> None:
    values = np.array([[[100, 1100, -1]]], "i2")
    np.testing.assert_allclose(Reflectance(InMemory(values), 1000.0, -1, offset=100)[:], [[[0, 1, np.nan]]])


def cube(values: np.ndarray, scale: float, fill: float | None = -9999.0) -> SimpleNamespace:
    return SimpleNamespace(reflectance=InMemory(values), wavelength=WAVELENGTH, scale_factor=scale, fill_value=fill)


def test_floats_whose_scale_contradicts_their_size_are_doubted() -> None:
    fractions = np.random.default_rng(0).uniform(0.02, 0.5, (50, 40, 3)).astype("f4")
    fractions[:20] = -9999  # a line's empty end is not looked at
    digital = np.where(fractions == -9999, -9999, fractions * 10000).astype("f4")
    assert doubt_of_scale(cube(fractions, 1.0), "the scale") is None
    assert doubt_of_scale(cube(digital, 10000.0), "the scale") is None
    assert doubt_of_scale(cube(digital.astype("i2"), 1.0), "the scale") is None, "integers are what the file says"
    said = doubt_of_scale(cube(fractions, 10000.0), "Scale_Factor")
    assert said is not None
    assert said.startswith("holds fractions (median 0.2")
    assert said.endswith("at 560 nm), but Scale_Factor is 10000")
    assert "digital numbers (median 2" in str(doubt_of_scale(cube(digital, 1.0), "the scale"))
    assert doubt_of_scale(cube(np.full((50, 40, 3), -9999, "f4"), 10000.0), "the scale") is None


@pytest.mark.parametrize(
    ("dtype", "scale", "stated", "held"),
    [("f4", 1.0, None, -9999.0), ("f4", 1.0, -9999.0, 1e34), ("f4", 1.0, None, -1.0), ("i2", 10000.0, 0.0, -9999.0 * 2),
     ("u2", 100.0, None, 65535.0)],
)  # fmt: skip
def test_numbers_that_no_reflectance_is_are_no_data_that_the_file_does_not_tell(dtype, scale, stated, held) -> None:
    values = (np.random.default_rng(0).uniform(0.02, 0.5, (50, 40, 3)) * scale).astype(dtype)
    values[20, :3] = held
    assert doubt_of_no_data(cube(values, scale, stated)) is None, "few may be damaged"
    values[:2, :30] = held
    said = str(doubt_of_no_data(cube(values, scale, stated)))
    assert said.startswith(f"holds {held:g} in ")
    assert said.endswith(f"says that {'nothing' if stated is None else f'{stated:g}'} is no data")
    assert doubt_of_no_data(cube(values, scale, held)) is None, "what the file tells is right"
