"""Thresholds of class maps as sliders: one for all endmembers, and one for each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hsi_dask.schema import Variable
from hsi_dask.show.canvas import Canvas
from hsi_dask.show.labels import title_of, units_of

_MOST = 40  # endmembers with a slider each; of more there is one for all
# Bokeh shows what stands between these as a formula, and all around it as HTML
_MATH = re.compile(r"\$(?=\$)|\\(?=[\[(])")


def _as_it_is(name: str) -> str:
    """A title that Bokeh shows as text: an invisible character parts what would begin a formula."""
    return _MATH.sub("\\g<0>\u2060", name)


class Limits:
    """The thresholds of one class map. A slider at its far end excludes nothing.

    Attributes
    ----------
    all, each : the sliders
    own : the map's own thresholds, one for each plane of its scores
    """

    def __init__(self, canvas: Canvas, classes: Variable) -> None:
        scores, labels = canvas.scores_of(classes), canvas.labels(classes)
        self.own = canvas.thresholds(classes)
        known = [value for value in self.own if value is not None]
        low, high = canvas.score_range(classes)
        falls = scores is not None and scores.better == "low"  # smaller thresholds exclude more
        if falls:
            self.ends = 0.0, float(f"{1.1 * max(high, *known, 1e-6):.2g}")
        else:
            self.ends = min(low, *known, high), max(high, *known, low)
        self.free = self.ends[1] if falls else self.ends[0]
        title = f"{title_of(classes).removesuffix(' classes')} threshold{units_of(scores) if scores else ''}"
        first = self.own[0] if len(set(self.own)) == 1 else None
        self.all = self._slider(title, first, f"{classes.name}_threshold")
        names = zip(labels.numbers, labels.names, labels.colours, self.own, strict=True)
        self.each = [
            self._slider(name, value, f"{classes.name}_threshold_{number}", colour)
            for number, name, colour, value in names
            if len(self.own) <= _MOST
        ]

    def _slider(self, title: str, value: float | None, name: str, colour: str = "#0072b2") -> Any:
        from bokeh.models import Slider

        (low, high), start = self.ends, self.free if value is None else value
        return Slider(title=_as_it_is(title), start=low, end=high, step=(high - low) / 200, value=start, format="0.000",
                      name=name, sizing_mode="stretch_width", bar_color=colour)  # fmt: skip

    @property
    def values(self) -> list[float | None]:
        """One for each plane of the scores; None excludes nothing."""
        shown = [slider.value for slider in self.each] or [self.all.value] * len(self.own)
        return [None if abs(value - self.free) < 1e-12 else float(value) for value in shown]

    def set(self, values: Sequence[float | None]) -> None:
        """Move the sliders there."""
        low, high = self.ends
        chosen = [self.free if value is None else min(max(value, low), high) for value in values]
        for slider, value in zip(self.each, chosen, strict=False):
            slider.value = value
        if len(set(chosen)) == 1:
            self.all.value = chosen[0]

    def set_each(self) -> None:
        """The sliders of each follow the one for all."""
        for slider in self.each:
            slider.value = self.all.value
