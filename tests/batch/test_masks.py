"""Runs with masks against the quality layers read by h5py and the cube's own spectra."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

import hsi_dask as hsi
from hsi_dask.batch.execution.run import run
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.batch.state.verify import verify
from hsi_dask.batch.tiles.planning import make_plan
from hsi_dask.config import RunConfig
from hsi_dask.errors import ConfigError, EndmemberError
from hsi_dask.io.endmember_store import open_endmembers
from hsi_dask.io.store import open_results
from hsi_dask.schema import FLAGS
from hsi_dask.synthetic import Site, simulate_scene, simulate_site, write_neon_tile

MASKS = {"cloud": 10, "shadow": True, "water": 0.2, "not_vegetation": 0.3, "saturated": 0.5, "negative": True}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Four tiles of both revisions, all wavelengths, a no-data corner."""
    both = ("DP3.001", "DP3.002")
    return simulate_site(tmp_path_factory.mktemp("masked"), tiles=(2, 2), size=40, no_data=0.1, seed=5, revisions=both)


@pytest.fixture(scope="module")
def config(site: Site) -> RunConfig:
    return RunConfig(tiles=[str(site.folder)], mix=True, endmembers={"count": 3, "sample": 400, "restarts": 2})


@pytest.fixture(scope="module")
def plain(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("plain") / "run"
    run(config, run_dir)
    return run_dir


@pytest.fixture(scope="module")
def masked(config: RunConfig, plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All masks, with the endmembers of the plain run: maps can be compared."""
    run_dir = tmp_path_factory.mktemp("masks") / "run"
    run(config.replace(masks=MASKS, endmembers={"file": str(plain)}), run_dir)
    return run_dir


def expected(site: Site) -> xr.DataArray:
    """The flags of the whole site, by h5py and numpy."""
    cube = hsi.select_bands(hsi.open_mosaic(site.paths, mix=True)).load()
    near = {w: cube.sel(wavelength=w, method="nearest", drop=True) for w in (560, 665, 842)}
    ndwi = (near[560] - near[842]) / (near[560] + near[842])
    ndvi = (near[842] - near[665]) / (near[842] + near[665])
    flags = xr.where(ndwi > 0.2, FLAGS["water"], 0) | xr.where(ndvi < 0.3, FLAGS["not_vegetation"], 0)
    flags |= xr.where(cube.max("wavelength") > 0.5, FLAGS["saturated"], 0)
    flags |= xr.where(cube.min("wavelength") < 0, FLAGS["negative"], 0)
    gone = cube.isnull().any("wavelength")
    flags = xr.where(gone, FLAGS["no_data"], flags)
    for path, scene in zip(site.paths, site.scenes, strict=True):
        with h5py.File(path) as file:
            imagery = file["SERC/Reflectance/Metadata/Ancillary_Imagery"]
            weather, shadow = imagery["Weather_Quality_Indicator"][()], imagery["Cast_Shadow"][()]
        cloudy = weather >= 2 if weather.ndim == 2 else (weather[..., 0] == 255)
        there = {"y": scene.y, "x": scene.x}
        bits = np.where(cloudy, FLAGS["cloud"], 0) | np.where(shadow == 0, FLAGS["shadow"], 0)
        flags.loc[there] = flags.loc[there] | bits
    return flags


def test_quality_keeps_every_reason_and_masked_pixels_have_no_maps(masked: Path, plain: Path, site: Site) -> None:
    results, whole, flags = open_results(masked).load(), open_results(plain).load(), expected(site)
    np.testing.assert_array_equal(results.quality, flags)
    assert set(np.unique(flags)) > {0, 1}
    good = results.quality == 0
    xr.testing.assert_equal(results.abundance.drop_vars("name"), whole.abundance.where(good).drop_vars("name"))
    xr.testing.assert_equal(
        results.sid_divergence.drop_vars("name"), whole.sid_divergence.where(good).drop_vars("name")
    )
    np.testing.assert_array_equal(results.sam_class, np.where(good, whole.sam_class, 255))
    assert verify(masked) == []


def test_counts_by_reason_are_in_records_and_summary(masked: Path, config: RunConfig, plain: Path, site: Site) -> None:
    flags = expected(site).values
    counts = {name: int(((flags & bit) != 0).sum()) for name, bit in FLAGS.items() if name in {"no_data", *MASKS}}
    summary = run(config.replace(masks=MASKS, endmembers={"file": str(plain)}), masked)
    assert counts.pop("negative") == 0  # what is simulated is never negative
    assert summary.pixels == {"valid": int((flags == 0).sum())} | counts
    assert all(count > 0 for count in counts.values())
    assert sum(record.pixels["cloud"] for record in Run.open(masked).records()) == counts["cloud"]


def test_without_masks_quality_says_where_there_is_no_data(plain: Path, site: Site) -> None:
    results = open_results(plain)
    np.testing.assert_array_equal(results.quality, np.where(site.scene.no_data, FLAGS["no_data"], 0))
    assert results.quality.attrs["flag_meanings"].split()[:3] == ["no_data", "cloud", "shadow"]
    assert results.rio.crs.to_epsg() == 32618
    assert "_FillValue" not in results.quality.attrs


def test_where_no_tile_is_done_quality_says_no_data(config: RunConfig, site: Site, tmp_path: Path) -> None:
    run(config.replace(tiles=[str(site.paths[0]), str(site.paths[3])]), tmp_path / "run")
    quality = open_results(tmp_path / "run").quality
    assert (quality.isel(y=slice(0, 40), x=slice(40, 80)) == FLAGS["no_data"]).all()


def test_masked_pixels_are_never_candidates_for_endmembers(config: RunConfig, site: Site, tmp_path: Path) -> None:
    run(config.replace(masks=MASKS, endmembers={"sample": 4000}), tmp_path / "run")
    flags, found = expected(site), open_endmembers(tmp_path / "run")
    for one in found:
        assert int(flags.sel(y=float(one.y), x=float(one.x))) == 0
    quality = open_results(tmp_path / "run").quality
    np.testing.assert_array_equal(quality, flags)


@pytest.mark.parametrize("masks", [{"cloud": 50}, {"negative": True}, {"vegetation": 0.4}])
def test_the_sample_has_the_size_asked_for_and_holds_good_pixels_only(
    site: Site, config: RunConfig, masks: dict[str, Any]
) -> None:
    from hsi_dask.batch.execution.tile import Job, sample_tile

    settings = config.replace(masks=masks)
    tile = make_plan(site.paths, settings).tiles[1]
    pixels = sample_tile(Job(tile, "", settings, 300, 3), 2, lambda fraction: None)
    again = sample_tile(Job(tile, "", settings, 300, 3), 1, lambda fraction: None)
    assert pixels.sizes["pixel"] == 300
    xr.testing.assert_identical(pixels, again)
    if "negative" in masks:
        assert (pixels >= 0).all()


def test_masks_that_leave_nothing_are_a_clear_error(site: Site, config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(EndmemberError, match=r"the masks leave none of \d+ pixels drawn; loosen them"):
        run(config.replace(masks={"saturated": 1e-6}), tmp_path / "run")


def test_a_layer_that_no_file_has_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    line = write_neon_tile(tmp_path, simulate_scene((40, 40)), revision="DP1.001-2016")
    config = RunConfig(tiles=[str(line)], masks={"cloud": 10})
    sentence = r"has no layer weather_quality_indicator, which masks.cloud needs; set masks.cloud to null"
    with pytest.raises(ConfigError, match=sentence):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_layer_that_one_file_lacks_fails_that_tile_alone(tmp_path: Path, config: RunConfig, site: Site) -> None:
    scene = simulate_scene((40, 40), origin=(368080, 4306000), seed=5)
    rewritten = write_neon_tile(tmp_path / "rewritten.h5", scene, revision="rewritten")
    settings = config.replace(tiles=[str(site.folder), str(rewritten)], masks={"shadow": True})
    summary = run(settings, tmp_path / "run")
    assert len(summary.done) == 4
    assert list(summary.failed) == ["368080_4306000"]
    assert "has no layer cast_shadow, which masks.shadow needs" in summary.failed["368080_4306000"]


def test_slabs_change_no_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hsi_dask.batch.tiles import layout
    from hsi_dask.io import blocks

    path = write_neon_tile(tmp_path / "line.h5", simulate_scene((120, 30), no_data=0.2), chunks=(10, 30, 50))
    config = RunConfig(tiles=[str(path)], masks=MASKS, endmembers={"count": 3, "sample": 500, "restarts": 1})
    run(config, tmp_path / "whole")
    monkeypatch.setattr(layout, "SLAB_PIXELS", 50 * 30)
    monkeypatch.setattr(layout, "_CHUNK_PIXELS", 25 * 30)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 10 * 30 * 426 * 2)
    run(config, tmp_path / "slabs")
    np.testing.assert_array_equal(open_results(tmp_path / "whole").quality, open_results(tmp_path / "slabs").quality)


def test_masks_by_index_inflate_only_the_chunks_of_their_wavelengths(
    config: RunConfig, site: Site, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hsi_dask.io import hdf5

    calls: list[int] = []
    inflate = hdf5._inflate
    monkeypatch.setattr(hdf5, "_inflate", lambda data, n: (calls.append(n), inflate(data, n))[1])
    given = config.replace(endmembers={"file": str(plain)})
    run(given, tmp_path / "plain")
    before = len(calls)
    run(given.replace(masks={"water": 0.0, "vegetation": 0.5, "not_vegetation": 0.1}), tmp_path / "masks")
    planes, small = 3, 3 * 2  # of each whole-band tile, and of each tile of (32, 40, 27)
    assert len(calls) - before <= before + 2 * planes + 2 * small
