"""A run that hsi_dask 0.1 wrote, of two simulated tiles: everything that reads it still does."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

import hsi_dask as hsi

STORED = Path(__file__).parents[1] / "data" / "run-of-format-2.tar.xz"
# What the version that wrote it summed up, missing values left out
SUMS = {
    "abundance": 1118.0, "quality": 132.0, "residual": 27.681590, "sam_angle": 2122.736210, "sam_class": 34582.0,
    "sid_class": 36532.0, "sid_divergence": 4434.328841,
}  # fmt: skip


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    with tarfile.open(STORED) as archive:
        archive.extractall(tmp_path / "run", filter="data")
    return tmp_path / "run"


def command(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "hsi_dask", *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_its_maps_are_read_as_they_were_written(old_run: Path) -> None:
    maps = hsi.open_results(old_run).load()
    assert maps.rio.crs.to_epsg() == 32618
    found = {name: float(np.nansum(values.values.astype(float))) for name, values in maps.data_vars.items()}
    assert found == pytest.approx(SUMS, rel=1e-7)
    assert hsi.threshold_classes(maps.sam_angle, 0.1).equals(maps.sam_class)


def test_it_is_verified_reported_and_exported_without_its_tiles(old_run: Path, tmp_path: Path) -> None:
    assert "2 of 2 tiles done" in command("status", old_run).stdout
    assert "all as recorded" in command("verify", old_run).stdout
    command("report", old_run)
    assert "SAM classes" in (old_run / "report.html").read_text(encoding="utf-8")
    command("export", old_run, "--out", tmp_path / "gis")
    names = {path.stem for path in (tmp_path / "gis").glob("*.tif")}
    assert names == set(SUMS)


def test_it_is_not_gone_on_with(old_run: Path) -> None:
    done = command("run", "--out", old_run, code=2)
    assert "format 2" in done.stderr
