"""How far fractional cover is off for spectra that the library lacks: found by leaving spectra of the library out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.kernels.mixtures.library import Library
from hsi_dask.kernels.mixtures.posterior import CoverSettings, moments

Floats = NDArray[np.float64]

NOISE = 0.004  # reflectance, at each wavelength: of airborne spectrometers, rather more than less
FOLDS = 10  # at most: each leaves out a tenth of the spectra of every material
ROUNDS = 10  # of other folds: which spectra are left out together matters more than how many pixels they make
LEVEL = 0.9, 1.6449  # so many of the errors shall be within so many standard deviations, as in a normal distribution


class Simulated(NamedTuple):
    """Pixels of spectra that a library does not hold.

    library : what is left of it. coordinates : (r, n), pixels on its basis. energy : (n,).
    fraction : (materials, n), the true cover.
    """

    library: Library
    coordinates: Floats
    energy: Floats
    fraction: Floats


def calibrate(
    library: Library,
    settings: CoverSettings,
    *,
    pixels: int = 4000,
    light: tuple[float, float] = (0.5, 1.0),
    noise: float = NOISE,
    seed: int = 0,
) -> CoverSettings:
    """Settings whose standard deviations fit the errors on mixtures of left-out spectra.

    Parameters
    ----------
    library : at least one material must have two spectra; else the settings are returned as they are.
    settings : models of `posterior`.
    pixels : how many are simulated.
    light : lowest and highest fraction of a pixel that is not shade.
    noise : standard deviation of a pixel's noise at each wavelength, in its unit.
    seed : of the simulation.

    Returns
    -------
    CoverSettings
        With `incompleteness` such that 90 % of the errors are within 1.645 standard deviations.

    Notes
    -----
    Each fold leaves out some spectra of every material that has more than one, mixes them with fractions that are
    uniform on their simplex, and maps the mixtures with the rest of the library. What is left is somewhat poorer
    than the whole, so that errors are rather over- than underestimated.

    References
    ----------
    Stone 1974, Journal of the Royal Statistical Society B 36(2), 111-147 (cross-validation).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> library = Library(rng.random((20, 5)), np.arange(20) % 2, 2, wavelengths=5)
    >>> calibrate(library, CoverSettings(max_materials=2), pixels=100).incompleteness > 1e-6
    True
    """
    errors, variances, misfits = [], [], []
    for fold in folds(library, settings.max_materials, pixels=pixels, light=light, noise=noise, seed=seed):
        found = moments(fold.coordinates, fold.energy, fold.library, settings)
        errors.append((found.fraction - fold.fraction).ravel())
        variances.append(found.variance.ravel())
        misfits.append(np.broadcast_to(found.misfit, found.variance.shape).ravel())
    if not errors:
        return settings
    squares, variance, misfit = (np.concatenate(parts) for parts in (np.square(errors), variances, misfits))
    # each error is within that many standard deviations from this incompleteness on
    enough = (squares / LEVEL[1] ** 2 - variance) / misfit
    return settings._replace(incompleteness=float(np.nanquantile(enough, LEVEL[0]).clip(0.0)))


def folds(
    library: Library, max_materials: int, *, pixels: int, light: tuple[float, float], noise: float, seed: int
) -> Iterator[Simulated]:
    """Mixtures of up to `max_materials` materials from spectra that are left out, and the library without them."""
    material = np.asarray(library.material)
    sizes = np.bincount(material, minlength=library.materials)
    count = min(FOLDS, sizes.max()) if sizes.max() > 1 else 0
    rng = np.random.default_rng(seed)
    for fold in range(count * ROUNDS):
        if fold % count == 0:
            part = np.empty(material.size, np.intp)
            for m in range(library.materials):
                part[material == m] = (rng.permutation(sizes[m]) + rng.integers(count)) % count if sizes[m] > 1 else -1
        out = (part == fold % count) | (part == -1)
        rest = (part != fold % count) | (part == -1)
        kept = library._replace(vertices=library.vertices[rest], material=material[rest])
        yield _mixtures(
            kept, library.vertices[out], material[out], max_materials, -(-pixels // (count * ROUNDS)), light, noise, rng
        )


def _mixtures(
    kept: Library,
    spectra: Floats,
    material: NDArray[np.integer],
    max_materials: int,
    pixels: int,
    light: tuple[float, float],
    noise: float,
    rng: np.random.Generator,
) -> Simulated:
    """Pixels of the spectra, their materials' fractions uniform on the simplex of some of the materials."""
    present = np.unique(material)
    chosen = rng.random((pixels, present.size)).argsort(axis=1) < max_materials
    shares = rng.standard_exponential((pixels, present.size)) * chosen
    shares /= shares.sum(axis=1, keepdims=True)
    pure = np.zeros((pixels, spectra.shape[1]))
    fraction = np.zeros((kept.materials, pixels))
    for share, m in zip(shares.T, present, strict=True):
        own = spectra[material == m]
        pure += share[:, None] * own[rng.integers(len(own), size=pixels)]
        fraction[m] = share
    lit = rng.uniform(*light, pixels)[:, None]
    pixel = lit * pure + noise * rng.standard_normal(pure.shape)
    if kept.shade is not None:
        pixel += (1 - lit) * kept.shade
    coordinates = np.ascontiguousarray(pixel.T)
    return Simulated(kept, coordinates, (coordinates**2).sum(axis=0), fraction)
