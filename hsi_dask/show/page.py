"""One browser's page of a run: what happens when its widgets and figures are touched."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hsi_dask.errors import HsiDaskError
from hsi_dask.escaping import visible
from hsi_dask.show import widgets
from hsi_dask.show.address import State, query_of, state_of
from hsi_dask.show.background import Background
from hsi_dask.show.canvas import Bounds, Canvas, Painted
from hsi_dask.show.captions import about, legend
from hsi_dask.show.figures import BANDS
from hsi_dask.show.layers import BAND, COMPOSITE, Layer
from hsi_dask.show.profiles import Profiles
from hsi_dask.show.sliders import Limits

if TYPE_CHECKING:
    from bokeh.document import Document

_TEMPLATE = Path(__file__).with_name("view.html")
_SETTLE = 120  # ms without another zoom, pan or slide before the map is painted anew
_BAND, _LONGEST = 1650.0, 100_000.0  # nm, at first and at most

Wish = Literal["fit", "repaint", "refine"]


class Page:
    """One browser's page: widgets and figures, and what happens when they are touched."""

    def __init__(self, canvas: Canvas, document: Document) -> None:
        from bokeh.models import Button, Checkbox, Slider, Spinner, TextInput, Toggle

        self.canvas, self.document, self.background = canvas, document, Background(document)
        self.paints = 0
        self.waiting: Any = None
        self.wishes: set[Wish] = set()  # what is done when nothing more comes
        self.limits = {name: Limits(canvas, variable) for name, variable in canvas.variables.items()
                       if variable.role == "class" and canvas.scores_of(variable)}  # fmt: skip
        self.moved: set[str] = set()  # class maps whose thresholds are no longer the stored ones
        self.map = widgets.map_of(canvas)
        self.profiles = Profiles(canvas, self.map, self.background, self.note_address)
        self.layer = widgets.layer_choice(canvas.layers, next(iter(canvas.layers)))
        wide = {"sizing_mode": "stretch_width"}
        self.bands = [Spinner(title=f"{colour} (nm)", value=nm, low=1, high=_LONGEST, step=5, mode="float", **wide)
                      for colour, nm in zip(("red", "green", "blue"), BANDS["true"], strict=True)]  # fmt: skip
        self.mix = widgets.channel_choices()
        self.opacity = Slider(title="opacity over true colour", start=0, end=1, step=0.05, value=1, name="opacity",
                              bar_color="#0072b2", **wide)  # fmt: skip
        self.places = Checkbox(label="where endmembers came from", active=False, name="places")
        self.each = Toggle(label="a threshold for each", name="each", **wide)
        self.name = TextInput(placeholder="name of a class map", name="class_name", **wide)
        self.save = Button(label="save these classes", name="save_classes")
        self.legend, self.saying = widgets.text_block("legend"), widgets.text_block("saying")
        self.address = widgets.text_block("address")

    def show(self, arguments: Mapping[str, Sequence[bytes]] | None = None) -> None:
        """Put everything on the page, as the arguments of the request say."""
        from jinja2 import Environment

        roots = self._roots()
        self.restore(state_of(arguments or {}))
        self._connect()  # before the document has them: later it would not be told of events
        for name, root in roots.items():
            root.name = name
            self.document.add_root(root)
        run = self.canvas.run
        self.document.template = Environment(autoescape=False).from_string(_TEMPLATE.read_text(encoding="utf-8"))
        self.document.title = visible(f"{run.path.resolve().name} - hsi_dask")
        entries = sum(len(legend.items) for legend in self.profiles.figure.legend)
        told = {
            "height": str(240 + 20 * -(-entries // widgets.LEGEND_COLUMNS)),
            "heading": run.path.resolve().name,
            "told": about(self.canvas),
        }
        self.document.template_variables.update({key: escape(visible(text)) for key, text in told.items()})
        self.document.on_session_destroyed(lambda _: self.background.end())
        self.arrange()
        self.repaint()

    def _roots(self) -> dict[str, Any]:
        """By name what the page's template embeds."""
        from bokeh.layouts import column, row

        wide = {"sizing_mode": "stretch_width"}
        limits = [row(*(one.all for one in pair), spacing=16, **wide) for pair in _pairs(list(self.limits.values()))]
        each = [row(*pair, spacing=16, **wide) for one in self.limits.values() for pair in _pairs(one.each)]
        self.single = column(*(each or [widgets.text_block("no_sliders")]), **wide)  # an empty layout makes Bokeh warn
        self.saving = row(self.name, self.save, **wide)
        self.picking, self.mixing = row(*self.bands, **wide), row(*self.mix, **wide)
        self.address.visible = False
        controls = column(
            self.layer, self.picking, self.mixing, self.legend, self.opacity, *limits, self.each, self.single,
            self.saving, self.saying, self.places, self.address, **wide,
        )  # fmt: skip
        profiles = self.profiles
        tools = column(row(*profiles.buttons), profiles.saying, **wide)
        return {"map": self.map.figure, "controls": controls, "spectrum": profiles.figure, "tools": tools,
                "pixel": profiles.told}  # fmt: skip

    def _connect(self) -> None:
        """What is done when something is touched."""
        from bokeh.events import RangesUpdate, Reset, SelectionGeometry, Tap
        from bokeh.models import CustomJS

        self.layer.on_change("value", _then(self.choose))
        for name, limits in self.limits.items():
            limits.all.on_change("value", _then(partial(self.move_all, name)))
            for slider in limits.each:
                slider.on_change("value", _then(partial(self.reclassify, name)))
        for spinner in self.bands:
            spinner.on_change("value", _then(partial(self.soon, "repaint")))
        for choice in self.mix:
            choice.on_change("value", _then(partial(self.soon, "repaint")))
        self.opacity.on_change("value", _then(self.fade))
        self.places.on_change("active", _then(self.mark_places))
        self.each.on_change("active", _then(self.arrange))
        self.save.on_click(self.save_classes)
        self.address.js_on_change("text", CustomJS(code=widgets.KEEP_ADDRESS))
        shown, profiles = self.map.figure, self.profiles
        shown.on_event(Tap, lambda event: profiles.tell(event.x, event.y))
        shown.on_event(SelectionGeometry, lambda event: profiles.compare(event.geometry) if event.final else None)
        shown.on_event(RangesUpdate, lambda _: self.soon("refine"))
        shown.on_event(Reset, lambda _: self.soon("fit"))
        for name in ("inner_width", "inner_height"):
            shown.on_change(name, _then(partial(self.soon, "fit")))

    def soon(self, what: Wish) -> None:
        """Do it when nothing more comes for a moment, once however often it is wished for."""
        self.wishes.add(what)
        if self.waiting is not None:
            with contextlib.suppress(ValueError):  # it has run
                self.document.remove_timeout_callback(self.waiting)
        self.waiting = self.document.add_timeout_callback(self.settle, _SETTLE)

    def settle(self) -> None:
        """Do what was wished for: to repaint is to refine, and so is to fit."""
        wishes, self.wishes = self.wishes, set()
        if "fit" in wishes:
            self.fit()
        if "repaint" in wishes:
            self.repaint()
        elif "fit" not in wishes:
            self.refine()

    # -------------------------------------------------------------------------------------------- the map

    @property
    def chosen(self) -> Layer:
        layer = self.canvas.layers[self.layer.value]
        return layer._replace(mix=tuple(int(choice.value) for choice in self.mix)) if layer.mix else layer

    @property
    def window(self) -> Bounds:
        x, y = self.map.figure.x_range, self.map.figure.y_range
        return Bounds(x.start, y.start, x.end, y.end)

    def choose(self) -> None:
        """Another layer."""
        self.offer_mix()
        self.arrange()
        self.repaint()

    def offer_mix(self, wanted: Sequence[int] = ()) -> None:
        """The planes that can be red, green and blue; those that are wanted, or the largest, are."""
        layer = self.canvas.layers[self.layer.value]
        if not layer.mix:
            return
        options = [(str(n), name) for n, name in enumerate(self.canvas.labels(layer.spec).names)]
        fits = len(wanted) == len(layer.mix) and all(0 <= plane < len(options) for plane in wanted)
        if fits or self.mix[0].options != options:
            for choice, plane in zip(self.mix, wanted if fits else layer.mix, strict=True):
                choice.update(options=options, value=str(plane))

    def arrange(self) -> None:
        """Only what concerns the layer is there."""
        layer = self.chosen
        of_scores = layer.variable in self.limits
        self.picking.visible = layer.picture in (BAND, COMPOSITE)
        for number, spinner in enumerate(self.bands):
            spinner.visible = layer.picture == COMPOSITE or number == 0
        self.bands[0].title = "wavelength (nm)" if layer.picture == BAND else "red (nm)"
        self.mixing.visible = bool(layer.mix)
        self.opacity.visible = not layer.picture
        self.each.visible = self.saving.visible = of_scores
        self.single.visible = of_scores and self.each.active
        for name, limits in self.limits.items():
            for slider in limits.each:
                slider.visible = name == layer.variable
        self.places.visible = any(one.name == "places" for one in self.map.figure.renderers)

    def repaint(self) -> None:
        """Another layer or threshold: the whole mosaic coarsely, and the window as fine as it fits."""
        if self.chosen.picture in (BAND, COMPOSITE):
            self.put(self.map.layer[0], None)
        else:
            self.put(self.map.layer[0], self.painted(self.canvas.bounds))
        self.refine()

    def refine(self) -> None:
        """Another window."""
        self.paints += 1
        self.fade()
        if self.chosen.picture in (BAND, COMPOSITE):
            self.read_bands(self.paints)
            return
        painted = self.painted(self.window)
        self.put(self.map.layer[1], painted)
        self.legend.text = legend(self.canvas, self.chosen, painted)

    def read_bands(self, number: int) -> None:
        """Wavelengths that are read from tiles, when they are there."""
        layer, window = self.chosen, self.window
        wanted = [float(spinner.value or _BAND) for spinner in self.bands][: 1 if layer.picture == BAND else 3]
        nothing = Painted(np.zeros((1, 1, 4), np.uint8), window, 1, {})
        self.legend.text = legend(self.canvas, layer, nothing, "reading tiles ...")

        def show(found: Painted | str) -> None:
            if number == self.paints:
                painted = nothing if isinstance(found, str) else found
                self.put(self.map.layer[1], painted)
                self.legend.text = legend(self.canvas, layer, painted, found if isinstance(found, str) else "")

        self.background.later(lambda: self.canvas.paint_bands(window, wanted) if number == self.paints else "", show)

    def painted(self, window: Bounds) -> Painted:
        name = self.chosen.variable
        return self.canvas.paint(self.chosen, window, self.limits[name].values if name in self.moved else None)

    @staticmethod
    def put(source: Any, painted: Painted | None) -> None:
        if painted is None:
            source.data = {"image": [], "x": [], "y": [], "dw": [], "dh": []}
            return
        rgba = np.ascontiguousarray(painted.rgba[::-1])  # Bokeh draws from the south
        west, south, east, north = painted.bounds
        place = {"x": [west], "y": [south], "dw": [east - west], "dh": [north - south]}
        source.data = {"image": [rgba.view(np.uint32)[..., 0]], **place}

    def fade(self) -> None:
        """The layer over the picture below, which is sent only where it can be seen."""
        through = not self.chosen.picture and self.opacity.value < 1
        below = next(iter(self.canvas.layers.values()))
        for source, window in zip(self.map.below, (self.canvas.bounds, self.window), strict=True):
            self.put(source, self.canvas.paint(below, window) if through else None)
        for renderer in self.map.renderers:
            renderer.glyph.global_alpha = self.opacity.value if through else 1
        self.note_address()

    def fit(self) -> None:
        """Metres as long in x as in y, whatever the shape of the window."""
        x, y = self.map.figure.x_range, self.map.figure.y_range
        width, height = self.map.figure.inner_width or 1, self.map.figure.inner_height or 1
        metres = max((x.end - x.start) / width, (y.end - y.start) / height)
        for axis, size in ((x, width), (y, height)):
            middle = (axis.start + axis.end) / 2
            axis.update(start=middle - metres * size / 2, end=middle + metres * size / 2)
        self.refine()

    def mark_places(self) -> None:
        """The endmembers' places, or not."""
        for renderer in self.map.figure.renderers:
            if renderer.name == "places":
                renderer.visible = self.places.active

    # -------------------------------------------------------------------------------------------- thresholds

    def move_all(self, name: str) -> None:
        """One threshold for all: the sliders of each follow."""
        self.limits[name].set_each()
        self.reclassify(name)

    def reclassify(self, name: str) -> None:
        """A threshold moved: look at its classes."""
        self.moved.add(name)
        if self.chosen.variable != name:
            self.layer.value = name
        self.soon("repaint")

    def save_classes(self) -> None:
        """Keep the classes in the run, under the name that was given; they become a layer."""
        layer, values, name = self.chosen, self.limits[self.chosen.variable].values, self.name.value.strip()
        self.saying.text = '<p class="soft">saving ...</p>'

        def saved() -> str | Layer:
            try:
                return self.canvas.save_classes(layer, name, values)
            except HsiDaskError as error:
                return str(error)

        def show(found: str | Layer) -> None:
            if isinstance(found, str):
                self.saying.text = f'<p class="warn">{escape(visible(found))}</p>'
                return
            self.layer.options = widgets.layer_options(self.canvas.layers)
            self.layer.value = found.key
            self.saying.text = (
                f'<p class="soft">saved as {escape(found.key)} in {escape(visible(self.canvas.run.path))}</p>'
            )

        self.background.later(saved, show)

    # -------------------------------------------------------------------------------------------- the address

    def note_address(self) -> None:
        """What is shown, in the address."""
        layer = self.chosen
        bands = {BAND: self.bands[:1], COMPOSITE: self.bands}.get(layer.picture, [])
        pixel = self.profiles.pixel
        self.address.text = query_of(State(
            layer=layer.key, window=self.window, bands=tuple(float(spinner.value or _BAND) for spinner in bands),
            mix=layer.mix, opacity=float(self.opacity.value), pixel=(pixel.x, pixel.y) if pixel else None,
            kept=tuple(one.outline for one in self.profiles.kept),
            thresholds={name: tuple(self.limits[name].values) for name in sorted(self.moved)},
        ))  # fmt: skip

    def restore(self, state: State) -> None:
        """Show what an address says, as far as this run has it."""
        if state.layer in self.canvas.layers:
            self.layer.value = state.layer
        self.offer_mix(state.mix)
        if state.window:
            west, south, east, north = state.window
            self.map.figure.x_range.update(start=west, end=east)
            self.map.figure.y_range.update(start=south, end=north)
        for spinner, nm in zip(self.bands, state.bands, strict=False):
            spinner.value = min(max(nm, 1.0), _LONGEST)
        self.opacity.value = state.opacity
        for name, values in state.thresholds.items():
            if name in self.limits and len(values) == len(self.limits[name].own):
                self.moved.add(name)
                self.limits[name].set(values)
        self.profiles.restore(state.pixel, state.kept)


def _pairs(values: Sequence[Any]) -> list[Sequence[Any]]:
    return [values[start : start + 2] for start in range(0, len(values), 2)]


def _then(do: Callable[[], None]) -> Callable[[str, Any, Any], None]:
    """As Bokeh wants to be told what to do when a property changes."""
    return lambda attr, old, new: do()
