"""Multiple endmember spectral mixture analysis: of all models, the one that fits each pixel best."""

# mypy: allow-untyped-defs

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.kernels.mixtures.library import Library, Ordered, combinations_of, ordered, shaded
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
MODELLED, NO_MODEL, MISSING = 0, 1, 2  # flags of a pixel
_CROWD = 16  # pixels of a tile: to try that many one by one costs about as much as to try all at once
# Float32 rounds each of a few terms by 6e-8: (gain + error)^2 <= 1.001 gain^2 + 1001 error^2
_SLACK, _MARGIN = 1.001, 1001 * 1e-6**2
_NONE = np.float32(0)
# rows of the search's buffer
_REST, _LAST, _LAST_BUT_ONE, _SUM, _BEST, _ROWS = 0, 1, 2, 3, 4, 5


class MesmaSettings(NamedTuple):
    """Which models are tried and which are allowed; the defaults are those of the `mesma` package.

    max_materials, min_materials : materials in a model, shade not counted.
    fractions : smallest and largest fraction of a material. Infinite limits allow all.
    shade : smallest and largest fraction of shade, which is 1 - the sum of the others.
    max_rmse : largest root mean square residual, in the unit of the pixels.
    fusion : a model with one material more must lower the residual by at least this much.
    """

    max_materials: int = 2
    min_materials: int = 1
    fractions: tuple[float, float] = (-0.05, 1.05)
    shade: tuple[float, float] = (0.0, 0.8)
    max_rmse: float = 0.025
    fusion: float = 0.007


class Mesma(NamedTuple):
    """The best model of each of n pixels.

    fraction : (materials, n) float32, 0 for a material that is not in the model.
    shade : (n,) float32, 1 - the sum of fractions.
    model : (materials, n) int32, the spectrum of the library that stands for each material, -1: none.
    rmse : (n,) float32, root mean square residual over wavelength.
    flag : (n,) uint8. 0: modelled. 1: no model meets the limits. 2: no data. Fractions, shade and rmse are NaN
        and models -1 where it is not 0.
    """

    fraction: NDArray[np.float32]
    shade: NDArray[np.float32]
    model: NDArray[np.int32]
    rmse: NDArray[np.float32]
    flag: NDArray[np.uint8]


def mesma(coordinates: Floats, energy: Floats, library: Library, settings: MesmaSettings) -> Mesma:
    """Best model of each pixel among all combinations of one spectrum of each of some materials.

    Parameters
    ----------
    coordinates : (r, n) float, pixels on the orthonormal basis of the library. NaN: no data.
    energy : (n,) float, squared norm of the whole pixel, of which the coordinates hold the library's part.
    library : spectra, materials and shade.
    settings : limits on models, fractions, shade and residual.

    Returns
    -------
    Mesma
        Equal fits go to the first model: fewer materials, then materials and spectra in the library's order.

    Raises
    ------
    ValueError
        For shapes that do not match, or more than 10 million models.

    Notes
    -----
    Fractions are least squares, unconstrained; models with a fraction, shade or residual outside its limits are
    dropped. Within each number of materials the model with the smallest residual is kept. From fewer to more
    materials a level is dropped if it lowers the residual of the level before, dropped itself or not, by less than
    `fusion`; of the levels that are left, the smallest residual wins. A shade spectrum is subtracted from pixels
    and library. Two spectra of a model that are parallel to 1e-5 make it unsolvable, and it is skipped.

    References
    ----------
    Roberts et al. 1998, Remote Sensing of Environment 65, 267-279 (the method). Roberts et al. 2003, IEEE TGRS
    41(6), 1297-1310 (fusion of levels). Crabbe et al. 2020, the `mesma` package (these rules and defaults).

    Examples
    --------
    >>> library = Library(np.diag([0.6, 0.5, 0.3]), np.array([0, 0, 1]), 2, wavelengths=3)
    >>> pixel = np.array([[0.36], [0.0], [0.09]])
    >>> found = mesma(pixel, (pixel**2).sum(axis=0), library, MesmaSettings())
    >>> [round(float(f), 6) for f in (*found.fraction.ravel(), *found.shade)], found.model.ravel().tolist()
    ([0.6, 0.3, 0.1], [0, 2])
    """
    spectra = ordered(library, settings.min_materials, settings.max_materials)
    z, energy = shaded(coordinates, energy, library)
    levels = range(settings.min_materials, min(settings.max_materials, int(np.count_nonzero(spectra.sizes))) + 1)
    outside = energy - (z**2).sum(axis=0)
    rmse = np.full((len(levels), energy.size), np.inf)
    number = np.full((len(levels), energy.size), -1)
    for row, level in enumerate(levels):
        allowed = np.full(energy.size, settings.max_rmse)
        if row and level == levels[-1]:  # what fusion would drop need not be found; levels before are compared with
            allowed = np.minimum(allowed, rmse[row - 1] - settings.fusion)
        bound = np.where(allowed >= 0, np.nextafter(allowed**2 * library.wavelengths, np.inf), -1.0)
        pixels = np.flatnonzero(outside < bound)  # no model leaves less than what is outside the library's span
        squares, found = _best_of_level(z, energy, pixels, spectra, level, settings, bound[pixels])
        number[row, pixels] = found
        rmse[row, pixels] = np.where(found >= 0, np.sqrt(np.maximum(squares, 0.0) / library.wavelengths), np.inf)
    return _result(z, np.isfinite(energy), spectra, levels, _fused(rmse, settings.fusion), number)


def _fused(rmse: Floats, fusion: float) -> Floats:
    """Residuals of the levels (levels, n), infinite where a level gains too little on the one before."""
    fused = rmse.copy()
    for before, level, kept in zip(rmse, rmse[1:], fused[1:], strict=False):
        kept[level > before - fusion] = np.inf
    return fused


def _best_of_level(
    z: Floats,
    energy: Floats,
    pixels: NDArray[np.intp],
    spectra: Ordered,
    level: int,
    settings: MesmaSettings,
    bound: Floats,
) -> tuple[Floats, NDArray[np.int64]]:
    """Squared residual and number, -1: none, of the best model of `level` materials of each of the pixels."""
    best, number = bound.copy(), np.full(pixels.size, -1)
    groups = combinations_of(spectra.sizes, level)
    low, high = settings.fractions
    most, least = 1.0 - settings.shade[0], 1.0 - settings.shade[1]
    prefix = empty_prefix(level, len(spectra.vertices))
    weights = padded(spectra.vertices)
    limits = np.array([low, high, least, most], np.float64)
    _search(z, energy, pixels, weights, spectra.gram, spectra.starts, groups, limits, prefix, best, number)
    return best, number


def _result(
    z: Floats, known: NDArray[np.bool_], spectra: Ordered, levels: range, rmse: Floats, number: NDArray[np.int64]
) -> Mesma:
    """The best level of each pixel, and the fractions of its model."""
    n, materials = known.size, spectra.sizes.size
    best = rmse.argmin(axis=0) if len(rmse) else np.zeros(n, np.intp)
    smallest = rmse.min(axis=0, initial=np.inf)
    modelled = np.isfinite(smallest)
    flag = np.where(modelled, MODELLED, np.where(known, NO_MODEL, MISSING)).astype(np.uint8)
    fraction = np.where(modelled, np.float32(0), np.float32(np.nan)) * np.ones((materials, 1), np.float32)
    model = np.full((materials, n), -1, np.int32)
    shade = np.full(n, np.nan, np.float32)
    for row, level in enumerate(levels):
        pixels = np.flatnonzero(modelled & (best == row))
        material, place = _members(number[row, pixels], combinations_of(spectra.sizes, level), spectra)
        shares = np.empty((pixels.size, level))
        _fractions(z, pixels, place, spectra.vertices, spectra.gram, shares)
        shade[pixels] = 1.0 - shares.sum(axis=1)
        for m in range(level):
            fraction[material[:, m], pixels] = shares[:, m]
            model[material[:, m], pixels] = spectra.order[place[:, m]]
    return Mesma(fraction, shade, model, np.where(modelled, smallest, np.nan).astype(np.float32), flag)


def _members(
    number: NDArray[np.int64], groups: NDArray[np.int64], spectra: Ordered
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Materials and spectra, (n, level) each, of models by number: group after group, last spectrum fastest."""
    sizes = spectra.sizes[groups]
    ends = np.cumsum(sizes.prod(axis=1))
    group = np.searchsorted(ends, number, side="right")
    rest = number - (ends - sizes.prod(axis=1))[group]
    place = np.empty((number.size, groups.shape[1]), np.int64)
    for m in reversed(range(groups.shape[1])):
        rest, place[:, m] = np.divmod(rest, sizes[group, m])
    return groups[group], place + spectra.starts[groups[group]]


@kernel()
def _search(z, energy, pixels, weights, gram, starts, groups, limits, prefix, best, number):
    """The smallest squared residual below `best` and its model's number, in place; tile after tile of pixels."""
    level, spectra = groups.shape[1], gram.shape[0]
    depth = max(level - 2, 0)
    tile, thin = np.empty(weights.shape[1] * TILE), np.zeros((spectra, TILE), np.float32)
    work, chosen = np.zeros(_ROWS * TILE), np.empty(TILE, np.int64)
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
            work[_BEST * TILE + p] = best[i] if first + p < pixels.size else -1.0
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
                    count = _screen(thin, prefix, members, group, starts, coefficients, factors, work, largest, hits)
                    if count > _CROWD and level <= 3:
                        _prepare(prefix, members, limits, work)
                        _try_all(prefix, members, group, starts, limits, coefficients, models, work, chosen)
                    elif count > 0:
                        for p in range(TILE):
                            if hits[p]:
                                _try_one(prefix, members, group, starts, limits, coefficients, models, p, work, chosen)
                models += starts[group[-1] + 1] - starts[group[-1]]
                changed = advance(members, group, starts)
                if changed < 0:
                    break
        for p in range(min(TILE, pixels.size - first)):
            best[first + p] = work[_BEST * TILE + p]
            number[first + p] = chosen[p]


@part()
def _screen(thin, prefix, members, group, starts, coefficients, factors, work, largest, hits):
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
        hits[p] = prefix.rest[q, p] - reach < work[_BEST * TILE + p]
        count += hits[p]
    return count


@part()
def _try_one(prefix, members, group, starts, limits, coefficients, models, p, work, chosen):
    """All models of this prefix at one pixel."""
    q = members.size
    b = prefix.products[max(q - 1, 0)]
    start, end = starts[group[-1]], starts[group[-1] + 1]
    own = b[members[q - 1] if q > 0 else start, p]
    for k in range(start, end):
        along = b[k, p] - coefficients[SLOPES, k] * own
        share = along * coefficients[INVERSE, k]
        left = prefix.rest[q, p] - along * share
        if left < work[_BEST * TILE + p]:
            total, fits = share, limits[0] <= share <= limits[1]
            for m in range(q):
                fraction = prefix.fractions[q, q - 1 - m, p] - coefficients[SLOPES + m, k] * share
                total += fraction
                fits = fits and limits[0] <= fraction <= limits[1]
            if fits and limits[2] <= total <= limits[3]:
                work[_BEST * TILE + p] = left
                chosen[p] = models + k - start


@part()
def _prepare(prefix, members, limits, work):
    """What `_try_all` needs of the prefix: the residual, the sum of fractions and the at most two of them."""
    q = members.size
    inside = limits[0] if limits[0] > -np.inf else min(limits[1], 0.0)  # of a fraction that is not there
    for p in range(TILE):
        work[_REST * TILE + p] = prefix.rest[q, p]
        last = prefix.fractions[q, q - 1, p] if q > 0 else inside
        before = prefix.fractions[q, q - 2, p] if q > 1 else inside
        work[_LAST * TILE + p], work[_LAST_BUT_ONE * TILE + p] = last, before
        work[_SUM * TILE + p] = (last if q > 0 else 0.0) + (before if q > 1 else 0.0)


@part()
def _try_all(prefix, members, group, starts, limits, coefficients, models, work, chosen):
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
            x, rest, total = own[p], work[_REST * TILE + p], work[_SUM * TILE + p]
            u, v = work[_LAST * TILE + p], work[_LAST_BUT_ONE * TILE + p]
            best, number = work[_BEST * TILE + p], chosen[p]
            left, fits = _left(bk[p], x, rest, u, v, total, ck, dk, ik, sk, low, high, least, most)
            fits = fits & (left < best)
            best = left if fits else best
            number = mk if fits else number
            left, fits = _left(bn[p], x, rest, u, v, total, cn, dn, i_n, sn, low, high, least, most)
            fits = fits & (left < best)
            work[_BEST * TILE + p] = left if fits else best
            chosen[p] = mn if fits else number


@part(forceinline=True)
def _left(product, own, rest, u, v, total, pull, slope, inverse, slope_sum, low, high, least, most):
    """Squared residual with one spectrum more, and whether all limits are met."""
    along = product - pull * own
    share = along * inverse
    u, v, total = u - pull * share, v - slope * share, total + slope_sum * share
    fits = (min(min(u, v), share) >= low) & (max(max(u, v), share) <= high) & (total >= least) & (total <= most)
    return rest - along * share, fits


@kernel()
def _fractions(z, pixels, place, vertices, gram, shares):
    """Fractions of a chosen model a pixel, by elimination in its normal equations."""
    level = place.shape[1]
    a = np.empty((level, level + 1))
    for i in range(pixels.size):
        for m in range(level):
            total = 0.0
            for j in range(z.shape[0]):
                total += vertices[place[i, m], j] * z[j, pixels[i]]
            a[m, level] = total
            for q in range(level):
                a[m, q] = gram[place[i, m], place[i, q]]
        for q in range(level):
            for m in range(q + 1, level):
                factor = a[m, q] / a[q, q]
                for column in range(q, level + 1):
                    a[m, column] -= factor * a[q, column]
        for m in range(level - 1, -1, -1):
            total = a[m, level]
            for q in range(m + 1, level):
                total -= a[m, q] * shares[i, q]
            shares[i, m] = total / a[m, m]
