"""What is not labelled as an operation needs it is one sentence, whose way out is tried."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import hsi_dask as hsi
from hsi_dask.errors import EndmemberError, SchemaError

VALUES = np.random.default_rng(0).uniform(0.1, 0.5, (5, 6, 20))
NM = np.linspace(400.0, 2400.0, 20)


@pytest.fixture
def cube() -> xr.DataArray:
    coords = {"wavelength": NM, "y": np.arange(5.0)[::-1], "x": np.arange(6.0)}
    return xr.DataArray(VALUES, coords, ("y", "x", "wavelength"))


@pytest.mark.parametrize("kind", [np.asarray, lambda values: pd.DataFrame(values.reshape(-1, 20)), list])
@pytest.mark.parametrize(
    "operation",
    [
        lambda values: hsi.unmix(values, values), lambda values: hsi.classify(values, values),
        lambda values: hsi.sample_pixels(values, 3), lambda values: hsi.find_endmembers(values, 3), hsi.select_bands,
        hsi.mnf, hsi.estimate_count, hsi.scene_statistics, hsi.continuum_removal, hsi.absorption, hsi.smooth,
        hsi.to_samples, hsi.reduce_library, lambda values: hsi.kmeans(values, 2),
        lambda values: hsi.identify(values, values), lambda values: hsi.false_alarm_thresholds(values, 0.1),
        lambda values: hsi.from_samples(values, values, values),
    ],
)  # fmt: skip
def test_what_has_no_labels_is_a_sentence_that_says_how_to_give_them(operation: Any, kind: Any) -> None:
    with pytest.raises(SchemaError, match=r"came as a .*, which has no labels; make it an xarray\.DataArray first"):
        operation(kind(VALUES))


def test_a_dataset_is_told_which_variables_it_has(cube: xr.DataArray) -> None:
    with pytest.raises(SchemaError, match="the cube came as a Dataset; give one of its variables: reflectance"):
        hsi.unmix(cube.to_dataset(name="reflectance"), cube[0])  # type: ignore[arg-type]


def test_the_sentence_s_own_words_work() -> None:
    with pytest.raises(SchemaError) as told:
        hsi.select_bands(VALUES)
    words = str(told.value).partition("first: ")[2]
    labelled = eval(words, {"xr": xr, "values": VALUES, "nm": NM})
    assert hsi.select_bands(labelled, windows=[], drop_last=2).sizes["wavelength"] == 18


def test_the_words_for_a_table_take_its_columns_as_wavelengths() -> None:
    table = pd.DataFrame(VALUES.reshape(-1, 20), columns=NM)
    with pytest.raises(SchemaError) as told:
        hsi.select_bands(table)  # type: ignore[arg-type]
    labelled = eval(str(told.value).partition("first: ")[2], {"xr": xr, "values": table})
    assert labelled.dims == ("pixel", "wavelength")
    assert hsi.select_bands(labelled, windows=[], drop_last=2).sizes["wavelength"] == 18
    with pytest.raises(SchemaError, match=r"dims=\('pixel', 'wavelength'\)"):
        hsi.select_bands(table.to_numpy())  # type: ignore[arg-type]


def test_a_slice_from_south_to_north_selects_nothing_and_is_told(cube: xr.DataArray) -> None:
    with pytest.raises(SchemaError, match="y descends where north is up"):
        cube.sel(y=slice(0, 3)).hsi.rgb()
    with pytest.raises(SchemaError, match="y descends where north is up"):
        hsi.sample_pixels(cube.sel(y=slice(0, 3)), 3)


def test_field_spectra_are_told_to_be_resampled(cube: xr.DataArray) -> None:
    nm = np.arange(350.0, 2501.0)
    field = xr.DataArray(np.full((2, nm.size), 0.3), {"wavelength": nm}, ("endmember", "wavelength"))
    with pytest.raises(EndmemberError, match=r"2151 wavelengths, the cube 20; .* resample_endmembers"):
        hsi.unmix(cube, field)
    assert hsi.unmix(cube, hsi.resample_endmembers(field, cube)).abundance.shape == (2, 5, 6)
