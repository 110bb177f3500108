"""Integers made float by xarray, and what was scaled already: against the cube opened as reflectance."""

import numpy as np
import pytest
import xarray as xr

from hsi_dask.errors import SchemaError
from hsi_dask.io.neon.metadata import read_metadata
from hsi_dask.ops.bands import select_bands
from hsi_dask.ops.decoding import storage
from hsi_dask.ops.materials import map_materials
from hsi_dask.ops.quality import Masks, spectral_flags
from hsi_dask.ops.sampling import sample_pixels


@pytest.fixture(params=["lazy", "in memory"])
def numbers(request: pytest.FixtureRequest, tile) -> xr.DataArray:
    """Stored integers with their meaning in the attributes."""
    cube = select_bands(read_metadata(tile).cube())
    return cube if request.param == "lazy" else cube.compute(scheduler="sync")


def made_float(numbers: xr.DataArray, how: str) -> xr.DataArray:
    with xr.set_options(keep_attrs=True):
        if how == "where":
            return numbers.where(numbers > -1e9)
        if how == "astype":
            return numbers.astype("float32")
        return numbers * np.float32(1.0)


@pytest.mark.parametrize("how", ["where", "astype", "arithmetic"])
def test_digital_numbers_made_float_are_refused_with_the_way_out(
    numbers: xr.DataArray, endmembers: xr.DataArray, how: str
) -> None:
    cube = made_float(numbers, how)
    assert cube.attrs["scale_factor"] == 1e-4
    sentence = "and says scale_factor 0.0001: digital numbers, not reflectance; multiply by it"
    with pytest.raises(SchemaError, match=sentence):
        map_materials(cube, endmembers, methods=("sam",)).compute(scheduler="sync")
    with pytest.raises(SchemaError, match=sentence):
        sample_pixels(cube, 50)
    with pytest.raises(SchemaError, match=sentence):
        spectral_flags(cube, Masks(saturated=0.9)).compute(scheduler="sync")


def test_a_scaled_cube_that_kept_its_attributes_stays_right(
    numbers: xr.DataArray, endmembers: xr.DataArray, cube: xr.DataArray
) -> None:
    with xr.set_options(keep_attrs=True):
        scaled = (numbers.where(numbers != -9999) * np.float64(1e-4)).astype("float32")
    assert scaled.attrs["scale_factor"] == 1e-4
    maps = map_materials(scaled, endmembers, methods=("sam",)).compute(scheduler="sync")
    np.testing.assert_allclose(maps.sam_angle, map_materials(cube, endmembers, methods=("sam",)).sam_angle, atol=1e-6)
    np.testing.assert_allclose(sample_pixels(scaled, 50), sample_pixels(cube, 50), rtol=1e-6)


def test_no_data_that_was_scaled_is_refused(numbers: xr.DataArray, endmembers: xr.DataArray) -> None:
    with xr.set_options(keep_attrs=True):
        scaled = numbers * 1e-4
    with pytest.raises(SchemaError, match=r"holds -0.9999, its _FillValue -9999 times its scale_factor"):
        map_materials(scaled, endmembers, methods=("sam",)).compute(scheduler="sync")


def test_integers_say_what_they_mean_and_floats_are_reflectance(raw: xr.DataArray, cube: xr.DataArray) -> None:
    assert storage(raw) == (1e-4, -9999.0)
    assert storage(cube) == (1.0, None)
    bare = raw.copy()
    bare.attrs = {}
    with pytest.raises(SchemaError, match="without a scale_factor"):
        storage(bare)
