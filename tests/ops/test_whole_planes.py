"""Stored numbers that are held band by band. Oracle: sums that are held of all pixels."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from hsi_dask.io import chunked, hdf5
from hsi_dask.io.decoding import Reflectance
from hsi_dask.io.neon.metadata import read_metadata
from hsi_dask.io.partial import PartOfCube
from hsi_dask.ops import whole_planes
from hsi_dask.ops.bands import select_bands
from hsi_dask.ops.materials import map_materials
from hsi_dask.ops.whole_planes import bands, hold
from hsi_dask.sources import Piece

METHODS = ("fcls", "sam", "sid")


def hold_at_most(monkeypatch: pytest.MonkeyPatch, planes: int) -> None:
    """... so many int16 planes of a tile of 60 x 70."""
    for limit in ("SUM_BYTES", "HELD_BYTES"):
        monkeypatch.setattr(whole_planes, limit, planes * 60 * 70 * 2)


def assert_alike(one: xr.Dataset, other: xr.Dataset) -> None:
    for name in other:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-5, atol=1e-6, err_msg=str(name))


@pytest.mark.parametrize("planes", [1, 10, 25])
@pytest.mark.parametrize("masked", [False, True])
def test_maps_do_not_depend_on_what_is_held(
    tile: Path, endmembers: xr.DataArray, monkeypatch: pytest.MonkeyPatch, planes: int, masked: bool
) -> None:
    cube = select_bands(read_metadata(tile).cube(masked=masked))
    expected = map_materials(cube, endmembers, methods=METHODS).compute()
    hold_at_most(monkeypatch, planes)
    assert_alike(map_materials(cube, endmembers, methods=METHODS).compute(), expected)


def test_maps_are_the_same_to_the_bit_where_pieces_are_read_by_twos(
    tile: Path, endmembers: xr.DataArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    cube = select_bands(read_metadata(tile).cube(masked=False))
    monkeypatch.setattr(chunked, "PIECE_BYTES", 0)  # pieces are of whole planes, whatever the chunks
    monkeypatch.setattr(chunked, "PIECE_PLANES", 27)
    read = []
    piece_groups = chunked.ChunkedArray.piece_groups

    def count(*arguments: object) -> Iterator[list[Piece]]:
        for group in piece_groups(*arguments):
            read.append(len(group))
            yield group

    monkeypatch.setattr(chunked.ChunkedArray, "piece_groups", count)
    expected = map_materials(cube, endmembers, methods=METHODS).compute()
    assert set(read) == {1}
    monkeypatch.setattr(whole_planes, "_BY_TWOS", range(2**40))
    xr.testing.assert_identical(map_materials(cube, endmembers, methods=METHODS).compute(), expected)
    assert 2 in read


def test_planes_that_are_kept_are_inflated_once_and_the_others_once_a_band(
    raw: xr.DataArray, endmembers: xr.DataArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_at_most(monkeypatch, 15)
    inflated, inflate = [], hdf5._inflate
    monkeypatch.setattr(hdf5, "_inflate", lambda data, room: (inflated.append(room.nbytes), inflate(data, room))[1])
    map_materials(raw, endmembers, methods=("sam",)).compute(scheduler="threads")
    L = raw.sizes["wavelength"]
    rows, kept = bands(L, 60, 70 * 2)
    whole_planes_only = inflated[0] == 60 * 70 * 2
    assert not whole_planes_only or len(inflated) == kept + len(rows) * (L - kept) > L


@pytest.mark.parametrize(
    ("planes", "height", "row"), [(362, 1000, 2000), (426, 1000, 4000), (426, 1536, 3072), (5, 3, 8)]
)
@pytest.mark.parametrize("most", [8, 2**20, 2**26, 2**29])
def test_bands_share_out_the_rows_and_hold_no_more_than_they_may(
    monkeypatch: pytest.MonkeyPatch, planes: int, height: int, row: int, most: int
) -> None:
    monkeypatch.setattr(whole_planes, "HELD_BYTES", most)
    rows, kept = bands(planes, height, row)
    assert [r.start for r in rows] == [0, *(r.stop for r in rows[:-1])]
    assert rows[-1].stop == height
    tallest = max(r.stop - r.start for r in rows)
    held = kept * height * row + (planes - kept) * tallest * row
    assert held <= most + (planes - kept) * row or tallest == 1, "a band has whole rows, at least one"


def test_what_is_left_out_of_a_cube_has_no_data(tile: Path) -> None:
    stored = read_metadata(tile).reflectance
    down, across, _ = stored.stored_chunks
    needed = np.zeros((-(-60 // down), -(-70 // across)), bool)
    part = PartOfCube(stored, needed, -9999)
    place = (slice(3, 50), slice(2, 60), np.array([0, 1, 7, 40]))
    assert (hold(part, place, map) == -9999).all()
    assert np.isnan(hold(Reflectance(part, 1e4, -9999), place, map)).all()
    needed[:] = True
    expected = stored[place].transpose(2, 0, 1)
    np.testing.assert_array_equal(hold(part, place, map), expected)
    decoded = hold(Reflectance(part, 1e4, -9999), place, map)
    np.testing.assert_array_equal(decoded, Reflectance(stored, 1e4, -9999)[place].transpose(2, 0, 1))
