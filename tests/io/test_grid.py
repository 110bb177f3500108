"""Zarr and netCDF cubes as xarray writes them, against the cube written; hostile folders are refused by name."""

import json
import os
import shutil
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

import hsi_dask as hsi
from hsi_dask.errors import FileFormatError
from hsi_dask.io import foreign_zarr
from hsi_dask.io.readers import identity, read_source
from hsi_dask.sources import find_source
from hsi_dask.synthetic import neon_wavelengths, simulate_scene, write_neon_tile


@pytest.fixture(scope="module")
def tile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scene = simulate_scene((40, 50), wavelength=neon_wavelengths(60, step=35.0), no_data=0.2, seed=3)
    return write_neon_tile(tmp_path_factory.mktemp("tile"), scene)


@pytest.fixture(scope="module")
def raw(tile: Path) -> xr.DataArray:
    return hsi.open_neon(tile, masked=False).load()


@pytest.fixture(scope="module")
def cube(tile: Path) -> xr.DataArray:
    return hsi.open_neon(tile).load()


def to_zarr(cube: xr.DataArray, path: Path, version: int = 3, **encoding: object) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cube.to_dataset(name="reflectance").to_zarr(
            path, zarr_format=version, consolidated=False, encoding={"reflectance": encoding} if encoding else None
        )
    return path


def to_netcdf(cube: xr.DataArray, path: Path, **encoding: object) -> Path:
    pytest.importorskip("h5netcdf")
    encoded = {"reflectance": encoding} if encoding else None
    cube.to_dataset(name="reflectance").to_netcdf(path, engine="h5netcdf", encoding=encoded)
    return path


# ------------------------------------------------------------------------------------------------ what is read


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("dims", ["y x wavelength", "wavelength y x", "x wavelength y"])
@pytest.mark.parametrize("kind", ["raw", "cube"])
def test_a_cube_that_was_stored_as_zarr_is_the_same_cube(
    request: pytest.FixtureRequest, cube: xr.DataArray, tmp_path: Path, version: int, dims: str, kind: str
) -> None:
    stored = request.getfixturevalue(kind).transpose(*dims.split()).chunk(y=16, x=25, wavelength=27)
    opened = hsi.open_cube(to_zarr(stored, tmp_path / "cube.zarr", version))
    np.testing.assert_array_equal(opened, cube)
    for name in ("y", "x", "wavelength", "fwhm", "good_wavelength"):
        np.testing.assert_allclose(opened[name], cube[name])
    assert opened.rio.crs == cube.rio.crs
    assert {opened.attrs[name] for name in ("site", "product")} == {"SERC", "DP3.30006.001"}
    assert read_source(tmp_path / "cube.zarr").reflectance.stored_chunks == (16, 25, 27)


@pytest.mark.parametrize("codec", ["none", "blosc", "zstd", "gzip", "sharded"])
def test_every_codec_that_is_known_is_decoded(raw: xr.DataArray, tmp_path: Path, codec: str) -> None:
    codecs = pytest.importorskip("zarr.codecs")
    made = {"blosc": codecs.BloscCodec, "zstd": codecs.ZstdCodec, "gzip": codecs.GzipCodec, "sharded": codecs.ZstdCodec}
    options: dict = {"chunks": (20, 25, 15), "compressors": [made[codec]()] if codec in made else None}
    if codec == "sharded":
        options["shards"] = (40, 50, 60)
    path = to_zarr(raw, tmp_path / "cube.zarr", 3, **options)
    np.testing.assert_array_equal(hsi.open_cube(path, masked=False), raw)
    np.testing.assert_array_equal(
        hsi.open_cube(path, masked=False)[5:9, [3, 40], ::7].compute(), raw[5:9, [3, 40], ::7]
    )


@pytest.mark.parametrize("compressor", ["Blosc", "Zstd", "Zlib", "GZip", "LZ4"])
def test_every_codec_of_version_2_is_decoded(raw: xr.DataArray, tmp_path: Path, compressor: str) -> None:
    numcodecs = pytest.importorskip("numcodecs")
    path = to_zarr(raw, tmp_path / "cube.zarr", 2, chunks=(20, 25, 15), compressors=[getattr(numcodecs, compressor)()])
    np.testing.assert_array_equal(hsi.open_cube(path, masked=False), raw)


def test_chunks_that_were_never_written_are_no_data(raw: xr.DataArray, tmp_path: Path) -> None:
    path = to_zarr(raw, tmp_path / "cube.zarr", 2, chunks=(20, 25, 60))
    (path / "reflectance" / "0.0.0").unlink()
    opened = hsi.open_cube(path)
    assert opened[:20, :25].isnull().all()
    np.testing.assert_array_equal(opened[20:], hsi.open_cube(to_zarr(raw, tmp_path / "whole.zarr"))[20:])


@pytest.mark.parametrize("dims", ["y x wavelength", "wavelength y x"])
def test_a_cube_that_was_stored_as_netcdf_is_the_same_cube(
    raw: xr.DataArray, cube: xr.DataArray, tmp_path: Path, dims: str
) -> None:
    sizes = {"y": 16, "x": 25, "wavelength": 27}
    chunks = tuple(sizes[dim] for dim in dims.split())
    path = to_netcdf(raw.transpose(*dims.split()), tmp_path / "cube.nc", chunksizes=chunks, zlib=True, shuffle=True)
    opened = hsi.open_cube(path)
    np.testing.assert_array_equal(opened, cube)
    assert opened.rio.crs == cube.rio.crs
    assert read_source(path).reflectance.stored_chunks == (16, 25, 27)
    assert find_source(read_source(path).numbers().data) is not None
    np.testing.assert_array_equal(hsi.open_cube(to_netcdf(cube, tmp_path / "float.nc")), cube)


def degrees(cube: xr.DataArray) -> xr.Dataset:
    """As products of other sensors have it: other names, micrometres, percent, a list of good bands, no CRS."""
    rows, columns, bands = cube.shape
    values = (cube.values * 100).transpose(2, 0, 1)
    return xr.Dataset(
        {"rfl": (("bands", "lat", "lon"), values, {"units": "%"})},
        {
            "lat": ("lat", 39 - np.arange(rows) * 5e-4, {"units": "degrees_north"}),
            "lon": ("lon", -76.5 + np.arange(columns) * 5e-4, {"units": "degrees_east"}),
            "wavelengths": ("bands", cube.wavelength.values / 1000, {"units": "um"}),
            "fwhm": ("bands", np.full(bands, 0.0075), {"units": "um"}),
            "good_wavelengths": ("bands", (np.arange(bands) % 7 > 0).astype("i1")),
        },
    )


@pytest.mark.parametrize("format", ["netcdf", "zarr"])
def test_other_names_units_and_percent_are_understood(cube: xr.DataArray, tmp_path: Path, format: str) -> None:
    path = tmp_path / ("emit.nc" if format == "netcdf" else "emit.zarr")
    if format == "netcdf":
        pytest.importorskip("h5netcdf")
        degrees(cube).to_netcdf(path, engine="h5netcdf")
    else:
        degrees(cube).to_zarr(path, zarr_format=3, consolidated=False)
    opened = hsi.open_cube(path)
    np.testing.assert_allclose(opened, cube, rtol=3e-7)
    np.testing.assert_allclose(opened.wavelength, cube.wavelength)
    np.testing.assert_allclose(opened.fwhm, 7.5)
    assert not opened.good_wavelength[::7].any()
    assert opened.rio.crs.to_epsg() == 4326
    assert opened.x.attrs["units"] == "degrees_east"
    assert "latitude and longitude of WGS 84 assumed" in opened.attrs["notes"][0]


def test_spectral_parameters_in_a_group_of_their_own_are_found(cube: xr.DataArray, tmp_path: Path) -> None:
    """As EMIT's files have them, after orthorectification."""
    pytest.importorskip("h5netcdf")
    whole, path = degrees(cube), tmp_path / "emit.nc"
    names = ["wavelengths", "fwhm", "good_wavelengths"]
    whole.drop_vars(names).to_netcdf(path, engine="h5netcdf")
    whole[names].reset_coords().drop_vars(["lat", "lon"], errors="ignore").to_netcdf(
        path, engine="h5netcdf", mode="a", group="sensor_band_parameters"
    )
    opened = hsi.open_cube(path)
    np.testing.assert_allclose(opened, cube, rtol=3e-7)
    np.testing.assert_allclose(opened.wavelength, cube.wavelength)
    assert not opened.good_wavelength[::7].any()


def test_an_offset_of_packed_numbers_is_applied(cube: xr.DataArray, tmp_path: Path) -> None:
    packed = xr.DataArray(np.int16([[[-100, 900]], [[1900, -1]]]), dims=("y", "x", "wavelength"))
    packed = packed.assign_coords(cube.isel(y=slice(0, 2), x=slice(0, 1), wavelength=slice(0, 2)).coords)
    packed.attrs = {"scale_factor": 1e-3, "add_offset": 0.1, "_FillValue": np.int16(-1), "grid_mapping": "spatial_ref"}
    path = to_zarr(packed, tmp_path / "cube.zarr")
    opened = hsi.open_cube(path)
    np.testing.assert_allclose(opened, [[[0.0, 1.0]], [[2.0, np.nan]]], atol=1e-7)
    assert read_source(path).numbers().dtype == np.float32


def test_a_run_of_a_zarr_copy_gives_the_maps_of_the_file(tile: Path, raw: xr.DataArray, tmp_path: Path) -> None:
    settings = {"endmembers": {"count": 3, "sample": 400, "restarts": 2}}
    copies = {"neon": tile, "zarr": to_zarr(raw.chunk(y=16, x=25, wavelength=27), tmp_path / "cube.zarr")}
    maps = {}
    for name, path in copies.items():
        hsi.run(hsi.RunConfig(tiles=[str(path)], **settings), tmp_path / name)
        maps[name] = hsi.open_results(tmp_path / name).load()
    for name in maps["neon"]:
        np.testing.assert_array_equal(maps["neon"][name], maps["zarr"][name])
    summary = hsi.run(hsi.RunConfig(tiles=[str(copies["zarr"])], **settings), tmp_path / "zarr")
    assert summary.done == (), "resuming finds the folder unchanged"


def test_identity_changes_with_any_chunk(raw: xr.DataArray, tmp_path: Path) -> None:
    path = to_zarr(raw, tmp_path / "cube.zarr", 2, chunks=(20, 25, 60))
    before, source = identity(str(path)), read_source(path)
    assert before == (source.file_size, source.mtime_ns)
    assert before[0] == sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    chunk = path / "reflectance" / "1.1.0"
    os.utime(chunk, ns=(before[1] + 10**9,) * 2)
    assert identity(str(path)) == (before[0], before[1] + 10**9)


# ------------------------------------------------------------------------------------------------ refusals


def refusal(path: Path) -> str:
    with pytest.raises(FileFormatError) as caught:
        read_source(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_grids_that_are_none_are_refused(cube: xr.DataArray, tmp_path: Path) -> None:
    cases = {
        "y ascends; store the cube north-up": cube[::-1],
        "x descends": cube[:, ::-1],
        "y is not regular": cube[[0, 1, 2, 5, 9]],
        "has no CRS": cube.drop_vars("spatial_ref").drop_attrs(deep=False),
        "not ascending": cube[..., ::-1],
        "holds no cube": cube.drop_vars("wavelength"),
        "wavelengths in 'cm-1'": cube.assign_coords(
            wavelength=("wavelength", cube.wavelength.values, {"units": "cm-1"})
        ),
    }
    for number, (sentence, wrong) in enumerate(cases.items()):
        wrong = wrong.copy()
        wrong.encoding = {}
        assert sentence in refusal(to_zarr(wrong, tmp_path / f"{number}.zarr")), sentence


@pytest.mark.parametrize("dim", ["y", "x", "wavelength"])
@pytest.mark.parametrize("more", [-1, 1])
def test_coordinates_that_are_more_or_fewer_than_what_they_are_along_are_refused(
    cube: xr.DataArray, tmp_path: Path, dim: str, more: int
) -> None:
    path = to_zarr(cube, tmp_path / "cube.zarr")
    size = cube.sizes[dim] + more
    other = cube[dim].pad({dim: (0, max(more, 0))}, mode="reflect", reflect_type="odd")[:size]
    other.to_dataset(name="other").reset_coords(drop=True).to_zarr(
        tmp_path / "other.zarr", zarr_format=3, consolidated=False
    )
    metadata = json.loads((path / dim / "zarr.json").read_text())
    shutil.rmtree(path / dim)
    shutil.copytree(tmp_path / "other.zarr" / "other", path / dim)
    own = json.loads((path / dim / "zarr.json").read_text()) | {"attributes": metadata["attributes"]}
    (path / dim / "zarr.json").write_text(json.dumps(own | {"dimension_names": [dim]}))
    assert f"{dim} has {size} numbers, but reflectance is {cube.sizes[dim]} long along {dim}" in refusal(path)


@pytest.mark.parametrize("fill", [-9999.0, 1e34])
def test_no_data_that_the_file_does_not_tell_is_no_reflectance(cube: xr.DataArray, tmp_path: Path, fill: float) -> None:
    filled = cube.fillna(fill).astype("f4")  # xarray writes that NaN is no data
    assert f"reflectance holds {fill:g} in " in refusal(to_zarr(filled, tmp_path / "cube.zarr"))
    told = to_zarr(filled, tmp_path / "told.zarr", _FillValue=np.float32(fill))
    np.testing.assert_array_equal(hsi.open_cube(told), cube)


def test_a_swath_is_told_to_be_orthorectified(cube: xr.DataArray, tmp_path: Path) -> None:
    swath = degrees(cube).rename(lat="downtrack", lon="crosstrack").drop_vars(["downtrack", "crosstrack"])
    swath.to_zarr(tmp_path / "swath.zarr", zarr_format=3, consolidated=False)
    assert "no coordinates along downtrack and crosstrack: orthorectify it" in refusal(tmp_path / "swath.zarr")


def test_a_rotated_grid_mapping_and_two_cubes_are_refused(cube: xr.DataArray, tmp_path: Path) -> None:
    turned = cube.copy()
    turned["spatial_ref"] = turned.spatial_ref.assign_attrs(GeoTransform="368000 0.8 0.6 4306040 0.6 -0.8")
    assert "is rotated" in refusal(to_zarr(turned, tmp_path / "turned.zarr"))
    two = xr.Dataset({"reflectance": cube, "reflectance_uncertainty": cube})
    two.to_zarr(tmp_path / "two.zarr", zarr_format=3, consolidated=False)
    assert "holds 2 cubes (reflectance, reflectance_uncertainty)" in refusal(tmp_path / "two.zarr")


def test_scales_that_cannot_be_are_refused(raw: xr.DataArray, cube: xr.DataArray, tmp_path: Path) -> None:
    for number, (changed, sentence) in enumerate(
        [
            (raw.assign_attrs(scale_factor=-1.0), "scale_factor -1; it must be positive"),
            (raw.assign_attrs(_Unsigned="true"), "packed as _Unsigned"),
            (cube.assign_attrs(scale_factor=1e-4), "holds fractions"),
            ((cube * 1e4).assign_attrs(cube.attrs), "holds digital numbers"),
        ]
    ):
        assert sentence in refusal(to_zarr(changed, tmp_path / f"{number}.zarr"))


@pytest.fixture
def folder(raw: xr.DataArray, tmp_path: Path) -> Path:
    return to_zarr(raw, tmp_path / "cube.zarr", 2, chunks=(20, 25, 60))


def change(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"filters": [{"id": "pickle", "protocol": 5}]}, r"its filters \(pickle\) may run code"),
        ({"compressor": {"id": "pickle"}}, "its codec 'pickle' is none of"),
        ({"dtype": "|O"}, "its type '|O' is none of plain numbers"),
        ({"chunks": [2**20, 2**20, 60]}, "are none of an array"),
        ({"chunks": [0, 25, 60]}, "are none of an array"),
        ({"shape": [-1, 2, 3]}, "are none of an array"),
        ({"order": "K"}, "laid out in a way"),
    ],
)
def test_arrays_of_version_2_that_are_not_plain_are_refused_by_name(folder: Path, fields: dict, sentence: str) -> None:
    change(folder / "reflectance" / ".zarray", **fields)
    with pytest.raises(FileFormatError, match=f"reflectance is refused, .*{sentence}"):
        read_source(folder)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"data_type": {"name": "struct"}}, "is none of plain numbers"),
        ({"codecs": [{"name": "numcodecs.pickle"}]}, "its codec 'numcodecs.pickle'"),
        ({"codecs": [{"name": "zstd"}]}, "do not begin with bytes"),
        ({"storage_transformers": ["x"]}, "laid out in a way"),
        ({"chunk_key_encoding": {"name": "default", "configuration": {"separator": "/../"}}}, "named in a way"),
    ],
)
def test_arrays_of_version_3_that_are_not_plain_are_refused_by_name(
    raw: xr.DataArray, tmp_path: Path, fields: dict, sentence: str
) -> None:
    path = to_zarr(raw, tmp_path / "cube.zarr")
    change(path / "reflectance" / "zarr.json", **fields)
    with pytest.raises(FileFormatError, match=f"reflectance is refused, .*{sentence}"):
        read_source(path)


def test_links_and_special_files_in_a_folder_are_refused(folder: Path) -> None:
    """... and one that came after it was looked at is not followed."""
    cube = hsi.open_cube(folder)
    chunk = folder / "reflectance" / "0.0.0"
    chunk.unlink()
    chunk.symlink_to("/etc/passwd")
    assert "its data lie outside the folder" in refusal(folder)
    with pytest.raises(FileFormatError, match=r"the chunk 0\.0\.0 is damaged"):
        cube[0, 0].compute()
    chunk.unlink()
    os.mkfifo(chunk)
    assert "its data lie outside the folder" in refusal(folder)
    with pytest.raises(FileFormatError, match="no regular file"):
        cube[0, 0].compute()


def test_a_chunk_that_is_damaged_or_inflates_to_more_than_its_shape_is_named(folder: Path) -> None:
    numcodecs = pytest.importorskip("numcodecs")
    cube, chunk = hsi.open_cube(folder), folder / "reflectance" / "0.1.0"
    whole = chunk.read_bytes()
    for wrong in (whole[: len(whole) // 2], b"", b"nonsense", numcodecs.Blosc().encode(np.zeros(10**7, "u1"))):
        chunk.write_bytes(wrong)
        with pytest.raises(FileFormatError, match=r"cube\.zarr/reflectance: the chunk 0\.1\.0 is damaged"):
            cube[0, 30].compute()


def test_metadata_that_cannot_be_read_are_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("", "[", "[]", '{"shape": ' + "[" * 10000, '"x"'):
        (folder / "reflectance" / ".zarray").write_text(text)
        assert "unreadable Zarr metadata" in refusal(folder) or "holds no cube" in refusal(folder)
    monkeypatch.setattr(foreign_zarr, "_MOST_METADATA", 10)
    assert "zattrs has" in refusal(folder)


def test_classic_netcdf_and_damaged_files_are_told(tmp_path: Path, raw: xr.DataArray) -> None:
    (tmp_path / "old.nc").write_bytes(b"CDF\x01" + b"\0" * 100)
    assert "netCDF of the classic kind; convert it" in refusal(tmp_path / "old.nc")
    whole = to_netcdf(raw, tmp_path / "cube.nc").read_bytes()
    (tmp_path / "torn.nc").write_bytes(whole[: len(whole) // 2])
    assert "truncated" in refusal(tmp_path / "torn.nc")


def test_data_outside_a_netcdf_file_are_refused(tmp_path: Path, raw: xr.DataArray) -> None:
    path = to_netcdf(raw, tmp_path / "cube.nc")
    shutil.copy(path, tmp_path / "other.nc")
    with h5py.File(path, "r+") as file:
        del file["reflectance"]
        file["reflectance"] = h5py.ExternalLink("other.nc", "/reflectance")
    assert "holds no cube" in refusal(path)
