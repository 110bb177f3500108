"""Indices against their formulas, written out, of the planes nearest to their bands."""

import numpy as np
import pytest
import xarray as xr

import hsi_dask as hsi  # noqa: F401  registers .hsi
from hsi_dask.errors import ConfigError, SchemaError
from hsi_dask.ops.indices import ndvi, spectral_index

WAVELENGTH = np.arange(401.0, 2500.0, 10.0)


@pytest.fixture
def cube():
    values = np.random.default_rng(0).uniform(0.02, 0.6, (4, 5, WAVELENGTH.size)).astype(np.float32)
    values[0, 0] = np.nan
    coords = {"y": np.arange(4.0), "x": np.arange(5.0), "wavelength": WAVELENGTH}
    return xr.DataArray(values, coords, ("y", "x", "wavelength"), "reflectance")


def at(cube, nm):
    return cube.sel(wavelength=nm, method="nearest").values


def test_ndvi_is_of_665_and_842_nm_and_lazy(cube):
    near, red = at(cube, 842), at(cube, 665)
    np.testing.assert_allclose(cube.hsi.ndvi(), (near - red) / (near + red), rtol=1e-6)
    lazy = ndvi(cube.chunk(y=2, wavelength=50))
    assert hasattr(lazy.data, "dask")
    np.testing.assert_allclose(lazy.compute(), ndvi(cube), rtol=1e-6)
    assert np.isnan(lazy.values[0, 0])
    assert set(lazy.coords) == {"y", "x"}


def test_a_pixel_of_zeros_has_no_ndvi(cube):
    assert ndvi(cube * 0).isnull().all()


def test_any_index_of_spyndex_is_had_by_its_name(cube):
    pytest.importorskip("spyndex", reason="spyndex is not installed")
    blue, green, red, near = (at(cube, nm) for nm in (490, 560, 665, 842))
    np.testing.assert_allclose(cube.hsi.index("NDVI"), cube.hsi.ndvi(), rtol=1e-5)
    np.testing.assert_allclose(spectral_index(cube, "NDWI"), (green - near) / (green + near), rtol=1e-5)
    expected = 2.5 * (near - red) / (near + 6 * red - 7.5 * blue + 1)
    np.testing.assert_allclose(spectral_index(cube, "EVI"), expected, rtol=1e-4)
    assert hasattr(spectral_index(cube.chunk(y=1), "EVI").data, "dask")
    np.testing.assert_allclose(
        spectral_index(cube, "SAVI", L=0.25), 1.25 * (near - red) / (near + red + 0.25), rtol=1e-5
    )


def test_what_is_no_index_is_told(cube):
    pytest.importorskip("spyndex", reason="spyndex is not installed")
    with pytest.raises(ConfigError, match=r"no index 'NDVII'; did you mean .*NDVI"):
        spectral_index(cube, "NDVII")
    with pytest.raises(ConfigError, match="no constant of SAVI 'K'"):
        spectral_index(cube, "SAVI", K=0.5)
    with pytest.raises(SchemaError, match=r"needs 842 nm \(N\), the nearest wavelength is 691.0 nm"):
        spectral_index(cube.sel(wavelength=slice(400, 700)), "NDVI")
    with pytest.raises(ConfigError, match=r"needs .*, which is not reflectance; give it as"):
        spectral_index(cube, "kNDVI")


def test_without_spyndex_it_says_what_to_install(cube, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "spyndex", None)
    with pytest.raises(ConfigError, match=r'get it with: pip install "hsi-dask\[indices\]"'):
        spectral_index(cube, "NDVI")
