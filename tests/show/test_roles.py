"""A run of methods that nobody here knows: every map is shown by its role, also without the plug-in."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio

import hsi_dask as hsi
from hsi_dask.methods.registry import METHODS
from hsi_dask.methods.specification import Method, score_variables, unit_vertices
from hsi_dask.schema import CLASS_DIMS, MAP_DIMS, Variable
from hsi_dask.show.export import export
from hsi_dask.show.labels import title_of
from hsi_dask.show.palettes import ramp_of
from hsi_dask.show.report import report
from hsi_dask.show.settings import Settings
from hsi_dask.show.thresholds import threshold_text
from hsi_dask.synthetic import neon_wavelengths, simulate_site


def _cosines(model, sums):
    return np.clip(model @ sums.projections / np.sqrt(sums.energy), 0, 1).astype("float32")


def _cover(model, sums):
    cosine = _cosines(model, sums)
    cover = cosine**20 / (cosine**20).sum(axis=0)
    return {
        "cover": cover, "cover_std": np.sqrt(cover * (1 - cover)), "dark": 1 - cover.max(axis=0),
        "spectrum": (cosine.argsort(axis=0) + 1).astype("int16"),
    }  # fmt: skip


ALIKE = Method(
    name="alike", kind="similarity", title="Likeness", source="an example",
    variables=score_variables("alike", "likeness", better="high"), prepare=unit_vertices,
    finish=lambda model, sums: {"alike_score": _cosines(model, sums)},
)  # fmt: skip
SOFT = Method(
    name="soft", kind="mixture", title="Soft cover", source="an example",
    variables=(
        Variable("cover", MAP_DIMS, "float32", "cover of the endmember", "1", role="fraction", limits=(0.0, 1.0)),
        Variable("cover_std", MAP_DIMS, "float32", "its standard deviation", "1", role="uncertainty", of="cover"),
        Variable("dark", CLASS_DIMS, "float32", "photometric shade", "1", role="shade", limits=(0.0, 1.0)),
        Variable("spectrum", MAP_DIMS, "int16", "spectrum of the library", role="model"),
        Variable("kinds", CLASS_DIMS, "uint8", "endmember of the largest cover", role="class", of="cover"),
    ),
    prepare=unit_vertices, finish=_cover,
)  # fmt: skip


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """Made while the plug-ins are there; they are gone afterwards."""
    folder = tmp_path_factory.mktemp("plugged")
    site = simulate_site(folder / "tiles", tiles=(1, 2), size=80, wavelength=neon_wavelengths(100, step=20.0))
    METHODS.specifications.update(alike=ALIKE, soft=SOFT)
    try:
        settings = {"endmembers": {"count": 3, "sample": 600, "restarts": 2}, "methods": ["alike", "soft"]}
        hsi.run(hsi.RunConfig(tiles=[str(site.folder)], **settings), folder / "run")
    finally:
        del METHODS.specifications["alike"], METHODS.specifications["soft"]
    return folder / "run"


def test_the_report_has_a_section_or_a_picture_for_every_map(run_dir):
    page = report(run_dir).read_text(encoding="utf-8")
    assert re.findall(r'<section id="(\w+)"', page) == [
        "site", "endmembers", "cover", "dark", "spectrum", "classes", "quality", "seams", "tiles", "next", "settings",
    ]  # fmt: skip
    assert re.findall(r'alt="Uncertainty: Cover of endmember (\d)"', page) == ["1", "2", "3"]
    for title in ("Alike classes", "Kinds"):
        assert title in page
    assert "No threshold: every pixel has a class." in page
    assert "kinds and" in page or "and kinds" in page


def test_every_map_is_exported_with_its_role_its_units_and_its_style(run_dir, tmp_path):
    export(run_dir, tmp_path)
    maps = hsi.open_results(run_dir).load()
    roles = {"alike_score": "score", "alike_class": "class", "cover": "fraction", "cover_std": "uncertainty",
             "dark": "shade", "spectrum": "model", "kinds": "class", "quality": "flag"}  # fmt: skip
    assert {p.stem for p in tmp_path.glob("*.tif")} == set(roles)
    for name, role in roles.items():
        with rasterio.open(tmp_path / f"{name}.tif") as file:
            assert file.tags()["role"] == role
            np.testing.assert_array_equal(file.read().reshape(maps[name].shape), maps[name].values)
            np.testing.assert_equal(file.nodata, -1 if role == "model" else {"class": 255, "flag": 1}.get(role, np.nan))
        style = (tmp_path / f"{name}.qml").read_text(encoding="utf-8")
        assert ("paletted" in style) == (role in ("class", "model", "flag"))
    with rasterio.open(tmp_path / "alike_score.tif") as file:
        assert file.tags()["better"] == "high"
        assert file.descriptions == tuple(f"alike score: endmember {n}" for n in (1, 2, 3))
    assert 'label="endmember 2"' in (tmp_path / "spectrum.qml").read_text(encoding="utf-8")


def test_a_threshold_of_scores_that_are_better_when_large_keeps_what_is_above(run_dir, tmp_path):
    score = hsi.open_results(run_dir).alike_score.load().values
    limit = float(np.nanmedian(score.max(axis=0)))
    export(run_dir, tmp_path, thresholds={"alike": limit})
    with rasterio.open(tmp_path / "alike_class.tif") as file:
        values = file.read(1)
        assert float(file.tags()["threshold"]) == pytest.approx(limit)
    expected = np.where(score.max(axis=0) >= limit, score.argmax(axis=0) + 1, 0)
    expected[np.isnan(score).any(axis=0)] = 255
    np.testing.assert_array_equal(values, expected)


def test_results_are_drawn_and_measured_by_role(run_dir):
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    results = hsi.open_results(run_dir)
    try:
        assert "largest likeness" in results.hsi.plot_classes().get_title()
        assert "largest cover" in results.hsi.plot_classes("kinds").get_title()
        assert "mean" in results.hsi.plot_abundances().axes[0].get_title()
        for name in results:
            assert results.hsi.plot_map(name) is not None
        ax = results.hsi.plot_map("alike_score", 2)
        np.testing.assert_array_equal(np.asarray(ax.images[0].get_array()), results.alike_score[1])
        areas = results.hsi.areas()
        assert set(areas.columns) == {"cover", "cover_low", "cover_high", "kinds", "alike_class"}
        assert areas["cover"].sum() == pytest.approx(areas["kinds"].sum(), rel=1e-5)
    finally:
        plt.close("all")


def test_the_viewer_has_a_layer_for_every_plane_and_a_slider_for_every_class_map(run_dir):
    pytest.importorskip("bokeh", reason="bokeh is not installed")
    from bokeh.document import Document

    from hsi_dask.show.canvas import Canvas
    from hsi_dask.show.page import Page

    canvas = Canvas(run_dir)
    page = Page(canvas, Document())
    page.show()
    assert list(page.limits) == ["alike_class", "kinds"]
    groups = {layer.group for layer in canvas.layers.values()}
    assert groups == {"Picture", "Classes", "Alike score", "Cover", "Cover std", "Spectrum", "Quality"}
    for key in canvas.layers:
        page.layer.value = key
        page.repaint()
        assert page.legend.text
    west, south, _, _ = canvas.bounds
    page.profiles.tell(west + 70, south + 20)
    for words in ("alike score", "cover std", "kinds: endmember", "dark 0."):
        assert words in page.profiles.told.text
    assert list(page.profiles.fit_lines) == ["cover"]
    page.background.pool.shutdown()


def test_sliders_of_large_scores_begin_at_their_low_end(run_dir):
    pytest.importorskip("bokeh", reason="bokeh is not installed")
    from hsi_dask.show.canvas import Canvas
    from hsi_dask.show.sliders import Limits

    canvas = Canvas(run_dir)
    limits = Limits(canvas, canvas.variables["alike_class"])
    low, high = limits.ends
    assert limits.all.value == low < high <= 1
    assert limits.values == [None] * 3
    limits.each[1].value = high
    assert limits.values == [None, high, None]
    layer = canvas.layers["alike_class"]
    stored, strict = (canvas.paint(layer, canvas.bounds, limit) for limit in ([None] * 3, [None, high, None]))
    assert stored.shares == pytest.approx(canvas.paint(layer, canvas.bounds).shares)
    assert strict.shares.get(2, 0) < stored.shares[2]


def test_bright_is_more_alike_whichever_end_of_a_score_is_better():
    low, high = (Variable("s", MAP_DIMS, "float32", "s", role="score", better=better) for better in ("low", "high"))
    assert (ramp_of(low), ramp_of(high)) == ("cividis_r", "cividis")


def test_thresholds_are_told_as_sentences():
    low = Variable("a", MAP_DIMS, "float32", "spectral angle", "radian", role="score", better="low")
    high = Variable("c", MAP_DIMS, "float32", "likeness", "1", role="score", better="high")
    assert threshold_text(0.1, low) == "Unclassified where every spectral angle is above 0.1 radian."
    assert threshold_text([0.5, None], high).endswith("is below its own threshold (0.5, -).")
    assert threshold_text([None, None], low) == "No threshold: every pixel has a class."


def test_settings_are_read_without_the_plug_in(run_dir):
    settings = Settings(SimpleNamespace(path=run_dir))
    assert settings.drop_last == 10
    assert settings.masks == set()
    assert "methods: [alike, soft]" in settings.text
    assert settings.method_of(Variable("kinds", CLASS_DIMS, "uint8", "kinds", role="class")) is None
    residual = Variable("residual", CLASS_DIMS, "float32", "another method's", role="residual")
    assert settings.method_of(residual) is None


@pytest.mark.parametrize(
    ("name", "role", "title"),
    [
        ("ace_score", "score", "ACE score"),
        ("abundance_class", "class", "abundance classes"),
        ("shade", "shade", "shade"),
    ],
)
def test_titles_follow_from_names(name, role, title):
    assert title_of(Variable(name, CLASS_DIMS, "float32", name, role=role)) == title
