"""Where tiles are looked for: trees as downloads leave them, patterns, lists. Oracle: the tree that was made."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from hsi_dask.batch.tiles.search import find_tiles, search_tiles
from hsi_dask.errors import ConfigError
from hsi_dask.synthetic import neon_wavelengths, simulate_scene, write_neon_tile

WAVELENGTH = neon_wavelengths(30, step=60.0)
DEEP = "DP3.30006.002/neon-aop-products/2022/FullSite/D02/2022_SERC_6/L3/Spectrometer/Reflectance"


@pytest.fixture(scope="module")
def tile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_neon_tile(tmp_path_factory.mktemp("tile"), simulate_scene((10, 12), wavelength=WAVELENGTH))


def tiles_in(folder: Path, tile: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"NEON_D02_SERC_DP3_{368000 + 1000 * n}_4306000_reflectance.h5" for n in range(count)]
    for path in paths:
        os.link(tile, path)
    return paths


def test_a_tree_as_downloads_leave_it_is_searched_in_depth(tile: Path, tmp_path: Path, write_envi) -> None:
    """200 tiles seven folders deep, with metadata, maps and other products beside."""
    paths = tiles_in(tmp_path / DEEP, tile, 200)
    other = tmp_path / "DP3.30006.002/neon-aop-products/2022/FullSite/D02/2022_SERC_6/L3/Spectrometer/Indices"
    other.mkdir()
    for n in range(100):
        (other / f"NEON_{n}.kml").write_text("<kml/>")
        (other / f"NEON_D02_SERC_DP3_{n}_VegIndices.tif").write_bytes(b"II*\0")
    for folder in (other, tmp_path / "r"):
        write_neon_tile(folder, simulate_scene((5, 5), wavelength=WAVELENGTH), revision="radiance")
    image = write_envi(tmp_path / "r" / "L1", np.ones((5, 6, 30), "i2"), WAVELENGTH)
    started = time.perf_counter()
    found = search_tiles([tmp_path])
    assert time.perf_counter() - started < 5
    assert found.paths == sorted([*paths, image])
    assert dict(found.aside) == {".h5": 2}


def test_links_are_followed_once_and_loops_end(tile: Path, tmp_path: Path) -> None:
    (one,) = tiles_in(tmp_path / "site/a", tile, 1)
    (tmp_path / "site/a/up").symlink_to(tmp_path / "site")
    (tmp_path / "site/b").symlink_to(tmp_path / "site/a")
    assert find_tiles([tmp_path / "site"]) == [one]


def test_run_directories_hidden_folders_and_their_stores_are_no_input(tile: Path, tmp_path: Path) -> None:
    (one,) = tiles_in(tmp_path / "site", tile, 1)
    tiles_in(tmp_path / "site/run", tile, 2)
    (tmp_path / "site/run/manifest.json").write_text("{}")
    tiles_in(tmp_path / "site/.trash", tile, 2)
    (tmp_path / "site/other.zarr").mkdir()
    assert find_tiles([tmp_path / "site"]) == [one]


def test_header_and_numbers_of_an_image_are_one_tile(tmp_path: Path, write_envi) -> None:
    header = write_envi(tmp_path / "L1.bil", np.ones((5, 6, 30), "i2"), WAVELENGTH)
    for given in ([tmp_path], [tmp_path / "L1.bil"], [header, tmp_path / "L1.bil"], [str(tmp_path / "*")]):
        assert find_tiles(given) == [header]


@pytest.mark.parametrize("end", ["txt", "csv"])
def test_a_list_names_tiles_folders_and_patterns(tile: Path, tmp_path: Path, end: str) -> None:
    paths = tiles_in(tmp_path / "site", tile, 3) + tiles_in(tmp_path / "more", tile, 2)
    names = ["site/*368*.h5", str(paths[1]), "more"]
    lines = ["# mine", "", *names] if end == "txt" else ["id,path", *(f"{n},{p}" for n, p in enumerate(names))]
    listed = tmp_path / f"tiles.{end}"
    listed.write_text("\n".join([*lines, ""]), encoding="utf-8-sig")
    expected = sorted({paths[1], *(p for p in paths if p.parent.name == "more" or "368" in p.name)})
    assert find_tiles([listed]) == expected


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"nothing.h5\n", r"names 'nothing\.h5' as number 1, which does not exist"),
        (b"\n# only words\n", "is empty; write one path a line"),
        (b"\xff\xfe\x00", "it is not UTF-8 text"),
    ],
)
def test_a_list_that_leads_nowhere_is_told(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "tiles.txt").write_bytes(content)
    with pytest.raises(ConfigError, match=sentence):
        find_tiles([tmp_path / "tiles.txt"])


def test_lists_that_are_no_files_or_have_endless_cells_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "long.csv").write_text(f"path\n{'x' * 200_000}\n")
    for name, sentence in {"pipe.txt": "is no regular file but a pipe", "long.csv": "field larger than"}.items():
        with pytest.raises(ConfigError, match=f"cannot read the list of tiles .*{name}: .*{sentence}"):
            find_tiles([tmp_path / name])


def test_a_folder_without_tiles_says_what_it_holds(tmp_path: Path) -> None:
    write_neon_tile(tmp_path / "r.h5", simulate_scene((5, 5), wavelength=WAVELENGTH), revision="radiance")
    sentence = r"holds no tile that a reader knows \(\.h5, \.hdr, .*; 1 file of other products"
    with pytest.raises(ConfigError, match=sentence):
        find_tiles([tmp_path])


def test_a_name_of_bytes_that_are_no_text_is_refused_before_anything_is_read(tile: Path, tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/lat\xfcn"))
    tiles_in(folder, tile, 1)
    with pytest.raises(ConfigError, match=r"is no text in utf-8, the encoding of file names here; rename it"):
        find_tiles([folder])


def test_mutated_lists_of_tiles_are_read_or_one_sentence(fuzz, tmp_path):
    """What a list names is only looked for in its own folder here: patterns and paths from the root are taken out."""
    (tmp_path / "site").mkdir()
    for name in ("a.h5", "b c.h5", "Straße.h5"):
        (tmp_path / "site" / name).write_bytes(b"\x89HDF\r\n\x1a\n")
    names = "\n".join(["# tiles", "../site/a.h5", "../site/b c.h5", "", "../site/Straße.h5", "../site/*.h5"])
    table = 'tile,path,year\n1,../site/a.h5,2022\n2,"../site/b c.h5",2021\n'

    def look(path):
        text = path.read_bytes().decode(errors="replace")
        if not any(word in text for word in ("/..", "**", "\n/", "~", ",/", '"/', " /")):
            assert all(found.is_relative_to(tmp_path) for found in find_tiles([path]))

    forms = {"list": {"l.txt": names.encode()}, "table": {"l.csv": table.encode()}}
    assert set(fuzz(forms, look, few=100)) == {"read", "refused"}
