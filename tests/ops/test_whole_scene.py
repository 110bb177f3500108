"""Endmembers among all pixels of a cube: against those of a sample that is all pixels, and whatever the chunks."""

import numpy as np
import pytest
import xarray as xr

from hsi_dask.errors import ConfigError
from hsi_dask.ops import whole_scene
from hsi_dask.ops.endmembers import find_endmembers
from hsi_dask.ops.sampling import sample_pixels

from .conftest import CHUNKINGS


@pytest.mark.parametrize("chunks", CHUNKINGS)
def test_endmembers_of_a_scene_are_the_same_whatever_the_chunks(raw, cube, chunks):
    found = find_endmembers(raw.chunk(dict(zip(raw.dims, chunks, strict=True))), 4)
    whole = find_endmembers(cube, 4)
    np.testing.assert_array_equal(found, whole)
    np.testing.assert_array_equal(found.row, whole.row)
    assert found.attrs["certificate"] == whole.attrs["certificate"]


@pytest.mark.parametrize("robust", [True, False])
def test_where_the_sample_is_all_pixels_the_scene_adds_nothing(cube, robust):
    sample = sample_pixels(cube, 10**6)
    assert sample.sizes["pixel"] < 20_000
    one, other = (find_endmembers(pixels, 5, robust=robust) for pixels in (sample, cube))
    assert other.attrs["pixels"] == one.attrs["pixels"] == sample.sizes["pixel"]
    assert other.attrs["log_volume"] == pytest.approx(one.attrs["log_volume"], abs=0.05)
    if not robust:
        places = [sorted((found.row * 1000 + found.column).values.tolist()) for found in (one, other)]
        assert places[0] == places[1]


def test_the_certificate_and_places_are_told(cube):
    found = find_endmembers(cube, 4, seed=3)
    assert found.dims == ("endmember", "wavelength")
    assert found.endmember.values.tolist() == [1, 2, 3, 4]
    for name in ("row", "column", "y", "x"):
        assert found[name].dims == ("endmember",)
    known = int(np.isfinite(cube).all("wavelength").sum())
    told = f"no supported pixel of {known} enlarges the volume by more than 1e-06 of itself"
    assert found.attrs["certificate"] == told
    assert 0 <= found.attrs["gain"] <= 1e-6
    assert len(found.attrs["support"]) == 4
    assert len(found.attrs["dropped_y"]) == len(found.attrs["dropped_support"])


def test_a_material_of_few_pixels_is_found_in_a_large_cube():
    rng = np.random.default_rng(0)
    grid = np.linspace(400.0, 2400.0, 30)
    pure = rng.uniform(0.05, 0.5, (4, 30))
    shares = rng.dirichlet([1.0, 1.0, 1.0], (240, 250))
    values = shares @ pure[:3] + rng.normal(0, 0.002, (240, 250, 30))
    values[100:104, 200:205] = pure[3] + rng.normal(0, 0.002, (4, 5, 30))
    values[50, 60] = 2.0
    cube = xr.DataArray(values.astype(np.float32), {"wavelength": grid}, ("y", "x", "wavelength"))
    found = find_endmembers(cube.chunk({"y": 60}), 4)
    inside = (found.row >= 100) & (found.row < 104) & (found.column >= 200) & (found.column < 205)
    assert int(inside.sum()) == 1
    np.testing.assert_allclose(found[inside.values][0], pure[3], atol=0.005)
    assert (found.row != 50).all()


@pytest.mark.parametrize("sampled", [400, 20_000])
def test_endmembers_of_a_scene_say_which_pixels_they_are_the_means_of(cube, sampled, monkeypatch):
    monkeypatch.setattr(whole_scene, "SAMPLE", sampled)
    found = find_endmembers(cube, 4)
    y, x, angles = (np.reshape(found.attrs[f"members_{name}"], (4, 10)) for name in ("y", "x", "angle"))
    for number, one in enumerate(found):
        members = cube.sel(y=xr.DataArray(y[number], dims="pixel"), x=xr.DataArray(x[number], dims="pixel"))
        np.testing.assert_allclose(one, members.mean("pixel"), rtol=1e-5)
    assert (angles[:, 1:] > 0).all()
    assert angles.max() < 0.5
    assert "members_y" not in find_endmembers(cube, 4, robust=False).attrs
    assert not any(name.startswith("dropped") for name in find_endmembers(cube, 4, robust=False).attrs)
    assert "dropped" not in found.attrs  # numbers of the sample, which nobody has


def test_other_methods_need_pixels(cube):
    with pytest.raises(ConfigError, match="not by vca for 4; give it pixels"):
        find_endmembers(cube, 4, method="vca")
    with pytest.raises(ConfigError, match="for 2 endmembers or more"):
        find_endmembers(cube, 1)
