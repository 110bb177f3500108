"""The report's pictures: figures of a run as images that a page can hold itself."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from hsi_dask.schema import ENDMEMBER, FLAGS, WATER_VAPOUR_WINDOWS, X, Y
from hsi_dask.show import figures, palettes
from hsi_dask.show.facts import Facts, area

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DENSITY = 180  # pixels an inch: sharp on dense screens, small enough for many maps
STYLE: Any = {
    "font.size": 9, "axes.edgecolor": "#999999", "axes.linewidth": 0.7, "axes.labelcolor": "#444444",
    "xtick.color": "#666666", "ytick.color": "#666666", "xtick.labelsize": 8, "ytick.labelsize": 8,
    "axes.labelsize": 8.5, "svg.fonttype": "path", "figure.facecolor": "white",
    "text.parse_math": False,  # names are drawn as they are
}  # fmt: skip
_INCH = 110  # CSS pixels on the page
_WIDE, _NARROW = 5.6, 3.7  # inches: a map on half a page, and on a third
_MARGIN = 0.5, 0.1, 0.06, 0.42  # inches beside a map: left, right, top, bottom
_CORNER = re.compile(r"(-?\d+(?:\.\d+)?)_(-?\d+(?:\.\d+)?)")


def _map_figure(sizes: tuple[int, int], width: float, right: float = 0.0) -> tuple[Figure, Axes]:
    """A figure that a map of (y, x) pixels fills; so wide unless it would be more than twice as tall."""
    from matplotlib.figure import Figure

    left, margin, top, bottom = _MARGIN
    wide = width - left - margin - right
    tall = wide * sizes[0] / sizes[1]
    if tall > 1.6 * width:
        tall, wide = 1.6 * width, 1.6 * width * sizes[1] / sizes[0]
    whole = max(left + wide + margin + right, 2.4), max(bottom + tall + top, 0.9)
    figure = Figure(figsize=whole)
    return figure, figure.add_axes((left / whole[0], bottom / whole[1], wide / whole[0], tall / whole[1]))


def _sizes(array: xr.DataArray) -> tuple[int, int]:
    return array.sizes[Y], array.sizes[X]


class Picture(NamedTuple):
    """An image that a page can hold itself: its data as an address, and how wide it is at its best, CSS pixels."""

    src: str
    width: int


def _picture(figure: Figure, kind: str = "png") -> Picture:
    """A figure as PNG of 256 colours, as JPEG for photographs, or as SVG for lines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    stream, width = io.BytesIO(), round(figure.get_figwidth() * _INCH)
    if kind == "svg":
        figure.savefig(stream, format="svg", metadata={"Date": None})
        return Picture(_address("svg+xml", stream), width)
    figure.set_dpi(_DENSITY)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    if kind == "jpeg":
        picture.save(stream, "JPEG", quality=88, subsampling=0)
    else:
        picture.quantize(256, dither=Image.Dither.NONE).save(stream, "PNG")  # optimised: 4 times as long for 2 %
    return Picture(_address(kind, stream), width)


def _address(kind: str, stream: io.BytesIO) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(stream.getvalue()).decode()


def pictures(facts: Facts) -> Iterator[dict[str, Any]]:
    look = facts.maps["quicklook"]
    if not bool(look.isel(wavelength=0).notnull().any()):
        return
    for bands, words in figures.PICTURES.items():
        planes = figures.nearest_planes(look, figures.BANDS[bands])
        figure, ax = _map_figure(_sizes(look), _WIDE)
        figures.draw_picture(ax, planes)
        if bands == "true":
            figures.mark_places(ax, facts.endmembers)
        yield {"picture": _picture(figure, "jpeg"), "words": words, "bands": bands}


def spectra(facts: Facts) -> tuple[Picture, Picture]:
    """The endmembers, for a wide page and for a narrow one."""
    return _spectra(facts, (9.5, 3.9)), _spectra(facts, (4.0, 4.4))


def _spectra(facts: Facts, size: tuple[float, float]) -> Picture:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    ax = figure.add_subplot()
    windows = facts.first.windows if facts.first else WATER_VAPOUR_WINDOWS
    figures.draw_spectra(ax, facts.endmembers, facts.names, windows)
    figure.legend(loc="outside lower center", frameon=False, fontsize="small", ncols=max(2, int(size[0] / 1.5)))
    return _picture(figure, "svg")


def abundances(facts: Facts) -> Iterator[dict[str, Any]]:
    """A map and a histogram of each endmember."""
    from matplotlib.figure import Figure

    if "abundance" not in facts.maps:
        return
    maps = facts.maps["abundance"]
    for number, (name, colour, found) in enumerate(
        zip(facts.names, facts.colours, facts.statistics["abundance"], strict=True)
    ):
        figure, ax = _map_figure(_sizes(maps), _NARROW)
        figures.draw_plane(
            ax, maps.isel({ENDMEMBER: number}).compute(), cmap=palettes.SEQUENTIAL, limits=(0, 1), bar=False
        )
        below = Figure(figsize=(_NARROW, 1.25), layout="constrained")
        counts = np.array(found.histogram or [0])
        figures.draw_bins(
            below.add_subplot(), counts, np.linspace(0, 1, counts.size + 1), label="abundance",
            cmap=palettes.SEQUENTIAL, mean=found.mean,
        )  # fmt: skip
        yield {
            "name": name, "colour": colour, "map": _picture(figure), "histogram": _picture(below, "svg"),
            "mean": f"{found.mean:.3f}",
        }  # fmt: skip


def scale() -> Picture:
    """The colours of abundances from 0 to 1."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_NARROW, 0.55), layout="constrained")
    colours = ScalarMappable(cmap=palettes.SEQUENTIAL)
    colours.set_clim(0, 1)
    figure.colorbar(colours, cax=figure.add_subplot(), orientation="horizontal", label="abundance")
    figure.patch.set_alpha(0)
    return _picture(figure, "svg")


def residual(facts: Facts) -> dict[str, Any] | None:
    if "residual" not in facts.maps:
        return None
    plane, found = facts.maps["residual"].compute(), facts.statistics["residual"][0]
    plane.attrs["long_name"] = "residual (reflectance)"
    figure, ax = _map_figure(_sizes(plane), _WIDE, right=0.75)
    image = figures.draw_plane(ax, plane, cmap=palettes.ERRORS, bar=False)
    box = ax.get_position()
    beside = figure.add_axes((box.x1 + 0.015, box.y0, 0.02, box.height))
    figure.colorbar(image, cax=beside, label="root mean square error (reflectance)", extend="both")
    rows = {"mean": found.mean, "standard deviation": found.std, "least": found.minimum, "largest": found.maximum}
    return {"picture": _picture(figure), "rows": {name: f"{value:.3g}" for name, value in rows.items()}}


_METHODS = {
    "sam_class": ("Spectral angle", "radian", "sam"),
    "sid_class": ("Spectral information divergence", "nat", "sid"),
}


def classes(facts: Facts) -> Iterator[dict[str, Any]]:
    """A map of each method, and the area of every class."""
    limits = facts.run.config.thresholds
    for name, (words, units, method) in _METHODS.items():
        if name not in facts.maps:
            continue
        plane = facts.maps[name].compute()
        figure, ax = _map_figure(_sizes(plane), _WIDE)
        figures.draw_categories(ax, plane, palettes.class_table(range(1, len(facts.names) + 1)))
        found, limit = facts.statistics[name][0], getattr(limits, method)
        rows = [(facts.names[n], facts.colours[n], str(n + 1)) for n in range(len(facts.names))]
        rows.append(("unclassified", palettes.UNCLASSIFIED_COLOUR, "0"))
        yield {
            "words": words, "picture": _picture(figure),
            "limit": "no threshold" if limit is None else f"threshold {limit} {units}",
            "rows": [
                (row, colour, area(found.values.get(value, 0) * facts.pixel_area),
                 f"{found.values.get(value, 0) / max(found.count, 1):.1%}")
                for row, colour, value in rows
            ],
        }  # fmt: skip


def quality(facts: Facts) -> dict[str, Any]:
    plane = facts.maps["quality"].compute()
    figure, ax = _map_figure(_sizes(plane), _WIDE)
    figures.draw_categories(ax, plane, palettes.quality_table())
    totals = {name: sum(record.pixels.get(name, 0) for record in facts.records) for name in ("valid", *FLAGS)}
    rows = [("good", palettes.GOOD_COLOUR, totals["valid"])]
    rows += [(name.replace("_", " "), palettes.flag_colour(name), totals[name]) for name in FLAGS if totals[name]]
    return {
        "picture": _picture(figure),
        "rows": [(name, colour, f"{n:,}", area(n * facts.pixel_area)) for name, colour, n in rows],
        "several": (np.bitwise_count(plane.values) > 1).any() and palettes.SEVERAL_COLOUR,
    }


def layout(facts: Facts) -> Picture:
    """Which tiles are done, by their place."""
    from matplotlib.patches import Rectangle

    grid = facts.run.manifest.grid
    figure, ax = _map_figure(grid.shape, _WIDE)
    west, south, east, north = grid.bbox
    wide, tall = grid.chunk[1] * grid.resolution[0], grid.chunk[0] * grid.resolution[1]
    done = {record.tile for record in facts.records}
    few = len(facts.run.manifest.tiles) <= 30
    for tile in facts.run.manifest.tiles:
        if not (corner := _CORNER.fullmatch(tile.id)):
            continue
        x, y = map(float, corner.groups())
        state = "done" if tile.id in done else "failed" if tile.id in facts.failed else "pending"
        box = Rectangle((x, y), wide, tall, facecolor=palettes.STATES[state], edgecolor="white", linewidth=0.8)
        box.set_hatch("///" if state == "failed" else "")
        ax.add_patch(box)
        if few:
            ax.text(x + wide / 2, y + tall / 2, tile.id.replace("_", "\n"), ha="center", va="center", fontsize=7,
                    color="white" if state == "done" else "#222222")  # fmt: skip
    ax.set_xlim(west, east)
    ax.set_ylim(south, north)
    figures.furnish(ax, facts.maps["quality"])
    return _picture(figure)
