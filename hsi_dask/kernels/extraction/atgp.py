"""ATGP: automatic target generation, the pixel farthest from the span of those found before."""

from __future__ import annotations

import numpy as np

from hsi_dask.kernels.extraction.directions import successive
from hsi_dask.kernels.extraction.extracted import Extracted, Spectra, checked


def atgp(spectra: Spectra, count: int, rng: np.random.Generator) -> Extracted:
    """The brightest pixel, then `count - 1` times the pixel that the ones before explain least.

    Parameters
    ----------
    spectra : (n, L) float without NaN.
    count : 1 to min(n, L).
    rng : not used; there for the sake of one signature.

    Returns
    -------
    Extracted
        diagnostics: `distances` (count,), of each pixel from the span of those before, in reflectance.

    Notes
    -----
    The same as successive projections on the spectra as they are; `spa` evens out their extents first. What is found
    may be a single noisy pixel: large distances of later ones are no sign of materials.

    References
    ----------
    Ren & Chang 2003, Automatic spectral target recognition in hyperspectral imagery, IEEE TAES 39(4), 1232-1249.

    Examples
    --------
    >>> atgp(np.array([[0.1, 0.1], [0.9, 0.8], [0.1, 0.7]]), 2, np.random.default_rng()).indices.tolist()
    [1, 2]
    """
    indices, distances = successive(checked(spectra, count), count)
    return Extracted(indices, {"distances": distances})
