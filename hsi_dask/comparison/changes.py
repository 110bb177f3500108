"""Change between two runs as a lazy dataset: difference maps with their errors, transitions and balances of classes."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from statistics import NormalDist
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from hsi_dask.comparison.pairs import Pair, open_pair
from hsi_dask.comparison.spectra import material_names
from hsi_dask.errors import ConfigError
from hsi_dask.io.store import open_maps
from hsi_dask.kernels import transitions as kernels
from hsi_dask.overviews.statistics import Cell
from hsi_dask.schema import (
    CLASS_DIMS,
    ENDMEMBER,
    MATERIAL,
    NAME,
    UNCLASSIFIED,
    WAVELENGTH,
    Variable,
    X,
    Y,
    endmember_names,
    endmember_numbers,
    variable_attrs,
)

QUANTITY = "quantity"
QUANTITIES = ("before", "after", "gained", "lost", "net")  # hectares of each class and fraction
UNCHANGED, BECAME_UNCLASSIFIED = kernels.UNCHANGED, kernels.BECAME_UNCLASSIFIED  # of class changes
WITHIN_ERROR, DECREASE, INCREASE = kernels.WITHIN_ERROR, kernels.DECREASE, kernels.INCREASE  # of what is significant
_FLAGS = {"within_error": WITHIN_ERROR, "decrease": DECREASE, "increase": INCREASE}


def compare(run_a: str | os.PathLike[str], run_b: str | os.PathLike[str], *, confidence: float = 0.95) -> xr.Dataset:
    """Compare two runs of a site that were mapped with the same endmembers, such as two years.

    Map the second year with the spectra of the first, resampled to its wavelengths: `hsi-dask run YEAR_B --endmembers
    RUN_A --out RUN_B`. Pixels without data in one of the runs count nowhere.

    Parameters
    ----------
    run_a, run_b : path
        Run directories, the earlier first, on one pixel grid; where their extents differ, their common pixels.
    confidence : float
        A change is significant if it is larger than its error at this level, 0 to 1: with standard deviations s of
        both years, |b - a| > z sqrt(s_a^2 + s_b^2), with z = 1.96 for 0.95, errors being normal and independent.

    Returns
    -------
    xarray.Dataset
        Lazy, on the pixels of both, with CRS. For each fraction that both runs have, such as `abundance`:
        `abundance_change` (endmember, y, x) float32, the second less the first; where both have its standard
        deviation `abundance_change_std` and `abundance_significant`, uint8: 0 within the error, 1 decrease, 2
        increase, 255 no data. `abundance_hectares` (quantity, endmember): the area covered before and after, gained,
        lost (sums of what pixels gained and lost) and net; `abundance_net_std`, the net's standard deviation if the
        errors of all pixels are alike, as those of endmembers and light are: the most that it can be.
        For each class map, such as `sam_class`: `sam_class_change` (y, x) int16, what a pixel became: 0 unchanged, n
        class n, 255 unclassified, -1 no data; `sam_class_transitions` (class_a, class_b), pixels from (a) and to (b),
        class 0 being unclassified; `sam_class_transition_hectares`; `sam_class_hectares` (quantity, class).
        attrs: `before`, `after`, `confidence`, `pixel_hectares` and `notes`, sentences on what else differs.

    Raises
    ------
    RunError, GridError, EndmemberError
        They cannot be compared: no runs or no finished tile, no map in common, other grids, other endmembers.
    ConfigError
        `confidence` is not between 0 and 1.

    Examples
    --------
    >>> import tempfile
    >>> import hsi_dask as hsi
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     a = hsi.synthetic.simulate_site(f"{folder}/2019", tiles=(1, 1), size=40)
    ...     b = hsi.synthetic.simulate_site(f"{folder}/2022", tiles=(1, 1), size=40, illumination=None)
    ...     first = hsi.run(hsi.RunConfig(tiles=[f"{folder}/2019"]), f"{folder}/a")
    ...     same = hsi.RunConfig(tiles=[f"{folder}/2022"], endmembers={"file": f"{folder}/a"})
    ...     second = hsi.run(same, f"{folder}/b")
    ...     change = hsi.compare(f"{folder}/a", f"{folder}/b")
    ...     pixels = change.sam_class_transitions.compute()
    >>> change.abundance_change.dims, pixels.dims
    (('endmember', 'y', 'x'), ('class_a', 'class_b'))
    >>> bool(pixels.sum() > 1000)
    True
    """
    return changes_of(open_pair(run_a, run_b), confidence)


def changes_of(pair: Pair, confidence: float = 0.95) -> xr.Dataset:
    """As `compare`, of two runs that are open."""
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence is {confidence}; it must be between 0 and 1, such as 0.95")
    before, after = (_maps(pair, n) for n in (0, 1))
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    found: dict[str, Any] = {}
    for variable in pair.variables:
        one, other = before[variable.name], after[variable.name]
        if variable.role == "class":
            found |= _of_classes(pair, variable, one, other)
        else:
            std = pair.stds.get(variable.name)
            stds = None if std is None else (before[std.name], after[std.name])
            found |= _of_fractions(pair, variable, one, other, stds, z)
    told = {"before": str(pair.before.path), "after": str(pair.after.path), "notes": list(pair.notes)}
    changes = xr.Dataset(found, _coordinates(pair, before))
    return changes.assign_attrs(told, confidence=confidence, pixel_hectares=pair.hectares)


def change_variables(pair: Pair) -> tuple[Variable, ...]:
    """The difference maps, as they are drawn and stored."""
    return tuple(spec for variable in pair.variables for spec in _specs(pair, variable).values())


def _specs(pair: Pair, variable: Variable) -> dict[str, Variable]:
    """By their kind the difference maps of a map."""
    name, told = variable.name, variable.long_name
    if variable.role == "class":
        change = Variable(f"{name}_change", CLASS_DIMS, "int16", f"what became of the {told}", role="change", of=name)
        return {"change": change}
    limits = None if variable.limits is None else (-1.0, 1.0)
    own = f"{name}_change"
    found = {"change": Variable(own, variable.dims, "float32", f"change of the {told}", variable.units, role="change",
                                of=name, limits=limits)}  # fmt: skip
    if name in pair.stds:
        flags = {"flag_values": np.array(list(_FLAGS.values()), "uint8"), "flag_meanings": " ".join(_FLAGS)}
        words = f"standard deviation of the change of the {told}"
        found["std"] = Variable(f"{own}_std", variable.dims, "float32", words, variable.units, role="uncertainty",
                                of=own)  # fmt: skip
        words = f"whether the change of the {told} is larger than its error"
        found["significant"] = Variable(f"{name}_significant", variable.dims, "uint8", words, role="change", of=own,
                                        attrs=flags)  # fmt: skip
    return found


# ------------------------------------------------------------------------------------------------ maps


def _maps(pair: Pair, number: int) -> xr.Dataset:
    """The maps of one of the runs on the common pixels, in the chunks of the common grid."""
    run, (rows, columns) = (pair.before, pair.after)[number], pair.windows[number]
    specs = {v.name: v for v in (*pair.variables, *pair.stds.values())}
    maps = open_maps(run.results)[list(specs)]
    if not pair.complete[number]:
        cells = {cell for record in run.records() for cell in record.cells}
        maps = maps.assign({name: _finished(maps[name], spec, cells) for name, spec in specs.items()})
    maps = maps.isel({Y: rows, X: columns})
    tall, wide = pair.grid.chunk
    return maps.chunk({Y: tall, X: wide})


def _finished(array: xr.DataArray, spec: Variable, cells: Collection[Cell]) -> xr.DataArray:
    """A map in chunks as stored, without what a killed run left of tiles that are not done."""

    def kept(block: Any, block_id: tuple[int, ...]) -> Any:
        return block if block_id[-2:] in cells else np.full_like(block, spec.fill_value)

    return array.copy(data=da.map_blocks(kept, array.data, dtype=array.dtype, meta=array.data._meta))


def _of_fractions(
    pair: Pair, variable: Variable, one: xr.DataArray, other: xr.DataArray, stds: Any, z: float
) -> Iterator[tuple[str, Any]]:
    """The difference maps of fractions by name, and their balance."""
    specs, a, b = _specs(pair, variable), one.data, other.data
    change, std = b - a, None
    yield _named(specs["change"], change)
    if stds is not None:
        std = da.map_blocks(kernels.change_std, stds[0].data, stds[1].data, dtype=np.float32)
        flags = da.map_blocks(kernels.significance, change, std, z=z, dtype=np.uint8)
        yield _named(specs["std"], std)
        yield _named(specs["significant"], flags)
    if variable.role == "fraction":
        yield from _balanced(pair, variable, (a, b) if std is None else (a, b, std))


def _named(spec: Variable, data: Any) -> tuple[str, Any]:
    fill = {} if spec.dtype == "float32" else {"_FillValue": np.dtype(spec.dtype).type(spec.fill_value)}
    return spec.name, (spec.dims, data, variable_attrs(spec) | {"role": spec.role} | fill)


def _balanced(pair: Pair, variable: Variable, arrays: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    planes = variable.dims[:-2]
    if not planes:
        arrays = tuple(array[None] for array in arrays)
    sums = _summed(kernels.balance, arrays, (len(kernels.SUMS),), np.float64)
    by = {name: sums[:, n] * pair.hectares for n, name in enumerate(kernels.SUMS)}
    quantities = da.stack([by["before"], by["after"], by["gained"], by["lost"], by["after"] - by["before"]])
    std = by["std"]
    name, told = variable.name, {"units": "ha"}
    if not planes:
        quantities, std = quantities[:, 0], std[0]
    words = f"area of the {variable.long_name}: before, after, gained, lost, net"
    yield f"{name}_hectares", ((QUANTITY, *planes), quantities, told | {"long_name": words})
    if name in pair.stds:
        words = "standard deviation of the net area, if the errors of all pixels are alike: the most that it can be"
        yield f"{name}_net_std", (planes, std, told | {"long_name": words})


def _of_classes(pair: Pair, variable: Variable, one: xr.DataArray, other: xr.DataArray) -> Iterator[tuple[str, Any]]:
    """The map of what classes became, by name, and their transitions."""
    values, prefix = class_values(pair, variable), class_prefix(pair, variable)
    spec, k = _specs(pair, variable)["change"], len(values)
    yield _named(spec, da.map_blocks(kernels.class_change, one.data, other.data, dtype=np.int16))
    count = partial(_counted, values=values)
    pixels = _summed(count, (one.data[None], other.data[None]), (k, k), np.int64)[0]
    hectares = pixels * pair.hectares
    before, after, same = hectares.sum(axis=1), hectares.sum(axis=0), da.diag(hectares)
    quantities = da.stack([before, after, after - same, before - same, after - before])
    dims, name = (f"{prefix}class_a", f"{prefix}class_b"), variable.name
    words = "pixels from (class_a) and to (class_b) each class; 0 is unclassified"
    yield f"{name}_transitions", (dims, pixels, {"long_name": words})
    yield f"{name}_transition_hectares", (dims, hectares, {"long_name": words.replace("pixels", "area"), "units": "ha"})
    words = "area of each class: before, after, gained, lost, net"
    yield f"{name}_hectares", ((QUANTITY, f"{prefix}class"), quantities, {"long_name": words, "units": "ha"})


def _counted(before: Any, after: Any, values: list[int]) -> Any:
    return kernels.transitions(before, after, values)[None]


def _summed(reduce: Callable[..., Any], arrays: tuple[Any, ...], shape: tuple[int, ...], dtype: Any) -> Any:
    """(plane, *shape): sums over all blocks of what `reduce` makes (plane, *shape) of blocks (plane, y, x)."""
    planes, down, across = arrays[0].chunks

    def placed(*blocks: Any) -> Any:
        return reduce(*blocks)[:, None, None]

    parts = da.map_blocks(
        placed, *arrays, dtype=dtype, meta=np.empty((0,) * (3 + len(shape)), dtype),
        new_axis=list(range(3, 3 + len(shape))),
        chunks=(planes, (1,) * len(down), (1,) * len(across), *((size,) for size in shape)),
    )  # fmt: skip
    return parts.sum(axis=(1, 2), dtype=dtype)


# ------------------------------------------------------------------------------------------------ labels


def class_prefix(pair: Pair, variable: Variable) -> str:
    """Of the names of dimensions: classes are numbers of endmembers, or of the materials of a library."""
    of = next((v for v in pair.before.manifest.variables if v.name == variable.of), variable)
    return "material_" if MATERIAL in of.dims else ""


def class_values(pair: Pair, variable: Variable) -> list[int]:
    """Unclassified, and the numbers of what the classes are."""
    if class_prefix(pair, variable):
        return [UNCLASSIFIED, *range(1, len(material_names(pair.endmembers)) + 1)]
    return [UNCLASSIFIED, *endmember_numbers(pair.endmembers).tolist()]


def _coordinates(pair: Pair, maps: xr.Dataset) -> Mapping[Any, Any]:
    """Of the maps, and of the tables' rows and columns."""
    endmembers = pair.endmembers
    numbers = endmember_numbers(endmembers)
    names = endmember_names(endmembers) or [f"endmember {number}" for number in numbers]
    found: dict[Any, Any] = {name: maps[name].variable for name in (Y, X, "spatial_ref") if name in maps.coords}
    found[QUANTITY] = (QUANTITY, np.array(QUANTITIES, dtype=object))
    found |= {ENDMEMBER: (ENDMEMBER, numbers), NAME: (ENDMEMBER, np.array(names, dtype=object))}
    found["endmembers"] = ((ENDMEMBER, WAVELENGTH), endmembers.values)
    found[WAVELENGTH] = (WAVELENGTH, endmembers[WAVELENGTH].values)
    if MATERIAL in maps.dims:
        found[MATERIAL] = (MATERIAL, np.array(material_names(endmembers), dtype=object))
    for variable in pair.variables:
        if variable.role == "class":
            prefix, values = class_prefix(pair, variable), class_values(pair, variable)
            words = ["unclassified", *(material_names(endmembers) if prefix else names)]
            found |= {f"{prefix}class{end}": (f"{prefix}class{end}", values) for end in ("", "_a", "_b")}
            found[f"{prefix}class_name"] = (f"{prefix}class", np.array(words, dtype=object))
    return found
