"""Statistics of a cube against numpy in float64, whatever the chunks."""

from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from hsi_dask import synthetic
from hsi_dask.errors import ConfigError, EndmemberError, SchemaError
from hsi_dask.io.neon.cube import open_neon
from hsi_dask.ops import statistics
from hsi_dask.ops.bands import select_bands
from hsi_dask.ops.statistics import background_of, scene_statistics


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory) -> xr.DataArray:
    """Stored integers of a tile with no-data pixels and one pixel of zeros."""
    scene = synthetic.simulate_scene(
        (44, 60), seed=3, no_data=0.1, wavelength=synthetic.neon_wavelengths(60, step=33.0)
    )
    path = synthetic.write_neon_tile(tmp_path_factory.mktemp("tile"), scene)
    found = select_bands(open_neon(path, masked=False)).compute()
    found[40, 50] = 0
    return found


def oracle(cube: xr.DataArray) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Two passes over float64 spectra; noise of the 2 x 2 quads whose four pixels have data."""
    stored = cube.values
    valid = (stored != cube.attrs["_FillValue"]).all(axis=2) & stored.any(axis=2)
    values = stored.astype(np.float64) * cube.attrs["scale_factor"]
    pixels = values[valid]
    rows, columns = (n // 2 * 2 for n in valid.shape)
    whole = valid[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2).all(axis=(1, 3)).repeat(2, 0).repeat(2, 1)
    quads = values[:rows, :columns][whole.nonzero()]
    a, b, c, d = (values[i:rows:2, j:columns:2][whole[::2, ::2]] for i in (0, 1) for j in (0, 1))
    differences = np.concatenate([a - b, c - d, a - c, b - d])
    assert len(quads) == len(differences)
    return pixels.mean(axis=0), np.cov(pixels.T), differences.T @ differences / 2 / len(differences), len(pixels)


@pytest.mark.parametrize("chunks", [None, (44, 60, 7), (10, 60, 60), (7, 13, 11), (44, 60, 1)])
def test_statistics_are_those_of_all_pixels_with_data_whatever_the_chunks(cube: xr.DataArray, chunks: object) -> None:
    mean, covariance, noise, pixels = oracle(cube)
    given = cube if chunks is None else cube.chunk(dict(zip(cube.dims, chunks, strict=True)))
    found = scene_statistics(given)
    assert (chunks is None) != isinstance(found.covariance.data, da.Array)
    found = found.compute()
    assert int(found.pixels) == pixels
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    np.testing.assert_allclose(found["mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(found.covariance / scale, covariance / scale, atol=1e-12)
    np.testing.assert_allclose(found.noise_covariance / scale, noise / scale, atol=1e-12)


@pytest.mark.parametrize("masked", [False, True])
def test_blocks_that_are_too_many_to_hold_are_read_by_turns(
    masked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = synthetic.simulate_scene(
        (44, 60), seed=3, no_data=0.1, wavelength=synthetic.neon_wavelengths(60, step=33.0)
    )
    path = synthetic.write_neon_tile(tmp_path, scene, chunks=(44, 60, 1))
    cube = select_bands(open_neon(path, masked=False))
    where = (cube[:, :, 0] > -1) & (cube.x < cube.x[40]) if masked else None
    expected = scene_statistics(cube, where=where).compute()
    row = 60 * cube.sizes["wavelength"] * 2
    monkeypatch.setattr(statistics, "_STRIP_BYTES", 8 * row)
    monkeypatch.setattr(statistics, "MOST_HELD", 18 * row)
    found = scene_statistics(cube, where=where)
    assert any("_held" in str(key) for key in found.covariance.__dask_graph__())
    for name, values in found.compute().items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-12, atol=1e-16)
    assert statistics.held_bytes(cube.shape, 44, 2) == 18 * row


def test_pixels_that_do_not_count_are_left_out(cube: xr.DataArray) -> None:
    where = xr.DataArray(np.arange(cube.sizes["x"]) < 30, dims="x").broadcast_like(cube[:, :, 0])
    found = scene_statistics(cube, where=where)
    same = scene_statistics(cube[:, :30])
    np.testing.assert_allclose(found.covariance, same.covariance, rtol=1e-12)
    assert int(found.pixels) == int(same.pixels)


def test_nothing_is_computed_before_it_is_asked_for(cube: xr.DataArray) -> None:
    import dask

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("computed")

    with dask.config.set(scheduler=refuse):
        scene_statistics(cube.chunk({"y": 10}))


def test_statistics_that_cannot_be_had_are_one_sentence(cube: xr.DataArray) -> None:
    with pytest.raises(EndmemberError, match=r"neighbours that have data, and there are 0 pixels"):
        scene_statistics(cube.where(False, cube.attrs["_FillValue"]).astype(cube.dtype).assign_attrs(cube.attrs))
    with pytest.raises(SchemaError, match=r"other wavelengths than the cube's 40"):
        background_of(scene_statistics(cube), cube[..., :40])


@pytest.mark.parametrize("chunks", [(44, 60, 7), (10, 60, 60), (7, 13, 11)])
def test_the_noise_of_quiet_parts_is_the_same_whatever_the_chunks(cube: xr.DataArray, chunks: object) -> None:
    whole = scene_statistics(cube, noise="quiet")
    found = scene_statistics(cube.chunk(dict(zip(cube.dims, chunks, strict=True))), noise="quiet").compute()
    xr.testing.assert_identical(found, whole)
    assert (np.diag(whole.noise_covariance) < np.diag(scene_statistics(cube).noise_covariance)).all()
    with pytest.raises(ConfigError, match="noise must be 'all' or 'quiet', not 'low'"):
        scene_statistics(cube, noise="low")
