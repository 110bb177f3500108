"""Runs with an area of interest: against the whole run with the same endmembers, and a count of the chunks inflated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import hsi_dask as hsi
from hsi_dask.batch.execution.run import run
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.batch.state.verify import verify
from hsi_dask.batch.tiles.planning import make_plan
from hsi_dask.batch.tiles.search import find_tiles
from hsi_dask.config import RunConfig
from hsi_dask.errors import ConfigError, RunError
from hsi_dask.io import hdf5
from hsi_dask.io.endmember_store import open_endmembers
from hsi_dask.io.regions import inside
from hsi_dask.schema import FLAGS
from hsi_dask.synthetic import Site, neon_wavelengths, simulate_site

WAVELENGTH = neon_wavelengths(60, step=30.0)
RING = [[368015, 4306015], [368064, 4306027], [368052, 4306063], [368021, 4306057], [368015, 4306015]]
HOLE = [[368030, 4306028], [368041, 4306028], [368041, 4306045], [368030, 4306045], [368030, 4306028]]
SETTINGS: dict[str, Any] = {"endmembers": {"count": 3, "sample": 600, "restarts": 2}, "bands": {"drop_last": 5}}
METHODS = ("fcls", "sam", "sid", "ace")
Store = Callable[[Path], dict[str, bytes]]


def write(path: Path, ring: list[list[float]] = RING) -> Path:
    crs = {"type": "name", "properties": {"name": "EPSG:32618"}}
    path.write_text(json.dumps({"type": "Polygon", "coordinates": [ring, HOLE], "crs": crs}))
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """2 x 3 tiles of 40 x 40 pixels; every other one in chunks of (32, 63, 27), cut to the tile."""
    folder = tmp_path_factory.mktemp("small")
    return simulate_site(folder, tiles=(2, 3), size=40, wavelength=WAVELENGTH, no_data=0.1)


@pytest.fixture(scope="module")
def chunked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiles of 40 x 80 pixels in chunks of 8 x 10 pixels and 12 wavelengths."""
    from hsi_dask.synthetic import simulate_scene, write_neon_tile

    folder = tmp_path_factory.mktemp("chunked")
    scene = simulate_scene((80, 80), wavelength=WAVELENGTH, seed=5, no_data=0.3)
    for part in scene.tiles(40):
        write_neon_tile(folder, part, chunks=(8, 10, 12))
    return folder


@pytest.fixture(scope="module")
def polygons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("polygons") / "area.geojson")


@pytest.fixture(scope="module")
def config(chunked: Path, polygons: Path) -> RunConfig:
    return RunConfig(tiles=[str(chunked)], area={"region": str(polygons)}, **SETTINGS)


@pytest.fixture(scope="module")
def within(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a run of the area that nothing disturbed."""
    run_dir = tmp_path_factory.mktemp("within") / "run"
    run(config, run_dir)
    return run_dir


@pytest.fixture
def inflated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of every stored chunk that is inflated."""
    calls: list[int] = []
    inflate = hdf5._inflate
    monkeypatch.setattr(hdf5, "_inflate", lambda data, room: (calls.append(len(data)), inflate(data, room))[1])
    return calls


def mask(run_dir: Path) -> np.ndarray:
    manifest = Run.open(run_dir).manifest
    grid = manifest.grid
    return inside(manifest.region, (grid.west, grid.north), grid.resolution, grid.shape)


def test_what_is_inside_equals_the_whole_run_with_the_same_endmembers_bit_for_bit(
    chunked: Path, config: RunConfig, within: Path, tmp_path: Path
) -> None:
    endmembers = {"file": str(within), "count": 3}
    whole = RunConfig(tiles=[str(chunked)], methods=METHODS[:3], endmembers=endmembers, bands=SETTINGS["bands"])
    run(whole, tmp_path / "whole")
    here = hsi.open_results(within).load()
    there = hsi.open_results(tmp_path / "whole").sel(y=here.y, x=here.x).load()
    found = mask(within)
    assert 0 < found.sum() < found.size
    for name, values in here.items():
        one, other = (np.ascontiguousarray(v.values[..., found]) for v in (values, there[name]))
        if name == "quality":
            np.testing.assert_array_equal(one, other)
        else:
            assert one.tobytes() == other.tobytes(), name


def test_what_is_outside_is_flagged_and_in_no_map(within: Path) -> None:
    results, found = hsi.open_results(within).load(), mask(within)
    quality = results.quality
    assert quality.dtype == np.uint16
    meanings = dict(zip(quality.flag_meanings.split(), quality.flag_masks.tolist(), strict=True))
    assert meanings == {name: bit for name, bit in FLAGS.items() if name != "not_modelled"}  # of a map of its own
    np.testing.assert_array_equal(quality.values == meanings["outside"], ~found)
    for name, values in results.drop_vars("quality").items():
        outside = values.values[..., ~found]
        assert np.isnan(outside).all() if values.dtype.kind == "f" else (outside == 255).all(), name


def test_counts_areas_and_statistics_are_of_what_is_inside(within: Path) -> None:
    from hsi_dask.overviews.overviews import open_overviews

    found, results = mask(within), hsi.open_results(within).load()
    records = Run.open(within).records()
    counts = {name: sum(record.pixels.get(name, 0) for record in records) for name in ("valid", "no_data", "outside")}
    assert counts["outside"] == (~found).sum()
    assert counts["valid"] + counts["no_data"] == found.sum()
    assert counts["no_data"] > 0
    overviews = open_overviews(within)
    assert overviews.statistics["residual"][0].count == counts["valid"]
    assert sum(overviews.statistics["sam_class"][0].values.values()) == counts["valid"]
    agreement = overviews.agreements["abundance_class", "sam_class"]
    assert agreement.pixels == counts["valid"]
    look = overviews.at(1000).quicklook.load()
    np.testing.assert_array_equal(np.isnan(look.values).all(axis=0), ~found | np.isnan(results.residual.values))


def test_the_report_and_the_export_say_what_is_outside(within: Path, tmp_path: Path) -> None:
    import rasterio

    page = hsi.report(within).read_text()
    assert "of the area of interest" in page
    assert "area.geojson" in page
    hsi.export(within, tmp_path / "gis")
    with rasterio.open(tmp_path / "gis" / "quality.tif") as file:
        np.testing.assert_array_equal(file.read(1) == FLAGS["outside"], ~mask(within))
    assert "<Category>outside</Category>" in (tmp_path / "gis" / "quality.tif.aux.xml").read_text()


def test_endmembers_are_pixels_from_inside(config: RunConfig, tmp_path: Path) -> None:
    run(config.replace(endmembers={"robust": False}), tmp_path / "run")
    found, spectra = mask(tmp_path / "run"), open_endmembers(tmp_path / "run")
    grid = Run.open(tmp_path / "run").manifest.grid
    rows, columns = (
        np.floor(grid.north - spectra.y.values).astype(int),
        np.floor(spectra.x.values - grid.west).astype(int),
    )
    assert found[rows, columns].all()


def test_only_chunks_that_touch_the_area_are_read(
    config: RunConfig, within: Path, chunked: Path, tmp_path: Path, inflated: list[int]
) -> None:
    """With endmembers from elsewhere every chunk that touches the area is inflated once, but for its dropped bands."""
    found = mask(within)
    touched = sum(found[y : y + 8, x : x + 10].any() for y in range(0, 80, 8) for x in range(0, 80, 10))
    settings = config.replace(endmembers={"file": str(within), "count": 3})
    kept = hsi.select_bands(hsi.open_mosaic([chunked]), drop_last=5).wavelength.values
    assert set(np.searchsorted(WAVELENGTH, kept) // 12) == set(range(5)), "of every chunk along wavelength some is kept"
    run(settings, tmp_path / "run")
    assert len(inflated) == touched * 5
    plan = make_plan(find_tiles([chunked]), settings)
    stored = sum(tile.read * 20 for tile in plan.tiles)
    assert round(stored) == touched
    assert f"touches 4 of 4 tiles, and {touched * 5} of the {4 * 40 * 5 // 2} stored chunks" in plan.notes[0]
    whole = sum(path.stat().st_size for path in chunked.iterdir())
    assert plan.bytes_to_read < whole * (touched / 80 + 0.02)
    inflated.clear()
    hsi.report(tmp_path / "run")
    assert len(inflated) <= touched * 4  # the quicklook's wavelengths


def test_tiles_that_do_not_touch_the_area_are_not_in_the_run(small: Site, tmp_path: Path) -> None:
    area = {"bounds": (368005, 4306005, 368035, 4306070)}
    plan = make_plan(small.paths, RunConfig(area=area, **SETTINGS))
    assert [tile.id for tile in plan.tiles] == ["368000_4306040", "368000_4306000"]
    assert plan.grid.shape == (80, 40)
    assert "touches 2 of 6 tiles" in plan.notes[0]
    assert plan.bytes_to_write < make_plan(small.paths, RunConfig(**SETTINGS)).bytes_to_write / 3
    summary = run(RunConfig(tiles=[str(small.folder)], area=area, **SETTINGS), tmp_path / "run")
    assert summary.pixels["outside"] == 2 * 40 * 40 - 30 * 65


def test_a_tile_that_cannot_be_read_counts_only_where_it_may_touch_the_area(own_site: Path) -> None:
    paths = sorted(own_site.iterdir())
    config = RunConfig(area={"bounds": (368005, 4306005, 368035, 4306035)}, **SETTINGS)
    for name, bad in (("368000_4306000", 0), ("368080_4306000", 1)):
        broken = next(path for path in paths if name in path.name)
        whole = broken.read_bytes()
        broken.write_bytes(whole[:3000])
        near = config.replace(area={"bounds": (368005, 4306005, 368115, 4306035)}) if bad else config
        if bad:
            assert [tile.id for tile in make_plan(paths, near).bad] == [name]
            assert make_plan(paths, config).bad == ()
        else:
            with pytest.raises(ConfigError, match="holds no pixel of any of the 5 tiles"):
                make_plan(paths, near)
        broken.write_bytes(whole)


def test_an_area_elsewhere_is_refused_with_both_extents(small: Site) -> None:
    with pytest.raises(ConfigError) as refused:
        make_plan(small.paths, RunConfig(area={"bounds": (368005, 4307005, 368035, 4307070)}))
    assert str(refused.value) == (
        "the area (bounds 368005 4307005 368035 4307070) holds no pixel of any of the 6 tiles: it spans 368005 to "
        "368035 E and 4307005 to 4307070 N in EPSG:32618, the tiles 368000 to 368120 E and 4306000 to 4306080 N in "
        "EPSG:32618; correct the area"
    )
    with pytest.raises(ConfigError, match="look like degrees: --bounds-crs 4326"):
        make_plan(small.paths, RunConfig(area={"bounds": (-76.6, 38.8, -76.5, 38.9)}))


def test_bounds_in_degrees_are_brought_to_the_tiles(small: Site) -> None:
    from pyproj import Transformer

    west, south, east, north = 368005.2, 4306005.2, 368035.2, 4306035.2
    to_degrees = Transformer.from_crs("EPSG:32618", "EPSG:4326", always_xy=True)
    (w, s), (e, n) = to_degrees.transform(west, south), to_degrees.transform(east, north)
    plan = make_plan(small.paths, RunConfig(area={"bounds": (w, s, e, n), "bounds_crs": 4326}))
    assert [tile.id for tile in plan.tiles] == ["368000_4306000"]
    assert plan.tiles[0].inside == pytest.approx(30 * 30 / 1600, rel=0.05)


def test_a_run_goes_on_without_the_file_of_polygons(
    chunked: Path, within: Path, tmp_path: Path, store_of: Store
) -> None:
    polygons = write(tmp_path / "area.geojson")
    config = RunConfig(tiles=[str(chunked)], area={"region": str(polygons)}, **SETTINGS)
    run(config, tmp_path / "run")
    records = sorted((tmp_path / "run" / "records").iterdir())
    for record in records[1:]:
        record.unlink()
    polygons.unlink()
    summary = run(RunConfig.from_yaml(tmp_path / "run" / "config.yaml").replace(tiles=()), tmp_path / "run")
    assert (len(summary.done), len(summary.skipped)) == (3, 1)
    records[0].unlink()
    assert len(run(config, tmp_path / "run").done) == 1
    assert store_of(tmp_path / "run") == store_of(within)
    assert verify(tmp_path / "run") == []


def test_another_area_is_refused_when_a_run_goes_on(chunked: Path, tmp_path: Path) -> None:
    polygons = write(tmp_path / "area.geojson")
    config = RunConfig(tiles=[str(chunked)], area={"region": str(polygons)}, **SETTINGS)
    run(config, tmp_path / "run")
    write(polygons, [[368005, 4306005], *RING[1:-1], [368005, 4306005]])
    message = (
        r"is a run of something else: area: area.geojson \(368005 to 368064 E and .*\), not area.geojson \(368015 to "
        r"368064 E and 4306015 to 4306063 N in EPSG:32618\)\. Repeat it"
    )
    with pytest.raises(RunError, match=message):
        run(config, tmp_path / "run")
    with pytest.raises(RunError, match=r"area: all of it, not area\.geojson"):
        run(config.replace(area={"region": None}), tmp_path / "run")
    elsewhere = RunConfig(area={"bounds": (368005, 4306005, 368035, 4306070)}, **SETTINGS)
    with pytest.raises(RunError, match=r"area: bounds 368005 4306005 368035 4306070 .*, not area\.geojson"):
        run(elsewhere, tmp_path / "run")
    assert len(run(RunConfig.from_yaml(tmp_path / "run" / "config.yaml").replace(tiles=()), tmp_path / "run").skipped)


def test_a_run_that_is_killed_goes_on_to_the_same_bytes(
    config: RunConfig, within: Path, tmp_path: Path, store_of: Store, spawn: Callable[[str], Any]
) -> None:
    code = f"""
    import os
    from hsi_dask.batch.execution.run import run
    from hsi_dask.batch.observer import Observer
    from hsi_dask.config import RunConfig
    class Killed(Observer):
        def tile_done(self, record):
            os.kill(os.getpid(), 9)
    run(RunConfig(**{config.model_dump()!r}), {str(tmp_path / "run")!r}, observer=Killed())
    """
    process = spawn(code)
    assert process.wait() == -9
    summary = run(config, tmp_path / "run")
    assert (len(summary.skipped), len(summary.done)) == (1, 3)
    assert store_of(tmp_path / "run") == store_of(within)
    assert verify(tmp_path / "run") == []


def test_statistics_of_the_scene_and_masks_are_of_what_is_inside(config: RunConfig, tmp_path: Path) -> None:
    """Against a cube that is not there outside, with the statistics of its pixels."""
    settings = config.replace(methods=("ace",), masks={"vegetation": 0.5})
    summary = run(settings, tmp_path / "run")
    found, results = mask(tmp_path / "run"), hsi.open_results(tmp_path / "run").load()
    cube = hsi.select_bands(hsi.open_mosaic(config.tiles), drop_last=5)
    red, infrared = (cube.sel(wavelength=nm, method="nearest").load() for nm in (665, 842))
    green = ((infrared - red) / (infrared + red) > 0.5).values & found
    np.testing.assert_array_equal((results.quality.values & FLAGS["vegetation"]) > 0, green)
    assert summary.pixels["vegetation"] == green.sum() > 0
    where = xr.DataArray(found & ~green, dims=("y", "x"))
    statistics = hsi.scene_statistics(cube, where=where)
    expected = hsi.detect(cube, open_endmembers(tmp_path / "run"), method="ace", statistics=statistics)
    score = next(name for name in expected if str(name).endswith("score"))
    good = results.quality.values == 0
    np.testing.assert_allclose(results[score].values[:, good], expected[score].values[:, good], rtol=2e-3, atol=2e-4)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # rioxarray's, of affine
def test_a_selection_and_a_clip_of_a_mosaic_read_only_the_chunks_they_touch(chunked: Path, inflated: list[int]) -> None:
    mosaic = hsi.open_mosaic([chunked], chunks={"y": 8, "x": 10, "wavelength": 12})
    here = mosaic.sel(x=slice(368012, 368028), y=slice(4306078, 4306066))
    clipped = mosaic.rio.clip([{"type": "Polygon", "coordinates": [RING]}])
    assert not inflated, "both are lazy"
    here.compute()
    assert len(inflated) == 2 * 2 * 5
    inflated.clear()
    computed = clipped.compute()
    outline = np.array(RING)
    box = mosaic.sel(x=slice(*outline[[0, 1], 0]), y=slice(outline[2, 1], outline[0, 1]))
    assert dict(computed.sizes) == dict(box.sizes)
    rows, columns = (
        int((mosaic.y.values >= edge).sum()) // 8 if axis == "y" else int((mosaic.x.values <= edge).sum()) // 10
        for axis, edge in (("y", outline[:, 1].max()), ("x", outline[:, 0].min()))
    )
    last_row = (int((mosaic.y.values >= outline[:, 1].min()).sum()) - 1) // 8
    last_column = (int((mosaic.x.values <= outline[:, 0].max()).sum()) - 1) // 10
    assert len(inflated) == (last_row - rows + 1) * (last_column - columns + 1) * 5


def test_a_manifest_with_a_damaged_area_is_refused(within: Path, tmp_path: Path) -> None:
    import shutil

    spoiled = Path(shutil.copytree(within, tmp_path / "run"))
    manifest = json.loads((spoiled / "manifest.json").read_text())
    for polygons in ([], [[]], [[[[0.0, 0.0]]]], [[[[0.0, 1e10], [0, 0], [1, 1], [0.0, 1e10]]]], {"a": 1}):
        manifest["region"]["polygons"] = polygons
        (spoiled / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(RunError, match="is damaged"):
            Run.open(spoiled)


def test_settings_of_the_area_are_refused_in_a_sentence(tmp_path: Path) -> None:
    for area, words in {
        (("bounds", (2, 0, 1, 1)),): r"area.bounds is \(2, 0, 1, 1\); it must be null, or \[west, south",
        (("bounds", (0, 0, float("nan"), 1)),): "area.bounds is",
        (("bounds", (0, 0, 1)),): "area.bounds is",
        (("bounds_crs", 4326),): "area.bounds_crs is 4326, but area.bounds is not set",
        (("bounds", (0, 0, 1, 1)), ("bounds_crs", "UTM")): "area.bounds_crs is 'UTM'; it must be null or an EPSG",
        (("bounds", (0, 0, 1, 1)), ("region", "a.geojson")): "both set",
        (("polygons", "a.geojson"),): "unknown key area.polygons",
    }.items():
        with pytest.raises(ConfigError, match=words):
            RunConfig(area=dict(area))


def test_the_area_is_in_the_commented_configuration_and_not_in_the_settings_fingerprint(tmp_path: Path) -> None:
    config = RunConfig(area={"bounds": (-76.6, 38.8, -76.5, 38.9), "bounds_crs": 4326})
    (tmp_path / "c.yaml").write_text(config.commented_yaml())
    assert RunConfig.from_yaml(tmp_path / "c.yaml") == config
    assert config.fingerprint() == RunConfig().fingerprint(), "runs of earlier versions go on"


@pytest.mark.parametrize("ignored", [-9999, None])
def test_other_formats_are_read_in_part_too(write_envi: Any, tmp_path: Path, ignored: int | None) -> None:
    """ENVI, by lines and by bands: against the whole run with the same endmembers."""
    rng = np.random.default_rng(3)
    spectra = rng.uniform(500, 6000, (3, WAVELENGTH.size))
    values = (rng.dirichlet(np.ones(3), (60, 50)) @ spectra + rng.normal(0, 20, (60, 50, WAVELENGTH.size))).astype("i2")
    for interleave in ("bil", "bsq"):
        folder = tmp_path / interleave
        folder.mkdir()
        write_envi(folder / "line.img", values, WAVELENGTH, interleave=interleave, data_ignore_value=ignored)
        settings = {**SETTINGS, "tiles": [str(folder)]}
        run(RunConfig(**settings), folder / "whole")
        endmembers = {"file": str(folder / "whole"), "count": 3}
        area = {"bounds": (368007, 4306011, 368020, 4306029)}
        summary = run(RunConfig(**settings | {"endmembers": endmembers}, area=area), folder / "run")
        assert summary.pixels == {"valid": 13 * 18, "no_data": 0, "outside": 3000 - 13 * 18}
        here, there = (hsi.open_results(folder / name).load() for name in ("run", "whole"))
        found = mask(folder / "run")
        for name in ("abundance", "sid_divergence", "sam_class"):
            np.testing.assert_array_equal(here[name].values[..., found], there[name].values[..., found])
