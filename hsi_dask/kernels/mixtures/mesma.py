"""Multiple endmember spectral mixture analysis: of all models, the one that fits each pixel best."""

# mypy: allow-untyped-defs

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.kernels.mixtures.best_model import best_of_level
from hsi_dask.kernels.mixtures.library import Library, Ordered, combinations_of, ordered, shaded
from hsi_dask.kernels.mixtures.prefix import kernel

Floats = NDArray[np.float64]
MODELLED, NO_MODEL, MISSING = 0, 1, 2  # flags of a pixel


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
    limits = np.array([*settings.fractions, 1.0 - settings.shade[1], 1.0 - settings.shade[0]], np.float64)
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
        squares, found = best_of_level(z, energy, pixels, spectra, level, limits, bound[pixels])
        number[row, pixels] = found
        rmse[row, pixels] = np.where(found >= 0, np.sqrt(np.maximum(squares, 0.0) / library.wavelengths), np.inf)
    return _result(z, np.isfinite(energy), spectra, levels, _fused(rmse, settings.fusion), number)


def _fused(rmse: Floats, fusion: float) -> Floats:
    """Residuals of the levels (levels, n), infinite where a level gains too little on the one before."""
    fused = rmse.copy()
    for before, level, kept in zip(rmse, rmse[1:], fused[1:], strict=False):
        kept[level > before - fusion] = np.inf
    return fused


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
