"""Standard deviations of abundances against the spread of what noise makes of them, through the public function."""

import numpy as np
import pytest
import xarray as xr

from hsi_dask.kernels.abundances.scls import scls
from hsi_dask.kernels.abundances.spread import abundance_std
from hsi_dask.ops.materials import unmix

WAVELENGTH = np.linspace(400, 2400, 60)


def library(count=3, seed=0):
    rng = np.random.default_rng(seed)
    spectra = np.clip(np.cumsum(rng.normal(0, 0.03, (count, 60)), axis=1) + 0.35, 0.05, 0.9)
    coords = {"wavelength": WAVELENGTH, "endmember": np.arange(1, count + 1)}
    return xr.DataArray(spectra.astype(np.float32), coords, ("endmember", "wavelength"))


def told_and_true(shares, noise=0.003, **options):
    """Root mean square of what is told, and the standard deviation of 6000 draws of noise on one pixel."""
    spectra = library(len(shares))
    pixel = np.asarray(shares) @ spectra.values.astype(float)
    values = pixel + np.random.default_rng(1).normal(0, noise, (1, 6000, 60))
    cube = xr.DataArray(values.astype(np.float32), {"wavelength": WAVELENGTH}, ("y", "x", "wavelength"))
    found = unmix(cube, spectra, std=True, **options)
    told = np.sqrt((found.abundance_std.values[:, 0].astype(float) ** 2).mean(axis=1))
    return told, found.abundance.values[:, 0].std(axis=1)


@pytest.mark.parametrize(
    ("light", "options"),
    [
        (1.0, {}),
        (0.6, {"shade": True}),
        (0.6, {"shade": True, "normalize": "shade"}),
        (1.0, {"normalize": "brightness"}),
        (0.4, {"normalize": "brightness"}),
    ],
    ids=["plain", "shade", "lit part", "brightness", "brightness of a dark pixel"],
)
def test_what_is_told_is_what_noise_does(light, options):
    told, true = told_and_true(light * np.array([0.5, 0.3, 0.2]), **options)
    np.testing.assert_allclose(told, true, rtol=0.06)


def test_a_material_in_shade_has_an_uncertain_share():
    vertices = np.array([[0.4, 0.0], [0.0, 0.0]])
    std = abundance_std(vertices, np.array([[0.7], [0.3]]), np.array([0.01]), 1001)
    np.testing.assert_allclose(std.ravel(), 0.01 / 0.4 * np.sqrt(1001 / 1000), rtol=1e-6)
    lit = abundance_std(vertices, np.array([[0.7, 0.0], [0.3, 1.0]]), np.array([0.01, 0.01]), 1001, lit=True)
    assert lit[0, 0] == pytest.approx(0, abs=1e-9)  # all of the lit part
    assert np.isnan(lit[:, 1]).all()


@pytest.mark.parametrize("count", [2, 4, 9, 20])
def test_errors_are_those_of_least_squares_with_a_fixed_sum(count):
    rng = np.random.default_rng(count)
    vertices = rng.uniform(0.05, 0.6, (count, 40))
    noise = rng.normal(0, 0.01, (40, 4000))
    true = scls(vertices.mean(axis=0)[:, None] + noise, vertices).std(axis=1)
    told = abundance_std(vertices, np.full((count, 1), 1 / count), np.array([0.01]), 10**6)
    np.testing.assert_allclose(told[:, 0], true, rtol=0.05)


def test_endmembers_that_are_not_in_a_pixel_have_none():
    shares = np.array([[0.5, 1.0, 0.0], [0.5, 0.0, 0.2], [0.0, 0.0, 0.8]])
    std = abundance_std(np.eye(3), shares, np.array([0.1, 0.1, np.nan]), 50)
    assert (std[:, 0] > 0).tolist() == [True, True, False]
    assert (std[:, 1] == 0).all()
    assert np.isnan(std[:, 2]).all()
