"""The scene stage of a run: numpy over all pixels is the oracle; killed, in parts, on workers: the same bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hsi_dask as hsi
from hsi_dask.batch.execution.run import run
from hsi_dask.batch.observer import Observer
from hsi_dask.batch.state.lock import Part
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.batch.state.scene import MOMENTS, identity, scene_background, whole_folder
from hsi_dask.batch.state.verify import verify
from hsi_dask.config import RunConfig
from hsi_dask.errors import ConfigError, RunError
from hsi_dask.io.scene import read_arrays, write_arrays
from hsi_dask.show.settings import Settings
from hsi_dask.synthetic import Site

Store = Callable[[Path], dict[str, bytes]]
RELATIVE = {"relative": True, "sam": (0.2, 0.5, 0.9), "ace": 0.6}


@pytest.fixture(scope="session")
def of_scene(config: RunConfig) -> RunConfig:
    """A run that asks for statistics of the scene, and then for ranges of scores made with them."""
    return config.replace(methods=("sam", "ace"), thresholds=RELATIVE)


@pytest.fixture(scope="session")
def whole(of_scene: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("scene") / "run"
    run(of_scene, run_dir)
    return run_dir


@pytest.fixture
def of_run() -> Callable[[Path], dict[str, bytes]]:
    """Every file of what a run computed of its scene and of its maps."""

    def read(run_dir: Path) -> dict[str, bytes]:
        stores = (run_dir / "results.zarr", run_dir / "scene.zarr")
        return {str(p.relative_to(run_dir)): p.read_bytes() for s in stores for p in s.rglob("*") if p.is_file()}

    return read


def test_statistics_are_those_of_all_pixels_together_to_ten_digits(
    whole: Path, of_scene: RunConfig, site: Site
) -> None:
    found = scene_background(whole, of_scene)
    cubes = [hsi.select_bands(hsi.open_neon(path, masked=False)) for path in site.paths]
    stored = np.concatenate([cube.values.reshape(-1, cube.shape[-1]) for cube in cubes])
    stored = stored[(stored != cubes[0].attrs["_FillValue"]).all(axis=1) & stored.any(axis=1)]
    pixels = stored * np.float64(cubes[0].attrs["scale_factor"])
    assert len(cubes) > 1
    assert found is not None
    assert found.pixels == len(pixels)
    np.testing.assert_allclose(found.mean, pixels.mean(axis=0), rtol=1e-10)
    expected = np.cov(pixels, rowvar=False)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(found.covariance / scale, expected / scale, atol=1e-10)


def test_relative_thresholds_are_fractions_of_the_range_over_all_tiles(whole: Path) -> None:
    maps = hsi.open_results(whole).load()
    for scores, classes, shares in (("sam_angle", "sam_class", [0.2, 0.5, 0.9]), ("ace_score", "ace_class", [0.6] * 3)):
        limits = hsi.threshold_classes(maps[scores], shares, relative=True)
        np.testing.assert_array_equal(maps[classes], limits)
        low, high = (getattr(maps[scores], end)(("y", "x")).values for end in ("min", "max"))
        span = (high - low) * shares
        told = maps[classes].attrs["thresholds"]
        np.testing.assert_allclose(told, low + span if scores == "sam_angle" else high - span, rtol=1e-6)
        variable = next(v for v in Run.open(whole).manifest.variables if v.name == classes)
        assert Settings(Run.open(whole)).threshold(variable) == list(told)
    assert {0, 1} < set(np.unique(maps.sam_class))


def test_relative_thresholds_need_nothing_of_methods_that_have_options(config: RunConfig, tmp_path: Path) -> None:
    run(config.replace(thresholds={"relative": True, "sam": 0.5}), tmp_path / "run")
    maps = hsi.open_results(tmp_path / "run").load()
    assert "abundance" in maps
    np.testing.assert_array_equal(maps.sam_class, hsi.threshold_classes(maps.sam_angle, 0.5, relative=True))


def test_masked_pixels_count_for_nothing(of_scene: RunConfig, tmp_path: Path, whole: Path) -> None:
    run(of_scene.replace(masks={"vegetation": 0.4}), tmp_path / "run")
    masked, plain = hsi.open_results(tmp_path / "run").load(), hsi.open_results(whole).load()
    assert masked.sam_angle.isnull().sum() > plain.sam_angle.isnull().sum()
    kept = masked.sam_angle.isel(endmember=0)
    span = float(kept.max() - kept.min())
    assert masked.sam_class.attrs["thresholds"][0] == pytest.approx(float(kept.min()) + 0.2 * span, rel=1e-6)


def test_a_run_killed_in_the_scene_stage_goes_on_to_the_same_bytes(
    of_scene: RunConfig, tmp_path: Path, spawn: Callable[[str], subprocess.Popen[str]], whole: Path, of_run: Store
) -> None:
    code = f"""
import os, time
from hsi_dask.batch.execution import scene
from hsi_dask.batch.execution.run import run
from hsi_dask.config import RunConfig
plain = scene.write_arrays
def telling(folder, *rest):
    time.sleep(0.05)
    plain(folder, *rest)
    print("wrote", folder, flush=True)
scene.write_arrays = telling
run(RunConfig(**{of_scene.model_dump()!r}), {str(tmp_path / "run")!r})
"""
    for folders in (1, 3, 2, 4):  # six tiles and the whole, twice
        process = spawn(code)
        assert process.stdout is not None
        for _ in range(folders):
            assert process.stdout.readline().startswith("wrote")
        time.sleep(0.03)
        process.kill()
        process.wait()
    summary = run(of_scene, tmp_path / "run")
    assert len(summary.done) + len(summary.skipped) == 6
    assert verify(tmp_path / "run") == []
    assert of_run(tmp_path / "run") == of_run(whole)


def test_parts_and_workers_give_the_same_bytes(
    of_scene: RunConfig, tmp_path: Path, whole: Path, of_run: Store, cluster: Any
) -> None:
    for number in (1, 2):
        run(of_scene, tmp_path / "parts", part=Part(number, 2))
    assert of_run(tmp_path / "parts") == of_run(whole)
    run(of_scene, tmp_path / "workers", client=cluster)
    assert of_run(tmp_path / "workers") == of_run(whole)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from distributed import Client, LocalCluster

    free = {"dashboard_address": "127.0.0.1:0"}
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, scheduler_kwargs=free) as cluster,
        Client(cluster) as client,
    ):
        yield client


def test_a_tile_that_cannot_be_read_is_left_out_and_named(of_scene: RunConfig, own_site: Path, tmp_path: Path) -> None:
    class Telling(Observer):
        def stage(self, name: str) -> None:
            if name == "scene":
                times, data = broken.stat(), broken.read_bytes()
                broken.write_bytes(data[:20_000] + bytes(len(data) - 20_000))
                os.utime(broken, ns=(times.st_atime_ns, times.st_mtime_ns))

        def message(self, text: str) -> None:
            said.append(text)

    said: list[str] = []
    broken = sorted(own_site.glob("*.h5"))[2]
    summary = run(of_scene.replace(tiles=[str(own_site)]), tmp_path / "run", observer=Telling())
    assert len(summary.failed) == 1
    assert len(summary.done) == 5
    assert any("is left out of the statistics" in text for text in said)
    assert any("is left out of the ranges of scores" in text for text in said)


def test_other_settings_do_not_take_what_was_kept(whole: Path, of_scene: RunConfig) -> None:
    folder = whole_folder(whole, MOMENTS)
    assert read_arrays(folder, identity(MOMENTS, of_scene)) is not None
    assert read_arrays(folder, identity(MOMENTS, of_scene.replace(bands={"drop_last": 3}))) is None


@pytest.mark.parametrize("harm", ["chunk", "metadata", "huge", "link"])
def test_damaged_statistics_are_made_anew_and_never_taken(
    harm: str, whole: Path, of_scene: RunConfig, tmp_path: Path, of_run: Store
) -> None:
    run_dir = Path(shutil.copytree(whole, tmp_path / "run"))
    folder = whole_folder(run_dir, MOMENTS)
    metadata = folder / "mean/zarr.json"
    if harm == "chunk":
        (folder / "mean/c/0").write_bytes(b"x" * 40)
    elif harm == "metadata":
        metadata.write_text(metadata.read_text().replace("blosc", "pickle"))
    elif harm == "huge":
        metadata.write_text(metadata.read_text().replace('"shape": [', '"shape": [9').replace("[\n    ", "[\n    9"))
    else:
        (folder / "mean/c/0").rename(tmp_path / "elsewhere")
        (folder / "mean/c/0").symlink_to(tmp_path / "elsewhere")
    assert read_arrays(folder, identity(MOMENTS, of_scene)) is None
    with pytest.raises(RunError, match="is damaged; run again to compute it anew"):
        scene_background(run_dir, of_scene)
    for record in (run_dir / "records").iterdir():
        record.unlink()
    run(of_scene, run_dir)
    assert of_run(run_dir) == of_run(whole)


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    arrays = {"n": np.array(3), "v": np.arange(4.0), "m": np.ones((2, 3), np.float32)}
    write_arrays(tmp_path / "x", arrays, {"of": [1, 2]})
    found = read_arrays(tmp_path / "x", {"of": (1, 2)})
    assert found is not None
    assert set(found) == set(arrays)
    for name, values in arrays.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("value", [1.2, (0.1, 0.2, 1.5)])
def test_a_fraction_of_a_range_is_at_most_one(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"thresholds\.sam is .*; with thresholds\.relative it must be in \(0, 1\]"):
        RunConfig(endmembers={"count": 3}, thresholds={"relative": True, "sam": value})


def test_relative_thresholds_are_another_run_and_absolute_ones_the_same_as_before() -> None:
    plain = RunConfig(thresholds={"sam": 0.1})
    assert plain.fingerprint() == RunConfig(thresholds={"sam": 0.1, "relative": False}).fingerprint()
    assert plain.fingerprint() != RunConfig(thresholds={"sam": 0.1, "relative": True}).fingerprint()
