"""Unconstrained least squares: abundances of any sign and sum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from hsi_dask.methods.specification import Fit, Method, abundance_variables, prepare_fit

if TYPE_CHECKING:
    from hsi_dask.kernels.projection import Sums


def _finish(model: Fit, sums: Sums) -> Mapping[str, NDArray[Any]]:
    from hsi_dask.kernels.abundances.ucls import ucls
    from hsi_dask.kernels.residual import residual

    abundance = ucls(sums.projections, model.vertices)
    rest = residual(sums.projections, sums.energy, model.vertices, abundance, model.wavelengths)
    return {"ucls_abundance": abundance, "ucls_residual": rest}


SPECIFICATION = Method(
    name="ucls",
    kind="abundances",
    title="Unconstrained abundance",
    source="Settle & Drake (1993), International Journal of Remote Sensing 14(6)",
    variables=abundance_variables("ucls_", "abundance of the endmember (unconstrained)"),
    prepare=prepare_fit,
    finish=_finish,
)
