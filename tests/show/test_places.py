"""Values at places against loops over pixels, and against shapely's own tests of centres."""

import csv
import io
import json
import re
import resource
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pyproj
import pytest
import xarray as xr

import hsi_dask as hsi
from hsi_dask.batch.state.naming import name_endmembers
from hsi_dask.cli import main
from hsi_dask.errors import ConfigError, FileFormatError, RunError, SchemaError
from hsi_dask.io.places import read_places
from hsi_dask.show.places import values_at, write_values
from hsi_dask.synthetic import neon_wavelengths, simulate_site

MOON = pyproj.CRS("IAU_2015:30100").to_wkt()
WEST, SOUTH, SIZE = 368000, 4306000, 40


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """Two by two tiles of 40 pixels, without data in the north-west; two endmembers have names."""
    folder = tmp_path_factory.mktemp("places")
    simulate_site(folder / "tiles", tiles=(2, 2), size=SIZE, wavelength=neon_wavelengths(60, step=35.0), no_data=0.1)
    settings = {"endmembers": {"count": 3, "sample": 600, "restarts": 2}, "thresholds": {"sam": 0.1}}
    hsi.run(hsi.RunConfig(tiles=[str(folder / "tiles")], **settings), folder / "run")
    name_endmembers(folder / "run", {1: "dark water", 2: "roof"})
    return folder / "run"


@pytest.fixture(scope="module")
def results(run_dir):
    return hsi.open_results(run_dir)


@pytest.fixture(scope="module")
def maps(run_dir):
    return hsi.open_results(run_dir, chunks=None).load()


@pytest.fixture(scope="module")
def points():
    """Within the site, on edges, outside, and nowhere."""
    random = np.random.default_rng(5)
    inside = np.column_stack([WEST + 80 * random.random(60), SOUTH + 80 * random.random(60)])
    return np.vstack([inside, [[WEST, SOUTH], [WEST - 0.1, SOUTH + 5], [WEST + 80, SOUTH + 5], [np.nan, 1]]])


def pixel(maps, x, y):
    """Row and column of the pixel that holds a point, by looking at each."""
    for row, north in enumerate(maps.y.to_numpy() + 0.5):
        for column, west in enumerate(maps.x.to_numpy() - 0.5):
            if west <= x < west + 1 and north - 1 < y <= north:
                return row, column
    return None


def test_a_point_has_the_values_of_its_pixel(results, maps, points):
    found = results.hsi.at(points)
    assert len(found) == len(points)
    for (x, y), row in zip(points, found.to_dict("records"), strict=True):
        at = pixel(maps, x, y)
        if at is None:
            # a pixel's southern edge belongs to it or to none: the loop decides otherwise than arithmetic there
            assert row["state"] in ("outside", "no geometry") or y == SOUTH
            continue
        here = maps.isel(y=at[0], x=at[1])
        has_data = not int(here["quality"]) & 1
        assert (row["state"], row["pixels"]) == (("inside", 1) if has_data else ("no data", 0))
        np.testing.assert_equal(row["abundance_roof"], float(here.abundance.sel(endmember=2)))
        np.testing.assert_equal(row["sid_divergence_3"], float(here.sid_divergence.sel(endmember=3)))
        if has_data:
            assert row["sam_class"] == int(here.sam_class)
            expected = ["unclassified", "dark water", "roof", "endmember 3"][int(here.sam_class)]
            assert row["sam_class_name"] == expected
        else:
            assert np.isnan(row["sam_class"])
    last = found.iloc[-1]
    assert (last["state"], last["pixels"], last["sam_class_name"]) == ("no geometry", 0, "")


def test_a_buffer_takes_pixels_whose_centres_are_near(results, maps):
    x, y, radius = WEST + 61.3, SOUTH + 22.8, 4.2
    near = np.hypot(*np.meshgrid(maps.x.to_numpy() - x, maps.y.to_numpy() - y)) <= radius
    one = results.hsi.at([(x, y), (WEST + 61.1, SOUTH + 22.2)], buffer=radius).iloc[0]
    assert one["pixels"] == near.sum()
    values = maps.abundance.sel(endmember=1).to_numpy()[near].astype(float)
    assert one["abundance_dark_water"] == pytest.approx(values.mean())
    assert one["abundance_dark_water_spread"] == pytest.approx(values.std())
    classes = maps.sam_class.to_numpy()[near]
    counts = {value: (classes == value).sum() for value in range(4)}
    assert one["sam_class"] == max(counts, key=counts.get)
    assert one["sam_class_share_roof"] == pytest.approx(counts[2] / classes.size)
    assert one["sam_class_share_unclassified"] == pytest.approx(counts[0] / classes.size)
    tiny = results.hsi.at([(x, y)], buffer=0.1).iloc[0]
    assert tiny["pixels"] == 1


def test_polygons_take_pixels_whose_centres_they_hold(results, maps):
    geopandas, shapely = pytest.importorskip("geopandas"), pytest.importorskip("shapely")
    shapes = [
        shapely.Polygon([(WEST + 50, SOUTH + 10), (WEST + 71, SOUTH + 12), (WEST + 60, SOUTH + 33)]),
        shapely.box(WEST + 70, SOUTH + 70, WEST + 90, SOUTH + 90),
        shapely.box(WEST + 60.1, SOUTH + 20.1, WEST + 60.2, SOUTH + 20.2),
        shapely.box(WEST + 500, SOUTH, WEST + 510, SOUTH + 5),
        shapely.MultiPolygon([shapely.box(WEST + 41, SOUTH + 1, WEST + 43, SOUTH + 3),
                              shapely.box(WEST + 71, SOUTH + 41, WEST + 73, SOUTH + 44)]),
        None,
        shapely.Point(WEST + 60.5, SOUTH + 20.5),
    ]  # fmt: skip
    crowns = geopandas.GeoDataFrame({"tree": list("abcdefg")}, geometry=shapes, crs="EPSG:32618", index=range(7, 14))
    found = results.hsi.at(crowns)
    assert isinstance(found, geopandas.GeoDataFrame)
    assert found.index.tolist() == list(range(7, 14))
    assert found.crs == crowns.crs
    expected = ["inside", "partly outside", "inside", "outside", "inside", "no geometry", "inside"]
    assert found["state"].tolist() == expected
    for shape, row in zip(shapes, found.to_dict("records"), strict=True):
        if shape is None or shape.area < 0.1:
            continue
        centres = [(j, i) for i, y in enumerate(maps.y.to_numpy()) for j, x in enumerate(maps.x.to_numpy())
                   if shape.contains(shapely.Point(x, y))]  # fmt: skip
        assert row["pixels"] == len(centres)
        values = np.array([float(maps["residual"].to_numpy()[i, j]) for j, i in centres])
        if len(values):
            assert row["residual"] == pytest.approx(values.mean(), rel=1e-6)
            assert row["residual_spread"] == pytest.approx(values.std(), rel=1e-4, abs=1e-9)
    assert found["pixels"].tolist()[2] == 1
    degrees = results.hsi.at(crowns.to_crs(4326))
    np.testing.assert_allclose(degrees["residual"], found["residual"], rtol=1e-6)
    buffered = results.hsi.at(crowns, buffer=2)
    assert buffered["pixels"].tolist()[0] > found["pixels"].tolist()[0]


def test_a_cube_gives_spectra(results, run_dir):
    tile = next((run_dir.parent / "tiles").glob(f"*_{WEST + SIZE}_{SOUTH}_*"))
    cube = hsi.open_neon(tile)
    found = cube.hsi.at([(WEST + 50.5, SOUTH + 3.5)])
    spectrum = cube.sel(x=WEST + 50.5, y=SOUTH + 3.5).to_numpy()
    columns = [name for name in found if name.startswith("reflectance_")]
    assert columns[0] == "reflectance_381.5"
    np.testing.assert_array_equal(found[columns].to_numpy()[0].astype("float32"), spectrum)


def test_the_verb_gives_spectra_of_the_run_s_wavelengths(run_dir, tmp_path, capsys):
    (tmp_path / "plots.csv").write_text(f"x,y\n{WEST + 50.5},{SOUTH + 3.5}\n{WEST + 3.5},{SOUTH + 20.5}\n0,0\n")
    code, out, err = call(capsys, "extract", run_dir, tmp_path / "plots.csv", "--spectra", "--variable", "quality")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0, err
    cube = hsi.open_mosaic(run_dir.parent / "tiles").sel(wavelength=hsi.open_results(run_dir).wavelength.to_numpy())
    nm = cube.wavelength.to_numpy()
    assert [name for name in rows[0] if "reflectance" in name] == [f"reflectance_{w:.1f}" for w in nm]
    for row, (x, y) in zip(rows, ((50.5, 3.5), (3.5, 20.5)), strict=False):
        found = [float(row[f"reflectance_{w:.1f}"]) for w in nm]
        np.testing.assert_allclose(found, cube.sel(x=WEST + x, y=SOUTH + y), rtol=1e-6)
    assert rows[2]["reflectance_381.5"] == ""


def test_only_chunks_that_hold_places_are_read(run_dir, tmp_path):
    """All other chunks are spoiled."""
    import shutil

    copy = shutil.copytree(run_dir, tmp_path / "run")
    whole = hsi.open_results(run_dir).hsi.at([(WEST + 50, SOUTH + 10)])
    for chunk in (copy / "results.zarr").rglob("c/**/*"):
        is_map = not {"y", "x", "endmember"} & set(chunk.parts)
        if chunk.is_file() and is_map and chunk.parts[-2:] != ("1", "1"):
            chunk.write_bytes(b"spoiled")
    found = hsi.open_results(copy).hsi.at([(WEST + 50, SOUTH + 10)])
    pd.testing.assert_frame_equal(found, whole)


def test_tables_of_places_are_read_as_people_have_them(results, tmp_path):
    x, y = WEST + 50.5, SOUTH + 10.5
    plain = results.hsi.at([(x, y)])
    lon, lat = pyproj.Transformer.from_crs(32618, 4326, always_xy=True).transform(x, y)
    texts = {
        "metres": f"plot;Easting;Northing\n1;{x};{y}\n".replace(".", ","),
        "degrees": f"plot,lat,lon\n1,{lat},{lon}\n",
        "neon": f"plotID,decimalLatitude,decimalLongitude,easting,northing\nA,1,2,{x},{y}\n",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.csv").write_text(text)
        found = results.hsi.at(tmp_path / f"{name}.csv")
        np.testing.assert_array_equal(found["residual"], plain["residual"]), name
    by_crs = results.hsi.at(pd.DataFrame({"x": [lon], "y": [lat]}), crs=4326)
    np.testing.assert_array_equal(by_crs["residual"], plain["residual"])


def test_places_are_read_without_geopandas(run_dir, tmp_path):
    (tmp_path / "plots.csv").write_text(f"x,y\n{WEST + 50.5},{SOUTH + 10.5}\n")
    code = (
        "import sys; sys.modules['geopandas'] = sys.modules['shapely'] = None\n"
        "from hsi_dask.cli import main; main(sys.argv[1:])"
    )
    words = ["extract", run_dir, tmp_path / "plots.csv", "--buffer", "3"]
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (tmp_path / "plots.geojson").write_text("{}")
    words[2] = tmp_path / "plots.geojson"
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert 'needs geopandas: pip install "hsi-dask[vector]"' in done.stderr


def call(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    shown = capsys.readouterr()
    return ended.value.code, shown.out, shown.err


def test_the_verb_writes_tables_without_formulas_and_vectors(run_dir, maps, tmp_path, capsys):
    plots = tmp_path / "plots.csv"
    plots.write_text(f'plot,x,y\n"=cmd()",{WEST + 50.5},{SOUTH + 10.5}\nfar,0,0\n')
    code, out, err = call(capsys, "extract", run_dir, plots, "--variable", "residual", "--variable", "sam_class")
    assert code == 0
    first, far = csv.DictReader(io.StringIO(out))
    assert first["plot"] == "'=cmd()"
    assert float(first["residual"]) == pytest.approx(float(maps["residual"].sel(x=WEST + 50.5, y=SOUTH + 10.5)))
    assert (far["state"], far["pixels"], far["residual"]) == ("outside", "0", "")
    assert "abundance_roof" not in first
    assert "of 2 places 1 outside" in err
    cells = ["007", "12", "368050.123456", "1e5", "", "NA"]
    plots.write_text(f"x,y,a,b,c,d,e,f\n{WEST},{SOUTH},{','.join(cells)}\n{WEST},{SOUTH},008,13,2.5,7,1,2\n")
    code, out, _ = call(capsys, "extract", run_dir, plots, "--variable", "residual")
    assert out.splitlines()[1].split(",")[2:8] == cells
    plots.write_text(f'plot,x,y\n"=cmd()",{WEST + 50.5},{SOUTH + 10.5}\nfar,0,0\n')
    code, out, _ = call(capsys, "extract", run_dir, plots, "--out", tmp_path / "values.csv")
    assert (code, out) == (0, f"2 places, 22 columns: {tmp_path / 'values.csv'}\n")
    geopandas = pytest.importorskip("geopandas")
    code, *_ = call(capsys, "extract", run_dir, plots, "--out", tmp_path / "values.gpkg", "--buffer", 3)
    assert code == 0
    back = geopandas.read_file(tmp_path / "values.gpkg")
    assert back.crs.to_epsg() == 32618
    assert back.geometry[0].x == WEST + 50.5
    code, *_ = call(capsys, "extract", run_dir, tmp_path / "values.gpkg", "--out", tmp_path / "again.csv")
    assert code == 0
    with open(tmp_path / "again.csv", newline="") as stream:
        assert {"file_residual", "residual"} <= set(next(csv.DictReader(stream)))


def test_a_vector_file_that_finds_no_room_is_a_sentence_and_leaves_nothing(results, tmp_path):
    pytest.importorskip("geopandas")
    places = read_places(np.array([[WEST + 1.0, SOUTH + 1.0]]))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # bytes of a file; a GeoPackage has 100 000
    try:
        with pytest.raises(RunError, match=r"a.gpkg cannot be written \(.*; give another --out"):
            write_values(values_at(results, places), places, results, tmp_path / "a.gpkg")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def geojson(kind, coordinates):
    return json.dumps({"type": "FeatureCollection", "features": [
        {"type": "Feature", "properties": {}, "geometry": {"type": kind, "coordinates": coordinates}}]})  # fmt: skip


@pytest.mark.parametrize("end", [b"", bytes(50)])
def test_maps_that_are_damaged_are_a_sentence(run_dir, tmp_path, capsys, end):
    own = shutil.copytree(run_dir, tmp_path / "run")
    for chunk in (path for path in (own / "results.zarr/sam_class/c").rglob("*") if path.is_file()):
        data = chunk.read_bytes()
        chunk.write_bytes(data[:16] + bytes([255]) * (len(data) - 16) if end else data[:20])
    (tmp_path / "a.csv").write_text(f"x,y,is\n{WEST + 10},{SOUTH + 10},roof\n")
    for words in (("extract",), ("accuracy", "--column", "is")):
        code, out, err = call(capsys, words[0], own, tmp_path / "a.csv", *words[1:])
        assert (code, out) == (2, "")
        assert re.search(r"sam_class/c/\d/\d is damaged|run(/results.zarr)? cannot be read", err)
        assert "`hsi-dask verify` names" in err
        assert "bug" not in err


def test_a_table_with_a_column_twice_is_refused(results):
    frame = pd.DataFrame([[WEST + 1.0, SOUTH + 1.0, 1, 2]], columns=["x", "y", "dbh", "dbh"])
    with pytest.raises(FileFormatError, match=r"several columns of the table are called 'dbh'"):
        results.hsi.at(frame)
    geopandas = pytest.importorskip("geopandas")
    points = geopandas.GeoDataFrame(frame, geometry=geopandas.points_from_xy(frame.x, frame.y), crs="EPSG:32618")
    with pytest.raises(FileFormatError, match=r"several columns of the points are called 'dbh'"):
        results.hsi.at(points)


@pytest.mark.parametrize(
    ("name", "text", "words", "sentence"),
    [
        (
            "a.csv",
            "plot,east\n1,2\n",
            (),
            "has no columns x and y, easting and northing, or lon and lat, but 'plot', 'e",
        ),
        ("a.csv", "x,y\n1,abc\n", (), "has 'abc' in column 'y'; coordinates must be numbers"),
        ("a.csv", "x,y,x\n1,2,3\n", (), "a.csv are called 'x'; rename all but one"),
        ("a.csv", "x,y,X\n1,2,3\n", (), "a.csv are called 'x'; rename all but one"),
        ("a.csv", "x,y\n1,2\n", ("--crs", MOON), "PROJ knows no way from the CRS 'Moon (2015)"),
        ("a.csv", "x,y\n1,2,3\n", (), "has 3 cells in row 2"),
        ("a.csv", b"x,y\n\xff\xfe,2\n", (), "cannot be read as places: it is not UTF-8"),
        ("a.csv", "x,y\n1,2\n", ("--crs", "no"), "the CRS 'no' is none; give a code such as EPSG:32618, or WKT"),
        ("a.csv", "x,y\n1,2\n", ("--buffer", "-3"), "buffer is -3 m; it must be above 0"),
        ("a.csv", "x,y\n1,2\n", ("--variable", "oak"), "the run has no map 'oak' but abundance"),
        ("a.csv", "x,y\n1,2\n", ("--out", "a.xlsx"), "--out a.xlsx is of no known kind"),
        ("a.csv", "x,y\n1,2\n", ("--out", "/none/a.csv"), "cannot be written"),
        ("a.xlsx", "", (), "is of no known kind; give one of .csv"),
        ("a.geojson", "{", (), "is no GeoJSON"),
        ("a.geojson", geojson("LineString", [[0, 0], [1, 1]]), (), "holds LineString; give points or polygons"),
        ("a.geojson", geojson("Point", [0, 0]), ("--crs", "EPSG:32618"), "is in EPSG:4326, not EPSG:32618"),
        ("a.geojson", geojson("Point", [368010.5, 4306010.5]), (), "names no CRS"),
        ("a.geojson", geojson("Point", [0, 0]), ("--layer", "trees"), "has no layer 'trees' but 'a'"),
        ("none.csv", None, (), "does not exist or is no file"),
        ("a.json", "<OGRVRTDataSource></OGRVRTDataSource>", (), "is no GeoJSON"),
        ("a.json", '{"type": "gdal_streamed_alg", "command_line": "gdal vector pipeline"}', (), "cannot be read as"),
        ("a.json", "[1]", (), "is no GeoJSON"),
        ("a.gpkg", "<OGRVRTDataSource></OGRVRTDataSource>", (), "does not begin as a .gpkg file does"),
        ("a.shp", "no", (), "does not begin as a .shp file does"),
        (
            "a.geojson",
            '{"type": "Point", "coordinates": [0, 0], "crs": {"properties": {"name": "x"}}}',
            (),
            "the CRS 'x'",
        ),
    ],
)
def test_places_that_cannot_be_read_are_refused_in_a_sentence(run_dir, tmp_path, capsys, name, text, words, sentence):
    if name.partition(".")[2] in ("geojson", "json", "gpkg", "shp"):
        pytest.importorskip("geopandas")
    if text is not None:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    code, out, err = call(capsys, "extract", run_dir, tmp_path / name, *words)
    assert (code, out) == (2, "")
    assert sentence in err
    assert len(err.strip().splitlines()) == 1


def test_vector_files_of_all_kinds_give_the_same(results, tmp_path):
    geopandas, shapely = pytest.importorskip("geopandas"), pytest.importorskip("shapely")
    shapes = [
        shapely.box(WEST + 50, SOUTH + 5, WEST + 58, SOUTH + 9),
        shapely.box(WEST + 9, SOUTH + 5, WEST + 14, SOUTH + 8),
    ]
    crowns = geopandas.GeoDataFrame({"tree": ["oak", "elm"]}, geometry=shapes, crs=32618)
    expected = results.hsi.at(crowns)["residual"].to_numpy()
    for name in ("crowns.gpkg", "crowns.shp", "crowns.fgb", "crowns.geojson"):
        crowns.to_file(tmp_path / name)
        found = results.hsi.at(tmp_path / name)
        assert sorted(found["tree"]) == ["elm", "oak"]
        np.testing.assert_allclose(found.set_index("tree").loc[["oak", "elm"], "residual"], expected, rtol=1e-6)
    crowns.to_file(tmp_path / "crowns.gpkg", layer="more")
    with pytest.raises(ConfigError, match=r"has the layers 'crowns', 'more'; say which \(--layer\)"):
        results.hsi.at(tmp_path / "crowns.gpkg")
    assert len(results.hsi.at(tmp_path / "crowns.gpkg", layer="more")) == 2
    alone = json.dumps({"type": "Point", "coordinates": [WEST + 50.5, SOUTH + 10.5],
                        "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32618"}}})  # fmt: skip
    (tmp_path / "alone.json").write_text(alone)
    assert results.hsi.at(tmp_path / "alone.json")["state"].tolist() == ["inside"]


def test_maps_without_places_are_refused(results):
    with pytest.raises(SchemaError, match="places need maps with coordinates y and x"):
        results.drop_vars(["y", "x"]).hsi.at([(1, 2)])
    with pytest.raises(SchemaError, match="the maps have no CRS"):
        results.drop_vars("spatial_ref").hsi.at([(1, 2)], crs=4326)
    with pytest.raises(SchemaError, match=r"places are a path, a GeoDataFrame, .* or an array \(n, 2\)"):
        results.hsi.at(["oak"])
    with pytest.raises(FileFormatError, match="does not exist"):
        results.hsi.at("none.csv")
    degrees = xr.Dataset(
        {"cover": (("y", "x"), np.ones((2, 2)))},
        {"y": [1.0, 0.0], "x": [0.0, 1.0], "spatial_ref": ((), 0, {"spatial_ref": "EPSG:4326"})},
    )
    with pytest.raises(ConfigError, match="buffer is in metres, but the maps are in EPSG:4326, in degree"):
        degrees.hsi.at([(0, 0)], buffer=3)
