"""The extractor against the kernel that it calls; how often it restarts."""

import numpy as np
import pytest

from hsi_dask.kernels.extraction.nfindr import nfindr
from hsi_dask.kernels.nfindr import nfindr as search
from hsi_dask.kernels.subspace import principal_subspace, reduce


def mixtures(materials, n=1500, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    shares = np.vstack([np.eye(materials), rng.dirichlet(np.ones(materials), n)])
    return shares @ rng.uniform(0.05, 0.6, (materials, 40)) + rng.normal(0, noise, (n + materials, 40))


def test_it_is_the_search_in_the_principal_subspace():
    pixels = mixtures(5)
    found = nfindr(pixels, 5, np.random.default_rng(0))
    expected = search(reduce(pixels, principal_subspace(pixels, 4)), 5)
    assert found.indices.tolist() == expected.indices.tolist()
    assert found.diagnostics["log_volume"] == pytest.approx(expected.log_volume)


def test_ten_restarts_are_enough_for_materials_that_exist_and_more_are_made_for_noise():
    assert nfindr(mixtures(12), 12, np.random.default_rng(0)).diagnostics["volumes"].size == 10
    more = nfindr(mixtures(4, noise=0.02), 14, np.random.default_rng(0)).diagnostics
    assert more["volumes"].size == 70
    assert more["again"] >= 1
    assert nfindr(mixtures(4, noise=0.02), 14, np.random.default_rng(0), restarts=3).diagnostics["volumes"].size == 3


def test_one_endmember_is_the_brightest_pixel():
    pixels = mixtures(3)
    assert nfindr(pixels, 1, np.random.default_rng(0)).indices.tolist() == [(pixels**2).sum(axis=1).argmax()]


def test_more_endmembers_than_dimensions_are_refused():
    with pytest.raises(ValueError, match="too few dimensions for 5 endmembers; ask for 3 at most"):
        nfindr(mixtures(3), 5, np.random.default_rng(0))
