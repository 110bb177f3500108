"""Resampled spectra against numerical integration and interpolation."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from hsi_dask.errors import EndmemberError
from hsi_dask.ops.resampling import resample_endmembers

BANDS = np.arange(450.0, 900.0, 5.0)


def spectra(wavelength: np.ndarray, *values: np.ndarray, **coords: object) -> xr.DataArray:
    return xr.DataArray(
        np.array(values), {"wavelength": wavelength, **coords}, ("endmember", "wavelength"), attrs={"names": ["oak"]}
    )


def bands(fwhm: float | None = 10.0, wavelength: np.ndarray = BANDS) -> xr.DataArray:
    coords = {"wavelength": wavelength} | (
        {} if fwhm is None else {"fwhm": ("wavelength", np.full(wavelength.size, fwhm))}
    )
    return xr.DataArray(np.zeros(wavelength.size), coords, ("wavelength",))


def test_a_fine_spectrum_is_averaged_by_the_bands_response() -> None:
    """Oracle: a narrow Gaussian line seen through a Gaussian response is a wider Gaussian line."""
    fine = np.arange(400.0, 1000.0, 0.5)
    line = 0.2 + 0.5 * np.exp(-((fine - 700) ** 2) / (2 * 4.0**2))
    sigma = 10 / (2 * np.sqrt(2 * np.log(2)))
    wide = np.hypot(4.0, sigma)
    expected = 0.2 + 0.5 * 4.0 / wide * np.exp(-((BANDS - 700) ** 2) / (2 * wide**2))
    found = resample_endmembers(spectra(fine, line), bands())
    np.testing.assert_allclose(found[0], expected, atol=5e-4)
    assert found.attrs["names"] == ["oak"]
    assert found.dtype == np.float32


def test_a_coarse_spectrum_is_interpolated() -> None:
    coarse = np.array([400.0, 500.0, 1000.0])
    found = resample_endmembers(
        spectra(coarse, np.array([0.1, 0.2, 0.7])), bands(wavelength=np.arange(540.0, 900.0, 5))
    )
    np.testing.assert_allclose(found[0], 0.2 + 0.001 * (found.wavelength - 500), atol=1e-6)


def test_the_width_a_spectrum_has_is_not_added_a_second_time() -> None:
    """A spectrometer's own spectra, half a band off, are interpolated and not smoothed once more."""
    shifted = np.arange(447.5, 905.0, 5.0)
    values = 0.3 + 0.1 * np.sin(shifted / 15)
    own = spectra(shifted, values, fwhm=("wavelength", np.full(shifted.size, 10.0)))
    found = resample_endmembers(own, bands())
    np.testing.assert_allclose(found[0], np.interp(BANDS, shifted, values), atol=1e-6)


def test_wavelengths_that_are_shared_are_taken_as_they_are() -> None:
    values = np.random.default_rng(0).random(BANDS.size).astype("f4")
    more = np.concatenate([BANDS + 0.004, [950.0]])
    found = resample_endmembers(spectra(more, np.append(values, np.nan)), bands())
    np.testing.assert_array_equal(found[0], values)
    np.testing.assert_array_equal(found.wavelength, BANDS)


def test_bands_of_unknown_width_are_as_wide_as_their_spacing() -> None:
    fine = np.arange(400.0, 1000.0, 0.5)
    line = 0.2 + 0.5 * np.exp(-((fine - 700) ** 2) / 32)
    unknown = resample_endmembers(spectra(fine, line), bands(None))
    np.testing.assert_allclose(unknown, resample_endmembers(spectra(fine, line), bands(5.0)), atol=1e-6)


@pytest.mark.parametrize(
    ("wavelength", "gap", "sentence"),
    [
        (np.arange(460.0, 1000.0), None, r"'oak' covers 460.0 to 999.0 nm, but not 2 of the 90 .* \(450.0, 455.0 nm\)"),
        (np.arange(400.0, 800.0), None, r"not 20 of the 90 .* \(800.0, 805.0 and so on to 895.0 nm\); leave these out"),
        (
            np.arange(400.0, 1000.0),
            slice(200, 211),
            r"covers 400.0 to 999.0 nm, but not 3 of .* \(600.0, 605.0, 610.0 nm\)",
        ),
        (np.arange(400.0, 1000.0), slice(None), r"'oak' has no value, but not 90 of the 90"),
    ],
)
def test_what_does_not_cover_the_bands_is_refused_with_the_wavelengths(
    wavelength: np.ndarray, gap: slice | None, sentence: str
) -> None:
    values = np.full(wavelength.size, 0.2)
    if gap is not None:
        values[gap] = np.nan
    with pytest.raises(EndmemberError, match=sentence):
        resample_endmembers(spectra(wavelength, values), bands())


def test_too_many_and_dark_spectra_are_refused() -> None:
    with pytest.raises(EndmemberError, match=r"there are 255 spectra, and 1 to 254 can be used; choose some"):
        resample_endmembers(spectra(BANDS, *np.ones((255, BANDS.size))), bands())
    with pytest.raises(EndmemberError, match=r"the spectrum 'oak' is zero at every wavelength; leave it out"):
        resample_endmembers(spectra(BANDS, np.zeros(BANDS.size)), bands())
