"""The stable count against the same searches one after the other, and on mixtures of a known number of materials."""

import numpy as np
import pytest
import xarray as xr

from hsi_dask.ops.counting import stable_count
from hsi_dask.ops.endmembers import find_endmembers


def mixtures(materials, pixels=1200, bands=30, noise=0.003):
    rng = np.random.default_rng(materials)
    pure = rng.uniform(0.05, 0.6, (materials, bands))
    shares = np.vstack([np.repeat(np.eye(materials), 40, axis=0), rng.dirichlet(np.ones(materials), pixels)])
    values = shares @ pure + rng.normal(0, noise, (len(shares), bands))
    return xr.DataArray(values, {"wavelength": np.linspace(400, 2400, bands)}, ("pixel", "wavelength"))


@pytest.mark.parametrize("materials", [3, 5])
def test_as_many_come_back_as_there_are(materials):
    found = stable_count(mixtures(materials), 8)
    assert int(found["count"]) == materials
    assert float(found.residual.sel(tried=materials)) < 1.2 * 0.003


def test_searches_side_by_side_give_what_they_give_one_by_one():
    pixels = mixtures(4)
    found = stable_count(pixels, 5, seed=3)
    order = np.random.default_rng(3).permutation(pixels.sizes["pixel"])
    halves = [pixels.isel(pixel=np.sort(part)) for part in np.array_split(order, 2)]
    one, other = (find_endmembers(half, 4, seed=3).values.astype(float) for half in halves)
    cosine = one @ other.T / np.outer(np.linalg.norm(one, axis=1), np.linalg.norm(other, axis=1))
    assert float(found.apart.sel(tried=4)) == pytest.approx(np.arccos(cosine.max(axis=1)).max(), abs=1e-6)
    xr.testing.assert_identical(found, stable_count(pixels, 5, seed=3))


def test_counts_beyond_the_dimensions_that_pixels_span_are_not_told():
    found = stable_count(mixtures(3, noise=0.0), 6)
    assert np.isfinite(found.apart.sel(tried=[2, 3])).all()
    assert np.isnan(found.apart.sel(tried=[4, 5, 6])).all()
