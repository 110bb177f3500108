"""Fractional cover of the materials of a class library, with standard deviations."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hsi_dask.methods.mixtures import FRACTION, MATERIAL_DIMS, SHADE, class_library, max_materials, require_models
from hsi_dask.methods.specification import Inputs, Method
from hsi_dask.parameters import Parameter
from hsi_dask.schema import Variable

if TYPE_CHECKING:
    from hsi_dask.kernels.mixtures.library import Library
    from hsi_dask.kernels.mixtures.monte_carlo import MonteCarloSettings
    from hsi_dask.kernels.mixtures.posterior import CoverSettings
    from hsi_dask.kernels.projection import Sums


class _Model(NamedTuple):
    library: Library
    settings: CoverSettings | MonteCarloSettings
    bundles: bool


def _prepare(inputs: Inputs) -> _Model:
    from hsi_dask.kernels.mixtures.monte_carlo import MonteCarloSettings

    options, library = inputs.options, class_library(inputs)
    if options["method"] == "bundles":
        settings = MonteCarloSettings(options["draws"], options["seed"], noise=options["noise"] or 0.0)
        return _Model(library, settings, True)
    calibrated = _calibrated(
        library.vertices.tobytes(), library.vertices.shape, tuple(library.material.tolist()), library.wavelengths,
        options["max_materials"], options["noise"],
    )  # fmt: skip
    return _Model(library, calibrated, False)


@lru_cache(maxsize=4)
def _calibrated(
    vertices: bytes, shape: tuple[int, int], material: tuple[int, ...], wavelengths: int, most: int, noise: float | None
) -> CoverSettings:
    """Settings whose standard deviations fit errors on left-out spectra; every tile asks for the same."""
    from hsi_dask.kernels.mixtures.calibration import NOISE, calibrate
    from hsi_dask.kernels.mixtures.library import Library
    from hsi_dask.kernels.mixtures.posterior import CoverSettings

    spectra = np.frombuffer(vertices).reshape(shape)
    library = Library(spectra, np.array(material), max(material) + 1, wavelengths)
    return calibrate(library, CoverSettings(most), noise=NOISE if noise is None else noise)


def _finish(model: _Model, sums: Sums) -> Mapping[str, NDArray[Any]]:
    from hsi_dask.kernels.mixtures.monte_carlo import monte_carlo
    from hsi_dask.kernels.mixtures.posterior import posterior

    compute: Any = monte_carlo if model.bundles else posterior
    found = compute(sums.projections, sums.energy, model.library, model.settings)
    return {"fraction": found.fraction, "fraction_std": found.fraction_std, "shade": found.shade}


SPECIFICATION = Method(
    name="cover",
    kind="mixture",
    title="Fractional cover",
    source="Hoeting et al. (1999), Statistical Science 14(4), for averages over models; Asner & Lobell (2000), Remote "
    "Sensing of Environment 74, for bundles",
    variables=(
        FRACTION,
        Variable(
            "fraction_std", MATERIAL_DIMS, "float32", "standard deviation of the fraction", "1", role="uncertainty",
            of="fraction", stored_share=0.9,
        ),
        SHADE,
    ),
    prepare=_prepare,
    require=require_models,
    finish=_finish,
    parameters=(
        Parameter(
            "method", Literal["posterior", "bundles"], "posterior", "posterior or bundles",
            "posterior: all mixture models, weighted by how well they fit; bundles: random sets of one spectrum of "
            "each material (Monte Carlo), by non-negative least squares of spectra of equal brightness",
        ),
        max_materials(3),
        Parameter(
            "draws", Annotated[int, Field(strict=True, ge=2, le=10_000)], 50, "a whole number from 2 to 10000",
            "random sets of bundles",
        ),
        Parameter(
            "seed", Annotated[int, Field(strict=True, ge=0, lt=2**32)], 0, "a whole number from 0 to 2**32 - 1",
            "of the random sets: the same for every pixel and tile",
        ),
        Parameter(
            "noise", Annotated[float, Field(ge=0)] | None, None, "null or a reflectance, 0 or more",
            "standard deviation of the noise of reflectance; null: posterior takes 0.004, bundles none",
        ),
    ),
)  # fmt: skip
