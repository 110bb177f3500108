"""View: a page in the browser for a run, served to this machine alone; Bokeh draws it, `Canvas` says what.

Other pages in the same browser are strangers: only requests to this machine's own name are answered (a foreign name may
lead here, too), only this page's websocket is opened, and pages that nobody looks at are few and soon gone.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hsi_dask.batch.observer import Advanced
from hsi_dask.errors import RunError
from hsi_dask.escaping import visible
from hsi_dask.schema import FLAGS, UNCLASSIFIED, WAVELENGTH
from hsi_dask.show.canvas import SCORES, Bounds, Canvas, Layer, Painted, Pixel
from hsi_dask.show.figures import label_of, with_gaps
from hsi_dask.show.palettes import GOOD_COLOUR, SEVERAL_COLOUR, UNCLASSIFIED_COLOUR, flag_colour

if TYPE_CHECKING:
    from bokeh.document import Document
    from bokeh.server.server import BaseServer

_TEMPLATE = Path(__file__).with_name("view.html")
_SETTLE = 120  # ms without another zoom, pan or slide before the map is painted anew
_FEWEST_PIXELS = 8  # along a side of the map: closer in, coordinates in metres would all read the same
_FARTHEST = 8  # times the mosaic's longer side
_INK = "#1f2328"
_NAMES = ("localhost", "127.0.0.1")  # with any port: a tunnel may end at another
_MOST_UNUSED = 6  # pages without a connection: loading, reloaded, or asked for by what is no browser
_UNUSED, _CHECK = 15_000, 1000  # ms: how long such a page waits for its browser, and between looks at them
_MOST_BODY = 1_000_000  # bytes that a browser may send at once


@contextlib.contextmanager
def served(run_dir: str | os.PathLike[str], *, port: int = 0, advanced: Advanced = lambda share: None) -> Iterator[str]:
    """Serve a run's page on 127.0.0.1 until the context is left; `wait` in it answers the browser.

    Parameters
    ----------
    run_dir : path
        Its overviews are made first if need be; `advanced` hears of that, as in `open_overviews`.
    port : 0 takes any that is free.

    Yields
    ------
    The page's address.

    Raises
    ------
    RunError
        The folder is not a run or has no finished tile, Bokeh is not installed, or the port is taken.
    """
    server = _server(run_dir, port, advanced)
    server.start()
    gc.collect()
    gc.freeze()  # Bokeh collects garbage for each page that is left: what stays until the end is not looked through
    try:
        yield f"http://localhost:{server.port}/"
    finally:
        gc.unfreeze()
        server.stop()


def wait() -> None:
    """Answer the browser until the process is interrupted."""
    from tornado.ioloop import IOLoop

    IOLoop.current().start()


def _server(run_dir: str | os.PathLike[str], port: int, advanced: Advanced) -> BaseServer:
    try:
        from bokeh.application import Application
        from bokeh.application.handlers import FunctionHandler
        from bokeh.server.server import BaseServer
        from bokeh.server.util import bind_sockets
        from tornado.httpserver import HTTPServer
        from tornado.ioloop import IOLoop
    except ImportError as error:
        raise RunError(
            'hsi-dask view needs Bokeh, which is not installed; get it with: pip install "hsi-dask[view]"'
        ) from error
    canvas = Canvas(run_dir, advanced=advanced)
    app = Application(FunctionHandler(lambda document: _Page(canvas, document).show()))
    try:
        sockets, port = bind_sockets("127.0.0.1", port)
    except OSError as error:
        raise RunError(f"port {port} cannot be had ({error.strerror}); give another --port, or none") from error
    site = _site_type()({"/": app}, port)
    http = HTTPServer(site, max_body_size=_MOST_BODY)
    http.add_sockets(sockets)
    return BaseServer(IOLoop.current(), site, http)


@cache
def _site_type() -> Any:
    """The web application; a function, because Bokeh may not be installed."""
    from bokeh.server.tornado import BokehTornado
    from tornado.web import RequestHandler

    class Refusal(RequestHandler):  # type: ignore[misc]
        def initialize(self, reason: str) -> None:
            self.reason = reason

        def prepare(self) -> None:
            self.set_status(403)
            self.set_header("Content-Type", "text/plain")
            self.finish(self.reason)

    class Site(BokehTornado):  # type: ignore[misc]
        """Bokeh's site, which answers to its own names, and keeps few pages that nobody looks at."""

        def __init__(self, applications: dict[str, Any], port: int) -> None:
            super().__init__(
                applications, extra_websocket_origins=[f"{name}:{port}" for name in _NAMES],
                check_unused_sessions_milliseconds=_CHECK, unused_session_lifetime_milliseconds=_UNUSED,
                include_headers=[], include_cookies=[],
            )  # fmt: skip

        def find_handler(self, request: Any, **more: Any) -> Any:
            if reason := _refused(request.headers):
                return self.get_handler_delegate(request, Refusal, {"reason": reason})
            if request.path == "/":
                self.make_room()
            return super().find_handler(request, **more)

        def make_room(self) -> None:
            """Before another page: of those without a connection the oldest go with the next look at them."""
            unused = [one for one in self.get_sessions("/") if not one.connection_count]
            unused.sort(key=lambda one: one.milliseconds_since_last_unsubscribe)
            for old in unused[_MOST_UNUSED - 1 :]:
                old.request_expiration()

    return Site


def _refused(headers: Any) -> str:
    """Why a request is not answered; "" where it is."""
    host = headers.get("Host", "").rpartition(":")[0] or headers.get("Host", "")
    if host.lower() not in _NAMES:
        return f"this page is at http://{_NAMES[0]} only"
    # a browser says where a request comes from: pages of other sites may link here, but not load it as a picture
    if headers.get("Sec-Fetch-Site") == "cross-site" and headers.get("Sec-Fetch-Mode") != "navigate":
        return "this page is not for other sites"
    return ""


class _Page:
    """One browser's page: widgets and figures, and what happens when they are touched."""

    def __init__(self, canvas: Canvas, document: Document) -> None:
        self.canvas, self.document = canvas, document
        self.pool = ThreadPoolExecutor(1)  # reads spectra, so that the page answers meanwhile
        self.clicks = 0
        self.waiting: Any = None
        self.layers = canvas.layers
        self.map, self.coarse, self.fine, self.mark = _map(canvas)
        self.lines, self.spectrum = _spectrum(canvas)
        self.layer = _choice(self.layers)
        self.thresholds = {m: _slider(canvas, m) for m in SCORES if f"{m}_class" in self.layers}
        self.moved: set[str] = set()  # thresholds that are no longer the run's own
        self.legend, self.pixel = _div("legend"), _div("pixel")

    def show(self) -> None:
        """Put everything on the page."""
        from bokeh.events import RangesUpdate, Reset, Tap
        from bokeh.layouts import column, row
        from jinja2 import Environment

        self.layer.on_change("value", _then(self.repaint))
        for method, slider in self.thresholds.items():
            slider.on_change("value", _then(partial(self.reclassify, method)))
        self.map.on_event(Tap, lambda event: self.tell(event.x, event.y))
        self.map.on_event(RangesUpdate, lambda _: self.soon(self.refine))
        self.map.on_event(Reset, lambda _: self.soon(self.fit))
        for name in ("inner_width", "inner_height"):
            self.map.on_change(name, _then(partial(self.soon, self.fit)))
        sliders = row(*self.thresholds.values(), sizing_mode="stretch_width", spacing=16)
        controls = column(self.layer, sliders, self.legend, name="controls", sizing_mode="stretch_width")
        for root in (self.map, controls, self.spectrum, self.pixel):
            self.document.add_root(root)
        run = self.canvas.run
        self.document.template = Environment(autoescape=False).from_string(_TEMPLATE.read_text(encoding="utf-8"))
        self.document.title = visible(f"{run.path.resolve().name} - hsi_dask")
        told = {"heading": run.path.resolve().name, "told": _about(self.canvas)}
        self.document.template_variables.update({key: escape(visible(text)) for key, text in told.items()})
        self.document.on_session_destroyed(lambda _: self.pool.shutdown(wait=False, cancel_futures=True))
        self.pixel.text = '<p class="soft">Click a pixel of the map to see its spectrum.</p>'
        self.repaint()

    def soon(self, what: Callable[[], None]) -> None:
        """Do it when nothing more comes for a moment; a newer wish replaces this one."""
        if self.waiting is not None:
            with contextlib.suppress(ValueError):  # it has run
                self.document.remove_timeout_callback(self.waiting)
        self.waiting = self.document.add_timeout_callback(what, _SETTLE)

    # -------------------------------------------------------------------------------------------- the map

    def repaint(self) -> None:
        """Another layer or threshold: the whole mosaic coarsely, and the window as fine as it fits."""
        self.put(self.coarse, self.painted(self.canvas.bounds))
        self.refine()

    def refine(self) -> None:
        """Another window."""
        x, y = self.map.x_range, self.map.y_range
        painted = self.painted(Bounds(x.start, y.start, x.end, y.end))
        self.put(self.fine, painted)
        self.legend.text = _legend(self.canvas, self.chosen, painted)

    def reclassify(self, method: str) -> None:
        """A threshold moved: look at its classes."""
        self.moved.add(method)
        if self.chosen.method != method:
            self.layer.value = f"{method}_class"
        self.soon(self.repaint)

    @property
    def chosen(self) -> Layer:
        return self.layers[self.layer.value]

    def painted(self, window: Bounds) -> Painted:
        method = self.chosen.method
        threshold = float(self.thresholds[method].value) if method in self.moved else None
        return self.canvas.paint(self.chosen, window, threshold)

    @staticmethod
    def put(source: Any, painted: Painted) -> None:
        rgba = np.ascontiguousarray(painted.rgba[::-1])  # Bokeh draws from the south
        west, south, east, north = painted.bounds
        place = {"x": [west], "y": [south], "dw": [east - west], "dh": [north - south]}
        source.data = {"image": [rgba.view(np.uint32)[..., 0]], **place}

    def fit(self) -> None:
        """Metres as long in x as in y, whatever the shape of the window."""
        x, y = self.map.x_range, self.map.y_range
        width, height = self.map.inner_width or 1, self.map.inner_height or 1
        metres = max((x.end - x.start) / width, (y.end - y.start) / height)
        for axis, size in ((x, width), (y, height)):
            middle = (axis.start + axis.end) / 2
            axis.update(start=middle - metres * size / 2, end=middle + metres * size / 2)
        self.refine()

    # -------------------------------------------------------------------------------------------- a pixel

    def tell(self, x: float, y: float) -> None:
        """A click: what is stored at once, the spectrum when it is read."""
        pixel = self.canvas.pixel(x, y)
        if pixel is None:
            return
        self.clicks += 1
        number = self.clicks
        dx, dy = self.canvas.run.manifest.grid.resolution
        self.mark.data = {"x": [pixel.x], "y": [pixel.y], "width": [dx], "height": [dy]}
        self.spectrum.legend.visible = True
        self.pixel.text = _story(self.canvas, pixel, "reading its spectrum ...")
        self.lines["pixel"].data = _line(None)
        self.lines["fit"].data = _line(self.canvas.fit(pixel))

        def read() -> None:
            if number != self.clicks:
                return  # a plane is inflated for each wavelength: only for the pixel that was clicked last
            found = self.canvas.spectrum(pixel)
            self.document.add_next_tick_callback(lambda: show(found))

        def show(found: xr.DataArray | str) -> None:
            if number != self.clicks:
                return
            self.lines["pixel"].data = _line(None if isinstance(found, str) else found)
            self.pixel.text = _story(self.canvas, pixel, found if isinstance(found, str) else "")

        self.pool.submit(read)


def _then(do: Callable[[], None]) -> Callable[[str, Any, Any], None]:
    """As Bokeh wants to be told what to do when a property changes."""
    return lambda attr, old, new: do()


# ------------------------------------------------------------------------------------------------ figures, widgets


def _map(canvas: Canvas) -> tuple[Any, Any, Any, Any]:
    """The figure, and the sources of the whole mosaic, of the window, and of the mark on a pixel."""
    from bokeh.models import BoxZoomTool, ColumnDataSource, Range1d, ScaleBar
    from bokeh.plotting import figure

    west, south, east, north = canvas.bounds
    nearest = _FEWEST_PIXELS * max(canvas.run.manifest.grid.resolution)
    farthest = _FARTHEST * max(east - west, north - south, nearest)
    grid = canvas.run.manifest.grid
    ends = {"min_interval": nearest, "max_interval": farthest}
    shown = figure(
        name="map", sizing_mode="stretch_both", x_range=Range1d(west, east, **ends),
        y_range=Range1d(south, north, **ends),
        tools="pan,wheel_zoom,reset,tap", active_scroll="wheel_zoom", active_drag="pan", toolbar_location="above",
        x_axis_label=f"easting ({grid.unit}, {grid.label})", y_axis_label=f"northing ({grid.unit})",
        background_fill_color="#eceef0", output_backend="canvas",
    )  # fmt: skip
    shown.add_tools(BoxZoomTool(match_aspect=True))
    sources = [ColumnDataSource({"image": [], "x": [], "y": [], "dw": [], "dh": []}) for _ in range(2)]
    for source in sources:
        shown.image_rgba("image", "x", "y", "dw", "dh", source=source)
    mark = ColumnDataSource({"x": [], "y": [], "width": [], "height": []})
    for width, colour in ((4, "white"), (2, _INK)):
        shown.rect("x", "y", "width", "height", source=mark, fill_color=None, line_color=colour, line_width=width)
    shown.scatter("x", "y", source=mark, size=16, marker="circle", fill_color=None, line_color="white", line_width=4)
    shown.scatter("x", "y", source=mark, size=16, marker="circle", fill_color=None, line_color=_INK, line_width=2)
    shown.add_layout(ScaleBar(range=shown.x_range, unit="m", location="bottom_left", background_fill_alpha=0.8,
                              bar_length=0.12))  # fmt: skip
    _metres(shown)
    return shown, *sources, mark


def _metres(shown: Any) -> None:
    from bokeh.models import BasicTicker, NumeralTickFormatter

    for axis in (shown.xaxis[0], shown.yaxis[0]):
        axis.formatter = NumeralTickFormatter(format="0")
        axis.ticker = BasicTicker(desired_num_ticks=5)
    shown.yaxis[0].major_label_orientation = "vertical"
    shown.grid.visible = False
    shown.toolbar.logo = None
    shown.min_border_right = 14


def _spectrum(canvas: Canvas) -> tuple[dict[str, Any], Any]:
    """Sources of the pixel's spectrum and its fit, and the figure, which has the endmembers too."""
    from bokeh.models import ColumnDataSource
    from bokeh.plotting import figure

    shown = figure(
        name="spectrum", sizing_mode="stretch_both", tools="xpan,xwheel_zoom,box_zoom,reset", active_drag="box_zoom",
        x_axis_label="wavelength (nm)", y_axis_label="reflectance", toolbar_location="above",
    )  # fmt: skip
    wavelength = np.asarray(canvas.endmembers[WAVELENGTH], np.float64)
    for name, colour, values in zip(canvas.names, canvas.colours, canvas.endmembers.values, strict=True):
        at, gapped = with_gaps(wavelength, values)
        shown.line(at, gapped, color=colour, line_width=1.5, line_alpha=0.75, name=name)
    lines = {name: ColumnDataSource(_line(None)) for name in ("fit", "pixel")}
    dashes = {"fit": "dashed", "pixel": "solid"}
    for name, text in (("pixel", "pixel"), ("fit", "fit")):
        shown.line("wavelength", "reflectance", source=lines[name], color="black" if name == "pixel" else "#d6006c",
                   line_width=2, line_dash=dashes[name], legend_label=text)  # fmt: skip
    shown.legend.update(
        visible=False, location="top_right", padding=4, spacing=0, background_fill_alpha=0.7, border_line_alpha=0
    )
    shown.toolbar.logo = None
    shown.grid.grid_line_color = "#ebedf0"
    shown.outline_line_color = None
    return lines, shown


def _choice(layers: dict[str, Layer]) -> Any:
    from bokeh.models import Select

    groups: dict[str, list[tuple[str, str]]] = {}
    for key, layer in layers.items():
        groups.setdefault(layer.group, []).append((key, layer.title))
    return Select(title="Layer", value=next(iter(layers)), options=groups, name="layer", sizing_mode="stretch_width")


def _slider(canvas: Canvas, method: str) -> Any:
    """A threshold; it starts as the run's own, or where every pixel keeps its class."""
    from bokeh.models import Slider

    own, high = canvas.threshold(method), canvas.highest_score(method)
    end = float(f"{1.1 * max(high, own or 0):.2g}")
    unit = {"sam": "rad", "sid": "nat"}[method]
    return Slider(title=f"{method.upper()} threshold ({unit})", start=0, end=end, step=end / 200, value=own or end,
                  format="0.000", name=f"{method}_threshold", sizing_mode="stretch_width",
                  bar_color="#0072b2")  # fmt: skip


def _div(name: str) -> Any:
    from bokeh.models import Div, InlineStyleSheet

    style = InlineStyleSheet(css=_STYLE)
    return Div(name=name, sizing_mode="stretch_width", stylesheets=[style], disable_math=True)


_STYLE = """
:host { font: 13px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; color: #1f2328; }
p { margin: 2px 0 6px; } .soft { color: #667; } .warn { color: #9a3412; }
.swatch { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 6px; vertical-align: -1px;
  border: 1px solid rgba(0, 0, 0, .15); }
.bk-clearfix { width: 100%; } p { overflow-wrap: anywhere; }
ul { list-style: none; margin: 4px 0; padding: 0; display: grid; grid-auto-flow: column;
  grid-auto-columns: 1fr; gap: 1px 28px; }
li { display: flex; align-items: baseline; } li b { margin-left: auto; padding-left: 8px; font-weight: 500; }
.bar { height: 12px; border-radius: 3px; } .ends { display: flex; justify-content: space-between; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { font-weight: 500; color: #667; } th, td { text-align: right; padding: 2px 4px; border-bottom: 1px solid #eceef0; }
th:first-child, td:first-child { text-align: left; } .best { font-weight: 650; }
"""


# ------------------------------------------------------------------------------------------------ words


def _about(canvas: Canvas) -> str:
    run, (height, width) = canvas.run, canvas.run.manifest.grid.shape
    tiles = f"{len(run.done())} of {len(run.manifest.tiles)} tiles"
    return f"{tiles}, {height:,} x {width:,} pixels (y, x), {len(canvas.names)} endmembers"


def _line(spectrum: xr.DataArray | None) -> dict[str, Any]:
    """What a figure needs to draw a spectrum, gaps where wavelengths were left out."""
    if spectrum is None:
        return {"wavelength": [], "reflectance": []}
    wavelength, values = with_gaps(np.asarray(spectrum[WAVELENGTH], np.float64), np.asarray(spectrum, np.float32))
    return {"wavelength": wavelength, "reflectance": values}


def _legend(canvas: Canvas, layer: Layer, painted: Painted) -> str:
    coarse = (
        f'<p class="soft">Each dot is {painted.factor} x {painted.factor} pixels.</p>' if painted.factor > 1 else ""
    )
    if layer.method:
        labels = {UNCLASSIFIED: ("unclassified", UNCLASSIFIED_COLOUR)}
        labels |= dict(enumerate(zip(canvas.names, canvas.colours, strict=True), 1))
        rows = [(text, colour, f"{painted.shares.get(n, 0):.1%}") for n, (text, colour) in labels.items()]
        return f"{_list(rows)}<p class='soft'>Shares of what is in view.</p>{coarse}"
    if layer.variable == "quality":
        flags = [(name.replace("_", " "), flag_colour(name), "") for name in FLAGS if name != "no_data"]
        return _list([("good", GOOD_COLOUR, ""), *flags, ("several reasons", SEVERAL_COLOUR, "")]) + coarse
    low, high = canvas.limits(layer)
    if layer.picture:
        return f'<p class="soft">Reflectance from {low:.3f} to {high:.3f}, all three colours alike.</p>{coarse}'
    colours = ", ".join("#{:02x}{:02x}{:02x}".format(*colour) for colour in canvas.colour_map(layer)[::17])
    name = escape(label_of(canvas.levels[1][layer.variable]))
    bar = f'<div class="bar" style="background: linear-gradient(to right, {colours})"></div>'
    return f'<p>{name}</p>{bar}<div class="ends"><span>{low:.3g}</span><span>{high:.3g}</span></div>{coarse}'


def _list(rows: list[tuple[str, str, str]]) -> str:
    items = (f'<li><span class="swatch" style="background:{colour}"></span>{escape(text)}<b>{value}</b></li>'
             for text, colour, value in rows)  # fmt: skip
    return f"<ul style='grid-template-rows: repeat({-(-len(rows) // 2)}, auto)'>{''.join(items)}</ul>"


def _story(canvas: Canvas, pixel: Pixel, note: str) -> str:
    """One pixel in words and numbers."""
    head = (
        f"<p><b>{pixel.x:.1f} E, {pixel.y:.1f} N</b> <span class='soft'>row {pixel.row}, column {pixel.column}</span>"
    )
    tile = f"<br><span class='soft'>{escape(visible(Path(pixel.path).name))}</span>" if pixel.path else ""
    facts = [f"masked: {', '.join(pixel.reasons)}"] if pixel.reasons else []
    if "residual" in pixel.maps and np.isfinite(pixel.maps["residual"]):
        facts.append(f"residual of the fit {float(pixel.maps['residual']):.4f}")
    said = "".join(f"<p>{escape(fact)}</p>" for fact in facts)
    return f"{head}{tile}</p>{said}{_numbers(canvas, pixel)}<p class='warn'>{escape(visible(note))}</p>"


def _numbers(canvas: Canvas, pixel: Pixel) -> str:
    """Abundance, angle and divergence of every endmember; the best of each is bold."""
    columns = {"abundance": ("abundance", max, "{:.1%}"), "sam_angle": ("angle (rad)", min, "{:.3f}"),
               "sid_divergence": ("divergence", min, "{:.4f}")}  # fmt: skip
    here = {n: c for n, c in columns.items() if n in pixel.maps and np.isfinite(pixel.maps[n]).all()}
    if not here:
        return ""
    rows = []
    for number, (name, colour) in enumerate(zip(canvas.names, canvas.colours, strict=True)):
        cells = [f'<td><span class="swatch" style="background:{colour}"></span>{escape(name)}</td>']
        for key, (_, best, form) in here.items():
            values = pixel.maps[key].tolist()
            mark = ' class="best"' if values[number] == best(values) else ""
            cells.append(f"<td{mark}>{form.format(values[number])}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    heads = "".join(f"<th>{title}</th>" for title, _, _ in here.values())
    return f"<table><tr><th>endmember</th>{heads}</tr>{''.join(rows)}</table>"
