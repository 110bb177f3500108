"""Products of whole numbers against Python's own integers."""

import numpy as np
import pytest

from hsi_dask.kernels.whole_products import ROWS, SEGMENT, add_products

LARGEST = 2**17 - 1


@pytest.mark.parametrize("size", [1, 300, 3000, LARGEST])
def test_products_are_exact_whatever_the_size_of_the_numbers(size):
    rng = np.random.default_rng(size)
    rows = rng.integers(-size, size + 1, (2 * ROWS, 2 * SEGMENT)).astype(np.int32)
    rows[1:3] = rng.integers(-5, 6, (2, 2 * SEGMENT))
    rows[5] = LARGEST  # the same sign in every column: the largest sum there can be
    out = np.ones((len(rows), len(rows)), np.int64)
    add_products(rows, out)
    whole = rows.astype(object)
    expected = whole @ whole.T + 1
    assert (out[np.triu_indices(len(rows))] == expected[np.triu_indices(len(rows))]).all()


def test_sums_at_the_limit_of_32_bits_are_taken_in_64():
    rows = np.full((ROWS, SEGMENT), 2048, np.int32)  # 512 x 2048 x 2048 is 2^31, one too many
    out = np.zeros((ROWS, ROWS), np.int64)
    add_products(rows, out)
    assert (out[np.triu_indices(ROWS)] == 2**31).all()
