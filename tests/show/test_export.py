"""Exports against the store they came from, by readers that are not ours: rio-cogeo, rasterio, gdalinfo, spectral."""

import csv
import fcntl
import json
import os
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import xarray as xr
from rio_cogeo.cogeo import cog_validate

import hsi_dask as hsi
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.cli import main
from hsi_dask.errors import RunError
from hsi_dask.io.endmember_store import open_endmembers
from hsi_dask.io.levels import OVERVIEWS
from hsi_dask.io.libraries import write_library, write_table
from hsi_dask.io.spectra import read_spectra
from hsi_dask.methods.registry import variable
from hsi_dask.schema import QUALITY
from hsi_dask.show.export import export
from hsi_dask.show.palettes import class_colours
from hsi_dask.synthetic import neon_wavelengths, simulate_site

MAPS = ["abundance", "residual", "abundance_class", "sam_angle", "sam_class", "sid_divergence", "sid_class", "quality"]
SIZE, WEST_SOUTH = 300, (368100, 4305900)


def no_data(name):
    return (variable(name) or QUALITY).fill_value


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run of 2 x 3 tiles, of which the south-eastern was killed when its chunks were written but not its record."""
    folder = tmp_path_factory.mktemp("exported")
    wavelength = neon_wavelengths(100, step=20.0)
    site = simulate_site(
        folder / "tiles", tiles=(2, 3), size=SIZE, origin=WEST_SOUTH, wavelength=wavelength, no_data=0.1
    )
    settings = {"endmembers": {"count": 3, "sample": 600, "restarts": 2}, "thresholds": {"sam": 0.2}}
    hsi.run(hsi.RunConfig(tiles=[str(site.folder)], masks={"water": 0.3}, **settings), folder / "run")
    (folder / "run" / "records" / f"{WEST_SOUTH[0] + 2 * SIZE}_{WEST_SOUTH[1]}.json").unlink()
    return folder / "run"


@pytest.fixture(scope="module")
def stored(run_dir):
    """The run's maps as the store has them, without data where the tile is not done."""
    maps = hsi.open_results(run_dir, chunks=None).load()
    for name in maps:
        maps[name][..., SIZE:, 2 * SIZE :] = no_data(name)
    return maps


@pytest.fixture(scope="module")
def out(run_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gis")
    export(run_dir, folder)
    return folder


@pytest.mark.parametrize("name", MAPS)
def test_every_map_is_a_valid_cloud_optimized_geotiff(out, name):
    valid, errors, warnings = cog_validate(out / f"{name}.tif", strict=True)
    assert (valid, errors, warnings) == (True, [], [])


@pytest.mark.parametrize("name", MAPS)
def test_pixels_and_corners_equal_the_store(out, stored, name):
    with rasterio.open(out / f"{name}.tif") as file:
        values = file.read() if file.count > 1 else file.read(1)
        np.testing.assert_array_equal(values, stored[name].values)
        assert values.dtype == stored[name].dtype
        assert file.crs == stored.rio.crs
        west, south, east, north = stored.rio.bounds()
        assert tuple(file.bounds) == (west, south, east, north)
        assert file.xy(0, 0) == (stored.x[0], stored.y[0])  # centres of pixels
        np.testing.assert_equal(file.nodata, no_data(name))


@pytest.mark.parametrize("name", MAPS)
def test_statistics_of_each_band_are_those_of_its_pixels(out, stored, name):
    bands = stored[name].values.reshape(-1, *stored[name].shape[-2:]).astype(np.float64)
    bands[bands == no_data(name)] = np.nan
    with rasterio.open(out / f"{name}.tif") as file:
        for number, band in enumerate(bands, 1):
            tags = {k: float(v) for k, v in file.tags(number).items() if k.startswith("STATISTICS_")}
            told = [tags[f"STATISTICS_{what}"] for what in ("MINIMUM", "MAXIMUM", "MEAN", "STDDEV", "VALID_PERCENT")]
            share = 100 * np.isfinite(band).mean()
            expected = [np.nanmin(band), np.nanmax(band), np.nanmean(band), np.nanstd(band), share]
            np.testing.assert_allclose(told, expected, rtol=1e-5, atol=1e-8 if share < 100 else 0)


def test_without_compression_pixels_and_words_are_the_same(out, run_dir, tmp_path):
    with pytest.raises(SystemExit) as end:
        main(["export", str(run_dir), "--out", str(tmp_path), "--no-compress"])
    assert end.value.code == 0
    for name in MAPS:
        assert cog_validate(tmp_path / f"{name}.tif", strict=True) == (True, [], [])
        with rasterio.open(out / f"{name}.tif") as packed, rasterio.open(tmp_path / f"{name}.tif") as plain:
            assert (plain.compression is None) == (plain.dtypes[0] == "float32")
            np.testing.assert_array_equal(plain.read(), packed.read())
            assert (plain.tags(), plain.tags(1)) == (packed.tags(), packed.tags(1))


def test_overviews_are_means_of_pixels_with_data_and_commonest_classes(out, stored):
    with rasterio.open(out / "residual.tif", overview_level=0) as file:
        coarse = file.read(1)
    with np.errstate(invalid="ignore"):
        parts = xr.DataArray(stored.residual.values, dims=("y", "x")).coarsen(y=2, x=2)
        np.testing.assert_allclose(coarse, parts.mean().values, rtol=1e-5)
    with rasterio.open(out / "sam_class.tif", overview_level=0) as file:
        coarse = file.read(1)
    quarters = np.stack([stored.sam_class.values[i::2, j::2] for i in (0, 1) for j in (0, 1)])
    one_class = (quarters == quarters[0]).all(axis=0)
    assert one_class.mean() > 0.5
    np.testing.assert_array_equal(coarse[one_class], quarters[0][one_class])
    assert (coarse == quarters).any(axis=0).all()  # never a class that is not there, as a mean would be


@pytest.fixture
def gdalinfo(out):
    program = shutil.which("gdalinfo")
    if program is None:
        pytest.skip("no gdalinfo; install gdal-bin")

    def shown(name):
        words = [program, "-json", str(out / f"{name}.tif")]
        return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)

    return shown


def test_gdalinfo_shows_names_units_statistics_and_crs(gdalinfo):
    shown = gdalinfo("sam_angle")
    assert 'ID["EPSG",32618]' in shown["coordinateSystem"]["wkt"].splitlines()[-1]
    assert shown["metadata"]["IMAGE_STRUCTURE"]["LAYOUT"] == "COG"
    assert shown["metadata"][""]["tiles_done"] == "5 of 6"
    assert [band["description"] for band in shown["bands"]] == [f"sam angle: endmember {n}" for n in (1, 2, 3)]
    for band in shown["bands"]:
        assert band["unit"] == "radian"
        assert band["noDataValue"] == "NaN"
        assert [overview["size"] for overview in band["overviews"]] == [[450, 300]]
        assert 0 <= band["minimum"] < band["mean"] < band["maximum"] < np.pi / 2


def test_gdalinfo_shows_classes_with_their_colours_and_names(gdalinfo):
    shown = gdalinfo("sam_class")
    (band,) = shown["bands"]
    assert band["noDataValue"] == 255
    assert band["colorInterpretation"] == "Palette"
    assert shown["metadata"][""]["threshold"] == "0.2"
    colours = [tuple(bytes.fromhex(colour[1:])) for colour in class_colours(3)]
    assert [tuple(entry[:3]) for entry in band["colorTable"]["entries"][1:4]] == colours
    rows = [row["f"] for row in shown["rat"]["row"]]
    assert [row[:2] for row in rows] == [[0, "unclassified"], *([n, f"endmember {n}"] for n in (1, 2, 3))]
    assert [tuple(row[2:]) for row in rows[1:]] == colours


def test_gdalinfo_names_the_flags_of_quality_that_the_run_sets(gdalinfo):
    rows = [row["f"][:2] for row in gdalinfo("quality")["rat"]["row"]]
    assert rows == [[0, "good"], [1, "no data"], [32, "water"], [33, "no data + water"]]


def style_of(path):
    """The renderer of a QGIS style."""
    return ElementTree.parse(path).getroot().find("pipe/rasterrenderer")


@pytest.mark.parametrize(
    ("name", "count"), [("abundance_class", 4), ("sam_class", 4), ("sid_class", 4), ("quality", 2)]
)
def test_qgis_is_given_the_names_and_colours_of_the_values_that_are_seen_and_no_others(out, stored, name, count):
    style = style_of(out / f"{name}.qml")
    assert (style.get("type"), style.get("band")) == ("paletted", "1")
    entries = {int(one.get("value")): one for one in style.findall("colorPalette/paletteEntry")}
    seen = {int(value) for value in np.unique(stored[name]) if name != "quality" or not value & 1}
    assert seen - {255} <= set(entries)
    assert len(entries) == count  # three classes and unclassified; good and water, but not what has no data
    with rasterio.open(out / f"{name}.tif") as file:
        table = file.colormap(1)
    for value, one in entries.items():
        assert not one.get("label").isdigit()
        assert tuple(bytes.fromhex(one.get("color")[1:])) == table[value][:3]


@pytest.mark.parametrize("name", ["abundance", "residual", "sam_angle", "sid_divergence"])
def test_qgis_is_given_a_ramp_over_nearly_all_values_of_a_map(out, stored, name):
    style = style_of(out / f"{name}.qml")
    assert (style.get("type"), style.get("band")) == ("singlebandpseudocolor", "1")
    values = [float(one.get("value")) for one in style.findall("rastershader/colorrampshader/item")]
    assert values == sorted(set(values))
    assert [float(style.get(f"classification{end}")) for end in ("Min", "Max")] == [values[0], values[-1]]
    known = stored[name].values[np.isfinite(stored[name].values)]
    if name == "abundance":
        assert (values[0], values[-1]) == (0, 1)
    inside = (known >= values[0]) & (known <= values[-1])
    assert inside.mean() > 0.8
    assert values[-1] - values[0] <= 1.01 * np.ptp(known)


# ------------------------------------------------------------------------------------------------ spectra


def test_the_spectral_package_reads_the_library(out, run_dir):
    from spectral.io import envi

    endmembers = open_endmembers(run_dir)
    library = envi.open(out / "endmembers.hdr", out / "endmembers.sli")
    np.testing.assert_array_equal(library.spectra, endmembers.values)
    assert library.names == ["endmember_1", "endmember_2", "endmember_3"]
    assert library.bands.band_unit == "Nanometers"
    np.testing.assert_allclose(library.bands.centers, endmembers.wavelength, rtol=1e-9)
    np.testing.assert_allclose(library.bands.bandwidths, endmembers.fwhm, rtol=1e-9)
    assert float(library.metadata["reflectance scale factor"]) == 1.0


@pytest.mark.parametrize("name", ["endmembers.sli", "endmembers.csv"])
def test_spectra_come_back_as_they_were(out, run_dir, name):
    endmembers, back = open_endmembers(run_dir), read_spectra(out / name)
    np.testing.assert_array_equal(back.values, endmembers.values)
    np.testing.assert_allclose(back.wavelength, endmembers.wavelength, rtol=1e-9)
    assert back.attrs["names"] == ["endmember_1", "endmember_2", "endmember_3"]


@pytest.mark.parametrize("write", [write_library, write_table])
def test_names_keep_their_words_whatever_is_in_them(tmp_path, write):
    names = ["Quercus, alba {leaf}", 'the "old" roof', "Wasser 水"]
    values = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], "float32")
    coords = {"endmember": [1, 2, 3], "wavelength": [500.0, 600.0]}
    path = tmp_path / ("e.sli" if write is write_library else "e.csv")
    write(path, xr.DataArray(values, coords, ("endmember", "wavelength"), attrs={"names": names}))
    back = read_spectra(path)
    np.testing.assert_array_equal(back.values, values)
    words = [name.replace(",", "").replace("{", "").replace("}", "").split() for name in back.attrs["names"]]
    assert words == [name.replace(",", "").replace("{", "").replace("}", "").split() for name in names]


NAMES = ["Grünland 水", "=1+1", "a\x1b[31mb <b>&", 'the "$x^2$" one']
SHOWN = ["1 Grünland 水", "2 =1+1", "3 a[31mb <b>&", '4 the "$x^2$" one']


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """Exports of a run whose endmembers have names in any script and with any markup."""
    folder = tmp_path_factory.mktemp("named")
    scene = hsi.synthetic.simulate_scene((30, 40))
    hsi.synthetic.write_neon_tile(folder / "tiles", scene)
    spectra = hsi.synthetic.material_spectra(["vegetation", "soil", "asphalt", "roof"], scene.wavelength)
    with open(folder / "library.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["wavelength", *NAMES], *np.column_stack([scene.wavelength, *spectra])])
    config = hsi.RunConfig(tiles=[str(folder / "tiles")], endmembers={"file": str(folder / "library.csv")})
    hsi.run(config, folder / "run")
    export(folder / "run", folder / "gis")
    return folder / "gis"


def test_names_are_what_they_are_in_every_file(named):
    with rasterio.open(named / "abundance.tif") as file:
        assert list(file.descriptions) == [f"abundance: {name}" for name in SHOWN]
    labels = [one.get("label") for one in style_of(named / "sam_class.qml").findall("colorPalette/paletteEntry")]
    assert labels == ["unclassified", *SHOWN]
    categories = ElementTree.parse(named / "sam_class.tif.aux.xml").getroot().findall(".//Category")
    assert [one.text for one in categories] == ["unclassified", *SHOWN]


def test_no_name_is_a_formula_or_a_control_character_in_a_table(named):
    head = (named / "endmembers.csv").read_text(encoding="utf-8").splitlines()[0]
    assert next(csv.reader([head]))[1:] == ["Grünland 水", "'=1+1", "a[31mb <b>&", 'the "$x^2$" one']
    assert "\x1b" not in (named / "endmembers.hdr").read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------------ what can go wrong


@pytest.fixture
def own_run(run_dir, tmp_path):
    return shutil.copytree(run_dir, tmp_path / "run")


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="is not a run directory"):
        export(tmp_path, tmp_path / "gis")
    assert not (tmp_path / "gis").exists()


def test_a_run_without_a_finished_tile_is_refused(own_run, tmp_path):
    for record in (own_run / "records").glob("*.json"):
        record.unlink()
    with pytest.raises(RunError, match="has no finished tile; `hsi-dask run --out"):
        export(own_run, tmp_path / "gis")
    assert not (tmp_path / "gis").exists()


def test_where_no_tile_is_done_nothing_is_written(own_run, tmp_path):
    first = f"{WEST_SOUTH[0]}_{WEST_SOUTH[1] + SIZE}"
    for record in (own_run / "records").glob("*.json"):
        if record.stem != first:
            record.unlink()
    export(own_run, tmp_path / "gis")
    with rasterio.open(tmp_path / "gis" / "residual.tif") as file:
        stored = [file.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", bidx=1) for y in (0, 1) for x in (0, 1)]
        assert np.isnan(file.read(1)[:, SIZE:]).all()
    assert [offset is None for offset in stored] == [False, True, True, True]


def test_a_folder_that_another_export_writes_to_is_refused(run_dir, tmp_path):
    (tmp_path / "gis").mkdir()
    folder = os.open(tmp_path / "gis", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        with pytest.raises(RunError, match=r"another export writes to .*gis; wait for it, or give another"):
            export(run_dir, tmp_path / "gis")
    finally:
        os.close(folder)
    assert (tmp_path / "gis" / "residual.tif") in export(run_dir, tmp_path / "gis")


def test_exports_of_one_run_go_on_side_by_side(own_run, tmp_path):
    words = [[sys.executable, "-m", "hsi_dask", "export", str(own_run), "--out", str(tmp_path / n)] for n in "ab"]
    started = [subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for line in words]
    shown = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0, 0], shown
    for file in (tmp_path / "a").glob("*.tif"):  # ISA-L may pack the same numbers otherwise
        with rasterio.open(file) as one, rasterio.open(tmp_path / "b" / file.name) as other:
            assert one.tags() == other.tags()
            np.testing.assert_array_equal(one.read(), other.read())


def test_a_file_in_place_of_the_folder_is_refused(run_dir, tmp_path):
    (tmp_path / "gis").write_text("something else")
    with pytest.raises(RunError, match=r"gis cannot be written .*; make room, or give another --out folder"):
        export(run_dir, tmp_path / "gis")
    assert (tmp_path / "gis").read_text() == "something else"


def test_a_damaged_chunk_is_named_and_an_earlier_export_stays(own_run, tmp_path):
    folder = tmp_path / "gis"
    export(own_run, folder)
    before = (folder / "residual.tif").read_bytes()
    chunk = next((own_run / "results.zarr" / "residual" / "c" / "1").glob("0"))
    chunk.write_bytes(chunk.read_bytes()[:1000])
    with pytest.raises(RunError, match=r"residual cannot be read at rows 300 to 600, .*hsi-dask verify"):
        export(own_run, folder)
    shutil.rmtree(own_run / OVERVIEWS)  # and where it is met already when these are made
    with pytest.raises(RunError, match=r"residual cannot be read at rows 300 to 600, .*hsi-dask verify"):
        export(own_run, folder)
    assert (folder / "residual.tif").read_bytes() == before
    assert not list(folder.glob(".export-*"))


@pytest.mark.parametrize("most", [100_000, 1_500_000])
def test_a_disk_that_is_full_is_one_sentence_and_leaves_nothing_half_written(run_dir, tmp_path, most):
    """A limit on the size of files stands for the disk."""
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))
from hsi_dask.cli import main
main(["export", {str(run_dir)!r}, "--out", {str(tmp_path / "gis")!r}])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"error: {tmp_path / 'gis'} cannot be written (")
    assert not (tmp_path / "gis" / "abundance.tif").exists()
    assert not list((tmp_path / "gis").glob(".export-*"))
    for file in (tmp_path / "gis").glob("*.tif"):
        assert cog_validate(file, strict=True)[0]


def test_what_a_killed_export_left_goes(run_dir, tmp_path):
    (tmp_path / "gis" / ".export-abc.part").mkdir(parents=True)
    (tmp_path / "gis" / ".export-abc.part" / "abundance.tif").write_bytes(b"half")
    (tmp_path / "gis" / "notes.txt").write_text("mine")
    files = export(run_dir, tmp_path / "gis")
    assert sorted(file.name for file in (tmp_path / "gis").iterdir()) == sorted([*(f.name for f in files), "notes.txt"])


# ------------------------------------------------------------------------------------------------ command line


def test_the_command_lists_what_it_wrote(run_dir, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["export", str(run_dir), "--out", str(tmp_path / "gis")])
    assert end.value.code == 0
    shown = capsys.readouterr()
    assert [line.split()[0] for line in shown.out.splitlines()[:-1]] == sorted(
        (f.name for f in (tmp_path / "gis").iterdir()), key=lambda name: shown.out.index(f"{name} ")
    )
    assert (
        shown.out.splitlines()[-1]
        == f"24 files in {tmp_path / 'gis'}, of 5 of {len(Run.open(run_dir).manifest.tiles)} tiles"
    )


def test_the_command_takes_thresholds_by_method_or_by_map(run_dir, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["export", str(run_dir), "--out", str(tmp_path), "--threshold", "sam=0.05,0.1,0.2",
              "--threshold", "abundance_class=0.6"])  # fmt: skip
    assert end.value.code == 0
    maps = hsi.open_results(run_dir).load()
    for name, scores, limits in (("sam_class", "sam_angle", [0.05, 0.1, 0.2]), ("abundance_class", "abundance", 0.6)):
        expected = hsi.threshold_classes(maps[scores], limits).values
        expected[SIZE:, 2 * SIZE :] = 255
        with rasterio.open(tmp_path / f"{name}.tif") as file:
            np.testing.assert_array_equal(file.read(1), expected)
            assert json.loads(file.tags()["threshold"]) == limits
        assert cog_validate(tmp_path / f"{name}.tif", strict=True) == (True, [], [])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sam", "--threshold is 'sam'; give a name and numbers, such as sam=0.1"),
        ("sam=high", "--threshold is 'sam=high'"),
        ("ace=0.1", "has no class map ace; there are abundance_class, sam_class, sid_class"),
        ("sam=0.1,0.2", "sam has 2 thresholds for 3 endmembers"),
        ("sam=5", "a threshold of sam is 5.0; it must be"),
    ],
)
def test_thresholds_that_cannot_be_are_refused_before_anything_is_written(run_dir, tmp_path, capsys, text, words):
    with pytest.raises(SystemExit) as end:
        main(["export", str(run_dir), "--out", str(tmp_path / "gis"), "--threshold", text])
    assert end.value.code == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "gis").exists()
