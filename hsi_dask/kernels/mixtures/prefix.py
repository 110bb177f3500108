"""Least squares of all mixture models in a few operations each: models that begin alike share the arithmetic.

Each further spectrum of a model is made orthogonal to those before it, by Gram-Schmidt on the Gram matrix and the
products with the pixels. The last one then costs one product, one fraction and one residual.
"""

# mypy: allow-untyped-defs

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.kernels.compiled import compiled, inner

Floats = NDArray[np.float64]

TILE = 144  # pixels a time: buffers stay in the caches; rows of a power of two would share a few sets of them
DEPENDENT = 1e-10  # of a squared norm: what is left of a spectrum this near to the span of others is rounding
INVERSE, SUM, SLOPES = 0, 1, 2  # rows of `last_coefficients`
_STEP = 4  # coordinates a step of the products


def padded(weights: Floats) -> Floats:
    """Weights of the products, with columns of zeros up to whole steps."""
    whole = np.zeros((len(weights), -(-weights.shape[1] // _STEP) * _STEP))
    whole[:, : weights.shape[1]] = weights
    return whole


# Sums keep their order, so that a pixel's answer is the same in any block
kernel = partial(compiled, fastmath={"contract"})
part = partial(inner, fastmath={"contract"})


@part()
def gather(planes, pixels, first, tile):
    """A tile of pixels, plane after plane; the last pixel fills what is left. Planes up to a multiple of 8 are zero."""
    for j in range(tile.size // TILE):
        for p in range(TILE):
            tile[j * TILE + p] = planes[j, pixels[min(first + p, pixels.size - 1)]] if j < planes.shape[0] else 0.0


@part()
def products(weights, tile, out):
    """out (k, TILE) = weights (k, r) @ tile (r * TILE,), in one order of the sums for every pixel."""
    for k in range(0, weights.shape[0], 2):
        n = min(k + 1, weights.shape[0] - 1)
        first, second = out[k], out[n]
        for p in range(TILE):
            first[p] = 0.0
            second[p] = 0.0
        for j in range(0, weights.shape[1], _STEP):
            a0, a1, a2, a3 = weights[k, j], weights[k, j + 1], weights[k, j + 2], weights[k, j + 3]
            b0, b1, b2, b3 = weights[n, j], weights[n, j + 1], weights[n, j + 2], weights[n, j + 3]
            x = tile[j * TILE : (j + _STEP) * TILE]
            for p in range(TILE):
                x0, x1, x2, x3 = x[p], x[TILE + p], x[2 * TILE + p], x[3 * TILE + p]
                one = first[p] + ((a0 * x0 + a1 * x1) + (a2 * x2 + a3 * x3))
                two = second[p] + ((b0 * x0 + b1 * x1) + (b2 * x2 + b3 * x3))
                first[p] = one
                second[p] = two


@part()
def shorten(rows, first, last, thin):
    """Rows from the first to before the last, in float32."""
    for k in range(first, last):
        row, short = rows[k], thin[k]
        for p in range(TILE):
            short[p] = row[p]


class Prefix(NamedTuple):
    """The first spectra of a model, and what they leave of a tile of pixels and of the other spectra.

    After the first q of them: `products` [q], of every other spectrum's rest with the pixels; `gram` [q], of these
    rests; `slopes` [q, m, k], the fraction of the m-th in spectrum k; `fractions` [q, m] and `rest` [q], each
    pixel's fractions and squared residual.
    """

    products: Floats
    gram: Floats
    slopes: Floats
    fractions: Floats
    rest: Floats


def empty_prefix(level: int, spectra: int) -> Prefix:
    """Room for the prefixes of models of `level` spectra."""
    depth = max(level - 1, 1)
    return Prefix(
        np.empty((depth, spectra, TILE)),
        np.empty((depth, spectra, spectra)),
        np.zeros((depth, depth, spectra)),
        np.empty((depth + 1, depth, TILE)),
        np.empty((depth + 1, TILE)),
    )


@part()
def grow(prefix, q, j, group, starts):
    """Add spectrum j as the q-th of a model over the materials `group`; False if it depends on those before."""
    b, g, slopes, rest = prefix.products[q], prefix.gram[q], prefix.slopes[q], prefix.rest
    sound = g[j, j] > DEPENDENT * prefix.gram[0, j, j]
    share = 1.0 / g[j, j] if sound else 0.0
    own, last = b[j], prefix.fractions[q + 1, q]
    for p in range(TILE):
        last[p] = own[p] * share
        rest[q + 1, p] = rest[q, p] - own[p] * last[p]
    for m in range(q):
        before, after, slope = prefix.fractions[q, m], prefix.fractions[q + 1, m], slopes[m, j]
        for p in range(TILE):
            after[p] = before[p] - slope * last[p]
    if q + 2 < group.size:
        for k in range(starts[group[q + 1]], starts[group[-1] + 1]):
            pull = g[j, k] * share
            before, after = b[k], prefix.products[q + 1, k]
            for p in range(TILE):
                after[p] = before[p] - pull * own[p]
            for m in range(q):
                prefix.slopes[q + 1, m, k] = slopes[m, k] - slopes[m, j] * pull
            prefix.slopes[q + 1, q, k] = pull
            for other in range(starts[group[q + 1]], starts[group[-1] + 1]):
                prefix.gram[q + 1, k, other] = g[k, other] - pull * g[j, other]
    return sound


@part()
def last_coefficients(prefix, members, group, starts, coefficients):
    """Of every spectrum k that can be the last of a model after the prefix `members`.

    coefficients [INVERSE, k] : 1 over the squared norm of what the prefix leaves of it, NaN where that is nothing.
    coefficients [SLOPES + m, k] : by how much a unit of it lowers the fraction of the last of the prefix but m.
    coefficients [SUM, k] : by how much a unit of it raises the sum of fractions.
    """
    q, depth = members.size, max(members.size - 1, 0)
    start, end = starts[group[-1]], starts[group[-1] + 1]
    g = prefix.gram[depth]
    j = members[q - 1] if q > 0 else start
    own, share = g[j], 1.0 / g[j, j] if q > 0 else 0.0
    for k in range(start, end):
        pull = own[k] * share
        left = g[k, k] - pull * own[k]
        coefficients[INVERSE, k] = 1.0 / left if left > DEPENDENT * prefix.gram[0, k, k] else np.nan
        coefficients[SLOPES, k] = pull
        coefficients[SUM, k] = 1.0 - pull
    for m in range(1, q):
        slopes = prefix.slopes[depth, q - 1 - m]
        for k in range(start, end):
            slope = slopes[k] - slopes[j] * coefficients[SLOPES, k]
            coefficients[SLOPES + m, k] = slope
            coefficients[SUM, k] -= slope


@part()
def advance(members, group, starts):
    """The next prefix, its last spectrum first; the first place that changed, or -1 after the last prefix."""
    for q in range(members.size - 1, -1, -1):
        members[q] += 1
        if members[q] < starts[group[q] + 1]:
            return q
        members[q] = starts[group[q]]
    return -1
