"""The registry: who reads what, readers of other packages, and broken ones, which harm nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hsi_dask as hsi
from hsi_dask.errors import FileFormatError
from hsi_dask.io import readers
from hsi_dask.io.readers import Reader, known_readers, read_source, recognised
from hsi_dask.synthetic import neon_wavelengths, simulate_scene, write_neon_tile

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "tests" / "plugins" / "npz_reader"
WAVELENGTH = neon_wavelengths(40, step=50.0)


@pytest.fixture(scope="module")
def scene():
    return simulate_scene((30, 40), wavelength=WAVELENGTH, seed=1)


@pytest.fixture
def tile(scene, tmp_path: Path) -> Path:
    return write_neon_tile(tmp_path, scene)


def installed(folder: Path, package: str, entries: dict[str, str]) -> Path:
    """The metadata of an installed package with readers, in a folder for PYTHONPATH."""
    home = folder / f"{package}-1.0.dist-info"
    home.mkdir(parents=True)
    (home / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {target}" for name, target in entries.items()]
    (home / "entry_points.txt").write_text("\n".join(["[hsi_dask.readers]", *lines, ""]))
    return folder


def elsewhere(*folders: Path, code: str = "", words: tuple[object, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Python code or a command line in a process that has these folders of packages."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *map(str, folders)])}
    command = [sys.executable, "-c", code] if code else [sys.executable, "-m", "hsi_dask", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=False)


@pytest.fixture
def npz(scene, tmp_path: Path) -> Path:
    west, south = scene.origin
    numbers = scene.reflectance()
    np.savez(tmp_path / "line.npz", cube=numbers / np.float32(1e4), wavelength=WAVELENGTH, corner=(west, south + 30))
    return tmp_path / "line.npz"


# ------------------------------------------------------------------------------------------------ the registry


def test_the_built_in_readers_are_known_and_none_is_special() -> None:
    assert [reader.name for reader in known_readers()][:3] == ["neon", "envi", "grid"]
    assert {".h5", ".hdr", ".nc", ".zarr"} <= set(readers.suffixes())


def test_a_file_is_found_by_looking_whatever_it_is_called(tile: Path, scene, write_envi, tmp_path: Path) -> None:
    other = tile.rename(tile.with_name("tile.hdf5"))
    assert read_source(other).reader == "neon"
    header = write_envi(tmp_path / "image", scene.reflectance(), WAVELENGTH)
    for path in (header, tmp_path / "image"):
        reader = recognised(str(path))
        assert reader is not None
        assert reader.name == "envi"
    np.testing.assert_array_equal(hsi.open_cube(other, masked=False), hsi.open_cube(header, masked=False))


def test_a_file_says_who_read_it_and_its_identity(tile: Path) -> None:
    source = read_source(tile)
    status = tile.stat()
    assert (source.reader, source.file_size, source.mtime_ns) == ("neon", status.st_size, status.st_mtime_ns)
    assert readers.identity(str(tile)) == (status.st_size, status.st_mtime_ns)
    with pytest.raises(FileNotFoundError):
        readers.identity(str(tile) + "x")


def test_what_no_reader_knows_is_told_what_is_known(tmp_path: Path) -> None:
    (tmp_path / "letter.docx").write_text("Dear")
    with pytest.raises(FileFormatError, match=r"of no format that is known \(NEON AOP .* \(\.h5\); ENVI"):
        read_source(tmp_path / "letter.docx")
    with pytest.raises(FileFormatError, match="does not exist"):
        read_source(tmp_path / "nothing.h5")
    (tmp_path / "page.h5").write_text("<html>")
    with pytest.raises(FileFormatError, match="is a web page"):
        read_source(tmp_path / "page.h5")


@pytest.mark.parametrize("keep", [True, False])
def test_a_reader_that_fails_is_named(tile: Path, monkeypatch: pytest.MonkeyPatch, keep: bool) -> None:
    def read(path: str) -> object:
        if keep:
            raise ZeroDivisionError("oh")
        return {"cube": 1}

    broken = Reader("mine", "mine", (".h5",), lambda path: True, read)  # type: ignore[arg-type]
    monkeypatch.setattr(readers, "known_readers", lambda: (broken,))
    sentence = r"cannot be read by the reader 'mine' \(ZeroDivisionError" if keep else "'mine' gives no TileSource"
    with pytest.raises(FileFormatError, match=sentence):
        read_source(tile)


def test_a_reader_that_fails_to_look_does_not_keep_others_from_looking(
    tile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(path: str) -> bool:
        raise ZeroDivisionError("oh")

    broken = Reader("mine", "mine", (".h5",), look, lambda path: pytest.fail("read"))  # type: ignore[arg-type, return-value]
    every = (broken, *known_readers())
    monkeypatch.setattr(readers, "known_readers", lambda: every)
    assert read_source(tile).reader == "neon"


def test_opening_says_what_open_neon_says(tile: Path) -> None:
    assert hsi.open_cube(tile).identical(hsi.open_neon(tile))
    assert hsi.open_cube(tile, masked=False, chunks=None).identical(hsi.open_neon(tile, masked=False, chunks=None))


# ------------------------------------------------------------------------------------------------ other packages


def test_a_reader_of_another_package_is_found_by_its_entry_point(npz: Path, scene, tmp_path: Path) -> None:
    """Opened, shown, and found in a folder, without a change here."""
    packages = installed(tmp_path / "packages", "npz-reader", {"npz": "npz_reader:READER"})
    code = f"""
import hsi_dask as hsi, json, numpy as np
from hsi_dask.batch.tiles.search import find_tiles
cube = hsi.open_cube({str(npz)!r})
found = [path.name for path in find_tiles([{str(npz.parent)!r}])]
print(json.dumps([list(cube.shape), float(cube[3, 4, 5]), cube.rio.crs.to_epsg(), float(cube.y[0]), found]))
"""
    done = elsewhere(packages, PLUGIN, code=code)
    assert done.returncode == 0, done.stderr
    shape, value, epsg, y, found = json.loads(done.stdout)
    assert (shape, epsg, y, found) == ([30, 40, 40], 32618, 4306029.5, ["line.npz"])
    assert value == pytest.approx(scene.reflectance()[3, 4, 5] / 1e4)
    shown = elsewhere(packages, PLUGIN, words=("info", npz))
    assert shown.returncode == 0, shown.stderr
    assert "cubes in .npz files" in shown.stdout
    assert "30 x 40 (y, x) of 1 m" in shown.stdout


def test_a_broken_package_is_named_in_one_sentence_and_breaks_nothing_else(
    tile: Path, npz: Path, tmp_path: Path
) -> None:
    entries = {"bad": "no_such_module:READER", "worse": "json:dumps", "npz": "npz_reader:READER"}
    packages = installed(tmp_path / "packages", "npz-reader", entries)
    for path in (tile, npz):
        done = elsewhere(packages, PLUGIN, words=("info", path))
        assert done.returncode == 0, done.stderr
        lines = [line for line in done.stderr.splitlines() if "cannot be used" in line]
        assert [name in line for name, line in zip(("'bad'", "'worse'"), lines, strict=True)] == [True, True]
        assert "package 'npz-reader' cannot be used (ModuleNotFoundError: No module named 'no_such_module')" in lines[0]
        assert "it is a function, not a Reader" in lines[1]


def test_nothing_is_loaded_before_it_is_needed(tmp_path: Path) -> None:
    packages = installed(tmp_path / "packages", "npz-reader", {"bad": "no_such_module:READER"})
    done = elsewhere(packages, words=("--help",))
    assert (done.returncode, done.stderr) == (0, "")
