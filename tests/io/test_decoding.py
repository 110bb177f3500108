"""Stored numbers as reflectance: what scale and no data mean, against numpy on the same numbers."""

import numpy as np
import pytest

from hsi_dask.io.chunked import InMemory
from hsi_dask.io.decoding import Reflectance, holds, no_data_of, scale_of


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
