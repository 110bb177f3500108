"""find_endmembers against planted pure pixels."""

import numpy as np
import pytest
import xarray as xr

from hsi_dask.errors import ConfigError, EndmemberError
from hsi_dask.ops.endmembers import find_endmembers


@pytest.fixture
def pure() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.05, 0.8, (4, 50)).astype("float32")


@pytest.fixture
def pixels(pure: np.ndarray) -> xr.DataArray:
    shares = np.random.default_rng(1).dirichlet(np.ones(4), 500)
    shares[[7, 99, 250, 400]] = np.eye(4)
    coords = {
        "wavelength": np.linspace(400, 2400, 50),
        "row": ("pixel", np.arange(500)),
        "y": ("pixel", np.arange(500) + 0.5),
    }
    return xr.DataArray((shares @ pure).astype("float32"), coords, ("pixel", "wavelength"))


def test_pure_pixels_are_found_with_where_they_came_from(pixels: xr.DataArray, pure: np.ndarray) -> None:
    found = find_endmembers(pixels, 4, robust=False)
    assert set(found.row.values.tolist()) == {7, 99, 250, 400}
    np.testing.assert_array_equal(found.endmember, [1, 2, 3, 4])
    np.testing.assert_array_equal(found, pixels[found.row.values])
    assert found.name == "endmembers"
    assert found.attrs["volume"] == max(found.attrs["volumes"]) > 0


def test_the_order_of_the_pixels_does_not_matter(pixels: xr.DataArray) -> None:
    shuffled = pixels[np.random.default_rng(5).permutation(500)]
    np.testing.assert_array_equal(find_endmembers(pixels, 4).row, find_endmembers(shuffled, 4).row)


def test_robust_endmembers_are_means_of_like_pixels_and_lone_pixels_are_dropped(pure: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    shares = np.vstack([np.repeat(np.eye(4), 15, axis=0), rng.dirichlet(np.ones(4), 940)])
    spectra = (shares @ pure + rng.normal(0, 0.01, (1000, 50))).astype("float32")
    spectra[500] = 2.0  # saturated
    pixels = xr.DataArray(spectra, {"wavelength": np.arange(50.0), "x": ("pixel", np.arange(1000.0))},
                          ("pixel", "wavelength"))  # fmt: skip
    found, plain = find_endmembers(pixels, 4), find_endmembers(pixels, 4, robust=False)
    assert 500.0 in plain.x.values
    assert 500.0 in found.attrs["dropped_x"]
    order = [int(np.abs(found.values - one).sum(axis=1).argmin()) for one in pure]
    assert sorted(order) == [0, 1, 2, 3]
    assert np.abs(found.values[order] - pure).mean() < 0.006  # the noise of one pixel is .008 on average
    members = np.argsort(np.arccos(np.clip(_cosines(spectra, spectra[int(found.x[0])]), -1, 1)))[:10]
    np.testing.assert_allclose(found[0], spectra[members].mean(axis=0), rtol=1e-5)


def _cosines(spectra: np.ndarray, one: np.ndarray) -> np.ndarray:
    spectra, one = spectra.astype(np.float64), one.astype(np.float64)
    return spectra @ one / np.linalg.norm(spectra, axis=1) / np.linalg.norm(one)


@pytest.mark.parametrize("method", ["vca", "spa", "atgp", "ppi", "fippi", "minimum_volume"])
def test_every_extractor_finds_the_materials_of_a_simplex(pure: np.ndarray, method: str) -> None:
    rng = np.random.default_rng(3)
    shares = np.vstack([np.repeat(np.eye(4), 12, axis=0), rng.dirichlet(np.ones(4), 952)])
    spectra = (shares @ pure + rng.normal(0, 1e-4, (1000, 50))).astype("float32")
    pixels = xr.DataArray(spectra, {"wavelength": np.arange(50.0)}, ("pixel", "wavelength"))
    found = find_endmembers(pixels, 4, method=method)
    assert found.attrs["method"] == method
    nearest = {int(np.abs(pure - one).sum(axis=1).argmin()) for one in found.values}
    assert len(nearest) == 4 or method == "ppi"  # the purest pixels may be of one material


def test_one_endmember_is_the_brightest_pixel(pixels: xr.DataArray) -> None:
    assert int(find_endmembers(pixels, 1, robust=False).row[0]) == int((pixels.values**2).sum(axis=1).argmax())


def test_many_endmembers_have_a_volume_below_any_float_and_are_found_all_the_same() -> None:
    spectra = np.random.default_rng(0).uniform(0, 1e-3, (300, 150)).astype("float32")
    pixels = xr.DataArray(spectra, {"wavelength": np.arange(150.0)}, ("pixel", "wavelength"))
    found = find_endmembers(pixels, 120, restarts=1)
    assert len(np.unique(found.values, axis=0)) == 120


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"count": 0}, ConfigError, "count must be 1 to 254 endmembers, not 0"),
        ({"count": 255}, ConfigError, "not 255"),
        ({"count": 4, "restarts": 0}, ConfigError, "nfindr.restarts is 0; it must be null or a whole number"),
        ({"count": 4, "method": "pip"}, ConfigError, "method must be 'nfindr' or .*, not 'pip'"),
        ({"count": 5}, EndmemberError, "span too few dimensions for 5 endmembers; ask for 4 at most"),
        ({"count": 60}, EndmemberError, "60 endmembers of 500 spectra on 50 wavelengths"),
    ],
)
def test_impossible_requests_are_refused(pixels: xr.DataArray, options: dict, error: type, sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        find_endmembers(pixels, **options)


def test_too_few_or_missing_pixels_are_refused(pixels: xr.DataArray) -> None:
    with pytest.raises(EndmemberError, match="the sample has 3"):
        find_endmembers(pixels[:3], 4)
    with pytest.raises(EndmemberError, match="missing values"):
        find_endmembers(pixels.where(pixels.row != 3), 4)


def test_endmembers_say_which_pixels_they_are_the_means_of(pixels):
    pixels = pixels.assign_coords(x=("pixel", np.arange(500) % 7 + 0.5))
    found = find_endmembers(pixels, 4)
    every = {(y, x): n for n, (y, x) in enumerate(zip(pixels.y.values, pixels.x.values, strict=True))}
    assert found.attrs["members"] == 10
    places = zip(found.attrs["members_y"], found.attrs["members_x"], strict=True)
    members = np.reshape([every[place] for place in places], (4, 10))
    angles = np.reshape(found.attrs["members_angle"], (4, 10))
    for number, one in enumerate(found):
        assert members[number, 0] == every[float(one.y), float(one.x)]
        some = pixels.values[members[number]].astype(float)
        np.testing.assert_allclose(one, some.mean(axis=0), rtol=1e-6)
        cosine = some @ some[0] / np.linalg.norm(some, axis=1) / np.linalg.norm(some[0])
        np.testing.assert_allclose(angles[number], np.arccos(np.minimum(cosine, 1)), atol=1e-3)
    assert (np.diff(angles) >= 0).all()
    assert "members" not in find_endmembers(pixels, 4, robust=False).attrs
    plain = find_endmembers(pixels.drop_vars(["y", "x"]), 4).attrs
    assert "members_y" not in plain
    assert plain["members_angle"] == found.attrs["members_angle"]
