"""Class maps: in each pixel the endmember with the best score or the largest fraction within its threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.errors import ConfigError
from hsi_dask.kernels.nearest import nearest
from hsi_dask.methods.registry import METHODS
from hsi_dask.methods.specification import Method
from hsi_dask.parameters import checked
from hsi_dask.schema import (
    CLASS_DIMS,
    ENDMEMBER,
    MAP_DIMS,
    NAME,
    NO_CLASS,
    Variable,
    X,
    Y,
    class_attrs,
    describe,
    endmember_names,
    endmember_numbers,
    require_dims,
)

Threshold = float | Sequence[float] | None


class Range(NamedTuple):
    """The smallest and the largest score of each endmember."""

    low: Any
    high: Any


def threshold_classes(scores: xr.DataArray, threshold: Threshold, *, relative: bool = False) -> xr.DataArray:
    """Classes from stored scores: endmembers beyond their threshold are excluded, the best of the rest wins.

    Parameters
    ----------
    scores : (endmember, y, x)
        Such as `sam_angle` in radians, `sid_divergence` in nats, or `abundance`. Whether small or large values are
        better is known by its name; small ones where the name is unknown.
    threshold : one number, or one per endmember; None lets the best win everywhere.
        A score is excluded above it, or where large values are better below it.
    relative : a threshold is a fraction of that endmember's range over the whole of `scores`, from its best end.

    Returns
    -------
    (y, x) uint8: 0 unclassified, else the endmember's number, 255 no data. Equal scores go to the smaller number.

    Raises
    ------
    ConfigError : a threshold that no score can have, such as degrees for radians; another number of thresholds.

    Examples
    --------
    >>> angle = xr.DataArray(np.float32([[[0.1, 0.4]], [[0.3, 0.2]]]), dims=("endmember", "y", "x"), name="sam_angle")
    >>> threshold_classes(angle, 0.15).values
    array([[1, 0]], dtype=uint8)
    """
    scores = require_dims(scores, MAP_DIMS, "scores")
    spec, of = class_variable(str(scores.name))
    limits = limits_of(threshold, scores.sizes[ENDMEMBER], str(scores.name), None if relative else spec)
    if relative and limits is not None:
        found = Range(scores.min((Y, X)).data, scores.max((Y, X)).data)
        return class_map(scores, absolute_limits(limits, found, of), of)
    return class_map(scores, limits, of)


def class_variable(scores: str) -> tuple[Method | None, Variable]:
    """The method that makes these scores, and their variable; nothing but the name where no method does."""
    for spec in METHODS.specifications.values():
        for variable in spec.variables:
            if variable.name == scores and spec.classes is not None:
                return spec, variable
    return None, Variable(scores, MAP_DIMS, "float32", scores, role="score", better="low")


def limits_of(threshold: Threshold, count: int, what: str, spec: Method | None) -> NDArray[np.float64] | None:
    """(count,) thresholds, one an endmember; None where there is none.

    Raises
    ------
    ConfigError
        Another number of thresholds, or one that the method's scores cannot have.
    """
    if threshold is None:
        return None
    limits = np.asarray(threshold, dtype=np.float64)
    if limits.ndim > 1 or limits.size not in (1, count):
        raise ConfigError(f"{what} has {limits.size} thresholds for {count} endmembers; give one, or one each")
    if spec is not None and spec.threshold is not None:
        for limit in limits.ravel().tolist():
            if limit != 0.0:  # excludes everything but perfect scores: where a slider begins
                checked(spec.threshold, limit, f"a threshold of {what}")
    if not (limits >= 0).all():
        raise ConfigError(f"thresholds of {what} must be >= 0, not {limits.min() if limits.size else limits}")
    return np.array(np.broadcast_to(limits.reshape(-1), (count,)))


def absolute_limits(limits: NDArray[np.float64], found: Range, of: Variable) -> Any:
    """Thresholds that are fractions of the range of scores, from its best end, as scores."""
    span = (found.high - found.low) * limits
    return found.low + span if of.better != "high" else found.high - span


def class_map(scores: xr.DataArray, limits: Any, of: Variable, into: Variable | None = None) -> xr.DataArray:
    """(y, x) uint8: the number of the best endmember within its limit, lazy where the scores are."""
    numbers, names = endmember_numbers(scores), endmember_names(scores)
    if limits is None:
        limits = np.full(numbers.size, np.inf if of.better == "low" else -np.inf)
    largest = of.better != "low"
    if hasattr(scores.data, "dask") or hasattr(limits, "dask"):
        import dask.array as da

        data = da.blockwise(
            _best, "yx", da.asarray(scores.data), "eyx", da.asarray(limits), "e", dtype=np.uint8, concatenate=True,
            largest=largest, numbers=tuple(numbers.tolist()),
        )  # fmt: skip
    else:
        data = _best(np.asarray(scores.data), np.asarray(limits), largest=largest, numbers=tuple(numbers.tolist()))
    coords = {k: v for k, v in scores.coords.items() if ENDMEMBER not in v.dims and k != NAME}
    spec = into or _class_spec(of)
    return describe(xr.DataArray(data, coords, CLASS_DIMS), spec, **class_attrs(numbers.tolist(), names))


def _class_spec(of: Variable) -> Variable:
    for spec in METHODS.specifications.values():
        for variable in spec.variables:
            if variable.role == "class" and variable.of == of.name:
                return variable
    return Variable(
        "class", CLASS_DIMS, "uint8", f"endmember of the best {of.long_name}", attrs={"_FillValue": NO_CLASS}
    )


def _best(
    scores: NDArray[np.float32], limits: NDArray[np.float64], *, largest: bool, numbers: tuple[int, ...]
) -> NDArray[np.uint8]:
    count, *size = scores.shape
    flat = scores.reshape(count, -1)
    found = nearest(-flat, -limits, NO_CLASS) if largest else nearest(flat, limits, NO_CLASS)
    if numbers != tuple(range(1, count + 1)):
        table = np.full(256, NO_CLASS, np.uint8)
        table[0] = 0
        table[1 : count + 1] = numbers
        found = table[found]
    return found.reshape(size)
