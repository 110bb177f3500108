"""What an extractor of endmembers returns, and what it asks of its pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.kernels.mnf import principal_components
from hsi_dask.kernels.subspace import Subspace, principal_subspace, reduce

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Spectra = NDArray[np.floating[Any]]


class Extracted(NamedTuple):
    """Endmembers found among pixels, in the order in which the method found them.

    indices : (count,) of the pixels, or None where endmembers are no pixels.
    diagnostics : what the method says of its result, by name; numbers and small arrays.
    spectra : (count, L) float64 where endmembers are no pixels, else None.
    """

    indices: Indices | None
    diagnostics: Mapping[str, Any]
    spectra: Floats | None = None


def checked(spectra: Spectra, count: int, *, least: int = 1) -> Spectra:
    """The spectra, contiguous; a ValueError says what is wrong with them or with the count."""
    if spectra.ndim != 2 or spectra.dtype.kind != "f":
        raise ValueError(f"spectra are {spectra.ndim}-D {spectra.dtype}; they must be 2-D (n, wavelength) floats")
    if not least <= count <= min(spectra.shape):
        raise ValueError(
            f"{count} endmembers of {spectra.shape[0]} spectra on {spectra.shape[1]} wavelengths; "
            f"the count must be {least} to the smaller of both"
        )
    if not np.isfinite(spectra).all():
        raise ValueError("spectra contain NaN or infinity; drop those pixels first")
    return np.ascontiguousarray(spectra)


def reduced(spectra: Spectra, count: int) -> tuple[Floats, Subspace]:
    """The spectra in the count - 1 dimensions of a simplex, (n, count - 1), and these dimensions."""
    subspace = principal_subspace(spectra, count - 1)
    _require(subspace.rank + 1, count)
    return reduce(spectra, subspace), subspace


def principal_axes(second_moments: Floats, spectra: Spectra, count: int, *, fewer: int = 0) -> tuple[Floats, Floats]:
    """The `count - fewer` axes (L, k) of largest eigenvalue, each with its largest entry positive, and all eigenvalues.

    `fewer` is 1 about the mean, where a simplex has one dimension less than vertices.
    """
    transform = principal_components(np.zeros(len(second_moments)), second_moments)
    values = transform.eigenvalues
    # eigenvalues are squares: what solving rounds, and what rounding of the stored numbers adds to each
    solved, stored = np.finfo(np.float64).eps * values.size * values[0], np.finfo(spectra.dtype).eps ** 2 * values.sum()
    _require(int((values > max(solved, stored)).sum()) + fewer, count)
    return transform.forward[: count - fewer].T, values


def _require(possible: int, count: int) -> None:
    if possible < count:
        raise ValueError(f"the pixels span too few dimensions for {count} endmembers; ask for {possible} at most")
