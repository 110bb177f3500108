"""N-FINDR over every pixel of a scene: pixels that enlarge a simplex, and what supports them, part by part.

A part of a scene is planes (r, n): the products of its pixels with an orthonormal basis of the scene's subspace, NaN
where a pixel has no data. What is asked of a part has a small answer, and those of two parts combine to that of both in
any order: neither order nor size of the parts changes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.kernels.extraction.extracted import Floats, Indices, Spectra
from hsi_dask.kernels.extraction.neighbours import neighbours
from hsi_dask.kernels.linear_forms import linear_forms
from hsi_dask.kernels.nfindr import climb
from hsi_dask.kernels.subspace import principal_subspace
from hsi_dask.kernels.support import FACTOR, NEIGHBOURS

Planes = NDArray[np.floating[Any]]

GAIN = 1e-6  # relative: planes are float32, and what rounding alone enlarges is no vertex
MOST = 24  # pixels of each vertex that are looked at in a round
REFERENCE = 100  # pixels behind the median distance: known to 7 %, and the factor is uncritical from 3 to 6
_PIXELS = 2**16  # of a part that are looked at together
_DIMENSIONS = 20  # some more than materials, so that noise does not hide what stands alone
# Times the energy outside their own basis that spectra may have outside another: of noise 1.0 to 1.3, of a material
# that the other does not know 4 and more
_BEYOND = 2.0
# Times as far from a vertex as the scene's nearest pixels may those of a sample be: of a common material they are 1.3
# to 2 times as far, of a patch that it misses 4 to 40 times. Nearer is not better: a vertex is an extreme, and its
# nearest pixels share its noise
_ALIKE = 2.0
_ROUNDING = 1e-12  # of the energy: what float32 leaves where spectra lie in both
_NOTHING = 1e-9  # of a component that is 1 long: the sample's own lie in the first planes, but for rounding


class Space(NamedTuple):
    """Where pixels are compared.

    basis : (r, L) orthonormal rows, see `basis_of`.
    axes, origin : (count - 1, r), (count - 1,); axes @ point - origin are the coordinates whose simplex is searched.
    """

    basis: Floats
    axes: Floats
    origin: Floats

    def rows(self, points: Floats) -> Floats:
        """(n, count) rows of the determinant, coordinates and a 1, of points (n, r)."""
        return np.column_stack([points @ self.axes.T - self.origin, np.ones(len(points))])

    def log_volume(self, vertices: Floats) -> float:
        """Natural logarithm of the volume of the simplex of vertices (count, r)."""
        return float(np.linalg.slogdet(self.rows(vertices)).logabsdet) - math.lgamma(len(vertices))


class Question(NamedTuple):
    """What is asked of a part.

    kind : "enlarging", the pixels that in place of each point enlarge the simplex of the points most, scores minus the
        volume with over the volume without; "nearest", the pixels nearest to each point, scores squared distances;
        "angle", the same of all scaled to length 1, so that brightness does not matter.
    points : (m, r).
    most : how many pixels for each point.
    without : numbers of pixels that are left out of "enlarging", ascending.
    """

    kind: Literal["enlarging", "nearest", "angle"]
    points: Floats
    most: int
    without: NDArray[np.int64] = np.empty(0, np.int64)


class Ranked(NamedTuple):
    """For each of m points the k best pixels, best first.

    scores : (m, k), smaller is better; infinite where there are fewer pixels.
    pixels : (m, k) their numbers in the scene; -1 where there are fewer.
    points : (m, k, r) of these pixels.
    known : how many pixels with data there are.
    """

    scores: Floats
    pixels: NDArray[np.int64]
    points: Floats
    known: int


class Vertices(NamedTuple):
    """The vertices found, and how.

    pixels, points : (count,), (count, r).
    support : (count,) distance of the tenth nearest pixel over the median of such distances; NaN where not asked for.
    members : (count, neighbours) numbers of the pixels most like each, itself first; by spectral angle.
    sampled : (count, neighbours) the same among the pixels of the sample, by their place in it; -1 where these are not
        as alike, or where no sample was given.
    angles : (count, neighbours) of those of the sample, or else of the scene, from the vertex, rad.
    dropped, dropped_support : (d,) of pixels that enlarged the simplex and stand alone.
    known : pixels with data, each of which was looked at in every round.
    rounds : how often.
    log_volume : natural logarithm of the volume.
    gain : by how much of itself the volume can at most still be enlarged by a pixel that was not dropped.
    """

    pixels: NDArray[np.int64]
    points: Floats
    support: Floats
    members: NDArray[np.int64]
    sampled: NDArray[np.int64]
    angles: Floats
    dropped: NDArray[np.int64]
    dropped_support: Floats
    known: int
    rounds: int
    log_volume: float
    gain: float


Ask = Callable[[Question], Ranked]


def basis_of(spectra: Spectra, count: int) -> Floats:
    """(r, L) orthonormal rows that span what `count` endmembers among spectra (n, L), and what stands alone, lie in."""
    found = principal_subspace(spectra, min(max(_DIMENSIONS, 2 * count), *spectra.shape))
    return np.ascontiguousarray(np.linalg.qr(np.vstack([found.mean, found.components]).T).Q.T)


def holds(basis: Floats, own: Floats, spectra: Spectra) -> bool:
    """Whether each of some spectra (k, L) lies in a basis about as well as in their scene's own."""
    energy = np.square(spectra, dtype=np.float64).sum(axis=1)
    beyond, least = (energy - np.square(spectra @ rows.T).sum(axis=1) for rows in (basis, own))
    return bool((beyond <= _BEYOND * np.maximum(least, _ROUNDING * energy)).all())


def space_of(points: Floats, basis: Floats, count: int) -> Space:
    """The space of a sample's points (n, r) in a basis, for `count` endmembers, 2 or more."""
    stored = points.astype(np.float32)  # as planes are, beyond whose digits there is no further dimension
    found = principal_subspace(stored, min(count - 1, *points.shape))
    if found.rank + 1 < count:
        raise ValueError(f"the pixels span too few dimensions for {count} endmembers; ask for {found.rank + 1} at most")
    axes = np.where(np.abs(found.components) < _NOTHING, 0.0, found.components)  # planes that only rounding needs
    return Space(basis, axes, axes @ found.mean)


def search(
    ask: Ask,
    space: Space,
    pixels: NDArray[np.int64],
    reference: Floats,
    points: Floats,
    *,
    sample: Floats | None = None,
    robust: bool = True,
) -> Vertices:
    """Exchange vertices for pixels of the whole scene that enlarge the simplex, until none does that others support.

    Parameters
    ----------
    ask : answers a question about the whole scene.
    space : of a sample.
    pixels, points : (count,), (count, r) vertices to begin with, as found in a sample; if robust, supported ones.
    reference : (k, r) pixels spread over the scene, whose median distance from their tenth nearest is the usual one.
    sample : (n, r) pixels whose spectra are known already.
    robust : a pixel whose tenth nearest is more than four times as far as is usual is no vertex.

    References
    ----------
    Winter 1999, N-FINDR, Proc. SPIE 3753.
    """
    neighbours = NEIGHBOURS if robust else 1
    usual = _reach(ask(Question("nearest", reference, neighbours))) if robust else np.ones(1)
    scale = float(np.median(usual)) or 1.0
    out, how = np.empty(0, np.int64), np.empty(0)
    rounds = 0
    while True:
        rounds += 1
        found = ask(Question("enlarging", points, MOST, np.sort(out)))
        better = found.scores < -1.0 - GAIN
        if not better.any():
            break
        numbers, at = np.unique(found.pixels[better], return_index=True)
        candidates = found.points[better][at]
        if robust:
            support = _reach(ask(Question("nearest", candidates, neighbours))) / scale
            lone = support > FACTOR
            out, how = np.append(out, numbers[lone]), np.append(how, support[lone])
            numbers, candidates = numbers[~lone], candidates[~lone]
        pool, all_points = np.append(pixels, numbers), np.vstack([points, candidates])
        chosen, _ = climb(space.rows(all_points), np.arange(len(pixels)))
        pixels, points = pool[chosen], all_points[chosen]
    order = np.lexsort(space.rows(points).T[::-1])
    pixels, points = pixels[order], points[order]
    support = _reach(ask(Question("nearest", points, neighbours))) / scale if robust else np.full(len(pixels), np.nan)
    nearest = ask(Question("angle", points, neighbours))
    sampled, squares = np.full(nearest.pixels.shape, -1), nearest.scores
    if robust and sample is not None:
        sampled, squares = _as_alike(sample, points, nearest)
    angles = 2 * np.arcsin(np.minimum(np.sqrt(squares) / 2, 1.0))
    gain = max(0.0, -1.0 - float(found.scores.min()))
    volume = space.log_volume(points)
    return Vertices(
        pixels, points, support, nearest.pixels, sampled, angles, out, how, found.known, rounds, volume, gain
    )


def _as_alike(sample: Floats, points: Floats, nearest: Ranked) -> tuple[NDArray[np.int64], Floats]:
    """The pixels of a sample (n, r) most like each point, -1 where the scene has ones that are much more like it.

    Returned with the squared distances of what is taken.
    """
    scores, found = neighbours(sample.T, points, nearest.pixels.shape[1], unit=True)
    alike = np.isfinite(scores[:, -1:]) & (scores[:, -1:] <= _ALIKE**2 * nearest.scores[:, -1:])
    return np.where(alike, found, -1), np.where(alike, scores, nearest.scores)


def _reach(found: Ranked) -> Floats:
    """Distances of the last that were asked for; infinite where there are fewer pixels."""
    return np.sqrt(found.scores[:, -1])


def answer(planes: Planes, first: int, space: Space, question: Question, pixels: slice = slice(None)) -> Ranked:
    """The answer of some pixels of a part (r, n), whose pixels are numbered from `first`."""
    start, stop, _ = pixels.indices(planes.shape[1])
    known = int(np.count_nonzero(~np.isnan(planes[0, start:stop])))
    if question.kind == "enlarging":
        return _enlarging(planes, first, space, question, range(start, stop, _PIXELS), stop)._replace(known=known)
    unit = question.kind == "angle"
    scores, at = neighbours(planes, question.points, question.most, unit=unit, pixels=slice(start, stop))
    points = np.where(at[..., None] < 0, np.nan, np.moveaxis(planes[:, at], 0, 2))
    return Ranked(scores, np.where(at < 0, -1, first + at), points, known)


def _enlarging(planes: Planes, first: int, space: Space, question: Question, starts: range, stop: int) -> Ranked:
    """The pixels that enlarge a simplex most; the planes that its space does not lie in are not read."""
    inverse = np.linalg.inv(space.rows(question.points)).T
    forms, offsets = inverse[:, :-1] @ space.axes, inverse[:, -1] - inverse[:, :-1] @ space.origin
    used = int(np.flatnonzero(space.axes.any(axis=0)).max()) + 1
    found = _nothing(question)
    for start in starts:
        some = planes[:, start : min(start + _PIXELS, stop)]
        low, high = np.searchsorted(question.without, (first + start, first + start + some.shape[1]))
        scores = -np.abs(linear_forms(forms[:, :used], some[:used], offsets))
        scores[:, question.without[low:high] - (first + start)] = np.nan
        found = combine(found, _best(scores, found.scores[:, -1], some, first + start, question.most))
    return found


def combine(one: Ranked, other: Ranked) -> Ranked:
    """The best of two parts; of equal scores the smaller number comes first."""
    scores, pixels, points = (np.concatenate(parts, axis=1) for parts in zip(one[:3], other[:3], strict=True))
    order = np.lexsort((pixels, scores), axis=1)[:, : one.scores.shape[1]]
    kept = np.take_along_axis(scores, order, axis=1), np.take_along_axis(pixels, order, axis=1)
    return Ranked(*kept, np.take_along_axis(points, order[..., None], axis=1), one.known + other.known)


def _nothing(question: Question) -> Ranked:
    shape = (len(question.points), question.most)
    return Ranked(np.full(shape, np.inf), np.full(shape, -1), np.full((*shape, question.points.shape[1]), np.nan), 0)


def _best(scores: Floats, bounds: Floats, planes: Planes, first: int, most: int) -> Ranked:
    """The best of a piece, of those not worse than the bounds (m,)."""
    out = Ranked(
        np.full((len(scores), most), np.inf), np.full((len(scores), most), -1),
        np.full((len(scores), most, len(planes)), np.nan), 0,
    )  # fmt: skip
    for number, (row, bound) in enumerate(zip(scores, bounds, strict=True)):
        at: Indices = np.flatnonzero(row <= bound)
        if at.size > most:
            at = at[row[at] <= np.partition(row[at], most - 1)[most - 1]]
        at = at[np.lexsort((at, row[at]))[:most]]
        out.scores[number, : at.size], out.pixels[number, : at.size] = row[at], first + at
        out.points[number, : at.size] = planes[:, at].T
    return out
