"""Spectra kept as a pass reads a cube, against those read by themselves."""

import math

import numpy as np
import pytest
import xarray as xr

from hsi_dask import synthetic
from hsi_dask.io import hdf5
from hsi_dask.io.readers import read_source
from hsi_dask.kernels.extraction.whole_scene import basis_of
from hsi_dask.ops import whole_planes
from hsi_dask.ops.bands import select_bands
from hsi_dask.ops.kept_pixels import KeptPixels
from hsi_dask.ops.sampling import sample_pixels, stored_at
from hsi_dask.ops.whole_scene import projected
from hsi_dask.sources import find_source


def some_places(cube: xr.DataArray, count: int = 300) -> np.ndarray:
    at = np.random.default_rng(1).choice(cube.sizes["y"] * cube.sizes["x"], count, replace=False)
    return np.stack(np.divmod(at, cube.sizes["x"]))


def basis(cube: xr.DataArray) -> np.ndarray:
    return basis_of(sample_pixels(cube, 300).values, 4)


@pytest.mark.parametrize("held", [False, True])
def test_spectra_and_planes_are_those_of_a_reading_of_their_own(
    raw: xr.DataArray, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if held:  # as of so many pixels that their sums would not fit
        monkeypatch.setattr(whole_planes, "SUM_BYTES", 1)
        monkeypatch.setattr(whole_planes, "HELD_BYTES", 2**20)
    places, rows = some_places(raw), basis(raw)
    expected = projected(raw, rows).compute()
    kept = KeptPixels(places)
    planes = projected(raw, rows, kept)
    assert kept.spectra() is None
    np.testing.assert_array_equal(planes.compute(), expected)
    np.testing.assert_array_equal(kept.spectra(), stored_at(raw, places))


def test_no_chunk_is_inflated_for_them(raw: xr.DataArray, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    inflate = hdf5._inflate
    kept = KeptPixels(some_places(raw))
    planes = projected(raw, basis(raw), kept)
    monkeypatch.setattr(hdf5, "_inflate", lambda data, room: (calls.append(1), inflate(data, room))[1])
    planes.compute()
    source = find_source(raw.data)
    assert source is not None
    down, across, deep = source.array.stored_chunks
    stored = {int(n) // deep for n in np.concatenate(source.wavelengths)}
    assert len(calls) == math.ceil(60 / down) * math.ceil(70 / across) * len(stored)
    assert kept.spectra() is not None


def test_there_are_none_where_only_some_blocks_were_read(raw: xr.DataArray) -> None:
    kept = KeptPixels(some_places(raw))
    projected(raw, basis(raw), kept)[:, :16].compute()
    assert (kept.spectra() is None) == (raw.data.numblocks[0] > 1)


def test_there_are_none_of_a_cube_that_is_not_read_from_a_file(cube: xr.DataArray) -> None:
    for other in (cube, cube.chunk({"y": 20})):
        kept = KeptPixels(some_places(cube))
        np.asarray(projected(other, basis(cube), kept))
        assert kept.spectra() is None


@pytest.mark.parametrize("chunks", [(32, 63, 27), (200, 1100, 1)])
def test_blocks_beside_each_other_and_wavelengths_of_several_are_put_together(tmp_path, chunks) -> None:
    scene = synthetic.simulate_scene((200, 1100), seed=4, no_data=0.05, wavelength=synthetic.neon_wavelengths(90))
    file = read_source(str(synthetic.write_neon_tile(tmp_path, scene, chunks=chunks)))
    cube = select_bands(file.numbers(chunks={"y": 64, "x": 378, "wavelength": 27} if chunks[2] > 1 else "auto"))
    assert math.prod(cube.data.numblocks) > 1
    places, kept = some_places(cube, 5000), KeptPixels(some_places(cube, 5000))
    projected(cube, basis(cube), kept).compute()
    np.testing.assert_array_equal(kept.spectra(), stored_at(cube, places))
