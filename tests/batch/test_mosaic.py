"""Mosaics of tiles against the uncut scene they were cut from."""

from __future__ import annotations

import os
import pickle
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr

import hsi_dask as hsi
from hsi_dask.batch.tiles import mosaic as opening
from hsi_dask.errors import ConfigError, FileFormatError, GridError, SchemaError
from hsi_dask.io import hdf5
from hsi_dask.io.hdf5 import StoredArray
from hsi_dask.io.neon.metadata import read_metadata
from hsi_dask.io.tile_source import TileSource
from hsi_dask.synthetic import Scene, Site, neon_wavelengths, simulate_scene, write_neon_tile

WAVELENGTH = neon_wavelengths(100, step=20.0)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return simulate_scene((80, 120), wavelength=WAVELENGTH, seed=4, no_data=0.1)


@pytest.fixture(scope="module")
def uncut(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> xr.DataArray:
    """The scene as one file, in memory."""
    path = write_neon_tile(tmp_path_factory.mktemp("uncut"), scene)
    return hsi.open_neon(path).load()


def cut(folder: Path, scene: Scene, chunks: tuple[int, int, int] = (0, 0, 1), size: int = 40) -> list[Path]:
    return [write_neon_tile(folder, part, chunks=chunks) for part in scene.tiles(size)]


@pytest.fixture
def inflated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The length of every stored chunk that is inflated."""
    calls: list[int] = []
    inflate = hdf5._inflate
    monkeypatch.setattr(hdf5, "_inflate", lambda data, n: (calls.append(len(data)), inflate(data, n))[1])
    return calls


@pytest.fixture
def refuse_to_compute(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("something was read or computed while opening")

    with dask.config.set(scheduler=refuse), monkeypatch.context() as patch:
        patch.setattr(StoredArray, "fill", refuse)
        yield


@pytest.mark.parametrize("chunks", [(0, 0, 1), (16, 9, 27)])
def test_the_mosaic_of_a_cut_scene_equals_the_scene(
    tmp_path: Path, scene: Scene, uncut: xr.DataArray, chunks: tuple[int, int, int]
) -> None:
    mosaic = hsi.open_mosaic(cut(tmp_path, scene, chunks))
    np.testing.assert_array_equal(mosaic, uncut)
    for name in ("y", "x", "wavelength", "fwhm", "good_wavelength"):
        np.testing.assert_array_equal(mosaic[name], uncut[name])
        assert mosaic[name].attrs == uncut[name].attrs
    assert mosaic.rio.crs.to_epsg() == 32618
    assert mosaic.rio.bounds() == uncut.rio.bounds()
    assert mosaic.attrs["site"] == "SERC"


def test_raw_integers_come_with_their_meaning(tmp_path: Path, scene: Scene, uncut: xr.DataArray) -> None:
    raw = hsi.open_mosaic(cut(tmp_path, scene)[1:], masked=False)
    assert (raw.dtype, raw.attrs["_FillValue"], raw.attrs["scale_factor"]) == (np.int16, -9999, 1e-4)
    assert (raw.isel(y=slice(0, 40), x=slice(0, 40)) == -9999).all()
    np.testing.assert_array_equal(raw.isel(x=slice(40, None)), scene.reflectance()[:, 40:])


def test_opening_reads_no_pixel_and_computes_nothing(site: Site, refuse_to_compute: None) -> None:
    cube = hsi.open_mosaic(str(site.folder))
    assert dict(cube.sizes) == {"y": 80, "x": 120, "wavelength": 100}
    assert cube.sel(x=slice(368010, 368020)).sizes["x"] == 10


def test_each_stored_chunk_is_inflated_once_also_where_layouts_differ(site: Site, inflated: list[int]) -> None:
    """The site alternates small 3-D chunks and whole bands: blocks hold whole chunks of both."""
    hsi.open_mosaic(site.paths, masked=False).compute()
    assert len(inflated) == 3 * 100 + 3 * 2 * 4


def test_a_selection_reads_only_the_chunks_it_touches(tmp_path: Path, scene: Scene, inflated: list[int]) -> None:
    paths = cut(tmp_path, scene, (20, 20, 50))
    mosaic = hsi.open_mosaic(paths, chunks={"y": 20, "x": 20, "wavelength": 50})
    here = mosaic.sel(y=slice(4306075, 4306070), x=slice(368042, 368058)).isel(wavelength=slice(0, 10))
    here.compute()
    assert len(inflated) == 1
    bands = hsi.select_bands(mosaic.sel(x=slice(368000, 368040)), windows=(), drop_last=50)
    bands.compute()
    assert len(inflated) == 1 + 2 * 4


def test_missing_tiles_are_no_data(tmp_path: Path, scene: Scene, uncut: xr.DataArray) -> None:
    paths = cut(tmp_path, scene)
    there = [paths[0], paths[5]]
    mosaic = hsi.open_mosaic(there)
    expected = uncut.copy()
    expected[:40, 40:] = np.nan
    expected[40:, :80] = np.nan
    np.testing.assert_array_equal(mosaic, expected)
    assert mosaic.attrs["tiles"] == ["368000_4306040", "368080_4306000"]


def test_a_diagonal_of_tiles_costs_its_tiles_not_its_square(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_neon_tile(tmp_path / "tile.h5", simulate_scene((40, 40), wavelength=WAVELENGTH))
    links = [tmp_path / f"link{i}.h5" for i in range(100)]
    for link in links:
        os.link(source, link)

    def elsewhere(path: Path) -> TileSource:
        number = int(path.stem[4:])
        return replace(read_metadata(path), west=368000.0 + number * 40, north=4306000.0 - number * 40)

    monkeypatch.setattr(opening, "_in_order", lambda paths: paths)
    monkeypatch.setattr(opening, "read_source", elsewhere)
    started = time.perf_counter()
    mosaic = hsi.open_mosaic(links, masked=False)
    assert time.perf_counter() - started < 5  # 200 in 2 s
    assert mosaic.shape[:2] == (4000, 4000)
    assert len(pickle.dumps(mosaic.data.dask)) < 300_000
    there = mosaic.isel(y=slice(2000, 2040), x=slice(2000, 2080))
    assert len(there.__dask_optimize__(there.data.dask, there.__dask_keys__())) <= 4
    np.testing.assert_array_equal(there[:, :40], hsi.open_neon(source, masked=False))
    assert (there[:, 40:] == -9999).all()


def test_cropped_tiles_lie_where_they_belong_and_cut_no_neighbour(
    tmp_path: Path, scene: Scene, uncut: xr.DataArray, inflated: list[int]
) -> None:
    parts = list(scene.tiles(40))
    parts[1] = parts[1].window(slice(7, 33), slice(5, 40))
    parts[5] = parts[5].window(slice(0, 40), slice(0, 21))
    paths = [write_neon_tile(tmp_path, part, chunks=(0, 0, 1)) for part in parts]
    mosaic = hsi.open_mosaic(paths)
    assert mosaic.data.numblocks[:2] == (2, 3)
    expected = uncut.copy()
    expected[:7, 40:80] = expected[33:40, 40:80] = expected[:40, 40:45] = expected[40:, 101:] = np.nan
    np.testing.assert_array_equal(mosaic.compute(), expected)
    assert len(inflated) == 6 * 100


def test_chunks_may_be_chosen_and_change_nothing(site: Site) -> None:
    auto = hsi.open_mosaic(site.paths)
    mine = hsi.open_mosaic(site.paths, chunks={"y": 13, "wavelength": 30})
    assert mine.chunks[0] == (13, 13, 13, 1) * 2
    np.testing.assert_array_equal(auto, mine)
    with pytest.raises(ConfigError, match="chunks may not be None"):
        hsi.open_mosaic(site.paths, chunks=None)


def test_the_graph_carries_no_handle_and_the_same_name_each_time(site: Site) -> None:
    one, two = hsi.open_mosaic(site.paths), hsi.open_mosaic(site.paths)
    assert one.data.name == two.data.name != hsi.open_mosaic(site.paths[:-1]).data.name
    again = pickle.loads(pickle.dumps(one))
    np.testing.assert_array_equal(again, one)
    whole = dict(one.data.dask)
    assert set(one.data.dask.layers[one.data.name].get_output_keys()) <= set(whole)
    assert len(one.data.dask) == len(whole)
    with dask.config.set({"optimization.fuse.active": False}):
        np.testing.assert_array_equal(one[::7], two[::7])


# ------------------------------------------------------------------------------------------------ overlaps


@pytest.fixture
def lines(tmp_path: Path, scene: Scene) -> tuple[Path, Path]:
    """Two files that overlap by 20 columns and carry different numbers there; both have a no-data corner."""
    other = simulate_scene((80, 60), wavelength=WAVELENGTH, seed=9, no_data=0.3, origin=(368050, 4306000))
    west = write_neon_tile(tmp_path / "west.h5", scene.window(x=slice(0, 70)), chunks=(0, 0, 1))
    return west, write_neon_tile(tmp_path / "east.h5", other, chunks=(0, 0, 1))


def test_overlapping_files_need_a_rule(lines: tuple[Path, Path]) -> None:
    with pytest.raises(GridError, match=r'west.h5 and east.h5 overlap by 80 rows and 20 columns; say .* "last"'):
        hsi.open_mosaic(lines)
    with pytest.raises(ConfigError, match="overlap must be one of error, first, last, not 'mean'"):
        hsi.open_mosaic(lines, overlap="mean")  # type: ignore[arg-type]


@pytest.mark.parametrize("masked", [True, False])
def test_the_first_or_last_with_data_holds(lines: tuple[Path, Path], masked: bool) -> None:
    """Oracle: numpy, painting one over the other."""
    west, east = (hsi.open_neon(path, masked=masked).values for path in lines)
    for rule in ("first", "last"):
        over, under = (west, east) if rule == "first" else (east, west)
        expected = np.full((80, 110, 100), np.nan if masked else -9999, west.dtype)
        for cube in (under, over):
            part = expected[:, :70] if cube is west else expected[:, 50:]
            np.copyto(part, cube, where=~np.isnan(cube) if masked else cube != -9999)
        np.testing.assert_array_equal(hsi.open_mosaic(lines, masked=masked, overlap=rule), expected)  # type: ignore[arg-type]
    backwards = hsi.open_mosaic(lines[::-1], masked=masked, overlap="first")
    np.testing.assert_array_equal(backwards, expected)


# ------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"zone": 17}, r"a.h5 lies in EPSG:32618, but b.h5 lies in EPSG:32617"),
        ({"wavelength": WAVELENGTH + 1.5}, r"a.h5 has 381.50 nm as wavelength 1, but b.h5 has 383.00 nm"),
        ({"wavelength": WAVELENGTH[:-2]}, r"a.h5 has 100 wavelengths, but b.h5 has 98 wavelengths"),
        ({"shift": 0.5}, r"b.h5 is off the pixel grid of a.h5 by 0.00 rows and 0.50 columns"),
        ({"pixel": 2.0}, r"a.h5 has pixels of 1 x 1 m, but b.h5 has pixels of 2 x 2 m"),
    ],
)
def test_tiles_that_do_not_belong_together_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any], sentence: str
) -> None:
    shift, pixel = other.pop("shift", 0.0), other.pop("pixel", 1.0)
    one = simulate_scene((40, 40), wavelength=WAVELENGTH)
    two = simulate_scene((40, 40), wavelength=other.pop("wavelength", WAVELENGTH), origin=(368040, 4306000))
    paths = [write_neon_tile(tmp_path / "a.h5", one), write_neon_tile(tmp_path / "b.h5", two, **other)]

    def moved(path: Path) -> TileSource:
        file = read_metadata(path)
        if path.name == "a.h5":
            return file
        return replace(file, west=file.west + shift, resolution=(pixel, pixel))

    monkeypatch.setattr(opening, "read_source", moved)
    with pytest.raises(GridError, match=sentence):
        hsi.open_mosaic(paths)


def test_files_that_cannot_be_read_or_mean_different_numbers_are_named(tmp_path: Path, site: Site) -> None:
    torn = tmp_path / "torn.h5"
    torn.write_bytes(site.paths[0].read_bytes()[:4000])
    with pytest.raises(FileFormatError, match=r"torn.h5 is a truncated"):
        hsi.open_mosaic([*site.paths, torn])
    scene = simulate_scene((40, 40), wavelength=WAVELENGTH, origin=(368120, 4306000))
    rewritten = write_neon_tile(tmp_path / "rewritten.h5", scene, revision="rewritten")
    with pytest.raises(SchemaError, match=r"holds int16, but rewritten.h5 int32; open with masked=True"):
        hsi.open_mosaic([*site.paths, rewritten], masked=False)
    assert hsi.open_mosaic([*site.paths, rewritten]).sizes["x"] == 160


def test_a_gap_in_a_file_s_chunks_and_a_file_that_is_gone_are_told(tmp_path: Path, site: Site) -> None:
    folder = tmp_path / "site"
    shutil.copytree(site.folder, folder)
    cube = hsi.open_mosaic(folder)
    next(folder.glob("*368000_4306000*")).unlink()
    with pytest.raises(FileFormatError, match=r"is gone|does not exist"):
        cube.isel(y=-1, x=0).compute()
    assert np.isfinite(cube.isel(y=-1, x=-1)).all()


# ------------------------------------------------------------------------------------------------ what is done with it


def test_pixels_are_sampled_across_tiles_and_know_theirs(site: Site) -> None:
    cube = hsi.select_bands(hsi.open_mosaic(site.paths, masked=False))
    pixels = hsi.sample_pixels(cube, 500, seed=2)
    assert len(set(pixels.tile.values)) > 3
    for n in range(0, 500, 61):
        west, south = map(int, str(pixels.tile.values[n]).split("_"))
        assert west < pixels.x[n] < west + 40
        assert south < pixels.y[n] < south + 40
        one = cube.sel(y=pixels.y[n], x=pixels.x[n])
        np.testing.assert_allclose(pixels[n], one * 1e-4, rtol=1e-6)


def test_maps_of_a_mosaic_s_tile_are_the_tile_s(site: Site) -> None:
    """Also where the whole part that is mapped comes from one file."""
    alone = hsi.select_bands(hsi.open_neon(site.paths[4], masked=False))
    pixels = hsi.sample_pixels(alone, 300)
    endmembers = hsi.find_endmembers(pixels, 3)
    maps = hsi.map_materials(alone, endmembers).compute()
    mosaic = hsi.select_bands(hsi.open_mosaic(site.paths, masked=False))
    for part in (mosaic.sel(y=alone.y, x=alone.x), mosaic.isel(y=slice(40, 80), x=slice(40, 80))):
        np.testing.assert_allclose(hsi.map_materials(part, endmembers).abundance, maps.abundance, atol=1e-5)
    single = hsi.select_bands(hsi.open_mosaic(site.paths[4], masked=False))
    np.testing.assert_array_equal(hsi.map_materials(single, endmembers).sam_angle, maps.sam_angle)


def test_material_maps_of_the_mosaic_have_no_seams(tmp_path: Path, scene: Scene, uncut: xr.DataArray) -> None:
    """Oracle: the uncut scene."""
    mosaic = hsi.select_bands(hsi.open_mosaic(cut(tmp_path, scene)[:5], masked=False))
    cube = hsi.select_bands(uncut)
    kept = np.isin(scene.wavelength, cube.wavelength)
    spectra = xr.DataArray(
        scene.endmembers[:3, kept], {"wavelength": cube.wavelength.values}, ("endmember", "wavelength")
    )
    whole = hsi.map_materials(cube, spectra)
    joined = hsi.map_materials(mosaic, spectra).compute()
    there = np.zeros((80, 120), bool)
    there[:40] = there[40:, :80] = True
    np.testing.assert_allclose(joined.abundance, whole.abundance.where(xr.DataArray(there, dims=("y", "x"))), atol=1e-5)
    np.testing.assert_array_equal(joined.sam_class, np.where(there, whole.sam_class, 255))
