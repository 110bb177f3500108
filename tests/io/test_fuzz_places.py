"""Mutated tables of places, GeoJSON and vector files: read, or refused in one sentence, as areas and as places."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from hsi_dask.io.footprints import Lattice, pixels_of, states
from hsi_dask.io.places import read_places
from hsi_dask.io.regions import inside, read_region

UTM, DEGREES = "EPSG:32618", "EPSG:4326"
LATTICE = Lattice(368000.5, 1.0, 4306079.5, -1.0, (80, 80))
RING = [[368010.2, 4306010.3], [368071.4, 4306020.9], [368060.1, 4306066.6], [368010.2, 4306010.3]]
TABLES = {
    "plain": {
        "p.csv": b"plot,easting,northing,class,dbh\n1,368010.5,4306020.5,oak,0.5\n2,368030,4306040,=1+1,\n3,,,x,1\n"
    },
    "excel": {"p.csv": "\ufeffPlot;x;y\nStraße;368010,5;4306020,5\nb;368030;4306040\n;;\n".encode()},
    "degrees": {"p.txt": "id\tlon\tlat\na\t-76.5234\t38.8925\nb\t-76.5231\t38.8927\n".encode("utf-16")},
}


def geojson() -> dict[str, dict[str, bytes]]:
    polygon = {"type": "Polygon", "coordinates": [RING]}
    features = [
        {"type": "Feature", "properties": {"id": "a", "class": "oak", "n": 1}, "geometry": polygon},
        {"type": "Feature", "properties": None, "geometry": {"type": "MultiPolygon", "coordinates": [[RING]]}},
    ]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32618"}}
    collection = {"type": "FeatureCollection", "crs": crs, "features": features}
    degrees = [[-76.5234, 38.8925], [-76.5230, 38.8925], [-76.5230, 38.8930], [-76.5234, 38.8925]]
    plain = {"type": "Polygon", "coordinates": [degrees]}
    return {
        "collection": {"a.geojson": json.dumps(collection).encode()},
        "plain": {"a.json": json.dumps(plain).encode()},
    }


@cache
def vectors() -> dict[str, dict[str, bytes]]:
    """A GeoPackage, a shapefile with what belongs to it, and a FlatGeobuf of two polygons."""
    geopandas, shapely = pytest.importorskip("geopandas"), pytest.importorskip("shapely")
    pytest.importorskip("pyogrio")
    frame = geopandas.GeoDataFrame(
        {"id": ["a", "b"], "class": ["oak", "=1+1"]}, geometry=[shapely.Polygon(RING)] * 2, crs=UTM
    )
    found = {}
    for name in ("a.gpkg", "a.shp", "a.fgb"):
        with TemporaryDirectory() as folder:
            frame.to_file(Path(folder, name))
            written = sorted(Path(folder).iterdir(), key=lambda path: path.name != name)
            found[name] = {path.name: path.read_bytes() for path in written}
    return found


def as_area(path: Path) -> None:
    region = read_region(path, UTM)
    assert np.isfinite(region.bounds).all()
    inside(region, (368000.0, 4306080.0), (1.0, 1.0), (80, 80))


def as_places(path: Path) -> None:
    here = read_places(path).to_crs(UTM)
    found = states(here, LATTICE, 0.0)
    assert len(found) == here.count == here.x.size
    for pixels in pixels_of(here, np.flatnonzero((found == "inside") | (found == "partly outside")), LATTICE, 0.0):
        assert ((pixels.rows >= 0) & (pixels.rows < 80) & (pixels.columns >= 0) & (pixels.columns < 80)).all()


def test_tables_of_places(fuzz: Callable) -> None:
    assert set(fuzz(TABLES, as_places, few=200)) == {"read", "refused"}


def test_geojson_of_areas(fuzz: Callable) -> None:
    assert set(fuzz(geojson(), as_area, few=200)) == {"read", "refused"}


def test_geojson_of_places(fuzz: Callable) -> None:
    pytest.importorskip("geopandas")
    assert set(fuzz(geojson(), as_places, few=100)) == {"read", "refused"}


def test_vector_files_of_areas(fuzz: Callable) -> None:
    assert set(fuzz(vectors(), as_area, few=60)) == {"read", "refused"}


def test_vector_files_of_places(fuzz: Callable) -> None:
    assert set(fuzz(vectors(), as_places, few=60)) == {"read", "refused"}
