"""Endmembers that other pixels support: lone pixels are dropped, and the nearest ones averaged."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hsi_dask.kernels.extraction.extracted import Extracted, Floats, Indices, Spectra, checked
from hsi_dask.kernels.extraction.neighbours import neighbours as nearest_points
from hsi_dask.kernels.extraction.nfindr import nfindr
from hsi_dask.kernels.subspace import principal_subspace, reduce

Extractor = Callable[[Spectra, int, np.random.Generator], Extracted]

NEIGHBOURS = 10
FACTOR = 4.0  # 3 to 6 choose alike on the scenes tried; 2 drops small materials
_DIMENSIONS = 20  # in which distances are measured: some more than materials, so that noise does not hide the lone
_REFERENCE = 500  # pixels behind the median distance: known to 3 %
_quick = partial(nfindr, restarts=1)


def robust(
    spectra: Spectra,
    count: int,
    rng: np.random.Generator,
    *,
    extract: Extractor = nfindr,
    neighbours: int = NEIGHBOURS,
    factor: float = FACTOR,
) -> Extracted:
    """Endmembers by any method, without pixels that stand alone, each the mean of the pixels most like it.

    A pixel is dropped if its tenth nearest neighbour is more than `factor` times as far as is usual, and the search
    repeated until it chooses no such pixel. An endmember is then the mean of the `neighbours` pixels of the smallest
    spectral angle, itself among them, which lowers its noise by their root.

    Parameters
    ----------
    spectra : (n, L) float without NaN.
    count : 1 to min(n, L).
    rng : of the search and of the pixels behind the usual distance.
    extract : a method whose endmembers are pixels. Most lone ones are found before by N-FINDR, one restart each time.
    neighbours : of the test and of the mean; 2 to n. A material with fewer pixels in the sample is dropped.
    factor : times the median distance; infinite drops nothing.

    Returns
    -------
    Extracted
        `indices` of the chosen pixels and `spectra`, their means. diagnostics: those of `extract`, and `members`
        (count, neighbours) indices of the pixels averaged, nearest first; `angles` (count, neighbours) of them from
        the chosen, rad; `support` (count,) distance of the tenth nearest, over the median; `dropped` (d,) indices
        and `dropped_support` (d,), in the order in which they were dropped.

    Raises
    ------
    ValueError : as `extract`; or so many pixels are dropped that too few remain.

    Notes
    -----
    Mean spectral angle (rad) and RMSE of abundances, plain N-FINDR and this: Jasper Ridge .160/.159 and .130/.105, the
    same with half a percent of outliers .15-.34/.15-.37 and .130/.10-.11. Where no pixel is pure, means lie farther
    inside than the pixels: see `minimum_volume`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> shares = np.vstack([np.repeat(np.eye(3), 20, axis=0), rng.dirichlet(np.ones(3), 500)])
    >>> pixels = shares @ rng.uniform(0.1, 0.6, (3, 8)) + rng.normal(0, 0.001, (560, 8))
    >>> pixels[300] = 2.0
    >>> found = robust(pixels, 3, np.random.default_rng(0))
    >>> found.diagnostics["dropped"].tolist(), sorted((found.indices // 20).tolist())
    ([300], [0, 1, 2])
    """
    spectra = checked(spectra, count)
    if not 2 <= neighbours <= len(spectra) or not factor > 1:
        raise ValueError(f"neighbours is {neighbours}, factor {factor}; they must be 2 to {len(spectra)} and above 1")
    space = reduce(spectra, principal_subspace(spectra, min(max(_DIMENSIONS, 2 * count), *spectra.shape)))
    some = np.sort(rng.choice(len(spectra), min(_REFERENCE, len(spectra)), replace=False))
    usual = float(np.median(_reach(space, some, neighbours)))
    seed = int(rng.integers(2**31))
    kept, dropped = np.arange(len(spectra)), [(np.empty(0, np.intp), np.empty(0))]
    screening = True
    while True:
        method, points = (_quick, space) if screening else (extract, spectra)
        found = method(points[kept], count, np.random.default_rng(seed))
        if found.indices is None:
            raise ValueError("endmembers of this method are no pixels, which have no neighbours; use it alone")
        chosen = kept[found.indices]
        support = _reach(space, chosen, neighbours) / (usual or 1.0)
        lone = support > factor
        if not lone.any() and not screening:
            break
        screening = screening and bool(lone.any())
        dropped.append((chosen[lone], support[lone]))
        kept = np.setdiff1d(kept, chosen[lone], assume_unique=True)
    members, angles = nearest_by_angle(spectra, chosen, neighbours)
    about = {"members": members, "angles": angles, "support": support}
    out, how = (np.concatenate(each) for each in zip(*dropped, strict=True))
    means = np.stack([spectra[each].mean(axis=0, dtype=np.float64) for each in members])
    return Extracted(chosen, {**found.diagnostics, **about, "dropped": out, "dropped_support": how}, means)


def _reach(points: Floats, rows: Indices, number: int) -> Floats:
    """Distance (k,) of the `number`-th nearest of all points (n, d) from each of the rows, itself counted."""
    squares, _ = nearest_points(points.T, points[rows], number)
    return np.sqrt(squares[:, -1])


def nearest_by_angle(spectra: Spectra, rows: Indices, neighbours: int) -> tuple[Indices, Floats]:
    """The `neighbours` spectra (n, L) of smallest angle to each of the rows, itself first, and these angles in rad.

    Of equal angles the lower index is named. A spectrum of zeros is at 90 degrees to all.
    """
    norm = np.sqrt(np.einsum("ij,ij->i", spectra, spectra, dtype=np.float64))
    norm[norm == 0] = np.inf
    cosine = np.asarray(spectra[rows] @ spectra.T, dtype=np.float64) / np.outer(norm[rows], norm)
    cosine[np.arange(len(rows)), rows] = 2.0
    order: NDArray[np.intp] = np.argsort(-cosine, axis=1, kind="stable")[:, :neighbours]
    return order, np.arccos(np.minimum(np.take_along_axis(cosine, order, axis=1), 1.0))
