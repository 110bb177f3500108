"""Colours that colour-blind people can tell apart, the same in every figure, map and file."""

from __future__ import annotations

import colorsys
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from hsi_dask.schema import FLAGS, NO_CLASS, UNCLASSIFIED, Variable

SEQUENTIAL = "viridis"  # fractions: perceptually uniform, and readable in grey
ERRORS = "cividis"  # residuals and scores
DIVERGING = "coolwarm_r"  # changes: losses red, gains blue, and no change grey, which white no data is not
_RAMPS = {"fraction": SEQUENTIAL, "uncertainty": "magma", "shade": "gray_r", "change": DIVERGING}
UNCLASSIFIED_COLOUR = "#c8c8c8"

# Okabe and Ito's seven without black, then those of Paul Tol's muted scheme that lie farthest from them
_CLASSES = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442",
    "#332288", "#882255", "#999933", "#44aa99", "#661100",
)  # fmt: skip
_FLAGS = {
    "no_data": "#ffffff", "cloud": "#56b4e9", "shadow": "#332288", "saturated": "#d55e00", "negative": "#cc79a7",
    "water": "#0072b2", "vegetation": "#009e73", "not_vegetation": "#e69f00", "outside": "#ffffff",
    "not_modelled": "#d55e00",
}  # fmt: skip
GOOD_COLOUR, SEVERAL_COLOUR = "#e4e4e4", "#882255"  # quality: not masked; masked for more than one reason
STATES = {"done": "#0072b2", "pending": "#c8c8c8", "failed": "#d55e00"}  # of tiles


def ramp_of(variable: Variable) -> str:
    """The matplotlib colour map of a map of numbers, by its role; of scores the more alike end is bright.

    Examples
    --------
    >>> ramp_of(Variable("toy", ("endmember", "y", "x"), "float32", "toy", role="score", better="low"))
    'cividis_r'
    """
    if variable.role == "score" and variable.better == "low":
        return f"{ERRORS}_r"
    return _RAMPS.get(variable.role, ERRORS)


def ramp_table(name: str) -> NDArray[np.uint8]:
    """(256, 3) RGB of a matplotlib colour map from low to high."""
    from matplotlib import colormaps

    return np.asarray(colormaps[name](np.arange(256), bytes=True)[:, :3])


def class_colours(count: int) -> list[str]:
    """Colours of endmembers 1 to `count`, as #rrggbb; after the first 12 hues that lie apart, light and dark in turn.

    Examples
    --------
    >>> class_colours(2)
    ['#0072b2', '#e69f00']
    """
    more = [_spun(number) for number in range(count - len(_CLASSES))]
    return [*_CLASSES, *more][:count]


def _spun(number: int) -> str:
    hue = (number * 0.618034 + 0.05) % 1  # the golden angle: any run of numbers is spread around the circle
    return _hex(colorsys.hls_to_rgb(hue, (0.35, 0.6, 0.78)[number % 3], 0.6))


def _hex(colour: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour)


def colours_of(numbers: Collection[int]) -> list[str]:
    """The colours of endmembers with these numbers: one that is left out changes those of no others.

    Examples
    --------
    >>> colours_of([2, 1])
    ['#e69f00', '#0072b2']
    """
    colours = class_colours(max(numbers, default=0))
    return [colours[number - 1] for number in numbers]


def class_table(numbers: Collection[int]) -> NDArray[np.uint8]:
    """(256, 4) RGBA of class values: 0 grey, each endmember's number in its colour, all others and 255 transparent."""
    table = np.zeros((256, 4), np.uint8)
    table[UNCLASSIFIED] = rgba(UNCLASSIFIED_COLOUR)
    for value, colour in zip(numbers, colours_of(numbers), strict=True):
        table[value] = rgba(colour)
    table[NO_CLASS] = 0
    return table


def quality_table() -> NDArray[np.uint8]:
    """(n, 4) RGBA of quality: grey where good, a colour for each reason, another for several; no data and what is
    outside the area transparent."""
    table = np.tile(rgba(SEVERAL_COLOUR), (2 * max(FLAGS.values()), 1))
    table[0] = rgba(GOOD_COLOUR)
    for name, bit in FLAGS.items():
        table[bit] = rgba(_FLAGS[name])
    table[(np.arange(len(table)) & (FLAGS["no_data"] | FLAGS["outside"])) != 0] = 0
    return table


def flag_colour(name: str) -> str:
    """The colour of a reason in `quality_table`."""
    return _FLAGS[name]


def rgba(colour: str) -> NDArray[np.uint8]:
    """A colour of #rrggbb as bytes."""
    return np.array([*bytes.fromhex(colour[1:]), 255], np.uint8)
