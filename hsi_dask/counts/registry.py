"""The estimators of the number of materials that there are, by name."""

from __future__ import annotations

from hsi_dask.counts.specification import Estimator
from hsi_dask.plugins import Registry

_BUILT_IN = ("hysime", "hfc", "nwhfc")
ESTIMATORS = Registry("hsi_dask.counts", Estimator, (f"hsi_dask.counts.{name}" for name in _BUILT_IN))
