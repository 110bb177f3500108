"""principal_subspace and reduce against numpy.linalg.svd of the whole centred float64 matrix."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_dask.kernels import subspace as module
from hsi_dask.kernels.subspace import principal_subspace, reduce

WAVELENGTHS = 40


def mixtures(n, rank, seed=0, noise=0.0, wavelengths=WAVELENGTHS):
    """Reflectance-like pixels: rank + 1 random spectra, mixed; so `rank` dimensions about their mean."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(rank + 1), n)
    return shares @ rng.uniform(0.05, 0.6, (rank + 1, wavelengths)) + rng.normal(0, noise, (n, wavelengths))


def svd_of_centred(pixels):
    pixels = pixels.astype(np.float64)
    return np.linalg.svd(pixels - pixels.mean(axis=0), full_matrices=False)[1:]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [30, 40, 41, 5000])
def test_components_and_singular_values_are_those_of_the_svd(n, dtype):
    pixels = mixtures(n, 5, noise=0.002).astype(dtype)
    found = principal_subspace(pixels, 5)
    singular_values, axes = svd_of_centred(pixels)
    np.testing.assert_allclose(found.singular_values, singular_values[:5], rtol=1e-9)
    np.testing.assert_allclose(np.abs(np.sum(found.components * axes[:5], axis=1)), 1, rtol=1e-9)
    np.testing.assert_allclose(found.mean, pixels.astype(np.float64).mean(axis=0), rtol=1e-12)


def test_components_are_orthonormal_and_their_largest_entry_is_positive():
    components = principal_subspace(mixtures(3000, 6, noise=0.01), 8).components
    np.testing.assert_allclose(components @ components.T, np.eye(8), atol=1e-12)
    assert (components[np.arange(8), np.abs(components).argmax(axis=1)] > 0).all()


@pytest.mark.parametrize("rows", [1, 7, 100_000])
def test_the_size_of_blocks_does_not_change_the_answer(rows, monkeypatch):
    pixels = mixtures(5000, 4, noise=0.005).astype(np.float32)
    expected = principal_subspace(pixels, 4)
    reduced = reduce(pixels, expected)
    monkeypatch.setattr(module, "ROWS", rows)
    found = principal_subspace(pixels, 4)
    np.testing.assert_allclose(found.components, expected.components, atol=1e-10)
    np.testing.assert_allclose(found.singular_values, expected.singular_values, rtol=1e-12)
    np.testing.assert_allclose(reduce(pixels, expected), reduced, atol=1e-13)


def test_blocks_far_from_each_other_lose_no_digits():
    pixels = mixtures(6000, 3, noise=0.001)
    pixels[:3000] += 1e4
    np.testing.assert_allclose(principal_subspace(pixels, 1).singular_values, svd_of_centred(pixels)[0][:1], rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(rank=st.integers(1, 12), n=st.sampled_from([20, 35, 400, 3000]), seed=st.integers(0, 99), data=st.data())
def test_the_planted_rank_is_found(rank, n, seed, data):
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    assert principal_subspace(mixtures(n, rank, seed).astype(dtype), 3).rank == rank


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [10, 3000])
def test_identical_pixels_have_rank_zero(n, dtype):
    pixels = np.tile(mixtures(1, 3).astype(dtype), (n, 1))
    assert principal_subspace(pixels, 2).rank == 0


def test_noise_has_full_rank():
    assert principal_subspace(mixtures(3000, 2, noise=1e-4), 2).rank == WAVELENGTHS
    assert principal_subspace(mixtures(20, 2, noise=1e-4), 2).rank == 19


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_reduced_pixels_rebuild_pixels_of_that_rank(dtype):
    pixels = mixtures(5000, 4).astype(dtype)
    found = principal_subspace(pixels, 4)
    reduced = reduce(pixels, found)
    assert reduced.dtype == np.float64
    np.testing.assert_allclose(reduced @ found.components + found.mean, pixels, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(reduced, axis=0), found.singular_values, rtol=1e-9)


def test_the_order_of_the_pixels_changes_rounding_only():
    pixels = mixtures(5000, 4, noise=0.005)
    order = np.random.default_rng(1).permutation(len(pixels))
    expected, found = principal_subspace(pixels, 4), principal_subspace(pixels[order], 4)
    np.testing.assert_allclose(found.components, expected.components, atol=1e-10)


def test_a_nan_makes_only_its_own_reduced_pixel_nan():
    pixels = mixtures(3000, 3, noise=0.01)
    found = principal_subspace(pixels, 3)
    pixels[5, 7] = np.nan
    assert np.flatnonzero(np.isnan(reduce(pixels, found)).any(axis=1)).tolist() == [5]


@pytest.mark.parametrize("bad", [[np.nan], [np.inf], [np.inf, -np.inf]])
@pytest.mark.parametrize("n", [30, 3000])
def test_pixels_that_are_not_finite_are_refused(n, bad):
    pixels = mixtures(n, 3)
    pixels[-len(bad) :, 0] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        principal_subspace(pixels, 3)


@pytest.mark.parametrize("dimensions", [0, 11, 41])
def test_more_dimensions_than_the_pixels_have_are_refused(dimensions):
    with pytest.raises(ValueError, match=f"{dimensions} dimensions"):
        principal_subspace(mixtures(10, 3), dimensions)


def test_integers_and_other_wavelengths_are_refused():
    with pytest.raises(ValueError, match="int16"):
        principal_subspace(np.ones((10, 4), dtype=np.int16), 2)
    with pytest.raises(ValueError, match="40 wavelengths"):
        reduce(np.ones((10, 39)), principal_subspace(mixtures(10, 3), 2))
