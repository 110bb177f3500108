"""Runs with a library of many spectra, killed in mid-run, against the bytes of an undisturbed run."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hsi_dask.batch.execution.run import run
from hsi_dask.batch.state.verify import verify
from hsi_dask.batch.tiles.planning import make_plan
from hsi_dask.config import RunConfig
from hsi_dask.io.endmember_store import open_endmembers
from hsi_dask.io.libraries import write_table
from hsi_dask.synthetic import Site, simulate_scene, write_neon_tile

DRIVER = """
from hsi_dask.batch.execution.run import run
from hsi_dask.batch.observer import Observer
from hsi_dask.config import RunConfig
class Telling(Observer):
    def tile_done(self, record):
        print("done", record.tile, flush=True)
if __name__ == "__main__":
    run(RunConfig(**{config!r}), {run_dir!r}, observer=Telling())
"""


@pytest.fixture(scope="module")
def library(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty spectra of each of the scene's six materials: more than a class map could tell apart, and wavelengths."""
    scene = simulate_scene((10, 10), variability=0.05)
    return write_table(tmp_path_factory.mktemp("wide") / "library.csv", scene.library(50))


@pytest.mark.parametrize("method", ["mesma", "cover"])
def test_a_run_of_a_wide_library_that_is_killed_and_resumed_has_the_bytes_of_one_that_is_not(
    site: Site, library: Path, tmp_path: Path, method: str, spawn: Callable[[str], subprocess.Popen[str]],
    store_of: Callable[[Path], dict[str, bytes]],
) -> None:  # fmt: skip
    options = {method: {"max_materials": 1 if method == "cover" else 2}}
    config = RunConfig(
        tiles=[str(site.folder)], endmembers={"file": str(library)}, methods=[method], options=options
    )  # fmt: skip
    run(config, tmp_path / "whole")
    process = spawn(DRIVER.format(config=config.model_dump(), run_dir=str(tmp_path / "run")))
    assert process.stdout is not None
    said = process.stdout.readline()
    process.kill()
    process.wait()
    assert said.startswith("done"), said + process.stdout.read()
    summary = run(config.replace(tiles=[]), tmp_path / "run")
    assert summary.skipped
    assert (len(summary.done) + len(summary.skipped), summary.failed) == (6, {})
    assert store_of(tmp_path / "run") == store_of(tmp_path / "whole")
    assert verify(tmp_path / "run") == []
    stored = open_endmembers(tmp_path / "run")
    assert stored.sizes["endmember"] == 300
    assert np.unique(stored.material).tolist() == sorted({str(one) for one in stored.material.values})


def test_the_store_holds_the_maps_that_were_asked_for_and_no_others(site: Site, library: Path, tmp_path: Path) -> None:
    config = RunConfig(tiles=[str(site.paths[0])], endmembers={"file": str(library)}, methods=["mesma"])
    run(config, tmp_path / "run")
    arrays = {path.parent.name for path in (tmp_path / "run" / "results.zarr").glob("*/zarr.json")}
    assert {"fraction", "shade", "model", "residual", "quality"} <= arrays
    assert not {"fraction_std", "abundance", "sam_angle"} & arrays


def test_memory_is_projected_for_a_basis_not_for_every_spectrum(site: Site, library: Path, tmp_path: Path) -> None:
    wide = make_plan(site.paths, RunConfig(endmembers={"file": str(library)}, methods=["mesma"]))
    scene = simulate_scene((10, 10), variability=0.05)
    wider = write_table(tmp_path / "wider.csv", scene.library(100))
    more = make_plan(site.paths, RunConfig(endmembers={"file": str(wider)}, methods=["mesma"]))
    assert more.memory(2) == wide.memory(2)


def test_projected_memory_of_whole_planes_does_not_grow_with_the_library(
    tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hsi_dask.batch.tiles import plan as planning

    scene = simulate_scene((40, 50), seed=1)
    path = write_neon_tile(tmp_path, scene, revision="DP3.002", chunks=(40, 50, 1))
    config = RunConfig(tiles=[str(path)], endmembers={"file": str(library)}, methods=["mesma"])
    plan = make_plan([path], config)
    freely = plan.memory(2)
    monkeypatch.setattr(planning, "STEP_PIXELS", 1)
    for limit in ("SUM_BYTES", "HELD_BYTES"):
        monkeypatch.setattr(planning, limit, 40 * 50 * 2 * 100)
    assert freely - plan.memory(2) > 40 * 50 * 8 * 50
    monkeypatch.setattr(planning, "SUM_BYTES", 2**40)
    assert plan.memory(2) == freely
