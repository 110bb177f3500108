"""Estimator: how many spectrally distinct materials a scene holds, from its statistics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hsi_dask.parameters import Parameter

if TYPE_CHECKING:
    from hsi_dask.kernels.counts.count import Count


@dataclass(frozen=True)
class Estimator:
    """A way to count materials.

    Attributes
    ----------
    name, title, source : as in other specifications
    count : (mean (L,), covariance (L, L), noise (L,) or (L, L), pixels, **options) to `kernels.counts.count.Count`
    parameters : its options
    """

    name: str
    title: str
    source: str
    count: Callable[..., Count]
    parameters: tuple[Parameter, ...] = ()
