"""Thresholds as people give them, "sam" to 0.1 or one number each, as thresholds of a run's class maps."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from hsi_dask.batch.state.run_directory import Run
from hsi_dask.errors import ConfigError
from hsi_dask.io import endmember_store, map_arrays
from hsi_dask.methods.registry import METHODS
from hsi_dask.ops.classes import limits_of
from hsi_dask.overviews.reclassified import Thresholds
from hsi_dask.schema import Variable
from hsi_dask.show.settings import Settings

Wanted = Mapping[str, float | Sequence[float]]  # by a method's name, or that of its scores or class map


def thresholds_of(run_dir: str | os.PathLike[str], wanted: Wanted | None) -> dict[str, Thresholds]:
    """By name of class map one threshold for each of its scores.

    Raises
    ------
    ConfigError
        The run has no such class map, another number of thresholds, or one that its scores cannot have.
    """
    if not wanted:
        return {}
    run = Run.open(run_dir)
    settings = Settings(run)
    planes = {
        dim: numbers.size
        for dim, numbers in map_arrays.endmember_planes(endmember_store.open_endmembers(run_dir)).items()
    }
    maps = {variable.name: variable for variable in run.manifest.variables}
    found = {}
    for name, threshold in wanted.items():
        classes = class_map_of(run, name)
        limits = limits_of(threshold, planes[maps[str(classes.of)].dims[0]], name, settings.method_of(classes))
        found[classes.name] = tuple(limits.tolist()) if limits is not None else ()
    return found


def class_map_of(run: Run, name: str) -> Variable:
    """The class map of a method, of scores or of its own name."""
    classes = [variable for variable in run.manifest.variables if variable.role == "class" and variable.of]
    method = METHODS.specifications.get(name)
    own = {v.name for v in method.variables} if method else {f"{name}_class"}
    for variable in classes:
        if name in (variable.name, variable.of) or variable.name in own:
            return variable
    known = ", ".join(variable.name for variable in classes) or "none"
    raise ConfigError(f"{run.path} has no class map {name}; there are {known}")


def threshold_text(threshold: Any, scores: Variable) -> str:
    """What a threshold, or one for each plane of the scores, does, as a sentence."""
    values = threshold if isinstance(threshold, list | tuple) else [threshold]
    if all(value is None for value in values):
        return "No threshold: every pixel has a class."
    units = f" {scores.units}" if scores.units not in (None, "1") else ""
    side = "above" if scores.better == "low" else "below"
    if len(set(values)) == 1:
        what = f"{side} {values[0]:.4g}{units}"
    else:
        what = f"{side} its own threshold ({', '.join('-' if v is None else f'{v:.4g}' for v in values)}{units})"
    return f"Unclassified where every {scores.long_name} is {what}."
