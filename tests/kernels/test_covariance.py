"""whiten against numpy's inverse; regression_noise against least squares of every wavelength on the others."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_dask.kernels.covariance import whiten
from hsi_dask.kernels.noise import regression_noise


def covariance(wavelengths, seed=0, spread=3.0):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(wavelengths, wavelengths)) * 10 ** rng.uniform(-spread, spread, (wavelengths, 1))
    return root @ root.T


@settings(max_examples=40, deadline=None)
@given(wavelengths=st.integers(1, 30), seed=st.integers(0, 999))
def test_whitening_makes_the_covariance_one_and_its_square_is_the_inverse(wavelengths, seed):
    matrix = covariance(wavelengths, seed)
    white = whiten(matrix)
    variances = np.sqrt(matrix.diagonal())
    rounding = 1e-10 + 1e-14 * np.linalg.cond(matrix / np.outer(variances, variances))
    np.testing.assert_allclose(white.forward @ matrix @ white.forward.T, np.eye(wavelengths), atol=rounding)
    np.testing.assert_allclose(white.inverse @ white.forward, np.eye(wavelengths), atol=1e-6)
    np.testing.assert_allclose(white.inverse @ white.inverse.T, matrix, rtol=1e-6, atol=1e-9 * matrix.max())


def test_variances_alone_are_a_diagonal_covariance():
    for ridge in (0.0, 0.5):
        full, short = whiten(np.diag([4.0, 9.0]), ridge=ridge), whiten([4.0, 9.0], ridge=ridge)
        np.testing.assert_allclose(full.forward.T @ full.forward, short.forward.T @ short.forward, rtol=1e-12)


def test_a_ridge_makes_a_singular_covariance_invertible():
    matrix = np.ones((5, 5)) * 7
    with pytest.raises(ValueError, match="5 wavelengths has rank 1"):
        whiten(matrix)
    assert np.isfinite(whiten(matrix, ridge=1e-6).forward).all()


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones((2, 3)), r"\(2, 3\)"),
        (np.array([[1.0, np.nan], [np.nan, 1.0]]), "2 values that are not finite"),
        (np.diag([1.0, 0.0, 0.0]), "2 wavelengths, first at index 1"),
        ([1.0, -1.0], "1 wavelengths, first at index 1"),
    ],
)
def test_what_is_no_covariance_is_refused(matrix, message):
    with pytest.raises(ValueError, match=f"the noise .*{message}"):
        whiten(matrix, name="the noise")


def test_regression_noise_is_the_residual_variance_of_a_least_squares_fit():
    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(200, 3)) @ rng.normal(size=(3, 12)) + rng.normal(size=(200, 12)) * 0.1
    found = regression_noise(np.cov(pixels.T), 200)
    for band in range(12):
        others = np.column_stack([np.delete(pixels, band, axis=1), np.ones(200)])
        rest = pixels[:, band] - others @ np.linalg.lstsq(others, pixels[:, band], rcond=None)[0]
        assert found[band] == pytest.approx(rest @ rest / (200 - 12), rel=1e-9)


def test_the_noise_of_mixtures_is_found():
    rng = np.random.default_rng(0)
    spread = np.linspace(0.001, 0.004, 60)
    pixels = rng.dirichlet(np.ones(5), 5000) @ rng.uniform(0.05, 0.6, (5, 60)) + rng.normal(size=(5000, 60)) * spread
    found = np.sqrt(regression_noise(np.cov(pixels.T), 5000))
    np.testing.assert_allclose(found, spread, rtol=0.25)
    assert np.median(found / spread) == pytest.approx(1, abs=0.05)


def test_a_regression_needs_more_pixels_than_wavelengths():
    with pytest.raises(ValueError, match="3 wavelengths needs more pixels than 3"):
        regression_noise(np.eye(3), 3)
