"""Generalised likelihood ratio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from hsi_dask.methods.detection import COMPONENTS, Whitened, most_axes, threshold, white_axes, white_pixels, whitened
from hsi_dask.methods.specification import Method, score_variables

if TYPE_CHECKING:
    from hsi_dask.kernels.projection import Sums


def _finish(model: Whitened, sums: Sums) -> Mapping[str, NDArray[Any]]:
    from hsi_dask.kernels.detection import glrt

    return {"glrt_score": glrt(white_pixels(model, sums), model.targets, model.pixels)}


SPECIFICATION = Method(
    name="glrt",
    kind="detection",
    title="Generalised likelihood ratio",
    source="Kelly (1986), IEEE Transactions on Aerospace and Electronic Systems 22(1)",
    variables=score_variables("glrt", "likelihood-ratio score", better="high"),
    prepare=whitened,
    finish=_finish,
    directions=white_axes,
    most_directions=most_axes,
    background=True,
    parameters=(COMPONENTS,),
    threshold=threshold("glrt", " and up to 1"),
)
