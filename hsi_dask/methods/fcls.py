"""Fully constrained least squares: abundances that are not negative and sum to one, and the residual of the fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.methods.specification import Inputs, Method
from hsi_dask.parameters import Parameter
from hsi_dask.schema import CLASS_DIMS, MAP_DIMS, Variable

if TYPE_CHECKING:
    from hsi_dask.kernels.projection import Sums


class _Model(NamedTuple):
    vertices: NDArray[np.float64]
    wavelengths: int
    solver: str


def _prepare(inputs: Inputs) -> _Model:
    return _Model(inputs.vertices, inputs.basis.shape[1], inputs.options["solver"])


def _finish(model: _Model, sums: Sums) -> Mapping[str, NDArray[Any]]:
    from hsi_dask.kernels.fcls import fcls, fcls_cvxopt, residual

    solve = fcls if model.solver == "exact" else fcls_cvxopt
    abundance = solve(sums.projections, model.vertices)
    rest = residual(sums.projections, sums.energy, model.vertices, abundance, model.wavelengths)
    return {"abundance": abundance, "residual": rest}


SPECIFICATION = Method(
    name="fcls",
    kind="abundances",
    title="Abundance",
    source="Heinz & Chang (2001), IEEE Transactions on Geoscience and Remote Sensing 39(3)",
    variables=(
        Variable(
            "abundance", MAP_DIMS, "float32", "abundance of the endmember (fully constrained)", "1", role="fraction",
            limits=(0.0, 1.0), stored_share=0.5,
        ),
        Variable(
            "residual", CLASS_DIMS, "float32", "root mean square error of the unmixing fit", "1", role="residual",
            stored_share=0.95,
        ),
        Variable(
            "abundance_class", CLASS_DIMS, "uint8", "endmember of the largest abundance", role="class", of="abundance",
            stored_share=0.25,
        ),
    ),
    prepare=_prepare,
    finish=_finish,
    parameters=(
        Parameter(
            "solver", Literal["exact", "cvxopt"], "exact", "exact or cvxopt",
            "exact: the package's own solver; cvxopt: the same programs one by one, slow, for reference",
        ),
    ),
)  # fmt: skip
