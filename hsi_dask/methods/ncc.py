"""Normalised cross-correlation: likeness of shape, whatever brightness and offset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hsi_dask.methods.specification import Background, Inputs, Library, Method, score_variables
from hsi_dask.parameters import Parameter

if TYPE_CHECKING:
    from hsi_dask.kernels.projection import Sums


class _Model(NamedTuple):
    vertices: NDArray[np.float64]
    ones: NDArray[np.float64]
    wavelengths: int


def _directions(library: Library, options: Mapping[str, Any], background: Background | None) -> NDArray[np.float64]:
    return np.ones((1, library.spectra.shape[1]))


def _prepare(inputs: Inputs) -> _Model:
    return _Model(inputs.vertices, inputs.basis.sum(axis=1), inputs.basis.shape[1])


def _finish(model: _Model, sums: Sums) -> Mapping[str, NDArray[Any]]:
    from hsi_dask.kernels.ncc import correlations

    return {"ncc_score": correlations(sums.projections, sums.energy, *model)}


SPECIFICATION = Method(
    name="ncc",
    kind="similarity",
    title="Spectral correlation",
    source="van der Meer & Bakker (1997), International Journal of Remote Sensing 18(5)",
    variables=score_variables("ncc", "normalised cross-correlation", better="high"),
    prepare=_prepare,
    finish=_finish,
    directions=_directions,
    most_directions=lambda endmembers, options: 1,
    threshold=Parameter(
        "ncc",
        Annotated[float, Field(strict=True, gt=0, le=1)],
        None,
        "null, one correlation above 0 and up to 1, or one per endmember",
        "correlation below which a pixel is not of an endmember",
    ),
)
