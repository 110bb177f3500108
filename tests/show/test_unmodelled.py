"""Pixels that no mixture model fits, in every place that shows a run. Oracle: MESMA's own maps."""

import numpy as np
import pytest
import rasterio
import xarray as xr

import hsi_dask as hsi
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.io.libraries import write_table
from hsi_dask.methods.registry import METHODS
from hsi_dask.schema import FLAGS, flags_of
from hsi_dask.show.export import export
from hsi_dask.show.report import report
from hsi_dask.synthetic import neon_wavelengths, simulate_site

BANDS = {"windows": [(1330, 1455), (1780, 1965)], "drop_last": 5}
MISSED = FLAGS["not_modelled"]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """Some pixels are modelled, some are not, some have no data, some are masked."""
    folder = tmp_path_factory.mktemp("unmodelled")
    site = simulate_site(
        folder / "tiles", tiles=(1, 2), size=80, variability=0.05, no_data=0.05, noise=0.002,
        wavelength=neon_wavelengths(100, step=20.0),
    )  # fmt: skip
    few = site.scene.library(3)
    library = write_table(folder / "library.csv", few[np.isin(few.material, np.unique(few.material)[:3])])
    settings = {"endmembers": {"file": str(library)}, "bands": BANDS, "masks": {"vegetation": 0.8}}
    hsi.run(hsi.RunConfig(tiles=[str(folder / "tiles")], methods=["mesma"], **settings), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def results(run_dir):
    return hsi.open_results(run_dir).load()


def test_a_good_pixel_is_modelled_or_flagged_and_a_masked_one_has_no_data(results):
    flags, good = results.unmodelled.values, results.quality.values == 0
    missed = flags == MISSED
    assert set(np.unique(flags)) == {0, FLAGS["no_data"], MISSED}
    np.testing.assert_array_equal(flags == FLAGS["no_data"], ~good)
    np.testing.assert_array_equal(missed, good & np.isnan(results.residual))
    assert (results.model.values[:, missed] == -1).all()
    assert np.isfinite(results.fraction.values[:, flags == 0]).all()


def test_the_report_tells_their_share_and_area(run_dir, results):
    page = report(run_dir).read_text(encoding="utf-8")
    count, good = (results.unmodelled.values == MISSED).sum(), (results.quality.values == 0).sum()
    assert "<h2>Unmodelled</h2>" in page
    assert f"{count / good:.1%}, {count / 1e4:.3g} ha" in page


def test_areas_count_them_apart_in_polygons_too(results):
    missed = results.unmodelled == MISSED
    table = results.hsi.areas()
    assert table.loc["not modelled", "unmodelled"] == pytest.approx(float(missed.sum()) / 1e4)
    assert np.isnan(table.loc["not modelled", "fraction"])
    x, y = results.x.values, results.y.values
    west, east, south, north = x[10] - 0.5, x[49] + 0.5, y[39] - 0.5, y[5] + 0.5
    ring = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    inside = results.hsi.areas(polygons={"type": "Polygon", "coordinates": [ring]}).loc[0]
    expected = float(missed[5:40, 10:50].sum()) / 1e4
    assert inside.loc["not modelled", "unmodelled"] == pytest.approx(expected)


def test_they_are_exported_with_their_legend(run_dir, results, tmp_path):
    export(run_dir, tmp_path / "gis")
    with rasterio.open(tmp_path / "gis" / "unmodelled.tif") as file:
        np.testing.assert_array_equal(file.read(1), results.unmodelled)
        assert file.tags()["flag_meanings"] == "no_data, not_modelled"
        assert file.nodata == FLAGS["no_data"]
    assert 'value="512" label="not modelled"' in (tmp_path / "gis" / "unmodelled.qml").read_text()


def test_the_viewer_has_a_layer_of_them_and_tells_of_a_pixel(run_dir, results):
    pytest.importorskip("bokeh", reason="bokeh is not installed")
    from bokeh.document import Document

    from hsi_dask.show.canvas import Canvas
    from hsi_dask.show.page import Page

    page = Page(Canvas(run_dir), Document())
    page.show()
    page.layer.value = "unmodelled"
    page.repaint()
    assert "not modelled" in page.legend.text
    row, column = np.argwhere(results.unmodelled.values == MISSED)[0]
    page.profiles.tell(float(results.x[column]), float(results.y[row]))
    assert "unmodelled: not modelled" in page.profiles.told.text
    page.background.pool.shutdown()


def test_they_are_told_without_the_method_that_made_them(run_dir, results, monkeypatch):
    missed = float((results.unmodelled == MISSED).sum()) / 1e4
    assert flags_of(Run.open(run_dir).manifest.variables[4]) == {"not modelled": MISSED}
    monkeypatch.delitem(METHODS.specifications, "mesma")
    known = flags_of(Run.open(run_dir).manifest.variables[4])
    assert {"cloud", "not modelled"} < set(known), "which flags it can have is not known"
    assert hsi.open_results(run_dir).hsi.areas().loc["not modelled", "unmodelled"] == pytest.approx(missed)


def test_python_gives_the_same_map(results):
    wavelength = {"wavelength": [500.0, 900.0, 1600.0]}
    library = xr.DataArray([[0.1, 0.5, 0.3], [0.2, 0.3, 0.4]], wavelength, ("endmember", "wavelength"))
    library = library.assign_coords(material=("endmember", ["plant", "soil"]))
    values = [[[0.05, 0.25, 0.15], [0.9, 0.1, 0.9], [np.nan, 0.1, 0.1]]]
    cube = xr.DataArray(values, {"y": [0.5], "x": [0.5, 1.5, 2.5], **wavelength}, ("y", "x", "wavelength"))
    found = hsi.mesma(cube, library)
    assert found.unmodelled.dtype == results.unmodelled.dtype == np.uint16
    assert found.unmodelled.values.tolist() == [[0, MISSED, FLAGS["no_data"]]]
