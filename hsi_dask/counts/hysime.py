"""HySime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from hsi_dask.counts.specification import Estimator

if TYPE_CHECKING:
    from hsi_dask.kernels.counts.count import Count


def _count(mean: ArrayLike, covariance: ArrayLike, noise: ArrayLike, pixels: int, **options: Any) -> Count:
    from hsi_dask.kernels.counts.hysime import hysime

    return hysime(mean, covariance, noise, pixels, **options)


SPECIFICATION = Estimator(
    name="hysime",
    title="HySime",
    source="Bioucas-Dias & Nascimento (2008), IEEE Transactions on Geoscience and Remote Sensing 46(8)",
    count=_count,
)
