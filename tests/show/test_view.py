"""The canvas against the store and the tiles, and the page in a real browser: headless Chromium through WebDriver."""

import asyncio
import contextlib
import csv
import http.client
import io
import json
import math
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import parse_qsl

import numpy as np
import pytest

pytest.importorskip("bokeh", reason='the extra is not installed: pip install "hsi-dask[view]"')

import hsi_dask as hsi
from hsi_dask.cli import main
from hsi_dask.show import canvas as canvases
from hsi_dask.show.background import Background, end_all
from hsi_dask.show.canvas import Bounds, Canvas
from hsi_dask.show.captions import legend
from hsi_dask.show.page import Page as ServedPage
from hsi_dask.show.palettes import class_table, quality_table
from hsi_dask.show.pixels import Pixel
from hsi_dask.show.widgets import SAVE_PICTURE
from hsi_dask.synthetic import neon_wavelengths, simulate_site

SIZE = 600
SCORES = {"sam": "sam_angle", "sid": "sid_divergence"}
PLACE = 368100.0 + 700.3, 4305600.0 + 300.3  # metres, in the eastern tile


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run of 1 x 2 tiles of both chunk layouts, large enough for an overview."""
    folder = tmp_path_factory.mktemp("viewed")
    origin = 613 * SIZE, 7176 * SIZE
    site = simulate_site(
        folder / "tiles", tiles=(1, 2), size=SIZE, origin=origin, wavelength=neon_wavelengths(100, step=20.0)
    )
    settings = {"endmembers": {"count": 3, "sample": 2000, "restarts": 2}, "thresholds": {"sam": 0.3}}
    hsi.run(hsi.RunConfig(tiles=[str(site.folder)], **settings), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def maps(run_dir):
    return hsi.open_results(run_dir, chunks=None).load()


@pytest.fixture(scope="module")
def canvas(run_dir):
    return Canvas(run_dir)


def corner(canvas, pixels):
    """The window of so many pixels at the north-west."""
    west, _, _, north = canvas.bounds
    return Bounds(west, north - pixels, west + pixels, north)


# ------------------------------------------------------------------------------------------------ canvas


def test_there_is_a_layer_for_every_map_and_every_endmember(canvas):
    planes = ["abundance/rgb"]
    planes += [f"{name}/{n}" for name in ("abundance", "sam_angle", "sid_divergence") for n in (1, 2, 3)]
    pictures = [f"quicklook/{name}" for name in ("true", "cir", "band", "rgb")]
    classes = ["abundance_class", "sam_class", "sid_class"]
    assert list(canvas.layers) == [*pictures, *classes, *planes, "residual", "quality"]


def test_a_window_is_read_where_it_is_and_no_finer_than_it_fits(canvas, monkeypatch):
    layer = canvas.layers["sam_class"]
    near = canvas.paint(layer, corner(canvas, 100))
    assert (near.factor, near.rgba.shape, near.bounds) == (1, (100, 100, 4), corner(canvas, 100))
    monkeypatch.setattr(canvases, "MOST_PIXELS", 1000)
    far = canvas.paint(layer, Bounds(-1e7, -1e7, 1e7, 1e7))  # zoomed far out
    assert (far.factor, far.rgba.shape, far.bounds) == (2, (300, 600, 4), canvas.bounds)


def test_a_window_beside_the_mosaic_is_one_pixel_of_it(canvas):
    painted = canvas.paint(canvas.layers["residual"], Bounds(0.0, 0.0, 10.0, 10.0))
    assert painted.rgba.shape == (1, 1, 4)


@pytest.mark.parametrize("method", ["sam", "sid"])
def test_classes_have_their_colours_and_a_threshold_makes_others_of_the_scores(canvas, maps, method):
    layer, window, table = canvas.layers[f"{method}_class"], corner(canvas, 200), class_table(range(1, 4))
    stored = maps[f"{method}_class"].values[:200, :200]
    np.testing.assert_array_equal(canvas.paint(layer, window).rgba, table[stored])
    scores = maps[SCORES[method]].values[:, :200, :200]
    threshold = float(np.nanmedian(scores.min(axis=0)))
    with np.errstate(invalid="ignore"):
        expected = np.where(scores.min(axis=0) <= threshold, scores.argmin(axis=0) + 1, 0)
    expected[np.isnan(scores).any(axis=0)] = 255
    painted = canvas.paint(layer, window, threshold)
    np.testing.assert_array_equal(painted.rgba, table[expected])
    assert painted.shares[0] == pytest.approx((expected == 0).sum() / (expected != 255).sum())
    assert sum(painted.shares.values()) == pytest.approx(1)


def test_planes_run_from_low_to_high_and_no_data_is_clear(canvas, maps):
    layer, window = canvas.layers["abundance/2"], corner(canvas, 300)
    values, rgba = maps.abundance.values[1, :300, :300], canvas.paint(layer, window).rgba
    assert (rgba[..., 3] == np.where(np.isnan(values), 0, 255)).all()
    assert tuple(rgba[np.unravel_index(np.nanargmin(values), values.shape)]) == (68, 1, 84, 255)  # viridis begins
    assert tuple(rgba[np.unravel_index(np.nanargmax(values), values.shape)])[:2] >= (200, 200)  # and ends yellow
    quality = canvas.paint(canvas.layers["quality"], window).rgba
    np.testing.assert_array_equal(quality, quality_table()[maps.quality.values[:300, :300]])


def test_a_true_colour_picture_shows_what_the_tile_holds(canvas, run_dir):
    path = canvas.pixel(*PLACE).path
    cube = hsi.open_neon(path).isel(y=slice(0, 50), x=slice(0, 50)).load()
    north, west = float(cube.y[0]) + 0.5, float(cube.x[0]) - 0.5
    rgba = canvas.paint(canvas.layers["quicklook/true"], Bounds(west, north - 50, west + 50, north)).rgba
    for band, nm in enumerate((665, 560, 490)):
        brightness = cube.sel(wavelength=nm, method="nearest").values.ravel()
        order = np.argsort(brightness)
        assert (np.diff(rgba[..., band].ravel()[order].astype(int)) >= 0).all()  # brighter ground, brighter picture


def test_a_pixel_is_what_the_store_and_its_tile_say(canvas, maps):
    pixel = canvas.pixel(*PLACE)
    here = maps.sel(x=PLACE[0], y=PLACE[1], method="nearest")
    assert (pixel.x, pixel.y) == (float(here.x), float(here.y))
    for name in maps:
        np.testing.assert_array_equal(pixel.maps[name], here[name].values)
    spectrum = canvas.spectrum(pixel)
    tile = hsi.select_bands(hsi.open_neon(pixel.path)).sel(x=pixel.x, y=pixel.y).values
    np.testing.assert_array_equal(spectrum.values, tile)


def test_the_fit_is_as_far_from_the_spectrum_as_the_residual_says(canvas):
    pixel = canvas.pixel(*PLACE)
    apart = canvas.spectrum(pixel).values.astype(float) - canvas.fits(pixel)["abundance"].values
    assert math.sqrt((apart**2).mean()) == pytest.approx(float(pixel.maps["residual"]), rel=1e-3)


def test_there_is_no_pixel_outside_and_no_spectrum_without_its_file(canvas, run_dir, tmp_path):
    assert canvas.pixel(canvas.bounds.west - 1, PLACE[1]) is None
    assert canvas.pixel(PLACE[0], canvas.bounds.north + 1) is None
    pixel = canvas.pixel(*PLACE)
    gone = Pixel(**{**vars(pixel), "path": str(tmp_path / "NEON_gone.h5")})
    assert canvas.spectrum(gone) == "no spectrum: NEON_gone.h5 is no longer there"
    damaged = tmp_path / "NEON_damaged.h5"
    damaged.write_bytes(b"not HDF5")
    assert canvas.spectrum(Pixel(**{**vars(pixel), "path": str(damaged)})) == (
        "no spectrum: NEON_damaged.h5 cannot be read"
    )


def test_a_file_of_another_place_gives_no_spectrum(canvas):
    west = canvas.pixel(PLACE[0] - SIZE, PLACE[1])
    other = Pixel(**{**vars(canvas.pixel(*PLACE)), "path": west.path})
    assert canvas.spectrum(other).endswith("is now of another place")


def test_without_data_there_is_no_fit(canvas, maps):
    row, column = np.argwhere(np.isnan(maps.residual.values))[0]
    pixel = canvas.pixel(float(maps.x[column]), float(maps.y[row]))
    assert canvas.fits(pixel) == {}
    assert pixel.reasons == ["no data"]


@pytest.mark.parametrize("methods", [("fcls",), ("sam",), ("sid",)])
def test_a_run_of_one_method_has_its_own_layers_and_sliders(methods, tmp_path):
    from bokeh.document import Document

    site = simulate_site(tmp_path / "tiles", tiles=(1, 1), size=40, wavelength=neon_wavelengths(100, step=20.0))
    settings = {"endmembers": {"count": 3, "sample": 600, "restarts": 2}, "methods": methods}
    hsi.run(hsi.RunConfig(tiles=[str(site.folder)], **settings), tmp_path / "run")
    canvas, document = Canvas(tmp_path / "run"), Document()
    page = ServedPage(canvas, document)
    page.show()
    own = {"fcls": "abundance_class", "sam": "sam_class", "sid": "sid_class"}
    assert list(page.limits) == [own[method] for method in methods]
    for layer in canvas.layers:
        page.layer.value = layer
    west, south, _, _ = canvas.bounds
    page.profiles.tell(west + 5, south + 5)
    assert ("abundance" in page.profiles.told.text) == (methods == ("fcls",))
    assert list(canvas.fits(canvas.pixel(west + 5, south + 5))) == ["abundance"] * (methods == ("fcls",))
    page.background.pool.shutdown()


def test_of_several_clicks_in_a_row_only_the_last_one_is_read(canvas, monkeypatch):
    from bokeh.document import Document

    page, free, read, spectrum = ServedPage(canvas, Document()), threading.Event(), [], canvas.spectrum
    monkeypatch.setattr(canvas, "spectrum", lambda pixel: (read.append(pixel.column), spectrum(pixel))[1])
    page.background.pool.submit(free.wait, 60)  # a slow one is under way
    west, south, _, _ = canvas.bounds
    for column in (5, 6, 7):
        page.profiles.tell(west + column, south + 5)
    free.set()
    page.background.pool.shutdown()
    assert read == [7]


@pytest.fixture
def served_page(canvas):
    """A page without a browser; what is read in the background is waited for."""
    from bokeh.document import Document

    page = ServedPage(canvas, Document())
    page.show()
    yield page
    page.background.pool.shutdown()


def run_all(page):
    """Do what waits for the page's own thread, and what that begins."""
    for _ in range(20):
        page.background.pool.submit(lambda: None).result()
        waiting = list(page.document.callbacks.session_callbacks)
        if not waiting:
            return
        for one in waiting:
            page.document.callbacks.remove_session_callback(one)
            one.callback()


def test_each_endmember_has_a_threshold_of_its_own(canvas, maps, served_page):
    page, scores = served_page, maps.sam_angle.load()
    page.layer.value = "sam_class"
    for slider, limit in zip(page.limits["sam_class"].each, (0.02, 0.05, 0.3), strict=True):
        slider.value = limit
    painted = page.painted(canvas.bounds)
    whole = canvas.paint(canvas.layers["sam_class"], corner(canvas, 200), [0.02, 0.05, 0.3])
    expected = hsi.threshold_classes(scores, [0.02, 0.05, 0.3]).values
    np.testing.assert_array_equal(whole.rgba, class_table(range(1, 4))[expected[:200, :200]])
    assert painted.shares != canvas.paint(canvas.layers["sam_class"], canvas.bounds).shares
    page.limits["sam_class"].all.value = 0.11
    assert page.limits["sam_class"].values == [0.11] * 3


def test_classes_that_are_saved_become_a_layer_of_the_run(run_dir, tmp_path):
    from bokeh.document import Document

    own = shutil.copytree(run_dir, tmp_path / "run")
    page = ServedPage(Canvas(own), Document())
    page.show()
    page.layer.value = "sam_class"
    page.limits["sam_class"].each[0].value = 0.03
    values = [0.03, 0.3, 0.3]
    page.name.value = "sam_angle"
    page.save_classes()
    run_all(page)
    assert "has a map sam_angle already" in page.saying.text
    page.name.value = "strict"
    page.save_classes()
    run_all(page)
    assert page.layer.value == "strict"
    assert ("strict", "strict") in page.layer.options["Classes"]
    stored = Canvas(own)
    expected = hsi.threshold_classes(hsi.open_results(own).sam_angle.load(), values).values
    painted = stored.paint(stored.layers["strict"], corner(stored, 200))
    np.testing.assert_array_equal(painted.rgba, class_table(range(1, 4))[expected[:200, :200]])
    assert stored.thresholds(stored.variables["strict"]) == values
    page.background.pool.shutdown()


def test_spectra_are_kept_and_compared_with_the_mean_of_a_region(canvas, served_page):
    page, (west, _, _, north) = served_page, canvas.bounds
    page.profiles.tell(west + 50.5, north - 40.5)
    run_all(page)
    page.profiles.keep()
    page.profiles.compare({"type": "rect", "x0": west + 590, "x1": west + 610, "y0": north - 30, "y1": north - 10})
    run_all(page)
    kept = page.profiles.lines["kept"].data
    assert kept["of"][0] == f"{west + 50.5:.1f} E, {north - 40.5:.1f} N"
    assert kept["of"][1].startswith("mean of 400 pixels at ")
    tiles = hsi.select_bands(hsi.open_mosaic([record.path for record in canvas.overviews.records]))
    values = tiles.sel(x=slice(west + 590, west + 610), y=slice(north - 10, north - 30)).mean(("y", "x"))
    mean = page.profiles.kept[1].spectrum
    np.testing.assert_allclose(mean, values, rtol=1e-5)
    assert page.profiles.kept[1].spectrum.attrs["pixels"] == 400
    page.profiles.clear()
    assert page.profiles.lines["kept"].data["of"] == []


def test_a_region_is_a_polygon_and_one_without_pixels_is_told(canvas, maps):
    west, _, _, north = canvas.bounds
    x, y = [west + 100, west + 140, west + 100], [north - 100, north - 100, north - 140]
    triangle = canvas.region(x, y)
    assert triangle.attrs["pixels"] == pytest.approx(800, abs=45)
    assert canvas.region([0, 1, 1], [0, 0, 1]) == "no pixel of the mosaic is in the region"
    empty = np.argwhere(np.isnan(maps.residual.values))[0]
    at_x, at_y = west + empty[1], north - empty[0]
    said = canvas.region([at_x, at_x + 1, at_x + 1, at_x], [at_y, at_y, at_y - 1, at_y - 1])
    assert said == "no pixel with data is in the region"


def test_any_band_and_any_three_are_read_from_the_tiles(canvas):
    west, _, _, north = canvas.bounds
    window = Bounds(west + 550, north - 50, west + 650, north)  # of both tiles
    tiles = hsi.open_mosaic([record.path for record in canvas.overviews.records])
    part = tiles.isel(y=slice(0, 50), x=slice(550, 650))
    for bands in ([1650.0], [2200.0, 1650.0, 800.0]):
        painted = canvas.paint_bands(window, bands)
        assert (painted.bounds, painted.factor) == (window, 1)
        for number, nm in enumerate(bands):
            brightness = part.sel(wavelength=nm, method="nearest").values
            good = painted.rgba[..., 3] == 255
            np.testing.assert_array_equal(good, np.isfinite(brightness))
            order = np.argsort(brightness[good], kind="stable")
            assert (np.diff(painted.rgba[..., number][good][order].astype(int)) >= 0).all()


def test_wavelengths_of_many_tiles_are_not_read_at_once(canvas, monkeypatch):
    from hsi_dask.show import pixels

    monkeypatch.setattr(pixels, "MOST_TILES", 1)
    assert canvas.paint_bands(canvas.bounds, [800.0]).startswith("zoom in: wavelengths are read from the tiles")


def test_a_coarse_picture_of_bands_has_every_nth_pixel(canvas, monkeypatch):
    monkeypatch.setattr(canvases, "MOST_PIXELS", 1000)
    painted = canvas.paint_bands(canvas.bounds, [800.0])
    assert (painted.factor, painted.rgba.shape) == (2, (300, 600, 4))
    planes = canvas.tiles.planes(2, slice(0, 300), slice(0, 600), [800.0])
    tiles = hsi.open_mosaic([record.path for record in canvas.overviews.records])
    np.testing.assert_array_equal(planes[0], tiles.sel(wavelength=800, method="nearest")[::2, ::2])


def test_classes_are_shown_over_the_picture(canvas, served_page):
    page = served_page
    page.layer.value = "sam_class"
    assert len(page.map.below[0].data["image"]) == 0
    page.opacity.value = 0.4
    assert page.map.below[0].data["image"][0].shape == (600, 1200)
    assert [renderer.glyph.global_alpha for renderer in page.map.renderers] == [0.4, 0.4]
    page.layer.value = "quicklook/cir"
    assert len(page.map.below[0].data["image"]) == 0


def test_the_places_of_endmembers_are_shown_when_asked_for(served_page):
    dots = [renderer for renderer in served_page.map.figure.renderers if renderer.name == "places"]
    assert len(dots) == 2
    assert not any(dot.visible for dot in dots)
    served_page.places.active = True
    assert all(dot.visible for dot in dots)


def test_legends_list_what_is_in_view(canvas, maps, served_page):
    layer = canvas.layers["sam_class"]
    one = canvas.paint(layer, corner(canvas, 3))
    names = {0: "unclassified", **{n: f"endmember {n}" for n in (1, 2, 3)}}
    told = legend(canvas, layer, one)
    for value, name in names.items():
        assert (name in told) == (value in one.shares)
    fractions = legend(
        canvas, canvas.layers["abundance/2"], canvas.paint(canvas.layers["abundance/2"], corner(canvas, 3))
    )
    assert f"mean of all pixels {float(maps.abundance[1].mean(dtype=float)):.3f}" in fractions


# ------------------------------------------------------------------------------------------------ the address


def test_an_address_keeps_what_is_shown_and_brings_it_back(canvas, served_page):
    from bokeh.document import Document

    page, (west, _, _, north) = served_page, canvas.bounds
    page.layer.value = "sam_class"
    page.limits["sam_class"].each[2].value = 0.05
    page.opacity.value = 0.5
    page.map.figure.x_range.update(start=west + 10, end=west + 50)
    page.map.figure.y_range.update(start=north - 40, end=north)
    page.profiles.tell(west + 20.5, north - 30.5)
    run_all(page)
    page.profiles.keep()
    turns = np.linspace(0, 2 * np.pi, 300, endpoint=False)
    lasso = {"type": "poly", "x": west + 600 + 9 * np.cos(turns), "y": north - 20 + 9 * np.sin(turns)}
    page.profiles.compare(lasso)
    run_all(page)
    page.refine()
    arguments = {name: [value.encode()] for name, value in parse_qsl(page.address.text)}
    other = ServedPage(canvas, Document())
    other.show(arguments)
    run_all(other)
    other.note_address()
    other.profiles.kept.sort(key=lambda one: len(one.outline))  # `run_all` calls back in any order, a server in theirs
    other.note_address()
    assert other.address.text == page.address.text
    assert other.limits["sam_class"].values == page.limits["sam_class"].values
    assert [one.name for one in other.profiles.kept] == [one.name for one in page.profiles.kept]
    assert 240 <= page.profiles.kept[1].spectrum.attrs["pixels"] <= 260, "of a circle of 9 m"
    assert other.profiles.kept[1].spectrum.identical(page.profiles.kept[1].spectrum)
    assert other.profiles.pixel.row == 30
    other.background.pool.shutdown()


@pytest.mark.parametrize(
    "query",
    [
        "layer=nothing&window=1,2,x,4&pixel=a,b&opacity=99&bands=1,2",
        "window=5,5,1,1&t.sam_class=1,2&t.nothing=0.1&kept=;;1&pixel=1e999,2",
        "layer=quicklook/band&bands=1e300&pixel=nan,nan&t.sam_class=,,",
        "layer=%00%ff&pixel=" + "1" * 9000,
    ],
)
def test_an_address_that_makes_no_sense_shows_what_it_can(canvas, query):
    from bokeh.document import Document

    page = ServedPage(canvas, Document())
    page.show({name: [value.encode()] for name, value in parse_qsl(query, keep_blank_values=True)})
    run_all(page)
    assert page.chosen.key in canvas.layers
    assert page.window.west < page.window.east
    page.background.pool.shutdown()


# ------------------------------------------------------------------------------------------------ serving


def said(*words):
    """What the command says and its exit code, from a process of its own."""
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr.splitlines()[-1]


def test_a_port_that_is_taken_is_one_sentence(run_dir):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, sentence = said("-m", "hsi_dask", "view", str(run_dir), "--no-browser", "--port", port)
    assert code == 2
    assert sentence == f"error: port {port} cannot be had (Address already in use); give another --port, or none"


def test_without_the_extra_the_command_says_what_to_install(run_dir):
    code = f"import sys; sys.modules['bokeh'] = None; from hsi_dask.cli import main; main(['view', {str(run_dir)!r}])"
    code, sentence = said("-c", code)
    assert code == 2
    assert sentence.endswith('needs Bokeh, which is not installed; get it with: pip install "hsi-dask[view]"')


def test_a_folder_that_is_no_run_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["view", str(tmp_path), "--no-browser"])
    assert end.value.code == 2
    assert "is not a run directory" in capsys.readouterr().err


MARKUP = ["<img src=x onerror=document.title='ran'>", "$$\\href{javascript:alert(1)}{x}$$", "</option><b>\x1b[2J"]


@pytest.fixture(scope="module")
def marked_up(run_dir, tmp_path_factory):
    """The port of a page of a run whose folder and endmembers have markup as names."""
    folder = tmp_path_factory.mktemp("marked") / "<img src=x onerror=alert(1)> $$x$$"
    shutil.copytree(run_dir, folder)
    root = folder / "endmembers.zarr" / "zarr.json"
    told = json.loads(root.read_text())
    told["attributes"]["names"] = MARKUP
    root.write_text(json.dumps(told))
    words = [sys.executable, "-m", "hsi_dask", "view", str(folder), "--no-browser"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield int(process.stdout.readline().strip().rstrip("/").rpartition(":")[2])
        process.terminate()


def answer(port, path="/", **headers):
    """Status and body of what the server answers."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as asked:
        asked.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        with asked.getresponse() as got:
            return got.status, got.read().decode() if got.status != 101 else ""


def test_the_folder_s_name_is_text_on_the_page(marked_up):
    status, page = answer(marked_up)
    assert status == 200
    assert "<img src=x" not in page
    assert "<h1>&lt;img src=x onerror=alert(1)&gt; $$x$$</h1>" in page


@pytest.mark.parametrize("path", ["/", "/metadata", "/static/js/bokeh.min.js", "/ws", "/autoload.js"])
def test_only_this_machine_s_own_names_are_answered(marked_up, path):
    for host in ("evil.example", f"evil.example:{marked_up}", f"localhost.evil.example:{marked_up}", "10.0.0.1", ""):
        assert answer(marked_up, path, Host=host)[0] == 403
    for host in (f"localhost:{marked_up}", f"127.0.0.1:{marked_up}", "LOCALHOST:8888"):  # by way of a tunnel
        assert answer(marked_up, path, Host=host)[0] != 403


def test_a_page_of_another_site_may_link_here_but_not_load_it(marked_up):
    strange = {"Sec_Fetch_Site": "cross-site"}
    assert answer(marked_up, **strange, Sec_Fetch_Mode="no-cors")[0] == 403
    assert answer(marked_up, **strange, Sec_Fetch_Mode="navigate")[0] == 200


@pytest.mark.parametrize(("origin", "opened"), [("http://localhost:{}", True), ("http://evil.example:{}", False),
                                                ("http://localhost:1", False), ("null", False)])  # fmt: skip
def test_the_websocket_opens_for_the_page_alone(marked_up, origin, opened):
    token = re.search(r'"token":"([^"]+)"', answer(marked_up)[1])[1]
    asked = {
        "Host": f"localhost:{marked_up}", "Origin": origin.format(marked_up), "Upgrade": "websocket",
        "Connection": "Upgrade", "Sec_WebSocket_Key": "x" * 22 + "==", "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Protocol": f"bokeh, {token}",
    }  # fmt: skip
    assert answer(marked_up, "/ws", **asked)[0] == (101 if opened else 403)


def test_pages_that_nobody_looks_at_are_few_and_soon_gone(canvas):
    from bokeh.application import Application
    from bokeh.application.handlers import FunctionHandler

    from hsi_dask.show.view import _MOST_UNUSED, _site_type

    app = Application(FunctionHandler(lambda document: ServedPage(canvas, document).show()))

    async def forty():
        site, most = _site_type()({"/": app}, 5006), 0
        context = site.applications["/"]
        for number in range(40):
            site.make_room()
            await context.create_session_if_needed(f"page {number}")
            await context._cleanup_sessions(60_000)
            most = max(most, len(list(context.sessions)))
        return most

    assert asyncio.run(forty()) <= _MOST_UNUSED + 1


def test_what_is_queued_behind_pages_is_given_up_at_the_end():
    from bokeh.document import Document

    begun, go, done = threading.Event(), threading.Event(), []

    def slow():
        begun.set()
        go.wait(30)
        done.append("first")

    background = Background(Document())
    background.later(slow, lambda found: None)
    for _ in range(100):
        background.later(lambda: done.append("queued"), lambda found: None)
    assert begun.wait(30)
    end_all()
    go.set()
    background.pool.shutdown(wait=True)
    assert done == ["first"]


# ------------------------------------------------------------------------------------------------ in the browser


@pytest.fixture(scope="module")
def address(run_dir):
    """The page, served by the command in a process of its own."""
    words = [sys.executable, "-m", "hsi_dask", "view", str(run_dir), "--no-browser"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=30)
        assert "Traceback" not in errors, errors
        assert process.returncode == 0


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (browser and driver):
        pytest.skip("no chromium with its chromedriver; on Debian: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (
        "headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "disable-background-networking",
        "no-first-run", "disable-component-update", "disable-sync", "window-size=1400,1000",
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


class Page:
    """The page as a person uses it: looks, and a mouse; and the models behind it, to wait for."""

    def __init__(self, driver, address):
        self.driver = driver
        driver.get(address)
        self.until(lambda: self.ask("return Bokeh.documents.length && Bokeh.documents[0].is_idle"))
        self.until(lambda: len(self.colours()) > 20)

    def ask(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def until(self, holds, seconds=30):
        end = time.monotonic() + seconds
        while not (found := holds()):
            assert time.monotonic() < end, "nothing came of it"
            time.sleep(0.1)
        return found

    def inside(self, name, selector):
        """An element in the shadows of a named model."""
        script = """
            const [name, selector] = arguments, queue = [document];
            const id = Bokeh.documents[0].get_model_by_name(name).id;
            const view = Bokeh.index.find_one_by_id(id);
            return view.shadow_el.querySelector(selector)"""
        return self.ask(script, name, selector)

    def map(self):
        return self.driver.find_element("id", "map")

    def picture(self):
        from PIL import Image

        return np.asarray(Image.open(io.BytesIO(self.map().screenshot_as_png)).convert("RGB"))

    def colours(self):
        return np.unique(self.picture().reshape(-1, 3), axis=0)

    def changed(self, before):
        return self.until(lambda: (now := self.picture()).shape != before.shape or (now != before).mean() > 0.02)

    def text(self, name):
        return self.ask("return Bokeh.documents[0].get_model_by_name(arguments[0]).text", name)

    def choose(self, layer):
        from selenium.webdriver.support.select import Select

        Select(self.inside("layer", "select")).select_by_visible_text(layer)

    def click(self):
        """A pixel in the middle of the map."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).move_to_element(self.map()).click().perform()

    def slide(self, name, by):
        from selenium.webdriver import ActionChains

        handle = self.inside(name, ".noUi-handle")
        ActionChains(self.driver).drag_and_drop_by_offset(handle, by, 0).perform()

    def zoom(self, by):
        from selenium.webdriver import ActionChains
        from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

        origin = ScrollOrigin.from_element(self.map())
        ActionChains(self.driver).scroll_from_origin(origin, 0, by).perform()

    def lines(self, number):
        """Values of a spectrum: 0 the fit, 1 the pixel's."""
        script = """
            const figure = Bokeh.documents[0].get_model_by_name("spectrum");
            const found = figure.renderers.filter(r => r.name == null)[arguments[0]];
            return Array.from(found.data_source.data.reflectance)"""
        return self.ask(script, number)


@pytest.fixture
def page(chromium, address):
    opened = Page(chromium, address)
    yield opened
    told = [entry for entry in chromium.get_log("browser") if entry["level"] in {"SEVERE", "WARNING"}]
    assert told == []


def test_the_page_needs_nothing_from_elsewhere(page, chromium, address):
    events = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    urls = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    ours = {url for url in urls if url.startswith(address)}
    assert len(ours) > 2
    assert [url for url in urls - ours if url.startswith(("http", "ws", "//"))] == []


def test_other_layers_are_other_pictures_with_their_legends(page):
    before = page.picture()
    page.choose("abundance, endmember 2")
    page.changed(before)
    page.until(lambda: "abundance" in page.text("legend"))
    before = page.picture()
    page.choose("SAM classes")
    page.changed(before)
    page.until(lambda: "unclassified" in page.text("legend") and "endmember 3" in page.text("legend"))


def test_a_click_tells_of_the_pixel_and_draws_its_spectrum_with_gaps_at_the_water_windows(page, canvas):
    page.click()
    page.until(lambda: page.lines(1))
    fit, spectrum = (np.array(page.lines(n), float) for n in (0, 1))
    assert spectrum.shape == fit.shape
    assert np.isnan(spectrum).sum() == np.isnan(fit).sum() == 2
    assert 0 < np.nanmax(spectrum) < 1.2
    said = page.until(lambda: "reading" not in page.text("pixel") and page.text("pixel"))
    for words in (" E, ", " N<", "endmember 3", "SAM angle (radian)", "SID divergence", "SAM classes: ", "%", ".h5"):
        assert words in said


def test_a_line_under_the_mouse_tells_its_name_and_values(page):
    from selenium.webdriver.common.actions.action_builder import ActionBuilder

    name, x, y, value = page.ask("""
        const figure = Bokeh.documents[0].get_model_by_name("spectrum");
        const view = Bokeh.index.find_one_by_id(figure.id), line = figure.renderers.find(r => r.name != null);
        const {wavelength, reflectance} = line.data_source.data, k = 40;
        const box = view.canvas_view.el.getBoundingClientRect(), {x_scale, y_scale} = view.frame;
        const at = [box.left + x_scale.compute(wavelength[k]), box.top + y_scale.compute(reflectance[k])];
        return [line.name, ...at, reflectance[k]]""")
    for step in (30, 3, 0):
        mouse = ActionBuilder(page.driver)
        mouse.pointer_action.move_to_location(round(x) + step, round(y))
        mouse.perform()
    said = page.until(
        lambda: page.ask("""
        const told = [], look = root => root.querySelectorAll("*").forEach(el => {
            if (el.shadowRoot && el.getClientRects().length) {
                if (el.className.includes("Tooltip")) told.push(el.shadowRoot.textContent);
                look(el.shadowRoot);
            }
        });
        look(document);
        return told.join(" ")""")
    )
    assert name in said
    assert f"{value:.2f}" in said


def test_a_threshold_that_slides_classifies_anew(page):
    page.choose("SAM classes")
    page.until(lambda: "unclassified" in page.text("legend"))
    before, legend = page.picture(), page.text("legend")
    page.slide("sam_class_threshold", -60)
    page.changed(before)
    page.until(lambda: page.text("legend") != legend)
    assert page.ask("return Bokeh.documents[0].get_model_by_name('sam_class_threshold').value") < 0.3


def test_sliding_the_other_threshold_shows_its_classes(page):
    page.slide("sid_class_threshold", -80)
    page.until(lambda: page.ask("return Bokeh.documents[0].get_model_by_name('layer').value") == "sid_class")


def test_zooming_in_reads_finer_and_stays_true_to_scale(page):
    ask = "const m = Bokeh.documents[0].get_model_by_name('map'); return [m.x_range.end - m.x_range.start, "
    ask += "m.y_range.end - m.y_range.start, m.inner_width, m.inner_height]"
    before = page.until(lambda: (now := page.ask(ask))[0] / now[2] == pytest.approx(now[1] / now[3], rel=0.01) and now)
    page.zoom(-600)
    after = page.until(lambda: (now := page.ask(ask))[0] < before[0] and now)
    for width, height, columns, rows in (before, after):
        assert width / columns == pytest.approx(height / rows, rel=0.01)


def test_zooming_ends_at_a_few_pixels_and_far_above_the_mosaic(page, canvas):
    """Where coordinates still differ, and before the mosaic is lost."""
    ask = "const m = Bokeh.documents[0].get_model_by_name('map'); return [m.x_range.end - m.x_range.start, "
    ask += "m.y_range.end - m.y_range.start, m.inner_width, m.inner_height]"
    side = canvas.bounds.east - canvas.bounds.west  # the longer one
    for by, low, high in ((-2000, 8, 40), (2000, 4 * side, 8 * side)):
        for _ in range(20):
            page.zoom(by)
        width, height, columns, rows = page.ask(ask)
        assert low <= min(width, height)
        assert max(width, height) <= high
        assert width / columns == pytest.approx(height / rows, rel=0.01)


def test_spectra_are_saved_as_a_table_with_a_column_each(page):
    page.click()
    page.until(lambda: page.lines(1))
    page.ask("""URL.createObjectURL = blob => { blob.text().then(text => { window.saved = text }); return "data:," }""")
    page.ask("arguments[0].click()", page.inside("csv", "button"))
    text = page.until(lambda: page.ask("return window.saved || null"))
    head, *rows = list(csv.reader(io.StringIO(text)))
    assert head[:4] == ["wavelength", "endmember 1", "endmember 2", "endmember 3"]
    assert head[4] == "fit of abundance"
    assert " E, " in head[5]
    assert len(rows) == len([value for value in page.lines(1) if value is not None])
    assert [float(row[5]) for row in rows] == pytest.approx([v for v in page.lines(1) if v is not None], rel=1e-5)


@pytest.mark.parametrize("name", ["map", "spectrum"])
def test_figures_are_saved_as_pictures_without_a_question(page, name):
    page.ask("""window.saved = null;
        URL.createObjectURL = blob => { window.saved = blob.type; return "data:," };
        window.prompt = () => { window.saved = "a question"; return null }""")
    if name == "spectrum":
        page.ask("arguments[0].click()", page.inside("png", "button"))
    else:
        page.ask("const figure = Bokeh.documents[0].get_model_by_name(arguments[0]);" + SAVE_PICTURE, name)
    assert page.until(lambda: page.ask("return window.saved")) == "image/png"


def test_the_address_bar_follows_what_is_shown(page, chromium):
    page.choose("residual")
    page.until(lambda: "layer=residual" in chromium.current_url)
    page.click()
    page.until(lambda: "pixel=" in chromium.current_url)


def test_the_page_fits_a_narrow_window(page, chromium):
    chromium.set_window_size(500, 900)
    try:
        page.until(lambda: page.ask("return document.documentElement.clientWidth") <= 500)
        time.sleep(0.5)
        assert page.ask("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert page.map().rect["width"] > 400
    finally:
        chromium.set_window_size(1400, 1000)


def test_every_layer_shows_a_map_of_the_run_or_its_quicklook(canvas):
    maps = {variable.name for variable in canvas.run.manifest.variables}
    assert {layer.variable for layer in canvas.layers.values()} <= {*maps, "quicklook"}


def test_names_are_text_in_the_browser(chromium, marked_up):
    page = Page(chromium, f"http://localhost:{marked_up}/")
    page.choose("SAM classes")
    page.until(lambda: "Shares" in page.text("legend"))
    page.click()
    page.until(lambda: "<table>" in page.text("pixel"))
    shown = page.ask("return Array.from(arguments[0].options).map(one => one.text)", page.inside("layer", "select"))
    names = [f"{number} {name}" for number, name in enumerate([*MARKUP[:2], r"</option><b>\x1b[2J"], 1)]
    assert {f"abundance, {name}" for name in names} <= set(shown)
    for panel, selector in (("legend", "li"), ("pixel", "td:first-child")):
        element = "return Array.from(arguments[0].getRootNode().querySelectorAll(arguments[1])).map(e => e.textContent)"
        texts = page.ask(element, page.inside(panel, selector), selector)
        assert all(any(text.startswith(name) for text in texts) for name in names)
    assert "ran" not in chromium.title
    assert not page.ask("return document.querySelectorAll('mjx-container, img[src=x]').length")
