"""CRS as text, against pyproj."""

import numpy as np
import pytest
from pyproj import CRS, Geod

from hsi_dask.errors import GridError
from hsi_dask.io import crs

SINUSOIDAL = CRS.from_proj4("+proj=sinu +lon_0=0 +R=6371007.181 +units=m +no_defs").to_wkt()


@pytest.mark.parametrize("version", ["WKT1_ESRI", "WKT1_GDAL", "WKT2_2019"])
@pytest.mark.parametrize("code", [32618, 32719, 4326, 5070, 3857])
def test_a_crs_that_equals_a_code_is_written_as_the_code(version: str, code: int) -> None:
    assert crs.canonical(CRS.from_epsg(code).to_wkt(version)) == f"EPSG:{code}"
    assert crs.canonical(f"EPSG:{code}") == f"EPSG:{code}"
    assert crs.epsg(f"EPSG:{code}") == code


def test_any_other_is_kept_as_wkt_on_one_line() -> None:
    text = crs.canonical(SINUSOIDAL)
    assert "\n" not in text
    assert crs.epsg(text) is None
    assert crs.canonical(text) == text
    assert CRS.from_wkt(text) == CRS.from_wkt(SINUSOIDAL)
    assert crs.label(text) == "unknown"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("EPSG:99999", "EPSG code 99999 is unknown to PROJ"),
        ("+init=/etc/passwd", "neither a code such as EPSG:32618 nor WKT"),
        ("/etc/passwd", "neither a code"),
        ('PROJCS["half', "neither a code"),
        ('PROJCS["nothing"]', "is not understood by PROJ"),
        ('LOCAL_CS["mine",UNIT["metre",1]]', "mine is neither projected nor geographic"),
        ("EPSG:5773", "is neither projected nor geographic"),
        ("A[" + "x" * 200_000 + "]", "neither a code"),
    ],
)
def test_what_is_no_crs_of_a_map_is_refused_with_a_short_quote(text: str, sentence: str) -> None:
    with pytest.raises(GridError, match=sentence) as caught:
        crs.canonical(text)
    assert len(str(caught.value)) < 250


def test_a_projection_that_leaves_out_parameters_has_a_grid_mapping_of_wkt() -> None:
    text = CRS.from_epsg(32618).to_wkt("WKT2_2019").replace('PARAMETER["False easting",500000', 'PARAMETER["False",5')
    found = crs.grid_mapping(crs.canonical(text))
    assert CRS.from_wkt(found["crs_wkt"]) == CRS.from_wkt(crs.canonical(text))


def test_axes_are_described_by_their_crs() -> None:
    degrees, metres, feet = (crs.axis_attrs(f"EPSG:{code}") for code in (4326, 32618, 2263))
    assert (degrees["y"]["units"], degrees["y"]["standard_name"]) == ("degrees_north", "latitude")
    assert (degrees["x"]["units"], degrees["x"]["standard_name"]) == ("degrees_east", "longitude")
    assert (metres["y"]["units"], metres["y"]["standard_name"]) == ("m", "projection_y_coordinate")
    assert feet["x"]["units"] == "US_survey_foot"
    assert [crs.unit(f"EPSG:{code}") for code in (4326, 32618)] == ["degree", "m"]


def test_areas_are_of_the_ground() -> None:
    assert crs.pixel_area("EPSG:32618", 368000, 4306000, (2.0, 3.0)) == 6.0
    assert crs.pixel_area("EPSG:2263", 0, 0, (10.0, 10.0)) == pytest.approx(9.2903412)
    geod, (west, north, step) = Geod(ellps="WGS84"), (-76.5, 39.0, 1e-4)
    _, _, wide = geod.inv(west, north, west + step, north)
    _, _, tall = geod.inv(west, north, west, north + step)
    assert crs.pixel_area("EPSG:4326", west, north, (step, step)) == pytest.approx(wide * tall, rel=1e-5)


def test_attributes_of_cf_gdal_and_geozarr_tell_the_crs() -> None:
    utm = CRS.from_epsg(32618)
    parameters = {k: v for k, v in utm.to_cf().items() if k != "crs_wkt"}
    for attrs in (utm.to_cf(), {"spatial_ref": utm.to_wkt("WKT1_GDAL")}, {"proj:code": "EPSG:32618"}):
        assert crs.from_attrs(attrs) == "EPSG:32618"
    found = crs.from_attrs(parameters)
    assert found is not None
    np.testing.assert_allclose(CRS.from_user_input(found).to_cf()["longitude_of_central_meridian"], -75)
    assert crs.from_attrs({"units": "m"}) is None
    with pytest.raises(GridError, match="'mine' is not understood"):
        crs.from_attrs({"grid_mapping_name": "mine"})


def test_a_grid_mapping_says_where_pixels_are_only_when_that_stays_true() -> None:
    transform = (1.0, 0.0, 368000.0, 0.0, -1.0, 4306000.0)
    assert "GeoTransform" not in crs.grid_mapping("EPSG:32618")
    stored = crs.grid_mapping("EPSG:32618", transform)
    assert stored["GeoTransform"] == "368000.0 1.0 0.0 4306000.0 0.0 -1.0"
    assert "GeoTransform" not in crs.grid_mapping("EPSG:32618"), "the first call is not changed by the second"
    assert crs.grid_mapping(crs.canonical(SINUSOIDAL))["grid_mapping_name"] == "sinusoidal"
