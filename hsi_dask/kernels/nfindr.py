"""N-FINDR: the pixels whose simplex has the largest volume, among pixels already reduced.

The determinant is linear in each vertex, so one pass over the pixels scores every replacement of a vertex.
Where a pixel stands plays no part: starts are extremes along directions, never random positions, and each
pixel's score is the same sum in the same order, with pixels side by side in the processor's vectors. BLAS sees
(count x count) matrices only: too small to thread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from hsi_dask.kernels.compiled import as_input, compiled

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

GAIN = 1e-12  # relative: more than the rounding of a determinant, so that equal simplices do not alternate
_TILE = 512  # pixels: with all their coordinates they stay in cache
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


def nfindr(
    reduced: Floats,
    count: int,
    *,
    restarts: int = 10,
    seed: int | np.random.Generator = 0,
    after: Simplex | None = None,
) -> Simplex:
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
    after : what fewer restarts of the same search came to; these are not made again, and the result is the same.

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
    drawn = [None, *np.random.default_rng(seed).standard_normal((restarts - 1, count, count))]
    pixels = _Pixels.of(points)
    found, flat = _starts(pixels, drawn if after is None else drawn[len(after.volumes) :])
    steep = np.flatnonzero(~flat)
    heights = np.full(len(found), -np.inf)  # log |det|: the volume itself may underflow at large counts
    replacements = np.zeros(len(found), np.intp)
    found[steep], replacements[steep] = _climb(pixels, found[steep])
    for restart, indices in enumerate(found):
        found[restart] = indices = indices[np.lexsort(reduced[indices].T[::-1])]
        if not flat[restart]:
            heights[restart] = _log_determinant(points[indices])  # sorted: equal sets, equal digits
    logs = heights + np.log(extents).sum() - math.lgamma(count)
    best = int(logs.argmax())
    result = Simplex(found[best], float(np.exp(logs[best])), float(logs[best]), np.exp(logs), replacements)
    return result if after is None else _together(after, result)


def _together(one: Simplex, other: Simplex) -> Simplex:
    """The better of two results, with the restarts of both."""
    best = one if one.log_volume >= other.log_volume else other
    volumes, replacements = np.append(one.volumes, other.volumes), np.append(one.replacements, other.replacements)
    return best._replace(volumes=volumes, replacements=replacements)


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
    found, replaced = _climb(_Pixels.of(points), np.asarray(start)[None])
    return found[0], int(replaced[0])


class _Pixels(NamedTuple):
    """Rows of the determinant as planes (count, n), the same in single precision, and the largest of each plane."""

    planes: Floats
    single: NDArray[np.float32]
    sizes: Floats

    @classmethod
    def of(cls, points: Floats) -> _Pixels:
        planes = as_input(points.T)
        return cls(planes, as_input(planes, np.float32), np.abs(planes).max(axis=1))

    def farthest(self, weights: Floats) -> tuple[Indices, Floats]:
        """The first index of the largest |weights @ planes| for each of the weights (k, count), and these values."""
        # single precision errs by half of this at most: every weight, value, product and sum is rounded once
        slack = np.finfo(np.float32).eps * (len(self.sizes) + 4) * (np.abs(weights) @ self.sizes)
        return _farthest(self.planes, self.single, weights, slack)  # type: ignore[no-any-return]


def _climb(pixels: _Pixels, starts: Indices) -> tuple[Indices, Indices]:
    """Replace vertices of simplices (k, count) while that enlarges each; as computed they only grow, so this ends.

    They climb side by side, so that pixels which are in the processor's cache are scored for all of them.
    """
    climbs = [_Climb.begin(pixels.planes, start) for start in starts]
    while climbing := [climb for climb in climbs if climb.unchanged < len(pixels.planes)]:
        farthest, _ = pixels.farthest(np.array([climb.cofactors[climb.vertex] for climb in climbing]))
        for climb, pixel in zip(climbing, farthest.tolist(), strict=True):
            climb.try_pixel(pixels.planes, pixel)
    indices = np.array([climb.indices for climb in climbs], np.intp).reshape(starts.shape)
    return indices, np.array([climb.replacements for climb in climbs], np.intp)


@dataclass
class _Climb:
    """A simplex on its way: which vertex is next, and after how many nothing has changed.

    cofactors : (count, count) over the determinant, a vertex a row.
    """

    indices: Indices
    height: float
    cofactors: Floats
    vertex: int = 0
    unchanged: int = 0
    replacements: int = 0

    @classmethod
    def begin(cls, planes: Floats, start: Indices) -> _Climb:
        return cls(start, _log_determinant(planes[:, start]), _cofactors(planes[:, start]))

    def try_pixel(self, planes: Floats, pixel: int) -> None:
        """Put a pixel in place of the vertex, if that enlarges the simplex, and go on to the next vertex."""
        if pixel != self.indices[self.vertex]:
            candidate = self.indices.copy()
            candidate[self.vertex] = pixel
            corners = planes[:, candidate]
            if (reached := _log_determinant(corners)) > self.height + GAIN:
                self.indices, self.height, self.cofactors = candidate, reached, _cofactors(corners)
                self.unchanged, self.replacements = 0, self.replacements + 1
        self.unchanged, self.vertex = self.unchanged + 1, (self.vertex + 1) % len(self.indices)


def _cofactors(corners: Floats) -> Floats:
    """Of the columns of a matrix, over its determinant: a vertex a row."""
    return np.asarray(np.linalg.inv(corners), np.float64)


def _log_determinant(rows: Floats) -> float:
    return float(np.linalg.slogdet(rows).logabsdet)


def _starts(pixels: _Pixels, drawn: Sequence[Floats | None]) -> tuple[Indices, NDArray[np.bool_]]:
    """Take, `count` times, the extreme along a direction normal to those before; True where that is ever zero.

    The directions are drawn (count, count), or where they are None the axes that those rows cover least.
    """
    count, restarts = len(pixels.planes), len(drawn)
    bases = np.zeros((restarts, count, count))
    indices, flat = np.zeros((restarts, count), np.intp), np.zeros(restarts, bool)
    for done in range(count):
        known = bases[:, :done]
        along = [_axis(rows) if these is None else these[done] for these, rows in zip(drawn, known, strict=True)]
        directions = np.array([_normal(vector, rows) for vector, rows in zip(along, known, strict=True)])
        indices[:, done], distances = pixels.farthest(directions)
        flat |= distances <= FLAT
        for basis, rows, index in zip(bases, known, indices[:, done], strict=True):
            basis[done] = _normal(pixels.planes[:, index], rows)
    return indices, flat


def _axis(rows: Floats) -> Floats:
    """The axis that orthonormal rows cover least."""
    axis = np.zeros(rows.shape[1])
    axis[(1.0 - np.einsum("ij,ij->j", rows, rows)).argmax()] = 1.0
    return axis


def _normal(vector: Floats, basis: Floats) -> Floats:
    """What of a vector is normal to orthonormal rows, at length 1."""
    for _ in range(2):  # the second time for what rounding left
        vector = vector - (basis @ vector) @ basis
        vector = vector / (np.sqrt(vector @ vector) or 1.0)
    return vector


@compiled()
def _farthest(planes: Any, single: Any, weights: Any, slack: Any) -> tuple[Indices, Floats]:
    """What `_Pixels.farthest` returns. Pixels are scored in single precision; exactly where one may be the farthest.

    Every pixel's exact sum keeps its order, whatever its place: equal pixels score equally.
    """
    count, pixels = planes.shape
    fours = count // 4 * 4
    rough, sums = np.empty(_TILE, np.float32), np.empty(_TILE)
    light = weights.astype(np.float32)
    largest, farthest = np.full(len(weights), -1.0), np.zeros(len(weights), np.intp)
    for start in range(0, pixels, _TILE):
        size = min(_TILE, pixels - start)
        for k in range(len(weights)):
            for i in range(size):
                rough[i] = 0
            for axis in range(0, fours, 4):  # a sum is loaded and stored once for four terms
                w0, w1, w2, w3 = light[k, axis], light[k, axis + 1], light[k, axis + 2], light[k, axis + 3]
                p0, p1 = single[axis, start : start + size], single[axis + 1, start : start + size]
                p2, p3 = single[axis + 2, start : start + size], single[axis + 3, start : start + size]
                for i in range(size):
                    rough[i] = rough[i] + w0 * p0[i] + w1 * p1[i] + w2 * p2[i] + w3 * p3[i]
            for axis in range(fours, count):
                w0, p0 = light[k, axis], single[axis, start : start + size]
                for i in range(size):
                    rough[i] += w0 * p0[i]
            limit, near = np.float32(largest[k] - slack[k]), False
            for i in range(size):
                near |= not (abs(rough[i]) <= limit)  # NaN, of infinite weights, is near too
            if not near:
                continue
            for i in range(size):
                sums[i] = 0.0
            for axis in range(count):
                weight, plane = weights[k, axis], planes[axis, start : start + size]
                for i in range(size):
                    sums[i] += weight * plane[i]
            for i in range(size):
                if abs(sums[i]) > largest[k]:
                    largest[k], farthest[k] = abs(sums[i]), start + i
    return farthest, largest
