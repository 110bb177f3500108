"""Ranges of each method's scores over the scene, of which relative thresholds are fractions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from hsi_dask.methods.registry import method
from hsi_dask.methods.specification import Background
from hsi_dask.ops.classes import Range
from hsi_dask.ops.materials import mapped
from hsi_dask.ops.passes import DATA
from hsi_dask.scene.reduction import Arrays, Reduction
from hsi_dask.schema import X, Y

NAME = "ranges"
_LOW, _HIGH = "low_", "high_"


def score_ranges(
    endmembers: xr.DataArray,
    methods: Sequence[str],
    options: Mapping[str, Mapping[str, Any]],
    background: Background | None,
    settings: Mapping[str, Any],
) -> Reduction:
    """The reduction to the smallest and largest score of every endmember under each of these methods.

    `settings` say what endmembers and options are, so that ranges of others are not taken for these.
    """
    scores = {name: spec.name for name in methods if (spec := method(name).classed)}

    def reduce(cube: xr.DataArray, where: xr.DataArray | None) -> Arrays:
        from dask.base import compute

        maps, validity = mapped(cube, endmembers, methods=methods, options=options, background=background)
        counted = validity == DATA if where is None else (validity == DATA) & where
        found: dict[str, Any] = {}
        for name, variable in scores.items():
            values = maps[variable].where(counted)
            found[_LOW + name] = values.fillna(np.inf).min((Y, X)).data
            found[_HIGH + name] = values.fillna(-np.inf).max((Y, X)).data
        (computed,) = compute(found)
        return {name: np.asarray(values, np.float32) for name, values in computed.items()}

    return Reduction(NAME, "ranges of scores", 1, reduce, _combine, settings)


def ranges_in(arrays: Arrays) -> dict[str, Range]:
    """By method the smallest and the largest score of each endmember; equal where no pixel has one."""
    found = {}
    for key, low in arrays.items():
        if key.startswith(_LOW):
            high = arrays[_HIGH + key.removeprefix(_LOW)]
            some = low <= high
            found[key.removeprefix(_LOW)] = Range(np.where(some, low, 0.0), np.where(some, high, 0.0))
    return found


def _combine(one: Arrays, other: Arrays) -> Arrays:
    return {
        name: (np.minimum if name.startswith(_LOW) else np.maximum)(values, other[name]) for name, values in one.items()
    }
