"""What an interactive page says, as HTML: legends, and one pixel in words and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from hsi_dask.errors import counted
from hsi_dask.escaping import visible
from hsi_dask.schema import CLASS_DIMS, FLAGS, QUALITY, Variable, flags_of
from hsi_dask.show.canvas import Canvas, Painted
from hsi_dask.show.composites import channels
from hsi_dask.show.figures import share_text
from hsi_dask.show.labels import title_of, units_of
from hsi_dask.show.layers import Layer
from hsi_dask.show.palettes import GOOD_COLOUR, SEVERAL_COLOUR, flag_colour
from hsi_dask.show.pixels import Pixel

_MOST = 20  # spectra of a library that a legend lists

STYLE = """
:host { font: 13px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; color: #1f2328; }
p { margin: 2px 0 6px; } .soft { color: #667; } .warn { color: #9a3412; }
.swatch { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 6px; vertical-align: -1px;
  border: 1px solid rgba(0, 0, 0, .15); flex: none; }
.bk-clearfix { width: 100%; } p { overflow-wrap: anywhere; }
ul { list-style: none; margin: 4px 0; padding: 0; display: grid; grid-auto-flow: column;
  grid-auto-columns: 1fr; gap: 1px 28px; }
li { display: flex; align-items: baseline; } li b { margin-left: auto; padding-left: 8px; font-weight: 500; }
.bar { height: 12px; border-radius: 3px; } .ends { display: flex; justify-content: space-between; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { font-weight: 500; color: #667; } th, td { text-align: right; padding: 2px 4px; border-bottom: 1px solid #eceef0; }
th:first-child, td:first-child { text-align: left; white-space: nowrap; } .best { font-weight: 650; }
"""


def about(canvas: Canvas) -> str:
    """The run in one line."""
    run, (height, width) = canvas.run, canvas.run.manifest.grid.shape
    tiles = f"{len(canvas.overviews.records)} of {counted(len(run.manifest.tiles), 'tile')}"
    return f"{tiles}, {height:,} x {width:,} pixels (y, x), {counted(len(canvas.names.names), 'endmember')}"


def place_text(pixel: Pixel) -> str:
    """Where a pixel is."""
    return f"{pixel.x:.9g} E, {pixel.y:.9g} N"


def _text(text: str) -> str:
    """Any text as HTML."""
    return escape(visible(text))


# ------------------------------------------------------------------------------------------------ legends


def legend(canvas: Canvas, layer: Layer, painted: Painted, note: str = "") -> str:
    """What the colours in view mean: of classes and flags those that occur."""
    size = painted.factor
    coarse = f'<p class="soft">Each dot is {size} x {size} pixels.</p>' if size > 1 else ""
    warning = f'<p class="warn">{_text(note)}</p>' if note else ""
    if layer.mix:
        entries = [(name, rgb, "") for name, rgb in channels(canvas.labels(layer.spec).names, layer.mix).items()]
        mixed = "<p class='soft'>Mixtures have mixed colours; black is none of the three.</p>"
        return f"{_list(entries)}{mixed}{coarse}{warning}"
    if layer.picture:
        return f"{_of_picture(canvas, layer)}{coarse}{warning}"
    if layer.role in ("class", "flag", "model"):
        found = {"class": _classes, "flag": _flags, "model": _models}[layer.role](canvas, layer, painted)
        return f"{_list(found)}<p class='soft'>Shares of what is in view.</p>{coarse}{warning}"
    low, high = canvas.limits(layer)
    colours = ", ".join("#{:02x}{:02x}{:02x}".format(*colour) for colour in canvas.colour_map(layer)[::17])
    words = _text(f"{layer.spec.long_name}{units_of(layer.spec)}{_remark(canvas, layer)}")
    bar = f'<div class="bar" style="background: linear-gradient(to right, {colours})"></div>'
    ends = f'<div class="ends"><span>{low:.3g}</span><span>{high:.3g}</span></div>'
    return f"<p>{words}</p>{bar}{ends}{coarse}{warning}"


def _remark(canvas: Canvas, layer: Layer) -> str:
    if layer.role == "fraction" and np.isfinite(mean := canvas.mean(layer)):
        return f"; mean of all pixels {share_text(mean)}"
    return "; bright is more alike" if layer.role == "score" else ""


def _of_picture(canvas: Canvas, layer: Layer) -> str:
    if layer.picture not in ("true", "cir"):
        return '<p class="soft">Read from the tiles; stretched to what is in view.</p>'
    low, high, gamma = canvas.stretch(layer.picture)
    return f'<p class="soft">Reflectance from {low:.3f} to {high:.3f}, all three colours alike, gamma {gamma:.2f}.</p>'


def _classes(canvas: Canvas, layer: Layer, painted: Painted) -> list[tuple[str, str, str]]:
    first, *rest = (labels := canvas.labels(layer.spec).classes)
    return [(*labels[value], f"{painted.shares[value]:.1%}") for value in (*rest, first) if value in painted.shares]


def _flags(canvas: Canvas, layer: Layer, painted: Painted) -> list[tuple[str, str, str]]:
    """Reasons of which a pixel may have several; shares are of the area of interest."""
    within = {value: share for value, share in painted.shares.items() if not value & FLAGS["outside"]}
    shares = {value: share / sum(within.values()) for value, share in within.items()}
    found = [("good", GOOD_COLOUR, f"{shares.get(0, 0):.1%}")]
    for name, bit in FLAGS.items():
        share = sum(part for value, part in shares.items() if value & bit)
        if share and name != "no_data":
            found.append((name.replace("_", " "), flag_colour(name), f"{share:.1%}"))
    several = sum(part for value, part in shares.items() if value.bit_count() > 1)
    return [*found, ("several reasons", SEVERAL_COLOUR, f"{several:.1%}")] if several else found


def _models(canvas: Canvas, layer: Layer, painted: Painted) -> list[tuple[str, str, str]]:
    """The commonest spectra of the library."""
    names, table = dict(zip(canvas.names.numbers, canvas.names.names, strict=True)), canvas.table(layer)
    common = sorted(painted.shares, key=lambda value: -painted.shares[value])[:_MOST]
    return [(names.get(value, f"spectrum {value}"), "#" + bytes(table[value][:3]).hex(),
             f"{painted.shares[value]:.1%}") for value in common]  # fmt: skip


def _list(rows: Sequence[tuple[str, str, str]]) -> str:
    items = (f'<li><span class="swatch" style="background:{colour}"></span>{_text(text)}<b>{value}</b></li>'
             for text, colour, value in rows)  # fmt: skip
    return f"<ul style='grid-template-rows: repeat({-(-len(rows) // 2)}, auto)'>{''.join(items)}</ul>"


# ------------------------------------------------------------------------------------------------ one pixel


def story(canvas: Canvas, pixel: Pixel, note: str) -> str:
    """One pixel in words and numbers."""
    head = f"<p><b>{place_text(pixel)}</b> <span class='soft'>row {pixel.row}, column {pixel.column}</span>"
    tile = f"<br><span class='soft'>{_text(Path(pixel.path).name)}</span>" if pixel.path else ""
    facts = [f"masked: {', '.join(pixel.reasons)}"] if pixel.reasons else []
    facts += [text for variable in canvas.variables.values() if (text := _fact(canvas, pixel, variable))]
    said = f"<p>{'<br>'.join(map(_text, facts))}</p>" if facts else ""
    warning = f"<p class='warn'>{_text(note)}</p>" if note else ""
    return f"{head}{tile}</p>{said}{_numbers(canvas, pixel)}{warning}"


def _fact(canvas: Canvas, pixel: Pixel, variable: Variable) -> str:
    """What a map without planes says of a pixel."""
    if len(variable.dims) > len(CLASS_DIMS) or variable.name == QUALITY.name:
        return ""
    value = pixel.maps[variable.name]
    if variable.role == "flag":
        found = [flag for flag, bit in flags_of(variable).items() if int(value) & bit]
        return f"{title_of(variable)}: {', '.join(found)}" if found else ""
    if variable.role == "class":
        label = canvas.labels(variable).classes.get(int(value))
        return f"{title_of(variable)}: {label[0]}" if label else ""
    return f"{title_of(variable)} {float(value):.4f}{units_of(variable)}" if np.isfinite(value) else ""


def _numbers(canvas: Canvas, pixel: Pixel) -> str:
    """Maps with planes, a column each, for endmembers and for materials; the best of each is bold."""
    tables: dict[tuple[str, ...], list[Variable]] = {}
    for variable in canvas.variables.values():
        if len(variable.dims) > len(CLASS_DIMS) and np.isfinite(pixel.maps[variable.name]).any():
            tables.setdefault(variable.dims, []).append(variable)
    return "".join(_table(canvas, pixel, columns) for columns in tables.values())


def _table(canvas: Canvas, pixel: Pixel, columns: Sequence[Variable]) -> str:
    labels = canvas.labels(columns[0])
    best = {variable.name: _best(pixel.maps[variable.name], variable) for variable in columns}
    rows = []
    for plane, (name, colour) in enumerate(zip(labels.names, labels.colours, strict=True)):
        cells = [f'<td><span class="swatch" style="background:{colour}"></span>{_text(name)}</td>']
        for variable in columns:
            mark = ' class="best"' if best[variable.name] == plane else ""
            cells.append(f"<td{mark}>{_text(_value(canvas, variable, pixel.maps[variable.name][plane]))}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    heads = "".join(f"<th>{_text(title_of(variable) + units_of(variable))}</th>" for variable in columns)
    return f'<div class="scroll"><table><tr><th>{columns[0].dims[0]}</th>{heads}</tr>{"".join(rows)}</table></div>'


def _best(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]], variable: Variable) -> int:
    """The plane with the best value, -1 where none is better than others."""
    if variable.role not in ("fraction", "score") or not np.isfinite(values).any():
        return -1
    return int(np.nanargmin(values) if variable.better == "low" else np.nanargmax(values))


def _value(canvas: Canvas, variable: Variable, value: float) -> str:
    if variable.role == "model":
        names = dict(zip(canvas.names.numbers, canvas.names.names, strict=True))
        return "none" if value < 0 else names.get(int(value), str(int(value)))
    if not np.isfinite(value):
        return ""
    return f"{value:.1%}" if variable.role == "fraction" else f"{value:.3g}"
