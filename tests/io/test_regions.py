"""Areas of interest: against matplotlib's point in polygon, PROJ's points one by one, and files that GDAL wrote."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline
from pyproj import CRS, Transformer

from hsi_dask.errors import ConfigError
from hsi_dask.io.regions import MOST_VERTICES, Region, inside, read_region, region_of_bounds

UTM = "EPSG:32618"
RING = [[368010.2, 4306010.3], [368071.4, 4306020.9], [368060.1, 4306066.6], [368020.7, 4306050.2]]
HOLE = [[368030.3, 4306020.2], [368045.1, 4306022.3], [368040.2, 4306039.9]]
GRID: dict[str, Any] = {"corner": (368000.0, 4306080.0), "resolution": (1.0, 1.0), "shape": (80, 80)}


def closed(ring: list[list[float]]) -> list[list[float]]:
    return [*ring, ring[0]]


def polygon(*rings: list[list[float]]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [closed(ring) for ring in rings]}


def write(path: Path, found: Any, crs: str | None = "urn:ogc:def:crs:EPSG::32618") -> Path:
    if crs:
        found = {**found, "crs": {"type": "name", "properties": {"name": crs}}}
    path.write_text(json.dumps(found))
    return path


def in_polygon(*rings: list[list[float]]) -> np.ndarray:
    """Even-odd, by each pixel's centre."""
    x, y = np.meshgrid(368000.5 + np.arange(80), 4306079.5 - np.arange(80))
    points = np.column_stack([x.ravel(), y.ravel()])
    found = [Outline(ring).contains_points(points) for ring in rings]
    return np.logical_xor.reduce(found).reshape(80, 80)


def test_a_pixel_is_inside_when_its_centre_is(tmp_path):
    region = read_region(write(tmp_path / "a.geojson", polygon(RING, HOLE)), UTM)
    np.testing.assert_array_equal(inside(region, **GRID), in_polygon(RING, HOLE))
    assert region.bounds == (368010.2, 4306010.3, 368071.4, 4306066.6)


def test_bounds_hold_the_pixels_between_them():
    found = inside(region_of_bounds((368010.4, 4306020.6, 368030.4, 4306040.6), UTM), **GRID)
    rows, columns = np.nonzero(found)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (10, 29, 39, 58)
    assert found.sum() == 20 * 20


def test_polygons_that_overlap_count_once_and_collections_are_looked_through(tmp_path):
    features = [
        {"type": "Feature", "properties": None, "geometry": polygon(RING)},
        {"type": "Feature", "geometry": {"type": "MultiPolygon", "coordinates": [polygon(HOLE)["coordinates"]]}},
        {"type": "Feature", "geometry": None},
        {"type": "Feature", "geometry": {"type": "GeometryCollection", "geometries": [
            {"type": "Point", "coordinates": [0, 0]}, polygon([[*point, 17.5] for point in HOLE])]}},
    ]  # fmt: skip
    region = read_region(write(tmp_path / "a.json", {"type": "FeatureCollection", "features": features}), UTM)
    np.testing.assert_array_equal(inside(region, **GRID), in_polygon(RING))


def test_degrees_are_what_geojson_has_without_a_crs(tmp_path):
    to_degrees = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    ring = [list(to_degrees.transform(*point)) for point in RING]
    region = read_region(write(tmp_path / "a.geojson", polygon(ring), None), UTM)
    different = (inside(region, **GRID) != in_polygon(RING)).sum()
    assert different == 0
    named = read_region(write(tmp_path / "b.geojson", polygon(ring), "urn:ogc:def:crs:OGC:1.3:CRS84"), UTM)
    assert (inside(named, **GRID) != in_polygon(RING)).sum() == 0


def test_a_line_that_is_straight_in_degrees_is_curved_on_the_map():
    """Along 0.3 degrees a parallel leaves the straight line of UTM by some 40 m."""
    bounds = (-76.7, 38.7, -76.4, 38.9)
    region = region_of_bounds(bounds, UTM, "EPSG:4326")
    to_utm = Transformer.from_crs("EPSG:4326", UTM, always_xy=True)
    for longitude in (-76.65, -76.55, -76.47):
        x, y = to_utm.transform(longitude, 38.9)
        corner = (np.floor(x), np.floor(y) + 3)
        column = inside(region, corner, (1.0, 1.0), (6, 1))[:, 0]
        centres = corner[1] - 0.5 - np.arange(6)
        np.testing.assert_array_equal(column, centres < y)


@pytest.mark.parametrize(("suffix", "driver"), [(".gpkg", "GPKG"), (".shp", "ESRI Shapefile"), (".fgb", "FlatGeobuf")])
def test_vector_files_are_read_in_their_own_crs(tmp_path, suffix, driver):
    geopandas = pytest.importorskip("geopandas")
    from shapely.geometry import Polygon

    frame = geopandas.GeoDataFrame({"name": ["a"]}, geometry=[Polygon(RING, [HOLE])], crs=UTM)
    frame.to_file(tmp_path / f"a{suffix}", driver=driver)
    frame.to_crs("EPSG:32617").to_file(tmp_path / f"other{suffix}", driver=driver)
    for name in ("a", "other"):
        region = read_region(tmp_path / f"{name}{suffix}", UTM)
        np.testing.assert_array_equal(inside(region, **GRID), in_polygon(RING, HOLE))


def test_the_same_polygons_have_the_same_origin(tmp_path):
    one = read_region(write(tmp_path / "a.geojson", polygon(RING)), UTM)
    same = read_region(write(tmp_path / "b.geojson", polygon(RING)), UTM)
    other = read_region(write(tmp_path / "c.geojson", polygon(HOLE)), UTM)
    assert one.origin == same.origin != other.origin


BAD = {
    "no polygon": ({"type": "Point", "coordinates": [1, 2]}, "holds no polygon"),
    "open ring": ({"type": "Polygon", "coordinates": [RING]}, "not closed"),
    "two points": (polygon(RING[:1]), "ring of 2 points"),
    "no area": (polygon([[0, 0], [1, 1], [2, 2]]), "without an area"),
    "text": (polygon([["a", 0], [1, 1], [2, 2]]), "not numbers"),
    "no numbers": (polygon([[None, 0], [1, 1], [2, 2]]), "not numbers"),
    "one number": (polygon([[1], [2], [3]]), "not two plain numbers"),
    "endless": (polygon([[0, 0], [float("inf"), 1], [2, 2]]), "not two plain numbers"),
    "no ring": ({"type": "Polygon", "coordinates": []}, "without a ring"),
    "no list": ({"type": "FeatureCollection", "features": {"a": 1}}, "should be a list"),
    "other type": ({"type": "Topology"}, "is no GeoJSON"),
    "too many": (polygon([[float(n), float(n**0.5)] for n in range(MOST_VERTICES + 1)]), "simplify"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_geometry_is_refused_in_a_sentence(tmp_path, name):
    geometry, words = BAD[name]
    with pytest.raises(ConfigError, match=words) as refused:
        read_region(write(tmp_path / "a.geojson", geometry), UTM)
    assert "a.geojson" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("crs", "words"),
    [
        (None, "names no CRS.*up to 4306066.6"),
        ("EPSG:999999", "unknown to PROJ"),
        ("urn:what", "not understood by PROJ"),
    ],
)
def test_a_crs_that_is_missing_or_unknown_is_refused(tmp_path, crs, words):
    with pytest.raises(ConfigError, match=words):
        read_region(write(tmp_path / "a.geojson", polygon(RING), crs), UTM)


def test_a_crs_that_is_null_is_refused(tmp_path):
    (tmp_path / "a.geojson").write_text(json.dumps({**polygon(RING), "crs": None}))
    with pytest.raises(ConfigError, match="names none"):
        read_region(tmp_path / "a.geojson", UTM)


def test_bounds_of_an_unknown_crs_or_beyond_one_are_refused():
    with pytest.raises(ConfigError, match=r"bounds 0 0 1 1 in EPSG:999999: EPSG code 999999 is unknown to PROJ"):
        region_of_bounds((0, 0, 1, 1), UTM, "EPSG:999999")
    with pytest.raises(ConfigError, match=r"cannot be brought to EPSG:32618"):
        region_of_bounds((0, 95, 1, 100), UTM, "EPSG:4326")


def test_a_region_of_another_body_than_the_tiles_is_refused(tmp_path):
    moon = CRS("IAU_2015:30100").to_wkt()
    with pytest.raises(ConfigError, match=r"a.geojson: PROJ knows no way from the CRS 'Moon \(2015\)"):
        read_region(write(tmp_path / "a.geojson", polygon([[0, 0], [1, 0], [1, 1]]), moon), UTM)


def test_files_that_are_none_are_refused_in_a_sentence(tmp_path):
    pytest.importorskip("geopandas")
    (tmp_path / "a.geojson").write_text("{")
    (tmp_path / "b.geojson").write_text("[1]")
    (tmp_path / "a.kml").write_text("<kml/>")
    (tmp_path / "a.shp").write_text("<OGRVRTDataSource>")
    (tmp_path / "a.gpkg").write_bytes(b"SQLite format 3\0 and nothing more")
    for name, words in {
        "a.geojson": "is no GeoJSON", "b.geojson": "is no object", "a.kml": "no known kind", ".": "is no file",
        "a.shp": r"does not begin as a \.shp file", "a.gpkg": "cannot be read", "none.shp": "does not exist",
    }.items():  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            read_region(tmp_path / name, UTM)


def test_a_geopackage_of_several_layers_or_without_a_crs_is_refused(tmp_path):
    geopandas = pytest.importorskip("geopandas")
    from shapely.geometry import Point, Polygon

    frame = geopandas.GeoDataFrame(geometry=[Polygon(RING)], crs=UTM)
    for layer in ("ponds", "crowns"):
        frame.to_file(tmp_path / "two.gpkg", layer=layer)
    with pytest.raises(ConfigError, match=r"2 layers with polygons \(ponds, crowns\)"):
        read_region(tmp_path / "two.gpkg", UTM)
    geopandas.GeoDataFrame(geometry=[Point(1, 2)], crs=UTM).to_file(tmp_path / "points.gpkg")
    with pytest.raises(ConfigError, match="holds no polygon"):
        read_region(tmp_path / "points.gpkg", UTM)
    frame.to_file(tmp_path / "bare.shp")
    (tmp_path / "bare.prj").unlink()
    with pytest.raises(ConfigError, match=r"has no CRS .*\.prj"):
        read_region(tmp_path / "bare.shp", UTM)


def test_without_geopandas_vector_files_are_refused_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "geopandas", None)
    (tmp_path / "a.gpkg").write_bytes(b"SQLite format 3\0")
    with pytest.raises(ConfigError, match=r'pip install "hsi-dask\[vector\]", or export areas as GeoJSON'):
        read_region(tmp_path / "a.gpkg", UTM)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["type", "features", "geometry", "coordinates", "crs", "properties"]), inner)
    ),
    max_leaves=12,
)
types = st.sampled_from(["FeatureCollection", "Feature", "Polygon", "MultiPolygon", "GeometryCollection"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=types, value=json_values, more=json_values)
def test_whatever_a_file_says_it_is_a_region_or_a_sentence(tmp_path, kind, value, more):
    found = {"type": kind, "features": value, "geometry": value, "coordinates": value, "geometries": value, "crs": more}
    (tmp_path / "a.geojson").write_text(json.dumps(found))
    with contextlib.suppress(ConfigError):
        assert isinstance(read_region(tmp_path / "a.geojson", UTM), Region)
