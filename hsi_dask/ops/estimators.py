"""A fitted estimator of scikit-learn's kind, mapped over a cube block by block."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.errors import ConfigError, SchemaError
from hsi_dask.ops.samples import features, map_dtype
from hsi_dask.schema import X, Y, class_attrs

_METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function", "score_samples", "transform")
_DIMS = {"predict": "output", "transform": "component"}  # of a method that gives several values a pixel; else class


def apply(
    cube: xr.DataArray | xr.Dataset, estimator: Any, *, method: str | None = None, no_data: int | None = None
) -> xr.DataArray:
    """What a fitted estimator says of every pixel.

    Parameters
    ----------
    cube : (y, x, wavelength) as in `map_materials`, or maps: see `to_samples`. Pixels are what `to_samples` gives.
    estimator : with scikit-learn's `predict`, `transform` or the like, fitted on samples of as many features.
    method : "predict", "predict_proba", "predict_log_proba", "decision_function", "score_samples" or "transform". None
        is predict, or transform where there is none.
    no_data : the whole number for pixels without data; None is 255 where classes are known and 0 to 254, else -1.

    Returns
    -------
    (y, x), or for several values a pixel (class, y, x), (component, y, x) or (output, y, x); lazy where the cube is.
    Numbers are float32, NaN where no data. Classes that are whole numbers keep them; those that are words are numbered
    from 1, with `flag_values` and `flag_meanings` in attrs.

    Raises
    ------
    ConfigError : an estimator without the method, or that is not fitted.
    SchemaError : other features than the estimator was fitted on; when computed, a prediction that means no data.

    Notes
    -----
    Before anything is computed the estimator is asked once, for a flat spectrum, to learn what it gives.

    References
    ----------
    Buitinck, L. et al. (2013). API design for machine learning software. arXiv:1309.0238.

    Examples
    --------
    >>> class Brightness:
    ...     def predict(self, spectra):
    ...         return spectra.mean(axis=1)
    >>> cube = xr.DataArray([[[0.1, 0.2], [np.nan, 0.3]]], {"wavelength": [500.0, 600.0]}, ("y", "x", "wavelength"))
    >>> apply(cube, Brightness()).values.round(2)
    array([[0.15,  nan]], dtype=float32)
    """
    method = method or ("predict" if hasattr(estimator, "predict") else "transform")
    if method not in _METHODS or not hasattr(estimator, method):
        known = [name for name in _METHODS if hasattr(estimator, name)]
        way_out = f"it has {', '.join(known)}" if known else f"give a fitted estimator with {' or '.join(_METHODS)}"
        raise ConfigError(f"{type(estimator).__name__} has no {method!r}; {way_out}")
    table = features(cube)
    call = _call(estimator, method, table.shape[2], no_data)
    data = table.data
    if hasattr(data, "dask"):
        size = (call.outputs,) if call.outputs else ()
        data = data.map_blocks(
            partial(_mapped, call=call), dtype=call.dtype, drop_axis=None if size else 2, meta=np.empty(0, call.dtype),
            chunks=(*data.chunks[:2], *((n,) for n in size)),
        )  # fmt: skip
    else:
        data = _mapped(np.asarray(data), call=call)
    return _labelled(data, table, call)


class _Call(NamedTuple):
    """An estimator's method, and what it gives: `outputs` a pixel (0 is one number, without a dimension), as dtype.

    classes : what it was fitted on, for methods that tell them apart; words are encoded.
    """

    estimator: Any
    method: str
    outputs: int
    dtype: np.dtype[Any]
    no_data: float | int
    classes: NDArray[Any] | None

    @property
    def encodes(self) -> bool:
        """Whether predictions are words."""
        return self.method == "predict" and self.classes is not None and self.classes.dtype.kind in "OUS"

    def __call__(self, spectra: NDArray[np.float32]) -> NDArray[Any]:
        found = np.asarray(getattr(self.estimator, self.method)(spectra))
        if self.encodes and self.classes is not None:
            return np.searchsorted(self.classes.astype(str), found.astype(str)) + 1
        return found


def _call(estimator: Any, method: str, size: int, no_data: int | None) -> _Call:
    name = type(estimator).__name__
    wanted = getattr(estimator, "n_features_in_", size)
    if wanted != size:
        raise SchemaError(f"{name} was fitted on {wanted} features, the cube has {size}; select the same of both")
    classes = getattr(estimator, "classes_", None)
    known = np.asarray(classes) if classes is not None and not isinstance(classes, list) else None
    call = _Call(estimator, method, 0, np.dtype(np.float32), np.nan, known)
    try:
        tried = call(np.full((1, size), 0.5, np.float32))
    except (ValueError, AttributeError, TypeError) as error:  # not fitted is one of these
        raise ConfigError(f"{name}.{method} fails for one flat spectrum: {error}") from error
    if tried.ndim > 2 or len(tried) != 1:
        raise ConfigError(f"{name}.{method} gives an array {tried.shape} for one spectrum; it must be (1,) or (1, k)")
    dtype, empty = map_dtype(_range(call, tried))
    if dtype.kind != "f" and no_data is not None:
        dtype, empty = (dtype if 0 <= no_data <= 255 else np.dtype(np.int32)), no_data
    return call._replace(outputs=tried.shape[1] if tried.ndim == 2 else 0, dtype=dtype, no_data=empty)


def _range(call: _Call, tried: NDArray[Any]) -> NDArray[Any]:
    """Values that stand for all that may come; whole numbers of unknown range need a wide type."""
    if tried.dtype.kind not in "iub":
        return tried
    if call.encodes and call.classes is not None:
        return np.arange(1, call.classes.size + 1)
    return call.classes if call.classes is not None and call.method == "predict" else np.array([-1])


def _mapped(block: NDArray[np.float32], *, call: _Call) -> NDArray[Any]:
    """Blocks (y, x, feature) to (y, x) or (y, x, outputs)."""
    known = ~np.isnan(block[..., 0]) if block.shape[2] else np.zeros(block.shape[:2], bool)
    shape = (*block.shape[:2], call.outputs) if call.outputs else block.shape[:2]
    out = np.full(shape, call.no_data, call.dtype)
    if known.any():
        found = call(block[known])
        if call.dtype.kind != "f" and (found == call.no_data).any():
            raise SchemaError(
                f"{type(call.estimator).__name__} predicts {call.no_data}, which means no data; set no_data to another"
            )
        out[known] = found
    return out


def _labelled(data: Any, table: xr.DataArray, call: _Call) -> xr.DataArray:
    coords: dict[Any, Any] = {k: c.variable for k, c in table.coords.items() if set(c.dims) <= {Y, X}}
    attrs: dict[str, Any] = {"long_name": f"{call.method} of {type(call.estimator).__name__}"}
    classes = call.classes
    if call.dtype.kind != "f":
        attrs["_FillValue"] = call.no_data
        if classes is not None:
            values = np.arange(1, classes.size + 1) if call.encodes else classes
            attrs |= _flags(values.astype(call.dtype), ["_".join(str(c).split()) or "unnamed" for c in classes])
    if not call.outputs:
        return xr.DataArray(data, coords, (Y, X), call.method, attrs)
    dim = _DIMS.get(call.method, "class")
    coords[dim] = np.arange(1, call.outputs + 1)
    if dim == "class" and classes is not None and classes.size == call.outputs:
        coords[dim] = classes.astype(object) if classes.dtype.kind in "OUS" else classes
    return xr.DataArray(data, coords, (Y, X, dim), call.method, attrs).transpose(dim, Y, X)


def _flags(values: NDArray[Any], words: list[str]) -> dict[str, Any]:
    """CF flags; where no class is 0, that is unclassified, as in class maps of methods."""
    if values.dtype == np.uint8 and 0 not in values:
        return class_attrs(values.tolist(), words)
    return {"flag_values": values, "flag_meanings": " ".join(words)}
