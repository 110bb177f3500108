"""Correlations from sums against numpy's corrcoef; invariants by hypothesis."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_dask.kernels.ncc import correlations


def from_spectra(pixels, endmembers):
    """Correlations (p, n) of pixels (n, L) by the sums that a projection gives."""
    wavelengths = pixels.shape[1]
    ones = np.ones(wavelengths)
    basis = np.linalg.qr(np.vstack([endmembers, ones]).T)[0].T
    with np.errstate(invalid="ignore"):
        projections = np.ascontiguousarray(basis @ pixels.T)
    return correlations(projections, (pixels**2).sum(axis=1), endmembers @ basis.T, basis @ ones, wavelengths)


def spectra(n=2500, p=4, seed=0, wavelengths=30):
    rng = np.random.default_rng(seed)
    return rng.uniform(0.01, 0.7, (n, wavelengths)), rng.uniform(0.01, 0.7, (p, wavelengths))


def test_correlations_are_those_of_numpy():
    pixels, endmembers = spectra()
    expected = np.corrcoef(endmembers, pixels)[:4, 4:]
    np.testing.assert_allclose(from_spectra(pixels, endmembers), expected, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), gain=st.floats(0.01, 100), offset=st.floats(-1, 1))
def test_neither_brightness_nor_an_added_constant_changes_them(seed, gain, offset):
    pixels, endmembers = spectra(20, seed=seed)
    found = from_spectra(pixels, endmembers)
    np.testing.assert_allclose(from_spectra(gain * pixels + offset, endmembers), found, atol=2e-4)
    np.testing.assert_allclose(from_spectra(-pixels, endmembers), -found, atol=1e-6)
    np.testing.assert_allclose(np.diag(from_spectra(endmembers, endmembers)), 1, atol=1e-6)
    assert (np.abs(found) <= 1).all()


def test_flat_spectra_are_like_none_and_zero_or_missing_ones_are_nan():
    pixels, endmembers = spectra(5)
    pixels[0] = 0.3
    pixels[1] = 0.0
    pixels[2, 7] = np.nan
    endmembers[2] = 0.4
    found = from_spectra(pixels, endmembers)
    np.testing.assert_allclose(found[:, 0], 0, atol=1e-7)
    assert np.isnan(found[:, 1:3]).all()
    np.testing.assert_allclose(found[2, 3:], 0, atol=1e-7)
    assert np.isfinite(found[:, 3:]).all()


def test_sums_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"ones \(2,\) do not fit"):
        correlations(np.ones((3, 5)), np.ones(5), np.ones((2, 3)), np.ones(2), 9)
