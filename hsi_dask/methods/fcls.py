"""Fully constrained least squares: abundances that are not negative and sum to one, and the residual of the fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.methods.mixtures import SHADE
from hsi_dask.methods.specification import Inputs, Method, abundance_variables
from hsi_dask.parameters import Parameter
from hsi_dask.schema import MAP_DIMS, Variable

if TYPE_CHECKING:
    from hsi_dask.kernels.projection import Sums

_ABUNDANCE, _RESIDUAL, _CLASS = abundance_variables("", "abundance of the endmember (fully constrained)")


class _Model(NamedTuple):
    """Endmembers (p, r), and below them shade, if it is asked for."""

    vertices: NDArray[np.float64]
    wavelengths: int
    solver: str
    shade: bool
    normalize: str
    std: bool


def _prepare(inputs: Inputs) -> _Model:
    options = inputs.options
    if options["normalize"] == "shade" and not options["shade"]:
        raise ValueError("normalize is 'shade', but shade is not set; set it, or normalize to 'none'")
    # the basis begins with the endmembers' own axes: what other methods need lies beyond
    vertices = np.ascontiguousarray(inputs.vertices[:, : len(inputs.library.spectra)])
    return _Model(vertices, inputs.basis.shape[1], **{key: options[key] for key in _Model._fields[2:]})


def _finish(model: _Model, sums: Sums) -> Mapping[str, NDArray[Any]]:
    from hsi_dask.kernels.abundances.spread import abundance_std
    from hsi_dask.kernels.fcls import fcls, fcls_cvxopt
    from hsi_dask.kernels.residual import residual

    solve = fcls if model.solver == "exact" else fcls_cvxopt
    vertices, energy = model.vertices, sums.energy
    pixels = sums.projections[: vertices.shape[1]]
    if model.normalize == "brightness":
        vertices = vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
        pixels, energy = pixels / np.sqrt(energy), energy / energy
    if model.shade:
        vertices = np.vstack([vertices, np.zeros((1, vertices.shape[1]))])
    abundance = solve(pixels, vertices)
    rest = residual(pixels, energy, vertices, abundance, model.wavelengths)
    found: dict[str, NDArray[Any]] = {"residual": rest}
    if model.normalize == "brightness":
        found["residual"] = rest * np.sqrt(sums.energy)
    if model.std:
        noise, fitted = rest, None
        if model.normalize == "brightness":
            # a mixture of spectra of length one is shorter: what is left in their span is no noise
            noise = np.sqrt((energy - np.square(pixels).sum(axis=0)).clip(0) / model.wavelengths)
            fitted = len(pixels)
        std = abundance_std(
            vertices, abundance, noise, model.wavelengths, fitted=fitted, lit=model.normalize == "shade"
        )
        found["abundance_std"] = std[: len(model.vertices)]
    if model.shade:
        found["shade"] = abundance[-1]
        abundance = abundance[:-1]
        if model.normalize == "shade":
            with np.errstate(divide="ignore", invalid="ignore"):  # a pixel that is all shade has no shares
                abundance = abundance / (1 - found["shade"])
    return {"abundance": abundance, **found}


SPECIFICATION = Method(
    name="fcls",
    kind="abundances",
    title="Abundance",
    source="Heinz & Chang (2001), IEEE Transactions on Geoscience and Remote Sensing 39(3)",
    variables=(
        _ABUNDANCE,
        _RESIDUAL,
        SHADE,
        Variable(
            "abundance_std", MAP_DIMS, "float32", "standard deviation of the abundance", "1", role="uncertainty",
            of="abundance", stored_share=0.9,
        ),
        _CLASS,
    ),
    prepare=_prepare,
    finish=_finish,
    optional={"shade": "shade", "abundance_std": "std"},
    parameters=(
        Parameter(
            "solver", Literal["exact", "cvxopt"], "exact", "exact or cvxopt",
            "exact: the package's own solver; cvxopt: the same programs one by one, slow, for reference",
        ),
        Parameter(
            "shade", bool, False, "true or false",
            "photometric shade, a spectrum of zeros, as one endmember more, with a map of its own",
        ),
        Parameter(
            "normalize", Literal["none", "shade", "brightness"], "none", "none, shade or brightness",
            "shade: abundances of the lit part of a pixel, divided by 1 - shade; brightness: of spectra of one length, "
            "so that light counts for nothing",
        ),
        Parameter(
            "std", bool, False, "true or false",
            "standard deviations of abundances from the residual of the fit, as if it were noise; what endmembers vary "
            "by is not in them",
        ),
    ),
)  # fmt: skip
