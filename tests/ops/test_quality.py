"""Flags against layers and spectra small enough to see through."""

from __future__ import annotations

import logging
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr

from hsi_dask.errors import ConfigError
from hsi_dask.ops.quality import Masks, count_flags, layer_flags, mask_maps, spectral_flags
from hsi_dask.schema import FLAGS, VARIABLES

WAVELENGTH = [450.0, 560.0, 665.0, 842.0, 1600.0]
SPECTRA = {
    "meadow": [0.03, 0.08, 0.04, 0.45, 0.25],
    "lake": [0.05, 0.06, 0.03, 0.01, 0.002],
    "soil": [0.10, 0.15, 0.20, 0.28, 0.35],
    "glint": [0.90, 1.20, 1.30, 1.25, 0.80],
    "shade": [-0.01, 0.01, 0.01, 0.02, 0.01],
}


@pytest.fixture
def cube() -> xr.DataArray:
    """One pixel of each kind, as a row."""
    values = np.array([list(SPECTRA.values())], np.float32)
    return xr.DataArray(values, {"wavelength": WAVELENGTH}, ("y", "x", "wavelength"))


def flagged(cube: xr.DataArray, **masks: Any) -> dict[str, list[str]]:
    """Names of flagged pixels by flag."""
    flags = spectral_flags(cube, Masks(**masks)).values[0]
    found = dict(zip(SPECTRA, flags.astype(int), strict=True))
    named = {flag: [n for n, f in found.items() if f & bit] for flag, bit in FLAGS.items()}
    return {flag: names for flag, names in named.items() if names}


@pytest.mark.parametrize(("percent", "masked"), [(10, [0, 4, 4, 0]), (50, [0, 0, 4, 0])])
def test_cloud_above_what_is_allowed_is_flagged_and_where_unknown_none(percent: Any, masked: list[int]) -> None:
    """2 is the flag of cloud."""
    flags = layer_flags({"cloud": np.array([[1, 2, 3, np.nan]], "f4")}, Masks(cloud=percent))
    np.testing.assert_array_equal(flags.values[0], np.array(masked) // 2)


@pytest.mark.parametrize("shade_is", [0, 1])
def test_shade_is_the_darker_side_of_its_edges_whichever_value_it_has(
    shade_is: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Half the scene is a lit lake, darker than any shade: only edges can tell."""
    shaded = np.zeros((60, 60), bool)
    shaded[5:25, 3:40:3] = True
    brightness = np.full((60, 60), 0.4)
    brightness[30:] = 0.01
    brightness[shaded] = 0.1
    layer = np.where(shaded, shade_is, 1 - shade_is).astype("f4")
    layer[50:] = np.nan
    with caplog.at_level(logging.INFO, "hsi_dask"):
        flags = layer_flags({"shadow": layer}, Masks(shadow=True), xr.DataArray(brightness, dims=("y", "x")))
    np.testing.assert_array_equal(flags.values == FLAGS["shadow"], shaded)
    assert f"{shade_is} is shade; across its edges" in caplog.text


def test_where_brightness_does_not_tell_zero_is_shade_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    layer = np.array([[0, 1, np.nan]], "f4")
    with caplog.at_level(logging.INFO, "hsi_dask"):
        flags = layer_flags({"shadow": layer}, Masks(shadow=True), xr.DataArray(np.ones((1, 3)), dims=("y", "x")))
    assert flags.values.tolist() == [[FLAGS["shadow"], 0, 0]]
    assert "0 is taken as shade" in caplog.text


def test_spectra_are_flagged_by_what_they_are(cube: xr.DataArray) -> None:
    assert flagged(cube, saturated=1.0) == {"saturated": ["glint"]}
    assert flagged(cube, negative=True) == {"negative": ["shade"]}
    assert flagged(cube, water=0.1) == {"water": ["lake"]}
    assert flagged(cube, vegetation=0.5) == {"vegetation": ["meadow"]}
    assert flagged(cube, not_vegetation=0.3) == {"not_vegetation": ["lake", "soil", "glint"]}
    both = spectral_flags(cube, Masks(saturated=1.0, not_vegetation=0.3)).values[0]
    assert both[3] == FLAGS["saturated"] | FLAGS["not_vegetation"]


@pytest.mark.parametrize("chunks", [(1, 2, 2), (1, 5, -1), (1, 1, 1)])
def test_stored_integers_and_chunks_change_nothing(cube: xr.DataArray, chunks: tuple[int, ...]) -> None:
    masks = Masks(saturated=1.0, negative=True, water=0.1, vegetation=0.5, not_vegetation=0.3)
    stored = (cube * 10000).round().astype("i2").assign_attrs(scale_factor=1e-4, _FillValue=-9999)
    lazy = stored.chunk(dict(zip(stored.dims, chunks, strict=True)))

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("computed while the graph was built")

    with dask.config.set(scheduler=refuse):
        flags = spectral_flags(lazy, masks)
    assert flags.dtype == np.uint8
    np.testing.assert_array_equal(flags, spectral_flags(cube, masks))


def test_an_index_without_its_wavelengths_is_refused(cube: xr.DataArray) -> None:
    with pytest.raises(ConfigError, match=r"masks.water needs 842 nm, but the nearest .* is 665.0 nm; change bands"):
        spectral_flags(cube.sel(wavelength=[450, 560, 665]), Masks(water=0.0))


def test_masked_pixels_are_no_data_in_every_map_and_keep_every_reason() -> None:
    cloudy_lake, lake, gone = FLAGS["cloud"] | FLAGS["water"], FLAGS["water"], FLAGS["no_data"]
    maps = xr.Dataset(
        {
            "abundance": (("endmember", "y", "x"), np.array([[[0.5, 0.5, np.nan, 0.5]]] * 2, np.float32)),
            "residual": (("y", "x"), np.array([[0.1, 0.1, np.nan, 0.1]], np.float32)),
            "sam_class": (("y", "x"), np.array([[1, 2, 255, 2]], np.uint8)),
        }
    )
    flags = np.array([[cloudy_lake, 0, lake | FLAGS["cloud"], lake]], np.uint8)
    done = mask_maps(maps, np.array([[0, 0, 1, 0]], np.float32), flags)
    assert done.quality.values.tolist() == [[cloudy_lake, 0, gone | FLAGS["cloud"], lake]]
    assert done.sam_class.values.tolist() == [[255, 2, 255, 255]]
    assert np.isnan(done.abundance.values[:, 0]).tolist() == [[True, False, True, True]] * 2
    assert np.isnan(done.residual.values[0]).tolist() == [True, False, True, True]
    assert count_flags(done.quality.values) == {"valid": 1, "no_data": 1, "cloud": 2, "water": 2}


def test_quality_follows_cf() -> None:
    attrs = VARIABLES["quality"].attrs
    assert attrs["flag_masks"].dtype == np.uint8
    assert len(attrs["flag_masks"]) == len(attrs["flag_meanings"].split()) == 8
    assert attrs["flag_masks"].sum() == 255
    plain = mask_maps(xr.Dataset({"sam_class": (("y", "x"), np.array([[3, 255]], np.uint8))}), np.array([[0, 2]]), None)
    assert plain.quality.values.tolist() == [[0, 1]]
    assert plain.quality.attrs["standard_name"] == "quality_flag"
