"""HFC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from numpy.typing import ArrayLike
from pydantic import Field

from hsi_dask.counts.specification import Estimator
from hsi_dask.parameters import Parameter

if TYPE_CHECKING:
    from hsi_dask.kernels.counts.count import Count


FALSE_ALARM = Parameter(
    "false_alarm",
    Annotated[float, Field(strict=True, gt=0, le=0.5)],
    1e-3,
    "a number above 0 and up to 0.5",
    "probability that noise counts as a material",
)


def _count(mean: ArrayLike, covariance: ArrayLike, noise: ArrayLike, pixels: int, **options: Any) -> Count:
    from hsi_dask.kernels.counts.hfc import hfc

    return hfc(mean, covariance, noise, pixels, **options)


SPECIFICATION = Estimator(
    name="hfc",
    title="HFC",
    source="Harsanyi, Farrand & Chang (1993), Proceedings of ASPRS",
    count=_count,
    parameters=(FALSE_ALARM,),
)
