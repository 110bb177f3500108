"""Correlation lengths of fields with a known one, and sums whose spread is seen in many drawn fields."""

import numpy as np
import pytest

from hsi_dask.kernels.correlation import SHARED, correlation_length, std_of_sum


def field(rng, length, size=200):
    """Gaussian noise with correlation exp(-distance / length), by its spectrum; periodic."""
    at = np.minimum(np.arange(size), size - np.arange(size))
    covariance = np.exp(-np.hypot(at[:, None], at) / length)
    power = np.fft.fft2(covariance).real.clip(0)
    return np.fft.ifft2(np.sqrt(power) * np.fft.fft2(rng.standard_normal((size, size)))).real


@pytest.mark.parametrize("length", [3.0, 8.0, 15.0])
def test_the_length_of_an_exponential_correlation_is_found(length):
    rng = np.random.default_rng(0)
    found = correlation_length([field(rng, length) for _ in range(6)])
    # relative to neighbours, whose correlation is exp(-1 / length) already
    assert found == pytest.approx(length + 1, rel=0.2)


def test_noise_from_pixel_to_pixel_does_not_shorten_it():
    rng = np.random.default_rng(1)
    smooth = [field(rng, 10.0) for _ in range(6)]
    noisy = [one + rng.standard_normal(one.shape) for one in smooth]
    assert correlation_length(noisy) == pytest.approx(correlation_length(smooth), rel=0.2)


def test_missing_pixels_are_passed_over():
    rng = np.random.default_rng(2)
    whole = [field(rng, 6.0) for _ in range(6)]
    holed = [np.where(rng.random(one.shape) < 0.3, np.nan, one) for one in whole]
    assert correlation_length(holed) == pytest.approx(correlation_length(whole), rel=0.1)


@pytest.mark.parametrize(
    "window", [np.full((20, 20), 0.3), np.full((20, 20), np.nan), np.add.outer(*[np.arange(40.0)] * 2)]
)
def test_where_nothing_varies_or_falls_the_length_is_not_known(window):
    assert correlation_length([window]) == np.inf


def test_the_spread_of_sums_of_correlated_errors_is_that_of_many_draws():
    rng, length, size = np.random.default_rng(3), 4.0, 120
    std = rng.uniform(0.05, 0.15, (size, size))
    shared = SHARED * rng.standard_normal(400)
    sums = [(std * (field(rng, length, size) + both)).sum() for both in shared]
    assert std_of_sum(std.sum(), (std**2).sum(), length) == pytest.approx(np.std(sums), rel=0.15)


def test_it_is_never_more_than_if_all_errors_were_the_same():
    std = np.full(100, 0.1)
    assert std_of_sum(10.0, (std**2).sum(), 50.0) == std_of_sum(10.0, (std**2).sum(), np.inf) == 10
