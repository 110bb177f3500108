"""The report's section on seams: maps of tile edges coloured by what changes across them, and a table."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np

from hsi_dask.overviews.overviews import QUICKLOOK_WAVELENGTHS
from hsi_dask.overviews.seams import PLAIN, Seam
from hsi_dask.overviews.steps import Step
from hsi_dask.schema import QUICKLOOK, Variable
from hsi_dask.show import figures, palettes
from hsi_dask.show.facts import Facts, usual_range
from hsi_dask.show.frames import Picture, drawn, encoded, map_figure
from hsi_dask.show.seams import plane_name, variables_of

_WIDTH = 3.7  # inches of a map
_SHOWN = 15  # seams in the page's table; the CSV has all
_ORDINARY = "#9aa3a8"  # of seams where no more changes than inside the tiles
_LEAST_SCALE = {"reflectance": 5.0, "fraction": 0.05, "class": 5.0}  # that the colours end at: %, 1, %


class _Largest(NamedTuple):
    """Of a seam and a kind of maps the step that is farthest from what is ordinary, as the page shows it."""

    value: float
    step: Step
    variable: Variable

    @property
    def is_plain(self) -> bool:
        return self.step.times is None or self.step.times >= PLAIN


def section(facts: Facts, found: Sequence[Seam]) -> dict[str, Any] | None:
    """What the page tells of seams; None where no tiles are neighbours."""
    if not found:
        return None
    neighbours = [seam for seam in found if seam.where != "overlap"]
    pictures = []
    for kind, (words, units) in _KINDS.items():
        shown = [(seam, one) for seam in neighbours if (one := _largest(facts, seam, kind)) is not None]
        if shown:
            drawn_map, end = _picture(facts, shown, _LEAST_SCALE[kind])
            plain = sum(one.is_plain for _, one in shown)
            pictures.append({
                "picture": drawn_map, "words": words, "scale": _scale(end, units),
                "count": f"{plain} of {len(shown)} plain",
            })  # fmt: skip
    ordered = sorted(found, key=lambda seam: _order(facts, seam))
    return {
        "pictures": pictures, "rows": [_row(facts, seam) for seam in ordered[:_SHOWN]], "more": len(found) - _SHOWN,
        "wavelengths": [f"{nm:g}" for nm in QUICKLOOK_WAVELENGTHS], "plain": f"{PLAIN:g}",
        "files": any(seam.where != "edge" for seam in found),
    }  # fmt: skip


_KINDS = {
    "reflectance": ("change of brightness", "% of the reflectance, at the wavelength where it is plainest"),
    "fraction": ("change of fractions", "of the pixel, of the endmember where it is plainest"),
    "class": ("classes that differ", "% of pixels, beyond what differs inside"),
}


def _largest(facts: Facts, seam: Seam, kind: str) -> _Largest | None:
    variables, found = variables_of(facts), list[_Largest]()
    for step in seam.steps:
        variable = variables.get(step.variable)
        if variable is None or variable.role != kind:
            continue
        value = step.step
        if kind == "reflectance":
            value = 100 * (step.relative or 0.0)
        elif kind == "class":
            value = 100 * (step.step - (step.inside or 0.0))
        found.append(_Largest(value, step, variable))
    return max(found, key=lambda one: (one.step.times or 0.0, abs(one.value)), default=None)


def _order(facts: Facts, seam: Seam) -> tuple[float, ...]:
    largest = (_largest(facts, seam, kind) for kind in _KINDS)
    times = [one.step.times or 0.0 if one else 0.0 for one in largest]
    return -times[0], -max(times)


def _row(facts: Facts, seam: Seam) -> dict[str, Any]:
    steps = {step.plane: step for step in seam.steps if step.variable == QUICKLOOK.name}
    reflectance = [_signed(steps[n].step) if n in steps else "" for n in range(len(QUICKLOOK_WAVELENGTHS))]
    found = {kind: _largest(facts, seam, kind) for kind in _KINDS}
    brightness, fraction, classes = found.values()
    place = {"edge": "", "inside": f"in {seam.cell}", "overlap": f"both have pixels in {seam.cell}"}
    return {
        "first": seam.first, "second": seam.second, "where": place[seam.where], "reflectance": reflectance,
        "brightness": f"{brightness.value:+.1f} %" if brightness else "",
        "times": _times(brightness),
        "fraction": _named(facts, fraction),
        "fraction_times": _times(fraction),
        "classes": f"{classes.step.step:.1%} ({classes.step.inside or 0:.1%})" if classes else "",
        "plain": bool(brightness and brightness.step.times is not None and brightness.is_plain),
    }  # fmt: skip


def _named(facts: Facts, one: _Largest | None) -> str:
    return f"{plane_name(facts, one.variable, one.step)} {_signed(one.step.step)}" if one else ""


def _times(one: _Largest | None) -> str:
    return "" if one is None or one.step.times is None else f"{one.step.times:.1f}"


def _signed(value: float) -> str:
    return f"{round(value, 4) + 0.0:+.4f}"  # no -0.0000


def _scale(end: float, units: str) -> dict[str, str]:
    colours = palettes.ramp_table(palettes.DIVERGING)[::17]
    stops = ", ".join("#{:02x}{:02x}{:02x}".format(*colour) for colour in colours)
    return {"colours": stops, "low": f"{-end:.3g}", "high": f"{end:.3g}", "label": units}


def _picture(facts: Facts, shown: Sequence[tuple[Seam, _Largest]], least: float) -> tuple[Picture, float]:
    """Seams in colours from -end to end, on a pale picture of the site; thin and grey where nothing is plain."""
    from matplotlib import colormaps

    plain = [abs(one.value) for _, one in shown if one.is_plain]
    end = max(least, usual_range(np.array(plain, np.float32))[1]) if plain else least
    grid = facts.run.manifest.grid
    figure, ax = map_figure(grid.shape, _WIDTH)
    west, south, east, north = grid.bbox
    if (ground := _ground(facts)) is not None:
        ax.imshow(ground, extent=(west, east, south, north), interpolation="antialiased")
    colours = colormaps[palettes.DIVERGING]
    for seam, one in sorted(shown, key=lambda pair: (pair[1].is_plain, abs(pair[1].value))):
        x, y = zip(*seam.points, strict=True)
        colour = colours(0.5 + one.value / (2 * end)) if one.is_plain else _ORDINARY
        _line(ax, x, y, colour, 3.2 if one.is_plain else 0.8, spots=seam.where == "inside")
    ax.set_xlim(west, east)
    ax.set_ylim(south, north)
    figures.furnish(ax, facts.maps["quality"], inside=False)
    stream = BytesIO()
    drawn(figure).convert("RGB").save(stream, "PNG", optimize=True)
    return encoded("png", stream.getvalue(), figure.get_figwidth()), float(end)


def _line(ax: Any, x: Sequence[float], y: Sequence[float], colour: Any, width: float, *, spots: bool) -> None:
    if spots:  # pixels along a line that may bend
        ax.plot(x, y, "o", color=colour, markersize=width, markeredgecolor="white", markeredgewidth=0.2, clip_on=True)
        return
    if width > 1:
        ax.plot(x, y, color="#1d2327", linewidth=width + 1.0, solid_capstyle="butt")
    ax.plot(x, y, color=colour, linewidth=width, solid_capstyle="butt")


def _ground(facts: Facts) -> Any:
    """The site in true colour, pale."""
    look = facts.maps["quicklook"]
    if not bool(look.isel(wavelength=0).notnull().any()):
        return None
    planes = figures.nearest_planes(look, figures.BANDS["true"])
    rgba = figures.picture_of(np.stack([plane.values for plane in planes]))
    rgba[..., :3] = 255 - (255 - rgba[..., :3].astype(np.uint16)) * 9 // 20
    return rgba
