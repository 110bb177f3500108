"""Spectral information divergence: pixels and endmembers compared as probability distributions over wavelength."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from numpy.typing import NDArray
from pydantic import Field

from hsi_dask.methods.specification import Inputs, Method, score_variables
from hsi_dask.parameters import Parameter

if TYPE_CHECKING:
    from hsi_dask.kernels.projection import Sums


def _prepare(inputs: Inputs) -> None:
    """Nothing: the endmembers are in the weights of the projection."""


def _finish(model: None, sums: Sums) -> Mapping[str, NDArray[Any]]:
    from hsi_dask.kernels.sid import divergences

    return {"sid_divergence": divergences(sums.total, sums.forward, sums.backward)}


SPECIFICATION = Method(
    name="sid",
    kind="similarity",
    title="Spectral information divergence",
    source="Chang (2000), IEEE Transactions on Information Theory 46(5)",
    variables=score_variables(
        "sid", "spectral information divergence", better="low", units="nat", score="sid_divergence"
    ),
    prepare=_prepare,
    finish=_finish,
    divergence=True,
    threshold=Parameter(
        "sid",
        Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)],
        None,
        "null, one number above 0, or one per endmember",
        "spectral information divergence, in nats",
    ),
)
