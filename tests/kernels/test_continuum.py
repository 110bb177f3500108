"""Continuum against the highest of all chords over each wavelength; absorptions of shapes with known minima."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hsi_dask.kernels.continuum import absorption, continuum, continuum_removed


def highest_chords(spectrum, grid):
    """At every wavelength the largest value of a chord between two points of the spectrum on either side."""
    out = []
    for k, x in enumerate(grid):
        best = spectrum[k]
        for i in range(k):
            for j in range(k + 1, len(grid)):
                best = max(best, spectrum[i] + (spectrum[j] - spectrum[i]) * (x - grid[i]) / (grid[j] - grid[i]))
        out.append(best)
    return np.array(out)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("L", [1, 2, 3, 25])
def test_the_continuum_is_the_highest_of_all_chords(L, dtype):
    rng = np.random.default_rng(L)
    grid = np.cumsum(rng.uniform(1, 10, L)) + 400
    spectra = rng.uniform(-0.1, 0.7, (30, L)).astype(dtype)
    found = continuum(spectra, grid)
    assert found.dtype == dtype
    for one, hull in zip(spectra, found, strict=True):
        np.testing.assert_allclose(
            hull, highest_chords(one.astype(float), grid), atol=1e-6 if dtype == np.float32 else 1e-12
        )


@settings(max_examples=60, deadline=None)
@given(spectra=arrays.arrays(np.float64, (3, 15), elements=st.floats(0.01, 1)), gain=st.floats(0.1, 10))
def test_the_continuum_is_concave_above_the_spectrum_and_scales_with_it(spectra, gain):
    grid = np.linspace(400, 2400, 15)
    hull = continuum(spectra, grid)
    assert (hull >= spectra).all()
    assert (np.diff(hull, 2, axis=1) <= 1e-12).all()
    np.testing.assert_array_equal(hull[:, [0, -1]], spectra[:, [0, -1]])
    np.testing.assert_allclose(continuum(hull, grid), hull, rtol=1e-12)
    removed = continuum_removed(spectra, grid)
    assert ((removed > 0) & (removed <= 1)).all()
    np.testing.assert_allclose(continuum_removed(gain * spectra, grid), removed, rtol=1e-12)


@pytest.mark.parametrize("centre", [2190.0, 2205.0, 2207.3])
def test_depth_minimum_and_area_of_a_known_absorption_are_found(centre):
    grid = np.arange(2000.0, 2400.0, 5.0)
    depth = 0.3 * np.exp(-0.5 * ((grid - centre) / 25) ** 2)
    line = 0.2 + 0.001 * (grid - 2000)
    found = absorption((line * (1 - depth))[None], grid, (2050, 2350))
    assert found.depth[0] == pytest.approx(0.3, abs=2e-3)
    assert found.wavelength[0] == pytest.approx(centre, abs=0.1)
    assert found.area[0] == pytest.approx(0.3 * 25 * np.sqrt(2 * np.pi), rel=0.01)


def test_a_parabola_is_found_exactly_on_uneven_bands():
    grid = np.array([0.0, 10.0, 13.0, 14.0, 30.0])
    spectrum = np.array([1.0, 0.5, 0.4 + 0.004 * (13 - 12.5) ** 2, 0.4 + 0.004 * (14 - 12.5) ** 2, 1.0])
    spectrum[1] = 0.4 + 0.004 * (10 - 12.5) ** 2
    assert absorption(spectrum[None], grid).wavelength[0] == pytest.approx(12.5, abs=1e-9)


def test_a_straight_spectrum_has_no_absorption_and_a_missing_or_dark_one_no_continuum():
    grid = np.array([1.0, 2.0, 3.0, 4.0])
    spectra = np.array([[0.1, 0.2, 0.3, 0.4], [0.1, np.nan, 0.3, 0.4], [0.0, 0.0, 0.0, 0.0], [0.3, np.inf, 0.1, 0.2]])
    found = absorption(spectra, grid)
    np.testing.assert_allclose(found.depth[0], 0, atol=1e-12)
    assert np.isnan(found.depth[1:]).all()
    assert np.isnan(found.area[1:]).all()
    assert np.isnan(continuum(spectra, grid)[[1, 3]]).all()
    assert absorption(spectra[:1] * 0 + 0.5, grid).depth[0] == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: continuum(np.ones((2, 3)), [1.0, 2.0]), r"\(2, 3\) float64 .* wavelength \(2,\)"),
        (lambda: continuum(np.ones((2, 3), np.int16), [1.0, 2.0, 3.0]), "int16"),
        (lambda: continuum_removed(np.ones((2, 3)), [3.0, 2.0, 1.0]), "must ascend"),
        (lambda: absorption(np.ones((2, 3)), [1.0, 2.0, 3.0], (1.5, 3)), "window 1.5 to 3 has 2 bands"),
    ],
)
def test_other_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
