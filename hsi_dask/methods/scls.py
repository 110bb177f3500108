"""Sum-to-one constrained least squares: abundances of any sign that sum to one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from hsi_dask.methods.specification import Fit, Method, abundance_variables, prepare_fit

if TYPE_CHECKING:
    from hsi_dask.kernels.projection import Sums


def _finish(model: Fit, sums: Sums) -> Mapping[str, NDArray[Any]]:
    from hsi_dask.kernels.abundances.scls import scls
    from hsi_dask.kernels.residual import residual

    abundance = scls(sums.projections, model.vertices)
    rest = residual(sums.projections, sums.energy, model.vertices, abundance, model.wavelengths)
    return {"scls_abundance": abundance, "scls_residual": rest}


SPECIFICATION = Method(
    name="scls",
    kind="abundances",
    title="Sum-to-one abundance",
    source="Settle & Drake (1993), International Journal of Remote Sensing 14(6)",
    variables=abundance_variables("scls_", "abundance of the endmember (sum to one)"),
    prepare=prepare_fit,
    finish=_finish,
)
