"""Overviews against xarray's own coarsening of the results and against counting pixel by pixel."""

import json
import os
import shutil
import threading
from collections import Counter

import numpy as np
import pytest
import xarray as xr

import hsi_dask as hsi
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.errors import RunError
from hsi_dask.io import levels
from hsi_dask.methods.registry import variable
from hsi_dask.overviews.coarsening import halved
from hsi_dask.overviews.overviews import kept_overviews, open_overviews
from hsi_dask.synthetic import simulate_scene, write_neon_tile


@pytest.fixture
def small_levels(monkeypatch):
    """Levels and chunks that suit a mosaic of 80 x 120 pixels: the last has odd sides."""
    monkeypatch.setattr(levels, "ENOUGH", 10)
    monkeypatch.setattr(levels, "_CHUNK", 20)


def halves(maps):
    return maps.coarsen(y=2, x=2, boundary="pad").mean()


def commonest(values, fill):
    """Pixel by pixel, of 2 x 2."""
    out = np.full([-(-n // 2) for n in values.shape], fill, values.dtype)
    for y, x in np.ndindex(out.shape):
        block = values[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].ravel()
        votes = Counter(block[block != fill].tolist())
        if votes:
            most = max(votes.values())
            out[y, x] = next(v for v in block if votes.get(v, 0) == most)
    return out


def test_levels_are_means_of_the_pixels_with_data_and_the_commonest_class(done_run, small_levels):
    finer = hsi.open_results(done_run).load()
    for size in (60, 30, 15, 8):
        level = open_overviews(done_run).at(size).load()
        assert max(level.sizes["y"], level.sizes["x"]) == size
        for name in ("abundance", "residual", "sam_angle", "sid_divergence"):
            np.testing.assert_allclose(level[name], halves(finer[name]), rtol=1e-5, atol=1e-6)
            assert level[name].dtype == np.float32
        for name, fill in (("sam_class", 255), ("sid_class", 255), ("quality", 1)):
            np.testing.assert_array_equal(level[name], commonest(finer[name].values, fill))
        sums = level.abundance.sum("endmember", skipna=False).values
        assert np.nanmax(abs(sums - 1)) < 1e-5
        finer = level


# rioxarray multiplies transforms the way that affine 3 is about to deprecate
@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
def test_every_level_lies_where_the_results_lie(done_run, small_levels):
    results = hsi.open_results(done_run)
    for size, factor in ((60, 2), (15, 8)):
        level = open_overviews(done_run).at(size)
        assert level.rio.crs == results.rio.crs
        west, north = results.x.values[0] - 0.5, results.y.values[0] + 0.5
        assert (level.x.values[0], level.y.values[0]) == (west + factor / 2, north - factor / 2)
        assert (np.diff(level.x), np.diff(level.y)) == (pytest.approx(factor), pytest.approx(-factor))
        assert tuple(level.rio.transform())[:6] == (factor, 0, west, 0, -factor, north)
        stored = json.loads((done_run / levels.OVERVIEWS / str(factor) / "spatial_ref" / "zarr.json").read_text())
        numbers = [float(part) for part in stored["attributes"]["GeoTransform"].split()]
        assert numbers == [west, factor, 0, north, 0, -factor]
    layout = json.loads((done_run / levels.OVERVIEWS / "zarr.json").read_text())["attributes"]["multiscales"]["layout"]
    assert [level["asset"] for level in layout] == ["2", "4", "8", "16"]
    assert [level.get("derived_from") for level in layout] == [None, "2", "4", "8"]
    tree = xr.open_datatree(done_run / levels.OVERVIEWS, engine="zarr", consolidated=False)
    for level in layout:
        held = tree[level["asset"]]
        assert [held.sizes["y"], held.sizes["x"]] == level["spatial:shape"]
        assert set(results) | {"quicklook"} == set(held.data_vars) - {"spatial_ref"}


def test_the_coarsest_level_that_is_fine_enough_is_opened_lazily(done_run, small_levels):
    for pixels, width in ((1000, 120), (120, 120), (61, 120), (60, 60), (9, 15), (1, 8)):
        maps = open_overviews(done_run).at(pixels)
        assert maps.sizes["x"] == width
        assert all(hasattr(variable.data, "dask") for variable in maps.data_vars.values())


def test_the_quicklook_is_the_tiles_reflectance_at_four_wavelengths(done_run, site):
    looks = open_overviews(done_run).at(1000).quicklook
    cube = hsi.open_mosaic(site.paths)
    near = cube.sel(wavelength=[490, 560, 665, 842], method="nearest").transpose("wavelength", "y", "x")
    np.testing.assert_allclose(looks, near, atol=1e-6)
    assert looks.dtype == np.float32


def test_a_tile_whose_file_is_gone_or_damaged_is_missing_in_the_quicklook_alone(own_site, config, tmp_path):
    hsi.run(config.replace(tiles=[str(own_site)]), tmp_path / "run")
    gone, damaged, *_ = sorted(own_site.glob("*.h5"))
    gone.unlink()
    found = open_overviews(tmp_path / "run").at(1000).load()
    whole = found.quicklook.notnull().any("wavelength")
    assert found.residual.notnull().sum() - whole.sum() == pytest.approx(1600, abs=1600 * 0.5)
    shutil.rmtree(tmp_path / "run" / levels.OVERVIEWS)
    status = damaged.stat()
    damaged.write_bytes(b"\x89HDF\r\n\x1a\n" + b"x" * (status.st_size - 8))
    os.utime(damaged, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert open_overviews(tmp_path / "run").at(1000).quicklook.notnull().any("wavelength").sum() < whole.sum()


def test_statistics_are_those_of_all_pixels(done_run):
    maps, found = hsi.open_results(done_run).load(), open_overviews(done_run).statistics
    assert set(found) == set(maps)
    for n in range(3):
        values = maps.abundance[n].values[~np.isnan(maps.abundance[n].values)]
        one = found["abundance"][n]
        assert (one.count, one.minimum, one.maximum) == (values.size, values.min(), values.max())
        assert one.mean == pytest.approx(values.mean(dtype=float))
        assert one.std == pytest.approx(values.std(dtype=float))
        inner = np.histogram(values, bins=50, range=(0, 1))[0]
        assert abs(np.cumsum(inner) - np.cumsum(one.histogram)).max() <= 2  # float32 at a bin's edge
    numbers, counts = np.unique(maps.sam_class.values[maps.sam_class.values != 255], return_counts=True)
    assert found["sam_class"][0].values == {str(v): n for v, n in zip(numbers, counts, strict=True)}


def test_overviews_are_kept_while_the_same_tiles_are_done_and_made_anew_when_others_are(done_run, small_levels):
    open_overviews(done_run)
    made = (done_run / levels.OVERVIEWS / "zarr.json").stat()
    complete = open_overviews(done_run).at(60).load()
    assert (done_run / levels.OVERVIEWS / "zarr.json").stat() == made

    tile = Run.open(done_run).done()[0]
    record = done_run / "records" / f"{tile}.json"
    moved = record.rename(done_run / "aside.json")
    fewer = open_overviews(done_run).at(60).load()  # its chunks are still there, but nothing vouches for them
    lost = complete.residual.notnull() & fewer.residual.isnull()
    assert 0 < lost.sum() <= 400
    assert lost.sum() == (complete.quicklook[0].notnull() & fewer.quicklook[0].isnull()).sum()
    moved.rename(record)
    assert open_overviews(done_run).at(60).load().equals(complete)


def test_overviews_in_use_are_not_replaced_and_others_may_look_at_them(done_run, small_levels):
    record = done_run / "records" / f"{Run.open(done_run).done()[0]}.json"
    with kept_overviews(done_run) as kept:
        with kept_overviews(done_run) as other:
            assert other.identity == kept.identity
        record.rename(done_run / "aside.json")
        anew = threading.Thread(target=open_overviews, args=(done_run,))
        anew.start()
        anew.join(0.5)
        assert anew.is_alive()
        assert kept.are_there
    anew.join()
    assert not kept.are_there
    assert open_overviews(done_run).are_there


def test_their_making_is_told_from_0_to_1_and_only_when_they_are_made(done_run, small_levels):
    shutil.rmtree(done_run / levels.OVERVIEWS, ignore_errors=True)
    heard = []
    open_overviews(done_run, advanced=heard.append)
    assert (heard[0], heard[-1]) == (0, 1)
    assert heard == sorted(heard)
    assert len(heard) > 20
    open_overviews(done_run, advanced=lambda share: pytest.fail("they are there"))


def test_tiles_that_are_done_while_overviews_are_made_are_left_for_the_next_time(done_run, small_levels):
    record = done_run / "records" / f"{Run.open(done_run).done()[0]}.json"
    moved, made = record.rename(done_run / "aside.json"), []

    def advanced(share):
        made.append(share)
        if moved.exists():
            moved.rename(record)  # the run goes on

    first = open_overviews(done_run, advanced=advanced)
    assert made.count(0.0) == 1
    assert len(first.records) == len(Run.open(done_run).records()) - 1
    assert first.at(60).residual.isnull().sum() > 0
    assert len(open_overviews(done_run, advanced=advanced).records) == len(first.records) + 1
    assert made.count(0.0) == 2


def test_tiles_far_apart_cost_no_more_disk_than_tiles_side_by_side(tmp_path, config):
    scenes = [
        simulate_scene((40, 40), wavelength=np.linspace(400, 2400, 60), origin=(x, x + 4e6)) for x in (0, 40 * 99)
    ]
    tiles = [write_neon_tile(tmp_path, scene) for scene in scenes]
    hsi.run(config.replace(tiles=[str(tile) for tile in tiles]), tmp_path / "run")
    path = open_overviews(tmp_path / "run").path
    grids = levels.level_grids(Run.open(tmp_path / "run").manifest.grid)
    assert list(grids) == [1, 2, 4]
    planes = 3 * 3 + 5 + 4  # of three endmembers; of the others; of the quicklook
    coordinates = {"x", "y", "endmember", "wavelength", "spatial_ref"}
    chunks = [p for p in path.rglob("*") if p.is_file() and "c" in p.parts and not coordinates & set(p.parts)]
    assert 0 < len(chunks) <= 2 * (4 + 2 * planes)


def test_a_run_without_a_finished_tile_has_no_overviews(done_run):
    for record in (done_run / "records").iterdir():
        record.unlink()
    with pytest.raises(RunError, match="no finished tile"):
        open_overviews(done_run).at(100)
    with pytest.raises(RunError, match="not a run directory"):
        open_overviews(done_run.parent).at(100)


def test_halving_keeps_a_last_odd_row_and_column():
    classes = np.array([[1, 1, 5], [2, 1, 5], [3, 255, 255]], np.uint8)
    assert halved(classes, variable("sam_class")).tolist() == [[1, 5], [3, 255]]
    values = np.array([[1, 3, np.nan], [np.nan, 2, 4], [6, 8, np.nan]], np.float32)
    np.testing.assert_array_equal(halved(values, variable("residual")), [[2, 4], [7, np.nan]])


def test_damaged_overviews_are_made_anew(done_run):
    made = open_overviews(done_run)
    statistics = made.statistics
    for name, change in (
        ("zarr.json", lambda text: text.replace('"count"', '"cuont"', 1)),
        ("1/quicklook/zarr.json", lambda text: text.replace('"blosc"', '"numcodecs.pickle"')),
        ("1/x/zarr.json", lambda text: text[:50]),
        ("1/zarr.json", lambda text: text.replace('"zarr_format": 3', '"zarr_format": 2')),
    ):
        path = made.path / name
        before = path.read_text()
        path.write_text(change(before))
        assert path.read_text() != before
        assert open_overviews(done_run).statistics == statistics
        assert path.read_text() == before


def test_a_file_that_now_lies_elsewhere_gives_no_quicklook(own_site, config, tmp_path):
    hsi.run(config.replace(tiles=[str(own_site)]), tmp_path / "run")
    one, other = (next(own_site.glob(f"*{tile}*")) for tile in ("368000_4306000", "368080_4306040"))
    status = one.stat()
    one.write_bytes(other.read_bytes().ljust(status.st_size, b"\0"))  # bytes behind an HDF5 file do not matter
    os.utime(one, ns=(status.st_mtime_ns, status.st_mtime_ns))
    look = open_overviews(tmp_path / "run").at(1000).quicklook
    west, south = 368000, 4306000
    assert look.sel(x=slice(west, west + 40), y=slice(south + 40, south)).isnull().all()
    assert look.notnull().any()
