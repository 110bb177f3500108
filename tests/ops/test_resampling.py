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


def test_a_window_that_was_left_out_does_not_widen_the_bands_beside_it() -> None:
    """Oracle: convolution on a grid of 0.01 nm with a response as wide as the spectrometer's spacing."""
    full = np.arange(400.0, 2501.0, 5.0)
    kept = full[(full < 1340) | (full >= 1445)]
    fine = np.arange(380.0, 2520.0)
    step = 0.15 + 0.2 / (1 + np.exp((fine - 1430) / 2))  # a sharp fall inside the window
    exact = np.arange(1345.0, 1545.0, 0.01)
    response = np.exp(-4 * np.log(2) * ((exact - 1445) / 5) ** 2)
    expected = np.average(np.interp(exact, fine, step), weights=response)
    for grid in (None, full):
        found = resample_endmembers(spectra(fine, step), bands(None, kept), grid=grid)
        assert float(found.sel(wavelength=1445)[0]) == pytest.approx(expected, abs=2e-5)
        np.testing.assert_allclose(found[0, :100], np.interp(kept[:100], fine, step), atol=1e-6)


def test_the_full_grid_tells_the_width_of_bands_that_stand_alone() -> None:
    fine, full = np.arange(400.0, 1000.0, 0.5), np.arange(420.0, 980.0, 5.0)
    line = 0.2 + 0.5 * np.exp(-((fine - 700) ** 2) / 32)
    alone = bands(None, np.array([500.0, 700.0, 900.0]))
    found = resample_endmembers(spectra(fine, line), alone, grid=full)
    np.testing.assert_allclose(
        found, resample_endmembers(spectra(fine, line), bands(5.0, full)).sel(wavelength=alone.wavelength), atol=1e-6
    )


def test_many_spectra_equal_each_by_itself_and_numpy_s_interpolation() -> None:
    """Oracle: np.interp at the samples of each band's response, for every spectrum and its own gaps."""
    rng = np.random.default_rng(5)
    fine = np.arange(400.0, 1000.0, 1.0)
    values = rng.random((300, fine.size))
    for n in range(0, 300, 3):  # gaps between the bands, which lie at multiples of 5 nm
        values[n, [152 + n, 153 + n] if n % 5 else [201, 404]] = np.nan
    values[:, ::5] = rng.random((300, fine[::5].size))
    values[:, 1::5] = rng.random((300, fine[1::5].size))
    many = xr.DataArray(values, {"wavelength": fine}, ("endmember", "wavelength"))
    found = resample_endmembers(many, bands())
    assert found.shape == (300, BANDS.size)
    deviations = np.linspace(-4, 4, 81)
    weight = np.exp(-(deviations**2) / 2) / np.exp(-(deviations**2) / 2).sum()
    at = BANDS[:, None] + 10 / (2 * np.sqrt(2 * np.log(2))) * deviations
    for n in (0, 1, 3, 299):
        there = np.isfinite(values[n])
        expected = (np.interp(at, fine[there], values[n, there]) * weight).sum(axis=1)
        np.testing.assert_allclose(found[n], expected, rtol=1e-6)
        np.testing.assert_allclose(found[n], resample_endmembers(many[n : n + 1], bands())[0], rtol=1e-6)


def test_names_classes_and_numbers_of_a_subset_stay() -> None:
    names, material = np.array(["oak", "lake", "elm"], object), np.array(["tree", "water", "tree"], object)
    coords = {"endmember": [1, 2, 3], "name": ("endmember", names), "material": ("endmember", material)}
    three = spectra(np.arange(400.0, 1000.0), *np.random.default_rng(0).random((3, 600)), **coords)
    found = resample_endmembers(three.isel(endmember=[2, 0]), bands())
    assert found.endmember.values.tolist() == [3, 1]
    assert found["name"].values.tolist() == found.attrs["names"] == ["elm", "oak"]
    assert found["material"].values.tolist() == ["tree", "tree"]
    np.testing.assert_allclose(found, resample_endmembers(three, bands())[[2, 0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("wavelength", "gap", "sentence"),
    [
        (np.arange(460.0, 1000.0), None, r"'oak' covers 460.0 to 999.0 nm, but not 2 of the 90 .* \(450.0, 455.0 nm\)"),
        (
            np.arange(400.0, 800.0),
            None,
            r"not 20 of the 90 .* \(800.0, 805.0 and so on to 895.0 nm\); .*--windows 800-895;",
        ),
        (
            np.arange(400.0, 1000.0),
            slice(200, 211),
            r"covers 400.0 to 999.0 nm, but not 3 of .* \(600.0, 605.0, 610.0 nm\); .*--windows 600-610;",
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


def test_a_gap_in_one_of_many_spectra_is_told_by_its_name_and_how_many_more() -> None:
    fine = np.arange(400.0, 1000.0)
    values = np.full((5, fine.size), 0.2)
    values[[1, 3], 200:206] = np.nan
    many = spectra(fine, *values, name=("endmember", np.array(list("abcde"), object)))
    with pytest.raises(
        EndmemberError, match=r"'b' covers .* not 2 of the 90 .* \(600.0, 605.0 nm\); 1 of the other 4 s"
    ):
        resample_endmembers(many, bands())


def test_what_cannot_be_resampled_is_refused() -> None:
    with pytest.raises(EndmemberError, match="there are 0 spectra to resample; give one or more"):
        resample_endmembers(spectra(BANDS, np.ones(BANDS.size))[:0], bands())
    with pytest.raises(EndmemberError, match=r"the spectrum 'oak' is zero at every wavelength; leave it out"):
        resample_endmembers(spectra(BANDS, np.zeros(BANDS.size)), bands())
    with pytest.raises(EndmemberError, match=r"do not ascend; call \.sortby"):
        resample_endmembers(spectra(BANDS[::-1], np.ones(BANDS.size)), bands())
    assert resample_endmembers(spectra(BANDS, *np.ones((300, BANDS.size))), bands()).shape == (300, BANDS.size)
