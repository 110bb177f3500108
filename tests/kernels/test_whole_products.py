"""Products of whole numbers against Python's own integers."""

import os
import subprocess
import sys

import numpy as np
import pytest

from hsi_dask.kernels.whole_products import ROWS, SEGMENT, add_products

LARGEST = 2**18 - 1


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


@pytest.mark.parametrize(("processor", "features"), [("generic", ""), ("haswell", "+avx2,+avx"), ("", "")])
def test_every_processor_finds_the_same(processor, features, tmp_path):
    if "avx2" in features and "avx2" not in host_features():
        pytest.skip("this processor has no AVX2")
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    if processor:
        environment |= {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": features}
    program = (
        "import numpy as np; from hsi_dask.kernels.whole_products import *\n"
        f"rows = np.arange({2 * ROWS * SEGMENT}, dtype=np.int32).reshape(-1, SEGMENT) * 7919 % 524287 - 262143\n"
        "rows[:4] %= 300; rows[4:8] %= 30000; out = np.zeros((len(rows),) * 2, np.int64)\n"
        "add_products(rows, out); exact = rows.astype(np.int64) @ rows.T.astype(np.int64)\n"
        "print((np.triu(out) == np.triu(exact)).all())"
    )
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def host_features():
    from llvmlite import binding

    return [name for name, there in binding.get_host_cpu_features().items() if there]


@pytest.mark.parametrize("number", [2047, 2048, 2**15 - 1, -(2**15) + 1, -(2**15), 2**15, -LARGEST])
def test_sums_beyond_32_bits_are_exact(number):  # 512 x 2048 x 2048 is 2^31, one too many
    rows = np.full((ROWS, SEGMENT), number, np.int32)
    out = np.zeros((ROWS, ROWS), np.int64)
    add_products(rows, out)
    assert (out[np.triu_indices(ROWS)] == SEGMENT * number**2).all()
