"""The report as a browser shows it, and its numbers against the results themselves."""

import base64
import csv
import html
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

import hsi_dask as hsi
from hsi_dask.errors import ConfigError, RunError
from hsi_dask.io.endmember_store import open_endmembers
from hsi_dask.io.libraries import write_table
from hsi_dask.show.facts import area
from hsi_dask.show.report import report as write_report
from hsi_dask.synthetic import neon_wavelengths, simulate_site

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; on Debian: apt-get install chromium")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--enable-logging=stderr",
)  # fmt: skip
# Asked of the page itself once it is loaded; the answer is left in its title
QUESTIONS = """
<script>
window.faults = [];
addEventListener("error", event => faults.push(String(event.message || event.target.alt)), true);
addEventListener("load", () => {
  const images = [...document.querySelectorAll("figure img, img.scale")];
  images.find(image => image.closest("figure")).click();
  const zoomed = document.querySelector("dialog img");
  document.title = JSON.stringify({
    images: images.length,
    broken: images.filter(image => !image.naturalWidth).map(image => image.alt),
    nameless: images.filter(image => !image.alt).length,
    zoomed: document.querySelector("dialog").open && zoomed.naturalWidth > 0,
    wider: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    outside: performance.getEntriesByType("resource").map(one => one.name).filter(name => !name.startsWith("data:")),
    faults: window.faults,
  });
});
</script>
"""


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """Two tiles, 80 x 160 pixels, one of which is masked in part; a third fails."""
    folder = tmp_path_factory.mktemp("report")
    grid = neon_wavelengths(107, step=20.0)
    site = simulate_site(folder / "tiles", tiles=(1, 3), size=80, wavelength=grid, no_data=0.1)
    settings = {"endmembers": {"count": 4, "sample": 2000, "restarts": 2}, "masks": {"shadow": True, "water": 0.0}}
    site.paths[2].write_bytes(site.paths[2].read_bytes()[:5000])
    hsi.run(hsi.RunConfig(tiles=[str(site.folder)], **settings), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def page(run_dir):
    return write_report(run_dir).read_text(encoding="utf-8")


def asked(page, folder, width):
    """What a browser of this width answers, and what it wrote to its console."""
    path = folder / "asked.html"
    path.write_text(page.replace("<head>", "<head>" + QUESTIONS, 1), encoding="utf-8")
    words = [CHROMIUM, *QUIET, f"--user-data-dir={folder}/chromium", f"--window-size={width},900"]
    words += ["--virtual-time-budget=5000", "--dump-dom", path.as_uri()]
    told = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    answer = html.unescape(re.search(r"<title>(.*?)</title>", told.stdout, re.DOTALL)[1])
    return json.loads(answer), [line for line in told.stderr.splitlines() if "CONSOLE" in line]


@needs_chromium
@pytest.mark.parametrize("width", [500, 1400])
def test_a_browser_shows_every_picture_without_an_error_narrow_and_wide(page, tmp_path, width):
    answer, console = asked(page, tmp_path, width)
    assert answer.pop("images") == 2 + 1 + 1 + 1 + 2 * 4 + 1 + 2 + 1 + 3 + 1
    nothing = {"broken": [], "nameless": 0, "wider": 0, "outside": [], "faults": []}
    assert answer == {**nothing, "zoomed": True}
    assert console == []


@needs_chromium
def test_a_broken_picture_or_script_would_be_seen(page, tmp_path):
    spoilt = page.replace("data:image/jpeg;base64,", "data:image/jpeg;base64,AAAA", 1)
    assert asked(spoilt, tmp_path, 800)[0]["broken"] == ["The site in true colour"]
    spoilt = page.replace("const zoom =", "nothing.at.all; const zoom =", 1)
    answer, console = asked(spoilt, tmp_path, 800)
    assert "nothing is not defined" in answer["faults"][0]
    assert console


@needs_chromium
def test_the_heads_of_a_long_table_of_tiles_stay_in_view(page, tmp_path):
    script = """<style>.tall { max-height: 100px !important }</style><script>addEventListener("load", () => {
      const card = document.querySelector(".tall"), head = card.querySelector("th");
      card.scrollTop = 1e6;
      const below = head.getBoundingClientRect().top - card.getBoundingClientRect().top;
      document.title = JSON.stringify({scrolled: card.scrollTop > 30, below});
    })</script></body>"""
    answer, _ = asked(page.replace("</body>", script, 1), tmp_path, 1000)
    assert answer["scrolled"]
    assert 0 <= answer["below"] < 20


def rows_of(page, section):
    """The cells of every table row of a section, without markup."""
    found = re.search(rf'<section id="{section}">(.*?)</section>', page, re.DOTALL)[1]
    rows = re.findall(r"<tr>(.*?)</tr>", found, re.DOTALL)
    return [[re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<td.*?</td>", r, re.DOTALL)] for r in rows]


def test_it_holds_all_it_needs(page):
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page) == []
    assert "url(" not in page
    assert "@import" not in page
    assert len(page) < 2e6
    for source in re.findall(r'src="data:image/(?:png|jpeg);base64,([^"]+)"', page):
        image = Image.open(io.BytesIO(base64.b64decode(source)))
        image.load()
        assert min(image.size) > 150


def test_areas_and_shares_of_the_classes_that_occur_are_those_of_all_pixels(page, run_dir):
    results = hsi.open_results(run_dir).load()
    for name in ("abundance_class", "sam_class", "sid_class"):
        values = results[name].values
        found = re.search(rf'id="{name}".*?</table>', page, re.DOTALL)[0]
        rows = re.findall(r"</i>([^<]+)</td><td[^>]*>([^<]+)</td><td[^>]*>([^<]+)%</td>", found)
        numbers = [int(label.split()[1]) if " " in label else 0 for label, _, _ in rows]
        assert sorted(numbers) == sorted(set(values[values != 255].tolist()))
        for number, (_, text, share) in zip(numbers, rows, strict=True):
            count = int((values == number).sum())
            size = float(text.split()[0]) * {"ha": 1e4, "m²": 1}[text.split()[1]]
            assert size == pytest.approx(count, rel=0.01)
            assert float(share) == pytest.approx(100 * count / (values != 255).sum(), abs=0.06)


def test_areas_of_classes_are_said_to_be_counts_without_an_error(page):
    section = page.partition('id="classes"')[2].partition("</section>")[0]
    assert "a count of pixels, without an error" in section
    assert "<code>hsi-dask accuracy</code>" in section


def test_it_tells_how_class_maps_agree(page, run_dir):
    maps = hsi.open_results(run_dir).load()
    told = {row[0]: row[1:] for row in rows_of(page, "classes") if row and " and " in row[0]}
    assert list(told) == [
        "abundance classes and SAM classes", "abundance classes and SID classes", "SAM classes and SID classes",
    ]  # fmt: skip
    one, other = maps.sam_class.values, maps.sid_class.values
    both = (one != 255) & (one > 0) & (other != 255) & (other > 0)
    same, _, pixels = told["SAM classes and SID classes"]
    assert int(pixels.replace(",", "")) == both.sum()
    assert float(same[:-1]) == pytest.approx(100 * (one == other)[both].mean(), abs=0.06)


def test_its_tables_can_be_saved_from_the_page(page, run_dir):
    found = dict(re.findall(r'download="([\w.]+)" href="data:text/csv;charset=utf-8,([^"]+)"', page))
    assert set(found) == {"classes.csv", "means.csv", "endmembers.csv", "tiles.csv", "seams.csv"}
    rows = {name: list(csv.DictReader(io.StringIO(unquote(text)))) for name, text in found.items()}
    values = hsi.open_results(run_dir).sid_class.values
    for row in (row for row in rows["classes.csv"] if row["map"] == "sid_class"):
        assert int(row["pixels"]) == (values == int(row["class"])).sum()
    spectra = open_endmembers(run_dir)
    assert [float(row["wavelength"]) for row in rows["endmembers.csv"]] == pytest.approx(spectra.wavelength.values)
    assert [float(row["endmember 2"]) for row in rows["endmembers.csv"]] == pytest.approx(spectra[1].values, rel=1e-4)
    mean = next(row for row in rows["means.csv"] if (row["map"], row["of"]) == ("abundance", "endmember 3"))
    assert float(mean["mean"]) == pytest.approx(float(hsi.open_results(run_dir).abundance[2].mean()), rel=1e-4)
    assert float(mean["hectares"]) == pytest.approx(float(hsi.open_results(run_dir).abundance[2].sum()) / 1e4, rel=1e-4)
    assert [row["state"] for row in rows["tiles.csv"]] == ["done", "done", "failed"]


def test_it_says_what_to_do_next(page, run_dir):
    told = "".join(re.findall(r"<code>(.*?)</code>", page))
    for command in (f"run --out {run_dir}", f"name {run_dir}", f"view {run_dir}", f"export {run_dir}", "open_results"):
        assert command in html.unescape(told)


def test_another_threshold_makes_other_classes_and_says_so(run_dir, tmp_path):
    copy = Path(shutil.copytree(run_dir, tmp_path / "run"))
    before = {p: p.read_bytes() for p in (copy / "results.zarr").rglob("*") if p.is_file()}
    page = write_report(copy, thresholds={"sam": [0.02, 0.05, 0.1, 0.2]}).read_text(encoding="utf-8")
    assert "is above its own threshold (0.02, 0.05, 0.1, 0.2 radian)" in page
    expected = hsi.threshold_classes(hsi.open_results(copy).sam_angle, [0.02, 0.05, 0.1, 0.2]).values
    rows = dict(re.findall(r"</i>([^<]+)</td><td[^>]*>[^<]+</td><td[^>]*>([^<]+)%</td>",
                           re.search(r'id="sam_class".*?</table>', page, re.DOTALL)[0]))  # fmt: skip
    assert float(rows["unclassified"]) == pytest.approx(100 * (expected == 0).sum() / (expected != 255).sum(), abs=0.06)
    assert {p: p.read_bytes() for p in (copy / "results.zarr").rglob("*") if p.is_file()} == before
    with pytest.raises(ConfigError, match=r"no class map ace; there are abundance_class, sam_class, sid_class"):
        write_report(copy, thresholds={"ace": 0.1})
    with pytest.raises(ConfigError, match="2 thresholds for 4 endmembers"):
        write_report(copy, thresholds={"sam": [0.1, 0.2]})


def test_its_drawing_is_told_from_0_to_1(run_dir):
    heard = []
    write_report(run_dir, drawn=heard.append)
    assert (heard[0], heard[-1]) == (0, 1)
    assert heard == sorted(heard)
    assert len(heard) > 10


def test_quality_is_counted_by_reason(page, run_dir):
    quality = hsi.open_results(run_dir).quality.values
    quality = quality[:, :160]  # the third tile failed
    told = {row[0]: int(row[1].replace(",", "")) for row in rows_of(page, "quality") if row and row[1]}
    assert told["good"] == (quality == 0).sum()
    assert told["shadow"] == ((quality & 4) > 0).sum() > 0
    assert told["no data"] == ((quality & 1) > 0).sum() > 0


@pytest.mark.parametrize(
    ("hectares", "words"), [(0.05, "500 m²"), (4.57, "4.57 ha"), (433.2, "433 ha"), (8740.4, "8,740 ha")]
)
def test_areas_of_a_large_site_stay_comparable_with_those_of_small_classes(hectares, words):
    assert area(hectares) == words


def test_the_mapped_share_leaves_out_what_is_masked(page, run_dir):
    quality = hsi.open_results(run_dir).quality.values[:, :160]
    good = int((quality == 0).sum())
    assert good < (quality != 1).sum()  # some are masked that have data
    assert f"{good:,} pixels, {good / quality.size:.1%} of the tiles" in page


def test_means_of_abundances_are_those_of_all_pixels(page, run_dir):
    told = [float(mean) for mean in re.findall(r"<small>mean ([\d.]+)</small>", page)]
    assert told == pytest.approx(hsi.open_results(run_dir).abundance.mean(("y", "x")).values, abs=6e-4)


def test_it_tells_where_endmembers_came_from(page, run_dir):
    rows = [row for row in rows_of(page, "endmembers") if row]
    for row, one in zip(rows, open_endmembers(run_dir), strict=True):
        assert row[1] == one.tile.item()
        assert row[2] == f"{float(one.x):.1f} E, {float(one.y):.1f} N"
        file = next(hsi.open_neon(path) for path in (run_dir.parent / "tiles").glob(f"*{row[1]}*"))
        assert row[3] == (", ".join(file.attrs.get("acquisition_dates", ())) or "not known")
        assert row[4] == (", ".join(file.attrs.get("flight_lines", ())) or "not known")
    assert {row[4] for row in rows} != {"not known"}


def test_tiles_and_settings_are_listed(page):
    assert "2 of 3 done" in page
    assert "1 failed" in page
    assert re.search(r'class="w why">[^<]*truncated', page)
    assert "shadow: true" in page
    for name in ("python", "numpy", "hsi-dask"):
        assert re.search(rf"<td>{name}</td><td>[\w.]+</td><td>[\w.]+</td>", page)


def test_names_that_look_like_markup_are_text(run_dir, tmp_path):
    copy = shutil.copytree(run_dir, tmp_path / "<b>run & co")
    assert "&lt;b&gt;run &amp; co" in write_report(copy).read_text(encoding="utf-8")


def test_it_is_drawn_where_the_tiles_are_gone(run_dir, tmp_path):
    copy = Path(shutil.copytree(run_dir, tmp_path / "run"))
    shutil.rmtree(copy / "overviews.zarr")
    moved = {}
    for tile in json.loads((copy / "manifest.json").read_text())["tiles"]:
        path = Path(tile["path"])
        moved[path.rename(path.with_suffix(".away"))] = path
    try:
        page = write_report(copy).read_text(encoding="utf-8")
    finally:
        for away, path in moved.items():
            away.rename(path)
    assert 'id="site"' not in page
    assert "not known" in page
    assert page.count("<img") > 10


def test_a_run_of_one_method_has_only_its_sections(tmp_path):
    site = simulate_site(tmp_path / "tiles", tiles=(1, 1), size=40, wavelength=neon_wavelengths(100, step=20.0))
    hsi.run(hsi.RunConfig(tiles=[str(site.folder)], methods=["sid"], endmembers={"count": 3}), tmp_path / "run")
    page = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert re.findall(r'<section id="(\w+)"', page) == [
        "site", "endmembers", "classes", "quality", "tiles", "next", "settings",
    ]  # fmt: skip
    assert "Spectral angle" not in page


def test_a_run_without_results_is_told_in_one_sentence(run_dir, tmp_path):
    copy = Path(shutil.copytree(run_dir, tmp_path / "run"))
    shutil.rmtree(copy / "records")
    (copy / "report.html").unlink(missing_ok=True)
    with pytest.raises(RunError, match="no finished tile"):
        write_report(copy)
    assert not (copy / "report.html").exists()


def test_the_same_run_gives_the_same_page(page, run_dir):
    again = write_report(run_dir).read_text(encoding="utf-8")
    assert len(again) == pytest.approx(len(page), rel=1e-3)  # ids in SVG are drawn by lot


def test_palettes_tell_classes_apart():
    from hsi_dask.show.palettes import class_colours, class_table, quality_table

    colours = class_colours(40)
    assert len(set(colours)) == 40
    table = class_table(range(1, 6))
    assert table[255, 3] == table[6, 3] == 0
    assert (table[:6, 3] == 255).all()
    assert len(np.unique(quality_table(), axis=0)) == 10


def test_the_nearest_spectra_of_a_library_are_told_of_every_endmember(run_dir, tmp_path):
    own = shutil.copytree(run_dir, tmp_path / "run")
    endmembers = open_endmembers(run_dir).load()
    names = np.array(["moss", "slate", "<b>sand</b>", "lawn"], dtype=object)
    library = endmembers.reset_coords(drop=True).assign_coords(name=("endmember", names))
    path = write_table(tmp_path / "library.csv", library)
    text = write_report(own, library=path).read_text(encoding="utf-8")
    rows = text.partition("nearest of the library")[2].partition("</table>")[0].split("<tr>")[1:]
    assert len(rows) == 4
    for row, name in zip(rows, ("moss", "slate", "&lt;b&gt;sand&lt;/b&gt;", "lawn"), strict=True):
        assert f'<td class="w">{name}, 0.0°; ' in row
    assert "nearest of the library" not in write_report(own).read_text(encoding="utf-8")


def test_it_tells_how_the_endmembers_were_found(page, run_dir):
    told = open_endmembers(run_dir).attrs
    assert f"Found by N-FINDR (Winter (1999), Proceedings of SPIE 3753) among {told['pixels']:,} pixels" in page
    assert ("like no other" in page) == bool(told["dropped"])
    assert "Endmembers, N-FINDR: Winter (1999)" in page
    farthest = np.degrees(np.reshape(told["members_angle"], (-1, told["members"])).max(axis=1))
    spread = f"{farthest.min():.2g} to {farthest.max():.2g} degrees"
    assert f"mean of the 10 pixels most like the chosen one; the last of them differs by {spread}." in page
