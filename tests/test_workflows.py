"""Each workflow runs on a small simulated site and tells what its reader came for."""

import importlib.util
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

import hsi_dask as hsi
from hsi_dask.synthetic import simulate_site

WORKFLOWS = Path(__file__).parents[1] / "workflows"


def workflow(name):
    spec = importlib.util.spec_from_file_location(name, WORKFLOWS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return simulate_site(tmp_path_factory.mktemp("site"), tiles=(1, 2), size=80, illumination=(0.9, 1.05))


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
    assert settings.bands.windows is None
    assert (settings.thresholds.sam, settings.thresholds.sid) == (0.15, 0.25)
