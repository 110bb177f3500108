"""Orthogonal subspace projection: how much of an endmember there is that the others do not explain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from hsi_dask.methods.detection import Filters, filtered, filters, threshold
from hsi_dask.methods.specification import Inputs, Method, score_variables

if TYPE_CHECKING:
    from hsi_dask.kernels.projection import Sums


def _prepare(inputs: Inputs) -> Filters:
    from hsi_dask.kernels.detection import osp

    return filters(inputs, osp(inputs.library.spectra))


def _finish(model: Filters, sums: Sums) -> Mapping[str, NDArray[Any]]:
    return {"osp_score": filtered(model, sums)}


SPECIFICATION = Method(
    name="osp",
    kind="detection",
    title="Orthogonal subspace projection",
    source="Harsanyi & Chang (1994), IEEE Transactions on Geoscience and Remote Sensing 32(4)",
    variables=score_variables("osp", "orthogonal-projection score", better="high"),
    prepare=_prepare,
    finish=_finish,
    threshold=threshold("osp"),
)
