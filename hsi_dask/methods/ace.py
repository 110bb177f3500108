"""Adaptive coherence estimator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from hsi_dask.methods.detection import COMPONENTS, Whitened, most_axes, threshold, white_axes, white_pixels, whitened
from hsi_dask.methods.specification import Method, score_variables

if TYPE_CHECKING:
    from hsi_dask.kernels.projection import Sums


def _finish(model: Whitened, sums: Sums) -> Mapping[str, NDArray[Any]]:
    from hsi_dask.kernels.detection import ace

    return {"ace_score": ace(white_pixels(model, sums), model.targets)}


SPECIFICATION = Method(
    name="ace",
    kind="detection",
    title="Adaptive coherence estimator",
    source="Kraut & Scharf (1999), IEEE Transactions on Signal Processing 47(9)",
    variables=score_variables("ace", "adaptive-coherence score", better="high"),
    prepare=whitened,
    finish=_finish,
    directions=white_axes,
    most_directions=most_axes,
    background=True,
    parameters=(COMPONENTS,),
    threshold=threshold("ace", " and up to 1"),
)
