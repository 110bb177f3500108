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
    found = find_endmembers(pixels, 4)
    assert set(found.row.values.tolist()) == {7, 99, 250, 400}
    np.testing.assert_array_equal(found.endmember, [1, 2, 3, 4])
    np.testing.assert_array_equal(found, pixels[found.row.values])
    assert found.name == "endmembers"
    assert found.attrs["volume"] == max(found.attrs["volumes"]) > 0


def test_the_order_of_the_pixels_does_not_matter(pixels: xr.DataArray) -> None:
    shuffled = pixels[np.random.default_rng(5).permutation(500)]
    np.testing.assert_array_equal(find_endmembers(pixels, 4).row, find_endmembers(shuffled, 4).row)


def test_one_endmember_is_the_brightest_pixel(pixels: xr.DataArray) -> None:
    assert int(find_endmembers(pixels, 1).row[0]) == int((pixels.values**2).sum(axis=1).argmax())


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
        ({"count": 4, "restarts": 0}, ConfigError, "nfindr.restarts is 0; it must be a whole number"),
        ({"count": 4, "method": "pip"}, ConfigError, "method must be 'nfindr' or .*, not 'pip'"),
        ({"count": 5}, EndmemberError, "span 3 dimensions, but 5 endmembers need 4; ask for at most 4"),
        ({"count": 60}, EndmemberError, "ask for fewer"),
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
