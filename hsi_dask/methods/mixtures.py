"""What mixture models of a class library share: the library on the projection's basis, and its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hsi_dask.methods.specification import Inputs
from hsi_dask.methods.specification import Library as Spectra
from hsi_dask.parameters import Parameter
from hsi_dask.schema import CLASS_DIMS, MATERIAL, Variable, X, Y, flag_variable

if TYPE_CHECKING:
    from hsi_dask.kernels.mixtures.library import Library

MATERIAL_DIMS = (MATERIAL, Y, X)
FRACTION = Variable(
    "fraction", MATERIAL_DIMS, "float32", "fraction of the pixel that is the material", "1", role="fraction",
    limits=(0.0, 1.0), stored_share=0.9,
)  # fmt: skip
SHADE = Variable(
    "shade", CLASS_DIMS, "float32", "fraction of the pixel that is photometric shade", "1", role="shade",
    limits=(0.0, 1.0),
)  # fmt: skip
UNMODELLED = flag_variable(
    "unmodelled", "uint16", "flag where no model fits; 0 where one does", ("no_data", "not_modelled")
)


def max_materials(default: int) -> Parameter:
    """How many materials a model may have."""
    return Parameter(
        "max_materials", Annotated[int, Field(strict=True, ge=1, le=3)], default, "1, 2 or 3",
        "materials in a mixture model, shade not counted",
    )  # fmt: skip


def limits(name: str, default: tuple[float, float], what: str) -> Parameter:
    """A smallest and a largest value."""
    return Parameter(name, tuple[float, float], default, f"two numbers such as [{default[0]:g}, {default[1]:g}]", what)


def class_library(inputs: Inputs) -> Library:
    """The spectra with their materials, as the kernels of mixtures take them.

    Raises
    ------
    ValueError
        They have no materials.
    """
    from hsi_dask.kernels.mixtures.library import Library

    material = _materials(inputs.library)
    return Library(inputs.vertices, material, int(material.max()) + 1, inputs.basis.shape[1])


def require_models(spectra: Spectra, options: Mapping[str, Any]) -> None:
    """Refuse spectra without materials, and a library that makes too many mixture models."""
    from hsi_dask.kernels.mixtures.library import require_count

    most = 1 if options.get("method") == "bundles" else options["max_materials"]
    require_count(np.bincount(_materials(spectra)), most)


def _materials(spectra: Spectra) -> NDArray[np.intp]:
    if spectra.material is None:
        raise ValueError(
            "the spectra have no materials, of which fractions are; give a library with a column of materials "
            "(material_column), or assign the coordinate material"
        )
    return np.asarray(spectra.material)
