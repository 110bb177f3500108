"""Each workflow runs on a small simulated tile and tells what its reader came for."""

import importlib.util
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

import hsi_dask as hsi
from hsi_dask.synthetic import simulate_scene, simulate_site, write_neon_tile

WORKFLOWS = Path(__file__).parents[1] / "workflows"


def workflow(name):
    spec = importlib.util.spec_from_file_location(name, WORKFLOWS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return simulate_site(tmp_path_factory.mktemp("site"), tiles=(1, 2), size=80, illumination=(0.9, 1.05))


def test_the_lesson_goes_from_a_tile_to_saved_maps(tmp_path, capsys):
    scene = simulate_scene((80, 90), materials=("vegetation", "soil", "asphalt", "water"), illumination=(0.9, 1.05))
    tile = write_neon_tile(tmp_path, scene)
    workflow("neon_lesson").main([str(tile), "--out", str(tmp_path / "lesson.zarr")])
    told = capsys.readouterr().out
    means = [float(mean) for mean in re.findall(r"mean abundance ([\d.]+)", told)]
    assert len(means) == 4
    assert sum(means) == pytest.approx(1, abs=0.003)  # printed to three digits
    assert "EPSG:32618" in told
    saved = xr.open_zarr(tmp_path / "lesson.zarr", consolidated=False, decode_coords="all")
    assert set(saved) == {"abundance", "residual", "sam_angle", "sam_class", "sid_divergence", "sid_class"}
    assert saved.rio.crs.to_epsg() == 32618


def test_the_lesson_without_a_tile_simulates_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(hsi.synthetic, "simulate_scene", lambda shape, **options: simulate_scene((60, 60), **options))
    workflow("neon_lesson").main(["--out", str(tmp_path / "lesson.zarr")])
    assert "saved in" in capsys.readouterr().out


def test_the_site_workflow_maps_all_tiles_and_resumes(site, tmp_path, capsys):
    words = [str(tmp_path / "run"), str(site.folder)]
    workflow("site").main(words)
    told = capsys.readouterr().out
    assert "2 tiles mapped, 0 before, 0 failed" in told
    assert len(re.findall(r"endmember \d: mean abundance", told)) == 6
    workflow("site").main(words)
    assert "0 tiles mapped, 2 before, 0 failed" in capsys.readouterr().out


def test_the_pictures_of_the_readme_are_drawn_from_a_demo(tmp_path):
    workflow("pictures").main([str(tmp_path / "demo"), "--out", str(tmp_path / "pictures")])
    kept = {path.name for path in (WORKFLOWS / "pictures").glob("*.png")}
    assert kept == {"site.png", "endmembers.png", "abundances.png", "report.png"}
    drawn = {path.name: path for path in (tmp_path / "pictures").glob("*.png")}
    assert kept - set(drawn) <= {"report.png"}
    for path in drawn.values():
        assert path.stat().st_size < 500_000
        assert len(np.unique(plt.imread(path)[..., :3].reshape(-1, 3), axis=0)) > 50


def test_the_sites_settings_are_what_its_file_says():
    settings = hsi.RunConfig.from_yaml(WORKFLOWS / "site.yaml")
    assert settings.endmembers.count == 6
    assert settings.bands.windows[0] == (350, 400)
    assert (settings.thresholds.sam, settings.thresholds.sid) == (0.15, 0.25)
