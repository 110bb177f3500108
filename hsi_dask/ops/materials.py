"""Material maps: every pixel is projected once, and each method finishes its maps from the same sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.errors import ConfigError, EndmemberError, HsiDaskError
from hsi_dask.kernels.projection import Weights, weights
from hsi_dask.methods.options import method_options
from hsi_dask.methods.registry import DEFAULT, METHODS, in_order, method, variables
from hsi_dask.methods.specification import Background, Inputs, Kind, Library, Method
from hsi_dask.ops.classes import Range, Threshold, absolute_limits, class_map, limits_of, threshold_classes
from hsi_dask.ops.passes import Finish, finished_planes, plane_rows
from hsi_dask.ops.statistics import background_of
from hsi_dask.schema import (
    CLASS_DIMS,
    CUBE_DIMS,
    ENDMEMBER,
    FLOOR,
    MATERIAL,
    MAX_ENDMEMBERS,
    NAME,
    WAVELENGTH,
    Variable,
    X,
    Y,
    describe,
    describe_coordinates,
    endmember_materials,
    endmember_names,
    endmember_numbers,
    require_dims,
    require_wavelengths,
)

__all__ = ["classify", "map_materials", "threshold_classes", "unmix"]

Options = Mapping[str, Mapping[str, Any]]
MOST_SPECTRA = 32_767  # of a library: models are int16


class Mapped(NamedTuple):
    """The maps, and (y, x) which pixels have data: see `ops.passes`."""

    maps: xr.Dataset
    validity: xr.DataArray


def map_materials(
    cube: xr.DataArray,
    endmembers: xr.DataArray,
    *,
    methods: Sequence[str] = DEFAULT,
    thresholds: Mapping[str, Threshold] | None = None,
    options: Options | None = None,
    statistics: xr.Dataset | None = None,
    solver: str | None = None,
) -> xr.Dataset:
    """Abundances, scores and classes of every pixel by any mixture of methods, in one pass over the cube.

    Parameters
    ----------
    cube : (y, x, wavelength) reflectance, or the stored integers with `scale_factor` and `_FillValue` in
        attrs; numpy or dask, chunked in any way, along wavelength too.
    endmembers : (endmember, wavelength) reflectance on the cube's wavelengths. Numbers in its coordinate `endmember`
        are kept and are the class values; the coordinate `name` goes with them.
    methods : names of methods, such as "fcls", "sam", "sid".
    thresholds : by method's name, each one number or one per endmember; see `threshold_classes`.
    options : by method's name, values of its parameters.
    statistics : of the scene, from `scene_statistics`, for methods that detect targets against it.
    solver : "exact", or "cvxopt" for the same programs of `fcls` solved one by one by cvxopt: slow, for reference.

    Returns
    -------
    Dataset of the methods' variables, such as `abundance`, `residual`, `sam_angle` and `sam_class`. Lazy where the cube
    is. A pixel with a missing value, or of zeros alone, is NaN, and 255 in classes.

    Notes
    -----
    Chunking does not change abundances and angles beyond the last float32 digit, nor divergences beyond 1e-6.
    SID floors reflectance at 1e-4, one digital number, in pixels and endmembers.

    Raises
    ------
    EndmemberError : endmembers on other wavelengths, not finite, all zero, none or more than 254.
    SchemaError : a dimension or coordinate is missing.
    ConfigError : an unknown method, or thresholds or options that do not fit.

    References
    ----------
    Those of the methods, in their files in `hsi_dask.methods`.
    """
    if solver is not None:
        options = {**(options or {}), "fcls": {**(options or {}).get("fcls", {}), "solver": solver}}
    background = None if statistics is None else background_of(statistics, cube)
    return mapped(cube, endmembers, methods=methods, thresholds=thresholds, options=options, background=background).maps


def mapped(
    cube: xr.DataArray,
    endmembers: xr.DataArray,
    *,
    methods: Sequence[str],
    thresholds: Mapping[str, Threshold] | None = None,
    options: Options | None = None,
    background: Background | None = None,
    ranges: Mapping[str, Range] | None = None,
) -> Mapped:
    """As `map_materials`, with which pixels have data; thresholds are fractions of `ranges` where these are given."""
    specs = [method(name) for name in in_order(methods)]
    cube = require_dims(cube, CUBE_DIMS, "the cube")
    endmembers = require_dims(endmembers, (ENDMEMBER, WAVELENGTH), "endmembers")
    limits = _limits(specs, thresholds or {}, endmembers.sizes.get(ENDMEMBER, 0), ranges)
    chosen = method_options(specs, options or {})
    made = variables([spec.name for spec in specs], chosen)
    require_wavelengths(cube, endmembers)
    library = _library(endmembers, _most(specs))
    _require(specs, library, chosen)
    w, prepared = _prepared(specs, library, chosen, background)
    coords, sizes = _map_coords(cube, endmembers, library)
    rows = plane_rows(tuple(v for v in made if v.role != "class"), sizes)
    planes = finished_planes(cube, w, Finish(prepared, rows))
    found: dict[str, xr.DataArray] = {}
    for spec in specs:
        for variable in spec.computed(chosen[spec.name]):
            found[variable.name] = _labelled(planes[rows[variable.name]], variable, coords)
        if spec.classes is not None and (of := spec.classed):
            found[spec.classes.name] = class_map(found[of.name], limits[spec.name], of, spec.classes)
    flat = {name: c for name, c in coords.items() if set(c.dims) <= set(CLASS_DIMS)}
    return Mapped(xr.Dataset({v.name: found[v.name] for v in made}), xr.DataArray(planes[0], flat, CLASS_DIMS))


def require_library(endmembers: xr.DataArray, methods: Sequence[str], options: Options | None = None) -> None:
    """Refuse spectra that a method cannot use, before anything is read.

    Raises
    ------
    EndmemberError : too many or unusable spectra, or a library that a method cannot use.
    """
    specs = [method(name) for name in in_order(methods)]
    chosen = method_options(specs, options or {})
    _require(specs, _library(endmembers, _most(specs)), chosen)


def _require(specs: Sequence[Method], library: Library, options: Mapping[str, Mapping[str, Any]]) -> None:
    for spec in specs:
        try:
            if spec.require:
                spec.require(library, options[spec.name])
        except ValueError as error:
            raise EndmemberError(f"{spec.name}: {error}") from error


def _most(specs: Sequence[Method]) -> int:
    """Endmembers that maps may be of: class maps are bytes."""
    return MAX_ENDMEMBERS if any(ENDMEMBER in v.dims for spec in specs for v in spec.variables) else MOST_SPECTRA


def _prepared(
    specs: Sequence[Method], library: Library, options: Mapping[str, Mapping[str, Any]], background: Background | None
) -> tuple[Weights, tuple[tuple[str, Any], ...]]:
    """What a pass multiplies spectra with, and the methods prepared for its basis."""
    name = ""
    try:
        extra = []
        for spec in specs:
            name = spec.name
            if spec.directions:
                extra.append(spec.directions(library, options[name], background))
        needed = any(spec.divergence for spec in specs)
        w = weights(library.spectra, np.vstack(extra) if extra else None, divergence=needed, floor=FLOOR)
        prepared = []
        for spec in specs:
            name = spec.name
            prepared.append((name, spec.prepare(Inputs(library, w.basis, options[name], background))))
    except ValueError as error:
        raise error if isinstance(error, HsiDaskError) else EndmemberError(f"{name}: {error}") from error
    return w, tuple(prepared)


def unmix(
    cube: xr.DataArray,
    endmembers: xr.DataArray,
    *,
    method: str = "fcls",
    solver: str | None = None,
    **options: Any,
) -> xr.Dataset:
    """Abundance of each endmember in each pixel, with the residual of the fit and the class of the largest.

    Parameters
    ----------
    cube, endmembers, solver : as in `map_materials`, and so are the errors.
    method : "fcls" (not negative, summing to one), "nnls" (not negative), "scls" (summing to one) or "ucls".
    options : the method's parameters; of "fcls" such as `shade=True`, which adds photometric shade.

    Returns
    -------
    Dataset of `abundance` (endmember, y, x), `residual` and `abundance_class` (y, x), lazy where the cube is.

    Examples
    --------
    >>> wavelength = {"wavelength": [500.0, 900.0, 1600.0]}
    >>> em = xr.DataArray([[0.1, 0.5, 0.3], [0.2, 0.3, 0.4]], wavelength, ("endmember", "wavelength"))
    >>> cube = (0.25 * em[0] + 0.75 * em[1]).expand_dims(y=[1.5, 0.5], x=[0.5])
    >>> unmix(cube, em).abundance.isel(y=0, x=0).values.round(6)
    array([0.25, 0.75], dtype=float32)
    """
    _require_kind(method, "abundances")
    maps = map_materials(cube, endmembers, methods=(method,), options={method: options}, solver=solver)
    own = {name: str(name).removeprefix(f"{method}_") for name in maps}
    return maps.rename({name: "abundance_class" if short == "class" else short for name, short in own.items()})


def classify(
    cube: xr.DataArray,
    endmembers: xr.DataArray,
    *,
    method: str = "sam",
    threshold: Threshold = None,
) -> xr.Dataset:
    """Score of each endmember and the class of the best: `sam_angle`, `sam_class` and the like.

    The arguments and their errors are those of `map_materials`.
    """
    _require_kind(method, "similarity")
    return map_materials(cube, endmembers, methods=(method,), thresholds={method: threshold})


def _require_kind(name: str, kind: Kind) -> None:
    known = [spec.name for spec in METHODS.specifications.values() if spec.kind == kind]
    if name not in known:
        raise ConfigError(f"method must be {' or '.join(map(repr, known))}, not {name!r}")


def _limits(
    specs: Sequence[Method], thresholds: Mapping[str, Threshold], count: int, ranges: Mapping[str, Range] | None
) -> dict[str, NDArray[np.float64] | None]:
    """Thresholds of the methods asked for; those of others are checked for their names alone."""
    have = [spec.name for spec in METHODS.specifications.values() if spec.threshold]
    if unknown := set(thresholds) - set(have):
        raise ConfigError(f"thresholds are for {' and '.join(have)}, not {sorted(unknown)[0]!r}")
    found: dict[str, NDArray[np.float64] | None] = {}
    for spec in specs:
        limits = limits_of(thresholds.get(spec.name), count, spec.name, None if ranges is not None else spec)
        if limits is not None and ranges is not None and spec.classed:
            limits = absolute_limits(limits, ranges[spec.name], spec.classed)
        found[spec.name] = limits
    return found


def _library(endmembers: xr.DataArray, most: int) -> Library:
    """The spectra, checked."""
    spectra = np.asarray(endmembers, dtype=np.float64)
    if not 1 <= spectra.shape[0] <= most:
        raise EndmemberError(f"there must be 1 to {most} endmembers, not {spectra.shape[0]}")
    for number, spectrum in zip(endmember_numbers(endmembers), spectra, strict=True):
        if not np.isfinite(spectrum).all():
            raise EndmemberError(f"endmember {number} has missing values; drop it or its bad wavelengths")
        if not spectrum.any():
            raise EndmemberError(f"endmember {number} is zero at every wavelength; drop it")
    names = endmember_names(endmembers) or [f"endmember {n}" for n in endmember_numbers(endmembers)]
    materials = endmember_materials(endmembers)
    material = None if materials is None else np.unique(materials, return_inverse=True)[1]
    return Library(spectra, tuple(names), endmember_numbers(endmembers), material)


def _map_coords(
    cube: xr.DataArray, endmembers: xr.DataArray, library: Library
) -> tuple[dict[Any, Any], dict[str, int]]:
    """Coordinates of maps, and how many planes each first dimension has."""
    coords: dict[Any, Any] = {k: v.variable for k, v in cube.coords.items() if WAVELENGTH not in v.dims}
    coords[ENDMEMBER] = xr.Variable(ENDMEMBER, endmember_numbers(endmembers))
    if (names := endmember_names(endmembers)) is not None:
        coords[NAME] = xr.Variable(ENDMEMBER, np.array(names, dtype=object))
    sizes = {ENDMEMBER: len(library.spectra)}
    if (materials := endmember_materials(endmembers)) is not None:
        coords[MATERIAL] = xr.Variable(MATERIAL, np.array(sorted(set(materials)), dtype=object))
        sizes[MATERIAL] = coords[MATERIAL].size
    describe_coordinates(coords)
    return coords, sizes


def _labelled(data: Any, variable: Variable, coords: Mapping[Any, Any]) -> xr.DataArray:
    """The planes of a variable, in its dtype, with the coordinates of its dimensions."""
    if len(variable.dims) == len((Y, X)):
        data = data[0]
    if np.dtype(variable.dtype) != data.dtype:
        data = data.astype(variable.dtype)
    own = {k: v for k, v in coords.items() if set(v.dims) <= set(variable.dims)}
    return describe(xr.DataArray(data, own, variable.dims), variable)
