"""Fixtures of all tests: the real data, and a small site of six tiles of both chunk layouts, 40 x 40 pixels."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hsi_dask.batch.execution.run import run
from hsi_dask.config import RunConfig
from hsi_dask.synthetic import Site, neon_wavelengths, simulate_site

WAVELENGTH = neon_wavelengths(100, step=20.0)
SETTINGS = {"endmembers": {"count": 3, "sample": 600, "restarts": 2}, "thresholds": {"sam": 0.3}}


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    return simulate_site(folder, tiles=(2, 3), size=40, wavelength=WAVELENGTH, no_data=0.1)


@pytest.fixture(scope="session")
def config(site: Site) -> RunConfig:
    return RunConfig(tiles=[str(site.folder)], **SETTINGS)


@pytest.fixture(scope="session")
def undisturbed(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of an embedded run that nothing disturbed."""
    run_dir = tmp_path_factory.mktemp("undisturbed") / "run"
    run(config, run_dir)
    return run_dir


@pytest.fixture
def done_run(undisturbed: Path, tmp_path: Path) -> Path:
    """A finished run to spoil."""
    return Path(shutil.copytree(undisturbed, tmp_path / "run"))


@pytest.fixture
def own_site(site: Site, tmp_path: Path) -> Path:
    """The site's files, with their times, in a folder to spoil."""
    folder = tmp_path / "site"
    folder.mkdir()
    for path in site.paths:
        shutil.copy2(path, folder)
    return folder


@pytest.fixture
def store_of() -> Callable[[Path], dict[str, bytes]]:
    """Every file of the two stores of a run, by name."""

    def read(run_dir: Path) -> dict[str, bytes]:
        stores = (run_dir / "results.zarr", run_dir / "endmembers.zarr")
        return {str(p.relative_to(run_dir)): p.read_bytes() for s in stores for p in s.rglob("*") if p.is_file()}

    return read


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """A Python process of its own that runs this code, in a folder of its own; ended with the test."""
    started = []

    def start(code: str) -> subprocess.Popen[str]:
        script = tmp_path / f"spawned{len(started)}.py"
        script.write_text(textwrap.dedent(code))
        process = subprocess.Popen(
            [sys.executable, str(script)],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def real_data():
    """The folder of real data, which is not part of the project; its tests skip where it is not there."""
    beside = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
    folder = Path(os.environ.get("HSI_DASK_TEST_DATA") or beside).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; set HSI_DASK_TEST_DATA to the folder that holds them")
    return folder
