"""Accuracy of a labelled error matrix, adjusted for the mapped area of each class, with confidence intervals."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import xarray as xr

from hsi_dask.errors import ConfigError, SchemaError
from hsi_dask.kernels.accuracy import area_adjusted

MAP_CLASS, REFERENCE_CLASS = "map_class", "reference_class"


def assess(counts: xr.DataArray, hectares: xr.DataArray, *, confidence: float = 0.95) -> xr.Dataset:
    """Accuracies and areas of classes, estimated for the whole map from a sample.

    Parameters
    ----------
    counts : (map_class, reference_class) numbers of samples, both of the same classes in the same order
    hectares : (map_class,) mapped area of each
    confidence : of the intervals, 0 to 1

    Returns
    -------
    xarray.Dataset
        `counts`, `map_hectares`; `proportion` (map_class, reference_class), of the area; `users_accuracy` (map_class),
        `producers_accuracy` and `hectares` (reference_class), `overall_accuracy`, each with its `_margin`, half the
        confidence interval; `sample_accuracy`, the share of samples that are right. NaN where a class has no sample, or
        for margins a single one.

    Raises
    ------
    ConfigError
        `confidence` is not between 0 and 1.
    SchemaError
        Map and reference have other classes, or there is no sample.

    References
    ----------
    Olofsson et al. (2014), Remote Sensing of Environment 148:42-57.

    Examples
    --------
    >>> classes = {"map_class": ["forest", "other"], "reference_class": ["forest", "other"]}
    >>> counts = xr.DataArray([[45, 5], [10, 40]], classes, ("map_class", "reference_class"))
    >>> found = assess(counts, xr.DataArray([100.0, 300.0], dims="map_class"))
    >>> found.hectares.values.round(1), found.hectares_margin.values.round(1)
    (array([150., 250.]), array([34.6, 34.6]))
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence is {confidence}; it must be between 0 and 1, such as 0.95")
    counts = counts.transpose(MAP_CLASS, REFERENCE_CLASS)
    if not np.array_equal(counts[MAP_CLASS], counts[REFERENCE_CLASS]):
        raise SchemaError("map_class and reference_class of the counts must be the same classes in the same order")
    if not int(counts.sum()):
        raise SchemaError("there is no sample with a class in the map and in the reference")
    area = np.asarray(hectares, np.float64)
    found, z = area_adjusted(np.asarray(counts), area), NormalDist().inv_cdf((1 + confidence) / 2)
    sampled = float(area[np.asarray(counts).sum(axis=1) > 0].sum())
    ha = {"units": "ha"}
    return xr.Dataset(
        {
            "counts": counts,
            "map_hectares": (MAP_CLASS, area, ha),
            "proportion": ((MAP_CLASS, REFERENCE_CLASS), found.proportion),
            "users_accuracy": (MAP_CLASS, found.users),
            "users_accuracy_margin": (MAP_CLASS, z * found.users_error),
            "producers_accuracy": (REFERENCE_CLASS, found.producers),
            "producers_accuracy_margin": (REFERENCE_CLASS, z * found.producers_error),
            "hectares": (REFERENCE_CLASS, found.area * sampled, ha),
            "hectares_margin": (REFERENCE_CLASS, z * found.area_error * sampled, ha),
            "overall_accuracy": found.overall,
            "overall_accuracy_margin": z * found.overall_error,
            "sample_accuracy": float(np.trace(np.asarray(counts))) / float(counts.sum()),
        },
        attrs={"confidence": confidence},
    )
