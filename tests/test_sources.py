"""The registry of sources: what is found, not followed, and forgotten. Oracle: the arrays themselves."""

import gc
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from hsi_dask import sources
from hsi_dask.io.blocks import lazy
from hsi_dask.io.chunked import InMemory
from hsi_dask.ops.bands import select_bands
from hsi_dask.ops.sampling import sample_pixels
from hsi_dask.sources import find_selection, find_source


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 9000, (20, 30, 40)).astype("int16")


def cube_of(values: np.ndarray, chunks: tuple[int, ...] = (10, 15, 8)) -> xr.DataArray:
    coords = {"wavelength": np.linspace(400, 1000, 40), "y": np.arange(20.0)[::-1], "x": np.arange(30.0)}
    attrs = {"scale_factor": 1e-4, "_FillValue": -9999}
    return xr.DataArray(lazy(InMemory(values), chunks), coords, ("y", "x", "wavelength"), attrs=attrs)


def test_blocks_of_a_lazy_cube_and_of_its_selections_are_found(values: np.ndarray) -> None:
    cube = cube_of(values)
    chosen = select_bands(select_bands(cube, windows=[(500, 560)], drop_last=2), windows=[(700, 720)], drop_last=1)
    for one in (cube, chosen, chosen.copy()):
        source = find_source(one.data)
        assert source is not None
        for at in np.ndindex(*one.data.numblocks):
            rows, columns, planes = source.block(*at)
            np.testing.assert_array_equal(source.array[rows, columns, planes], one.data.blocks[at])
    selection = find_selection(chosen.data)
    assert selection is not None
    np.testing.assert_array_equal(selection.array(chosen.data)[:, :, selection.numbers()], chosen)


def test_a_slice_is_not_followed_and_a_debug_line_says_so(values: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    cube = cube_of(values)
    with caplog.at_level(logging.DEBUG, "hsi_dask.sources"):
        for other in (cube[3:], cube.isel(wavelength=slice(3, 9)), cube + 1):
            assert find_source(other.data) is None
    assert len(caplog.records) == 3
    assert "in a way that is not followed: read block by block" in caplog.text
    np.testing.assert_array_equal(sample_pixels(cube[3:], 50), sample_pixels(cube[3:].compute(), 50))


def test_a_pickled_cube_is_found_while_the_source_is_alive_and_right_when_it_is_not(values: np.ndarray) -> None:
    cube = cube_of(values)
    text = pickle.dumps(cube)
    assert find_source(pickle.loads(text).data) is not None
    del cube
    gc.collect()
    again = pickle.loads(text)
    assert find_source(again.data) is None
    np.testing.assert_array_equal(
        select_bands(again, windows=[(500, 560)], drop_last=0).sel(wavelength=400), values[..., 0]
    )


def test_the_registry_keeps_no_array_alive(values: np.ndarray) -> None:
    before = set(sources._PLACES)
    one, two = cube_of(values), cube_of(values)
    assert one.data.name == two.data.name
    del one
    gc.collect()
    assert find_source(two.data) is not None
    del two
    gc.collect()
    assert set(sources._PLACES) == before


def test_a_cube_that_is_opened_again_keeps_its_source_when_the_first_is_gone(values: np.ndarray) -> None:
    chosen = select_bands(cube_of(values), windows=[(500, 560)], drop_last=2)
    chosen = select_bands(cube_of(values), windows=[(500, 560)], drop_last=2)
    gc.collect()
    source = find_source(chosen.data)
    assert source is not None
    rows, columns, planes = source.block(1, 1, 1)
    np.testing.assert_array_equal(source.array[rows, columns, planes], chosen.data.blocks[1, 1, 1])


def test_the_last_selections_are_known(values: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_MOST_SELECTIONS", 3)
    monkeypatch.setattr(sources, "_SELECTIONS", {})
    cube = cube_of(values)
    chosen = [select_bands(cube, windows=[], drop_last=n) for n in range(1, 6)]
    assert [find_selection(one.data) is not None for one in chosen] == [False, False, True, True, True]


def test_a_single_file_s_mosaic_keeps_its_source(tmp_path: Path) -> None:
    from hsi_dask.batch.tiles.mosaic import open_mosaic
    from hsi_dask.synthetic import neon_wavelengths, simulate_scene, write_neon_tile

    path = write_neon_tile(tmp_path, simulate_scene((20, 30), wavelength=neon_wavelengths(30, step=60.0)))
    assert find_source(open_mosaic(path).data) is not None
