"""The affine hull of some vertices: its axes, the nearest point to a pixel, the map from any pixel to it."""

# mypy: allow-untyped-defs

from __future__ import annotations

import math

import numpy as np

from hsi_dask.kernels.compiled import inner

DEPENDENT = 1e-13  # of the largest vertex: a vertex this near the hull of others adds nothing but rounding
POOR = 1e-9  # a support with a vertex this near the hull of others is solved, not multiplied by a table


@inner(fastmath={"reassoc", "contract"})  # vector sums, in one order for every pixel; NaN stays NaN
def dot(a, b, size):
    total = 0.0
    for x in range(size):
        total += a[x] * b[x]
    return total


@inner()
def orthogonalise(vector, axes, count, coefficients):
    """Take the first `count` orthonormal axes out of vector, twice: once leaves rounding behind."""
    k = len(vector)
    for q in range(count):
        coefficients[q] = 0.0
    for _ in range(2):
        for q in range(count):
            axis = axes[q]
            along = dot(axis, vector, k)
            coefficients[q] += along
            for x in range(k):
                vector[x] -= along * axis[x]
    return math.sqrt(dot(vector, vector, k))


@inner()
def orthonormalise(c, members, count, axes, triangle):
    """Axes of the members' affine hull, about the first; those that depend on earlier ones are closed up."""
    k = c.shape[1]
    kept = 1
    for m in range(1, count):
        axis = axes[kept - 1]
        for x in range(k):
            axis[x] = c[members[m], x] - c[members[0], x]
        norm = orthogonalise(axis, axes, kept - 1, triangle[kept])
        if norm > DEPENDENT:
            for x in range(k):
                axis[x] /= norm
            triangle[kept, kept - 1] = norm
            members[kept] = members[m]
            kept += 1
    return kept


@inner()
def nearest_in_hull(c, pixel, members, count, axes, triangle, goal, rest):
    """The point of the members' affine hull nearest to pixel: its weights in `goal`, the residual in `rest`."""
    for x in range(c.shape[1]):
        rest[x] = pixel[x] - c[members[0], x]
    orthogonalise(rest, axes, count - 1, goal[1:])
    goal[0] = 1.0
    for m in range(count - 1, 0, -1):
        goal[m] /= triangle[m, m - 1]
        goal[0] -= goal[m]
        for q in range(1, m):
            goal[q] -= goal[m] * triangle[m, q - 1]


@inner()
def affine_map(c, inside, affine, axes, triangle, spare, members):
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
    count = orthonormalise(c, members, count, axes, triangle)
    sound = True
    for m in range(count):
        inside[members[m]] = True
        sound &= m == 0 or triangle[m, m - 1] > POOR
    for j in range(p):
        if not inside[j]:  # what of the way to vertex j no member covers
            for x in range(k):
                affine[j, x] = origin[x] - c[j, x]
            orthogonalise(affine[j, :k], axes, count - 1, spare)
            affine[j, k] = -dot(affine[j], origin, k)
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
        row[k] = -dot(row, origin, k)
        first[k] -= row[k]
    return sound
