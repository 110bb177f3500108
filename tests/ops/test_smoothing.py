"""Smoothing of cubes and libraries against scipy's filter of each spectrum, whatever the chunks."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr

import hsi_dask as hsi
from hsi_dask.errors import ConfigError
from hsi_dask.ops.smoothing import smooth

from .conftest import CHUNKINGS


@pytest.mark.parametrize("chunks", CHUNKINGS)
def test_a_cube_is_lazy_and_the_same_whatever_the_chunks(raw, cube, chunks, refuse_to_compute):
    lazy = smooth(raw.chunk(dict(zip(raw.dims, chunks, strict=True))), window=9)
    assert isinstance(lazy.data, da.Array)
    found, whole = lazy.compute(scheduler="sync"), smooth(cube, window=9)
    xr.testing.assert_allclose(found, whole, atol=1e-6)
    assert (np.isnan(found).all("wavelength") == np.isnan(cube).any("wavelength")).all()
    assert found.spatial_ref.attrs == cube.spatial_ref.attrs


def test_a_library_is_smoothed_as_scipy_does_and_keeps_its_names():
    signal = pytest.importorskip("scipy.signal")
    values = np.random.default_rng(0).uniform(0.1, 0.6, (3, 50))
    coords = {"wavelength": np.linspace(400.0, 890.0, 50), "name": ("endmember", ["a", "b", "c"])}
    library = xr.DataArray(values, coords, ("endmember", "wavelength"))
    found = smooth(library, window=7, order=3)
    np.testing.assert_allclose(found, signal.savgol_filter(values, 7, 3), atol=1e-6)
    assert found["name"].values.tolist() == ["a", "b", "c"]
    assert smooth(library, derivative=1).attrs["units"] == "nm-1"
    assert hsi.smooth is smooth
    with pytest.raises(ConfigError, match="window is 4"):
        smooth(library, window=4)
