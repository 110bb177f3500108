"""The report's sections on maps: one for each map by its role, whichever method made it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from hsi_dask.overviews.statistics import Statistics
from hsi_dask.schema import CLASS_DIMS, QUALITY, Variable, flags_of
from hsi_dask.show import palettes, pictures
from hsi_dask.show.composites import channels, chosen_of, composite, has_composite
from hsi_dask.show.facts import Facts, area
from hsi_dask.show.figures import share_text
from hsi_dask.show.frames import Frame, Picture
from hsi_dask.show.histograms import histogram
from hsi_dask.show.labels import capital, title_of, units_of
from hsi_dask.show.pictures import NARROW, WIDE, Frames

_MOST_CATEGORIES = 12  # of a map of library spectra that a legend names
_WORDS = {
    "fraction": "All maps have one scale. Histograms, means and areas are of all pixels; the scale of shares is "
    "logarithmic. In brackets the interval that holds the area with 95 % probability, where errors are known.",
    "residual": "What the mixture of endmembers leaves unexplained, over all wavelengths. Bright patches are materials "
    "that no endmember stands for.",
    "shade": "The share of a pixel that is dark because light does not reach it.",
    "score": "How alike each pixel and each endmember are; bright is more alike. All maps have one scale.",
    "uncertainty": "How uncertain a map is; dark is certain.",
    "flag": "Such pixels have no value in the maps of this method, and count in no mean and area.",
    "model": "Which spectrum of the library stands for a material in each pixel.",
}


def sections(facts: Facts, frames: Frames, step: Callable[[], None]) -> Iterator[dict[str, Any]]:
    """What each map but classes and quality shows; `step` is called after each picture."""
    variables = [v for v in facts.variables.values() if v.name != QUALITY.name]
    classified = {variable.of for variable in variables if variable.role == "class"}
    beside = {v.of: v for v in variables if v.role == "uncertainty" and v.of in facts.variables}
    order = ["fraction", "residual", "shade", "flag", "uncertainty", "model", "score"]
    for variable in sorted((v for v in variables if v.role in order), key=lambda v: order.index(v.role)):
        if variable in beside.values() or (variable.role == "score" and variable.name in classified):
            continue
        told = _told(facts, variable)
        if len(variable.dims) == len(CLASS_DIMS):
            yield told | _single(facts, frames.of(WIDE), variable, beside.get(variable.name))
        else:
            planes = list(_planes(facts, frames, variable, beside.get(variable.name), step))
            yield told | {"planes": planes, "mix": _mix(facts, frames.of(WIDE), variable)}
        step()


def pictures_to_draw(facts: Facts) -> int:
    """How often `step` is called."""
    return sum(1 + len(facts.statistics[v.name]) * (len(v.dims) > 2) for v in facts.variables.values())


def _told(facts: Facts, variable: Variable) -> dict[str, Any]:
    """What stands above a map: its title, and what it means."""
    meaning, method = variable.long_name, facts.settings.method_of(variable)
    source = f" Source: {method.source}." if method else ""
    return {
        "id": variable.name, "title": capital(title_of(variable)),
        "words": f"Each pixel's {meaning}{units_of(variable)}. {_WORDS[variable.role]}{source}",
    }  # fmt: skip


def _planes(
    facts: Facts, frames: Frames, variable: Variable, unsure: Variable | None, step: Callable[[], None]
) -> Iterator[dict[str, Any]]:
    """A map of each endmember or material, with how uncertain it is, and of fractions a histogram."""
    labels, frame = facts.labels_of(variable), frames.of(NARROW)
    maps, limits = facts.maps[variable.name].values, facts.limits(variable)
    for number, (name, colour) in enumerate(zip(labels.names, labels.colours, strict=True)):
        found = facts.statistics[variable.name][number]
        one: dict[str, Any] = {"name": name, "colour": colour, "alt": f"{capital(title_of(variable))} of {name}"}
        if variable.role == "model":
            one |= _models(facts, frame, maps[number], found)
        else:
            one["map"] = _plane(frame, variable, maps[number], limits)
        if variable.role == "fraction":  # whose histogram has the colours too
            ramp = palettes.ramp_of(variable)
            one["histogram"] = histogram(found.histogram, title_of(variable), ramp, found.mean, NARROW)
            one["mean"] = share_text(found.mean) if found.count else ""
            one["area"] = _area(facts, variable, number) if found.count else ""
        elif variable.role != "model":
            one["scale"] = _scale(variable, limits)
        if unsure is not None:
            plane, ends = facts.maps[unsure.name].values[number], facts.limits(unsure)
            one |= {"unsure": _plane(frame, unsure, plane, ends), "unsure_scale": _scale(unsure, ends)}
        step()
        yield one


def _mix(facts: Facts, frame: Frame, variable: Variable) -> dict[str, Any] | None:
    """Three fractions as one picture, and which colour is which."""
    statistics, labels = facts.statistics[variable.name], facts.labels_of(variable)
    if not has_composite(variable, len(statistics)):
        return None
    chosen = chosen_of(labels, [plane.mean for plane in statistics], facts.composite)
    rgba = composite(facts.maps[variable.name].values[list(chosen)])
    return {"picture": frame.photo(rgba), "colours": channels(labels.names, chosen), "chosen": facts.composite}


def _area(facts: Facts, variable: Variable, number: int) -> str:
    """What a fraction covers, with the interval of 95 % where its uncertainty is known."""
    covered = area(facts.statistics[variable.name][number].total * facts.pixel_area)
    interval = facts.area_interval(variable, number)
    return f"{covered} ({area(interval.low)} to {area(interval.high)})" if interval else covered


def _single(facts: Facts, frame: Frame, variable: Variable, unsure: Variable | None) -> dict[str, Any]:
    """One map, and its statistics over all pixels."""
    if variable.role == "flag":
        return _flags(facts, frame, variable)
    found, limits = facts.statistics[variable.name][0], facts.limits(variable)
    rows = {"mean": found.mean, "standard deviation": found.std, "least": found.minimum, "largest": found.maximum}
    told: dict[str, Any] = {
        "picture": _plane(frame, variable, facts.maps[variable.name].values, limits),
        "scale": _scale(variable, limits), "units": variable.units if variable.units != "1" else "value",
        "rows": {name: f"{value:.3g}" for name, value in rows.items()} if found.count else {},
    }  # fmt: skip
    if without := facts.valid - found.count:
        told["rows"]["good pixels without a value"] = f"{without / facts.valid:.1%}"
    if unsure is not None:
        ends = facts.limits(unsure)
        told["unsure"] = _plane(frame, unsure, facts.maps[unsure.name].values, ends)
        told["unsure_scale"] = _scale(unsure, ends)
    return told


def _flags(facts: Facts, frame: Frame, variable: Variable) -> dict[str, Any]:
    """A map of flags, and how many of the good pixels have each."""
    found, rows = facts.statistics[variable.name][0], dict[str, str]()
    for flag, bit in flags_of(variable).items():
        count = sum(n for value, n in found.values.items() if int(value) & bit)
        rows[flag] = f"{count / max(facts.valid, 1):.1%}, {area(count * facts.pixel_area)}"
    values = facts.maps[variable.name].values
    return {"picture": frame.categories(values, palettes.quality_table()), "units": "share and area", "rows": rows}


def _plane(frame: Frame, variable: Variable, values: Any, limits: tuple[float, float]) -> Picture:
    return frame.plane(values, limits, palettes.ramp_table(palettes.ramp_of(variable)))


def _scale(variable: Variable, limits: tuple[float, float]) -> dict[str, str]:
    """The colours of a map and what their ends stand for, as a page draws them."""
    colours = palettes.ramp_table(palettes.ramp_of(variable))[::17]
    stops = ", ".join("#{:02x}{:02x}{:02x}".format(*colour) for colour in colours)
    label = f"{variable.long_name}{units_of(variable)}"
    return {"colours": stops, "low": f"{limits[0]:.3g}", "high": f"{limits[1]:.3g}", "label": label}


def _models(facts: Facts, frame: Frame, values: Any, found: Statistics) -> dict[str, Any]:
    """Which spectra occur in a map of their numbers, the commonest first."""
    numbers = sorted((int(value) for value in found.values), key=lambda value: -found.values[str(value)])
    names = dict(zip(facts.labels.numbers, facts.labels.names, strict=True))
    size = max([*numbers, *facts.labels.numbers, int(np.max(values, initial=0))]) + 1
    table = np.zeros((size + 1, 4), np.uint8)  # -1, no data, is the last
    colours = palettes.class_colours(size)
    for value in range(size):
        table[value] = [*bytes.fromhex(colours[value - 1][1:]), 255]
    legend = [(names.get(n, f"spectrum {n}"), colours[n - 1], area(found.values[str(n)] * facts.pixel_area))
              for n in numbers[:_MOST_CATEGORIES]]  # fmt: skip
    return {
        "map": frame.categories(np.where(values < 0, size, values), table), "legend": legend,
        "more": max(len(numbers) - _MOST_CATEGORIES, 0),
    }  # fmt: skip


def agreement(facts: Facts) -> list[tuple[str, str, str, str]]:
    """Of every two class maps: which, the share of pixels with the same class, kappa, and of how many pixels."""
    rows = []
    for (one, other), found in facts.overviews.agreements.items():
        pair = " and ".join(title_of(facts.variables[name]) for name in (one, other))
        if found.classified:
            rows.append((pair, f"{found.same:.1%}", f"{found.kappa:.2f}", f"{found.classified:,}"))
    return rows


def class_maps(facts: Facts, frames: Frames, step: Callable[[], None]) -> Iterator[dict[str, Any]]:
    """Every class map."""
    for variable in facts.variables.values():
        if variable.role == "class":
            words = capital(variable.long_name)
            yield {"id": variable.name, "title": capital(title_of(variable)), "words": words} | pictures.classes(
                facts, frames, variable
            )
            step()
