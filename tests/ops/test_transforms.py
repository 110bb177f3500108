"""mnf, pca and denoise of a cube against the spectral package and a float64 loop over pixels, whatever the chunks."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import hsi_dask as hsi
from hsi_dask import synthetic
from hsi_dask.errors import ConfigError, EndmemberError, SchemaError
from hsi_dask.io.neon.cube import open_neon
from hsi_dask.ops.bands import select_bands
from hsi_dask.ops.statistics import scene_statistics
from hsi_dask.ops.transforms import denoise, inverse_transform, mnf, pca

CHUNKS = [(44, 60, 7), (10, 60, 60), (7, 13, 11), (44, 60, 1)]


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    """Stored integers of a tile with no-data pixels and one pixel of zeros."""
    wavelength = synthetic.neon_wavelengths(60, step=33.0)
    scene = synthetic.simulate_scene((44, 60), seed=3, no_data=0.1, wavelength=wavelength)
    path = synthetic.write_neon_tile(tmp_path_factory.mktemp("tile"), scene)
    found = select_bands(open_neon(path, masked=False)).compute()
    found[40, 50] = 0
    return found


@pytest.fixture(scope="module")
def spectra(cube):
    """Float64 reflectance of all pixels, NaN where no data."""
    stored = cube.values
    valid = (stored != cube.attrs["_FillValue"]).all(axis=2, keepdims=True) & stored.any(axis=2, keepdims=True)
    return np.where(valid, stored * cube.attrs["scale_factor"], np.nan)


def slow_components(spectra, mean, vectors):
    """One pixel, one component after the other."""
    out = np.full((len(vectors), *spectra.shape[:2]), np.nan)
    for y, x in np.ndindex(spectra.shape[:2]):
        for k, vector in enumerate(vectors):
            out[k, y, x] = sum((value - m) * v for value, m, v in zip(spectra[y, x], mean, vector, strict=True))
    return out


def test_mnf_is_that_of_the_spectral_package_but_for_signs(cube, spectra):
    peer = pytest.importorskip("spectral.algorithms.algorithms")
    statistics = scene_statistics(cube)
    ours = mnf(cube, 5, statistics)
    signal = peer.GaussianStats(statistics["mean"].values, statistics.covariance.values, int(statistics.pixels))
    noise = peer.GaussianStats(np.zeros(cube.sizes["wavelength"]), statistics.noise_covariance.values, 1000)
    theirs = peer.mnf(signal, noise)
    np.testing.assert_allclose(ours.attrs["eigenvalues"], theirs.napc.eigenvalues, rtol=1e-6)
    wanted = np.moveaxis(theirs.reduce(spectra, num=5), 2, 0)
    np.testing.assert_allclose(np.abs(ours), np.abs(wanted), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(denoise(cube, 4, statistics), theirs.denoise(spectra, num=4), atol=1e-6)


def test_pca_is_that_of_numpy_pixel_by_pixel_but_for_signs(cube, spectra):
    pixels = spectra[np.isfinite(spectra).all(axis=2)]
    values, vectors = np.linalg.eigh(np.cov(pixels.T))
    found = pca(cube, 3)
    np.testing.assert_allclose(found.attrs["eigenvalues"][:10], values[::-1][:10], rtol=1e-8)
    slow = slow_components(spectra[20:44], pixels.mean(axis=0), vectors.T[::-1][:3])
    np.testing.assert_allclose(np.abs(found[:, 20:44]), np.abs(slow), atol=1e-6)


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("transform", [mnf, pca, denoise])
def test_the_answer_is_lazy_and_the_same_whatever_the_chunks(cube, chunks, transform, refuse_to_compute):
    statistics = scene_statistics(cube)
    chunked = cube.chunk(dict(zip(cube.dims, chunks, strict=True)))
    lazy = transform(chunked, 6, statistics)
    assert isinstance(lazy.data, da.Array)
    assert lazy.dtype == np.float32
    eager = transform(cube, 6, statistics)
    found = lazy.compute(scheduler="sync")
    xr.testing.assert_allclose(found, eager, rtol=1e-6, atol=1e-6)
    assert found.attrs == eager.attrs


def test_pixels_without_data_stay_missing_and_the_others_have_values(cube, spectra):
    missing = ~np.isfinite(spectra).all(axis=2)
    assert missing.any()
    for planes in (mnf(cube, 4), pca(cube, 4), denoise(cube, 4).transpose("wavelength", "y", "x")):
        assert (np.isnan(planes.values) == missing).all()


def test_noise_has_variance_one_and_components_descend_in_signal(cube):
    found = mnf(cube, 20)
    eigenvalues = np.array(found.attrs["eigenvalues"])
    assert eigenvalues.size == cube.sizes["wavelength"]
    assert (np.diff(eigenvalues) <= 0).all()
    np.testing.assert_allclose(np.nanvar(found, axis=(1, 2), ddof=1), eigenvalues[:20], rtol=1e-5)


def test_denoising_brings_a_scene_nearer_to_the_truth():
    rng = np.random.default_rng(0)
    shares = np.stack([np.linspace(0, 1, 40)[:, None] * np.ones(50), np.linspace(0, 1, 50) * np.ones((40, 1))], axis=2)
    clean = 0.1 + shares @ rng.uniform(0.05, 0.4, (2, 30))
    noisy = xr.DataArray(clean + rng.normal(0, 0.02, clean.shape), dims=("y", "x", "wavelength"))
    noisy = noisy.assign_coords(wavelength=np.linspace(400.0, 2400.0, 30))
    error = float(np.sqrt(((denoise(noisy, 2) - clean) ** 2).mean()))
    assert error < 0.3 * 0.02
    assert float(np.sqrt(((denoise(noisy, 30) - noisy) ** 2).mean())) < 1e-6


def test_borders_of_patches_are_not_taken_for_noise():
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 4, (10, 12)).repeat(6, axis=0).repeat(6, axis=1)
    clean = rng.uniform(0.05, 0.6, (4, 40))[patches]
    noisy = xr.DataArray(clean + rng.normal(0, 0.002, clean.shape), dims=("y", "x", "wavelength"))
    noisy = noisy.assign_coords(wavelength=np.linspace(400.0, 2400.0, 40))
    assert float(np.sqrt(((denoise(noisy, 3) - clean) ** 2).mean())) < 0.35 * 0.002


def test_georeference_and_wavelengths_survive(cube):
    found, back = mnf(cube, 3), denoise(cube, 3)
    assert found.spatial_ref.attrs == cube.spatial_ref.attrs == back.spatial_ref.attrs
    assert found.component.values.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(back.wavelength, cube.wavelength)
    np.testing.assert_array_equal(back.fwhm, cube.fwhm)
    np.testing.assert_array_equal(back.y, cube.y)
    assert back.name == "reflectance"


def test_components_that_are_left_out_count_as_zero(cube, spectra):
    statistics = scene_statistics(cube)
    found = mnf(cube, 8, statistics)
    some = inverse_transform(found.sel(component=[2, 5]), statistics)
    zeros = found.where(found.component.isin([2, 5]), found * 0)
    np.testing.assert_allclose(some, inverse_transform(zeros, statistics), atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), size=st.integers(2, 8), kind=st.sampled_from([mnf, pca]))
def test_all_components_restore_every_pixel(seed, size, kind):
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.05, 0.6, (12, 14, size))
    cube = xr.DataArray(values, {"wavelength": np.arange(size) * 10.0 + 500}, ("y", "x", "wavelength"))
    statistics = scene_statistics(cube)
    np.testing.assert_allclose(inverse_transform(kind(cube, size, statistics), statistics), values, atol=1e-6)


def test_what_cannot_be_is_one_sentence(cube):
    statistics = scene_statistics(cube)
    with pytest.raises(ConfigError, match="components must be 1 to"):
        mnf(cube, 0, statistics)
    with pytest.raises(ConfigError, match="method must be 'mnf' or 'pca', not 'ica'"):
        denoise(cube, 2, statistics, method="ica")
    with pytest.raises(SchemaError, match="other wavelengths"):
        pca(cube[..., :20], 2, statistics)
    with pytest.raises(SchemaError, match="take them from mnf or pca"):
        inverse_transform(mnf(cube, 2, statistics).rename("maps"), statistics)
    with pytest.raises(SchemaError, match="go to 9, the statistics have 5"):
        inverse_transform(mnf(cube, 9, statistics), scene_statistics(cube[..., :5]))
    twice = cube.astype(float).where(False, 0.5).assign_attrs({})
    with pytest.raises(EndmemberError, match="mnf: the noise covariance has no variance"):
        mnf(twice, 2)


def test_the_public_names_are_these():
    assert (hsi.mnf, hsi.pca, hsi.denoise, hsi.inverse_transform) == (mnf, pca, denoise, inverse_transform)
