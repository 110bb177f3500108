"""Runs of a class library in report, export, figures and viewer: three fractions as colours, and models with parts."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest

import hsi_dask as hsi
from hsi_dask.cli import main
from hsi_dask.errors import ConfigError
from hsi_dask.io.endmember_store import open_endmembers
from hsi_dask.io.libraries import write_table
from hsi_dask.show.composites import composite, largest
from hsi_dask.show.export import export
from hsi_dask.show.report import report
from hsi_dask.synthetic import neon_wavelengths, simulate_site

MATERIALS = ("asphalt", "dry_vegetation", "soil", "vegetation")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs by cover and by MESMA, of one site and a library of 25 spectra a material."""
    folder = tmp_path_factory.mktemp("library")
    grid = neon_wavelengths(100, step=20.0)
    site = simulate_site(
        folder / "tiles", tiles=(1, 2), size=80, materials=MATERIALS, variability=0.05, wavelength=grid
    )
    library = write_table(folder / "library.csv", site.scene.library(25))
    bands = {"windows": [(1330, 1455), (1780, 1965)], "drop_last": 5}
    made = {}
    for method, options in (("cover", {"max_materials": 2}), ("mesma", {"normalize": True})):
        settings = {"methods": [method], "options": {method: options}, "endmembers": {"file": str(library)}}
        hsi.run(hsi.RunConfig(tiles=[str(folder / "tiles")], bands=bands, **settings), folder / method)
        made[method] = folder / method
    return made


@pytest.fixture(autouse=True)
def closed_figures():
    plt.switch_backend("agg")
    yield
    plt.close("all")


def chosen(results):
    """Places of the three largest fractions."""
    return largest(results.fraction.mean(("y", "x"), dtype="float64").values)


def test_the_report_shows_the_three_largest_fractions_and_the_library_by_material(runs):
    results, page = hsi.open_results(runs["cover"]), report(runs["cover"]).read_text(encoding="utf-8")
    named = page.partition("three of them as colours")[2].partition("</table>")[0]
    assert re.findall(r"</i>(\w+)</td>", named) == [MATERIALS[n] for n in chosen(results)]
    materials = page.partition("spectra of the library</th>")[2].partition("</table>")[0]
    assert re.findall(r'</i>(\w+)</td><td class="n">(\d+)', materials) == [(name, "25") for name in MATERIALS]


def test_the_virtual_picture_is_of_the_bands_beside_it(runs, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    files = export(runs["cover"], tmp_path)
    assert tmp_path / "fraction_rgb.vrt" in files
    results = hsi.open_results(runs["cover"]).load()
    places = list(chosen(results))
    with rasterio.open(tmp_path / "fraction_rgb.vrt") as file:
        shown, names, crs, bounds = file.read(), file.descriptions, file.crs, file.bounds
        colours = [one.name for one in file.colorinterp]
    assert names == tuple(MATERIALS[n] for n in places)
    assert colours == ["red", "green", "blue"]
    assert (crs, tuple(bounds)) == (results.rio.crs, results.rio.bounds())
    fractions = results.fraction.values[places]
    expected = np.where(np.isnan(fractions), 0, 1 + 254 * fractions)
    assert np.abs(shown - expected).max() <= 1


def test_report_and_export_take_the_three_that_are_named(runs, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["report", str(runs["cover"]), "--composite", "vegetation, soil,asphalt"])
    assert end.value.code == 0
    page = (runs["cover"] / "report.html").read_text(encoding="utf-8")
    named = page.partition("three of them as colours")[2].partition("</table>")[0]
    assert re.findall(r"</i>(\w+)</td>", named) == ["vegetation", "soil", "asphalt"]
    export(runs["cover"], tmp_path, composite=["vegetation", "soil", "asphalt"])
    text = (tmp_path / "fraction_rgb.vrt").read_text()
    assert re.findall(r"<SourceBand>(\d)</SourceBand>", text) == ["4", "3", "1"]
    with pytest.raises(SystemExit) as end:
        main(["export", str(runs["cover"]), "--out", str(tmp_path), "--composite", "soil,soil"])
    assert end.value.code == 2
    assert "a composite is of three of asphalt, dry_vegetation" in capsys.readouterr().err


def test_the_report_tells_how_many_good_pixels_are_not_modelled(runs):
    results, page = hsi.open_results(runs["mesma"]).load(), report(runs["mesma"]).read_text(encoding="utf-8")
    good = results.quality.values == 0
    share = np.isnan(results.residual.values[good]).mean()
    assert (f'<td>good pixels without a value</td><td class="n">{share:.1%}</td>' in page) == (share > 0)


def test_a_composite_is_of_the_fractions_that_are_named(runs):
    results = hsi.open_results(runs["cover"])
    ax = results.hsi.plot_composite(["soil", "vegetation", "asphalt"])
    named = results.fraction.sel(material=["soil", "vegetation", "asphalt"]).values
    np.testing.assert_array_equal(ax.images[0].get_array(), composite(named))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["soil", "vegetation", "asphalt"]
    np.testing.assert_array_equal(
        results.hsi.plot_composite().images[0].get_array(), composite(results.fraction.values[list(chosen(results))])
    )
    with pytest.raises(ConfigError, match="three of asphalt, dry_vegetation, soil, vegetation, not of soil, lawn"):
        results.hsi.plot_composite(["soil", "lawn", "asphalt"])


def test_fractions_that_are_not_sure_are_hatched(runs):
    results = hsi.open_results(runs["cover"]).load()
    sure = results.assign(fraction_std=results.fraction_std.clip(max=0.01))
    unsure = results.assign(fraction_std=results.fraction_std.where(results.x > results.x.mean(), 0.3))
    assert "hatched where" in sure.hsi.plot_abundances().get_suptitle()
    hatched = [[len(ax.collections) for ax in one.hsi.plot_abundances().axes[:4]] for one in (sure, unsure)]
    assert sum(hatched[0]) == 0 < sum(hatched[1])


def test_spectra_of_a_library_are_drawn_in_their_material_s_colour_with_one_entry_each(runs):
    ax = hsi.open_results(runs["cover"]).hsi.plot_endmembers()
    assert len(ax.lines) == 100
    assert sorted(text.get_text() for text in ax.get_legend().get_texts()) == sorted(MATERIALS)
    assert len({line.get_color() for line in ax.lines}) == 4


# ------------------------------------------------------------------------------------------------ viewer


@pytest.fixture(scope="module")
def canvases(runs):
    pytest.importorskip("bokeh", reason='the extra is not installed: pip install "hsi-dask[view]"')
    from hsi_dask.show.canvas import Canvas

    return {name: Canvas(path) for name, path in runs.items()}


def test_three_fractions_are_a_layer(canvases, runs):
    canvas, results = canvases["cover"], hsi.open_results(runs["cover"]).load()
    layer = canvas.layers["fraction/rgb"]
    assert layer.mix == chosen(results)
    painted = canvas.paint(layer, canvas.bounds)
    np.testing.assert_array_equal(painted.rgba, composite(results.fraction.values[list(layer.mix)]))
    from hsi_dask.show.captions import legend

    told = legend(canvas, layer, painted)
    assert [name in told for name in MATERIALS] == [n in layer.mix for n in range(4)]


def test_a_model_s_parts_are_its_spectra_times_their_fractions_and_sum_to_its_fit(canvases, runs):
    canvas, results = canvases["mesma"], hsi.open_results(runs["mesma"]).load()
    library = open_endmembers(runs["mesma"])
    several = (results.model > 0).sum("material").values
    row, column = np.argwhere(several == 2)[0]
    pixel = canvas.pixel(float(results.x[column]), float(results.y[row]))
    parts, fit = canvas.parts(pixel), canvas.fits(pixel)["model"]
    assert len(parts) == 2
    model, lit = results.model.values[:, row, column], 1 - results.shade.values[row, column]
    expected = sum(
        lit * share * library.sel(endmember=number).values
        for share, number in zip(results.fraction.values[:, row, column], model, strict=True)
        if number > 0
    )
    np.testing.assert_allclose(fit, expected, atol=1e-5)
    np.testing.assert_allclose(sum(parts.values()), fit, atol=1e-6)
    spectrum = canvas.spectrum(pixel)  # and the fit leaves the residual that is stored
    rmse = np.sqrt(((spectrum - fit.values) ** 2).mean())
    assert float(rmse) == pytest.approx(float(results.residual[row, column]), rel=0.02)


def test_a_page_of_a_library_has_a_line_of_each_spectrum_and_an_entry_of_each_material(canvases):
    from bokeh.document import Document

    from hsi_dask.show.page import Page

    for method, canvas in canvases.items():
        page = Page(canvas, Document())
        page.show()
        [legend] = page.profiles.figure.legend
        entries = [item.label.value for item in legend.items]
        assert set(MATERIALS) <= set(entries)
        assert ("parts of the model" in entries) == ("fit of model" in entries) == (method == "mesma")
        assert len(entries) < 8
        page.profiles.tell(*(sum(side) / 2 for side in ((canvas.bounds.west, canvas.bounds.east),
                                                         (canvas.bounds.south, canvas.bounds.north))))  # fmt: skip
        parts = page.profiles.lines["parts"].data
        assert len(parts["xs"]) == len(parts["of"]) == (0 if method == "cover" else len(parts["colour"]))
        page.background.pool.shutdown()


def test_other_fractions_are_chosen_on_the_page_and_kept_in_the_address(canvases):
    from urllib.parse import parse_qsl

    from bokeh.document import Document

    from hsi_dask.show.page import Page

    canvas = canvases["cover"]
    page, other, third = (Page(canvas, Document()) for _ in range(3))
    page.show()
    page.layer.value = "fraction/rgb"
    assert page.mixing.visible
    assert page.chosen.mix == canvas.layers["fraction/rgb"].mix
    for choice, place in zip(page.mix, ("3", "1", "0"), strict=True):
        choice.value = place
    page.settle()
    page.repaint()
    fractions = canvas.levels[1].fraction.values
    np.testing.assert_array_equal(page.painted(canvas.bounds).rgba, composite(fractions[[3, 1, 0]]))
    assert "soil" not in page.legend.text
    page.note_address()
    assert "mix=3,1,0" in page.address.text
    other.show({name: [value.encode()] for name, value in parse_qsl(page.address.text)})
    assert other.chosen == page.chosen
    third.show({"layer": [b"fraction/rgb"], "mix": [b"1,2,99"]})
    assert third.chosen.mix == canvas.layers["fraction/rgb"].mix
    for one in (page, other, third):
        one.background.pool.shutdown()
