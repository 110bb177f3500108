"""Spectra on an interactive page: of the pixel that was clicked, of regions, and those that are kept for comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from hsi_dask.errors import counted
from hsi_dask.escaping import visible
from hsi_dask.schema import WAVELENGTH
from hsi_dask.show import widgets
from hsi_dask.show.address import Outline, Place
from hsi_dask.show.background import Background
from hsi_dask.show.canvas import Canvas
from hsi_dask.show.captions import place_text, story
from hsi_dask.show.pixels import Pixel
from hsi_dask.show.spectra import reflectance_limits

_MOST_CORNERS = 32  # of a region: a lasso has hundreds, and the address holds all


class Kept(NamedTuple):
    """A spectrum that stays, and what it is of."""

    name: str
    outline: Outline
    spectrum: xr.DataArray


class Profiles:
    """The figure of spectra with its buttons, and a pixel in words; `changed` is called for another address."""

    def __init__(self, canvas: Canvas, shown: widgets.Map, background: Background, changed: Callable[[], None]) -> None:
        from bokeh.models import Button, CustomJS

        self.canvas, self.map, self.background, self.changed = canvas, shown, background, changed
        self.figure, self.lines = widgets.spectra_of(canvas)
        self.clicks = 0
        self.pixel: Pixel | None = None
        self.read: xr.DataArray | None = None  # the pixel's spectrum
        self.kept: list[Kept] = []
        self.told, self.saying = widgets.text_block("pixel"), widgets.text_block("region")
        self.told.text = (
            '<p class="soft">Click a pixel of the map to see its spectrum; a box or a lasso gives a mean.</p>'
        )
        names = {"keep": "keep", "clear": "clear", "csv": "save CSV", "png": "save PNG"}
        keep, clear, csv, png = (Button(label=label, name=name, width=90) for name, label in names.items())
        keep.on_click(self.keep)
        clear.on_click(self.clear)
        csv.js_on_click(CustomJS(args={"figure": self.figure}, code=widgets.SAVE_SPECTRA))
        png.js_on_click(CustomJS(args={"figure": self.figure}, code=widgets.SAVE_PICTURE))
        self.buttons = keep, clear, csv, png
        self.scale()

    def tell(self, x: float, y: float) -> None:
        """A click: what is stored at once, the spectrum when it is read."""
        pixel = self.canvas.pixel(x, y)
        if pixel is None:
            return
        self.clicks += 1
        number = self.clicks
        self.pixel, self.read = pixel, None
        dx, dy = self.canvas.run.manifest.grid.resolution
        self.map.mark.data = {"x": [pixel.x], "y": [pixel.y], "width": [dx], "height": [dy]}
        self.told.text = story(self.canvas, pixel, "reading its spectrum ...")
        fits = self.canvas.fits(pixel)
        for name, source in self.fit_lines.items():
            source.data = widgets.line_data(fits.get(name), f"fit of {name}")
        self.lines["parts"].data = widgets.parts_data(self.canvas.parts(pixel))
        self.lines["pixel"].data = widgets.line_data(None)
        self.changed()

        def show(found: xr.DataArray | str) -> None:
            if number != self.clicks:
                return
            self.read = None if isinstance(found, str) else found
            self.lines["pixel"].data = widgets.line_data(self.read, place_text(pixel))
            self.told.text = story(self.canvas, pixel, found if isinstance(found, str) else "")
            self.scale()

        # a plane is inflated for each wavelength: only for the pixel that was clicked last
        self.background.later(lambda: self.canvas.spectrum(pixel) if number == self.clicks else "", show)

    @property
    def fit_lines(self) -> Mapping[str, Any]:
        """Sources of fits by the map of fractions."""
        return {name.removeprefix("fit "): source for name, source in self.lines.items() if name.startswith("fit ")}

    def keep(self) -> None:
        """The pixel's spectrum stays."""
        if self.pixel is not None and self.read is not None:
            self.add(Kept(place_text(self.pixel), (self.pixel.x, self.pixel.y), self.read))

    def clear(self) -> None:
        """No spectrum stays."""
        self.kept = []
        self.show_kept()

    def add(self, one: Kept) -> None:
        self.kept = [*self.kept, one][-widgets.MOST_KEPT :]
        self.show_kept()

    def show_kept(self) -> None:
        drawn = [widgets.line_data(one.spectrum) for one in self.kept]
        colours = [widgets.kept_colour(number) for number in range(len(drawn))]
        self.lines["kept"].data = {
            "xs": [one["wavelength"] for one in drawn], "ys": [one["reflectance"] for one in drawn],
            "colour": colours, "of": [one.name for one in self.kept],
        }  # fmt: skip
        pixels = zip(self.kept, colours, strict=True)
        placed = [(*one.outline, colour) for one, colour in pixels if len(one.outline) == 2]
        self.map.kept.data = {key: [one[n] for one in placed] for n, key in enumerate(("x", "y", "colour"))}
        self.saying.text = "".join(
            f'<p><span class="swatch" style="background:{colour}"></span>{escape(one.name)}</p>'
            for one, colour in zip(self.kept, colours, strict=True)
        )
        self.scale()
        self.changed()

    def compare(self, geometry: Mapping[str, Any]) -> None:
        """A region was drawn: its mean spectrum stays."""
        if geometry.get("type") not in ("rect", "poly"):
            return  # a click, which `tell` hears of too
        if geometry["type"] == "rect":
            west, east, south, north = (geometry[side] for side in ("x0", "x1", "y0", "y1"))
            x, y = [west, east, east, west], [south, south, north, north]
        else:
            step = -(-len(geometry["x"]) // _MOST_CORNERS)
            x, y = list(geometry["x"])[::step], list(geometry["y"])[::step]
        self.saying.text = '<p class="soft">reading the region ...</p>'
        self._add_mean(x, y)

    def _add_mean(self, x: Sequence[float], y: Sequence[float]) -> None:
        def show(found: xr.DataArray | str) -> None:
            if isinstance(found, str):
                self.saying.text = f'<p class="warn">{escape(visible(found))}</p>'
                return
            where = f"{sum(x) / len(x):.7g} E, {sum(y) / len(y):.7g} N"
            outline = tuple(float(one) for corner in zip(x, y, strict=True) for one in corner)
            self.add(Kept(f"mean of {counted(found.attrs['pixels'], 'pixel')} at {where}", outline, found))

        self.background.later(lambda: self.canvas.region(x, y), show)

    def restore(self, pixel: Place | None, kept: tuple[Outline, ...]) -> None:
        """Pixels and regions of an earlier page."""
        for outline in kept:
            if len(outline) > 2:
                self._add_mean(outline[::2], outline[1::2])
            elif (one := self.canvas.pixel(outline[0], outline[1])) is not None:
                self.background.later(partial(self.canvas.spectrum, one), partial(self._restored, one))
        if pixel:
            self.tell(*pixel)

    def _restored(self, pixel: Pixel, found: xr.DataArray | str) -> None:
        if not isinstance(found, str):
            self.add(Kept(place_text(pixel), (pixel.x, pixel.y), found))

    def scale(self) -> None:
        """The spectrum axis, which no outlier stretches."""
        found = [self.canvas.endmembers, *(one.spectrum for one in self.kept)]
        found += [] if self.read is None else [self.read]
        ends = [reflectance_limits(np.asarray(one[WAVELENGTH], np.float64), np.asarray(one)) for one in found]
        self.figure.y_range.update(start=min(low for low, _ in ends), end=max(high for _, high in ends))
