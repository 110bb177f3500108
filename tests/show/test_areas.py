"""Areas and their intervals against sums over pixels, in polygons too, and against the truth of simulated scenes."""

import re

import numpy as np
import pytest
import xarray as xr

import hsi_dask as hsi
from hsi_dask.errors import ConfigError, SchemaError
from hsi_dask.io.libraries import write_table
from hsi_dask.kernels.correlation import correlation_length, std_of_sum
from hsi_dask.show.report import report
from hsi_dask.synthetic import neon_wavelengths, simulate_scene, simulate_site

SIMULATED = {
    "materials": ("vegetation", "soil", "dry_vegetation"), "variability": 0.05, "no_data": 0.05, "noise": 0.002,
    "wavelength": neon_wavelengths(100, step=20.0),
}  # fmt: skip
BANDS = {"windows": [(1330, 1455), (1780, 1965)], "drop_last": 5}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("areas")
    site = simulate_site(folder / "tiles", tiles=(1, 2), size=80, **SIMULATED)
    library = write_table(folder / "library.csv", site.scene.library(8))
    settings = {"endmembers": {"file": str(library)}, "methods": ["cover"], "bands": BANDS}
    hsi.run(hsi.RunConfig(tiles=[str(folder / "tiles")], **settings), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def results(run_dir):
    return hsi.open_results(run_dir)


def test_areas_of_fractions_have_intervals_by_the_stated_rule(results):
    found = results.hsi.areas()
    assert list(found.columns) == ["fraction", "fraction_low", "fraction_high"]
    for material in results.material.values:
        fraction, std = (
            results[name].sel(material=material).values.astype(float) for name in ("fraction", "fraction_std")
        )
        length = correlation_length([fraction])
        half = 1.959964 * std_of_sum(np.nansum(std), np.nansum(std**2), length) / 1e4
        row = found.loc[material]
        assert row["fraction"] == pytest.approx(np.nansum(fraction) / 1e4)
        assert row["fraction_low"] == pytest.approx(max(row["fraction"] - half, 0))
        assert row["fraction_high"] == pytest.approx(row["fraction"] + half)


def test_a_lower_level_is_a_narrower_interval(results):
    wide, narrow = results.hsi.areas(level=0.95), results.hsi.areas(level=0.5)
    assert (narrow["fraction_high"] < wide["fraction_high"]).all()
    with pytest.raises(ConfigError, match="level is 95; give a probability between 0 and 1"):
        results.hsi.areas(level=95)


def test_polygons_hold_the_pixels_whose_centres_are_inside(results):
    west, south = float(results.x[10]) - 0.5, float(results.y[40]) - 0.5
    box = [[west, south], [west + 30, south], [west + 30, south + 20], [west, south + 20], [west, south]]
    triangle = {"type": "Polygon", "coordinates": [[box[0], box[1], box[2], box[0]]]}
    found = results.hsi.areas([{"type": "Polygon", "coordinates": [box]}, triangle])
    inside = results.fraction[:, 21:41, 10:40]
    np.testing.assert_allclose(found.loc[0, "fraction"], inside.sum(("y", "x")) / 1e4, rtol=1e-6)
    whole = found["fraction"].groupby(level="polygon").sum()
    assert whole[1] == pytest.approx(whole[0] / 2, rel=0.05)
    width = found["fraction_high"] - found["fraction_low"]
    assert (width > 0).all()


def test_a_geodataframe_is_brought_to_the_maps_crs_and_keeps_its_index(results):
    geopandas, shapely = pytest.importorskip("geopandas"), pytest.importorskip("shapely")
    west, south = float(results.x[10]) - 0.5, float(results.y[40]) - 0.5
    plots = geopandas.GeoDataFrame(
        {"plot": ["a"]}, geometry=[shapely.box(west, south, west + 30, south + 20)], crs=results.rio.crs
    ).set_index("plot")
    here, elsewhere = results.hsi.areas(plots), results.hsi.areas(plots.to_crs(4326))
    assert here.index.names == ["polygon", "hectares"]
    np.testing.assert_allclose(here.loc["a"], results.hsi.areas(list(plots.geometry)).loc[0])
    np.testing.assert_allclose(elsewhere.loc["a"], here.loc["a"], rtol=0.01)


@pytest.mark.parametrize(
    ("polygons", "sentence"),
    [
        ([], "there is no polygon"),
        (
            [{"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}],
            "polygon 0 covers less than two rows",
        ),
        ([3], "polygons are shapes with corners"),
    ],
)
def test_what_is_no_polygon_on_the_maps_is_refused(results, polygons, sentence):
    with pytest.raises(SchemaError, match=sentence):
        results.hsi.areas(polygons)


def test_the_report_tells_the_same_areas(run_dir, results):
    found = results.hsi.areas()
    page = re.sub(r"\s+", " ", report(run_dir).read_text(encoding="utf-8"))
    for material, row in found.iterrows():
        low, high = (f"{row[end]:#.3g} ha" for end in ("fraction_low", "fraction_high"))
        assert f"({low} to {high})" in page, material


def test_intervals_hold_the_areas_of_simulated_scenes():
    inside = []
    for seed in range(8):
        scene = simulate_scene((80, 100), seed=seed, patch=10, **SIMULATED)
        labels = {"y": scene.y, "x": scene.x, "wavelength": scene.wavelength}
        cube = xr.DataArray((scene.reflectance() / 1e4).astype("float32"), labels, ("y", "x", "wavelength"))
        cube, library = (hsi.select_bands(one, **BANDS) for one in (cube.where(cube > -0.5), scene.library(8)))
        found = hsi.fractional_cover(cube, library).hsi.areas()
        truth = scene.truth().abundance.sum(("y", "x")).values / 1e4
        for name, true in zip(scene.names, truth, strict=True):
            row = found.loc[name]
            inside.append(row["fraction_low"] <= true <= row["fraction_high"])
    assert np.mean(inside) >= 0.85
