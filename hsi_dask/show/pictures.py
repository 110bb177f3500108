"""The report's pictures: maps of a run by their roles, spectra and tiles, as images that a page can hold itself."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from hsi_dask.schema import FLAGS, WATER_VAPOUR_WINDOWS, Variable
from hsi_dask.show import figures, palettes, spectra
from hsi_dask.show.facts import Facts, area
from hsi_dask.show.frames import Frame, Picture, drawn, encoded, frame_of, map_figure
from hsi_dask.show.labels import drawn_of, lines_of

STYLE: Any = {
    "font.size": 9, "axes.edgecolor": "#999999", "axes.linewidth": 0.7, "axes.labelcolor": "#444444",
    "xtick.color": "#666666", "ytick.color": "#666666", "xtick.labelsize": 8, "ytick.labelsize": 8,
    "axes.labelsize": 8.5, "svg.fonttype": "path", "figure.facecolor": "white",
    "text.parse_math": False,  # names are drawn as they are
}  # fmt: skip
WIDE, NARROW = 5.6, 3.7  # inches: a map on half a page, and on a third
_CORNER = re.compile(r"(-?\d+(?:\.\d+)?)_(-?\d+(?:\.\d+)?)")
_CHARACTER = 0.07  # inches: half as wide as a tile's label is high


class Frames:
    """The frames of a run's maps, each drawn when it is first needed."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.of = lru_cache(self._drawn)

    def _drawn(self, width: float, places: bool = False) -> Frame:
        return frame_of(self.facts.maps["quality"], width, self.facts.endmembers if places else None)


def site(facts: Facts, frames: Frames) -> Iterator[dict[str, Any]]:
    """True colour and colour infrared; nothing where no tile's file is there."""
    look = facts.maps["quicklook"]
    if not bool(look.isel(wavelength=0).notnull().any()):
        return
    for bands, words in figures.PICTURES.items():
        planes = figures.nearest_planes(look, figures.BANDS[bands])
        rgba = figures.picture_of(np.stack([plane.values for plane in planes]))
        yield {"picture": frames.of(WIDE, bands == "true").photo(rgba), "words": words, "bands": bands}


def endmembers(facts: Facts) -> tuple[Picture, Picture]:
    """The endmembers, for a wide page and for a narrow one."""
    return _spectra(facts, (9.5, 3.9)), _spectra(facts, (4.0, 4.4))


def _spectra(facts: Facts, size: tuple[float, float]) -> Picture:
    from matplotlib.figure import Figure

    drawn = drawn_of(facts.endmembers, spectra.MOST_LINES)
    names, colours = lines_of(drawn)
    columns = max(2, int(size[0] / 1.5))
    legend = 0.5 + 0.22 * -(-len(set(names)) // columns)
    whole = size[0], size[1] + max(legend - 1.4, 0)  # many names make it taller
    figure = Figure(figsize=whole)
    ax = figure.add_axes((0.55 / whole[0], legend / whole[1], 1 - 0.7 / whole[0], 0.97 - legend / whole[1]))
    windows = facts.first.windows if facts.first else WATER_VAPOUR_WINDOWS
    spectra.draw_spectra(ax, drawn, names, windows, colours)
    figure.legend(loc="lower center", frameon=False, fontsize="small", ncols=columns)
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return encoded("svg+xml", stream.getvalue(), size[0])


def classes(facts: Facts, frames: Frames, variable: Variable) -> dict[str, Any]:
    """A class map, and the area of every class that occurs."""
    labels, (found, *_) = facts.labels_of(variable), facts.statistics[variable.name]
    picture = frames.of(WIDE).categories(facts.maps[variable.name].values, palettes.class_table(labels.numbers))
    counts = {value: found.values.get(str(value), 0) for value in labels.classes}
    first, *rest = labels.classes  # what is unclassified stands last
    rows = [(*labels.classes[value], counts[value]) for value in (*rest, first) if counts[value]]
    return {
        "picture": picture, "limit": facts.limit(variable),
        "rows": [
            (name, colour, area(count * facts.pixel_area), f"{count / max(found.count, 1):.1%}")
            for name, colour, count in rows
        ],
        "absent": [labels.classes[value][0] for value in labels.numbers if not counts[value]],
    }  # fmt: skip


def quality(facts: Facts, frames: Frames) -> dict[str, Any]:
    plane = facts.maps["quality"].compute()
    totals = {name: sum(record.pixels.get(name, 0) for record in facts.records) for name in ("valid", *FLAGS)}
    rows = [("good", palettes.GOOD_COLOUR, totals["valid"])]
    rows += [(name.replace("_", " "), palettes.flag_colour(name), totals[name]) for name in FLAGS if totals[name]]
    return {
        "picture": frames.of(WIDE).categories(plane.values, palettes.quality_table()),
        "rows": [(name, colour, f"{n:,}", area(n * facts.pixel_area)) for name, colour, n in rows],
        "several": (np.bitwise_count(plane.values) > 1).any() and palettes.SEVERAL_COLOUR,
    }


def layout(facts: Facts) -> Picture:
    """Which tiles are done, by their place."""
    from matplotlib.patches import Rectangle

    grid = facts.run.manifest.grid
    figure, ax = map_figure(grid.shape, WIDE)
    west, south, east, north = grid.bbox
    wide, tall = grid.chunk[1] * grid.resolution[0], grid.chunk[0] * grid.resolution[1]
    inches = ax.get_window_extent().width / figure.dpi * wide / (east - west)
    done = {record.tile for record in facts.records}
    for tile in facts.run.manifest.tiles:
        if not (corner := _CORNER.fullmatch(tile.id)):
            continue
        x, y = map(float, corner.groups())
        state = "done" if tile.id in done else "failed" if tile.id in facts.failed else "pending"
        box = Rectangle((x, y), wide, tall, facecolor=palettes.STATES[state], edgecolor="white", linewidth=0.8)
        box.set_hatch("///" if state == "failed" else "")
        ax.add_patch(box)
        if inches > _CHARACTER * max(map(len, corner.groups())):  # else the table tells
            ax.text(x + wide / 2, y + tall / 2, tile.id.replace("_", "\n"), ha="center", va="center", fontsize=7,
                    color="white" if state == "done" else "#222222")  # fmt: skip
    ax.set_xlim(west, east)
    ax.set_ylim(south, north)
    figures.furnish(ax, facts.maps["quality"], inside=False)
    return _png(figure)


def _png(figure: Any) -> Picture:
    stream = io.BytesIO()
    drawn(figure).convert("RGB").save(stream, "PNG")
    return encoded("png", stream.getvalue(), figure.get_figwidth())
