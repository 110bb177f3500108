"""Endmembers among every pixel of a site: against all pixels at once, and runs that were stopped or killed."""

import time

import h5py
import numpy as np
import pytest
import xarray as xr

from hsi_dask.batch.execution import run as execute
from hsi_dask.batch.execution import vertices
from hsi_dask.batch.execution.dispatch import Workers
from hsi_dask.batch.execution.run import run
from hsi_dask.batch.execution.sampling import sample_site
from hsi_dask.batch.execution.searched_tile import _in_first_rows
from hsi_dask.batch.execution.tile import OpenTile
from hsi_dask.batch.execution.vertices import sample_and_project, search_site
from hsi_dask.batch.observer import Observer
from hsi_dask.batch.state.opening import open_run_directory
from hsi_dask.batch.state.scene import search_folder
from hsi_dask.batch.tiles.planning import make_plan
from hsi_dask.batch.tiles.search import find_tiles
from hsi_dask.config import RunConfig
from hsi_dask.errors import ConfigError, RunError
from hsi_dask.io.endmember_store import open_endmembers
from hsi_dask.io.readers import open_cube, read_source
from hsi_dask.io.scene import planes_file, read_planes
from hsi_dask.kernels.extraction.whole_scene import basis_of, space_of
from hsi_dask.ops.bands import select_bands
from hsi_dask.ops.decoding import storage
from hsi_dask.ops.endmembers import find_endmembers
from hsi_dask.ops.samples import to_samples
from hsi_dask.scene.vertices import projected, store_planes
from hsi_dask.synthetic import neon_wavelengths, simulate_scene, write_neon_tile


class Told(Observer):
    """What a run says."""

    def __init__(self):
        self.messages = []

    def message(self, text):
        self.messages.append(text)


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
    sample = sample_site(plan, tmp_path, Workers()).values
    basis = basis_of(sample, 4)
    space = space_of(sample @ basis.T, basis, 4)
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
    every = {
        place: spectrum
        for part in pixels.values()
        for *place, spectrum in zip(part.y.values, part.x.values, part.values, strict=True)
        for place in [tuple(place)]
    }
    y, x = (np.reshape(found.attrs[f"members_{dim}"], (len(found), -1)) for dim in "yx")
    for number, one in enumerate(found):
        members = [every[place] for place in zip(y[number], x[number], strict=True)]
        np.testing.assert_allclose(one, np.mean(members, axis=0), rtol=1e-5)
        part = pixels[str(one.tile.item())]
        at = np.flatnonzero((part.row == one.row) & (part.column == one.column))
        assert (part.y.values[at].item(), part.x.values[at].item()) == (float(one.y), float(one.x))


@pytest.mark.parametrize("spoiled", [False, True], ids=["whole", "spoiled"])
def test_a_search_that_was_stopped_goes_on_with_what_is_missing(site, run_of, tmp_path, store_of, spoiled):
    config = configured(site)
    plan = make_plan(find_tiles(config.tiles), config)
    run_dir = tmp_path / "run"
    with open_run_directory(run_dir, plan, None) as (state, placed):
        sample = sample_and_project(state, placed, Workers())
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
    for file in search_folder(run_dir).rglob("*"):
        if file.is_file() and spoiled:
            file.write_bytes(b"\x01 nothing of this run")
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


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"masks": {"vegetation": 0.4}, "endmembers": {"sample": "all", "sample_tiles": 3}},
        {"area": {"bounds": [368010, 4306010, 368100, 4306060]}},
    ],
    ids=["plain", "masked", "area"],
)
def test_the_sample_that_is_drawn_as_planes_are_kept_is_that_of_a_usual_run(site, tmp_path, settings):
    usual = RunConfig(tiles=[str(site.folder)], **{**settings, "endmembers": {"sample": 20_000, "sample_tiles": 6}})
    every = RunConfig(tiles=[str(site.folder)], **{"endmembers": {"sample": "all", "sample_tiles": 6}, **settings})
    plan = make_plan(find_tiles(every.tiles), every)
    with open_run_directory(tmp_path / "run", plan, None) as (state, placed):
        found = sample_and_project(state, placed, Workers())
        kept = {path.name for path in search_folder(tmp_path / "run").glob("tile-*")}
        again = sample_and_project(state, placed, Workers())
    sampled = set(found["tile"].values.tolist())
    assert kept == {f"tile-{tile}-0" for tile in sampled}
    xr.testing.assert_identical(again, found)
    if "endmembers" not in settings:
        other = make_plan(find_tiles(usual.tiles), usual)
        xr.testing.assert_identical(found, sample_site(other, tmp_path, Workers()))


@pytest.fixture
def lower_material(tmp_path):
    """A tile whose first 90 rows lack a material that the others have."""
    scene = simulate_scene((200, 80), seed=3, patch=12, noise=0.002, wavelength=neon_wavelengths(60, step=30.0))
    file = write_neon_tile(tmp_path / "site", scene, chunks=(200, 80, 1))
    lacking = int(scene.abundance[:, 90:].max(axis=(1, 2)).argmax())
    others = np.argwhere(scene.abundance[lacking] == 0)
    with h5py.File(file, "r+") as opened:
        data = opened[next(iter(opened))]["Reflectance/Reflectance_Data"]
        values = data[...]
        some = others[np.random.default_rng(0).integers(len(others), size=90 * 80)]
        values[:90] = values[some[:, 0], some[:, 1]].reshape(90, 80, -1)
        data[...] = values
    return tmp_path / "site", scene.endmembers[lacking].astype(float)


def test_a_material_that_the_first_rows_lack_is_found_all_the_same(lower_material, tmp_path):
    site, material = lower_material
    config = RunConfig(tiles=[str(site)], endmembers={"count": 5, "sample": "all"}, bands={"drop_last": 0})
    told = Told()
    run(config, tmp_path / "run", observer=told)
    assert any("every pixel as a vertex: 1 of 1 tile to read" in text for text in told.messages)
    found = open_endmembers(tmp_path / "run")
    kept = np.isin(neon_wavelengths(60, step=30.0), found.wavelength)
    alike = found.values @ material[kept] / np.linalg.norm(found.values, axis=1) / np.linalg.norm(material[kept])
    assert np.arccos(alike.max()) < 0.03


def test_a_tile_without_data_in_its_first_rows_is_sampled_by_itself(site, tmp_path, monkeypatch):
    monkeypatch.setattr(vertices, "_ENOUGH", 10**6)
    told = Told()
    run(configured(site, sample_tiles=6), tmp_path / "run", observer=told)
    assert any("every pixel as a vertex: 6 of 6 tiles to read" in text for text in told.messages)


def test_where_rows_begin_that_are_looked_at(tmp_path):
    scene = simulate_scene((600, 40), seed=3, wavelength=neon_wavelengths(20, step=100.0))
    file = write_neon_tile(tmp_path, scene, chunks=(600, 40, 1))
    for empty, first in ((0, 0), (40, 64), (100, 128), (300, None)):
        with h5py.File(file, "r+") as opened:
            opened[next(iter(opened))]["Reflectance/Reflectance_Data"][:empty] = -9999
        source = read_source(str(file))
        places = _in_first_rows(OpenTile(source, source.numbers(), None), storage(source.numbers()), 10**6)
        assert len(places) == (0 if first is None else 40 * min(64, first + 64 - max(empty, first)))
        assert first is None or places[:, 0].min() == max(empty, first)
    inside = np.zeros((600, 40), dtype=bool)
    inside[70:, :30] = True
    with h5py.File(file, "r+") as opened:
        opened[next(iter(opened))]["Reflectance/Reflectance_Data"][...] = scene.reflectance()
    source = read_source(str(file))
    places = _in_first_rows(OpenTile(source, source.numbers(), inside), storage(source.numbers()), 1000)
    assert places.min(axis=0).tolist() == [70, 0]
    assert places.max(axis=0).tolist() == [127, 29]


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
    basis = basis_of(values.reshape(-1, 12), 3)
    with planes_file(tmp_path / "tile", (len(basis), 20, 11), {}) as planes:
        store_planes(projected(cube if chunks is None else cube.chunk(chunks), basis), counts, planes)
    found = read_planes(tmp_path / "tile", {})
    np.testing.assert_array_equal(np.isnan(found), np.broadcast_to(~counts.values, found.shape))
    expected = np.moveaxis(values.astype(float) @ basis.T, 2, 0)
    np.testing.assert_allclose(found[:, counts], expected[:, counts], atol=1e-6)
