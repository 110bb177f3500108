"""NEON files against h5py reading the same file, the simulated scene's own numbers, and NEON's published layout."""

import json
import logging
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import dask
import h5py
import numpy as np
import pytest
import xarray as xr

from hsi_dask import schema
from hsi_dask.errors import FileFormatError, SchemaError
from hsi_dask.io.neon import cube as neon
from hsi_dask.synthetic import simulate_scene, write_neon_tile

REVISIONS = ("DP1.001-2016", "DP3.001", "DP3.002", "rewritten")
GROUP = "SERC/Reflectance"
CUBE = f"{GROUP}/Reflectance_Data"
SYSTEM = f"{GROUP}/Metadata/Coordinate_System"
SPECTRAL = f"{GROUP}/Metadata/Spectral_Data"
IMAGERY = f"{GROUP}/Metadata/Ancillary_Imagery"
TEXT = h5py.string_dtype("ascii")


@pytest.fixture(scope="module")
def scene():
    return simulate_scene((40, 50), seed=2, no_data=0.2)


@pytest.fixture(scope="module")
def tiles(scene, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiles")
    return {name: write_neon_tile(folder / name, scene, revision=name) for name in REVISIONS}


@pytest.fixture(params=REVISIONS)
def tile(request, tiles):
    return tiles[request.param]


@pytest.fixture
def damaged(tiles, tmp_path):
    """A copy of a tile with something done to it through h5py."""

    def damage(change, revision="DP3.001", name=None):
        source = tiles[revision]
        path = shutil.copy(source, tmp_path / (name or source.name))
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    return damage


def replace(file, name, value, **options):
    if name in file:
        del file[name]
    return file.create_dataset(name, data=value, **options)


def recreate_cube(file, dtype, attrs=("Data_Ignore_Value", "Scale_Factor")):
    kept = {name: file[CUBE].attrs[name] for name in attrs}
    data = replace(file, CUBE, file[CUBE][()].astype(dtype), chunks=(16, 16, 27))
    data.attrs.update(kept)


def refusal(path):
    with pytest.raises(FileFormatError) as caught:
        neon.open_neon(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


# ------------------------------------------------------------------------------------------------ the cube


def test_every_revision_gives_the_numbers_that_were_written(tile, scene):
    """Oracle: the scene."""
    raw = neon.open_neon(tile, masked=False)
    written = scene.reflectance()
    assert raw.dims == schema.CUBE_DIMS
    assert raw.dtype.kind == "i"
    np.testing.assert_array_equal(raw.values, written)
    masked = neon.open_neon(tile)
    expected = np.where(written == -9999, np.float32(np.nan), written.astype("f4") / np.float32(10000))
    assert masked.dtype == np.float32
    np.testing.assert_array_equal(masked.values, expected)
    assert np.isnan(expected).any()


@pytest.mark.parametrize("masked", [True, False])
def test_all_ways_to_open_give_the_same_values(tile, masked):
    """Oracle: the default way."""
    whole = neon.open_neon(tile, masked=masked).load()
    for chunks in (None, {}, {"wavelength": 100}, {"y": -1, "x": 16}, 25, (20, 20, -1), -1):
        cube = neon.open_neon(tile, masked=masked, chunks=chunks)
        assert (cube.chunks is None) == (chunks is None)
        xr.testing.assert_identical(cube.load(), whole)
    assert neon.open_neon(tile, chunks={"wavelength": 100}).chunks[2] == (100, 100, 100, 100, 26)


def test_lazy_indexing_without_dask_equals_numpy_indexing(tile):
    """Oracle: numpy on the loaded cube; repeats, negative steps, integers and points along a line."""
    whole = neon.open_neon(tile).load()
    for index in (
        {"y": slice(30, 2, -3), "wavelength": [5, 5, 400, 17]},
        {"y": 7, "x": slice(3, 9)},
        {"y": 3, "x": 4, "wavelength": -1},
        {"wavelength": whole.good_wavelength.values, "y": [1]},
        {"y": xr.DataArray([1, 30, 1], dims="pixel"), "x": xr.DataArray([4, 0, 49], dims="pixel")},
    ):
        xr.testing.assert_identical(neon.open_neon(tile, chunks=None).isel(index), whole.isel(index))


def test_opening_computes_nothing_and_reads_no_pixel(tile, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("computed while opening")

    monkeypatch.setattr("hsi_dask.io.hdf5.StoredArray.fill", refuse)
    with dask.config.set(scheduler=refuse):
        assert neon.open_neon(tile).sizes["y"] == 40
        assert neon.open_neon(tile, chunks=None, masked=False).sizes["x"] == 50
        xr.open_dataset(tile, engine="neon", chunks={})


def test_coordinates_are_pixel_centres_and_the_file_s_spectra(tile, scene):
    """Oracle: the scene, whose grid is defined in whole metres."""
    cube = neon.open_neon(tile)
    np.testing.assert_array_equal(cube.y, scene.y)
    np.testing.assert_array_equal(cube.x, scene.x)
    assert cube.y[0] - cube.y[1] == 1
    np.testing.assert_allclose(cube.wavelength, scene.wavelength, rtol=1e-7)
    assert cube.wavelength.dtype == cube.fwhm.dtype == np.float64
    known = "rewritten" not in str(tile)
    np.testing.assert_allclose(cube.fwhm, scene.fwhm if known else np.full(426, np.nan), rtol=1e-6)
    inside = [(1340 <= w <= 1445) or (1790 <= w <= 1955) for w in cube.wavelength.values]
    np.testing.assert_array_equal(cube.good_wavelength, np.logical_not(inside))
    assert cube.wavelength.attrs["units"] == cube.fwhm.attrs["units"] == "nm"


# rioxarray multiplies transforms the way that affine 3 is about to deprecate
@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
def test_rioxarray_and_pyproj_find_the_crs_and_transform(tile, scene):
    cube = neon.open_neon(tile)
    west, south = scene.origin
    assert cube.rio.crs.to_epsg() == 32618
    assert tuple(cube.rio.transform())[:6] == (1.0, 0.0, west, 0.0, -1.0, south + 40)
    assert cube.rio.bounds() == (west, south, west + 50, south + 40) == neon.read_metadata(tile).bounds
    assert cube.spatial_ref.attrs["grid_mapping_name"] == "transverse_mercator"
    assert cube.encoding["grid_mapping"] == "spatial_ref"
    from rasterio.crs import CRS

    assert CRS.from_wkt(cube.spatial_ref.attrs["spatial_ref"]).to_epsg() == 32618


def test_attributes_follow_the_schema_and_fit_into_json(tile):
    cube, raw = neon.open_neon(tile), neon.open_neon(tile, masked=False)
    described = schema.describe(cube.copy(), "reflectance").attrs
    assert described.items() <= cube.attrs.items()
    assert json.loads(json.dumps(raw.attrs)) == raw.attrs
    assert raw.attrs["scale_factor"] == 1e-4
    assert raw.attrs["_FillValue"] == -9999
    assert isinstance(raw.attrs["_FillValue"], int)
    assert not {"scale_factor", "_FillValue"} & set(cube.attrs)
    assert {name: raw.attrs[name] for name in cube.attrs} == cube.attrs
    assert cube.attrs["site"] == "SERC"
    assert cube.attrs["source"] == tile.name
    assert cube.attrs["water_vapour_windows"] == [1340.0, 1445.0, 1790.0, 1955.0]


def test_raw_and_masked_cubes_survive_zarr(tile, tmp_path):
    """Oracle: the cube before it was written."""
    for masked in (True, False):
        cube = neon.open_neon(tile, masked=masked).isel(y=slice(0, 8))
        cube.to_dataset().to_zarr(tmp_path / f"{masked}.zarr", consolidated=False, zarr_format=3)
        back = xr.open_zarr(tmp_path / f"{masked}.zarr", consolidated=False, decode_coords="all")
        np.testing.assert_allclose(back.reflectance, neon.open_neon(tile).isel(y=slice(0, 8)), rtol=1e-6)
        assert back.spatial_ref.attrs["crs_wkt"] == cube.spatial_ref.attrs["crs_wkt"]


def test_blocks_are_whole_stored_chunks(tile):
    file = neon.read_metadata(tile)
    blocks = file.cube().chunks
    for sizes, chunk in zip(blocks, file.reflectance.stored_chunks, strict=True):
        assert all(size % chunk == 0 for size in sizes[:-1])
    assert file.cube(chunks={}).chunks == blocks


def test_a_misspelt_dimension_in_chunks_is_named(tile):
    with pytest.raises(SchemaError, match="bands"):
        neon.open_neon(tile, chunks={"bands": 10})


# ------------------------------------------------------------------------------------------------ metadata


def test_facts_by_revision(tiles):
    """Oracle: NEON.md's table of names and revisions."""
    facts = {name: neon.read_metadata(path) for name, path in tiles.items()}
    assert [f.product for f in facts.values()] == [
        "DP1.30006.001", "DP3.30006.001", "DP3.30006.002", "DP3.30006.001",
    ]  # fmt: skip
    assert not any(f.product_inferred for f in facts.values())
    assert [f.dates for f in facts.values()] == [("2016-08-07",), (), ("2022-06-23",), ()]
    assert facts["DP1.001-2016"].flight_lines == ("20160807_160559",)
    assert facts["DP3.001"].flight_lines == ("150634", "151211")
    assert facts["DP3.001"].reflectance.stored_chunks == (32, 50, 27)
    assert facts["DP3.002"].reflectance.stored_chunks == (40, 50, 1)
    assert "brdf_correction" in facts["DP3.002"].remarks
    assert all(f.remarks["cloud_conditions"] == "< 10%" for name, f in facts.items() if name != "rewritten")
    assert [len(f.notes) for f in facts.values()] == [0, 0, 0, 2]
    assert [f.own_windows for f in facts.values()] == [True, True, True, False]
    for name, file in facts.items():
        status = tiles[name].stat()
        assert (file.path, file.file_size, file.mtime_ns) == (str(tiles[name]), status.st_size, status.st_mtime_ns)


@pytest.mark.parametrize(("revision", "product"), [
    ("DP1.001-2016", "DP1.30006.001"), ("DP3.001", "DP3.30006.001"), ("DP3.002", "DP3.30006.002"),
    ("rewritten", "unknown"),
])  # fmt: skip
def test_a_renamed_file_tells_its_product_by_its_layout(damaged, revision, product):
    file = neon.read_metadata(damaged(lambda _: None, revision, "tile.h5"))
    assert (file.product, file.product_inferred) == (product, True)


def test_metadata_read_in_threads_pickle_and_open_without_the_file_s_help(tiles):
    """Oracle: one thread, no pickling."""
    paths = list(tiles.values()) * 5
    with ThreadPoolExecutor(8) as pool:
        for path, file in zip(paths, pool.map(neon.read_metadata, paths), strict=True):
            there = pickle.loads(pickle.dumps(file)).cube(masked=True)
            xr.testing.assert_identical(there[::9, ::9, ::50], neon.open_neon(path)[::9, ::9, ::50])
            assert there.data.name == neon.open_neon(path).data.name


def test_no_handle_survives_reading_metadata(tile):
    neon.read_metadata(tile)
    with h5py.File(tile, "r+"):
        pass


def test_missing_windows_fall_back_and_it_is_said(damaged, caplog):
    def change(file):
        for number in (1, 2):
            del file[GROUP].attrs[f"Band_Window_{number}_Nanometers"]

    with caplog.at_level(logging.INFO, "hsi_dask.io"):
        cube = neon.open_neon(damaged(change))
    assert cube.attrs["water_vapour_windows_from"] == "fallback"
    assert "1340-1445 and 1790-1955 nm" in caplog.text
    assert "1340-1445 and 1790-1955 nm" in cube.attrs["notes"][0]


def test_the_file_s_own_windows_are_used(damaged):
    path = damaged(lambda file: file[GROUP].attrs.update({"Band_Window_1_Nanometers": [500, 600]}))
    cube = neon.open_neon(path)
    assert cube.attrs["water_vapour_windows"] == [500.0, 600.0, 1790.0, 1955.0]
    assert not cube.good_wavelength.sel(wavelength=[501, 599, 1800], method="nearest").any()
    assert cube.good_wavelength.sel(wavelength=1400, method="nearest")


@pytest.mark.parametrize(("count", "known"), [(421, 421), (0, 0), (430, 0)])
def test_widths_that_do_not_fit_the_bands_are_nan_and_it_is_said(damaged, scene, count, known):
    widths = np.append(scene.fwhm, [9.0] * 4)[:count]
    cube = neon.open_neon(damaged(lambda file: replace(file, f"{SPECTRAL}/FWHM", widths)))
    np.testing.assert_array_equal(cube.fwhm[:known], scene.fwhm[:known])
    assert np.isnan(cube.fwhm[known:]).all()
    assert "FWHM" in cube.attrs["notes"][0]


@pytest.mark.parametrize("bands", [107, 428])
def test_any_number_of_bands_opens(tmp_path, bands):
    wavelength = np.linspace(383, 2510, bands)
    scene = simulate_scene((10, 12), wavelength=wavelength)
    cube = neon.open_neon(write_neon_tile(tmp_path, scene, revision="DP3.002"), masked=False)
    np.testing.assert_array_equal(cube.values, scene.reflectance())


@pytest.mark.parametrize(
    "value", [-9999.0, np.int32(-9999), np.array([-9999.0]), "-9999", b"-9999.0", np.array([b"-9999"])]
)
def test_no_data_is_understood_however_it_is_written(damaged, scene, value):
    path = damaged(lambda file: file[CUBE].attrs.__setitem__("Data_Ignore_Value", value))
    assert neon.read_metadata(path).fill_value == -9999
    np.testing.assert_array_equal(np.isnan(neon.open_neon(path)[..., 50]), scene.no_data)


def test_what_is_missing_beside_integers_is_assumed_and_said(damaged):
    def change(file):
        del file[CUBE].attrs["Scale_Factor"], file[CUBE].attrs["Data_Ignore_Value"]

    file = neon.read_metadata(damaged(change))
    assert (file.scale_factor, file.fill_value) == (10000, -9999)
    assert [note.split(" is")[0] for note in file.notes] == ["Scale_Factor", "Data_Ignore_Value"]


def test_a_fill_value_that_cannot_occur_masks_nothing_and_it_is_said(damaged):
    path = damaged(lambda file: recreate_cube(file, "u2"))
    cube = neon.open_neon(path, masked=False)
    assert "_FillValue" not in cube.attrs
    assert "cannot occur in uint16" in cube.attrs["notes"][0]


@pytest.mark.parametrize("dtype", ["i4", "i8", "f4", "f8", ">i2", ">f4"])
def test_rewritten_cubes_of_other_number_types_open(damaged, scene, dtype):
    path = damaged(lambda file: recreate_cube(file, dtype))
    np.testing.assert_array_equal(neon.open_neon(path, masked=False).values, scene.reflectance())
    np.testing.assert_array_equal(np.isnan(neon.open_neon(path)[..., 0]), scene.no_data)


@pytest.mark.parametrize(("info", "west", "north", "dx"), [
    ("UTM, 1.000, 1.000, 368000.00, 4307000.0, 1.0, 1.0, 18, North, WGS-84, units=Meters", 368000, 4307000, 1),
    ("UTM,  1.000,1.0,   368000.00,  4307000.0,  2.0,  2.0 ,18,  North,WGS-84, units=Meters, 0", 368000, 4307000, 2),
    ("{UTM, 1.5, 1.5, 368000.50, 4306999.5, 1.0, 1.0, 18, North, WGS-84}", 368000, 4307000, 1),
])  # fmt: skip
def test_map_info_is_read_with_any_spacing_and_number_of_fields(damaged, info, west, north, dx):
    path = damaged(lambda file: replace(file, f"{SYSTEM}/Map_Info", info.encode(), dtype=TEXT))
    file = neon.read_metadata(path)
    assert (file.west, file.north, file.resolution) == (west, north, (dx, dx))
    assert file.cube().y[0] == north - dx / 2


@pytest.mark.parametrize(("hemisphere", "epsg"), [("North", 32618), ("South", 32718)])
def test_a_missing_epsg_code_is_derived_from_the_utm_zone_and_it_is_said(damaged, hemisphere, epsg):
    def change(file):
        del file[f"{SYSTEM}/EPSG Code"]
        info = f"UTM,1,1,368000,4307000,1,1,18,{hemisphere},WGS-84,units=Meters"
        replace(file, f"{SYSTEM}/Map_Info", info.encode(), dtype=TEXT)

    file = neon.read_metadata(damaged(change))
    assert file.epsg == epsg
    assert str(epsg) in file.notes[0]


def test_an_epsg_code_stored_as_a_number_is_read_and_wins_over_map_info(damaged):
    file = neon.read_metadata(damaged(lambda file: replace(file, f"{SYSTEM}/EPSG Code", 32611)))
    assert file.epsg == 32611
    assert "Map_Info means 32618" in file.notes[0]


# ------------------------------------------------------------------------------------------------ refusals


def test_radiance_the_flat_layout_and_other_hdf5_are_refused_by_name(scene, tmp_path):
    assert "at-sensor radiance" in refusal(write_neon_tile(tmp_path, scene, revision="radiance"))
    assert "flat layout of 2013 to 2015" in refusal(write_neon_tile(tmp_path, scene, revision="flat-2013"))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["elevation"] = np.zeros((3, 3))
    assert "no group <SITE>/Reflectance but elevation" in refusal(tmp_path / "other.h5")


@pytest.mark.parametrize("name", [
    CUBE, f"{GROUP}/Metadata", SYSTEM, SPECTRAL, f"{SPECTRAL}/Wavelength",
])  # fmt: skip
def test_a_missing_part_is_named(damaged, name):
    message = refusal(damaged(lambda file: file.__delitem__(name)))
    assert f"/{name};" in message


def put_wavelength(values):
    return lambda file, scene: replace(file, f"{SPECTRAL}/Wavelength", values(scene.wavelength.copy()))


def put_attribute(target, name, value):
    return lambda file, _: file[target].attrs.__setitem__(name, value)


def put_text(name, text):
    return lambda file, _: replace(file, f"{SYSTEM}/{name}", text, dtype=TEXT)


def no_scale_on_floats(file, _):
    recreate_cube(file, "f4", ("Data_Ignore_Value",))


def no_crs(file, _):
    del file[f"{SYSTEM}/EPSG Code"]
    replace(file, f"{SYSTEM}/Map_Info", "Arbitrary,1,1,0,0,1,1", dtype=TEXT)


@pytest.mark.parametrize(("change", "said"), [
    (put_wavelength(lambda w: w[:-5]), "421 wavelengths for 426 bands"),
    (put_wavelength(lambda w: w / 1000), "micrometres"),
    (put_wavelength(lambda w: w[::-1]), "at 1, not increasing"),
    (put_wavelength(lambda w: np.where(np.arange(426) == 7, w[6], w)), "at 7, not increasing"),
    (put_wavelength(lambda w: np.where(np.arange(426) == 9, np.nan, w)), "wavelength nan at 9"),
    (put_wavelength(lambda w: np.where(np.arange(426) == 0, -np.inf, w)), "wavelength -inf at 0"),
    (put_wavelength(lambda w: np.full(w.shape, b"nm")), "unreadable metadata"),
    (put_attribute(CUBE, "Scale_Factor", 0.0), "Scale_Factor 0"),
    (put_attribute(CUBE, "Scale_Factor", np.nan), "Scale_Factor nan"),
    (put_attribute(CUBE, "Scale_Factor", [1.0, 2.0]), "not one number"),
    (put_attribute(CUBE, "Data_Ignore_Value", "none"), "'none'"),
    (put_attribute(GROUP, "Band_Window_1_Nanometers", [1445, 1340]), "Band_Window_1_Nanometers [1445.0, 1340.0]"),
    (put_text("Map_Info", "UTM, 1, 1"), "'UTM, 1, 1'"),
    (put_text("Map_Info", "UTM,1,1,368000,4307000,0,1,18,North,WGS-84"), "pixel size in Map_Info"),
    (put_text("EPSG Code", "4326"), "EPSG code 4326 (WGS 84) is not in metres"),
    (put_text("EPSG Code", "99999"), "EPSG code 99999 is unknown"),
    (no_crs, "no EPSG code"),
    (no_scale_on_floats, "float32 reflectance without Scale_Factor"),
    (lambda file, _: replace(file, CUBE, np.zeros((4, 5, 6), "c8")), "complex64"),
    (lambda file, _: replace(file, CUBE, np.zeros((4, 5), "i2")), "(4, 5)"),
    (lambda file, _: replace(file, CUBE, np.zeros((0, 5, 426), "i2")), "(0, 5, 426)"),
])  # fmt: skip
def test_what_cannot_be_used_is_refused_with_the_value_in_one_sentence(damaged, scene, change, said):
    path = damaged(lambda file: change(file, scene))
    with pytest.raises(FileFormatError) as caught:
        neon.open_neon(path)
    assert said in str(caught.value)


def test_files_that_are_not_hdf5_are_refused(tiles, tmp_path):
    whole = tiles["DP3.001"].read_bytes()
    for name, content in {"cut.h5": whole[: len(whole) // 2], "empty.h5": b"", "scene.dat": b"\0" * 600}.items():
        (tmp_path / name).write_bytes(content)
        refusal(tmp_path / name)
    refusal(tmp_path / "absent.h5")
    refusal(tmp_path)


def test_a_cube_whose_data_lie_outside_the_file_is_refused(damaged, tiles, tmp_path):
    def link(name):
        def change(file):
            del file[name]
            file[name] = h5py.ExternalLink(str(tiles["DP3.002"]), f"/{name}")

        return change

    for name in (CUBE, SPECTRAL, f"{SPECTRAL}/Wavelength", f"{SYSTEM}/Map_Info", "SERC"):
        message = refusal(damaged(link(name)))
        assert "its data lie outside the file" in message or "no group <SITE>/Reflectance" in message
    with_layer = neon.read_metadata(damaged(link(f"{IMAGERY}/Slope")))
    assert "slope" not in with_layer.layer_names
    assert "slope" not in with_layer.layers().maps


def test_two_sites_in_one_file_are_refused(damaged):
    message = refusal(damaged(lambda file: file.copy("SERC", "HARV")))
    assert "holds two sites, HARV and SERC" in message


def test_floats_that_contradict_their_scale_are_refused(damaged):
    """Fractions under Scale_Factor 10000 would be 10000 times too dark."""

    def fractions(file):
        recreate_cube(file, "f4")
        values = file[CUBE][()]
        file[CUBE][...] = np.where(values == -9999, values, values / 10000)

    message = refusal(damaged(fractions))
    assert "holds fractions (median 0." in message
    assert "its Scale_Factor is 10000" in message


# rioxarray multiplies transforms the way that affine 3 is about to deprecate
@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
@pytest.mark.parametrize("chunks", [None, "auto"])
def test_a_cut_or_coarsened_cube_is_where_its_coordinates_say(tiles, tmp_path, chunks):
    """Oracle: rioxarray by the coordinates alone, and GDAL on the file that it writes."""
    import rasterio

    cube = neon.open_neon(tiles["DP3.001"], chunks=chunks)
    assert "GeoTransform" not in cube.spatial_ref.attrs
    part = cube.isel(y=slice(7, 20), x=slice(11, 40), wavelength=[50])
    assert tuple(part.rio.transform())[:6] == (1, 0, 368011, 0, -1, 4306033)
    assert tuple(cube.coarsen(y=2, x=2).mean().rio.transform())[:6] == (2, 0, 368000, 0, -2, 4306040)
    assert tuple(cube.sel(x=slice(368005, 368009)).rio.transform())[:6] == (1, 0, 368005, 0, -1, 4306040)
    part.isel(wavelength=0).rio.to_raster(tmp_path / "part.tif")
    with rasterio.open(tmp_path / "part.tif") as image:
        assert tuple(image.transform)[:6] == (1, 0, 368011, 0, -1, 4306033)
        assert image.crs.to_epsg() == 32618


# ------------------------------------------------------------------------------------------------ the backend


@pytest.fixture
def plain(tile):
    """The quality layers as h5py reads them, by their names in lower case."""
    layers = {}
    with h5py.File(tile) as file:
        for name, item in [*file[f"{GROUP}/Metadata"].items(), *file.get(IMAGERY, {}).items()]:
            if isinstance(item, h5py.Dataset):
                layers[name.lower().replace("-", "_")] = item[()]
    return layers


def test_the_engine_gives_the_cube_and_every_layer(tile, plain):
    """Oracle: h5py, and open_neon."""
    dataset = xr.open_dataset(tile, engine="neon")
    assert set(dataset) == {"reflectance", *plain}
    assert len(plain) == {"DP1": 14, "DP3": 16, "rew": 0}.get(tile.parent.name[:3]) + (tile.parent.name == "DP3.002")
    xr.testing.assert_identical(dataset.reflectance.load(), neon.open_neon(tile).load())
    for name, values in plain.items():
        fill = 241 if values.dtype == "u1" else -9999
        assert dataset[name].dtype.kind == "f"
        np.testing.assert_array_equal(dataset[name], np.where(values == fill, np.nan, values.astype("f8")))
        assert dataset[name].isnull().any()
        assert dataset[name].dims[:2] == ("y", "x")
        assert dataset[name].attrs["long_name"]


def test_the_engine_gives_layers_as_stored_when_asked(tile, plain):
    dataset = xr.open_dataset(tile, engine="neon", mask_and_scale=False)
    xr.testing.assert_identical(dataset.reflectance.load(), neon.open_neon(tile, masked=False).load())
    for name, values in plain.items():
        assert dataset[name].dtype == values.dtype
        assert dataset[name].attrs["_FillValue"] == (241 if values.dtype == "u1" else -9999)
        np.testing.assert_array_equal(dataset[name], values)


def test_weather_keeps_the_encoding_of_its_revision(tiles):
    rgb, codes = (xr.open_dataset(tiles[name], engine="neon") for name in ("DP3.001", "DP3.002"))
    assert rgb.weather_quality_indicator.dims == ("y", "x", "rgb")
    assert set(np.unique(codes.weather_quality_indicator.values[~np.isnan(codes.weather_quality_indicator)])) <= {
        1,
        2,
        3,
    }
    assert "aerosol_optical_depth" in rgb
    assert "aerosol_optical_thickness" in codes


@pytest.mark.parametrize("revision", ["DP3.001", "DP3.002"])
def test_both_encodings_of_weather_are_the_same_cloud(damaged, revision):
    """Green, yellow, red and off the swath; 1, 2, 3 and -9999."""
    colours = np.array([(0, 255, 0), (255, 255, 0), (255, 0, 0), (241, 241, 241)], "u1")

    def write(file):
        layer = file[f"{IMAGERY}/Weather_Quality_Indicator"]
        layer[0, :4] = colours if layer.ndim == 3 else [1, 2, 3, -9999]

    layer = neon.read_metadata(damaged(write, revision)).layer("cloud")
    np.testing.assert_array_equal(layer.by_role(slice(0, 1), slice(0, 4)), [[1, 2, 3, np.nan]])


def test_weather_of_one_colour_is_refused_where_a_mask_needs_it(damaged):
    def recode(file):
        name = f"{IMAGERY}/Weather_Quality_Indicator"
        shape = file[name].shape[:2]
        del file[name]
        file[name] = np.zeros((*shape, 1), "u1")

    layer = neon.read_metadata(damaged(recode)).layer("cloud")
    with pytest.raises(SchemaError, match=r"has 1 colours, not 3; set masks.cloud to null"):
        layer.by_role(slice(None), slice(None))


def test_dates_keep_all_their_digits_however_the_layer_is_spelt(damaged):
    """A date as float32 would be off by a day: 20220623 is above 2**24."""

    def misspell(file):
        file[IMAGERY].move("Acquisition_Date", "Acqusition_Date")

    dataset = xr.open_dataset(damaged(misspell, "DP3.002"), engine="neon")
    assert dataset.acquisition_date.max() == 20220623


def test_a_layer_that_is_not_on_the_pixels_is_left_out_and_it_is_said(damaged):
    dataset = xr.open_dataset(damaged(lambda file: replace(file, f"{IMAGERY}/Slope", np.zeros((3, 4)))), engine="neon")
    assert "slope" not in dataset
    assert "Slope" in dataset.attrs["notes"][0]


@pytest.mark.parametrize("chunks", [{}, "auto"])
def test_the_engine_blocks_by_whole_stored_chunks(tile, chunks):
    dataset = xr.open_dataset(tile, engine="neon", chunks=chunks)
    stored = neon.read_metadata(tile).reflectance.stored_chunks
    for sizes, chunk in zip(dataset.reflectance.chunks, stored, strict=True):
        assert all(size % chunk == 0 for size in sizes[:-1])
    xr.testing.assert_identical(dataset.load(), xr.open_dataset(tile, engine="neon").load())


def test_the_engine_drops_variables_and_knows_neon_s_names(tile):
    dataset = xr.open_dataset(tile, engine="neon", drop_variables=["slope", "aspect", "unheard_of"])
    assert not {"slope", "aspect"} & set(dataset)
    backend = neon.NeonBackend()
    assert backend.guess_can_open("/data/NEON_D02_SERC_DP3_368000_4306000_bidirectional_reflectance.h5")
    assert backend.guess_can_open("NEON_D17_TEAK_DP1_L001-1_20230608_reflectance.h5")
    assert not backend.guess_can_open("NEON_D02_SERC_DP1_20160807_160559_radiance.h5")
    assert not backend.guess_can_open("somebody_s.h5")
    assert not backend.guess_can_open(b"\x89HDF")


# ------------------------------------------------------------------------------------------------ real data


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
def test_the_real_corner_of_sjer_opens(real_data):
    """Oracle: h5py, SOURCES.md and NEON.md: 54 bands of the 2017 grid lie in the windows."""
    path = real_data / "neon_sjer_2017_30x30.h5"
    cube, raw = neon.open_neon(path), neon.open_neon(path, masked=False)
    with h5py.File(path) as file:
        stored = file["SJER/Reflectance/Reflectance_Data"][()]
        wavelength = file["SJER/Reflectance/Metadata/Spectral_Data/Wavelength"][()]
    np.testing.assert_array_equal(raw, stored)
    np.testing.assert_array_equal(cube.wavelength, wavelength)
    np.testing.assert_allclose(cube, stored / 10000, rtol=1e-7)
    assert int((~cube.good_wavelength).sum()) == 54
    assert cube.rio.crs.to_epsg() == 32611
    assert cube.rio.bounds() == (257000, 4111970, 257030, 4112000)
    assert cube.attrs["product"] == "unknown"
    assert len(cube.attrs["notes"]) == 2
    assert set(xr.open_dataset(path, engine="neon")) == {"reflectance"}
