"""PPI: the pixels that are most often extreme along random directions."""

from __future__ import annotations

import numpy as np

from hsi_dask.kernels.extraction.directions import extremes
from hsi_dask.kernels.extraction.extracted import Extracted, Spectra, checked, reduced


def ppi(spectra: Spectra, count: int, rng: np.random.Generator, *, directions: int = 10_000) -> Extracted:
    """The `count` purest pixels: those at an end of the largest number of random directions.

    Parameters
    ----------
    spectra : (n, L) float without NaN.
    count : 2 to min(n, L).
    rng : of the directions.
    directions : how many.

    Returns
    -------
    Extracted
        By descending score; of equal scores the pixel farther from the mean first. diagnostics: `scores` (count,),
        how often each was an end, and `candidates`, how many pixels ever were.

    Notes
    -----
    Several of the purest pixels may be of one material: the method was made for choosing by eye among candidates.

    References
    ----------
    Boardman, Kruse & Green 1995, Mapping target signatures via partial unmixing of AVIRIS data, JPL Publ. 95-1.

    Examples
    --------
    >>> pixels = np.array([[0.1, 0.9, 0.1], [0.3, 0.5, 0.3], [0.5, 0.1, 0.5], [0.4, 0.4, 0.2]])
    >>> sorted(ppi(pixels, 3, np.random.default_rng(0)).indices.tolist())
    [0, 2, 3]
    """
    spectra = checked(spectra, count, least=2)
    if directions < 1:
        raise ValueError(f"directions is {directions}; at least 1 is needed")
    points, _ = reduced(spectra, count)
    low, high = extremes(points, rng.standard_normal((directions, count - 1)))
    scores = np.bincount(np.concatenate([low, high]), minlength=len(points))
    order = np.lexsort((-(points**2).sum(axis=1), -scores))[:count]
    return Extracted(order, {"scores": scores[order], "candidates": int((scores > 0).sum())})
