"""Matched filter: a linear filter against the statistics of the scene."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hsi_dask.methods.detection import COMPONENTS, Filters, filtered, filters, required, scene_of, threshold
from hsi_dask.methods.specification import Background, Inputs, Library, Method, score_variables

if TYPE_CHECKING:
    from hsi_dask.kernels.projection import Sums


def _directions(library: Library, options: Mapping[str, Any], background: Background | None) -> NDArray[np.float64]:
    from hsi_dask.kernels.detection import matched_filter

    if background is None:
        return np.empty((0, library.spectra.shape[1]))
    return matched_filter(scene_of(background, options), library.spectra).weights


def _prepare(inputs: Inputs) -> Filters:
    from hsi_dask.kernels.detection import matched_filter

    scene = scene_of(required(inputs), inputs.options)
    return filters(inputs, matched_filter(scene, inputs.library.spectra))


def _finish(model: Filters, sums: Sums) -> Mapping[str, NDArray[Any]]:
    return {"mf_score": filtered(model, sums)}


SPECIFICATION = Method(
    name="mf",
    kind="detection",
    title="Matched filter",
    source="Manolakis, Marden & Shaw (2003), Lincoln Laboratory Journal 14(1)",
    variables=score_variables("mf", "matched-filter score", better="high"),
    prepare=_prepare,
    finish=_finish,
    directions=_directions,
    most_directions=lambda endmembers, options: endmembers,
    background=True,
    parameters=(COMPONENTS,),
    threshold=threshold("mf"),
)
