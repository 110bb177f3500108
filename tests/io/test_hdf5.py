"""Raw chunk reading against h5py's own."""

import importlib.util
import os
import pickle
from pathlib import Path

import dask
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_dask.errors import FileFormatError
from hsi_dask.io import blocks, chunked, hdf5
from hsi_dask.io.blocks import block_shape, lazy
from hsi_dask.io.decoding import Reflectance
from hsi_dask.io.hdf5 import StoredArray, open_file, stored_array
from hsi_dask.io.views import Transposed
from hsi_dask.sources import unchecked

SHAPE = (50, 40, 30)
LAYOUTS = {
    "small 3-D chunks": {"chunks": (16, 7, 9), "compression": "gzip", "compression_opts": 3},
    "one band a chunk": {"chunks": (50, 40, 1), "compression": "gzip"},
    "shuffled": {"chunks": (20, 20, 4), "compression": "gzip", "shuffle": True},
    "not compressed": {"chunks": (20, 20, 4)},
    "not chunked": {},
    "a filter only the library knows": {"chunks": (20, 20, 4), "compression": "lzf"},
}


def write(path: Path, data: np.ndarray, **layout: object) -> StoredArray:
    with h5py.File(path, "w") as file:
        file.create_dataset("cube", data=data, **layout)
    return facts(path)


def facts(path: Path) -> StoredArray:
    with open_file(path) as file:
        return stored_array(file["cube"], path)


@pytest.fixture
def numbers() -> np.ndarray:
    return np.random.default_rng(0).integers(-9999, 9999, SHAPE).astype("int16")


@pytest.fixture(params=LAYOUTS)
def stored(request: pytest.FixtureRequest, tmp_path: Path, numbers: np.ndarray) -> StoredArray:
    return write(tmp_path / "cube.h5", numbers, **LAYOUTS[request.param])


def axis_index(size: int) -> st.SearchStrategy[object]:
    edge = st.integers(-size, size)
    return st.one_of(
        st.builds(slice, st.none() | edge, st.none() | edge, st.sampled_from([None, 1, 2, 7, -1, -3])),
        st.integers(-size, size - 1),
        st.lists(st.integers(-size, size - 1), max_size=8).map(lambda v: np.array(v, dtype=np.intp)),
    )


def orthogonal(data: np.ndarray, index: tuple[object, ...]) -> np.ndarray:
    for axis in reversed(range(3)):
        data = data[(*(slice(None),) * axis, index[axis])]
    return data


@pytest.fixture(scope="module")
def every_layout(tmp_path_factory: pytest.TempPathFactory) -> list[StoredArray]:
    data = np.random.default_rng(0).integers(-9999, 9999, SHAPE).astype("int16")
    folder = tmp_path_factory.mktemp("layouts")
    return [write(folder / f"{n}.h5", data, **layout) for n, layout in enumerate(LAYOUTS.values())]


@settings(max_examples=200, deadline=None)
@given(index=st.tuples(*map(axis_index, SHAPE)))
def test_any_index_gives_what_numpy_gives(every_layout: list[StoredArray], index: tuple[object, ...]) -> None:
    data = np.random.default_rng(0).integers(-9999, 9999, SHAPE).astype("int16")
    for stored in every_layout:
        np.testing.assert_array_equal(stored[index], orthogonal(data, index))
        np.testing.assert_array_equal(unchecked(stored)[index], orthogonal(data, index))


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<f4"])
def test_the_first_rows_are_inflated_without_what_comes_after_them(tmp_path: Path, dtype: str) -> None:
    data = np.random.default_rng(0).integers(-99, 99, SHAPE).astype(dtype)
    path = tmp_path / "cube.h5"
    write(path, data, **LAYOUTS["one band a chunk"])
    with h5py.File(path) as file:
        infos = [file["cube"].id.get_chunk_info(number) for number in range(SHAPE[2])]
    with path.open("r+b") as stream:
        for info in infos:
            stream.seek(info.byte_offset + info.size - 4)
            stream.write(bytes(4))  # the checksum
    stored = unchecked(facts(path))
    np.testing.assert_array_equal(stored[10:40], data[10:40])
    with pytest.raises(FileFormatError, match="does not inflate"):
        facts(path)[10:40]
    with path.open("r+b") as stream:
        stream.seek(infos[0].byte_offset + infos[0].size // 4)
        stream.write(b"\xff\x00" * 8)
    with pytest.raises(FileFormatError, match="does not inflate"):
        unchecked(facts(path))[10:44]


def test_two_dimensions_and_other_types_read_too(tmp_path: Path) -> None:
    for n, dtype in enumerate(["u1", "<i4", ">i2", "<f4", ">f8"]):
        data = np.arange(300).reshape(20, 15).astype(dtype)
        stored = write(tmp_path / f"{n}.h5", data, chunks=(7, 4), compression="gzip")
        np.testing.assert_array_equal(stored[3:19, [1, 14]], data[3:19, [1, 14]])
        assert stored[:2].dtype.isnative


def test_a_chunk_never_written_reads_as_the_fill_value(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "cube.h5", "w") as file:
        data = file.create_dataset("cube", (20, 20, 4), "i2", chunks=(10, 10, 4), compression="gzip", fillvalue=-9999)
        data[:10, :10] = 7
    stored = facts(tmp_path / "cube.h5")
    with h5py.File(tmp_path / "cube.h5") as file:
        np.testing.assert_array_equal(stored[:], file["cube"][:])


def test_masked_is_float32_reflectance_with_nan_where_no_data(tmp_path: Path) -> None:
    data = np.array([[[0, 10000, -9999]]], dtype="int16")
    values = Reflectance(write(tmp_path / "cube.h5", data, chunks=(1, 1, 3)), 10000.0, -9999.0)[:]
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, np.float32([[[0, 1, np.nan]]]))


@pytest.mark.parametrize("layout", ["small 3-D chunks", "one band a chunk"])
def test_wavelength_planes_are_contiguous_in_memory(tmp_path: Path, numbers: np.ndarray, layout: str) -> None:
    stored = write(tmp_path / "cube.h5", numbers, **LAYOUTS[layout])
    assert stored[5:, :9, 3:9].transpose(2, 0, 1).flags.c_contiguous


def test_a_chunk_larger_than_the_data_reads(tmp_path: Path) -> None:
    data = np.arange(3000, dtype="int16").reshape(20, 30, 5)
    stored = write(tmp_path / "cube.h5", data, chunks=(64, 64, 7), maxshape=(None, None, None), compression="gzip")
    np.testing.assert_array_equal(stored[3:, 2:], data[3:, 2:])
    assert block_shape(stored) == data.shape


def test_a_file_that_is_open_elsewhere_in_the_process_reads(tmp_path: Path, numbers: np.ndarray) -> None:
    stored = write(tmp_path / "cube.h5", numbers, chunks=(16, 7, 9))
    with h5py.File(tmp_path / "cube.h5") as file:
        np.testing.assert_array_equal(stored[:], file["cube"][:])


@pytest.mark.parametrize("layout", ["small 3-D chunks", "one band a chunk", "shuffled"])
def test_no_chunk_is_inflated_twice_in_a_pass(
    tmp_path: Path, numbers: np.ndarray, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = write(tmp_path / "cube.h5", numbers, **LAYOUTS[layout])
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 20_000)
    calls = count_inflations(monkeypatch)
    array = lazy(stored)
    assert array.npartitions > 1
    np.testing.assert_array_equal(array.compute(scheduler="threads"), numbers)
    grid = np.prod([-(-n // c) for n, c in zip(SHAPE, stored.stored_chunks, strict=True)])
    assert len(calls) == grid


def count_inflations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []
    inflate = hdf5._inflate

    def counted(data: bytes, room: np.ndarray) -> np.ndarray | None:
        calls.append(room.nbytes)
        return inflate(data, room)

    monkeypatch.setattr(hdf5, "_inflate", counted)
    return calls


def test_blocks_are_whole_chunks_within_the_budget() -> None:
    for chunks in [(32, 63, 27), (1000, 1000, 1), (424, 27, 14), (100, 23, 27), (13, 13, 13)]:
        stored = StoredArray("", "", (1000, 1000, 426), np.dtype("i2"), chunks, 0, 0)
        block = block_shape(stored)
        assert np.prod(block) * 2 <= max(blocks.BLOCK_BYTES, np.prod(chunks) * 2)
        for b, c, n in zip(block, chunks, stored.shape, strict=True):
            assert b == n or b % c == 0


def test_facts_travel_by_pickle_and_hold_no_handle(stored: StoredArray, numbers: np.ndarray) -> None:
    again = pickle.loads(pickle.dumps(stored))
    assert again == stored
    np.testing.assert_array_equal(again[5:9], numbers[5:9])


def test_tokens_are_deterministic_and_change_with_the_file(tmp_path: Path, numbers: np.ndarray) -> None:
    first = write(tmp_path / "cube.h5", numbers, chunks=(16, 7, 9))
    assert lazy(facts(tmp_path / "cube.h5")).name == lazy(first).name
    second = write(tmp_path / "cube.h5", numbers, chunks=(16, 7, 9))
    assert lazy(second).name != lazy(first).name
    with pytest.raises(FileFormatError, match="changed since it was opened"):
        first[:]


def test_reading_works_from_other_processes(stored: StoredArray, numbers: np.ndarray) -> None:
    with dask.config.set({"multiprocessing.context": "spawn"}):
        result = lazy(stored, (25, 40, 30)).sum(axis=2).compute(scheduler="processes", num_workers=2)
    np.testing.assert_array_equal(result, numbers.sum(axis=2))


def test_a_damaged_chunk_is_named(tmp_path: Path, numbers: np.ndarray) -> None:
    path = tmp_path / "cube.h5"
    write(path, numbers, **LAYOUTS["small 3-D chunks"])
    with h5py.File(path) as file:
        info = file["cube"].id.get_chunk_info(17)
    with path.open("r+b") as stream:
        stream.seek(info.byte_offset + info.size // 2)
        stream.write(b"\xff\x00\xff\x00\xff\x00")
    stored = facts(path)
    with pytest.raises(FileFormatError, match=rf"chunk of /cube at .*{info.chunk_offset[2]}\) does not inflate"):
        stored[:]


def test_a_file_cut_short_is_named(tmp_path: Path, numbers: np.ndarray) -> None:
    path = tmp_path / "cube.h5"
    stored = write(path, numbers, **LAYOUTS["one band a chunk"])
    os.truncate(path, stored.file_size // 2)
    with pytest.raises(FileFormatError, match="truncated or damaged HDF5 file"), open_file(path):
        pass


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("tile.h5", b"", "is empty"),
        ("tile.h5", b"<!DOCTYPE html><html>", "web page"),
        ("tile.h5", b"PK\x03\x04 more", "zip archive"),
        ("tile.dat", b"\x01\x02" * 500, "ENVI"),
        ("tile.hdr", b"ENVI\nsamples = 3", "ENVI"),
        ("tile.h5", b"something else altogether", "is not an HDF5 file"),
    ],
)
def test_what_is_not_hdf5_is_refused_in_one_sentence(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileFormatError, match=sentence), open_file(tmp_path / name):
        pass


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="does not exist"), open_file(tmp_path / "no.h5"):
        pass
    with pytest.raises(FileFormatError, match="is a folder"), open_file(tmp_path):
        pass
    os.mkfifo(tmp_path / "pipe.h5")
    with pytest.raises(FileFormatError, match="is a pipe or a device"), open_file(tmp_path / "pipe.h5"):
        pass


@pytest.mark.parametrize("budget", [5_000, 40_000, 10**7])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("together", [1, 2, 5])
def test_pieces_make_up_what_was_asked_for_however_many_are_read_together(
    tmp_path: Path, numbers: np.ndarray, layout: str, budget: int, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = write(tmp_path / "cube.h5", numbers, **LAYOUTS[layout])
    monkeypatch.setattr(chunked, "PIECE_BYTES", budget)
    monkeypatch.setattr(chunked, "PIECE_PLANES", 3)
    wanted = np.array([0, 1, 2, 7, 8, 11, 20, 28])
    key = (slice(10, 43), slice(0, 40), wanted)
    places = [piece.place for piece in stored.pieces(key)]
    calls = count_inflations(monkeypatch)
    out = np.zeros((33, 40, 8), "int16")
    for group in stored.piece_groups(key, together):
        assert len(group) <= together
        for piece in group:
            assert piece.place == places.pop(0)
            assert piece.values.transpose(2, 0, 1).flags.c_contiguous
            assert not out[piece.place].any()
            out[piece.place] = piece.values
    assert not places
    np.testing.assert_array_equal(out, numbers[10:43][:, :, wanted])
    assert len(calls) <= np.prod([-(-n // c) for n, c in zip(SHAPE, stored.stored_chunks, strict=True)])


# ------------------------------------------------------------------------------------------------ data elsewhere


def test_data_outside_the_file_are_refused_unopened(tmp_path: Path, numbers: np.ndarray) -> None:
    """External storage, virtual datasets, and links out of the file; a pipe would block whoever opens it."""
    other, pipe = tmp_path / "other.h5", tmp_path / "pipe.h5"
    write(other, numbers)
    os.mkfifo(pipe)
    with h5py.File(tmp_path / "tile.h5", "w") as file:
        file.create_dataset("external", (5, 5), "u1", external=[("/etc/passwd", 0, h5py.h5s.UNLIMITED)])
        layout = h5py.VirtualLayout(SHAPE, "i2")
        layout[...] = h5py.VirtualSource(str(other), "cube", shape=SHAPE)
        file.create_virtual_dataset("virtual", layout)
        file["link"] = h5py.ExternalLink("other.h5", "/cube")
        file["pipe"] = h5py.ExternalLink("pipe.h5", "/cube")
        file["around"] = h5py.SoftLink("/pipe/cube")
        file["cube"] = numbers
        file["group/soft"] = h5py.SoftLink("/cube")
        file["loop"] = h5py.SoftLink("/loop")
    with open_file(tmp_path / "tile.h5") as file:
        for name in ("external", "virtual"):
            with pytest.raises(FileFormatError, match=f"/{name} is refused: its data lie outside the file"):
                stored_array(hdf5.member(file, name), tmp_path / "tile.h5")
        for name in ("link", "pipe", "around", "loop"):
            with pytest.raises(FileFormatError, match="its data lie outside the file"):
                hdf5.member(file, name)
        inside = stored_array(hdf5.member(file["group"], "soft"), tmp_path / "tile.h5")
        np.testing.assert_array_equal(inside[:], numbers)
        assert hdf5.member(file, "nothing") is None


def test_a_filter_that_is_not_installed_is_named_with_its_package(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "tile.h5", "w") as file:
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_chunk((4, 4, 4))
        made.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple((8, 8, 4))
        h5py.h5d.create(file.id, b"cube", h5py.h5t.STD_I16LE, space, made)
    if importlib.util.find_spec("hdf5plugin"):
        assert facts(tmp_path / "tile.h5").stored_chunks == (4, 4, 4)
        return
    with pytest.raises(FileFormatError, match=r"HDF5 filter 32015 \(Zstandard\), .* `pip install hdf5plugin`"):
        facts(tmp_path / "tile.h5")


# ------------------------------------------------------------------------------------------------ other views


@pytest.mark.parametrize("axes", [(1, 2, 0), (2, 1, 0), (0, 2, 1)])
@pytest.mark.parametrize("layout", ["small 3-D chunks", "one band a chunk", "a filter only the library knows"])
def test_dimensions_in_another_order_read_as_numpy_transposes(
    tmp_path: Path, numbers: np.ndarray, axes: tuple[int, ...], layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunked, "PIECE_BYTES", 20_000)
    turned = Transposed(write(tmp_path / "cube.h5", numbers, **LAYOUTS[layout]), axes)
    expected = numbers.transpose(axes)
    np.testing.assert_array_equal(turned[3:, [1, 5, 9], ::-2], expected[3:][:, [1, 5, 9]][:, :, ::-2])
    wanted = np.array([0, 4, 5, 11])
    out = np.zeros((expected.shape[0], 10, 4), "int16")
    for piece in turned.pieces((slice(None), slice(2, 12), wanted)):
        out[piece.place] = piece.values
    np.testing.assert_array_equal(out, expected[:, 2:12][:, :, wanted])
    if layout != "a filter only the library knows":
        calls = count_inflations(monkeypatch)
        monkeypatch.setattr(blocks, "BLOCK_BYTES", 20_000)
        np.testing.assert_array_equal(lazy(turned).compute(scheduler="threads"), expected)
        grid = np.prod([-(-n // c) for n, c in zip(turned.shape, turned.stored_chunks, strict=True)])
        assert len(calls) == grid
