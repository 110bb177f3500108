"""N-FINDR: the pixels whose simplex has the largest volume, among pixels already reduced.

The determinant is linear in each vertex, so one pass over the pixels scores every replacement of a vertex.
Where a pixel stands plays no part: starts are extremes along directions, never random positions, and each
pixel's score is the same sum in the same order, with pixels side by side in the processor's vectors. BLAS sees
(count x count) matrices only: too small to thread.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hsi_dask.kernels.compiled import as_input, compiled

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

GAIN = 1e-12  # relative: more than the rounding of a determinant, so that equal simplices do not alternate
_TILE = 1024  # pixels: their sums stay in the first-level cache
FLAT = 1e-10  # of the widest extent: a thousand times what rounding leaves where a coordinate should be zero


class Simplex(NamedTuple):
    """The largest simplex found, and what every restart found.

    `indices` (count,): its pixels, in ascending order of their reduced coordinates (first, then second, ...).
    `volume`: in count - 1 dimensions; 0 if the pixels lie in fewer, and then the indices mean nothing.
    `log_volume`: its natural logarithm, -inf if flat; above some 80 endmembers the volume itself is below any float.
    `volumes` (restarts,): what every restart ended with; a wide spread says that count is too large.
    `replacements` (restarts,): vertices exchanged by every restart after its start.
    """

    indices: Indices
    volume: float
    log_volume: float
    volumes: Floats
    replacements: Indices


def nfindr(reduced: Floats, count: int, *, restarts: int = 10, seed: int | np.random.Generator = 0) -> Simplex:
    """Find the `count` pixels that span the simplex of largest volume.

    Restart 0 starts from extremes along the axes, the others along random directions. Each replaces vertex
    after vertex by the pixel that enlarges the volume most, until none does; the largest result is kept. It
    depends on the set of pixels and the seed, not on their order, exact ties aside; of equal pixels the first
    is named.

    Parameters
    ----------
    reduced : (n, count - 1) float. Pixels in their principal subspace; NaN and infinity are refused.
    count : 2 <= count <= n. 2 gives the two ends of a line. 1 is refused: all single pixels tie.
    restarts, seed : at least 1; of the random directions.

    References
    ----------
    Winter 1999, N-FINDR. For the starts: Nascimento & Dias 2005, Vertex component analysis.

    Examples
    --------
    >>> found = nfindr(np.array([[0.0, 0.0], [0.0, 1.0], [0.2, 0.1], [3.0, 0.0]]), 3)
    >>> found.indices.tolist(), round(found.volume, 12)
    ([0, 1, 3], 1.5)
    """
    _check(reduced, count, restarts)
    points, extents = _unit_box(reduced)
    rng = np.random.default_rng(seed)
    found, replacements = np.zeros((restarts, count), np.intp), np.zeros(restarts, np.intp)
    heights = np.full(restarts, -np.inf)  # log |det|: the volume itself may underflow at large counts
    planes = as_input(points.T)
    for restart in range(restarts):
        indices, flat = _start(planes, rng if restart else None)
        if not flat:
            indices, replacements[restart] = _climb(planes, indices)
        found[restart] = indices = indices[np.lexsort(reduced[indices].T[::-1])]
        if not flat:
            heights[restart] = _log_determinant(points[indices])  # sorted: equal sets, equal digits
    best = int(heights.argmax())
    logs = heights + np.log(extents).sum() - math.lgamma(count)
    volumes = np.exp(logs)
    return Simplex(found[best], float(volumes[best]), float(logs[best]), volumes, replacements)


def _check(reduced: Floats, count: int, restarts: int) -> None:
    if count < 2 or restarts < 1:
        raise ValueError(f"count is {count}, restarts is {restarts}; at least 2 and 1 are needed")
    if reduced.ndim != 2 or reduced.shape[1] != count - 1:
        raise ValueError(f"pixels are {reduced.shape}; for count {count} reduce them to (n, {count - 1})")
    if len(reduced) < count:
        raise ValueError(f"{len(reduced)} pixels are fewer than {count} endmembers; sample more pixels")


def _unit_box(reduced: Floats) -> tuple[Floats, Floats]:
    """Return the rows of the determinant, (n, count): coordinates mapped onto [0, 1], a 1; and the extents.

    Extremes are exact in any order of the pixels, a mean is not. [-1, 1] would tie the ends of an axis.
    """
    low = reduced.min(axis=0).astype(np.float64)
    extents = reduced.max(axis=0) - low
    if not np.isfinite(extents).all():
        raise ValueError("the reduced pixels contain NaN or infinity; drop those pixels first")
    widest = extents.max() or 1.0
    extents[extents <= FLAT * widest] = widest  # rounding: left small, so that _start sees the flat
    points = np.ones((len(reduced), len(low) + 1))
    np.subtract(reduced, low, out=points[:, :-1])
    points[:, :-1] /= extents
    return points, extents


def climb(points: Floats, start: Indices) -> tuple[Indices, int]:
    """Replace vertices of a simplex while that enlarges it.

    Parameters
    ----------
    points : (n, count) coordinates and a 1 of every pixel.
    start : (count,) indices of the vertices.

    Returns
    -------
    Indices of the vertices reached, and how many were replaced on the way.

    Examples
    --------
    >>> points = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.2, 0.1, 1.0], [3.0, 0.0, 1.0]])
    >>> found, replaced = climb(points, np.array([0, 1, 2]))
    >>> sorted(found.tolist()), replaced
    ([0, 1, 3], 2)
    """
    return _climb(as_input(points.T), start)


def _climb(planes: Floats, start: Indices) -> tuple[Indices, int]:
    """Replace vertices while that enlarges the determinant; as computed it only ever grows, so this ends."""
    indices, height = start, _log_determinant(planes[:, start])
    cofactors = np.linalg.inv(planes[:, start])  # over the determinant, a vertex a row
    replacements = vertex = unchanged = 0
    while unchanged < len(indices):
        farthest, _ = _farthest(planes, cofactors[vertex])
        if farthest != indices[vertex]:
            candidate = indices.copy()
            candidate[vertex] = farthest
            reached = _log_determinant(planes[:, candidate])
            if reached > height + GAIN:
                indices, height, unchanged, replacements = candidate, reached, 0, replacements + 1
                cofactors = np.linalg.inv(planes[:, candidate])
        unchanged, vertex = unchanged + 1, (vertex + 1) % len(indices)
    return indices, replacements


def _log_determinant(rows: Floats) -> float:
    return float(np.linalg.slogdet(rows).logabsdet)


def _start(planes: Floats, rng: np.random.Generator | None) -> tuple[Indices, bool]:
    """Take, `count` times, the extreme along a direction normal to those before; True if that is ever zero.

    The direction is random or, without `rng`, the axis that those rows cover least.
    """
    count = len(planes)
    basis, indices, flat = np.zeros((count, count)), np.zeros(count, dtype=np.intp), False
    for done in range(count):
        known = basis[:done]
        if rng is None:
            drawn = np.zeros(count)
            drawn[(1.0 - np.einsum("ij,ij->j", known, known)).argmax()] = 1.0
        else:
            drawn = rng.standard_normal(count)
        indices[done], distance = _farthest(planes, _normal(drawn, known))
        flat = flat or distance <= FLAT
        basis[done] = _normal(planes[:, indices[done]], known)
    return indices, flat


def _normal(vector: Floats, basis: Floats) -> Floats:
    """What of a vector is normal to orthonormal rows, at length 1."""
    for _ in range(2):  # the second time for what rounding left
        vector = vector - (basis @ vector) @ basis
        vector = vector / (np.sqrt(vector @ vector) or 1.0)
    return vector


@compiled()
def _farthest(planes: Floats, weights: Floats) -> tuple[int, float]:
    """Return the first index of the largest |weights @ planes|, and that value.

    Every pixel's sum keeps its order, whatever its place: equal pixels score equally.
    """
    count, pixels = planes.shape
    sums = np.empty(_TILE)
    largest, farthest = -1.0, 0
    for start in range(0, pixels, _TILE):
        size = min(_TILE, pixels - start)
        for i in range(size):
            sums[i] = 0.0
        for axis in range(count):
            weight, plane = weights[axis], planes[axis, start : start + size]
            for i in range(size):
                sums[i] += weight * plane[i]
        for i in range(size):
            if abs(sums[i]) > largest:
                largest, farthest = abs(sums[i]), start + i
    return farthest, largest
