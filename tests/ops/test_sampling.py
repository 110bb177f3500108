"""sample_pixels against the cube itself."""

import math

import dask
import numpy as np
import pytest
import xarray as xr

from hsi_dask.errors import ConfigError, EndmemberError
from hsi_dask.io import hdf5
from hsi_dask.ops.sampling import _spread_order, sample_pixels
from hsi_dask.sources import find_source

from .conftest import CHUNKINGS


def test_pixels_are_the_cubes_own(cube: xr.DataArray) -> None:
    pixels = sample_pixels(cube, 300, seed=1)
    assert pixels.dims == ("pixel", "wavelength")
    assert pixels.dtype == np.float32
    assert pixels.sizes["pixel"] == 300
    for n in range(0, 300, 37):
        one = pixels.isel(pixel=n)
        np.testing.assert_array_equal(one, cube.sel(y=one.y, x=one.x))
        np.testing.assert_array_equal(one, cube.isel(y=int(one.row), x=int(one.column)))


def test_pixels_are_valid_and_different(cube: xr.DataArray) -> None:
    pixels = sample_pixels(cube, 500)
    assert np.isfinite(pixels).all()
    assert len(set(zip(pixels.row.values.tolist(), pixels.column.values.tolist(), strict=True))) == 500


@pytest.mark.parametrize("chunks", CHUNKINGS)
def test_chunking_does_not_change_the_draw(cube: xr.DataArray, chunks: tuple[int, ...]) -> None:
    chunked = cube.chunk(dict(zip(cube.dims, chunks, strict=True)))
    xr.testing.assert_identical(sample_pixels(chunked, 400, seed=5), sample_pixels(cube, 400, seed=5))


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_neither_does_the_scheduler_nor_the_stored_integers(
    raw: xr.DataArray, cube: xr.DataArray, scheduler: str
) -> None:
    with dask.config.set(scheduler=scheduler):
        np.testing.assert_allclose(sample_pixels(raw, 400), sample_pixels(cube, 400), rtol=1e-6)


def test_the_seed_decides(cube: xr.DataArray) -> None:
    assert sample_pixels(cube, 50, seed=1).identical(sample_pixels(cube, 50, seed=1))
    assert not sample_pixels(cube, 50, seed=1).equals(sample_pixels(cube, 50, seed=2))


def test_asking_for_more_extends_the_same_draw(cube: xr.DataArray) -> None:
    few, many = sample_pixels(cube, 40), sample_pixels(cube, 400)
    np.testing.assert_array_equal(few, many[:40])


def test_all_valid_pixels_come_where_there_are_fewer(cube: xr.DataArray) -> None:
    assert sample_pixels(cube, 10**6).sizes["pixel"] == int(cube.notnull().all("wavelength").sum())


def test_few_pixels_touch_few_stored_chunks(raw: xr.DataArray, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    inflate = hdf5._inflate
    monkeypatch.setattr(hdf5, "_inflate", lambda data, room: (calls.append(room.nbytes), inflate(data, room))[1])
    sample_pixels(raw, 20)
    assert len(calls) <= (raw.sizes["wavelength"] if calls[0] == 60 * 70 * 2 else 3 * 5 * 16)


def test_no_stored_chunk_is_read_twice_for_pixels_without_data(
    raw: xr.DataArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    inflate = hdf5._inflate
    monkeypatch.setattr(hdf5, "_inflate", lambda data, room: (calls.append(1), inflate(data, room))[1])
    source = find_source(raw.data)
    assert source is not None
    chunks = math.prod(-(-n // c) for n, c in zip(source.array.shape, source.array.stored_chunks, strict=True))
    assert sample_pixels(raw, 180).sizes["pixel"] == 180
    assert len(calls) <= chunks


def test_an_empty_cube_and_an_empty_draw_are_refused(cube: xr.DataArray) -> None:
    with pytest.raises(EndmemberError, match="no pixel with data"):
        sample_pixels(xr.full_like(cube, np.nan), 10)
    with pytest.raises(ConfigError, match="size must be 1 or more pixels, not 0"):
        sample_pixels(cube, 0)


def test_windows_are_spread_evenly_whatever_the_seed() -> None:
    for seed in range(5):
        order = _spread_order(32, 32, np.random.default_rng(seed))
        assert sorted(order.tolist()) == list(range(1024))
        rows, columns = np.divmod(order[:64], 32)
        assert (np.histogram2d(rows, columns, bins=8, range=[[0, 32], [0, 32]])[0] == 1).all()
    assert sorted(_spread_order(3, 7, np.random.default_rng(0)).tolist()) == list(range(21))


def test_pixels_of_zeros_are_no_pixels(cube: xr.DataArray) -> None:
    dark = cube.copy(data=cube.values.copy())
    dark[:, ::2] = 0
    assert (sample_pixels(dark, 500).column % 2 == 1).all()
