"""GeoPackages that compute what they hold, made with SQLite, against those that GDAL writes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from hsi_dask.errors import ConfigError, FileFormatError
from hsi_dask.io.places import read_places
from hsi_dask.io.regions import read_region

geopandas, shapely = pytest.importorskip("geopandas"), pytest.importorskip("shapely")
pytest.importorskip("pyogrio")
UTM = "EPSG:32618"
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    ring = [[368010.0, 4306010.0], [368071.0, 4306020.0], [368060.0, 4306066.0]]
    path = tmp_path / "a.gpkg"
    geopandas.GeoDataFrame({"id": ["a"]}, geometry=[shapely.Polygon(ring)], crs=UTM).to_file(path, layer="a")
    return path


def test_what_gdal_writes_is_read(package: Path) -> None:
    assert read_region(package, UTM).bounds == (368010.0, 4306010.0, 368071.0, 4306066.0)
    assert read_places(package).columns == {"id": ["a"]}


@pytest.mark.parametrize(
    ("statements", "what"),
    [
        (f"ALTER TABLE a RENAME TO b; CREATE VIEW a AS {ENDLESS} SELECT b.* FROM n, b", "view 'a'"),
        (f"CREATE VIEW c AS {ENDLESS} SELECT geom FROM a WHERE fid > (SELECT count(*) FROM n)", "view 'c'"),
        ("ALTER TABLE a ADD COLUMN big BLOB AS (zeroblob(900000000))", "generated column 'big'"),
        ("PRAGMA writable_schema = ON; INSERT INTO sqlite_master VALUES ('table', 'v', 'v', 0, "
         "'CREATE VIRTUAL TABLE v USING VirtualOGR(''/etc/passwd'')')", "virtual table 'v'"),
        ('CREATE VIRTUAL TABLE "v USING rtree (id)" USING fts5 (x)', "virtual table 'v USING rtree"),
    ],
)  # fmt: skip
def test_what_sql_would_compute_is_refused_and_not_waited_for(package: Path, statements: str, what: str) -> None:
    with closing(sqlite3.connect(package)) as file:
        file.executescript(statements)
    sentence = f"a.gpkg holds the {what}.*, which SQL computes; export the layer to a file of its own"
    with pytest.raises(ConfigError, match=sentence):
        read_region(package, UTM)
    with pytest.raises(FileFormatError, match=sentence):
        read_places(package, layer="a")


def test_a_view_that_is_in_the_log_beside_the_file_is_refused(package: Path, tmp_path: Path) -> None:
    (tmp_path / "sent").mkdir()
    with closing(sqlite3.connect(package)) as file:
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("CREATE VIEW c AS SELECT * FROM a")
        file.commit()
        for path in tmp_path.glob("a.gpkg*"):  # as they are, before closing brings them together
            (tmp_path / "sent" / path.name).write_bytes(path.read_bytes())
    assert (tmp_path / "sent" / "a.gpkg-wal").stat().st_size > 0
    with pytest.raises(FileFormatError, match="holds the view 'c'"):
        read_places(tmp_path / "sent" / "a.gpkg")


def test_a_database_that_is_damaged_is_one_sentence(package: Path) -> None:
    data = bytearray(package.read_bytes())
    data[100:1000] = bytes(900)
    package.write_bytes(data)
    with pytest.raises(FileFormatError, match="cannot be read as points or polygons"):
        read_places(package)
