"""Endmembers among every pixel of a site: against all pixels at once, and runs that were stopped or killed."""

import time

import numpy as np
import pytest
import xarray as xr

from hsi_dask.batch.execution import run as execute
from hsi_dask.batch.execution.dispatch import Workers
from hsi_dask.batch.execution.run import run
from hsi_dask.batch.execution.sampling import sample_site
from hsi_dask.batch.execution.vertices import search_site
from hsi_dask.batch.state.opening import open_run_directory
from hsi_dask.batch.state.scene import search_folder
from hsi_dask.batch.tiles.planning import make_plan
from hsi_dask.batch.tiles.search import find_tiles
from hsi_dask.config import RunConfig
from hsi_dask.errors import ConfigError, RunError
from hsi_dask.io.endmember_store import open_endmembers
from hsi_dask.io.readers import open_cube
from hsi_dask.io.scene import planes_file, read_planes
from hsi_dask.kernels.extraction.whole_scene import space_of
from hsi_dask.ops.bands import select_bands
from hsi_dask.ops.endmembers import find_endmembers
from hsi_dask.ops.samples import to_samples
from hsi_dask.scene.vertices import store_planes


def configured(site, **endmembers):
    return RunConfig(
        tiles=[str(site.folder)],
        endmembers={"count": 4, "sample": "all", "sample_tiles": 1, "restarts": 3, **endmembers},
        methods=["sam"],
    )


@pytest.fixture(scope="module")
def run_of(site, tmp_path_factory):
    """The endmembers of a run over all pixels, once for each setting."""
    known = {}

    def get(robust):
        if robust not in known:
            folder = tmp_path_factory.mktemp("scene") / "run"
            run(configured(site, robust=robust), folder)
            known[robust] = folder
        return known[robust]

    return get


def all_pixels(config):
    plan = make_plan(find_tiles(config.tiles), config)
    return plan, {
        tile.id: to_samples(select_bands(open_cube(tile.path), drop_last=config.bands.drop_last)) for tile in plan.tiles
    }


def test_no_pixel_of_any_tile_enlarges_the_simplex(site, run_of, tmp_path):
    config = configured(site, robust=False)
    plan, pixels = all_pixels(config)
    found = open_endmembers(run_of(False))
    space = space_of(sample_site(plan, tmp_path, Workers()).values, 4)
    tiles = found["tile"].values if "tile" in found.coords else found.attrs["tiles"]
    vertices = []
    for tile, row, column in zip(tiles, found["row"].values, found["column"].values, strict=True):
        at = np.flatnonzero((pixels[tile].row == row) & (pixels[tile].column == column))
        vertices.append(pixels[tile].values[at[0]])
    every = np.concatenate([part.values for part in pixels.values()])
    rows = space.rows(every.astype(float) @ space.basis.T)
    corners = space.rows(np.array(vertices, dtype=float) @ space.basis.T)
    assert np.abs(rows @ np.linalg.inv(corners)).max() < 1 + 1e-5
    told = f"no pixel of {len(every)} enlarges the volume by more than 1e-06 of itself"
    assert found.attrs["certificate"] == told
    assert len(set(tiles)) > 1


def test_the_run_keeps_the_certificate_and_forgets_the_planes(site, run_of):
    found = open_endmembers(run_of(True))
    _, pixels = all_pixels(configured(site))
    known = sum(part.sizes["pixel"] for part in pixels.values())
    assert found.attrs["certificate"].startswith(f"no supported pixel of {known} enlarges")
    assert found.attrs["log_volume"] >= find_endmembers(next(iter(pixels.values())), 4).attrs["log_volume"] - 1
    assert not search_folder(run_of(True)).exists()


def test_a_search_that_was_stopped_goes_on_with_the_tiles_that_are_missing(site, run_of, tmp_path, store_of):
    config = configured(site)
    plan = make_plan(find_tiles(config.tiles), config)
    run_dir = tmp_path / "run"
    with open_run_directory(run_dir, plan, None) as (state, placed):
        sample = sample_site(placed, run_dir, Workers())
        how = {"robust": True, "seed": 0, **config.extractor_options}
        first = find_endmembers(sample, 4, **how)
        search_site(state, placed, Workers(), sample, first)
    kept = sorted(path for path in search_folder(run_dir).iterdir() if path.name.startswith("tile-"))
    assert len(kept) == len(site.paths)
    (kept[2] / "identity.json").unlink()
    before = {path: (path / "identity.json").stat().st_mtime_ns for path in kept if path != kept[2]}
    with open_run_directory(run_dir, plan, None) as (state, placed):
        search_site(state, placed, Workers(), sample, first)
    assert before == {path: (path / "identity.json").stat().st_mtime_ns for path in before}
    run(config, run_dir)
    assert store_of(run_dir) == store_of(run_of(True))


def test_a_killed_run_ends_with_the_bytes_of_one_that_was_not(site, run_of, tmp_path, store_of, spawn):
    run_dir = tmp_path / "run"
    text = configured(site).to_yaml()
    code = f"""
        from hsi_dask.batch.execution.run import run
        from hsi_dask.config import RunConfig
        if __name__ == "__main__":
            run(RunConfig.from_text({text!r}), {str(run_dir)!r})
    """
    process = spawn(code)
    while not (search_folder(run_dir) / "begun").exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not (run_dir / "endmembers.zarr").exists()
    run(configured(site), run_dir)
    assert store_of(run_dir) == store_of(run_of(True))


def test_too_little_disk_for_the_planes_is_refused_until_they_are_there(site, tmp_path, monkeypatch):
    config = configured(site)
    plan = make_plan(find_tiles(config.tiles), config)
    pixels = sum(tile.shape[0] * tile.shape[1] for tile in plan.tiles)
    assert plan.search_bytes == 84 * pixels > plan.bytes_to_write
    monkeypatch.setattr(execute, "free_bytes", lambda path: 60 * pixels)
    told = r"has 0.0 GB free; looking at every pixel \(endmembers.sample: all\) keeps 0.0 GB there until"
    with pytest.raises(RunError, match=told):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run" / "endmembers.zarr").exists()
    folder = search_folder(tmp_path / "run")
    (folder / "tile-x-0").mkdir(parents=True)
    (folder / "tile-x-0" / "planes.f4").write_bytes(bytes(30 * pixels))
    assert run(config, tmp_path / "run").done


def test_other_methods_and_one_endmember_are_refused():
    for wrong in ({"method": "vca"}, {"count": 1}):
        with pytest.raises(ConfigError, match="sample is all, which is for 2 or more endmembers by nfindr"):
            RunConfig(tiles=["x"], endmembers={"sample": "all", **wrong})


@pytest.mark.parametrize("chunks", [None, {"y": 7}, {"y": 9, "x": 4, "wavelength": 5}])
def test_planes_have_no_number_where_a_pixel_does_not_count(tmp_path, chunks):
    rng = np.random.default_rng(0)
    values = rng.uniform(0.05, 0.6, (20, 11, 12)).astype(np.float32)
    cube = xr.DataArray(values, {"wavelength": np.linspace(400.0, 2400.0, 12)}, ("y", "x", "wavelength"))
    counts = xr.DataArray(rng.random((20, 11)) < 0.7, dims=("y", "x"))
    space = space_of(values.reshape(-1, 12), 3)
    with planes_file(tmp_path / "tile", (len(space.basis), 20, 11), {}) as planes:
        store_planes(cube if chunks is None else cube.chunk(chunks), counts, space, planes)
    found = read_planes(tmp_path / "tile", {})
    np.testing.assert_array_equal(np.isnan(found), np.broadcast_to(~counts.values, found.shape))
    expected = np.moveaxis(values.astype(float) @ space.basis.T, 2, 0)
    np.testing.assert_allclose(found[:, counts], expected[:, counts], atol=1e-6)
