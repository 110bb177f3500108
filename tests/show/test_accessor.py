"""`.hsi` against the arrays it draws: what is on the axes is what is in the data."""

import re
import subprocess
import sys

import dask
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import hsi_dask as hsi
from hsi_dask.errors import SchemaError
from hsi_dask.synthetic import neon_wavelengths, simulate_scene, simulate_site, write_neon_tile


@pytest.fixture(autouse=True)
def closed_figures():
    plt.switch_backend("agg")
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    return hsi.open_neon(write_neon_tile(tmp_path_factory.mktemp("tile"), simulate_scene((60, 90), no_data=0.05)))


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    simulate_site(folder / "tiles", tiles=(1, 2), size=80, wavelength=neon_wavelengths(107, step=20.0))
    settings = {"endmembers": {"count": 3, "sample": 2000}, "thresholds": {"sam": 0.1}}
    hsi.run(hsi.RunConfig(tiles=[str(folder / "tiles")], **settings), folder / "run")
    return folder / "run"


@pytest.fixture
def results(run_dir):
    return hsi.open_results(run_dir)


def shown(ax):
    return np.asarray(ax.images[0].get_array())


@pytest.mark.parametrize("first", ["hsi_dask.xarray", "xarray, hsi_dask.xarray", "hsi_dask; hsi_dask.open_results"])
def test_it_is_registered_whoever_comes_first_and_loads_no_matplotlib(first):
    code = f"import sys; import {first}; import xarray; xarray.DataArray(0).hsi; print('matplotlib' in sys.modules)"
    told = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (told.stdout.strip(), told.stderr) == ("False", "")


def test_nearest_is_the_nearest_plane_and_lazy(cube):
    plane = cube.hsi.nearest(650)
    assert hasattr(plane.data, "dask")
    xr.testing.assert_identical(plane.compute(), cube.sel(wavelength=650, method="nearest").compute())
    three = cube.hsi.nearest([2000, 500, 501])
    assert three.dims == ("wavelength", "y", "x")
    assert abs(three.wavelength.values - [2000, 500, 501]).max() < 2.6


def test_true_colour_and_colour_infrared_show_their_bands(cube):
    for bands, wavelengths in (("true", [665, 560, 490]), ("cir", [842, 665, 560]), ((2200, 1600, 800),) * 2):
        ax, chosen = cube.hsi.rgb(bands), cube.sel(wavelength=list(wavelengths), method="nearest")
        picture, planes = shown(ax), chosen.values
        good = np.isfinite(planes).all(axis=-1)
        np.testing.assert_array_equal(picture[..., 3] == 255, good)
        order = np.argsort(planes[good].ravel(), kind="stable")  # one stretch for all three keeps their order
        assert (np.diff(picture[good][:, :3].ravel()[order].astype(int)) >= 0).all()
        assert ax.images[0].get_extent() == [368000, 368090, 4306000, 4306060]
        assert all(f"{float(nm):.1f}" in ax.get_title() for nm in chosen.wavelength)
    assert ax.get_xlabel() == "easting (km, UTM zone 18N)"
    with pytest.raises(SchemaError, match="no wavelength near 5000 nm"):
        cube.hsi.rgb((5000, 600, 500))


def test_a_band_and_its_histogram(cube):
    ax = cube.hsi.plot_band(1650)
    np.testing.assert_allclose(shown(ax), cube.sel(wavelength=1650, method="nearest").values)
    assert ax.get_title() == "surface reflectance at 1648.7 nm"
    ax = cube.hsi.nearest(1650).hsi.histogram(bins=20)
    assert len(ax.patches) == 20
    assert sum(bar.get_height() for bar in ax.patches) == pytest.approx(100)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("surface reflectance", "% of pixels")
    assert "1648.7 nm" in ax.get_title()


def test_a_spectrum_is_that_of_the_pixel(cube):
    ax = cube.hsi.spectrum(x=368050.2, y=4306010.4)
    line = ax.lines[0].get_ydata()
    np.testing.assert_allclose(line, cube.sel(x=368050.5, y=4306010.5).values)
    assert ax.get_title() == "spectrum at 368050.5 E, 4306010.5 N"
    with pytest.raises(SchemaError, match=r"x=1 is outside the cube, which has 368000\.5 to 368089\.5"):
        cube.hsi.spectrum(x=1, y=4306010.4)


def test_stored_integers_look_like_reflectance(cube):
    values = (cube.fillna(-0.9999) * 10000).round().astype("int16").assign_attrs(scale_factor=1e-4, _FillValue=-9999)
    one, other = shown(cube.hsi.plot_band(800)), shown(values.hsi.plot_band(800))
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_left_out_wavelengths_are_gaps(cube):
    pixels = hsi.sample_pixels(hsi.select_bands(cube), 500)
    ax = hsi.find_endmembers(pixels, 3).hsi.plot_endmembers()
    assert len(ax.lines) == 3
    for line in ax.lines:
        x, y = line.get_xdata(), line.get_ydata()
        assert [round(at, -2) for at in x[np.isnan(y)]] == [1400, 1900]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["endmember 1", "endmember 2", "endmember 3"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("wavelength (nm)", "reflectance")


def test_results_draw_their_maps(results, run_dir):
    figure = results.hsi.plot_abundances()
    assert isinstance(figure, Figure)
    maps = [ax for ax in figure.axes if ax.images]
    assert [ax.images[0].get_clim() for ax in maps] == [(0, 1)] * 3
    means = results.abundance.mean(("y", "x")).values
    for number, ax in enumerate(maps):
        np.testing.assert_array_equal(shown(ax), results.abundance[number])
        assert ax.get_title() == f"endmember {number + 1}: mean {means[number]:.3f}"
    ax = results.hsi.plot_classes("sid")
    colours = {
        int(v): tuple(c) for v, c in zip(results.sid_class.values.ravel(), shown(ax).reshape(-1, 4), strict=True)
    }
    assert len(set(colours.values())) == len(colours)
    assert "divergence" in ax.get_title()
    assert "angle" in results.hsi.plot_classes().get_title()
    assert len(results.hsi.plot_endmembers().lines) == 3
    assert isinstance(results.hsi.histogram("residual"), Axes)
    assert results.sam_class.hsi.plot_classes().get_title() == results.hsi.plot_classes("sam").get_title()


def test_only_the_pixels_that_can_be_shown_are_computed(cube):
    import dask.array as da

    asked = []

    def block(block_info=None):
        place = block_info[None]["array-location"]
        asked.append(place)
        return np.full([stop - start for start, stop in place], 0.5, "float32")

    size = 40_000  # 426 such planes would be 2.7 TB
    data = da.map_blocks(block, chunks=((5000,) * 8, (5000,) * 8, (1,) * 426), dtype="float32")
    coords = {"y": -np.arange(size) - 0.5, "x": np.arange(size) + 0.5, "wavelength": cube.wavelength}
    large = xr.DataArray(data, coords, ("y", "x", "wavelength"), "reflectance")
    with dask.config.set(scheduler="sync"):
        assert not asked
        ax = large.hsi.plot_band(800)
    assert max(shown(ax).shape) <= 1000
    assert len(asked) == 64


def test_what_cannot_be_drawn_is_told(results, cube):
    with pytest.raises(SchemaError, match="no reflectance or quicklook but abundance"):
        results.hsi.rgb()
    with pytest.raises(SchemaError, match="endmember and wavelength"):
        cube.hsi.plot_endmembers()
    with pytest.raises(SchemaError, match="of no run directory"):
        results.drop_vars("endmembers").hsi.plot_endmembers()


def test_areas_are_the_hectares_of_pixels_by_class_and_of_fractions_by_their_sum(results):
    maps, areas = results.load(), results.hsi.areas()
    assert list(areas.columns) == ["abundance", "abundance_class", "sam_class", "sid_class"]
    assert list(areas.index) == ["endmember 1", "endmember 2", "endmember 3", "unclassified"]
    for number in (1, 2, 3):
        row = areas.loc[f"endmember {number}"]
        assert row["sam_class"] == pytest.approx((maps.sam_class.values == number).sum() / 1e4)
        assert row["abundance"] == pytest.approx(float(maps.abundance[number - 1].sum()) / 1e4, rel=1e-5)
    assert areas.loc["unclassified", "sam_class"] == pytest.approx((maps.sam_class.values == 0).sum() / 1e4)
    part = results.isel(y=slice(0, 10)).hsi.areas()
    assert part["sid_class"].sum() == pytest.approx((maps.sid_class.values[:10] != 255).sum() / 1e4)
    with pytest.raises(SchemaError, match="y and x in metres"):
        results.drop_vars(["y", "x"]).hsi.areas()


def test_means_are_told_alike_everywhere(results, run_dir):
    from hsi_dask.show.report import report

    told = re.findall(r"<small>mean ([\d.]+)</small>", report(run_dir).read_text(encoding="utf-8"))
    figure = results.hsi.plot_abundances()
    assert [ax.get_title().rpartition(" ")[2] for ax in figure.axes if ax.images] == told
    assert [text.get_text() for ax in figure.axes for text in ax.texts if text.get_text().startswith("mean")] == [
        f"mean {mean}" for mean in told
    ]


def test_names_and_numbers_of_endmembers_are_in_every_legend(results):
    named = results.assign_coords(name=("endmember", ["water", "roof", "grass"]), endmember=[2, 5, 9])
    classes = named.sam_class.copy(data=np.array([0, 2, 5, 9, 255], "uint8")[named.sam_class.load().values % 5])
    ax = named.assign(sam_class=classes).hsi.plot_classes("sam")
    values = set(np.unique(classes)) - {255}
    words = {0: "unclassified", 2: "2 water", 5: "5 roof", 9: "9 grass"}
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {words[value] for value in values}
    assert named.hsi.plot_abundances().axes[0].get_title().startswith("2 water: mean")


def test_a_class_map_alone_tells_its_names_from_its_attributes(results):
    classes = results.sam_class.load().assign_attrs(flag_values=[0, 4, 7, 8], flag_meanings="unclassified a dry_b c")
    ax = classes.copy(data=np.where(classes.values == 1, 7, 255).astype("uint8")).hsi.plot_classes()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["7 dry b"]


def test_any_map_is_drawn(results):
    assert "radian" in results.hsi.plot_map("sam_angle", 2).get_title()
    assert isinstance(results.hsi.plot_map("sam_angle"), Figure)
    ax = results.hsi.plot_map("quality")
    assert ax.get_legend().get_texts()[0].get_text() == "good"
    assert results.hsi.plot_map("sid_class").get_title() == results.hsi.plot_classes("sid").get_title()
    with pytest.raises(SchemaError, match="sam_angle has no 4; it has 1, 2, 3"):
        results.hsi.plot_map("sam_angle", 4)
    with pytest.raises(SchemaError, match="has no class map ace but abundance_class, sam_class, sid_class"):
        results.hsi.plot_classes("ace")


def test_spectra_of_several_pixels_are_drawn_together(cube):
    x, y = [368050.2, 368020.5], np.array([4306010.4, 4306030.5])
    ax = cube.hsi.spectrum(x=x, y=y)
    for line, east, north in zip(ax.lines, x, y, strict=True):
        np.testing.assert_allclose(line.get_ydata(), cube.sel(x=east, y=north, method="nearest").values)
    assert ax.get_title() == "2 spectra"
    with pytest.raises(SchemaError, match="x has 2 places and y 1"):
        cube.hsi.spectrum(x=x, y=4306010.4)


def test_pixel_numbers_are_not_called_easting():
    values = np.random.default_rng(0).uniform(0, 1, (20, 30))
    for coords in ({}, {"y": np.arange(20), "x": np.arange(30)}):
        ax = xr.DataArray(values, coords, ("y", "x"), "band").hsi.plot_map("band")
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("x (pixel)", "y (pixel)")
        assert not [text for text in ax.texts if text.get_text() in ("N", "▲")]
    attrs = {"standard_name": "longitude", "units": "degrees_east"}
    degrees = {"y": np.linspace(50, 49, 20), "x": ("x", np.linspace(7, 8, 30), attrs)}
    assert xr.DataArray(values, degrees, ("y", "x"), "band").hsi.plot_map("band").get_xlabel() == (
        "longitude (degrees)"
    )


def test_a_spectrum_axis_leaves_noise_and_single_outliers_out():
    from hsi_dask.show.spectra import reflectance_limits

    wavelength = np.arange(380.0, 2500.0, 5.0)
    calm = 0.3 + 0.1 * np.sin(wavelength / 300)
    noisy = calm.copy()
    noisy[wavelength < 390], noisy[(wavelength > 1340) & (wavelength < 1445)], noisy[200] = 1.3, 5.0, 3.0
    low, high = reflectance_limits(wavelength, np.stack([calm, noisy]), [(1340.0, 1445.0)])
    assert low == 0.0
    assert calm.max() < high < 0.5
    assert reflectance_limits(wavelength, np.stack([calm, 2.2 * calm]))[1] > (2.2 * calm).max()
    assert reflectance_limits(wavelength, np.full(wavelength.size, np.nan)) == (0.0, 1.0)


def test_a_picture_of_dark_ground_is_not_black():
    from hsi_dask.show.figures import picture_of

    vegetation = np.random.default_rng(0).normal(0.03, 0.005, (3, 50, 50)).astype(np.float32)
    vegetation[:, :5] = 0.5  # roofs
    middle = np.median(picture_of(vegetation)[10:, :, :3])
    assert 60 < middle < 200


def test_components_are_a_panel_each_with_their_eigenvalue():
    rng = np.random.default_rng(0)
    cube = xr.DataArray(
        rng.uniform(0.1, 0.5, (20, 30, 5)), {"wavelength": np.arange(5) + 500.0}, ("y", "x", "wavelength")
    )
    found = hsi.mnf(cube.chunk({"y": 7}), 3)
    figure = found.hsi.plot_components()
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == [f"{n}: eigenvalue {value:.4g}" for n, value in enumerate(found.attrs["eigenvalues"][:3], 1)]
    assert [ax.get_title() for ax in found.hsi.plot_map("mnf").axes[:3]] == [
        "component 1",
        "component 2",
        "component 3",
    ]
    with pytest.raises(SchemaError, match="take them from mnf or pca"):
        cube.hsi.plot_components()


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # of affine, in rioxarray
def test_all_maps_become_named_bands_of_one_picture(results, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    bands = results.hsi.to_bands()
    assert all(band.dims == ("y", "x") and band.dtype == np.float32 for band in bands.values())
    bands.rio.to_raster(tmp_path / "maps.tif")
    with rasterio.open(tmp_path / "maps.tif") as picture:
        assert picture.crs.to_epsg() == 32618
        assert picture.descriptions[:4] == ("abundance_1", "abundance_2", "abundance_3", "residual")
        read = dict(zip(picture.descriptions, picture.read(), strict=True))
    np.testing.assert_array_equal(read["abundance_2"], results.abundance.sel(endmember=2))
    classes = results.sam_class.values.astype("f4")
    np.testing.assert_array_equal(read["sam_class"], np.where(classes == 255, np.nan, classes))
    np.testing.assert_array_equal(read["quality"], results.quality)


def test_bands_of_what_has_no_map_are_refused():
    with pytest.raises(SchemaError, match="there is no map of y and x among a"):
        xr.Dataset({"a": ("b", [1.0])}).hsi.to_bands()
