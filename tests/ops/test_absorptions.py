"""Continuum removal of cubes and libraries against scipy's convex hull, spectrum by spectrum, whatever the chunks."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import hsi_dask as hsi
from hsi_dask.errors import ConfigError, SchemaError
from hsi_dask.ops.absorptions import absorption, continuum_removal

from .conftest import CHUNKINGS


def over_hull(spectrum, grid):
    """The spectrum over the upper side of scipy's hull of its points and two far below them."""
    spatial = pytest.importorskip("scipy.spatial")
    points = np.column_stack([grid, spectrum])
    closed = np.vstack([points, [[grid[0], -9.0], [grid[-1], -9.0]]])
    corners = np.sort([i for i in spatial.ConvexHull(closed).vertices if i < len(grid)])
    return spectrum / np.interp(grid, grid[corners], spectrum[corners])


@pytest.fixture(scope="module")
def library():
    rng = np.random.default_rng(0)
    grid = np.cumsum(rng.uniform(2, 12, 80)) + 400
    values = rng.uniform(0.2, 0.5, (6, 80)).astype(np.float32)
    coords = {"wavelength": grid, "endmember": [3, 1, 4, 5, 9, 2], "name": ("endmember", [*"abcdef"])}
    return xr.DataArray(values, coords, ("endmember", "wavelength"))


def test_a_library_keeps_its_labels_and_is_divided_by_its_hull(library):
    found = continuum_removal(library)
    assert found.dims == library.dims
    assert found["name"].values.tolist() == [*"abcdef"]
    assert found["endmember"].values.tolist() == library["endmember"].values.tolist()
    for ours, spectrum in zip(found.values, library.values.astype(float), strict=True):
        np.testing.assert_allclose(ours, over_hull(spectrum, library.wavelength.values), atol=2e-6)


@pytest.mark.parametrize("chunks", CHUNKINGS)
def test_a_cube_is_lazy_and_the_same_whatever_the_chunks(raw, cube, chunks, refuse_to_compute):
    chunked = raw.chunk(dict(zip(raw.dims, chunks, strict=True)))
    lazy, features = continuum_removal(chunked), absorption(chunked, window=(2000, 2350))
    assert isinstance(lazy.data, da.Array)
    assert isinstance(features.absorption_depth.data, da.Array)
    np.testing.assert_array_equal(lazy.compute(scheduler="sync"), continuum_removal(cube))
    xr.testing.assert_equal(features.compute(scheduler="sync"), absorption(cube, window=(2000, 2350)))


def test_pixels_of_a_cube_are_those_of_a_slow_loop_and_missing_ones_stay_missing(cube):
    found = continuum_removal(cube)
    assert found.spatial_ref.attrs == cube.spatial_ref.attrs
    missing = np.isnan(cube.values).any(axis=2)
    assert missing.any()
    assert (np.isnan(found.values).all(axis=2) == missing).all()
    assert (
        np.isfinite(found.values) | missing[..., None] | (cube.values[..., [0]] <= 0) | (cube.values[..., [-1]] <= 0)
    ).all()
    for y, x in zip(*(at[::97] for at in np.nonzero(~missing)), strict=True):
        spectrum = cube.values[y, x].astype(float)
        if spectrum.min() > 0.01:
            np.testing.assert_allclose(found[y, x], over_hull(spectrum, cube.wavelength.values), atol=1e-5)


def test_depth_wavelength_and_area_of_a_known_absorption_are_found():
    grid = np.arange(1900.0, 2500.0, 5.0)
    centres = np.array([2190.0, 2205.0, 2207.3])
    dips = 0.3 * np.exp(-0.5 * ((grid - centres[:, None]) / 25) ** 2)
    values = (0.2 + 1e-4 * grid) * (1 - dips)
    spectra = xr.DataArray(values, {"wavelength": grid}, ("pixel", "wavelength"))
    found = absorption(spectra, window=(2050, 2350))
    np.testing.assert_allclose(found.absorption_depth, 0.3, atol=2e-3)
    np.testing.assert_allclose(found.absorption_wavelength, centres, atol=0.1)
    np.testing.assert_allclose(found.absorption_area, 0.3 * 25 * np.sqrt(2 * np.pi), rtol=0.01)
    assert found.attrs["window"] == [2050.0, 2350.0]


def test_what_is_missing_outside_a_window_does_not_matter(library):
    spoiled = library.where(library.wavelength > 500)
    window = (510.0, 800.0)
    xr.testing.assert_equal(absorption(spoiled, window=window), absorption(library, window=window))
    assert np.isnan(continuum_removal(spoiled)).all()


@settings(max_examples=40, deadline=None)
@given(values=arrays.arrays(np.float64, (3, 15), elements=st.floats(0.01, 1)), gain=st.floats(0.1, 10))
def test_brightness_changes_nothing_and_nothing_is_above_one(values, gain):
    spectra = xr.DataArray(values, {"wavelength": np.linspace(400.0, 2400.0, 15)}, ("pixel", "wavelength"))
    found = continuum_removal(spectra)
    assert ((found > 0) & (found <= 1)).all()
    assert (found[:, [0, -1]] == 1).all()
    np.testing.assert_allclose(continuum_removal(gain * spectra), found, rtol=2e-6)
    np.testing.assert_allclose(absorption(spectra).absorption_depth, 1 - found.min("wavelength"), atol=1e-6)


def test_other_orders_of_dimensions_are_kept(cube):
    turned = cube.transpose("wavelength", "y", "x")
    found = continuum_removal(turned)
    assert found.dims == turned.dims
    np.testing.assert_array_equal(found.transpose(*cube.dims), continuum_removal(cube))
    assert absorption(turned).absorption_depth.dims == ("y", "x")


def test_what_cannot_be_is_one_sentence(library):
    with pytest.raises(ConfigError, match="the window 500 to 501 nm has"):
        continuum_removal(library, window=(500, 501))
    with pytest.raises(SchemaError, match=r"must ascend .* sortby"):
        absorption(library.isel(wavelength=slice(None, None, -1)))
    with pytest.raises(SchemaError, match="coordinate 'wavelength' in nm"):
        continuum_removal(library.drop_vars("wavelength"))


def test_the_public_names_are_these():
    assert (hsi.continuum_removal, hsi.absorption) == (continuum_removal, absorption)
