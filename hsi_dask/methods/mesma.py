"""Multiple endmember spectral mixture analysis: of each pixel the best of all mixture models of a class library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hsi_dask.methods.mixtures import (
    FRACTION,
    MATERIAL_DIMS,
    SHADE,
    UNMODELLED,
    class_library,
    limits,
    max_materials,
    require_models,
)
from hsi_dask.methods.specification import Inputs, Method
from hsi_dask.parameters import Parameter
from hsi_dask.schema import CLASS_DIMS, FLAGS, Variable

if TYPE_CHECKING:
    from hsi_dask.kernels.mixtures.library import Library
    from hsi_dask.kernels.mixtures.mesma import MesmaSettings
    from hsi_dask.kernels.projection import Sums

_Rmse = Annotated[float, Field(strict=True, gt=0)]


class _Model(NamedTuple):
    library: Library
    settings: MesmaSettings
    numbers: NDArray[np.int64]
    normalize: bool


def _prepare(inputs: Inputs) -> _Model:
    from hsi_dask.kernels.mixtures.mesma import MesmaSettings

    options = dict(inputs.options)
    normalize, rmse = options.pop("normalize"), options.pop("max_rmse")
    settings = MesmaSettings(**options, max_rmse=np.inf if rmse is None else rmse)
    return _Model(class_library(inputs), settings, inputs.library.numbers, normalize)


def _finish(model: _Model, sums: Sums) -> Mapping[str, NDArray[Any]]:
    from hsi_dask.kernels.mixtures.mesma import mesma

    found = mesma(sums.projections, sums.energy, model.library, model.settings)
    fraction = found.fraction
    if model.normalize:
        with np.errstate(divide="ignore", invalid="ignore"):
            fraction = fraction / (1 - found.shade)
    chosen = np.where(found.model < 0, -1, model.numbers[found.model])
    flag = np.array([0, FLAGS["not_modelled"], FLAGS["no_data"]])[found.flag]  # of MODELLED, NO_MODEL and MISSING
    return {"fraction": fraction, "shade": found.shade, "model": chosen, "residual": found.rmse, "unmodelled": flag}


SPECIFICATION = Method(
    name="mesma",
    kind="mixture",
    title="MESMA",
    source="Roberts et al. (1998), Remote Sensing of Environment 65",
    variables=(
        FRACTION,
        SHADE,
        Variable(
            "model", MATERIAL_DIMS, "int16", "library spectrum that stands for the material; -1 none", role="model",
            stored_share=0.6,
        ),
        Variable(
            "residual", CLASS_DIMS, "float32", "root mean square error of the unmixing fit", "1", role="residual",
        ),
        UNMODELLED,
    ),
    prepare=_prepare,
    require=require_models,
    finish=_finish,
    parameters=(
        max_materials(2),
        limits("fractions", (-0.05, 1.05), "smallest and largest fraction of a material that a model may have"),
        limits("shade", (0.0, 0.8), "smallest and largest fraction of shade that a model may have"),
        Parameter(
            "max_rmse", _Rmse | None, 0.025, "null or a reflectance above 0",
            "a pixel of which every model leaves more than this is not modelled: no fractions, model -1",
        ),
        Parameter(
            "fusion", Annotated[float, Field(ge=0)], 0.007, "a reflectance, 0 or more",
            "a model with one material more must lower the residual by at least this",
        ),
        Parameter(
            "normalize", bool, False, "true or false", "fractions are of the lit part of a pixel: divided by 1 - shade"
        ),
    ),
)  # fmt: skip
