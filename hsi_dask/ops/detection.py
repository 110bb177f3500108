"""Target detection: a score of each target in each pixel against the statistics of the scene."""

from __future__ import annotations

from typing import Any

import xarray as xr

from hsi_dask.errors import ConfigError
from hsi_dask.methods.registry import METHODS, method
from hsi_dask.ops.classes import Threshold
from hsi_dask.ops.materials import map_materials
from hsi_dask.ops.statistics import scene_statistics
from hsi_dask.schema import MAP_DIMS, WAVELENGTH, require_labels


def detect(
    cube: xr.DataArray,
    targets: xr.DataArray,
    *,
    method: str = "ace",
    statistics: xr.Dataset | None = None,
    threshold: Threshold = None,
    **options: Any,
) -> xr.Dataset:
    """Score of each target in each pixel, larger is more alike, and the class of the best.

    Parameters
    ----------
    cube : (y, x, wavelength) as in `map_materials`.
    targets : (endmember, wavelength) reflectance on the cube's wavelengths.
    method : "ace" (adaptive coherence), "mf" (matched filter), "glrt", "cem", or "osp", which needs no statistics.
    statistics : of the background, from `scene_statistics`, of this cube or of what a mask leaves of it. If not given
        they are taken of the whole cube at once, which reads it.
    threshold : scores below it are unclassified; see `false_alarm_thresholds`.
    options : the method's parameters: `components` of largest signal-to-noise ratio that describe the background.

    Returns
    -------
    Dataset of `<method>_score` (endmember, y, x) and `<method>_class` (y, x), lazy where the cube is.

    Raises
    ------
    ConfigError : an unknown method or option.
    EndmemberError : a target that is the mean of the background, or a mixture of the others.
    SchemaError : statistics of other wavelengths.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> wavelength = {"wavelength": [500.0, 700.0, 900.0]}
    >>> cube = xr.DataArray(rng.normal(0.3, 0.01, (20, 20, 3)), wavelength, ("y", "x", "wavelength"))
    >>> target = xr.DataArray([[0.2, 0.3, 0.5]], wavelength, ("endmember", "wavelength"))
    >>> cube[3, 4] = target[0]
    >>> scores = detect(cube, target).ace_score[0]
    >>> bool(scores[3, 4] > 0.9) and int((scores > 0.9).sum()) < 30
    True
    """
    spec = _detector(method)
    if spec.background and statistics is None:
        statistics = scene_statistics(cube).compute()
    if any(p.name == "components" for p in spec.parameters) and "components" not in options:
        options["components"] = min(spec.defaults()["components"], cube.sizes[WAVELENGTH])
    return map_materials(
        cube, targets, methods=(method,), thresholds={method: threshold}, options={method: options},
        statistics=statistics,
    )  # fmt: skip


def _detector(name: str) -> Any:
    known = [spec.name for spec in METHODS.specifications.values() if spec.kind == "detection"]
    if name not in known:
        raise ConfigError(f"method must be {' or '.join(map(repr, known))}, not {name!r}")
    return method(name)


def false_alarm_thresholds(scores: xr.DataArray, rate: float) -> xr.DataArray:
    """(endmember,) score above which this share of the pixels lies, lazy where the scores are.

    Parameters
    ----------
    scores : (endmember, y, x), larger is more alike, of a scene in which targets are rare.
    rate : false alarms a pixel, above 0 and below 1.

    Examples
    --------
    >>> import numpy as np
    >>> scores = xr.DataArray(np.arange(100.0).reshape(1, 10, 10), dims=("endmember", "y", "x"))
    >>> float(false_alarm_thresholds(scores, 0.05)[0]).__round__(2)
    94.05
    """
    if not 0 < rate < 1:
        raise ConfigError(f"rate is {rate}; it must be a share of the pixels, above 0 and below 1")
    scores = require_labels(scores, MAP_DIMS, "scores")
    whole = scores.chunk({"y": -1, "x": -1}) if hasattr(scores.data, "dask") else scores
    return whole.quantile(1 - rate, ("y", "x"), skipna=True).drop_vars("quantile")
