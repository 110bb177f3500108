"""Wolfe's descent to the mixture nearest to a pixel: slow and sure, from any answer."""

# mypy: allow-untyped-defs

from __future__ import annotations

import math

import numpy as np

from hsi_dask.kernels.compiled import inlined
from hsi_dask.kernels.fcls_hull import dot, nearest_in_hull, orthonormalise

ZERO = 1e-12  # abundances are known to about 1e-16 x condition number: below this they are rounding


@inlined()
def descend(c, pixel, inside, v):
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
    kept = orthonormalise(c, members, count, axes, triangle)
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
        kept = orthonormalise(c, members, count + 1, axes, triangle)
        nearest_in_hull(c, pixel, members, kept, axes, triangle, goal, rest)
        arrived = kept > count and goal[count] > 0.0
        if not arrived:
            turned_away[newcomer] = True
            nearest_in_hull(c, pixel, members, count, axes, triangle, goal, rest)
    for j in range(p):
        inside[j] = v[j] > 0.0


@inlined()
def _steepest(c, rest, members, count, turned_away):
    """The vertex towards which the distance falls fastest; -1 when it falls towards none."""
    p, k = c.shape
    origin = c[members[0]]
    norm = math.sqrt(dot(rest, rest, k))
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
        orthonormalise(c, members, count, axes, triangle)
        nearest_in_hull(c, pixel, members, count, axes, triangle, goal, rest)
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
