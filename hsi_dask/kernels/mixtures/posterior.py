"""Fractional cover as the mean over all mixture models, each weighted by how well it fits, and its spread."""

# mypy: allow-untyped-defs

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.kernels.mixtures.library import Library, combinations_of, count_models, ordered, shaded
from hsi_dask.kernels.mixtures.prefix import (
    INVERSE,
    SLOPES,
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
MOST_MATERIALS = 3  # in a model: the sums over models are written out for so many
SMOOTHING = 5e-4  # of the library's total variance, in every direction: noise, and what the library does not have
_ALIKE = 1e-20  # of the spectra's mean energy: less variation within materials is rounding of their means
_FLOOR = np.float32(1e-6)  # of a pixel's energy: what float32 leaves of an exact fit
_NONE, _ONE, _TINY, _HEAVY = np.float32(0), np.float32(1), np.float32(1e-30), np.float32(100)
# rows of the buffer: of the prefix, and weighted sums over models, of which fractions b and c are the prefix's last two
_REST, _B, _C, _SUM, _SUM_B, _SUM_C, _SUM_BB, _SUM_CC, _SUM_BC, _SUM_LIGHT, _ROWS = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10


class CoverSettings(NamedTuple):
    """Which models count, and what their spread lacks.

    max_materials, min_materials : materials in a model, shade not counted; at most 3.
    incompleteness : variance of a fraction per unit of misfit, for spectra that the library lacks; `calibrate` sets
        it for a library. The default is that of 20 to 30 soils, canopies and dry plants each.
    """

    max_materials: int = 3
    min_materials: int = 1
    incompleteness: float = 2e-4


class Cover(NamedTuple):
    """Fractional cover of n pixels.

    fraction : (materials, n) float32 in [0, 1], summing to 1.
    fraction_std : (materials, n) float32, its standard deviation.
    shade : (n,) float32, 1 - the sum of fractions before they were normalised; negative where a pixel is brighter
        than the library.

    All are NaN where a pixel is. A pixel without light is all shade, and its fractions are NaN.
    """

    fraction: NDArray[np.float32]
    fraction_std: NDArray[np.float32]
    shade: NDArray[np.float32]


def posterior(coordinates: Floats, energy: Floats, library: Library, settings: CoverSettings) -> Cover:
    """Fractions of each material, averaged over all combinations of one spectrum of each of some materials.

    Parameters
    ----------
    coordinates : (r, n) float, pixels on the orthonormal basis of the library. NaN: no data.
    energy : (n,) float, squared norm of the whole pixel.
    library : spectra, materials and shade.
    settings : models, and what their spread lacks.

    Returns
    -------
    Cover

    Raises
    ------
    ValueError
        For shapes that do not match, models of more than 3 materials, or more than 10 million models.

    Notes
    -----
    A model's fractions are least squares; negative ones count as zero, and their sum is 1 - shade, by which they
    are divided. Its weight is q^-4, q the squared residual in the metric of `metric`: a Student-like likelihood
    with few degrees of freedom, as what is left is mostly spectra that the library lacks, not noise. The variance
    of a fraction is the weighted variance over models and, for what no model has, `incompleteness` times the
    misfit: the q of the better models, for a pixel without shade. This part is at most the variance of fractions
    of which nothing is known.

    References
    ----------
    Hoeting et al. 1999, Statistical Science 14(4), 382-417 (averages over models). Roberts et al. 1998, Remote
    Sensing of Environment 65, 267-279 (the models).

    Examples
    --------
    >>> library = Library(np.array([[0.6, 0.1], [0.5, 0.1], [0.1, 0.3]]), np.array([0, 0, 1]), 2, wavelengths=2)
    >>> pixel = np.array([[0.3], [0.05]])
    >>> cover = posterior(pixel, (pixel**2).sum(axis=0), library, CoverSettings())
    >>> [round(float(f), 2) for f in (*cover.fraction.ravel(), *cover.shade)]
    [1.0, 0.0, 0.46]
    """
    found = moments(coordinates, energy, library, settings)
    m = library.materials
    ignorance = (m - 1) / (m * m * (m + 1))  # the variance of fractions that are uniform on their simplex
    lacking = np.minimum(settings.incompleteness * found.misfit, np.float32(ignorance))
    return Cover(found.fraction, np.sqrt(found.variance + lacking), found.shade)


class Moments(NamedTuple):
    """Sums over models of n pixels, float32.

    fraction : (materials, n), weighted mean. variance : (materials, n), weighted variance.
    misfit : (n,), (mean of q^-4)^(-1/4), q the squared residuals in the metric, of a pixel made as bright as the
        library. shade : (n,).
    """

    fraction: NDArray[np.float32]
    variance: NDArray[np.float32]
    misfit: NDArray[np.float32]
    shade: NDArray[np.float32]


def moments(coordinates: Floats, energy: Floats, library: Library, settings: CoverSettings) -> Moments:
    """Weighted means and variances of fractions over all models; parameters as in `posterior`."""
    if settings.max_materials > MOST_MATERIALS:
        raise ValueError(f"max_materials is {settings.max_materials}; cover has models of at most {MOST_MATERIALS}")
    spectra = ordered(library, settings.min_materials, settings.max_materials)
    z, energy = shaded(coordinates, energy, library)
    white = metric(spectra.vertices, spectra.starts)
    vertices = spectra.vertices @ white.T
    levels = range(settings.min_materials, settings.max_materials + 1)
    groups = [group for level in levels for group in combinations_of(spectra.sizes, level)]
    table = np.full((len(groups), MOST_MATERIALS), -1)
    for row, group in zip(table, groups, strict=True):
        row[: group.size] = group
    m, n = library.materials, energy.size
    found = Moments(*(np.empty(shape, np.float32) for shape in ((m, n), (m, n), n, n)))
    prefix = empty_prefix(MOST_MATERIALS, len(vertices))
    prefix.gram[0] = vertices @ vertices.T
    models = count_models(spectra.sizes, settings.max_materials, settings.min_materials)
    _average(z, padded(white), padded(vertices), spectra.starts, table, prefix, models, *found)
    return found


def metric(vertices: Floats, starts: NDArray[np.int64]) -> Floats:
    """Rows (r, r) that make residuals of models comparable: the inverse square root of their covariance.

    That is the covariance of spectra within their material, for what a model misses looks like what tells one
    spectrum of a material from another; and a constant, for noise. Vertices (L, r) are sorted by material.
    """
    materials = [group for group in np.split(vertices, starts[1:-1]) if len(group)]
    within = np.concatenate([group - group.mean(axis=0) for group in materials])
    covariance = within.T @ within / len(within)
    variances, axes = np.linalg.eigh(covariance)
    total = variances.clip(0).sum()
    if total <= _ALIKE * np.square(vertices).sum(axis=1).mean():
        return np.eye(len(covariance))
    white: Floats = axes.T / np.sqrt(variances.clip(0) + SMOOTHING * total)[:, None]
    return white


@kernel()
def _average(z, white, weights, starts, groups, prefix, models, fraction, variance, misfit, shade):
    """Sums over all models, tile after tile of pixels; in float32 over a few hundred models, in float64 over all."""
    n, materials = shade.size, starts.size - 1
    pixels = np.arange(n)
    tile, whitened = np.empty(white.shape[1] * TILE), np.empty((white.shape[0], TILE))
    unit = np.zeros(weights.shape[1] * TILE)
    length = np.empty(TILE)
    spectra = weights.shape[0]
    thin = np.full((spectra + 1, TILE), _HEAVY)
    scratch = np.zeros(_ROWS * TILE, np.float32)
    coefficients, factors = np.zeros((SLOPES + 2, spectra)), np.zeros((3, spectra + 1), np.float32)
    factors[0, spectra] = -1.0  # its fraction is negative, and its residual so large that it has no weight
    order = np.empty(spectra + 1, np.int64)
    members, sound = np.empty(2, np.int64), np.ones(2, np.bool_)
    sums = np.empty((2 * materials + 1, TILE))
    for first in range(0, n, TILE):
        gather(z, pixels, first, tile)
        products(white, tile, whitened)
        _normalise(whitened, length, unit)
        products(weights, unit, prefix.products[0])
        for p in range(TILE):
            prefix.rest[0, p] = 1.0
        for row in range(sums.shape[0]):
            for p in range(TILE):
                sums[row, p] = 0.0
        for g in range(groups.shape[0]):
            level = 0
            for m in range(groups.shape[1]):
                level += groups[g, m] >= 0
            group = groups[g, :level]
            depth = max(level - 2, 0)
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
                    last_coefficients(prefix, members[: level - 1], group, starts, coefficients)
                    count = _prepare(prefix, level - 1, group, starts, coefficients, factors, order, scratch)
                    _add_last(
                        thin, members[level - 2] if level > 1 else starts[group[0]], order, count, factors, scratch
                    )
                changed = advance(members[: level - 1], group, starts)
                if changed <= 0:
                    _flush(scratch, group, sums)
                if changed < 0:
                    break
        _store(sums, length, models, first, fraction, variance, misfit, shade)


@part()
def _normalise(whitened, length, unit):
    """Pixels of length 1, plane after plane, and their lengths."""
    for p in range(TILE):
        length[p] = 0.0
    for j in range(whitened.shape[0]):
        for p in range(TILE):
            length[p] += whitened[j, p] * whitened[j, p]
    for p in range(TILE):
        length[p] = np.sqrt(length[p])
    for j in range(whitened.shape[0]):
        for p in range(TILE):
            unit[j * TILE + p] = whitened[j, p] / length[p]


@part()
def _prepare(prefix, q, group, starts, coefficients, factors, order, scratch):
    """In float32 what the last spectra need of the prefix of q spectra and of each of them. How many can be solved."""
    for p in range(TILE):
        scratch[_REST * TILE + p] = prefix.rest[q, p]
        scratch[_B * TILE + p] = prefix.fractions[q, q - 1, p] if q > 0 else 0.0
        scratch[_C * TILE + p] = prefix.fractions[q, q - 2, p] if q > 1 else 0.0
    count = 0
    for k in range(starts[group[-1]], starts[group[-1] + 1]):
        if coefficients[INVERSE, k] > 0.0:
            factors[0, k] = coefficients[INVERSE, k]
            factors[1, k] = coefficients[SLOPES, k]
            factors[2, k] = coefficients[SLOPES + 1, k] if q > 1 else 0.0
            order[count] = k
            count += 1
    order[count] = factors.shape[1] - 1  # a spectrum of no weight, where they are odd
    return count


@part()
def _add_last(thin, member, order, count, factors, scratch):
    """All models of a prefix: every spectrum of the last material, two at a time, over a tile of pixels."""
    own = thin[member]
    for i in range(0, count, 2):
        k, n = order[i], order[i + 1]
        bk, bn = thin[k], thin[n]
        ik, ck, sk = factors[0, k], factors[1, k], factors[2, k]
        i_n, cn, sn = factors[0, n], factors[1, n], factors[2, n]
        for p in range(TILE):
            x, rest, u, v = own[p], scratch[_REST * TILE + p], scratch[_B * TILE + p], scratch[_C * TILE + p]
            w, light, b, c = _model(bk[p] - ck * x, rest, u, v, ik, ck, sk)
            y, other, d, e = _model(bn[p] - cn * x, rest, u, v, i_n, cn, sn)
            wb, wc, yd, ye = w * b, w * c, y * d, y * e
            scratch[_SUM * TILE + p] += w + y
            scratch[_SUM_B * TILE + p] += wb + yd
            scratch[_SUM_C * TILE + p] += wc + ye
            scratch[_SUM_BB * TILE + p] += wb * b + yd * d
            scratch[_SUM_CC * TILE + p] += wc * c + ye * e
            scratch[_SUM_BC * TILE + p] += wb * c + yd * e
            scratch[_SUM_LIGHT * TILE + p] += w * light + y * other


@part(forceinline=True)
def _model(along, rest, u, v, inverse, pull, slope):
    """Weight, sum of fractions, and the two of the prefix over that sum; that of the last spectrum is the rest of 1."""
    share = along * inverse
    q = max(rest - along * share, _FLOOR)
    b, c = max(u - pull * share, _NONE), max(v - slope * share, _NONE)
    light = (b + c) + max(share, _NONE)
    square = q * q
    both = _ONE / (square * light + _TINY)  # one division for 1 / q^2 and 1 / light
    weight = both * light
    inverse = both * square
    return weight * weight, light, b * inverse, c * inverse


@part()
def _flush(scratch, group, sums):
    """Add the sums of a few hundred models to those of all: weighted fractions, their squares, and light."""
    materials = sums.shape[0] // 2
    last = group[group.size - 1]
    b, c = group[max(group.size - 2, 0)], group[max(group.size - 3, 0)]
    for p in range(TILE):
        whole, sum_b, sum_c = (
            np.float64(scratch[_SUM * TILE + p]),
            scratch[_SUM_B * TILE + p],
            scratch[_SUM_C * TILE + p],
        )
        square_b, square_c, cross = (
            scratch[_SUM_BB * TILE + p],
            scratch[_SUM_CC * TILE + p],
            scratch[_SUM_BC * TILE + p],
        )
        sums[last, p] += whole - sum_b - sum_c
        sums[materials + last, p] += whole - 2.0 * (sum_b + sum_c) + (square_b + square_c + 2.0 * cross)
        sums[b, p] += sum_b
        sums[materials + b, p] += square_b
        sums[c, p] += sum_c
        sums[materials + c, p] += square_c
        sums[2 * materials, p] += scratch[_SUM_LIGHT * TILE + p]
    for row in range(_SUM, _ROWS):
        for p in range(TILE):
            scratch[row * TILE + p] = _NONE


@part()
def _store(sums, length, models, first, fraction, variance, misfit, shade):
    """Means and variances; fractions of a model sum to 1, so all of them sum to the weights."""
    materials = fraction.shape[0]
    for p in range(min(TILE, shade.size - first)):
        weights = 0.0
        for m in range(materials):
            weights += sums[m, p]
        for m in range(materials):
            mean = sums[m, p] / weights
            fraction[m, first + p] = max(mean, 0.0)  # a rest of 1 may be a rounding below it
            variance[m, first + p] = max(sums[materials + m, p] / weights - mean * mean, 0.0)
        brightness = sums[2 * materials, p] / weights
        misfit[first + p] = np.sqrt(np.sqrt(models / weights)) / (brightness * brightness)
        shade[first + p] = 1.0 if length[p] == 0.0 or weights == 0.0 else 1.0 - brightness * length[p]
