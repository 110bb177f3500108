"""noise-whitened HFC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from hsi_dask.counts.hfc import FALSE_ALARM
from hsi_dask.counts.specification import Estimator

if TYPE_CHECKING:
    from hsi_dask.kernels.counts.count import Count


def _count(mean: ArrayLike, covariance: ArrayLike, noise: ArrayLike, pixels: int, **options: Any) -> Count:
    from hsi_dask.kernels.counts.hfc import nwhfc

    return nwhfc(mean, covariance, noise, pixels, **options)


SPECIFICATION = Estimator(
    name="nwhfc",
    title="noise-whitened HFC",
    source="Chang & Du (2004), IEEE Transactions on Geoscience and Remote Sensing 42(3)",
    count=_count,
    parameters=(FALSE_ALARM,),
)
