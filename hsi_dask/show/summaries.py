"""What the maps of a dataset are, by their roles, and what their planes and classes are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from hsi_dask.batch.state.manifest import MANIFEST
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.errors import RunError, SchemaError
from hsi_dask.escaping import visible
from hsi_dask.io.endmember_store import ENDMEMBERS, open_endmembers
from hsi_dask.methods.registry import METHODS, variable
from hsi_dask.schema import CLASS_DIMS, ENDMEMBER, MATERIAL, QUALITY, Role, Variable
from hsi_dask.show.labels import Labels, dim_of, labels_of


def specifications(maps: xr.Dataset) -> dict[str, Variable]:
    """Each map's specification: its run's, the one that a method declares, or what its attributes and type say."""
    known = _of_run(maps)
    return {str(name): known.get(str(name)) or variable(str(name)) or _guessed(array) for name, array in maps.items()}


def _of_run(maps: xr.Dataset) -> dict[str, Variable]:
    folder = Path(maps.encoding.get("source", "")).parent
    if not maps.encoding.get("source") or not (folder / MANIFEST).is_file():
        return {}
    try:
        return {variable.name: variable for variable in Run.open(folder).manifest.variables}
    except RunError:
        return {}


def with_materials(endmembers: xr.DataArray, maps: xr.Dataset) -> xr.DataArray:
    """The endmembers of maps with the material of each, as their run has it; as they are where that cannot be had.

    In the maps themselves `material` is a dimension.
    """
    folder = Path(maps.encoding.get("source", "")).parent
    if MATERIAL not in maps.coords or not (folder / ENDMEMBERS).is_dir():
        return endmembers
    stored = open_endmembers(folder)
    if MATERIAL not in stored.coords or not set(endmembers[ENDMEMBER].values) <= set(stored[ENDMEMBER].values):
        return endmembers
    own = stored[MATERIAL].sel({ENDMEMBER: endmembers[ENDMEMBER].values})
    return endmembers.assign_coords({MATERIAL: (ENDMEMBER, own.values)})


def _guessed(array: xr.DataArray) -> Variable:
    """By its type: bytes with names are classes, and numbers with a plane for each endmember are scores."""
    if array.name == QUALITY.name:
        return QUALITY
    attrs, planes = array.attrs, array.ndim > len(CLASS_DIMS)
    if attrs.get("role") in ("change", "uncertainty"):  # of a comparison
        limits = (-1.0, 1.0) if attrs["role"] == "change" else None
        words = str(attrs.get("long_name") or array.name)
        return Variable(str(array.name), tuple(map(str, array.dims)), str(array.dtype), words, attrs.get("units"),
                        role=attrs["role"], limits=limits)  # fmt: skip
    role: Role = "class" if "flag_values" in attrs else "score" if planes else "residual"
    name, units = str(attrs.get("long_name") or array.name), attrs.get("units")
    return Variable(str(array.name), tuple(map(str, array.dims)), str(array.dtype), name, units, role=role)


def labels_in(maps: xr.Dataset, name: str) -> Labels:
    """Numbers and names of the planes, or of the class values, of a map."""
    specs = specifications(maps)
    dim = dim_of(specs[name], specs)
    if dim == MATERIAL and MATERIAL in maps.coords:
        numbers = range(1, maps.sizes[MATERIAL] + 1)
        return Labels(tuple(numbers), tuple(map(visible, maps[MATERIAL].to_numpy())))
    array = maps[name]
    if array.ndim > len(CLASS_DIMS) and array.dims[0] not in (ENDMEMBER, MATERIAL):
        dim = str(array.dims[0])
        names = [f"{dim} {visible(str(value))}" for value in array[dim].to_numpy()]
        return Labels(tuple(range(1, len(names) + 1)), tuple(names))
    if ENDMEMBER in maps.dims or ENDMEMBER in maps.coords:
        planes = maps[ENDMEMBER].reset_coords(drop=True)
        if "name" in maps.coords:
            planes = planes.assign_coords(name=maps["name"])
        return labels_of(planes)
    return _in_attributes(maps[name])


def _in_attributes(classes: xr.DataArray) -> Labels:
    """A class map alone tells of its classes in its attributes."""
    numbers = [int(value) for value in np.atleast_1d(classes.attrs.get("flag_values", ())) if value > 0]
    if not numbers:
        numbers = [int(value) for value in np.unique(np.asarray(classes)) if 0 < value < 255]
    words = str(classes.attrs.get("flag_meanings", "")).split()[1:]
    words = words if len(words) == len(numbers) else [f"endmember_{number}" for number in numbers]
    plain = (visible(word.replace("_", " ")) for word in words)
    own = (word if word == f"endmember {n}" else f"{n} {word}" for n, word in zip(numbers, plain, strict=True))
    return Labels(tuple(numbers), tuple(own))


def class_map_in(maps: xr.Dataset, method: str | None) -> str:
    """The name of the class map of a method, or by its own name; without one the first of scores, else the first."""
    specs = specifications(maps)
    classes = {name: spec for name, spec in specs.items() if spec.role == "class"}
    if method is None:
        of_scores = [name for name, spec in classes.items() if spec.of in specs and specs[spec.of].role == "score"]
        if classes:
            return [*of_scores, *classes][0]
        raise SchemaError(f"the dataset has no class map but {', '.join(specs) or 'nothing'}")
    known = METHODS.specifications.get(method)
    wanted = {method, f"{method}_class", *(v.name for v in (known.variables if known else ()))}
    for name, spec in classes.items():
        if name in wanted or spec.of == method:
            return name
    raise SchemaError(f"the dataset has no class map {method} but {', '.join(classes) or 'none'}")
