"""Pictures of what changed between two runs, for their page."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.comparison.changes import (
    BECAME_UNCLASSIFIED,
    DECREASE,
    INCREASE,
    UNCHANGED,
    WITHIN_ERROR,
    class_values,
)
from hsi_dask.comparison.stored import Changes
from hsi_dask.schema import Variable
from hsi_dask.show import palettes
from hsi_dask.show.change_tables import labels_in
from hsi_dask.show.frames import Frame, Picture, frame_of

_PIXELS = 600  # of the maps that are drawn, at least, along their longer side
_LEAST = 0.05  # of a fraction, that the ends of colours stand for: noise alone is not drawn in full colours
_UNCHANGED = "#eceef0"
_UNCLASSIFIED = "#4d4d4d"  # that became so: darker than in class maps, where nothing else is grey
WIDE, NARROW = 5.6, 3.7  # inches


class ChangePictures:
    """Draws the maps of two runs' change."""

    def __init__(self, changes: Changes) -> None:
        self.changes = changes
        self._frames: dict[float, Frame] = {}

    @cached_property
    def maps(self) -> xr.Dataset:
        return self.changes.at(_PIXELS)

    def frame(self, width: float) -> Frame:
        if width not in self._frames:
            like = next(self.maps[name] for name in self.maps)
            self._frames[width] = frame_of(like.isel(dict.fromkeys(like.dims[:-2], 0)), width)
        return self._frames[width]

    def classes(self, classes: Variable) -> Picture:
        """What became of the pixels whose class changed."""
        values = self.maps[f"{classes.name}_change"].values.astype(np.int64) + 1  # no data first
        legend, colours = class_change_legend(self.changes, classes)
        table = np.zeros((int(max(legend)) + 2, 4), np.uint8)
        for value in legend:
            table[value + 1] = colours[value]
        return self.frame(WIDE).categories(values, table)

    def differences(self, variable: Variable) -> Iterator[dict[str, Any]]:
        """Of each plane its difference, and where that is larger than its error."""
        name, labels = f"{variable.name}_change", labels_in(self.changes, variable)
        planes = self.maps[name].values.reshape(-1, *self.maps[name].shape[-2:])
        most = _most(planes)
        flags = self.maps.get(f"{variable.name}_significant")
        single = len(variable.dims) == 2
        names = zip((variable.long_name,), ("#5c666d",), strict=True) if single else zip(
            labels.names, labels.colours, strict=True)  # fmt: skip
        for number, (plane, (text, colour)) in enumerate(zip(planes, names, strict=True)):
            ramp = palettes.ramp_table(palettes.DIVERGING)
            one = {"name": text, "colour": colour, "map": self.frame(NARROW).plane(plane, (-most, most), ramp)}
            if flags is not None:
                flag = flags.values.reshape(planes.shape)[number]
                one["significant"] = self.frame(NARROW).categories(flag, significance_colours())
            yield one | {"scale": _scale(variable, most)}


def _most(planes: NDArray[np.float32]) -> float:
    """What the ends of colours stand for: alike for losses and gains, and for all planes."""
    known = np.abs(planes[np.isfinite(planes)])
    return max(float(np.percentile(known, 99.5)), _LEAST) if known.size else 1.0


def _scale(variable: Variable, most: float) -> dict[str, str]:
    colours = palettes.ramp_table(palettes.DIVERGING)[::17]
    stops = ", ".join("#{:02x}{:02x}{:02x}".format(*colour) for colour in colours)
    return {"colours": stops, "low": f"-{most:.2g}", "high": f"+{most:.2g}", "label": f"change of the {variable.name}"}


def class_change_legend(changes: Changes, classes: Variable) -> tuple[dict[int, str], NDArray[np.uint8]]:
    """What values of a map of class changes are called, and (256, 4) RGBA of them."""
    known, colours = labels_in(changes, classes).classes, np.zeros((256, 4), np.uint8)
    legend = {UNCHANGED: "unchanged"}
    legend |= {value: f"became {known[value][0]}" for value in class_values(changes.pair, classes) if value}
    legend[BECAME_UNCLASSIFIED] = "became unclassified"
    for value in legend:
        colours[value] = palettes.rgba(known[value][1] if value in known else _UNCLASSIFIED)
    colours[UNCHANGED] = palettes.rgba(_UNCHANGED)
    return legend, colours


def significance_colours() -> NDArray[np.uint8]:
    """(256, 4) RGBA of decreases and increases, as the ends of the diverging colours; no data clear."""
    ramp, colours = palettes.ramp_table(palettes.DIVERGING), np.zeros((256, 4), np.uint8)
    colours[WITHIN_ERROR] = palettes.rgba(_UNCHANGED)
    colours[DECREASE], colours[INCREASE] = [*ramp[10], 255], [*ramp[-10], 255]
    return colours
