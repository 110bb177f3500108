"""Methods and a reader of other packages through everything that the package does, without a change of it."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from hsi_dask.synthetic import neon_wavelengths, simulate_scene

ROOT = Path(__file__).parents[1]
TOYS = ROOT / "tests" / "plugins" / "toy_methods"
NPZ = ROOT / "tests" / "plugins" / "npz_reader"
WAVELENGTH = neon_wavelengths(80, step=25.0)
METHODS = {"cosine": "toy_methods:COSINE", "nearest": "toy_methods:NEAREST", "broken": "toy_methods:NOTHING"}


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which two packages are installed, as far as Python's metadata tell."""
    home = tmp_path_factory.mktemp("packages")
    groups = {
        "toy-methods": ("hsi_dask.methods", METHODS),
        "npz-reader": ("hsi_dask.readers", {"npz": "npz_reader:READER"}),
    }
    for package, (group, entries) in groups.items():
        folder = home / f"{package.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"[{group}]", *(f"{name} = {target}" for name, target in entries.items()), ""]
        (folder / "entry_points.txt").write_text("\n".join(lines))
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, home, TOYS, NPZ)))}


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two neighbouring cubes in .npz files."""
    folder = tmp_path_factory.mktemp("tiles")
    whole = simulate_scene((60, 120), wavelength=WAVELENGTH, seed=4, illumination=None, origin=(368040, 4306020))
    for number, scene in enumerate(whole.tiles(60)):
        west, south = scene.origin
        cube = scene.reflectance() / np.float32(1e4)
        np.savez(folder / f"{number}.npz", cube=cube, wavelength=WAVELENGTH, corner=(west, south + 60))
    return folder


@pytest.fixture(scope="module")
def call(plugins: dict[str, str]):
    def run(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hsi_dask", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, env=plugins, timeout=300, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def run_dir(tiles: Path, call, plugins: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed before its second tile, and repeated."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "run.yaml").write_text(
        f"tiles: [{tiles}]\nmethods: [cosine, nearest]\nthresholds: {{cosine: 0.9}}\n"
        "options: {nearest: {power: 3}}\nendmembers: {count: 3, sample: 1000}\n"
    )
    assert (
        "cosine_score, cosine_class, nearest_fraction"
        in call("run", "--config", folder / "run.yaml", "--out", folder / "run", "--dry-run").stdout
    )
    slow = textwrap.dedent(f"""
        import time
        from hsi_dask.batch.state.run_directory import Run
        commit = Run.commit
        def held(self, record):
            commit(self, record)
            time.sleep(600)
        Run.commit = held
        from hsi_dask import cli
        cli.main(["run", "--config", {str(folder / "run.yaml")!r}, "--out", {str(folder / "run")!r}])
    """)
    with subprocess.Popen([sys.executable, "-c", slow], env=plugins, stderr=subprocess.PIPE) as process:
        end = time.monotonic() + 120
        while not list((folder / "run/records").glob("*.json")) and time.monotonic() < end:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    assert len(list((folder / "run/records").glob("*.json"))) == 1
    done = call("run", "--out", folder / "run")
    assert "2 of 2 tiles done (1 before)" in done.stdout
    return folder / "run"


def test_they_are_configured_run_killed_resumed_and_verified(run_dir: Path, call) -> None:
    assert "all as recorded" in call("verify", run_dir).stdout
    assert len(json.loads(call("status", run_dir, "--json").stdout)["done"]) == 2
    manifest = json.loads((run_dir / "manifest.json").read_text())
    told = {variable["name"]: (variable["role"], variable["better"]) for variable in manifest["variables"]}
    assert told["cosine_score"] == ("score", "high")
    assert told["nearest_std"] == ("uncertainty", None)


def test_their_parameters_are_in_the_commented_configuration(call) -> None:
    text = call("config").stdout
    assert "# cosine below which a pixel is of no endmember (null, one number above 0 and up to 1" in text
    assert "  nearest:\n    # not used (a whole number)\n    power: 2" in text


def test_larger_is_better_where_it_says_so(run_dir: Path, plugins: dict[str, str]) -> None:
    code = f"""
        import numpy as np, hsi_dask as hsi
        maps = hsi.open_results({str(run_dir)!r}).load()
        best = np.where(maps.cosine_score.max("endmember") >= 0.9, maps.cosine_score.argmax("endmember") + 1, 0)
        good = maps.quality.values == 0
        assert (maps.cosine_class.values[good] == best[good]).all()
        assert (maps.nearest_fraction.sum("endmember").values[good] == 1).all()
        again = hsi.threshold_classes(maps.cosine_score, 0.9)
        assert (again.values[good] == best[good]).all()
        print(maps.cosine_class.attrs["flag_meanings"])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=plugins, check=False
    )
    assert done.stdout.strip() == "unclassified endmember_1 endmember_2 endmember_3", done.stderr


def test_what_they_made_is_reported_exported_and_viewed(
    run_dir: Path, plugins: dict[str, str], call, tmp_path: Path
) -> None:
    call("report", run_dir)
    call("export", run_dir, "--out", tmp_path / "gis")
    page = (run_dir / "report.html").read_text(encoding="utf-8")
    assert "cosine of the spectral angle" in page
    assert "whether it is the nearest" in page.lower()
    made = {path.name for path in (tmp_path / "gis").glob("*.tif")}
    assert made == {f"{n}.tif" for n in ("cosine_score", "cosine_class", "nearest_fraction", "nearest_std",
                                         "nearest_class", "quality")}  # fmt: skip
    code = f"""
        from hsi_dask.show.canvas import Canvas
        from hsi_dask.show.layers import CHOSEN
        canvas = Canvas({str(run_dir)!r})
        for layer in canvas.layers.values():
            if layer.picture in CHOSEN:
                continue  # its wavelengths are read from tiles
            assert canvas.paint(layer, canvas.bounds).rgba.size
        shown = {{layer.variable for layer in canvas.layers.values()}}
        print({{"cosine_class", "cosine_score", "nearest_class", "nearest_fraction", "nearest_std"}} - shown)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=plugins, check=False
    )
    assert done.stdout.strip() == "set()", done.stderr


def test_a_broken_one_is_named_and_harms_nothing(tiles: Path, call, tmp_path: Path) -> None:
    done = call("run", tiles, "--out", tmp_path / "run", "--method", "broken", code=2)
    assert "the plug-in 'broken' of toy-methods cannot be used (AttributeError: " in done.stderr
    assert "update or uninstall toy-methods" in done.stderr
