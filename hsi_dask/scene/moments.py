"""Mean, covariance and noise covariance of the scene."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from hsi_dask.kernels.moments import Moments, combine
from hsi_dask.methods.specification import Background
from hsi_dask.ops.statistics import cube_moments
from hsi_dask.scene.reduction import Arrays, Reduction


def _reduce(cube: xr.DataArray, where: xr.DataArray | None) -> Arrays:
    found: Any = cube_moments(cube, where)
    return _packed(found if isinstance(found, Moments) else found.compute())


def _packed(found: Moments) -> Arrays:
    return {name: np.asarray(value) for name, value in found._asdict().items()}


def _unpacked(arrays: Arrays) -> Moments:
    return Moments(
        int(arrays["pixels"]), arrays["mean"], arrays["scatter"], int(arrays["pairs"]), arrays["noise_scatter"]
    )


def background(arrays: Arrays) -> Background:
    """The statistics that methods take.

    Raises
    ------
    ValueError
        Fewer than two pixels, or no neighbours, count.
    """
    found = _unpacked(arrays)
    return Background(found.mean, found.covariance, found.noise_covariance, found.pixels)


MOMENTS = Reduction(
    "moments", "statistics", 1, _reduce, lambda one, other: _packed(combine(_unpacked(one), _unpacked(other)))
)
