"""noise-whitened HFC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from numpy.typing import ArrayLike
from pydantic import Field

from hsi_dask.counts.specification import Estimator
from hsi_dask.parameters import Parameter

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
    parameters=(
        Parameter(
            "false_alarm",
            Annotated[float, Field(strict=True, gt=0, le=0.5)],
            1e-3,
            "a number above 0 and up to 0.5",
            "probability that noise counts as a material",
        ),
    ),
)
