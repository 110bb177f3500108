"""Abundances and multipliers of a pixel on a support, and a guess of that support."""

# mypy: allow-untyped-defs

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hsi_dask.kernels.compiled import inlined, inner
from hsi_dask.kernels.fcls_descent import ZERO
from hsi_dask.kernels.fcls_hull import affine_map, dot

Floats = NDArray[np.float64]

CONTRACT = {"contract"}  # fused multiply-add: nothing else about a sum changes, NaN included
NONE, ONE = np.float32(0), np.float32(1)
REFINABLE = 1e-5  # a first refinement step this small leaves an error of its square; a larger one goes to QR
SWEEPS = 6  # of guessing: 1-3 exchanges are then left at p = 30, from the full support 8-10
OVERSTEP = np.float32(1.6)  # over-relaxation, where alternating directions are usually fastest


def sweep_maps(c: Floats, gram: Floats) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What one step of the alternating directions needs: abundances = head [pixel, 1] + pull |state|.

    In float32: it only guesses the support.
    """
    weight = np.exp(np.log(np.linalg.eigvalsh(c.T @ c).clip(1e-6)).mean())  # the middle of what it has to balance
    inverse = np.linalg.inv(gram + weight * np.eye(len(c)))
    level = inverse.sum(axis=1)
    free = inverse - np.outer(level, level) / level.sum()
    head = np.column_stack([free @ c, level / level.sum()])
    return head.astype(np.float32), fours(float(OVERSTEP) * weight * free).astype(np.float32)


def fours(rows: Floats) -> Floats:
    """Rows are combined four at a time: padded with zeros to a multiple of four."""
    padded = np.zeros((len(rows) + -len(rows) % 4, rows.shape[1]))
    padded[: len(rows)] = rows
    return padded


@inner()
def sweep_supports(pull, fixed, size, state, sizes):
    """A few steps of alternating directions: where `state` ends up positive is nearly the support.

    abundances = max(state, 0) and dual = min(state, 0), so that abundances - dual = |state|.
    """
    p = pull.shape[1]
    for j in range(p):
        for i in range(size):
            state[j, i] = ONE / np.float32(p)
    for _ in range(SWEEPS):
        for j in range(p):
            for i in range(size):
                sizes[j, i] = abs(state[j, i])
        for j in range(p):
            for i in range(size):
                old = state[j, i]
                state[j, i] = OVERSTEP * fixed[j, i] + min(old, NONE) + (ONE - OVERSTEP) * max(old, NONE)
            for x in range(0, p, 4):
                a, b, d, e = pull[x, j], pull[x + 1, j], pull[x + 2, j], pull[x + 3, j]
                for i in range(size):
                    state[j, i] += (a * sizes[x, i] + b * sizes[x + 1, i]) + (d * sizes[x + 2, i] + e * sizes[x + 3, i])


@inlined()
def look_up(c, maps, supports, inside, pixel, v):
    """Abundances and multipliers by the support's tabled map, computed when it is first met."""
    p, k = c.shape
    key = 0
    for j in range(p):
        key |= int(inside[j]) << j
    if key == 0:
        return False
    if supports[key] == 0:
        affine, axes, triangle = np.empty((p, k + 1)), np.empty((p, k)), np.empty((p, p))
        sound = affine_map(c, inside, affine, axes, triangle, np.empty(p), np.empty(p, np.int64))
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


@inner(forceinline=True, fastmath=CONTRACT)
def _combine(weights, rows, total):
    """weights @ rows, four rows at a time: rows are padded with zeros to a multiple of four."""
    width = rows.shape[1]
    for j in range(width):
        total[j] = 0.0
    for x in range(0, rows.shape[0], 4):
        a, b, d, e = weights[x], weights[x + 1], weights[x + 2], weights[x + 3]
        for j in range(width):
            total[j] += (a * rows[x, j] + b * rows[x + 1, j]) + (d * rows[x + 2, j] + e * rows[x + 3, j])


@inner(fastmath=CONTRACT)
def evaluate(c, ct, gram, pixel, inside, v, members, scratch):
    """Abundances and multipliers by Cholesky on the support's Gram matrix, refined once on the vertices.

    False when the support is too near to dependent for this; `v` is then a rough answer.
    """
    p, k = len(inside), c.shape[1]
    factor, ones, step, rest, slopes, nearest = scratch[5:], scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
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


@inner(fastmath=CONTRACT)
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


@inner(fastmath=CONTRACT)
def _substitute(factor, x, s):
    for m in range(s):
        x[m] = (x[m] - dot(factor[m], x, m)) * factor[m, m]
    for m in range(s - 1, -1, -1):
        x[m] *= factor[m, m]
        for q in range(m):
            x[q] -= x[m] * factor[m, q]
