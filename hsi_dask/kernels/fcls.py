"""Fully constrained least squares: the mixture nearest to each pixel, exactly, pixel by pixel in any order."""

# mypy: allow-untyped-defs

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hsi_dask.kernels.compiled import as_input, compiled, inlined, inner
from hsi_dask.kernels.fcls_descent import ZERO, descend
from hsi_dask.kernels.fcls_hull import affine_map, dot
from hsi_dask.kernels.fcls_large import solve_large
from hsi_dask.kernels.fcls_supports import NONE, evaluate, fours, look_up, sweep_maps, sweep_supports

Floats = NDArray[np.float64]

TABLED = 12  # up to this many vertices every support's affine map is kept: 2^12 maps of 12 x 13 are 5 MB
MANY = 64  # above this a support is built up from one vertex, not reached from all
BLOCK = 64  # pixels per block: their planes stay in the L1 and L2 caches
PIVOTS = 12  # whole-block exchanges before the monotone descent takes over; 2-4 are usual
UNCLEAR = 1e-14  # of scale x distance: a multiplier this small has no sign; the careful descent decides


def fcls(coordinates: ArrayLike, vertices: ArrayLike) -> Floats:
    """Abundances of every pixel: argmin |z - a C|^2 with a >= 0 and sum a = 1.

    Parameters
    ----------
    coordinates : (r, n) float, planes first
        Every pixel's coordinates in an orthonormal basis of a space that holds the vertices, or its raw
        spectrum. A value that is not finite makes all abundances of its pixel NaN.
    vertices : (p, r) float
        The endmembers in the same basis and units. Duplicates and dependent ones are allowed; the
        optimum is then not unique and one of the optimal answers is returned.

    Returns
    -------
    (p, n) float64, dimensionless
        Exactly zero off the support, summing to 1 within 1e-12. Bit for bit a function of the pixel and
        the vertices alone, whatever other pixels are in the call.

    Notes
    -----
    On a support the optimum is affine in the pixel, and right when the abundances on it and the
    multipliers off it are all >= 0. Supports are exchanged as a whole from a fixed start (Portugal, Judice &
    Vicente 1994); a pixel that does not settle, or whose signs are within rounding, is decided by Wolfe's
    monotone descent on orthogonal factors.

    References
    ----------
    Heinz & Chang 2001, IEEE TGRS 39(3), 529-545. Wolfe 1976, Math. Programming 11, 128-149.
    Portugal, Judice & Vicente 1994, Math. Comp. 63, 625-643.

    Examples
    --------
    >>> fcls([[0.25, 5.0], [0.25, 0.0]], [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).T.round(12).tolist()
    [[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]]
    """
    z, c = _checked(coordinates, vertices)
    p, r = c.shape
    centre = c.mean(axis=0)
    c = c - centre  # sum a = 1 makes the origin free; at the centroid no digits are spent on the common part
    basis = np.linalg.qr(c.T)[0].T if r > p else np.empty((0, r))
    if r > p:
        c = c @ basis.T
    abundances = np.empty((p, z.shape[1]))
    z = as_input(z)
    shrink = 0.5 ** max(float(np.frexp(np.abs(c).max())[1]), -1000.0)
    c *= shrink  # vertices of size 1; a power of two costs no digit
    gram = c @ c.T + 1.0  # the sum constraint makes the constant free; with it independent means definite
    c, basis = np.ascontiguousarray(c), np.ascontiguousarray(basis)
    if p > MANY:
        solve_large(z, centre, shrink, basis, c, gram, abundances)
        return abundances
    sweep = sweep_maps(c, gram) if p > TABLED else None
    _solve_all(z, centre, shrink, basis, c, fours(c), fours(c.T), gram, sweep, abundances)
    return abundances


def fcls_cvxopt(coordinates: ArrayLike, vertices: ArrayLike) -> Floats:
    """`fcls` by an interior-point solver, one quadratic program a pixel: slow, independent, the reference.

    Parameters and result as in `fcls`; abundances carry the solver's tolerance (about 1e-8 where the
    vertices are well apart) and off the support they are small instead of zero.
    """
    from cvxopt import matrix, solvers

    z, c = _checked(coordinates, vertices)
    p = len(c)
    scale = max(float(np.abs(c - c[0]).max()), 1e-300)
    c, z = (c - c[0]) / scale, (z - c[0][:, None]) / scale
    options = {"show_progress": False, "abstol": 1e-14, "reltol": 1e-13, "feastol": 1e-12, "maxiters": 100}
    fixed = [matrix(m) for m in (c @ c.T, -np.eye(p), np.zeros(p), np.ones((1, p)), np.ones(1))]
    P, G, h, A, b = fixed
    abundances = np.full((p, z.shape[1]), np.nan)
    for i in np.flatnonzero(np.isfinite(z).all(axis=0)):
        solution = solvers.qp(P, matrix(-(c @ z[:, i])), G, h, A, b, options=options)
        abundances[:, i] = np.array(solution["x"]).ravel()
    return abundances


def _checked(coordinates: ArrayLike, vertices: ArrayLike) -> tuple[Floats, Floats]:
    z = np.ascontiguousarray(coordinates, dtype=np.float64)
    c = np.ascontiguousarray(vertices, dtype=np.float64)
    if z.ndim != 2 or c.ndim != 2 or c.shape[1] != z.shape[0] or not c.size:
        raise ValueError(
            f"coordinates (r, n) and vertices (p, r) must share r, with p and r at least 1; "
            f"they have shapes {z.shape} and {c.shape}"
        )
    if not np.isfinite(c).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(c))} vertex coordinates are not finite; drop them first")
    return z, c


@compiled()
def _solve_all(z, centre, shrink, basis, c, rows, ct, gram, sweep, out):
    """Every pixel, in blocks: reduce, try the full support in vector loops, then settle the others.

    Without `sweep` every support's map is tabled. numba leaves out the other way when it compiles one of them.
    """
    p, k = c.shape
    n = z.shape[1]
    whole, members = np.empty(p, np.bool_), np.empty(p, np.int64)
    for j in range(p):
        whole[j] = True
    start = np.empty((p, k + 1))
    whole_is_sound = affine_map(c, whole, start, np.empty((p, k)), np.empty((p, p)), np.empty(p), members)
    every = whole_is_sound
    for j in range(p):
        every &= whole[j]
    settled = np.empty(BLOCK, np.bool_)
    total = np.empty(BLOCK)
    y = np.empty((BLOCK, (k + 4) // 4 * 4))
    for i in range(BLOCK):
        settled[i] = False
        for x in range(y.shape[1]):
            y[i, x] = 1.0 if x == k else 0.0
    planes = np.empty((k, BLOCK))
    u = np.empty((p, BLOCK))
    v = np.empty(len(rows))
    for j in range(len(rows)):
        v[j] = 0.0
    inside = np.empty(p, np.bool_)
    if sweep is None:
        maps = np.empty((1 << p, (k + 4) // 4 * 4, p))
        supports = np.empty(1 << p, np.int64)  # of each map, its independent part; 0: not met yet; negative: not sound
        for key in range(supports.size):
            supports[key] = 0
    else:
        head, pull = sweep
        rough = np.empty((k, BLOCK), np.float32)
        state = np.empty((p, BLOCK), np.float32)
        fixed = np.empty((p, BLOCK), np.float32)
        sizes = np.empty((len(rows), BLOCK), np.float32)
        for j in range(len(rows)):
            for i in range(BLOCK):
                sizes[j, i] = NONE
        scratch = np.empty((p + 5, max(p, k) + 4))
    for first in range(0, n, BLOCK):
        size = min(BLOCK, n - first)
        _reduce(z, centre, shrink, basis, first, size, planes)
        _apply(start, planes, size, u)
        if sweep is not None:
            for x in range(k):
                for i in range(size):
                    rough[x, i] = planes[x, i]
            _apply(head, rough, size, fixed)
            sweep_supports(pull, fixed, size, state, sizes)
        if every:
            _store_settled(u, first, size, settled, total, out)
        for x in range(k):
            for i in range(size):
                y[i, x] = planes[x, i]
        for i in range(size):
            if settled[i]:
                continue
            if not math.isfinite(u[0, i]):
                for j in range(p):
                    out[j, first + i] = np.nan
                continue
            for j in range(p):
                v[j] = u[j, i]
                inside[j] = whole[j]
            pixel = y[i]
            tolerance = UNCLEAR * (1.0 + math.sqrt(dot(pixel, pixel, k)))
            verdict = 1
            sound = whole_is_sound
            for turn in range(PIVOTS):
                verdict = _exchange(v, inside, tolerance)
                if verdict <= 0:
                    break
                if sweep is None:
                    sound = look_up(c, maps, supports, inside, pixel, v)
                else:
                    if turn == 0:
                        for j in range(p):
                            inside[j] = state[j, i] > 0.0
                    sound = evaluate(rows, ct, gram, pixel, inside, v, members, scratch)
                if not sound:
                    break
            if verdict != 0 or not sound:
                descend(c, pixel, inside, v)
            _store(v, inside, out, first + i)


@inlined()
def _reduce(z, centre, shrink, basis, first, size, planes):
    """Pixels about the centroid, on the basis if there is one. Vector lanes are pixels: no lane sees another."""
    if basis.shape[0] == 0:
        for x in range(z.shape[0]):
            plane = z[x, first : first + size]
            for i in range(size):
                planes[x, i] = shrink * (plane[i] - centre[x])
        return
    for x in range(basis.shape[0]):
        for i in range(size):
            planes[x, i] = 0.0
        for b in range(z.shape[0]):
            weight, plane = shrink * basis[x, b], z[b, first : first + size]
            for i in range(size):
                planes[x, i] += weight * (plane[i] - centre[b])


@inner()
def _apply(affine, planes, size, u):
    p, k = affine.shape[0], affine.shape[1] - 1
    for j in range(p):
        for i in range(size):
            u[j, i] = affine[j, k]
        for x in range(k):
            weight = affine[j, x]
            for i in range(size):
                u[j, i] += weight * planes[x, i]


@inlined()
def _exchange(v, inside, tolerance):
    """0: v is optimal. -1: within rounding of being so. 1: the wrong-signed were exchanged."""
    wrong = 0
    unclear = 0
    for j in range(len(inside)):
        if inside[j]:
            if v[j] < -ZERO:
                inside[j] = False
                wrong += 1
        elif v[j] < -tolerance:
            inside[j] = True
            wrong += 1
        elif v[j] < tolerance:
            unclear += 1
    if wrong:
        return 1
    return -1 if unclear else 0


@inlined()
def _store_settled(u, first, size, settled, total, out):
    """What `_store` does, in vector loops, for the pixels on whose optimum all vertices are; the others are to come."""
    for i in range(size):
        settled[i] = True
        total[i] = 0.0
    for j in range(len(u)):
        for i in range(size):
            settled[i] &= u[j, i] >= -ZERO
            total[i] += u[j, i] if u[j, i] > ZERO else 0.0
    for j in range(len(u)):
        plane = out[j, first : first + size]
        for i in range(size):
            plane[i] = (u[j, i] if u[j, i] > ZERO else 0.0) / total[i]


@inlined()
def _store(v, inside, out, i):
    """Rounding to zero, then to a sum of one."""
    total = 0.0
    for j in range(len(inside)):
        v[j] = v[j] if inside[j] and v[j] > ZERO else 0.0
        total += v[j]
    for j in range(len(inside)):
        out[j, i] = v[j] / total
