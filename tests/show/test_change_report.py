"""The files of a comparison against `hsi.compare`, by readers that are not ours; the page as a browser shows it."""

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

import hsi_dask as hsi
from hsi_dask.batch.state.naming import name_endmembers
from hsi_dask.cli import main
from hsi_dask.errors import RunError
from hsi_dask.io import levels
from hsi_dask.show.change_report import export_changes
from hsi_dask.synthetic import neon_wavelengths, simulate_site

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two years of 1 x 2 tiles of 80 pixels; the second is seeded otherwise, so that half of it changes."""
    folder = tmp_path_factory.mktemp("pair")
    grid, settings = neon_wavelengths(100, step=20.0), {"thresholds": {"sam": 0.2}, "options": {"fcls": {"std": True}}}
    for year, seed in (("2019", 0), ("2022", 1)):
        simulate_site(folder / year, tiles=(1, 2), size=80, wavelength=grid, seed=seed, no_data=0.1)
    found = {"count": 3, "sample": 800, "restarts": 2}
    hsi.run(hsi.RunConfig(tiles=[str(folder / "2019")], endmembers=found, **settings), folder / "a")
    given = {"file": str(folder / "a")}
    hsi.run(hsi.RunConfig(tiles=[str(folder / "2022")], endmembers=given, **settings), folder / "b")
    name_endmembers(folder / "a", {1: "=1+1 <b>", 2: "roof"})
    return folder / "a", folder / "b"


@pytest.fixture(scope="module")
def files(pair, tmp_path_factory):
    """What a comparison wrote, with levels that a small site has not by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(levels, "ENOUGH", 50)
        return export_changes(*pair, tmp_path_factory.mktemp("change"))


def test_every_difference_map_is_a_geotiff_with_its_pixels(pair, files):
    change = hsi.compare(*pair).compute()
    written = {file.stem: file for file in files if file.suffix == ".tif"}
    assert set(written) == {name for name in change if {"y", "x"} <= set(change[name].dims)}
    for name, file in written.items():
        valid, errors, warnings = cog_validate(file)
        assert (valid, errors, warnings) == (True, [], [])
        with rasterio.open(file) as image:
            assert image.crs.to_epsg() == 32618
            assert image.bounds[:2] == (368000, 4306000)
            np.testing.assert_array_equal(image.read().squeeze(), change[name].values.squeeze())
            assert len(image.overviews(1)) == 2
            assert image.tags()["confidence"] == "0.95"
    with rasterio.open(written["abundance_change"]) as image:
        assert image.descriptions[1] == "abundance change: 2 roof"
        np.testing.assert_allclose(
            float(image.tags(2)["STATISTICS_MEAN"]), float(change.abundance_change[1].mean(dtype=float)), rtol=1e-5
        )
    style = written["sam_class_change"].with_suffix(".qml").read_text()
    assert 'label="became 2 roof"' in style
    assert 'label="unchanged"' in style


def test_tables_are_those_of_the_dataset_and_hold_no_formula(pair, files):
    change, folder = hsi.compare(*pair).compute(), files[0].parent
    with open(folder / "transitions.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["map"] == "sam_class"]
    for row in rows:
        one = change.sam_class_transitions.sel(class_a=int(row["from"]), class_b=int(row["to"]))
        assert int(row["pixels"]) == int(one)
        assert float(row["hectares"]) == pytest.approx(int(one) * 1e-4)
    assert sum(int(row["pixels"]) for row in rows) == int(change.sam_class_transitions.sum())
    with open(folder / "areas.csv", newline="") as stream:
        areas = {(row["map"], row["number"]): row for row in csv.DictReader(stream)}
    roof, known = areas["abundance", "2"], change.abundance_hectares.sel(endmember=2)
    for quantity in ("before", "after", "gained", "lost", "net"):
        assert float(roof[f"{quantity}_ha"]) == pytest.approx(float(known.sel(quantity=quantity)), rel=1e-5)
    flags = change.abundance_significant.sel(endmember=2).values
    assert float(roof["increased"]) == pytest.approx((flags == 2).sum() / (flags != 255).sum(), rel=1e-5)
    with open(folder / "sam_class_transitions.csv", newline="") as stream:
        matrix = list(csv.reader(stream))
    assert matrix[-1][0] == "after"
    assert float(matrix[-1][-1]) == pytest.approx(float(change.sam_class_transition_hectares.sum()), rel=1e-5)
    assert not re.search(r"(^|,)\"?[=+@]", (folder / "areas.csv").read_text(), re.MULTILINE)


def test_the_page_is_written_last_and_draws_no_markup_of_names(files):
    page = files[-1].read_text(encoding="utf-8")
    assert files[-1].name == "change.html"
    assert page.lstrip().startswith("<!doctype html>")
    assert "http://" not in page
    assert "<b>" not in page.replace('<b class="where">', "").partition("<main>")[2]
    assert "=1+1 &lt;b&gt;" in page
    assert page.count("data:image/png") == 2 * 3 + 3  # differences and what is significant; abundance, SAM, SID classes


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
def test_a_browser_shows_the_page_without_a_fault(files, tmp_path):
    page = files[-1].read_text(encoding="utf-8")
    asked = """<script>addEventListener("load", () => { document.title = JSON.stringify([
        [...document.images].filter(image => !image.naturalWidth).length,
        document.documentElement.scrollWidth - document.documentElement.clientWidth,
        performance.getEntriesByType("resource").filter(one => !one.name.startsWith("data:")).length]) })</script>"""
    (tmp_path / "page.html").write_text(page.replace("</body>", f"{asked}</body>"), encoding="utf-8")
    words = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={tmp_path}/u")
    shown = subprocess.run(
        [CHROMIUM, *words, "--window-size=400,800", "--dump-dom", (tmp_path / "page.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    assert "<title>[0,0,0]</title>" in shown


def test_a_comparison_that_is_killed_leaves_no_page_and_can_be_repeated(pair, files, tmp_path):
    out = Path(shutil.copytree(files[0].parent, tmp_path / "change"))
    code = (
        "import os\nfrom hsi_dask.show.change_report import export_changes\n"
        "def wrote(file):\n    if file.suffix == '.tif' and 'std' in file.name:\n        os._exit(9)\n"
        f"export_changes({str(pair[0])!r}, {str(pair[1])!r}, {str(out)!r}, wrote=wrote)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 9, done.stderr
    assert not (out / "change.html").exists()
    assert list(out.glob(".*.part"))
    export_changes(*pair, out)
    assert (out / "change.html").is_file()
    assert not list(out.glob(".*.part"))


def test_the_verb_tells_areas_and_files(pair, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["compare", *map(str, pair), "--out", str(tmp_path / "out"), "--confidence", "0.9"])
    shown = capsys.readouterr()
    assert ended.value.code == 0, shown.err
    assert re.search(r"^sam_class +2 roof( +\d[\d.e-]*){4}", shown.out, re.MULTILINE)
    assert shown.out.rstrip().endswith(str(tmp_path / "out" / "change.html"))
    assert "comparing" in shown.err
    assert "note: " not in shown.err


def test_the_verb_tells_what_is_compared_of_extents_that_differ(pair, tmp_path, capsys):
    tile = next((pair[0].parent / "2022").glob("*_368080_*"))
    settings = hsi.RunConfig.from_yaml(pair[1] / "config.yaml")
    hsi.run(settings.replace(tiles=[str(tile)]), tmp_path / "east")
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(pair[0]), str(tmp_path / "east"), "--out", str(tmp_path / "out")])
    assert ended.value.code == 0
    said = "the extents differ: compared are the 80 x 80 pixels (y, x) of both"
    assert f"note: {said}" in capsys.readouterr().err
    assert said in (tmp_path / "out" / "change.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["{a}", "{a}", "--out", "{out}"], "are one run; give two"),
        (["{a}", "{out}", "--out", "{out}"], "does not exist; give the folder"),
        (["{a}", "{b}", "--out", "{out}", "--confidence", "2"], "confidence is 2.0; it must be between 0 and 1"),
        (["{a}", "{b}", "--out", "{file}"], "cannot be written"),
        (["{a}", "{b}"], "Missing option '--out'"),
    ],
)
def test_a_wrong_request_is_one_sentence(pair, tmp_path, capsys, words, sentence):
    (tmp_path / "file").write_text("")
    names = {"a": pair[0], "b": pair[1], "out": tmp_path / "out", "file": tmp_path / "file"}
    with pytest.raises(SystemExit) as ended:
        main(["compare", *(word.format(**names) for word in words)])
    shown = capsys.readouterr()
    assert ended.value.code == 2
    assert sentence in shown.err
    assert len(shown.err.strip().splitlines()) <= 2  # and progress that had begun
    assert not (tmp_path / "out" / "change.html").exists()


def test_a_damaged_run_is_named(pair, tmp_path):
    spoiled = Path(shutil.copytree(pair[1], tmp_path / "b"))
    chunk = next(path for path in (spoiled / "results.zarr/abundance/c").rglob("*") if path.is_file())
    chunk.write_bytes(b"\x01" + chunk.read_bytes()[:40])
    with pytest.raises(RunError, match=r"b/results.zarr/abundance/c/\S+ is damaged: .*hsi-dask verify"):
        export_changes(pair[0], spoiled, tmp_path / "out")
