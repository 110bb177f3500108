"""FCLS of many vertices, a library's: Wolfe's descent from one vertex, since few are ever on a pixel's support."""

# mypy: allow-untyped-defs

from __future__ import annotations

import math

import numpy as np

from hsi_dask.kernels.compiled import compiled, inner
from hsi_dask.kernels.fcls_hull import dot

BLOCK = 64  # pixels whose products with all vertices are taken together
ZERO = 1e-12  # abundances are known to about 1e-16 x condition number: below this they are rounding
DEPENDENT = 1e-13  # of the largest vertex: a vertex this near the hull of others adds nothing but rounding
STEEP = 1e-15  # of residual x edge: the rounding of a slope


def solve_large(z, centre, shrink, basis, c, gram, out):
    """Abundances into `out` (p, n); the other arguments are those of `fcls` after it has moved the origin.

    A support grows from the nearest vertex, one newcomer a step. Newcomers are chosen by the Gram matrix, p products
    a member instead of p a dimension; distances, and whether any newcomer is left at the end, are computed on
    orthogonal axes of the support and from the residual itself, so that alike vertices cost no digits.

    References
    ----------
    Wolfe 1976, Finding the nearest point in a polytope, Math. Programming 11, 128-149.
    """
    _solve_all(z, centre, shrink, basis, c, np.ascontiguousarray(c.T), gram, out)


@compiled()
def _solve_all(z, centre, shrink, basis, c, ct, gram, out):
    p, k = c.shape
    planes, products = np.empty((k, BLOCK)), np.empty((p, BLOCK))
    pixel, towards, slopes, v = np.empty(k), np.empty(p), np.empty(p), np.zeros(p)
    room = min(p, k + 1) + 1
    axes, triangle = np.empty((room, k)), np.empty((room, room))
    goal, along, rest = np.empty(room), np.empty(room), np.empty(k)
    members, state = np.empty(room, np.int64), np.empty(p, np.int64)
    for first in range(0, z.shape[1], BLOCK):
        size = min(BLOCK, z.shape[1] - first)
        _reduce(z, centre, shrink, basis, first, size, planes)
        _multiply(c, planes, size, products)
        for i in range(size):
            finite = True
            for x in range(k):
                pixel[x] = planes[x, i]
                finite &= math.isfinite(pixel[x])
            if not finite:
                for j in range(p):
                    out[j, first + i] = np.nan
                continue
            for j in range(p):
                towards[j] = products[j, i]
            count = _solve(c, ct, gram, pixel, towards, slopes, v, axes, triangle, goal, along, rest, members, state)
            total = 0.0
            for m in range(count):
                v[members[m]] = v[members[m]] if v[members[m]] > ZERO else 0.0
                total += v[members[m]]
            for j in range(p):
                out[j, first + i] = 0.0
            for m in range(count):
                out[members[m], first + i] = v[members[m]] / total


@inner()
def _reduce(z, centre, shrink, basis, first, size, planes):
    """Pixels about the centroid, on the basis if there is one. Vector lanes are pixels: no lane sees another."""
    for x in range(planes.shape[0]):
        for i in range(size):
            planes[x, i] = 0.0
    for b in range(z.shape[0]):
        plane = z[b, first : first + size]
        if basis.shape[0] == 0:
            for i in range(size):
                planes[b, i] = shrink * (plane[i] - centre[b])
            continue
        for x in range(basis.shape[0]):
            weight = shrink * basis[x, b]
            for i in range(size):
                planes[x, i] += weight * (plane[i] - centre[b])


@inner(fastmath={"contract"})
def _multiply(c, planes, size, products):
    for j in range(c.shape[0]):
        for i in range(size):
            products[j, i] = 0.0
        for x in range(c.shape[1]):
            weight = c[j, x]
            for i in range(size):
                products[j, i] += weight * planes[x, i]


@inner()
def _solve(c, ct, gram, pixel, towards, slopes, v, axes, triangle, goal, along, rest, members, state):
    """Support and weights of one pixel; the number of members. state: 0 outside, 1 member, 2 turned away."""
    p = c.shape[0]
    nearest = 0
    for j in range(p):
        state[j] = 0
        v[j] = 0.0
        if 2.0 * towards[j] - gram[j, j] > 2.0 * towards[nearest] - gram[nearest, nearest]:
            nearest = j
    members[0] = nearest
    state[nearest], v[nearest] = 1, 1.0
    count = np.int64(1)
    _meet(c, pixel, members, count, axes, triangle, goal, along, rest)
    exact = False
    for _ in range(20 + 10 * p):  # far more than it takes; v is feasible and the best so far at every step
        if exact:
            _from_residual(ct, rest, slopes)
        else:
            _from_products(gram, towards, members, count, v, slopes)
        newcomer = _steepest(gram, slopes, rest, members, state)
        if newcomer < 0 and exact:
            break
        if newcomer < 0:
            exact = True  # by the Gram matrix nothing is left: ask the residual, and stay with it
            continue
        if count == len(members) - 1 or not _extend(c, members, count, newcomer, axes, triangle):
            state[newcomer] = 2
            continue
        members[count] = newcomer
        _meet(c, pixel, members, count + 1, axes, triangle, goal, along, rest)
        if goal[count] <= 0.0:
            state[newcomer] = 2
            _meet(c, pixel, members, count, axes, triangle, goal, along, rest)
            continue
        for j in range(p):
            state[j] = 1 if state[j] == 1 else 0
        state[newcomer] = 1
        count = _settle(c, pixel, members, count + 1, v, axes, triangle, goal, along, rest, state)
    return count


@inner(fastmath={"contract"})
def _from_residual(ct, rest, slopes):
    """Products of every vertex with the residual."""
    for j in range(len(slopes)):
        slopes[j] = 0.0
    for x in range(len(rest)):
        weight, row = rest[x], ct[x]
        for j in range(len(slopes)):
            slopes[j] += weight * row[j]


@inner(fastmath={"contract"})
def _from_products(gram, towards, members, count, v, slopes):
    """The same without the residual; the Gram matrix has 1 added, which is the same for all."""
    for j in range(len(slopes)):
        slopes[j] = towards[j]
    for m in range(count):
        weight, row = v[members[m]], gram[members[m]]
        for j in range(len(slopes)):
            slopes[j] -= weight * row[j]


@inner()
def _steepest(gram, slopes, rest, members, state):
    """The vertex towards which the distance falls fastest; -1 when it falls towards none."""
    origin = members[0]
    norm = math.sqrt(dot(rest, rest, len(rest)))
    best, steepest = -1, 0.0
    for j in range(len(slopes)):
        slope = slopes[j] - slopes[origin]
        if state[j] == 0 and slope > steepest:
            edge = math.sqrt(max(gram[j, j] + gram[origin, origin] - 2.0 * gram[j, origin], 0.0))
            if slope > STEEP * norm * edge:
                best, steepest = j, slope
    return best


@inner()
def _extend(c, members, count, newcomer, axes, triangle):
    """An axis more, from the first member to the newcomer; False when that adds nothing but rounding."""
    k = c.shape[1]
    axis, coefficients = axes[count - 1], triangle[count]
    for x in range(k):
        axis[x] = c[newcomer, x] - c[members[0], x]
    for q in range(count - 1):
        coefficients[q] = 0.0
    for _ in range(2):  # once leaves rounding behind
        for q in range(count - 1):
            along = dot(axes[q], axis, k)
            coefficients[q] += along
            for x in range(k):
                axis[x] -= along * axes[q, x]
    norm = math.sqrt(dot(axis, axis, k))
    if norm <= DEPENDENT:
        return False
    for x in range(k):
        axis[x] /= norm
    coefficients[count - 1] = norm
    return True


@inner()
def _meet(c, pixel, members, count, axes, triangle, goal, along, rest):
    """The point of the members' affine hull nearest to pixel: its weights in `goal`, the residual in `rest`."""
    k = c.shape[1]
    for x in range(k):
        rest[x] = pixel[x] - c[members[0], x]
    for q in range(count - 1):
        along[q] = 0.0
    for _ in range(2):
        for q in range(count - 1):
            share = dot(axes[q], rest, k)
            along[q] += share
            for x in range(k):
                rest[x] -= share * axes[q, x]
    goal[0] = 1.0
    for m in range(count - 1, 0, -1):
        goal[m] = along[m - 1] / triangle[m, m - 1]
        goal[0] -= goal[m]
        for q in range(1, m):
            along[q - 1] -= goal[m] * triangle[m, q - 1]


@inner()
def _settle(c, pixel, members, count, v, axes, triangle, goal, along, rest, state):
    """Walk to the support's affine optimum; leave out what reaches zero on the way. The new count."""
    while True:
        share, leaving = 1.0, -1
        for m in range(count):
            if goal[m] <= 0.0:
                ratio = v[members[m]] / (v[members[m]] - goal[m]) if v[members[m]] > 0.0 else 0.0
                if ratio < share or leaving < 0:
                    share, leaving = ratio, m
        for m in range(count):
            v[members[m]] += share * (goal[m] - v[members[m]])
        if leaving < 0:
            return count
        v[members[leaving]] = 0.0
        state[members[leaving]] = 0
        count -= 1
        for m in range(leaving, count):
            members[m] = members[m + 1]
        for m in range(max(leaving, 1), count):  # axes before the one that left are still right
            _extend(c, members, m, members[m], axes, triangle)
        _meet(c, pixel, members, count, axes, triangle, goal, along, rest)
