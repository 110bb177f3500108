"""hysime against the algorithm on the pixels themselves, hfc against a loop; both on scenes of known materials."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_dask import synthetic
from hsi_dask.kernels.counts.hfc import hfc, nwhfc
from hsi_dask.kernels.counts.hysime import hysime
from hsi_dask.kernels.moments import block_moments
from hsi_dask.kernels.noise import regression_noise

FALSE_ALARM = {1e-3: 3.090232306167813, 1e-5: 4.264890793922825}  # quantiles of the normal distribution, from a table


def mixtures(materials, wavelengths=50, pixels=4000, seed=0, noise=0.002):
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(materials), pixels) * rng.uniform(0.7, 1.1, (pixels, 1))
    spread = noise * rng.uniform(0.5, 2, wavelengths)
    pure = rng.uniform(0.05, 0.6, (materials, wavelengths))
    return shares @ pure + rng.normal(size=(pixels, wavelengths)) * spread, spread**2


def statistics(pixels):
    return pixels.mean(axis=0), np.cov(pixels.T), len(pixels)


def hysime_of_pixels(pixels):
    """Bioucas-Dias and Nascimento's algorithm: noise of every pixel by regression, then both correlations."""
    n, wavelengths = pixels.shape
    noise = np.empty_like(pixels)
    for band in range(wavelengths):
        others = np.delete(pixels, band, axis=1)
        noise[:, band] = pixels[:, band] - others @ np.linalg.lstsq(others, pixels[:, band], rcond=None)[0]
    signal = pixels - noise
    directions = np.linalg.svd(signal.T @ signal / n)[0]
    power = np.diag(directions.T @ (pixels.T @ pixels / n) @ directions)
    return int((2 * np.diag(directions.T @ np.diag((noise**2).mean(axis=0)) @ directions) < power).sum())


def scene_statistics(materials, seed):
    """A simulated tile without its noise windows."""
    scene = synthetic.simulate_scene((120, 120), materials=synthetic.MATERIALS[:materials], seed=seed)
    w = scene.wavelength
    keep = (w > 400) & (w < 2450) & ~((w > 1340) & (w < 1445)) & ~((w > 1790) & (w < 1955))
    return block_moments(scene.reflectance()[..., keep][..., ::4], scale=1e-4)


@pytest.mark.parametrize("materials", [2, 3, 5, 8])
def test_hysime_from_statistics_is_hysime_from_pixels(materials):
    pixels, _ = mixtures(materials)
    mean, covariance, n = statistics(pixels)
    found = hysime(mean, covariance, regression_noise(covariance, n), n)
    assert found.materials == hysime_of_pixels(pixels) == materials


@settings(max_examples=20, deadline=None)
@given(materials=st.integers(1, 9), seed=st.integers(0, 999))
def test_hysime_and_nwhfc_count_random_materials_when_the_noise_is_known(materials, seed):
    pixels, noise = mixtures(materials, seed=seed)
    mean, covariance, n = statistics(pixels)
    found = hysime(mean, covariance, noise, n)
    assert found.materials == materials
    assert 1 <= nwhfc(mean, covariance, noise, n).materials <= materials + 1
    assert (found.curve[:materials] > found.limit[:materials]).all()
    assert (found.curve[materials:] <= found.limit[materials:]).all()


@pytest.mark.parametrize("materials", [2, 4, 6])
@pytest.mark.parametrize("seed", [1, 2])
def test_on_simulated_tiles_hysime_is_exact_and_nwhfc_is_never_too_high(materials, seed):
    found = scene_statistics(materials, seed)
    noise = regression_noise(found.covariance, found.pixels)
    assert hysime(found.mean, found.covariance, noise, found.pixels).materials == materials
    assert materials - 2 <= nwhfc(found.mean, found.covariance, noise, found.pixels).materials <= materials


@pytest.mark.parametrize("false_alarm", FALSE_ALARM)
def test_hfc_is_the_test_of_every_pair_of_eigenvalues(false_alarm):
    pixels, _ = mixtures(4)
    mean, covariance, n = statistics(pixels)
    found = hfc(mean, covariance, None, n, false_alarm=false_alarm)
    a = np.sort(np.linalg.eigvalsh(covariance + np.outer(mean, mean)))[::-1]
    b = np.sort(np.linalg.eigvalsh(covariance))[::-1]
    expected = [
        x - y > FALSE_ALARM[false_alarm] * np.sqrt(2 * x**2 / n + 2 * y**2 / n) for x, y in zip(a, b, strict=True)
    ]
    assert found.materials == sum(expected)
    assert ((found.curve > found.limit) == expected).all()


def test_hfc_counts_nothing_but_the_mean_in_white_noise_and_fewer_with_a_smaller_false_alarm():
    mean, covariance = np.zeros(30), np.eye(30)
    assert hfc(mean, covariance, None, 10_000).materials == 0
    mean[3] = 1.0
    assert hfc(mean, covariance, None, 10_000).materials == 1
    pixels, _ = mixtures(6)
    counts = [hfc(*statistics(pixels)[:2], None, 4000, false_alarm=f).materials for f in (0.1, 1e-2, 1e-4, 1e-8)]
    assert counts == sorted(counts, reverse=True)


def test_white_noise_of_any_size_makes_nwhfc_hfc():
    pixels, _ = mixtures(4)
    mean, covariance, n = statistics(pixels)
    assert nwhfc(mean, covariance, np.full(50, 0.37), n).materials == hfc(mean, covariance, None, n).materials


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hysime(np.ones(3), np.eye(4), np.ones(3), 9), r"\(3,\), \(4, 4\), \(3,\)"),
        (lambda: hfc(np.ones(3), np.eye(4), None, 9), "L must agree"),
        (lambda: hfc(np.ones(3), np.eye(3), None, 9, false_alarm=0.6), "false_alarm is 0.6"),
        (lambda: hfc(np.ones(3), np.eye(3), None, 1), "pixels 1"),
        (lambda: nwhfc(np.ones(3), np.eye(3), np.ones(4), 9), "4 wavelengths"),
        (lambda: nwhfc(np.ones(3), np.eye(3), np.ones((3, 3)), 9), "rank 1"),
    ],
)
def test_statistics_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
