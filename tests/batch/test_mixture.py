"""Tiles that are mixed are refused by number and kind; what is left out of one is left out of all."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import hsi_dask as hsi
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.batch.tiles.common_bands import with_common_windows
from hsi_dask.batch.tiles.mixture import contents_of, require_unmixed, words
from hsi_dask.batch.tiles.planning import make_plan
from hsi_dask.batch.tiles.provenance import checksums_of
from hsi_dask.batch.tiles.search import find_tiles
from hsi_dask.config import RunConfig
from hsi_dask.errors import ConfigError
from hsi_dask.io.readers import read_source
from hsi_dask.io.tile_source import TileSource
from hsi_dask.synthetic import simulate_scene, write_neon_tile


def write(folder: Path, number: int = 0, **options) -> Path:
    scene = simulate_scene((20, 20), origin=(368000 + 20 * number, 4306000), seed=number)
    return write_neon_tile(folder, scene, **options)


@pytest.fixture
def three(tmp_path: Path) -> list[TileSource]:
    return [read_source(write(tmp_path, n)) for n in range(3)]


def test_products_of_one_site_are_not_mixed_unless_asked_for(tmp_path: Path) -> None:
    paths = [write(tmp_path, 0), write(tmp_path, 1), write(tmp_path, 2, revision="DP3.002")]
    sentence = r"mix products \(2 of DP3.30006.001, 1 of DP3.30006.002\), whose .*\(mix: true .*--mix\)"
    with pytest.raises(ConfigError, match=sentence):
        make_plan(paths, RunConfig())
    with pytest.raises(ConfigError, match=sentence):
        hsi.open_mosaic(paths)
    plan = make_plan(paths, RunConfig(mix=True))
    assert len(plan.tiles) == 3
    assert plan.contents["product"] == {"DP3.30006.001": 2, "DP3.30006.002": 1}
    assert hsi.open_mosaic(paths, mix=True).sizes["x"] == 60
    assert RunConfig(mix=True).fingerprint() == RunConfig().fingerprint(), "it does not change a tile's numbers"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"site": "HARV"}, r"mix sites \(1 of HARV, 2 of SERC\)"),
        ({"dates": ("2019-07-01",)}, r"mix years \(.*1 of 2019, 2 of 2022"),
        ({"dates": (), "visit": "2017_SERC_3"}, r"mix years \(.*1 of 2017, 2 of 2022"),
        ({"site": "HARV", "product": "DP3.30006.002", "dates": ()}, "mix products and sites"),
    ],
)
def test_sites_and_years_are_not_mixed_either(three: list[TileSource], change: dict, sentence: str) -> None:
    files = [replace(file, dates=("2022-06-23", "2022-06-24")) for file in three]
    require_unmixed(files)
    with pytest.raises(ConfigError, match=sentence):
        require_unmixed([*files[:2], replace(files[2], **change)])


def test_what_files_do_not_tell_mixes_nothing(three: list[TileSource]) -> None:
    silent = replace(three[2], site="", product="unknown", dates=(), visit="")
    require_unmixed([*three[:2], silent])
    assert words(contents_of([silent])) == ""
    assert words(contents_of(three)) == "product DP3.30006.001; site SERC"


def test_a_visit_is_told_by_the_folders_of_a_download(tmp_path: Path) -> None:
    path = write(tmp_path / "DP3.30006.001/2019/FullSite/D02/2019_SERC_4/L3")
    source = read_source(path)
    assert (source.visit, source.dates, source.years) == ("2019_SERC_4", (), ("2019",))


def test_a_year_or_a_visit_is_chosen_from_a_tree_of_several(tmp_path: Path) -> None:
    for number, visit in enumerate(("2019_SERC_4", "2022_SERC_6", "2022_SERC_7")):
        write(tmp_path / "DP3.30006.001" / visit[:4] / "FullSite/D02" / visit / "L3", number)
    paths = find_tiles([tmp_path])
    with pytest.raises(ConfigError, match=r"mix years and visits \(1 of 2019, 2 of 2022; 1 of 2019_SERC_4.*--visit\)"):
        make_plan(paths, RunConfig())
    with pytest.raises(ConfigError, match=r"mix visits \(1 of 2022_SERC_6, 1 of 2022_SERC_7\)"):
        make_plan(paths, RunConfig(year=2022))
    assert [Path(tile.path).parts[-3] for tile in make_plan(paths, RunConfig(year=2019)).tiles] == ["2019_SERC_4"]
    plan = make_plan(paths, RunConfig(visit="2022_SERC_7"))
    assert [Path(tile.path).parts[-3] for tile in plan.tiles] == ["2022_SERC_7"]
    assert words(plan.contents) == "product DP3.30006.001; site SERC; year 2022"
    with pytest.raises(
        ConfigError, match=r"none of the 3 tiles is of year 2021 \(years: 2019, 2022; visits: 2019_SERC_4"
    ):
        make_plan(paths, RunConfig(year=2021))
    torn = next(path for path in paths if "2019_SERC_4" in str(path))
    torn.write_bytes(torn.read_bytes()[:3000])
    assert make_plan(paths, RunConfig(visit="2022_SERC_7")).bad == ()
    assert len(make_plan(paths, RunConfig(mix=True)).bad) == 1


# ------------------------------------------------------------------------------------------------ windows


def widen(path: Path, window: tuple[int, int]) -> Path:
    with h5py.File(path, "r+") as file:
        file["SERC/Reflectance"].attrs["Band_Window_1_Nanometers"] = np.array(window, "i4")
    return path


def test_what_one_file_leaves_out_is_left_out_of_all(tmp_path: Path) -> None:
    paths = [write(tmp_path, 0), widen(write(tmp_path, 1), (1340, 1460)), widen(write(tmp_path, 2), (1330, 1445))]
    plan = make_plan(paths, RunConfig())
    kept = [hsi.select_bands(hsi.open_neon(path), windows=plan.config.bands.windows) for path in paths]
    inside = [not (1330 <= w <= 1460 or 1790 <= w <= 1955) for w in hsi.open_neon(paths[0]).wavelength.values]
    for cube in kept:
        np.testing.assert_array_equal(cube.wavelength, hsi.open_neon(paths[0]).wavelength[np.array(inside)][:-10])
    (note,) = plan.notes
    assert "what any of them leaves out (" in note
    assert "takes some from 3 of 3 tiles" in note
    summary = hsi.run(RunConfig(tiles=[str(tmp_path)], endmembers={"count": 3, "sample": 200}), tmp_path / "run")
    assert (len(summary.done), summary.failed) == (3, {})
    again = hsi.run(RunConfig(tiles=[str(tmp_path)], endmembers={"count": 3, "sample": 200}), tmp_path / "run")
    assert again.done == (), "repeated, the same windows are chosen"


def test_windows_that_agree_or_are_given_are_left_as_they_are(three: list[TileSource]) -> None:
    assert with_common_windows(three, RunConfig()) == (RunConfig(), ())
    other = replace(three[0], windows=((500.0, 600.0),))
    given = RunConfig(bands={"windows": [[1000, 1100]]})
    assert with_common_windows([*three, other], given) == (given, ())


def test_windows_beside_those_of_the_files_are_left_out_with_them(three: list[TileSource], tmp_path: Path) -> None:
    config, notes = with_common_windows(three, RunConfig(bands={"windows": ["file", [350, 400]]}))
    cube = hsi.open_neon(three[0].path)
    own = cube.good_wavelength.values & (cube.wavelength.values > 400)
    kept = hsi.select_bands(cube, windows=config.bands.pairs, drop_last=0)
    np.testing.assert_array_equal(kept.wavelength, cube.wavelength[own])
    assert notes == ()
    paths = [write(tmp_path, 0), widen(write(tmp_path, 1), (1340, 1460))]
    config = make_plan(paths, RunConfig(bands={"windows": ["file", [350, 400]]})).config
    wavelength = hsi.select_bands(cube, windows=config.bands.pairs).wavelength.values
    assert wavelength.min() > 400
    assert not ((wavelength >= 1340) & (wavelength <= 1460)).any()


# ------------------------------------------------------------------------------------------------ far away


@pytest.mark.parametrize("far", ["1e7", "1e8", "1e10"])
def test_a_tile_that_lies_impossibly_far_is_put_aside(tmp_path: Path, far: str) -> None:
    paths = [write(tmp_path, n) for n in range(3)]
    with h5py.File(paths[0], "r+") as file:
        system = file["SERC/Reflectance/Metadata/Coordinate_System"]
        del system["Map_Info"]
        system["Map_Info"] = f"UTM, 1, 1, {far}, 4306020, 1, 1, 18, North, WGS-84"
    plan = make_plan(paths, RunConfig())
    assert (len(plan.tiles), plan.grid.shape) == (2, (20, 40))
    (aside,) = plan.bad
    assert "too far for one mosaic" in aside.reason
    assert aside.id == f"{float(far):.0f}_4306000"


def listing(folder: Path, **more) -> None:
    values = {"product": "DP3.30006.001", "site": "SERC", "flown_as": "SERC", "files": {}}
    values |= {
        "releases": ["RELEASE-2026"],
        "citation": "NEON. Reflectance, RELEASE-2026, https://doi.org/10.0/x",
        **more,
    }
    (folder / "neon-download.json").write_text(json.dumps(values | more))


def test_release_and_citation_come_from_what_a_download_leaves(tmp_path: Path) -> None:
    known, unknown = write(tmp_path / "known", 0), write(tmp_path / "unknown", 1)
    listing(tmp_path / "known")
    provisional = write(tmp_path / "neon-aop-provisional-products" / "2022", 2)
    sources = make_plan([known, unknown, provisional], RunConfig()).sources
    assert [(one.release, one.tiles) for one in sources] == [("", 1), ("PROVISIONAL", 1), ("RELEASE-2026", 1)]
    assert sources[2].citation.endswith("https://doi.org/10.0/x")
    assert make_plan([unknown], RunConfig()).sources == ()
    assert read_source(known).cube().attrs["release"] == "RELEASE-2026"


@pytest.mark.parametrize("damage", ["{", '{"releases": "all"}', '{"citation": 5}', "[]"])
def test_a_damaged_listing_tells_nothing(tmp_path: Path, damage: str) -> None:
    path = write(tmp_path)
    (tmp_path / "neon-download.json").write_text(damage)
    assert (read_source(path).release, read_source(path).citation) == ("", "")


def test_what_a_listing_says_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    path = write(tmp_path / "tiles")
    listing(tmp_path / "tiles", citation="<script>alert(1)</script>\x1b[31m")
    hsi.run(RunConfig(tiles=[str(path)], endmembers={"count": 2, "sample": 200}), tmp_path / "run")
    page = hsi.report(tmp_path / "run").read_text(encoding="utf-8")
    assert "How to cite the data" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[31m, RELEASE-2026." in page
    assert "<script>alert" not in page


def test_checksums_of_inputs_are_kept_if_asked_for(tmp_path: Path) -> None:
    paths = [write(tmp_path / "tiles", n) for n in range(2)]
    settings = {"tiles": [str(tmp_path / "tiles")], "endmembers": {"count": 2, "sample": 200}}
    hsi.run(RunConfig(**settings), tmp_path / "without")
    assert not Run.open(tmp_path / "without").manifest.checksums
    assert "checksums" not in json.loads((tmp_path / "without" / "manifest.json").read_text())
    hsi.run(RunConfig(checksums=True, **settings), tmp_path / "run")
    expected = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    assert Run.open(tmp_path / "run").manifest.checksums == expected
    assert "sha256 of all 2 input files" in hsi.report(tmp_path / "run").read_text(encoding="utf-8")
    assert len(hsi.run(RunConfig(**settings), tmp_path / "run").skipped) == 2, "it is no setting of the numbers"


def test_progress_of_checksums_counts_bytes(tmp_path: Path) -> None:
    for n, size in enumerate((3, 9_000_000, 0)):
        (tmp_path / f"{n}.h5").write_bytes(b"x" * size)
    shares: list[float] = []
    found = checksums_of([str(tmp_path / f"{n}.h5") for n in range(3)], shares.append)
    assert len(found) == 3
    assert shares == sorted(shares)
    assert shares[0] > 0
    assert shares[-1] == 1.0


def test_a_tile_of_several_files_has_several_checksums(tmp_path: Path, write_envi) -> None:
    header = write_envi(tmp_path / "cube.img", np.full((4, 5, 3), 1000, "i2"), [500.0, 600.0, 700.0])
    assert set(checksums_of([str(header)])) == {str(header), str(tmp_path / "cube.img")}
