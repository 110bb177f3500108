"""Attributes as they may be in files."""

import numpy as np
import pytest

from hsi_dask.io.neon.values import holds


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
