"""FIPPI: extremes along directions that are pixels themselves, until no new pixel is found."""

from __future__ import annotations

import numpy as np

from hsi_dask.kernels.extraction.directions import extremes, successive
from hsi_dask.kernels.extraction.extracted import Extracted, Spectra, checked, principal_axes, reduced
from hsi_dask.kernels.moments import spectra_moments
from hsi_dask.kernels.nfindr import nfindr


def fippi(spectra: Spectra, count: int, rng: np.random.Generator, *, rounds: int = 50) -> Extracted:
    """Pixels that are extreme along each other, and of these the `count` that span the largest simplex.

    Parameters
    ----------
    spectra : (n, L) float without NaN.
    count : 2 to min(n, L).
    rng : of the search for the simplex.
    rounds : after so many the pixels found are taken, complete or not; 3 to 8 are usual.

    Returns
    -------
    Extracted
        diagnostics: `candidates`, the pixels extreme along each other, `rounds`, and `complete`.

    Notes
    -----
    The first directions are the pixels of `atgp`, in the `count` directions of most energy. The method ends with as
    many pixels as it finds, up to a few times `count`; the largest simplex among them is our choice.

    References
    ----------
    Chang & Plaza 2006, A fast iterative algorithm for implementation of pixel purity index, IEEE GRSL 3(1), 63-67.

    Examples
    --------
    >>> pixels = np.array([[0.1, 0.9, 0.1], [0.3, 0.5, 0.3], [0.5, 0.1, 0.5], [0.4, 0.4, 0.2]])
    >>> sorted(fippi(pixels, 3, np.random.default_rng(0)).indices.tolist())
    [0, 2, 3]
    """
    spectra = checked(spectra, count, least=2)
    axes, _ = principal_axes(spectra_moments(spectra).correlation, spectra, count)
    points = spectra @ axes
    known = np.sort(successive(points, count)[0])
    turn, complete = 0, False
    while turn < rounds and not complete:
        found = np.unique(np.concatenate([known, *extremes(points, points[known])]))
        turn, complete, known = turn + 1, found.size == known.size, found
    simplex = nfindr(reduced(spectra[known], count)[0], count, seed=int(rng.integers(2**31)))
    return Extracted(known[simplex.indices], {"candidates": known.size, "rounds": turn, "complete": complete})
