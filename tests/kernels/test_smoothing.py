"""Savitzky-Golay against scipy's on even wavelengths, and against polynomials, which it leaves as they are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_dask.kernels.smoothing import savitzky_golay


@pytest.mark.parametrize(("window", "order", "derivative"), [(5, 2, 0), (11, 3, 0), (7, 2, 1), (9, 4, 2), (1, 0, 0)])
def test_on_even_wavelengths_it_is_scipys(window, order, derivative):
    signal = pytest.importorskip("scipy.signal")
    spectra = np.random.default_rng(0).uniform(0, 1, (4, 40))
    wanted = signal.savgol_filter(spectra, window, order, deriv=derivative, delta=5.0, axis=1)
    found = spectra @ savitzky_golay(400 + 5.0 * np.arange(40), window, order, derivative).T
    np.testing.assert_allclose(found, wanted, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), order=st.integers(0, 3))
def test_polynomials_on_uneven_wavelengths_stay_and_have_their_derivative(seed, order):
    rng = np.random.default_rng(seed)
    grid = 400 + np.cumsum(rng.uniform(4, 6, 30))
    x = (grid - 475) / 75
    factors = rng.uniform(-1, 1, order + 1)
    spectrum = np.polynomial.polynomial.polyval(x, factors)
    np.testing.assert_allclose(savitzky_golay(grid, 7, order) @ spectrum, spectrum, atol=1e-10)
    if order:
        slope = np.polynomial.polynomial.polyval(x, np.polynomial.polynomial.polyder(factors)) / 75
        np.testing.assert_allclose(savitzky_golay(grid, 7, order, 1) @ spectrum, slope, atol=1e-10)


def test_nothing_is_fitted_across_a_gap():
    grid = np.concatenate([np.arange(400.0, 450, 5), np.arange(600.0, 650, 5)])
    matrix = savitzky_golay(grid, 5, 2)
    assert (matrix[:10, 10:] == 0).all()
    assert (matrix[10:, :10] == 0).all()
    np.testing.assert_allclose(matrix.sum(axis=1), 1)


@pytest.mark.parametrize(
    ("window", "order", "derivative", "grid", "message"),
    [(4, 2, 0, 9, "window is 4"), (5, 5, 0, 9, "order 5"), (5, 2, 3, 9, "derivative 3"), (5, 2, 0, -9, "must ascend")],
)
def test_other_input_is_refused(window, order, derivative, grid, message):
    with pytest.raises(ValueError, match=message):
        savitzky_golay(np.linspace(0, grid, 10), window, order, derivative)
