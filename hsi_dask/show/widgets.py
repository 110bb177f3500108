"""The figures and widgets of an interactive page, as Bokeh has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from hsi_dask.schema import ENDMEMBER, MATERIAL, WAVELENGTH, X, Y
from hsi_dask.show.canvas import Canvas
from hsi_dask.show.captions import STYLE
from hsi_dask.show.composites import CHANNELS
from hsi_dask.show.labels import drawn_of, labels_of, lines_of
from hsi_dask.show.layers import Layer
from hsi_dask.show.palettes import class_colours
from hsi_dask.show.spectra import MOST_LINES, with_gaps

_FEWEST_PIXELS = 8  # along a side of the map: closer in, coordinates in metres would all read the same
_FARTHEST = 8  # times the mosaic's longer side
_INK, _FIT = "#1f2328", "#d6006c"
LEGEND_COLUMNS = 3
MOST_KEPT = 12  # spectra that are kept for comparison


class Map(NamedTuple):
    """The map's figure, and the sources of its images: the picture below and the layer, of all and of the window."""

    figure: Any
    below: tuple[Any, Any]
    layer: tuple[Any, Any]
    renderers: tuple[Any, Any]  # of the layer
    mark: Any
    kept: Any


def map_of(canvas: Canvas) -> Map:
    """The figure of the map with sources that are still empty."""
    from bokeh.models import BoxZoomTool, ColumnDataSource, Range1d, SaveTool, ScaleBar
    from bokeh.plotting import figure

    (west, south, east, north), grid = canvas.bounds, canvas.run.manifest.grid
    nearest = _FEWEST_PIXELS * max(grid.resolution)
    farthest = _FARTHEST * max(east - west, north - south, nearest)
    ends = {"min_interval": nearest, "max_interval": farthest}
    shown = figure(
        name="map", sizing_mode="stretch_both", x_range=Range1d(west, east, **ends),
        y_range=Range1d(south, north, **ends),
        tools="pan,wheel_zoom,reset,tap,box_select,lasso_select", active_scroll="wheel_zoom", active_drag="pan",
        toolbar_location="above", x_axis_label=f"easting ({grid.unit}, {grid.label})",
        y_axis_label=f"northing ({grid.unit})", background_fill_color="#eceef0", output_backend="canvas",
    )  # fmt: skip
    shown.add_tools(BoxZoomTool(match_aspect=True), SaveTool(filename="map"))
    sources = [ColumnDataSource({"image": [], "x": [], "y": [], "dw": [], "dh": []}) for _ in range(4)]
    drawn = [shown.image_rgba("image", "x", "y", "dw", "dh", source=source) for source in sources]
    _add_places(shown, canvas)
    kept = ColumnDataSource({"x": [], "y": [], "colour": []})
    shown.scatter("x", "y", source=kept, size=11, marker="circle", fill_color="colour", line_color="white",
                  line_width=2)  # fmt: skip
    mark = ColumnDataSource({"x": [], "y": [], "width": [], "height": []})
    for width, colour in ((4, "white"), (2, _INK)):
        shown.rect("x", "y", "width", "height", source=mark, fill_color=None, line_color=colour, line_width=width)
    shown.scatter("x", "y", source=mark, size=16, marker="circle", fill_color=None, line_color="white", line_width=4)
    shown.scatter("x", "y", source=mark, size=16, marker="circle", fill_color=None, line_color=_INK, line_width=2)
    shown.add_layout(ScaleBar(range=shown.x_range, unit="m", location="bottom_left", background_fill_alpha=0.8,
                              bar_length=0.12))  # fmt: skip
    _in_metres(shown)
    return Map(shown, (sources[0], sources[1]), (sources[2], sources[3]), (drawn[2], drawn[3]), mark, kept)


def _add_places(shown: Any, canvas: Canvas) -> None:
    """Where the endmembers came from, as numbered dots; nothing where that is not known."""
    from bokeh.models import ColumnDataSource

    spectra, labels = canvas.endmembers, canvas.names
    if not {X, Y} <= set(spectra.coords):
        return
    data = {"x": spectra[X].to_numpy(), "y": spectra[Y].to_numpy(), "colour": labels.colours,
            "number": [str(number) for number in labels.numbers]}  # fmt: skip
    source = ColumnDataSource(data)
    dots = shown.scatter("x", "y", source=source, size=17, fill_color="colour", line_color="white", line_width=1.5)
    words = shown.text("x", "y", "number", source=source, text_align="center", text_baseline="middle",
                       text_font_size="11px", text_font_style="bold", text_color="white",
                       text_outline_color=_INK)  # fmt: skip
    for one in (dots, words):
        one.name, one.visible = "places", False
        one.nonselection_glyph = None


def _in_metres(shown: Any) -> None:
    from bokeh.models import BasicTicker, NumeralTickFormatter

    for axis in (shown.xaxis[0], shown.yaxis[0]):
        axis.formatter = NumeralTickFormatter(format="0")
        axis.ticker = BasicTicker(desired_num_ticks=5)
    shown.yaxis[0].major_label_orientation = "vertical"
    shown.grid.visible = False
    shown.toolbar.logo = None
    shown.min_border_right = 14


# ------------------------------------------------------------------------------------------------ spectra


class Spectra(NamedTuple):
    """The figure of spectra, and sources by what they are of: "pixel", "fit <map>", "parts" and "kept"."""

    figure: Any
    lines: Mapping[str, Any]


def spectra_of(canvas: Canvas) -> Spectra:
    """The figure, which has the endmembers already."""
    from bokeh.models import ColumnDataSource, HoverTool, Range1d, SaveTool
    from bokeh.plotting import figure

    shown = figure(
        name="spectrum", sizing_mode="stretch_both", tools="xpan,xwheel_zoom,box_zoom,reset",
        active_drag="box_zoom", y_range=Range1d(0, 1), x_axis_label="wavelength (nm)", y_axis_label="reflectance",
        toolbar_location="above",
    )  # fmt: skip
    shown.add_tools(SaveTool(filename="spectra"))  # without a name it would ask for one
    wavelength = np.asarray(canvas.endmembers[WAVELENGTH], np.float64)
    renderers, items = [], []
    bundles, spectra = [], drawn_of(canvas.endmembers, MOST_LINES)
    materials, colours = lines_of(spectra)
    if MATERIAL in spectra.coords:
        for name, colour in dict(zip(materials, colours, strict=True)).items():
            own = spectra.isel({ENDMEMBER: [n for n, one in enumerate(materials) if one == name]})
            at, gapped = with_gaps(wavelength, own.values)
            source = ColumnDataSource({"xs": [at] * len(gapped), "ys": list(gapped), "of": list(labels_of(own).names)})
            line = shown.multi_line("xs", "ys", source=source, line_color=colour, line_width=1, line_alpha=0.5,
                                    name=name)  # fmt: skip
            bundles.append(line)
            items.append((name, [line]))
    else:
        for name, colour, values in zip(materials, colours, spectra.values, strict=True):
            at, gapped = with_gaps(wavelength, values)
            source = ColumnDataSource({"wavelength": at, "reflectance": gapped, "of": [name] * len(at)})
            line = shown.line("wavelength", "reflectance", source=source, color=colour, line_width=1.5,
                              line_alpha=0.75, name=name)  # fmt: skip
            renderers.append(line)
            items.append((name, [line]))
    lines = {}
    dashes = ("dashed", "dotted", "dotdash", "dashdot")
    variables = canvas.variables.values()
    fits = [v.name for v in variables if v == canvas.model or (v.role == "fraction" and v.dims[0] == ENDMEMBER)]
    for number, name in enumerate(fits):
        lines[f"fit {name}"] = source = ColumnDataSource(line_data(None))
        line = shown.line("wavelength", "reflectance", source=source, color=_FIT, line_width=2,
                          line_dash=dashes[number % len(dashes)])  # fmt: skip
        renderers.append(line)
        items.append((f"fit of {name}", [line]))
    lines["pixel"] = ColumnDataSource(line_data(None))
    pixel = shown.line("wavelength", "reflectance", source=lines["pixel"], color="black", line_width=2)
    lines["kept"] = ColumnDataSource({"xs": [], "ys": [], "colour": [], "of": []})
    kept = shown.multi_line("xs", "ys", source=lines["kept"], line_color="colour", line_width=2)
    lines["parts"] = ColumnDataSource({"xs": [], "ys": [], "colour": [], "of": []})
    parts = shown.multi_line("xs", "ys", source=lines["parts"], line_color="colour", line_width=1.5,
                             line_dash="dotted")  # fmt: skip
    if canvas.model:
        items.append(("parts of the model", [parts]))
    items = [("pixel", [pixel]), *items]
    tips = [("", "@of"), ("nm", "@wavelength{0.0}"), ("reflectance", "@reflectance{0.0000}")]
    shown.add_tools(HoverTool(renderers=[*renderers, pixel], tooltips=tips, mode="mouse", line_policy="nearest"))
    tips = [("", "@of"), ("nm", "$x{0.0}"), ("reflectance", "$y{0.0000}")]
    shown.add_tools(HoverTool(renderers=[kept, parts, *bundles], tooltips=tips, line_policy="nearest"))
    _add_legend(shown, items)
    shown.toolbar.logo = None
    shown.grid.grid_line_color = "#ebedf0"
    shown.outline_line_color = None
    return Spectra(shown, lines)


def _add_legend(shown: Any, items: Sequence[tuple[str, Sequence[Any]]]) -> None:
    """The lines' names below; a click hides a line."""
    from bokeh.models import Legend, LegendItem

    entries = [LegendItem(label={"value": name}, renderers=list(lines)) for name, lines in items]
    legend = Legend(items=entries, click_policy="hide", orientation="horizontal", ncols=LEGEND_COLUMNS, padding=2,
                    spacing=8, margin=2, label_text_font_size="11px", glyph_height=12, label_height=12,
                    border_line_alpha=0)  # fmt: skip
    shown.add_layout(legend, "below")


def line_data(spectrum: xr.DataArray | None, of: str = "") -> dict[str, Any]:
    """What a figure needs to draw a spectrum, gaps where wavelengths were left out."""
    if spectrum is None:
        return {"wavelength": [], "reflectance": [], "of": []}
    wavelength, values = with_gaps(np.asarray(spectrum[WAVELENGTH], np.float64), np.asarray(spectrum, np.float32))
    return {"wavelength": wavelength, "reflectance": values, "of": [of] * len(wavelength)}


def parts_data(parts: Mapping[str, xr.DataArray]) -> dict[str, Any]:
    """What a figure needs to draw the parts of a model, by their words."""
    drawn = [line_data(one) for one in parts.values()]
    return {
        "xs": [one["wavelength"] for one in drawn], "ys": [one["reflectance"] for one in drawn],
        "colour": [kept_colour(number + MOST_KEPT) for number in range(len(drawn))], "of": list(parts),
    }  # fmt: skip


def kept_colour(number: int) -> str:
    """Of a spectrum that is kept: not one of the first endmembers'."""
    return class_colours(200)[12 + number]


# ------------------------------------------------------------------------------------------------ controls


def layer_choice(layers: Mapping[str, Layer], value: str) -> Any:
    from bokeh.models import Select

    return Select(title="Layer", value=value, options=layer_options(layers), name="layer", sizing_mode="stretch_width")


def channel_choices() -> list[Any]:
    """Which planes are red, green and blue; nothing to choose from yet."""
    from bokeh.models import Select

    return [Select(title=colour, value="0", options=[], name=f"mix_{colour}", sizing_mode="stretch_width")
            for colour in CHANNELS]  # fmt: skip


def layer_options(layers: Mapping[str, Layer]) -> dict[str, list[tuple[str, str]]]:
    """Titles by group."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for key, layer in layers.items():
        groups.setdefault(layer.group, []).append((key, layer.title))
    return groups


def text_block(name: str) -> Any:
    from bokeh.models import Div, InlineStyleSheet

    return Div(name=name, sizing_mode="stretch_width", stylesheets=[InlineStyleSheet(css=STYLE)], disable_math=True)


# In the browser: what is drawn as a table, a column a spectrum, and a file of it
SAVE_SPECTRA = """
const columns = [];
for (const renderer of figure.renderers) {
  const data = renderer.data_source.data;
  if (data.xs) data.xs.forEach((xs, n) => columns.push([data.of[n], xs, data.ys[n]]));
  else if (data.wavelength && data.wavelength.length) columns.push([data.of[0], data.wavelength, data.reflectance]);
}
const cell = text => '"' + String(text).replace(/^[=+@-]/, "'$&").replaceAll('"', '""') + '"';
const at = new Map();
columns.forEach(([, xs, ys], n) => Array.from(xs).forEach((x, i) => {
  if (Number.isFinite(ys[i])) { if (!at.has(x)) at.set(x, []); at.get(x)[n] = ys[i]; }
}));
const rows = [...at.keys()].sort((a, b) => a - b).map(x => [x, ...columns.map((_, n) => at.get(x)[n] ?? "")].join(","));
const text = ["wavelength", ...columns.map(([name]) => cell(name))].join(",") + "\\n" + rows.join("\\n") + "\\n";
const link = document.createElement("a");
link.href = URL.createObjectURL(new Blob([text], {type: "text/csv"}));
link.download = "spectra.csv";
link.click();
"""
SAVE_PICTURE = 'figure.toolbar.tools.find(tool => tool.type == "SaveTool").do.emit("save")'
KEEP_ADDRESS = 'history.replaceState(null, "", cb_obj.text ? "?" + cb_obj.text : location.pathname)'
