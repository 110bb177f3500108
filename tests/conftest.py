"""Fixtures of all tests: the real data, and a small site of six tiles of both chunk layouts, 40 x 40 pixels."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
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


@pytest.fixture(scope="session")
def write_envi() -> Callable[..., Path]:
    """Writes numbers (y, x, band) as an ENVI image; fields replace those of the header, None leaves one out."""

    def write(path, values, wavelength, /, *, interleave="bil", big=False, offset=0, corner=(368000, 4306000), **new):
        axes = {"bsq": (2, 0, 1), "bil": (0, 2, 1), "bip": (0, 1, 2)}.get(interleave.lower(), (0, 2, 1))
        types = {"u1": 1, "i2": 2, "i4": 3, "f4": 4, "f8": 5, "u2": 12, "u4": 13, "i8": 14, "u8": 15}
        stored = np.ascontiguousarray(values.transpose(axes)).astype(values.dtype.newbyteorder(">" if big else "<"))
        path.write_bytes(b"\0" * offset + stored.tobytes())
        rows, columns, bands = values.shape
        header = {
            "samples": columns, "lines": rows, "bands": bands, "header offset": offset, "file type": "ENVI Standard",
            "data type": types[values.dtype.newbyteorder("=").str[1:]], "interleave": interleave,
            "byte order": int(big), "reflectance scale factor": 10000 if values.dtype.kind in "iu" else 1,
            "data ignore value": -9999,
            "map info": f"{{UTM, 1, 1, {corner[0]}, {corner[1] + rows}, 1, 1, 18, North, WGS-84, units=Meters}}",
            "wavelength units": "Nanometers", "wavelength": "{" + ", ".join(map(str, wavelength)) + "}",
        }  # fmt: skip
        header |= {name.replace("_", " "): value for name, value in new.items()}
        lines = ["ENVI", *(f"{name} = {value}" for name, value in header.items() if value is not None), ""]
        path.with_suffix(".hdr").write_text("\n".join(lines))
        return path.with_suffix(".hdr")

    return write
