"""Generalised likelihood ratio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hsi_dask.methods.detection import COMPONENTS, Whitened, scene_of, threshold, white_pixels, whitened
from hsi_dask.methods.specification import Background, Library, Method, score_variables

if TYPE_CHECKING:
    from hsi_dask.kernels.projection import Sums


def _directions(library: Library, options: Mapping[str, Any], background: Background | None) -> NDArray[np.float64]:
    if background is None:
        return np.empty((0, library.spectra.shape[1]))
    return np.asarray(scene_of(background, options).forward)


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
    directions=_directions,
    background=True,
    parameters=(COMPONENTS,),
    threshold=threshold("glrt", " and up to 1"),
)
