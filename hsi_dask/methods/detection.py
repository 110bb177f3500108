"""What detectors share: the statistics of a scene as whitening axes, and filters that are linear forms of a pixel."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hsi_dask.methods.specification import Background, Inputs, Library
from hsi_dask.parameters import Parameter

if TYPE_CHECKING:
    from hsi_dask.kernels import detection
    from hsi_dask.kernels.projection import Sums

COMPONENTS = Parameter(
    "components",
    Annotated[int, Field(strict=True, ge=1, le=1000)] | None,
    20,
    "null or a whole number from 1 to 1000",
    "components of largest signal-to-noise ratio in which the background is described; null: all wavelengths",
)
_ALL = 1000  # components: no cube here has more wavelengths


class Filters(NamedTuple):
    """Linear forms of projections: weights (p, r), offsets (p,)."""

    weights: NDArray[np.float64]
    offsets: NDArray[np.float64]


class Whitened(NamedTuple):
    """Axes (k, r) and offsets (k,) by which projections become white, and targets (k, p) on them."""

    axes: NDArray[np.float64]
    offsets: NDArray[np.float64]
    targets: NDArray[np.float64]
    pixels: int


def threshold(name: str, most: str = "") -> Parameter:
    """Of a score of which larger is more alike."""
    kind = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
    return Parameter(
        name, kind, None, f"null, one number above 0{most}, or one per endmember",
        "score below which a pixel is not of an endmember",
    )  # fmt: skip


def scene_of(background: Background, options: Mapping[str, Any]) -> detection.Background:
    """Mean and whitening axes of a scene."""
    arrays = (background.mean, background.covariance, background.noise_covariance)
    return _scene(*(array.tobytes() for array in arrays), background.mean.size, options["components"])


@lru_cache(maxsize=2)
def _scene(mean: bytes, covariance: bytes, noise: bytes, size: int, components: int | None) -> detection.Background:
    """Every tile asks for the same: its eigenvectors are a tenth of a second."""
    from hsi_dask.kernels import detection

    square = (size, size)
    arrays = (np.frombuffer(covariance).reshape(square), np.frombuffer(noise).reshape(square))
    some = None if components is None or components >= size else components
    return detection.background(
        np.frombuffer(mean), arrays[0], noise=None if some is None else arrays[1], components=some
    )


def filters(inputs: Inputs, forms: detection.LinearForms) -> Filters:
    """Linear forms of pixels as those of their projections."""
    return Filters(forms.weights @ inputs.basis.T, forms.offsets)


def filtered(model: Filters, sums: Sums) -> NDArray[np.float64]:
    """(p, n) scores."""
    from hsi_dask.kernels.linear_forms import linear_forms

    return linear_forms(model.weights, sums.projections, model.offsets)


def white_axes(library: Library, options: Mapping[str, Any], background: Background | None) -> NDArray[np.float64]:
    """The scene's axes, which `whitened` needs the projections on."""
    if background is None:
        return np.empty((0, library.spectra.shape[1]))
    return np.asarray(scene_of(background, options).forward)


def most_axes(endmembers: int, options: Mapping[str, Any]) -> int:
    """How many axes a scene may have."""
    return int(options["components"] or _ALL)


def whitened(inputs: Inputs) -> Whitened:
    """The scene's axes and the targets on the projection's basis."""
    background = required(inputs)
    scene = scene_of(background, inputs.options)
    return Whitened(
        scene.forward @ inputs.basis.T, -scene.forward @ scene.mean, scene.whitened(inputs.library.spectra),
        background.pixels,
    )  # fmt: skip


def white_pixels(model: Whitened, sums: Sums) -> NDArray[np.float64]:
    """(k, n) pixels in whitened coordinates."""
    from hsi_dask.kernels.linear_forms import linear_forms

    return linear_forms(model.axes, sums.projections, model.offsets)


def required(inputs: Inputs) -> Background:
    """The statistics of the scene."""
    if inputs.background is None:
        raise ValueError("statistics of the scene are needed; give statistics=scene_statistics(cube)")
    return inputs.background
