"""Spectral angle mapper: the angle between each pixel and each endmember, whatever their brightness."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hsi_dask.methods.specification import Method, plain_vertices, score_variables
from hsi_dask.parameters import Parameter

if TYPE_CHECKING:
    from hsi_dask.kernels.projection import Sums


def _finish(vertices: NDArray[np.float64], sums: Sums) -> Mapping[str, NDArray[Any]]:
    from hsi_dask.kernels.sam import angles

    return {"sam_angle": angles(sums.projections, sums.energy, vertices)}


SPECIFICATION = Method(
    name="sam",
    kind="similarity",
    title="Spectral angle",
    source="Kruse et al. (1993), Remote Sensing of Environment 44",
    variables=score_variables("sam", "spectral angle", better="low", units="radian", score="sam_angle"),
    prepare=plain_vertices,
    finish=_finish,
    threshold=Parameter(
        "sam",
        Annotated[float, Field(strict=True, gt=0, le=math.pi / 2)],
        None,
        "null, one angle above 0 and up to pi/2, or one per endmember",
        "spectral angle, in radians",
    ),
)
