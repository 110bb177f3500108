"""mnf against the spectral package, principal_components against numpy's eigenvalues; invariants by hypothesis."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_dask.kernels.mnf import mnf, principal_components


def components(pixels, axes, count):
    return (pixels - axes.mean) @ axes.forward[:count].T


def restored(components, axes):
    return components @ axes.inverse[:, : components.shape[1]].T + axes.mean


def statistics(wavelengths=15, seed=0, materials=4):
    """Mixtures with noise of unequal size: pixels, their mean and covariance, the noise's covariance."""
    rng = np.random.default_rng(seed)
    root = np.diag(rng.uniform(0.002, 0.01, wavelengths)) @ (np.eye(wavelengths) + 0.3 * np.eye(wavelengths, k=1))
    pure = rng.uniform(0.05, 0.6, (materials, wavelengths))
    pixels = rng.dirichlet(np.ones(materials), 3000) @ pure + rng.normal(size=(3000, wavelengths)) @ root.T
    return pixels, pixels.mean(axis=0), np.cov(pixels.T), root @ root.T


def test_mnf_is_that_of_the_spectral_package_but_for_signs():
    spectral = pytest.importorskip("spectral.algorithms.algorithms")
    pixels, mean, covariance, noise = statistics()
    signal = spectral.GaussianStats(mean, covariance, len(pixels))
    theirs = spectral.mnf(signal, spectral.GaussianStats(np.zeros_like(mean), noise, 1000))
    ours = mnf(mean, covariance, noise)
    np.testing.assert_allclose(ours.eigenvalues, theirs.napc.eigenvalues, rtol=1e-9)
    their_components = theirs.reduce(pixels, num=5)
    np.testing.assert_allclose(np.abs(components(pixels, ours, 5)), np.abs(their_components), atol=1e-6)
    denoised = restored(components(pixels, ours, 3), ours)
    np.testing.assert_allclose(denoised, theirs.denoise(pixels, num=3), atol=1e-9)


def test_principal_components_are_numpys_eigenvectors_by_descending_variance():
    pixels, mean, covariance, _ = statistics()
    found = principal_components(mean, covariance)
    np.testing.assert_allclose(found.eigenvalues, np.linalg.eigvalsh(covariance)[::-1], rtol=1e-9)
    scores = components(pixels, found, 15)
    np.testing.assert_allclose(np.cov(scores.T), np.diag(found.eigenvalues), atol=1e-12)
    np.testing.assert_allclose(found.forward @ found.forward.T, np.eye(15), atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), wavelengths=st.integers(2, 20))
def test_mnf_makes_noise_white_descends_in_signal_and_its_inverse_restores_every_pixel(seed, wavelengths):
    pixels, mean, covariance, noise = statistics(wavelengths, seed)
    found = mnf(mean, covariance, noise)
    assert (np.diff(found.eigenvalues) <= 0).all()
    np.testing.assert_allclose(found.forward @ noise @ found.forward.T, np.eye(wavelengths), atol=1e-8)
    largest = np.abs(found.forward).argmax(axis=1)
    assert (found.forward[np.arange(wavelengths), largest] > 0).all()
    np.testing.assert_allclose(restored(components(pixels, found, wavelengths), found), pixels, atol=1e-8)


def test_the_unit_of_a_wavelength_does_not_matter_to_mnf_but_to_principal_components():
    _, mean, covariance, noise = statistics()
    unit = np.geomspace(0.01, 100, 15)
    scaled = np.outer(unit, unit)
    np.testing.assert_allclose(
        mnf(mean, covariance * scaled, noise * scaled).eigenvalues, mnf(mean, covariance, noise).eigenvalues, rtol=1e-8
    )


def test_few_components_have_the_materials_and_leave_the_noise():
    pixels, mean, covariance, noise = statistics(60)
    found = mnf(mean, covariance, noise)
    assert (found.eigenvalues > 1.5).sum() == 3
    clean = restored(components(pixels, found, 3), found)
    assert np.trace(np.cov((clean - pixels).T)) == pytest.approx(np.trace(noise), rel=0.1)


def test_variances_are_a_noise_covariance_without_correlation():
    _, mean, covariance, noise = statistics()
    one, other = mnf(mean, covariance, np.diag(noise)), mnf(mean, covariance, np.diag(np.diag(noise)))
    np.testing.assert_allclose(one.eigenvalues, other.eigenvalues, rtol=1e-9)


def test_singular_noise_is_refused_unless_a_ridge_is_added():
    _, mean, covariance, noise = statistics()
    noise[:, 3] = noise[3] = noise[2]
    noise[3, 3] = noise[2, 3] = noise[3, 2] = noise[2, 2]
    with pytest.raises(ValueError, match="the noise covariance of 15 wavelengths has rank 14"):
        mnf(mean, covariance, noise)
    assert np.isfinite(mnf(mean, covariance, noise, ridge=1e-6).eigenvalues).all()
    with pytest.raises(ValueError, match="the noise has 3 wavelengths"):
        mnf(mean, covariance, np.ones(3))
