"""Non-negative least squares: abundances that are not negative, whatever their sum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from hsi_dask.methods.specification import Fit, Method, abundance_variables, prepare_fit

if TYPE_CHECKING:
    from hsi_dask.kernels.projection import Sums


def _finish(model: Fit, sums: Sums) -> Mapping[str, NDArray[Any]]:
    from hsi_dask.kernels.abundances.nnls import nnls
    from hsi_dask.kernels.residual import residual

    abundance = nnls(sums.projections, model.vertices)
    rest = residual(sums.projections, sums.energy, model.vertices, abundance, model.wavelengths)
    return {"nnls_abundance": abundance, "nnls_residual": rest}


SPECIFICATION = Method(
    name="nnls",
    kind="abundances",
    title="Non-negative abundance",
    source="Lawson & Hanson (1974), Solving least squares problems",
    variables=abundance_variables("nnls_", "abundance of the endmember (not negative)"),
    prepare=prepare_fit,
    finish=_finish,
)
