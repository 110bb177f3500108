"""ENVI images: any interleave, type and byte order against the numbers written; what headers mean; refusals."""

import logging
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import hsi_dask as hsi
from hsi_dask.errors import FileFormatError
from hsi_dask.io import chunked, envi_arrays
from hsi_dask.io.blocks import lazy
from hsi_dask.io.plausible import JudgedWhenRead
from hsi_dask.io.readers import read_source
from hsi_dask.sources import find_source

SHAPE = (23, 17, 31)
WAVELENGTH = np.linspace(400, 2500, SHAPE[2])


@pytest.fixture
def numbers() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 9999, SHAPE).astype("i2")


@pytest.fixture
def image(tmp_path: Path, numbers: np.ndarray, write_envi):
    """Writes the numbers with some fields of the header changed."""
    return lambda **fields: write_envi(tmp_path / "image.img", numbers, WAVELENGTH, **fields)


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8", "u2", "u4", "i8", "u8"])
@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
@pytest.mark.parametrize("big", [False, True])
def test_numbers_of_any_type_order_and_interleave_are_those_written(
    tmp_path: Path, numbers: np.ndarray, write_envi, dtype: str, interleave: str, big: bool
) -> None:
    values = (numbers % 251 if dtype == "u1" else numbers / 1e4 if dtype[0] == "f" else numbers).astype(dtype)
    path = write_envi(tmp_path / "image.dat", values, WAVELENGTH, interleave=interleave, big=big, offset=big * 123)
    raw = hsi.open_cube(path, masked=False)
    assert raw.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(raw.values, values)
    scale = 1.0 if dtype[0] == "f" else 1e-4
    np.testing.assert_allclose(hsi.open_cube(path), values.astype("f8") * scale, rtol=2e-7)


def axis_index(size: int) -> st.SearchStrategy[object]:
    edge = st.integers(-size, size)
    return st.one_of(
        st.builds(slice, st.none() | edge, st.none() | edge, st.sampled_from([None, 1, 2, 7, -1, -3])),
        st.integers(-size, size - 1),
        st.lists(st.integers(-size, size - 1), max_size=8).map(lambda v: np.array(v, dtype=np.intp)),
    )


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory, write_envi) -> tuple[np.ndarray, list[envi_arrays.EnviArray]]:
    values = np.random.default_rng(0).integers(1, 9999, SHAPE).astype("i2")
    folder = tmp_path_factory.mktemp("interleaves")
    paths = [write_envi(folder / f"{kind}.img", values, WAVELENGTH, interleave=kind) for kind in ("bsq", "BIL", "bip")]
    return values, [read_source(path).reflectance for path in paths]


@pytest.mark.parametrize("gap", [0, 40, 10**6])
@settings(max_examples=100, deadline=None)
@given(index=st.tuples(*map(axis_index, SHAPE)))
def test_any_index_gives_what_numpy_gives(arrays, gap: int, index: tuple[object, ...]) -> None:
    """... whatever is read over."""
    values, stored = arrays
    expected = values
    for axis in reversed(range(3)):
        expected = expected[(*(slice(None),) * axis, index[axis])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(envi_arrays, "_GAP_BYTES", gap)
        patch.setattr(envi_arrays, "_CHUNK_BYTES", 4000)
        for array in stored:
            np.testing.assert_array_equal(array[index], expected)


@pytest.fixture
def read_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The length of every read."""
    calls: list[int] = []
    pread = os.pread
    monkeypatch.setattr(envi_arrays.os, "pread", lambda fd, count, at: (calls.append(count), pread(fd, count, at))[1])
    return calls


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
@pytest.mark.parametrize("dtype", ["i2", "f4"])
def test_a_pass_reads_each_byte_once_and_little_at_a_time(
    tmp_path: Path, write_envi, interleave: str, dtype: str, read_bytes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(0).integers(1, 9999, (200, 50, 40)).astype(dtype)
    if dtype == "f4":
        values /= np.float32(10000)
    path = write_envi(tmp_path / "line.img", values, np.linspace(400, 2500, 40), interleave=interleave)
    monkeypatch.setattr(envi_arrays, "_CHUNK_BYTES", 40_000)
    monkeypatch.setattr("hsi_dask.io.blocks.BLOCK_BYTES", 200_000)
    monkeypatch.setattr(chunked, "PIECE_BYTES", 100_000)
    source = read_source(path)
    cube = source.numbers()
    assert cube.data.npartitions > 2
    endmembers = xr.DataArray(
        np.random.default_rng(1).uniform(0.1, 0.5, (3, 40)),
        {"wavelength": cube.wavelength.values},
        ("endmember", "wavelength"),
    )
    source.reflectance[0, 0, 0]  # judges the file, once
    read_bytes.clear()
    maps = hsi.map_materials(cube, endmembers, methods=("sam",)).compute(scheduler="threads")
    assert sum(read_bytes) == values.nbytes
    assert max(read_bytes) <= 200_000
    whole = hsi.map_materials(cube.compute(), endmembers, methods=("sam",))
    np.testing.assert_allclose(maps.sam_angle, whole.sam_angle, atol=1e-6)


def test_a_plane_of_lines_reads_its_own_bytes_alone(tmp_path: Path, write_envi, read_bytes: list[int]) -> None:
    values = np.ones((50, 3000, 40), "i2")
    path = write_envi(tmp_path / "line.bil", values, np.linspace(400, 2500, 40), interleave="bil")
    cube = hsi.open_cube(path, chunks=None)
    cube[0, 0, 0].load()  # judges the file, once
    read_bytes.clear()
    cube.isel(wavelength=[3, 30]).load()
    assert sum(read_bytes) == 2 * 50 * 3000 * 2


def test_the_array_pickles_without_a_handle_and_notices_a_changed_file(image) -> None:
    path = image()
    array = pickle.loads(pickle.dumps(read_source(path).reflectance))
    assert lazy(array).name == lazy(read_source(path).reflectance).name
    assert find_source(read_source(path).numbers().data) is not None
    os.utime(path.with_suffix(".img"), (1, 1))
    with pytest.raises(FileFormatError, match="changed since it was opened"):
        array[:]


def test_a_file_that_is_cut_short_is_named_while_it_is_read(image, monkeypatch: pytest.MonkeyPatch) -> None:
    array = read_source(image()).reflectance
    assert isinstance(array, JudgedWhenRead)
    array = array.stored
    assert isinstance(array, envi_arrays.EnviArray)
    monkeypatch.setattr(envi_arrays, "file_identity", lambda path: (array.file_size, array.mtime_ns))
    os.truncate(array.path, 1000)
    with pytest.raises(FileFormatError, match=r"image\.img is cut short"):
        array[:]


# ------------------------------------------------------------------------------------------------ headers


def test_pixels_lie_where_map_info_says(image) -> None:
    cube = hsi.open_cube(image())
    assert (float(cube.x[0]), float(cube.y[0]), cube.rio.crs.to_epsg()) == (368000.5, 4306022.5, 32618)
    centre = hsi.open_cube(image(map_info="{UTM, 1.5, 1.5, 500.25, 900.75, 0.5, 0.5, 19, South, WGS-84}"))
    assert (float(centre.x[0]), float(centre.y[0]), centre.rio.crs.to_epsg()) == (500.25, 900.75, 32719)
    assert float(centre.x[1] - centre.x[0]) == 0.5
    geographic = hsi.open_cube(
        image(map_info="{Geographic Lat/Lon, 1, 1, -76.5, 39.0, 1e-05, 1e-05, WGS-84, units=Degrees}")
    )
    assert geographic.rio.crs.to_epsg() == 4326
    assert geographic.y.attrs["units"] == "degrees_north"
    assert geographic.x.attrs["standard_name"] == "longitude"
    nad = hsi.open_cube(image(map_info="{UTM, 1, 1, 5e5, 4e6, 1, 1, 11, North, North America 1983}"))
    assert nad.rio.crs.to_epsg() == 26911


def test_a_coordinate_system_string_goes_before_the_name(image) -> None:
    albers = (
        'PROJCS["mine",GEOGCS["GCS_WGS_1984",DATUM["D_WGS_1984",SPHEROID["WGS_1984",6378137.0,298.257223563]],'
        'PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]],PROJECTION["Albers"],PARAMETER["False_Easting",0.0],'
        'PARAMETER["False_Northing",0.0],PARAMETER["Central_Meridian",-96.0],PARAMETER["Standard_Parallel_1",30.0],'
        'PARAMETER["Standard_Parallel_2",46.0],PARAMETER["Latitude_Of_Origin",23.0],UNIT["Meter",1.0]]'
    )
    path = image(coordinate_system_string=f"{{{albers}}}", map_info="{mine, 1, 1, 100, 200, 5, 5, units=Meters}")
    source = read_source(path)
    assert source.epsg is None
    assert source.crs.startswith('PROJCRS["mine"')
    cube = source.cube(masked=True)
    assert "epsg" not in cube.attrs
    assert cube.spatial_ref.attrs["grid_mapping_name"] == "albers_conical_equal_area"


def test_bad_bands_widths_and_micrometres(image) -> None:
    good = np.ones(SHAPE[2], int)
    good[[0, 7, 30]] = 0
    cube = hsi.open_cube(
        image(bbl="{" + ",".join(map(str, good)) + "}", wavelength_units="Micrometers",
              wavelength="{" + ",\n".join(map(str, WAVELENGTH / 1000)) + "}",
              fwhm="{" + ", ".join(map(str, np.full(SHAPE[2], 0.0055))) + "}")
    )  # fmt: skip
    np.testing.assert_allclose(cube.wavelength, WAVELENGTH)
    np.testing.assert_allclose(cube.fwhm, 5.5)
    np.testing.assert_array_equal(cube.good_wavelength, good == 1)
    assert hsi.select_bands(cube, drop_last=0).sizes["wavelength"] == SHAPE[2] - 3


def test_bands_that_two_detectors_share_are_kept_once(image, numbers: np.ndarray) -> None:
    """AVIRIS has 655 nm in two detectors."""
    w = WAVELENGTH.copy()
    w[10:12] = w[8:10] - 0.5
    path = image(wavelength="{" + ", ".join(map(str, w)) + "}")
    source = read_source(path)
    kept = np.flatnonzero(w > np.maximum.accumulate(np.append(0, w[:-1])))
    assert kept.size == SHAPE[2] - 2
    np.testing.assert_array_equal(source.cube(masked=False).values, numbers[..., kept])
    np.testing.assert_array_equal(source.wavelength, w[kept])
    assert "2 bands whose wavelengths do not ascend are left out" in source.notes[-1]
    found = find_source(source.numbers().data)
    assert found is not None
    (piece,) = found.array.pieces((slice(0, 5), slice(0, 17), np.array([8, 11])), map)
    np.testing.assert_array_equal(piece.values, numbers[:5][:, :, kept[[8, 11]]])


def test_what_a_header_lacks_is_assumed_and_said(image, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "hsi_dask.io"):
        source = read_source(image(reflectance_scale_factor=None, data_ignore_value=None, wavelength_units=None))
    assert (source.scale_factor, source.fill_value, source.own_windows) == (10000.0, -9999.0, False)
    assert [note.split(" is")[0].split(" are")[0] for note in source.notes] == [
        "fwhm", "units of wavelengths", "reflectance scale factor", "data ignore value",
    ]  # fmt: skip
    assert all(note in caplog.text for note in source.notes)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"map_info": None}, "has no position and pixel size in 'map info'"),
        ({"map_info": "{Arbitrary, 1, 1, 0, 0, 1, 1, 0, North}"}, "has an arbitrary map"),
        ({"map_info": "{UTM, 1, 1, 0, 0, 1, 1, 18, North, WGS-84, units=Meters, rotation=33.5}"}, "is rotated by 33.5"),
        ({"map_info": "{UTM, 1, 1, 0, 0, 1, 0, 18, North, WGS-84}"}, "no position and pixel size"),
        ({"map_info": "{UTM, 1, 1, 0, 0, 1, 1, 61, North, WGS-84}"}, "tells no CRS"),
        (
            {"map_info": "{State Plane (NAD 83), 1, 1, 0, 0, 1, 1, 4, North America 1983}"},
            "'State Plane .* tells no CRS",
        ),
        ({"coordinate_system_string": "{nonsense}"}, "cannot be placed"),
        ({"coordinate_system_string": "{+init=/etc/passwd}"}, "neither a code"),
        ({"wavelength": None}, "has no wavelengths"),
        ({"wavelength": "{1, 2}"}, "has 2 numbers as wavelength for 31 bands"),
        ({"wavelength": "{" + ", ".join(map(str, WAVELENGTH[::-1])) + "}"}, "not ascending"),
        ({"wavelength": "{" + ", ".join(["x"] * 31) + "}"}, "'x' as wavelength, which is no number"),
        ({"wavelength_units": "Wavenumber"}, "wavelengths in 'Wavenumber'"),
        ({"bbl": "{1, 0}"}, "2 numbers as bbl"),
        ({"data_type": 6}, "data type 6"),
        ({"data_type": "²"}, "data type = '²', not a whole number"),
        ({"interleave": "bib"}, "interleave 'bib'"),
        ({"bands": 10**14}, "bytes, but its header asks for"),
        ({"lines": 0}, "nothing; correct it"),
        ({"samples": "-3"}, "samples = '-3'"),
        ({"lines": 24}, "has 24242 bytes, but its header asks for"),
        ({"reflectance_scale_factor": 0}, "reflectance scale factor 0"),
        ({"data_gain_values": "{" + ", ".join(map(str, range(1, 32))) + "}"}, "gains or offsets that differ"),
        ({"file_type": "ENVI Spectral Library"}, "give it as endmembers"),
        ({"bbl": "{1, 1"}, "no closing brace after 'bbl'"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_value_in_one_sentence(image, fields: dict, sentence: str) -> None:
    with pytest.raises(FileFormatError, match=sentence) as caught:
        read_source(image(**fields))
    assert "\n" not in str(caught.value)


def test_floats_that_contradict_their_scale_are_refused(tmp_path: Path, numbers: np.ndarray, write_envi) -> None:
    fractions = (numbers / 1e4).astype("f4")
    path = write_envi(tmp_path / "image.img", fractions, WAVELENGTH, reflectance_scale_factor=10000)
    with pytest.raises(FileFormatError, match=r"holds fractions .* but its reflectance scale factor is 10000"):
        read_source(path)
    path = write_envi(tmp_path / "image.img", numbers.astype("f4"), WAVELENGTH, reflectance_scale_factor=None)
    with pytest.raises(FileFormatError, match="holds digital numbers"):
        read_source(path)


# ------------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("name", ["image", "image.img", "image.bil", "line.v1.dat"])
@pytest.mark.parametrize("whole", [True, False])
def test_header_and_numbers_find_each_other(
    tmp_path: Path, numbers: np.ndarray, write_envi, name: str, whole: bool
) -> None:
    header = write_envi(tmp_path / name, numbers, WAVELENGTH)
    if whole:
        header = header.rename(tmp_path / f"{name}.hdr")
    for path in (tmp_path / name, header):
        source = read_source(path)
        assert source.path == str(header)
        np.testing.assert_array_equal(source.cube(masked=False), numbers)
    (tmp_path / name).unlink()
    with pytest.raises(FileFormatError, match="has no file of numbers beside it"):
        read_source(header)


def test_numbers_without_a_header_are_told_so(tmp_path: Path) -> None:
    (tmp_path / "image.bil").write_bytes(b"\0" * 1000)
    with pytest.raises(FileFormatError, match=r"has no header image\.hdr beside it"):
        read_source(tmp_path / "image.bil")


def test_identity_is_of_header_and_numbers(image) -> None:
    path = image()
    before = read_source(path)
    os.utime(path.with_suffix(".img"), ns=(before.mtime_ns + 10**9,) * 2)
    after = read_source(path)
    assert after.mtime_ns == before.mtime_ns + 10**9
    assert after.file_size == path.stat().st_size + path.with_suffix(".img").stat().st_size
