"""Of all mixture models with so many materials the one that leaves least of each pixel, within limits on fractions.

Models that begin alike share a prefix; the last spectra of a prefix are screened in float32, on the safe side, and only
pixels where one of them may beat the best so far are looked at in float64.
"""

# mypy: allow-untyped-defs

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsi_dask.kernels.mixtures.library import Ordered, combinations_of
from hsi_dask.kernels.mixtures.prefix import (
    INVERSE,
    SLOPES,
    SUM,
    TILE,
    advance,
    empty_prefix,
    gather,
    grow,
    kernel,
    last_coefficients,
    padded,
    part,
    products,
    shorten,
)

Floats = NDArray[np.float64]
_CROWD = 16  # pixels of a tile: to try that many one by one costs about as much as to try all at once
# Float32 rounds each of a few terms by 6e-8: (gain + error)^2 <= 1.001 gain^2 + 1001 error^2
_SLACK, _MARGIN = 1.001, 1001 * 1e-6**2
_NONE = np.float32(0)
# rows of the search's buffer
_REST, _LAST, _LAST_BUT_ONE, _SUM, _BEST, _ROWS = 0, 1, 2, 3, 4, 5


def best_of_level(
    z: Floats,
    energy: Floats,
    pixels: NDArray[np.intp],
    spectra: Ordered,
    level: int,
    limits: Floats,
    bound: Floats,
) -> tuple[Floats, NDArray[np.int64]]:
    """The best model of `level` materials of each of some pixels.

    Parameters
    ----------
    z, energy : (r, n) and (n,), pixels as `library.shaded` gives them.
    pixels : (k,) which of them.
    spectra : the library.
    level : materials in a model.
    limits : smallest and largest fraction, smallest and largest sum of fractions.
    bound : (k,) squared residuals that a model has to be below.

    Returns
    -------
    (k,) squared residuals, the bound where no model is below it, and (k,) numbers of models, -1 there. Models are
    numbered group after group of materials, the last spectrum fastest.
    """
    best, number = bound.copy(), np.full(pixels.size, -1)
    groups = combinations_of(spectra.sizes, level)
    prefix = empty_prefix(level, len(spectra.vertices))
    weights = padded(spectra.vertices)
    _search(z, energy, pixels, weights, spectra.gram, spectra.starts, groups, limits, prefix, best, number)
    return best, number


@kernel()
def _search(z, energy, pixels, weights, gram, starts, groups, limits, prefix, best, number):
    """The smallest squared residual below `best` and its model's number, in place; tile after tile of pixels."""
    level, spectra = groups.shape[1], gram.shape[0]
    depth = max(level - 2, 0)
    tile, thin = np.empty(weights.shape[1] * TILE), np.zeros((spectra, TILE), np.float32)
    scratch, chosen = np.zeros(_ROWS * TILE), np.empty(TILE, np.int64)
    largest, hits = np.empty(TILE, np.float32), np.empty(TILE, np.bool_)
    coefficients, factors = np.zeros((SLOPES + max(level, 2), spectra)), np.zeros((2, spectra), np.float32)
    members, sound = np.empty(level - 1, np.int64), np.ones(level, np.bool_)
    for k in range(spectra):
        for other in range(spectra):
            prefix.gram[0, k, other] = gram[k, other]
    for first in range(0, pixels.size, TILE):
        gather(z, pixels, first, tile)
        products(weights, tile, prefix.products[0])
        for p in range(TILE):
            i = min(first + p, pixels.size - 1)
            prefix.rest[0, p] = energy[pixels[i]]
            scratch[_BEST * TILE + p] = best[i] if first + p < pixels.size else -1.0
            chosen[p] = -1
        models = 0 * first  # an integer, no constant: one compilation
        for g in range(groups.shape[0]):
            group = groups[g]
            for q in range(level - 1):
                members[q] = starts[group[q]]
            changed = -1
            while True:
                solvable = True
                for q in range(level - 1):
                    if q >= changed:
                        sound[q] = grow(prefix, q, members[q], group, starts)
                    solvable = solvable and sound[q]
                if changed < depth:  # products after all but the last of the prefix are new
                    shorten(prefix.products[depth], starts[group[depth]], starts[group[-1] + 1], thin)
                if solvable:
                    last_coefficients(prefix, members, group, starts, coefficients)
                    count = _screen(thin, prefix, members, group, starts, coefficients, factors, scratch, largest, hits)
                    if count > _CROWD and level <= 3:
                        _prepare(prefix, members, limits, scratch)
                        _try_all(prefix, members, group, starts, limits, coefficients, models, scratch, chosen)
                    elif count > 0:
                        for p in range(TILE):
                            if hits[p]:
                                _try_one(
                                    prefix, members, group, starts, limits, coefficients, models, p, scratch, chosen
                                )
                models += starts[group[-1] + 1] - starts[group[-1]]
                changed = advance(members, group, starts)
                if changed < 0:
                    break
        for p in range(min(TILE, pixels.size - first)):
            best[first + p] = scratch[_BEST * TILE + p]
            number[first + p] = chosen[p]


@part()
def _screen(thin, prefix, members, group, starts, coefficients, factors, scratch, largest, hits):
    """Pixels where one spectrum more may leave less than the best so far: float32, on the safe side. How many."""
    q = members.size
    start, end = starts[group[-1]], starts[group[-1] + 1]
    j = members[q - 1] if q > 0 else start
    g, own = prefix.gram[max(q - 1, 0)], thin[j]
    error = 0.0
    for k in range(start, end):
        inverse = coefficients[INVERSE, k]
        scale = np.sqrt(inverse) if inverse > 0.0 else 0.0
        pull = scale * coefficients[SLOPES, k]
        error = max(error, scale * np.sqrt(g[k, k]) + pull * np.sqrt(g[j, j]))
        factors[0, k], factors[1, k] = scale, pull
    for p in range(TILE):
        largest[p] = _NONE
    for k in range(start, end, 4):
        a, b, c = min(k + 1, end - 1), min(k + 2, end - 1), min(k + 3, end - 1)
        bk, ba, bb, bc = thin[k], thin[a], thin[b], thin[c]
        sk, sa, sb, sc = factors[0, k], factors[0, a], factors[0, b], factors[0, c]
        ck, ca, cb, cc = factors[1, k], factors[1, a], factors[1, b], factors[1, c]
        for p in range(TILE):
            x = own[p]
            one, two = abs(sk * bk[p] - ck * x), abs(sa * ba[p] - ca * x)
            three, four = abs(sb * bb[p] - cb * x), abs(sc * bc[p] - cc * x)
            largest[p] = max(largest[p], max(max(one, two), max(three, four)))
    margin = error * error * _MARGIN
    count = 0
    for p in range(TILE):
        gain = np.float64(largest[p])
        reach = _SLACK * gain * gain + margin * prefix.rest[max(q - 1, 0), p]
        hits[p] = prefix.rest[q, p] - reach < scratch[_BEST * TILE + p]
        count += hits[p]
    return count


@part()
def _try_one(prefix, members, group, starts, limits, coefficients, models, p, scratch, chosen):
    """All models of this prefix at one pixel."""
    q = members.size
    b = prefix.products[max(q - 1, 0)]
    start, end = starts[group[-1]], starts[group[-1] + 1]
    own = b[members[q - 1] if q > 0 else start, p]
    for k in range(start, end):
        along = b[k, p] - coefficients[SLOPES, k] * own
        share = along * coefficients[INVERSE, k]
        left = prefix.rest[q, p] - along * share
        if left < scratch[_BEST * TILE + p]:
            total, fits = share, limits[0] <= share <= limits[1]
            for m in range(q):
                fraction = prefix.fractions[q, q - 1 - m, p] - coefficients[SLOPES + m, k] * share
                total += fraction
                fits = fits and limits[0] <= fraction <= limits[1]
            if fits and limits[2] <= total <= limits[3]:
                scratch[_BEST * TILE + p] = left
                chosen[p] = models + k - start


@part()
def _prepare(prefix, members, limits, scratch):
    """What `_try_all` needs of the prefix: the residual, the sum of fractions and the at most two of them."""
    q = members.size
    inside = limits[0] if limits[0] > -np.inf else min(limits[1], 0.0)  # of a fraction that is not there
    for p in range(TILE):
        scratch[_REST * TILE + p] = prefix.rest[q, p]
        last = prefix.fractions[q, q - 1, p] if q > 0 else inside
        before = prefix.fractions[q, q - 2, p] if q > 1 else inside
        scratch[_LAST * TILE + p], scratch[_LAST_BUT_ONE * TILE + p] = last, before
        scratch[_SUM * TILE + p] = (last if q > 0 else 0.0) + (before if q > 1 else 0.0)


@part()
def _try_all(prefix, members, group, starts, limits, coefficients, models, scratch, chosen):
    """All models of this prefix at all pixels: every spectrum of the last material, two at a time."""
    q = members.size
    low, high, least, most = limits[0], limits[1], limits[2], limits[3]
    b = prefix.products[max(q - 1, 0)]
    start, end = starts[group[-1]], starts[group[-1] + 1]
    own = b[members[q - 1] if q > 0 else start]
    for k in range(start, end, 2):
        n = min(k + 1, end - 1)
        bk, bn = b[k], b[n]
        ck, ik, sk = coefficients[SLOPES, k], coefficients[INVERSE, k], coefficients[SUM, k]
        cn, i_n, sn = coefficients[SLOPES, n], coefficients[INVERSE, n], coefficients[SUM, n]
        dk, dn = coefficients[SLOPES + 1, k], coefficients[SLOPES + 1, n]
        mk, mn = models + k - start, models + n - start
        for p in range(TILE):
            x, rest, total = own[p], scratch[_REST * TILE + p], scratch[_SUM * TILE + p]
            u, v = scratch[_LAST * TILE + p], scratch[_LAST_BUT_ONE * TILE + p]
            best, number = scratch[_BEST * TILE + p], chosen[p]
            left, fits = _left(bk[p], x, rest, u, v, total, ck, dk, ik, sk, low, high, least, most)
            fits = fits & (left < best)
            best = left if fits else best
            number = mk if fits else number
            left, fits = _left(bn[p], x, rest, u, v, total, cn, dn, i_n, sn, low, high, least, most)
            fits = fits & (left < best)
            scratch[_BEST * TILE + p] = left if fits else best
            chosen[p] = mn if fits else number


@part(forceinline=True)
def _left(product, own, rest, u, v, total, pull, slope, inverse, slope_sum, low, high, least, most):
    """Squared residual with one spectrum more, and whether all limits are met."""
    along = product - pull * own
    share = along * inverse
    u, v, total = u - pull * share, v - slope * share, total + slope_sum * share
    fits = (min(min(u, v), share) >= low) & (max(max(u, v), share) <= high) & (total >= least) & (total <= most)
    return rest - along * share, fits
