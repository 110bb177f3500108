"""Fully constrained least squares: the mixture nearest to each pixel, exactly, pixel by pixel in any order."""

# mypy: allow-untyped-defs

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hsi_dask.kernels.compiled import as_input, compiled, inlined, inner
from hsi_dask.kernels.fcls_large import solve_large

Floats = NDArray[np.float64]

TABLED = 12  # up to this many vertices every support's affine map is kept: 2^12 maps of 12 x 13 are 5 MB
MANY = 64  # above this a support is built up from one vertex, not reached from all
SWEEPS = 6  # of guessing, above that: 1-3 exchanges are then left at p = 30, from the full support 8-10
OVERSTEP = np.float32(1.6)  # over-relaxation, where alternating directions are usually fastest
_NONE, _ONE = np.float32(0), np.float32(1)
_CONTRACT = {"contract"}  # fused multiply-add: nothing else about a sum changes, NaN included
_TILE = 512  # pixels of a residual's buffers, which stay in cache
BLOCK = 64  # pixels per block: their planes stay in the L1 and L2 caches
PIVOTS = 12  # whole-block exchanges before the monotone descent takes over; 2-4 are usual
ZERO = 1e-12  # abundances are known to about 1e-16 x condition number: below this they are rounding
DEPENDENT = 1e-13  # of the largest vertex: a vertex this near the hull of others adds nothing but rounding
POOR = 1e-9  # a support with a vertex this near the hull of others is solved, not multiplied by a table
UNCLEAR = 1e-14  # of scale x distance: a multiplier this small has no sign; the careful descent decides
REFINABLE = 1e-5  # a first refinement step this small leaves an error of its square; a larger one goes to QR


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
    sweep = _sweep_maps(c, gram) if p > TABLED else None
    _solve_all(z, centre, shrink, basis, c, _fours(c), _fours(c.T), gram, sweep, abundances)
    return abundances


def residual(
    coordinates: Floats, energy: Floats, vertices: Floats, abundances: Floats, wavelengths: int
) -> NDArray[np.float32]:
    """Root mean square over wavelength of what the fit leaves of each pixel.

    Parameters
    ----------
    coordinates : (r, n), pixels on an orthonormal basis of the endmembers.
    energy : (n,), squared norm of the whole pixel, of which the coordinates hold the endmembers' part.
    vertices : (p, r), endmembers on that basis.
    abundances : (p, n).
    wavelengths : how many the pixels have.

    Returns
    -------
    (n,) float32, in the unit of the pixels.
    """
    out = np.empty(energy.size, np.float32)
    _residual(*map(as_input, (coordinates, energy, vertices, abundances)), wavelengths, out)
    return out


@compiled(fastmath=_CONTRACT)
def _residual(coordinates, energy, vertices, abundances, wavelengths, out):
    """In short loops over rows of pixels from their start, which a compiler vectorises."""
    p, r = vertices.shape
    norm = np.sqrt(wavelengths)
    gap, outside, inside = np.empty(_TILE), np.empty(_TILE), np.empty(_TILE)
    for start in range(0, energy.size, _TILE):
        size = min(_TILE, energy.size - start)
        whole = energy[start : start + size]
        for i in range(size):
            outside[i] = whole[i]
            inside[i] = 0.0
        for j in range(r):
            along = coordinates[j, start : start + size]
            for i in range(size):
                gap[i] = along[i]
                outside[i] -= along[i] * along[i]
            for k in range(p):
                share, vertex = abundances[k, start : start + size], vertices[k, j]
                for i in range(size):
                    gap[i] -= share[i] * vertex
            for i in range(size):
                inside[i] += gap[i] * gap[i]
        root = out[start : start + size]
        for i in range(size):
            root[i] = np.sqrt((outside[i] if outside[i] > 0.0 else 0.0) + inside[i]) / norm


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


def _sweep_maps(c: Floats, gram: Floats) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What one step of the alternating directions needs: abundances = head [pixel, 1] + pull |state|.

    In float32: it only guesses the support.
    """
    weight = np.exp(np.log(np.linalg.eigvalsh(c.T @ c).clip(1e-6)).mean())  # the middle of what it has to balance
    inverse = np.linalg.inv(gram + weight * np.eye(len(c)))
    level = inverse.sum(axis=1)
    free = inverse - np.outer(level, level) / level.sum()
    head = np.column_stack([free @ c, level / level.sum()])
    return head.astype(np.float32), _fours(float(OVERSTEP) * weight * free).astype(np.float32)


def _fours(rows: Floats) -> Floats:
    """Rows are combined four at a time: padded with zeros to a multiple of four."""
    padded = np.zeros((len(rows) + -len(rows) % 4, rows.shape[1]))
    padded[: len(rows)] = rows
    return padded


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
    whole_is_sound = _affine_map(c, whole, start, np.empty((p, k)), np.empty((p, p)), np.empty(p), members)
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
                sizes[j, i] = _NONE
        work = np.empty((p + 5, max(p, k) + 4))
    for first in range(0, n, BLOCK):
        size = min(BLOCK, n - first)
        _reduce(z, centre, shrink, basis, first, size, planes)
        _apply(start, planes, size, u)
        if sweep is not None:
            for x in range(k):
                for i in range(size):
                    rough[x, i] = planes[x, i]
            _apply(head, rough, size, fixed)
            _sweep(pull, fixed, size, state, sizes)
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
            tolerance = UNCLEAR * (1.0 + math.sqrt(_dot(pixel, pixel, k)))
            verdict = 1
            sound = whole_is_sound
            for turn in range(PIVOTS):
                verdict = _exchange(v, inside, tolerance)
                if verdict <= 0:
                    break
                if sweep is None:
                    sound = _look_up(c, maps, supports, inside, pixel, v)
                else:
                    if turn == 0:
                        for j in range(p):
                            inside[j] = state[j, i] > 0.0
                    sound = _evaluate(rows, ct, gram, pixel, inside, v, members, work)
                if not sound:
                    break
            if verdict != 0 or not sound:
                _descend(c, pixel, inside, v)
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


@inner()
def _sweep(pull, fixed, size, state, sizes):
    """A few steps of alternating directions: where `state` ends up positive is nearly the support.

    abundances = max(state, 0) and dual = min(state, 0), so that abundances - dual = |state|.
    """
    p = pull.shape[1]
    for j in range(p):
        for i in range(size):
            state[j, i] = _ONE / np.float32(p)
    for _ in range(SWEEPS):
        for j in range(p):
            for i in range(size):
                sizes[j, i] = abs(state[j, i])
        for j in range(p):
            for i in range(size):
                old = state[j, i]
                state[j, i] = OVERSTEP * fixed[j, i] + min(old, _NONE) + (_ONE - OVERSTEP) * max(old, _NONE)
            for x in range(0, p, 4):
                a, b, d, e = pull[x, j], pull[x + 1, j], pull[x + 2, j], pull[x + 3, j]
                for i in range(size):
                    state[j, i] += (a * sizes[x, i] + b * sizes[x + 1, i]) + (d * sizes[x + 2, i] + e * sizes[x + 3, i])


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


@inner(fastmath={"reassoc", "contract"})  # vector sums, in one order for every pixel; NaN stays NaN
def _dot(a, b, size):
    total = 0.0
    for x in range(size):
        total += a[x] * b[x]
    return total


@inner()
def _orthogonalise(vector, axes, count, coefficients):
    """Take the first `count` orthonormal axes out of vector, twice: once leaves rounding behind."""
    k = len(vector)
    for q in range(count):
        coefficients[q] = 0.0
    for _ in range(2):
        for q in range(count):
            axis = axes[q]
            along = _dot(axis, vector, k)
            coefficients[q] += along
            for x in range(k):
                vector[x] -= along * axis[x]
    return math.sqrt(_dot(vector, vector, k))


@inner()
def _affine_map(c, inside, affine, axes, triangle, spare, members):
    """The map (p, k + 1) from [pixel, 1] to abundances on the support and multipliers off it.

    Members that depend on earlier ones leave `inside`. False when the map is good for a guess only.
    """
    p, k = c.shape
    count = np.int64(0)
    for j in range(p):
        if inside[j]:
            members[count] = j
            count += 1
            inside[j] = False
    origin = c[members[0]]
    count = _orthonormalise(c, members, count, axes, triangle)
    sound = True
    for m in range(count):
        inside[members[m]] = True
        sound &= m == 0 or triangle[m, m - 1] > POOR
    for j in range(p):
        if not inside[j]:  # what of the way to vertex j no member covers
            for x in range(k):
                affine[j, x] = origin[x] - c[j, x]
            _orthogonalise(affine[j, :k], axes, count - 1, spare)
            affine[j, k] = -_dot(affine[j], origin, k)
    first = affine[members[0]]
    for x in range(k + 1):
        first[x] = 1.0 if x == k else 0.0
    for m in range(count - 1, 0, -1):  # a row of the pseudo-inverse: triangle^-1 axes
        row = affine[members[m]]
        for x in range(k):
            row[x] = axes[m - 1, x]
        for later in range(m + 1, count):
            for x in range(k):
                row[x] -= triangle[later, m - 1] * affine[members[later], x]
        for x in range(k):
            row[x] /= triangle[m, m - 1]
            first[x] -= row[x]
        row[k] = -_dot(row, origin, k)
        first[k] -= row[k]
    return sound


@inner(forceinline=True, fastmath=_CONTRACT)
def _combine(weights, rows, total):
    """weights @ rows, four rows at a time: rows are padded with zeros to a multiple of four."""
    width = rows.shape[1]
    for j in range(width):
        total[j] = 0.0
    for x in range(0, rows.shape[0], 4):
        a, b, d, e = weights[x], weights[x + 1], weights[x + 2], weights[x + 3]
        for j in range(width):
            total[j] += (a * rows[x, j] + b * rows[x + 1, j]) + (d * rows[x + 2, j] + e * rows[x + 3, j])


@inlined()
def _look_up(c, maps, supports, inside, pixel, v):
    """Abundances and multipliers by the support's tabled map, computed when it is first met."""
    p, k = c.shape
    key = 0
    for j in range(p):
        key |= int(inside[j]) << j
    if key == 0:
        return False
    if supports[key] == 0:
        affine, axes, triangle = np.empty((p, k + 1)), np.empty((p, k)), np.empty((p, p))
        sound = _affine_map(c, inside, affine, axes, triangle, np.empty(p), np.empty(p, np.int64))
        for x in range(maps.shape[1]):
            for j in range(p):
                maps[key, x, j] = affine[j, x] if x <= k else 0.0
        found = 0
        for j in range(p):
            found |= int(inside[j]) << j
        supports[key] = found if sound else -found
    independent = abs(supports[key])
    if independent != key:
        for j in range(p):
            inside[j] = (independent >> j) & 1
    _combine(pixel, maps[key], v)
    return supports[key] > 0


@inner(fastmath=_CONTRACT)
def _evaluate(c, ct, gram, pixel, inside, v, members, work):
    """Abundances and multipliers by Cholesky on the support's Gram matrix, refined once on the vertices.

    False when the support is too near to dependent for this; `v` is then a rough answer.
    """
    p, k = len(inside), c.shape[1]
    factor, ones, step, rest, slopes, nearest = work[5:], work[0], work[1], work[2], work[3], work[4]
    s = np.int64(0)
    for j in range(p):
        v[j] = 1.0 if inside[j] else 0.0
        if inside[j]:
            members[s] = j
            s += 1
    if s == 0 or not _factorise(gram, members, s, factor):
        return False
    for m in range(s):
        ones[m] = 1.0
    _substitute(factor, ones, s)
    norm = 0.0
    for m in range(s):
        norm += ones[m]
        v[members[m]] = 0.0
    for x in range(ct.shape[0]):
        rest[x] = pixel[x] if x < k else 0.0
    largest = 0.0
    excess = 0.0
    for turn in range(2):
        _combine(rest, ct, slopes)
        for m in range(s):
            step[m] = slopes[members[m]]
        _substitute(factor, step, s)
        excess = -1.0
        for m in range(s):
            excess += step[m] + v[members[m]]
        excess /= norm
        largest = 0.0
        for m in range(s):
            delta = step[m] - excess * ones[m]
            v[members[m]] += delta
            largest = max(largest, abs(delta))
        if turn == 0:
            _combine(v, c, nearest)
            for x in range(k):
                rest[x] -= nearest[x]
    total = 0.0
    for j in range(p):
        if inside[j]:
            total += v[j]
        else:
            v[j] = excess - slopes[j]
    return largest <= REFINABLE and abs(total - 1.0) <= ZERO


@inner(fastmath=_CONTRACT)
def _factorise(gram, members, s, factor):
    """Cholesky, lower, diagonal inverted, four rows at a time; False when a pivot is all rounding."""
    for q in range(s):
        row = factor[q]
        pivot = gram[members[q], members[q]]
        smallest = 1e-12 * pivot
        for x in range(q):
            pivot -= row[x] * row[x]
        if pivot <= smallest:
            return False
        row[q] = 1.0 / math.sqrt(pivot)
        for a in range(q + 1, s, 4):
            b, d, e = min(a + 1, s - 1), min(a + 2, s - 1), min(a + 3, s - 1)  # the last row, again
            at, bt = gram[members[a], members[q]], gram[members[b], members[q]]
            dt, et = gram[members[d], members[q]], gram[members[e], members[q]]
            for x in range(q):
                at -= factor[a, x] * row[x]
                bt -= factor[b, x] * row[x]
                dt -= factor[d, x] * row[x]
                et -= factor[e, x] * row[x]
            factor[a, q], factor[b, q] = at * row[q], bt * row[q]
            factor[d, q], factor[e, q] = dt * row[q], et * row[q]
    return True


@inner(fastmath=_CONTRACT)
def _substitute(factor, x, s):
    for m in range(s):
        x[m] = (x[m] - _dot(factor[m], x, m)) * factor[m, m]
    for m in range(s - 1, -1, -1):
        x[m] *= factor[m, m]
        for q in range(m):
            x[q] -= x[m] * factor[m, q]


@inlined()
def _descend(c, pixel, inside, v):
    """Wolfe's descent from the given rough answer: every step lowers the distance, so it ends.

    Support members are kept in order of arrival: what a newcomer adds is judged last, and one that adds
    nothing beyond rounding, or would leave at once, is turned away.
    """
    p, k = c.shape
    axes, triangle = np.empty((p, k)), np.empty((p, p))
    members, goal, rest = np.empty(p, np.int64), np.empty(p), np.empty(k)
    turned_away = np.empty(p, np.bool_)
    count = np.int64(0)
    for j in range(p):
        if inside[j] and v[j] > ZERO:
            members[count] = j
            count += 1
    if count == 0:  # overflow, or a guess without a member
        members[0], v[0] = 0, 1.0
        count += 1
    kept = _orthonormalise(c, members, count, axes, triangle)
    total = 0.0
    for j in range(p):
        turned_away[j] = True
    for m in range(kept):
        turned_away[members[m]] = False
        total += v[members[m]]
    for j in range(p):
        v[j] = 0.0 if turned_away[j] else v[j] / total
    arrived = True
    for _ in range(21 + 10 * p):  # far more than it takes; v is feasible and the best so far at every step
        if arrived:
            for j in range(p):
                turned_away[j] = False
            count = _settle(c, pixel, members, kept, v, goal, axes, triangle, rest)
        newcomer = _steepest(c, rest, members, count, turned_away)
        if newcomer < 0:
            break
        members[count] = newcomer
        kept = _orthonormalise(c, members, count + 1, axes, triangle)
        _nearest(c, pixel, members, kept, axes, triangle, goal, rest)
        arrived = kept > count and goal[count] > 0.0
        if not arrived:
            turned_away[newcomer] = True
            _nearest(c, pixel, members, count, axes, triangle, goal, rest)
    for j in range(p):
        inside[j] = v[j] > 0.0


@inlined()
def _steepest(c, rest, members, count, turned_away):
    """The vertex towards which the distance falls fastest; -1 when it falls towards none."""
    p, k = c.shape
    origin = c[members[0]]
    norm = math.sqrt(_dot(rest, rest, k))
    best = -1
    steepest = 0.0
    for j in range(p):
        if turned_away[j]:
            continue
        slope = 0.0
        size = 0.0
        for x in range(k):
            edge = c[j, x] - origin[x]
            slope += edge * rest[x]
            size += edge * edge
        if slope > steepest and slope > 1e-15 * norm * math.sqrt(size):  # 1e-15: the rounding of the sum
            known = False
            for m in range(count):
                known |= members[m] == j
            if not known:
                best, steepest = j, slope
    return best


@inlined()
def _settle(c, pixel, members, count, v, goal, axes, triangle, rest):
    """Walk to the support's affine optimum; leave out what reaches zero on the way. The new count."""
    while True:
        _orthonormalise(c, members, count, axes, triangle)
        _nearest(c, pixel, members, count, axes, triangle, goal, rest)
        share = 1.0
        first = -1
        for m in range(count):
            if goal[m] <= 0.0:
                ratio = v[members[m]] / (v[members[m]] - goal[m]) if v[members[m]] > 0.0 else 0.0
                if ratio < share or first < 0:
                    share, first = ratio, m
        for m in range(count):
            v[members[m]] += share * (goal[m] - v[members[m]])
        if first < 0:
            return count
        v[members[first]] = 0.0
        count -= 1
        for m in range(first, count):
            members[m] = members[m + 1]


@inner()
def _orthonormalise(c, members, count, axes, triangle):
    """Axes of the members' affine hull, about the first; those that depend on earlier ones are closed up."""
    k = c.shape[1]
    kept = 1
    for m in range(1, count):
        axis = axes[kept - 1]
        for x in range(k):
            axis[x] = c[members[m], x] - c[members[0], x]
        norm = _orthogonalise(axis, axes, kept - 1, triangle[kept])
        if norm > DEPENDENT:
            for x in range(k):
                axis[x] /= norm
            triangle[kept, kept - 1] = norm
            members[kept] = members[m]
            kept += 1
    return kept


@inner()
def _nearest(c, pixel, members, count, axes, triangle, goal, rest):
    """The point of the members' affine hull nearest to pixel: its weights in `goal`, the residual in `rest`."""
    for x in range(c.shape[1]):
        rest[x] = pixel[x] - c[members[0], x]
    _orthogonalise(rest, axes, count - 1, goal[1:])
    goal[0] = 1.0
    for m in range(count - 1, 0, -1):
        goal[m] /= triangle[m, m - 1]
        goal[0] -= goal[m]
        for q in range(1, m):
            goal[q] -= goal[m] * triangle[m, q - 1]


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
