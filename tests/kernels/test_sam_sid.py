"""SAM and SID against their definitions, and SAM against the spectral package."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_dask.kernels.projection import project, weights
from hsi_dask.kernels.sam import angles
from hsi_dask.kernels.sid import divergences


def sam(pixels: np.ndarray, spectra: np.ndarray) -> np.ndarray:
    w = weights(spectra)
    sums = project(pixels.T, w)
    return angles(sums.projections, sums.energy, spectra @ w.basis.T)


def sid(pixels: np.ndarray, spectra: np.ndarray) -> np.ndarray:
    sums = project(pixels.T, weights(spectra))
    return divergences(sums.total, sums.forward, sums.backward)


def defined_sid(x: np.ndarray, e: np.ndarray, floor: float = 1e-4) -> float:
    p, q = np.maximum(x, floor), np.maximum(e, floor)
    p, q = p / p.sum(), q / q.sum()
    return float((p * np.log(p / q)).sum() + (q * np.log(q / p)).sum())


@pytest.fixture
def spectra() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.02, 0.8, (5, 200))


@pytest.fixture
def pixels(spectra: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(1)
    mixed = rng.dirichlet(np.ones(5), 400) @ spectra * rng.uniform(0.3, 1.2, (400, 1))
    return mixed + rng.normal(0, 0.01, mixed.shape)


def test_angles_equal_the_spectral_package(pixels: np.ndarray, spectra: np.ndarray) -> None:
    spectral = pytest.importorskip("spectral")
    expected = spectral.spectral_angles(pixels.reshape(20, 20, -1), spectra).reshape(400, 5).T
    np.testing.assert_allclose(sam(pixels, spectra), expected, atol=1e-6)


def test_divergences_equal_their_definition(pixels: np.ndarray, spectra: np.ndarray) -> None:
    expected = np.array([[defined_sid(x, e) for x in pixels] for e in spectra])
    np.testing.assert_allclose(sid(pixels, spectra), expected, atol=1e-6)


def test_divergence_is_symmetric(spectra: np.ndarray) -> None:
    table = sid(spectra, spectra)
    np.testing.assert_allclose(table, table.T, atol=1e-6)
    np.testing.assert_allclose(np.diag(table), 0, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.05, 5))
def test_brightness_changes_neither(factor: float) -> None:
    rng = np.random.default_rng(2)
    spectra, pixels = rng.uniform(0.1, 0.8, (3, 50)), rng.uniform(0.1, 0.8, (20, 50))
    np.testing.assert_allclose(sam(pixels * factor, spectra), sam(pixels, spectra), atol=1e-6)
    np.testing.assert_allclose(sid(pixels * factor, spectra), sid(pixels, spectra), atol=1e-6)


def test_a_scaled_endmember_is_at_angle_zero_and_a_missing_or_zero_pixel_at_none(spectra: np.ndarray) -> None:
    pixels = np.stack([spectra[2] * 0.5, np.full(200, np.nan), np.zeros(200)])
    table = sam(pixels, spectra)
    assert table[2, 0] < 1e-7 or np.isclose(table[2, 0], 0, atol=5e-8)
    assert np.isnan(table[:, 1:]).all()
    assert np.isnan(sid(pixels, spectra)[:, 1]).all()
