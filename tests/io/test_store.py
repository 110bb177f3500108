"""Results store: what other tools read back, what is written when, and the same bytes every time."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from pyproj import CRS

from hsi_dask.errors import GridError, RunError, SchemaError
from hsi_dask.io import endmember_store, map_writer, store
from hsi_dask.io.crs import canonical
from hsi_dask.io.durable import PART, digest, whole_folder, write_file
from hsi_dask.io.map_grid import Grid
from hsi_dask.methods.registry import variable

GRID = Grid(crs="EPSG:32618", west=368000.0, north=4307000.0, resolution=(1.0, 1.0), shape=(70, 130), chunk=(40, 60))
MAPS = ("abundance", "residual", "sam_class")
VARIABLES = [variable(name) for name in MAPS]
ENDMEMBERS = xr.DataArray(np.ones((3, 2), np.float32), {"wavelength": [500.0, 600.0]}, ("endmember", "wavelength"))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    store.create_results(tmp_path / "results.zarr", GRID, VARIABLES, ENDMEMBERS)
    (tmp_path / "manifest.json").write_text("{}")
    return tmp_path


def maps(rows: int = 40, columns: int = 60, seed: int = 0) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    return xr.Dataset(
        {
            "abundance": (("endmember", "y", "x"), rng.random((3, rows, columns), np.float32)),
            "residual": (("y", "x"), rng.random((rows, columns), np.float32)),
            "sam_class": (("y", "x"), rng.integers(0, 4, (rows, columns), np.uint8)),
        }
    )


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_region_reads_back_and_the_rest_is_no_data(run_dir: Path) -> None:
    written = maps()
    map_writer.write_region(run_dir / "results.zarr", written, 0, 60)
    results = store.open_results(run_dir)
    assert results.rio.crs.to_epsg() == 32618
    assert results.rio.bounds() == (368000.0, 4306930.0, 368130.0, 4307000.0)
    assert list(results.data_vars) == list(MAPS)
    assert {name: str(v.dtype) for name, v in results.items()} == {
        "abundance": "float32", "residual": "float32", "sam_class": "uint8",
    }  # fmt: skip
    tile = results.isel(y=slice(0, 40), x=slice(60, 120))
    for name in MAPS:
        np.testing.assert_array_equal(tile[name], written[name])
    assert (results.sam_class.isel(x=slice(0, 60)) == 255).all()
    assert results.abundance.isel(y=slice(40, 70)).isnull().all()
    assert float(results.y[0]), float(results.x[0]) == (4306999.5, 368000.5)
    assert results.sam_class.attrs["flag_meanings"].split()[:2] == ["unclassified", "endmember_1"]


def test_receipts_are_of_the_files_bytes_and_only_the_tiles_chunks_exist(run_dir: Path) -> None:
    receipts = map_writer.write_region(run_dir / "results.zarr", maps(), 0, 60)
    held = {key: data for key, data in files(run_dir / "results.zarr").items() if "/c/" in key}
    coordinates = {"y/c/0", "x/c/0", "endmember/c/0"}
    assert {r.key for r in receipts} == set(held) - coordinates - {"spatial_ref/c"}
    assert [(r.nbytes, r.digest) for r in receipts] == [(len(held[r.key]), digest(held[r.key])) for r in receipts]


def test_the_same_data_give_the_same_bytes(tmp_path: Path) -> None:
    big = Grid("EPSG:32618", 0.0, 0.0, (1.0, 1.0), (500, 700), (500, 700))
    for name in "ab":
        store.create_results(tmp_path / name, big, VARIABLES, ENDMEMBERS)
        map_writer.write_region(tmp_path / name, maps(500, 700), 0, 0)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_cropped_tile_is_padded_to_its_chunk_on_both_sides(run_dir: Path) -> None:
    cropped = maps(25, 30)
    map_writer.write_region(run_dir / "results.zarr", cropped, 45, 70)
    results = store.open_results(run_dir)
    inside = results.isel(y=slice(45, 70), x=slice(70, 100))
    np.testing.assert_array_equal(inside.abundance, cropped.abundance)
    assert int(results.residual.notnull().sum()) == 25 * 30
    assert int((results.sam_class != 255).sum()) == 25 * 30


def test_a_region_outside_the_mosaic_is_refused(run_dir: Path) -> None:
    with pytest.raises(SchemaError, match=r"abundance: 40\.\.80 is outside the mosaic"):
        map_writer.write_region(run_dir / "results.zarr", maps(), 40, 0)


def test_chunks_without_data_are_written_too(run_dir: Path) -> None:
    empty = maps() * np.nan
    empty["sam_class"] = (("y", "x"), np.full((40, 60), 255, np.uint8))
    receipts = map_writer.write_region(run_dir / "results.zarr", empty, 0, 0)
    assert len(receipts) == 5


def test_what_a_killed_writer_left_goes_with_the_next_write(run_dir: Path) -> None:
    chunk = run_dir / "results.zarr/residual/c/0/0"
    chunk.parent.mkdir(parents=True)
    torn = chunk.with_name(f".0.deadbeef{PART}")
    torn.write_bytes(b"half")
    map_writer.write_region(run_dir / "results.zarr", maps(), 0, 0)
    assert not torn.exists()


def test_zarr_metadata_are_version_3_unsharded_and_unconsolidated(run_dir: Path) -> None:
    root = json.loads((run_dir / "results.zarr/zarr.json").read_text())
    array = json.loads((run_dir / "results.zarr/abundance/zarr.json").read_text())
    assert root["zarr_format"] == 3
    assert root.get("consolidated_metadata") is None  # which some releases of Zarr write
    assert [codec["name"] for codec in array["codecs"]] == ["bytes", "blosc"]
    assert array["chunk_grid"]["configuration"]["chunk_shape"] == [1, 40, 60]
    assert array["fill_value"] == "NaN"
    assert array["dimension_names"] == ["endmember", "y", "x"]


def test_attributes_follow_the_geozarr_conventions(run_dir: Path) -> None:
    """Placement by the conventions: the transform with each array, the bounding box with the group alone."""
    root = json.loads((run_dir / "results.zarr/zarr.json").read_text())["attributes"]
    array = json.loads((run_dir / "results.zarr/abundance/zarr.json").read_text())["attributes"]
    for attributes in (root, array):
        assert attributes["proj:code"] == "EPSG:32618"
        assert attributes["spatial:dimensions"] == ["y", "x"]
        assert [c["name"] for c in attributes["zarr_conventions"]] == ["proj", "spatial"]
    assert root["spatial:bbox"] == [368000.0, 4306930.0, 368130.0, 4307000.0]
    assert array["spatial:transform"] == [1.0, 0.0, 368000.0, 0.0, -1.0, 4307000.0]
    assert array["spatial:shape"] == [70, 130]
    assert array["grid_mapping"] == "spatial_ref"


def test_gdal_reads_values_crs_and_corners(run_dir: Path) -> None:
    import rasterio

    version = tuple(map(int, rasterio.__gdal_version__.split(".")[:2]))
    if version < (3, 11):
        pytest.skip(f"GDAL {rasterio.__gdal_version__} reads Zarr v3 drafts only; from 3.11 on it reads the standard")
    written = maps()
    map_writer.write_region(run_dir / "results.zarr", written, 0, 60)
    with rasterio.open(f'ZARR:"{run_dir / "results.zarr"}":/sam_class') as dataset:
        assert dataset.crs.to_epsg() == 32618
        assert tuple(dataset.bounds) == (368000.0, 4306930.0, 368130.0, 4307000.0)
        assert dataset.nodata == 255
        np.testing.assert_array_equal(dataset.read(1)[:40, 60:120], written.sam_class)
    with rasterio.open(f'ZARR:"{run_dir / "results.zarr"}":/abundance') as dataset:
        np.testing.assert_array_equal(dataset.read(2)[:40, 60:120], written.abundance[1])


def test_a_folder_that_is_no_run_is_one_sentence(tmp_path: Path, run_dir: Path) -> None:
    with pytest.raises(RunError, match=r"is not a run directory: it has no manifest.json; give the folder"):
        store.open_results(run_dir / "results.zarr")
    with pytest.raises(RunError, match="nowhere does not exist"):
        store.open_results(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"has no endmembers.zarr yet"):
        endmember_store.open_endmembers(run_dir)


def test_an_unknown_crs_is_refused(tmp_path: Path) -> None:
    grid = Grid("EPSG:99999", 0.0, 0.0, (1.0, 1.0), (4, 4), (4, 4))
    with pytest.raises(GridError, match="EPSG code 99999 is unknown"):
        store.create_results(tmp_path / "results.zarr", grid, VARIABLES, ENDMEMBERS)


def endmembers() -> xr.DataArray:
    rng = np.random.default_rng(1)
    return xr.DataArray(
        rng.random((3, 8), np.float32),
        dims=("endmember", "wavelength"),
        coords={
            "endmember": [1, 2, 3],
            "wavelength": np.linspace(400, 2400, 8),
            "fwhm": ("wavelength", np.full(8, 5.5)),
            "good_wavelength": ("wavelength", np.ones(8, bool)),
            "row": ("endmember", [4, 5, 6]),
            "y": ("endmember", [10.5, 9.5, 8.5]),
            "x": ("endmember", [1.5, 2.5, 3.5]),
            "tile": ("endmember", np.array(["1_2", "1_2", "3_4"], dtype=object)),
        },
        attrs={"volume": 0.5, "volumes": [0.5, 0.4]},
    )


def test_endmembers_come_back_with_where_they_came_from(run_dir: Path) -> None:
    written = endmembers()
    endmember_store.write_endmembers(run_dir / "endmembers.zarr", written)
    back = endmember_store.open_endmembers(run_dir)
    np.testing.assert_array_equal(back, written)
    for name in ("fwhm", "row", "y", "x", "tile", "wavelength", "good_wavelength"):
        np.testing.assert_array_equal(back[name], written[name])
    assert (back.attrs["volume"], back.attrs["volumes"], back.attrs["units"]) == (0.5, [0.5, 0.4], "1")
    assert written.attrs == {"volume": 0.5, "volumes": [0.5, 0.4]}


def test_damaged_endmembers_are_refused(run_dir: Path) -> None:
    endmember_store.write_endmembers(run_dir / "endmembers.zarr", endmembers())
    root = run_dir / "endmembers.zarr/zarr.json"
    root.write_text(re.sub(r'"digest": "\w+"', f'"digest": "{"0" * 64}"', root.read_text()))
    with pytest.raises(RunError, match="its spectra differ from their checksum"):
        endmember_store.open_endmembers(run_dir)


def test_a_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "record.json"
    write_file(target, b"first")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_file(target, b"second")
    assert files(tmp_path) == {"record.json": b"first"}


def test_a_folder_takes_its_name_only_when_it_is_complete(tmp_path: Path) -> None:
    def fill() -> None:
        with whole_folder(tmp_path / "x.zarr") as part:
            part.mkdir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill()
    assert not (tmp_path / "x.zarr").exists()


# ------------------------------------------------------------------------------------------------ handed on


@pytest.fixture
def results(run_dir: Path) -> xr.Dataset:
    """Maps of one tile, with names of the endmembers."""
    map_writer.write_region(run_dir / "results.zarr", maps(), 0, 60)
    named = endmembers()
    named.attrs["names"] = ["soil", "Straße", "=roof"]
    endmember_store.write_endmembers(run_dir / "endmembers.zarr", named)
    return store.open_results(run_dir)


def test_names_are_a_coordinate(results: xr.Dataset, run_dir: Path) -> None:
    assert results["name"].values.tolist() == ["soil", "Straße", "=roof"]
    assert str(results.abundance.sel(endmember=2)["name"].item()) == "Straße"
    endmember_store.write_endmembers(run_dir / "endmembers.zarr", endmembers())
    assert store.open_results(run_dir)["name"].values.tolist() == ["endmember 1", "endmember 2", "endmember 3"]


@pytest.mark.parametrize(("engine", "module"), [("netcdf4", "netCDF4"), ("h5netcdf", "h5netcdf")])
def test_results_can_be_written_as_netcdf_with_names_and_crs(
    results: xr.Dataset, tmp_path: Path, engine: str, module: str
) -> None:
    pytest.importorskip(module)
    results.to_netcdf(tmp_path / "maps.nc", engine=engine)
    with xr.open_dataset(tmp_path / "maps.nc", engine=engine, decode_coords="all", mask_and_scale=False) as back:
        assert back.rio.crs.to_epsg() == 32618
        xr.testing.assert_equal(back.load(), results.compute())
        assert back.sam_class.attrs["flag_values"].dtype == np.uint8


@pytest.mark.filterwarnings("ignore:The (codec|dtype) .* is currently not part in the Zarr format 3")  # of Zarr 3.0
@pytest.mark.parametrize("version", [2, 3])
def test_results_can_be_written_as_zarr_of_either_format(results: xr.Dataset, tmp_path: Path, version: int) -> None:
    results.to_zarr(tmp_path / "copy.zarr", zarr_format=version, consolidated=False)
    with xr.open_zarr(tmp_path / "copy.zarr", consolidated=False, decode_coords="all", mask_and_scale=False) as back:
        xr.testing.assert_equal(back.load(), results.compute())


@pytest.mark.filterwarnings("ignore:Use `@` matmul")  # of affine, by rioxarray
def test_results_and_parts_of_them_can_be_written_as_geotiff(results: xr.Dataset, tmp_path: Path) -> None:
    import rasterio

    results.residual.isel(y=slice(10, 40), x=slice(70, 110)).rio.to_raster(tmp_path / "part.tif")
    results[["sam_class"]].rio.to_raster(tmp_path / "classes.tif")
    results.abundance.rio.to_raster(tmp_path / "abundance.tif")
    with rasterio.open(tmp_path / "part.tif") as part, rasterio.open(tmp_path / "classes.tif") as classes:
        assert tuple(part.bounds) == (368070.0, 4306960.0, 368110.0, 4306990.0)
        assert (np.isnan(part.nodata), classes.nodata) == (True, 255)
        np.testing.assert_array_equal(part.read(1), results.residual[10:40, 70:110])
    with rasterio.open(tmp_path / "abundance.tif") as abundance:
        assert (abundance.count, abundance.crs.to_epsg()) == (3, 32618)


@pytest.mark.filterwarnings("ignore:Use `@` matmul")
def test_places_stay_right_in_parts_and_coarser_maps(results: xr.Dataset) -> None:
    assert results.isel(y=slice(10, 40), x=slice(5, 60)).rio.bounds() == (368005.0, 4306960.0, 368060.0, 4306990.0)
    coarse = results.residual.coarsen(y=2, x=2).mean()
    assert coarse.rio.transform()[:6] == (2.0, 0.0, 368000.0, 0.0, -2.0, 4307000.0)
    stored = {"GeoTransform", "spatial:transform", "zarr_conventions"}
    assert not stored & {*results.attrs, *results.residual.attrs, *results.spatial_ref.attrs}


def test_xarray_alone_finds_the_crs(run_dir: Path) -> None:
    import rioxarray  # noqa: F401

    with xr.open_zarr(run_dir / "results.zarr", consolidated=False) as plain:
        assert "spatial_ref" in plain.coords
        assert plain.rio.crs.to_epsg() == plain.abundance.rio.crs.to_epsg() == 32618


# ------------------------------------------------------------------------------------------------ of a stranger


def change(path: Path, **keys: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


PICKLE = {"name": "numcodecs.pickle", "configuration": {}}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"codecs": [PICKLE]}, "codecs is .*, not a list of 2"),
        ({"codecs": [{"name": "bytes"}, PICKLE]}, r"codecs\[1\].name is 'numcodecs.pickle', not 'blosc'"),
        ({"data_type": "string"}, "data_type is 'string'"),
        ({"data_type": {"name": "numpy.datetime64"}}, "data_type is"),
        ({"zarr_format": 2}, "zarr_format is 2, not 3"),
        ({"shape": [10**9, 10**9]}, r"shape\[0\] is 1000000000, not a number from 1 to"),
        ({"shape": [10**7, 10**7]}, "no run has so much"),
        ({"shape": [70, 130, 1]}, "differ in number"),
        ({"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**6, 10**6]}}}, "no run has so much"),
        ({"storage_transformers": [{"name": "x"}]}, "storage_transformers is"),
        ({"attributes": {"scale_factor": 2.0}}, "free of attributes that change values"),
        ({"fill_value": "0x7fc00000"}, "fill_value is"),
        ({"dimension_names": ["y", "../x"]}, r"dimension_names\[1\] is '../x', not a name"),
    ],
)
def test_metadata_that_hsi_dask_does_not_write_are_refused(run_dir: Path, keys: dict[str, object], said: str) -> None:
    change(run_dir / "results.zarr/residual/zarr.json", **keys)
    with pytest.raises(RunError, match=said):
        store.open_results(run_dir)


def test_an_array_of_format_2_is_refused_whatever_it_holds(run_dir: Path) -> None:
    folder = run_dir / "results.zarr/residual"
    (folder / "zarr.json").unlink()
    (folder / ".zarray").write_text('{"zarr_format": 2, "filters": [{"id": "pickle"}]}')
    with pytest.raises(RunError, match="residual is Zarr format 2; hsi_dask opens the format 3"):
        store.open_results(run_dir)


@pytest.mark.parametrize(
    "name", ["residual", "residual/c", "residual/c/0", "residual/c/0/1", "residual/zarr.json", "."]
)
def test_no_link_is_followed_when_results_are_read(results: xr.Dataset, run_dir: Path, name: str) -> None:
    place = run_dir / "results.zarr" / name
    place.rename(run_dir / "elsewhere")
    place.symlink_to(run_dir / "elsewhere")
    with pytest.raises((RunError, OSError), match="is a link, and may lead anywhere"):
        store.open_results(run_dir).load()


def test_no_link_is_followed_when_results_are_written(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (run_dir / "results.zarr/residual/c").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="a link or a file where a folder should be"):
        map_writer.write_region(run_dir / "results.zarr", maps(), 0, 60)
    assert not list((tmp_path / "victim").iterdir())


def test_a_pipe_or_a_device_is_not_waited_for(results: xr.Dataset, run_dir: Path) -> None:
    chunk = run_dir / "results.zarr/residual/c/0/1"
    chunk.unlink()
    os.mkfifo(chunk)
    with pytest.raises(RunError, match=r"residual/c/./. cannot be read: it is no regular file"):
        store.open_results(run_dir).residual.load()


def test_a_chunk_that_would_inflate_to_another_size_is_refused_before(results: xr.Dataset, run_dir: Path) -> None:
    chunk = run_dir / "results.zarr/residual/c/0/1"
    data = bytearray(chunk.read_bytes())
    data[4:8] = (2**31 - 17).to_bytes(4, "little")
    chunk.write_bytes(data)
    with pytest.raises(RunError, match="residual/c/0/1 is damaged: it does not hold 9600 bytes"):
        store.open_results(run_dir).residual.load()


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"names": ["one"]}, "it has 1 names of 3 endmembers"),
        ({"names": "abc"}, "names is 'abc', not"),
        ({"tiles": [1, 2, 3]}, "tiles is"),
        ({"digest": 5}, "digest is 5, not a text"),
    ],
)
def test_attributes_of_endmembers_are_checked(run_dir: Path, attributes: dict[str, object], said: str) -> None:
    endmember_store.write_endmembers(run_dir / "endmembers.zarr", endmembers())
    root = run_dir / "endmembers.zarr/zarr.json"
    change(root, attributes=json.loads(root.read_text())["attributes"] | attributes)
    with pytest.raises(RunError, match=said):
        endmember_store.open_endmembers(run_dir)


def test_a_folder_without_endmembers_is_called_no_run_and_nobody_is_told_to_remove_it(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    with pytest.raises(RunError, match=r"thesis is no run directory, and no endmembers.zarr of one") as caught:
        endmember_store.read_endmembers(tmp_path / "thesis")
    assert "remove" not in str(caught.value)


# ------------------------------------------------------------------------------------------------ other grids

SINUSOIDAL = canonical(CRS.from_proj4("+proj=sinu +lon_0=0 +R=6371007.181 +units=m +no_defs").to_wkt())


@pytest.mark.parametrize(
    ("crs", "resolution", "y", "proj"),
    [
        ("EPSG:4326", (1e-4, 2e-4), ("degrees_north", "latitude"), {"proj:code": "EPSG:4326"}),
        ("EPSG:2263", (3.28125, 3.28125), ("US_survey_foot", "projection_y_coordinate"), {"proj:code": "EPSG:2263"}),
        (SINUSOIDAL, (463.3127, 463.3127), ("m", "projection_y_coordinate"), {"proj:wkt2": SINUSOIDAL}),
    ],
)
def test_grids_of_any_crs_and_pixel_size_are_described_and_read_back(
    tmp_path: Path, crs: str, resolution: tuple[float, float], y: tuple[str, str], proj: dict[str, str]
) -> None:
    grid = Grid(crs, -76.5, 39.0, resolution, (70, 130), (40, 60))
    store.create_results(tmp_path / "results.zarr", grid, VARIABLES, ENDMEMBERS)
    map_writer.write_region(tmp_path / "results.zarr", maps(), 0, 0)
    attributes = json.loads((tmp_path / "results.zarr/residual/zarr.json").read_text())["attributes"]
    assert {key: attributes[key] for key in attributes if key.startswith("proj:")} == proj
    (tmp_path / "manifest.json").write_text("{}")
    results = store.open_results(tmp_path)
    assert (results.y.attrs["units"], results.y.attrs["standard_name"]) == y
    assert CRS.from_user_input(results.rio.crs.to_wkt()) == CRS.from_user_input(crs)
    np.testing.assert_allclose(np.diff(results.y), -resolution[1], rtol=1e-6)
    assert results.rio.bounds() == pytest.approx(grid.bbox)


def test_what_is_opened_says_by_its_coordinates_alone_where_it_is(run_dir: Path) -> None:
    results = store.open_results(run_dir)
    stored = json.loads((run_dir / "results.zarr/residual/zarr.json").read_text())["attributes"]
    assert {"spatial:transform", "spatial:shape"} <= set(stored), "GDAL reads these from the disk"
    for one in results.variables.values():
        assert not {"GeoTransform", "spatial:transform", "spatial:shape", "spatial:bbox"} & set(one.attrs)
    assert "spatial:bbox" not in results.attrs


def test_a_grid_tells_its_crs_unit_and_area() -> None:
    assert (GRID.epsg, GRID.label, GRID.unit, GRID.pixel_area) == (32618, "EPSG:32618", "m", 1.0)
