"""Units and missing values against simulated spectra in known units, with what field libraries have in them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsi_dask.errors import EndmemberError
from hsi_dask.io.reflectance import HIGHEST, LOWEST, Units, to_fractions, to_nanometres
from hsi_dask.synthetic import material_spectra

NM = np.arange(350.0, 2501.0, 5.0)
NAMES = ["vegetation", "soil", "asphalt", "roof", "water"]
SPECTRA = material_spectra(NAMES, NM)
OPAQUE = ((NM > 1350) & (NM < 1430)) | ((NM > 1800) & (NM < 1950))
ONE = {"fraction": 1.0, "percent": 100.0, "10000": 10000.0}
PATH = Path("library.csv")


def fractions(values: Any, *, scale: float | None = None, units: Units | None = None) -> tuple[np.ndarray, str]:
    return to_fractions(np.array(values, dtype=np.float64), NM, NAMES[: len(values)], PATH, scale, units)


@pytest.mark.parametrize("unit", ONE)
@pytest.mark.parametrize("chosen", [[0, 1, 2, 3, 4], [4], [2, 4], [0]])
def test_the_unit_is_found_for_bright_and_dark_spectra(unit: str, chosen: list[int]) -> None:
    found, told = fractions(SPECTRA[chosen] * ONE[unit])
    np.testing.assert_allclose(found, SPECTRA[chosen], rtol=1e-12)
    assert told.startswith({"fraction": "reflectance as fractions", "percent": "reflectance in percent"}.get(unit, ""))
    assert "by its values: outside water vapour they reach" in told


@pytest.mark.parametrize("unit", ONE)
@given(seed=st.integers(0, 1000), sd=st.sampled_from([0.5, 2.0, 20.0]))
def test_noise_in_water_vapour_and_at_the_ends_does_not_change_the_unit(unit: str, seed: int, sd: float) -> None:
    noisy = OPAQUE | (NM < 400) | (NM > 2360)
    values = SPECTRA.copy()
    values[:, noisy] += np.random.default_rng(seed).normal(0, sd, (len(values), noisy.sum()))
    found, _ = fractions(values * ONE[unit])
    np.testing.assert_allclose(found[:, ~noisy], SPECTRA[:, ~noisy], rtol=1e-12)
    known = found[np.isfinite(found)]
    assert LOWEST <= known.min() <= known.max() <= HIGHEST


@pytest.mark.parametrize("unit", ONE)
@pytest.mark.parametrize(
    "fill", [-9999.0, -999.0, -1.23e34, -32768.0, 1e30, 99999.0, np.nan, np.inf, -np.inf, 65535.0, 1.7e38]
)  # fmt: skip
def test_values_no_reflectance_can_have_are_missing_wherever_they_are(unit: str, fill: float) -> None:
    for where in (OPAQUE, NM > 2200, NM < 500):
        values = SPECTRA * ONE[unit]
        values[:, where] = fill
        found, told = fractions(values)
        assert np.isnan(found[:, where]).all()
        np.testing.assert_allclose(found[:, ~where], SPECTRA[:, ~where], rtol=1e-12)
        assert ("values that no reflectance has are missing" in told) == bool(np.isfinite(fill))


@pytest.mark.parametrize("fill", [-1.0, 9999.0, 100000.0, -0.9])
def test_fill_values_among_fractions_are_missing(fill: float) -> None:
    values = SPECTRA.copy()
    values[0, 50:70] = fill
    found, told = fractions(values)
    assert np.isnan(found[0, 50:70]).all()
    assert np.isfinite(found).sum() == SPECTRA.size - 20
    assert told.endswith("; 20 values that no reflectance has are missing")


def test_noise_about_zero_and_bright_glint_stay() -> None:
    values = SPECTRA.copy()
    values[4] = np.random.default_rng(0).normal(0, 0.02, NM.size)
    values[3, 10] = 1.8
    found, told = fractions(values)
    np.testing.assert_array_equal(found, values)
    assert "missing" not in told


@pytest.mark.parametrize("unit", ONE)
def test_a_unit_that_is_asked_for_is_taken(unit: Any) -> None:
    found, told = fractions(SPECTRA * ONE[unit], units=unit)
    np.testing.assert_allclose(found, SPECTRA, rtol=1e-12)
    assert "as asked for" in told


def test_dark_values_may_be_percent_if_asked_for() -> None:
    dark = np.full((1, NM.size), 0.8)
    assert fractions(dark)[0][0, 0] == 0.8
    assert fractions(dark, units="percent")[0][0, 0] == pytest.approx(0.008)


@pytest.mark.parametrize(
    ("values", "how", "sentence"),
    [
        (SPECTRA * 100, {"units": "fraction"}, r"reach 61\.\d+ outside water vapour, but units fraction are asked for"),
        (SPECTRA, {"units": "10000"}, r"reach 0\.61\d+ .* but units 10000 are asked for, which makes reflectance of 6"),
        (SPECTRA, {"scale": 10000.0}, r"but its reflectance scale is 10000, .*; say which unit they are in .fraction,"),
        (SPECTRA * 10000, {"scale": 1.0}, r"but its reflectance scale is 1, which makes reflectance of 61\d\d; say"),
        (SPECTRA, {"units": "per mille"}, r"units must be one of fraction, percent, 10000, not 'per mille'"),
        (SPECTRA * np.nan, {}, r"library.csv holds no value; give spectra"),
        (SPECTRA * 0 - 7, {}, r"holds no value that reflectance can have \(-0.5 to 3\)"),
    ],
)
def test_values_that_contradict_their_unit_are_refused(values: Any, how: dict[str, Any], sentence: str) -> None:
    with pytest.raises(EndmemberError, match=sentence):
        fractions(values, **how)


def test_a_spectrum_in_another_unit_than_the_others_is_refused_by_name() -> None:
    values = np.tile(SPECTRA[1:2], (30, 1))
    values[7] *= 100
    names = [f"soil {n}" for n in range(30)]
    with pytest.raises(EndmemberError, match=r"has 'soil 7' with a median of [\d.]+, a reflectance of [\d.]+ in"):
        to_fractions(values, NM, names, PATH, None, None)


@pytest.mark.parametrize(
    ("stated", "grid", "factor", "why"),
    [
        ("", [400, 500], 1, "nm by their values"),
        ("", [0.4, 0.5], 1000, "um by their values"),
        ("Micrometers", [0.4, 0.5], 1000, "micrometer as the file says"),
        ("Angstroms", [4000, 5000], 0.1, "angstrom as the file says"),
        ("Wavenumber", [4000, 5000], None, "has wavenumber where wavelengths should be; give wavelengths in nm"),
        ("wavelength_nm", [40, 90], None, "has wavelengths of 40 to 90 nm"),
        ("", [1, 2, 3], None, "counts 1 to 3 where wavelengths should be: numbers of bands"),
        ("", [400, 400], None, "needs two or more wavelengths, positive and each once"),
        ("", [400, np.nan], None, "needs two or more wavelengths"),
        ("um", [0.4, 1e300], None, "can be; correct them or their unit"),
    ],
)
def test_wavelengths_are_nanometres_or_refused(stated: str, grid: list[float], factor: float | None, why: str) -> None:
    if factor is None:
        with pytest.raises(EndmemberError, match=why):
            to_nanometres(stated, np.array(grid, dtype=float), PATH)
    else:
        found, told = to_nanometres(stated, np.array(grid, dtype=float), PATH)
        assert found == factor
        assert why in told
