"""Fractional cover by Monte Carlo bundles: the spread of fractions over random sets of library spectra."""

from __future__ import annotations

from itertools import repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.kernels.fcls import fcls
from hsi_dask.kernels.mixtures.library import Library, ordered, shaded
from hsi_dask.kernels.mixtures.posterior import Cover

Floats = NDArray[np.float64]
_FAR = 1024.0  # a power of two; non-negative fractions that sum to more than this are cut


class MonteCarloSettings(NamedTuple):
    """How spectra are drawn and fitted.

    draws : random sets of one spectrum of each material, at least 2. They are the same for all pixels.
    seed : of the draws.
    brightness : fractions are of spectra divided by their root mean square, that is, of the pixel's brightness.
    shade : fractions and shade are at least 0 and sum to 1; else the fractions are at least 0, whatever their sum.
    noise : standard deviation of the pixels' noise at each wavelength, in their unit; each draw adds another.
    """

    draws: int = 50
    seed: int = 0
    brightness: bool = True
    shade: bool = False
    noise: float = 0.0


def monte_carlo(coordinates: Floats, energy: Floats, library: Library, settings: MonteCarloSettings) -> Cover:
    """Mean and standard deviation of each pixel's fractions over random sets of one spectrum of each material.

    Parameters
    ----------
    coordinates : (r, n) float, pixels on the orthonormal basis of the library. NaN: no data.
    energy : (n,) float, squared norm of the whole pixel.
    library : spectra, materials and shade.
    settings : draws and fit.

    Returns
    -------
    Cover
        Fractions of each draw are divided by their sum. A draw in which all are 0 counts for the shade only.

    Raises
    ------
    ValueError
        For shapes that do not match, or fewer than 2 draws.

    Notes
    -----
    Noise that is even over wavelengths is so on an orthonormal basis, too; in a draw it is the same for all pixels,
    so that an answer does not depend on which pixels are computed together.

    Non-negative least squares is the fully constrained problem with the origin as one vertex more and the others
    so far out that their sum constraint does not bind.

    References
    ----------
    Asner & Lobell 2000, Remote Sensing of Environment 74, 99-112 (bundles and Monte Carlo). Ochoa et al. 2025 and
    SpectralUnmixing.jl (mode `sma`, class-even draws, brightness normalisation).

    Examples
    --------
    >>> library = Library(np.array([[0.6, 0.1], [0.5, 0.1], [0.1, 0.3]]), np.array([0, 0, 1]), 2, wavelengths=2)
    >>> pixel = np.array([[0.3], [0.05]])
    >>> cover = monte_carlo(pixel, (pixel**2).sum(axis=0), library, MonteCarloSettings(draws=10))
    >>> cover.fraction.round(2).ravel().tolist()
    [1.0, 0.0]
    """
    if settings.draws < 2:
        raise ValueError(f"draws is {settings.draws}; a standard deviation needs at least 2")
    spectra = ordered(library, 1, 1)
    z, energy = shaded(coordinates, energy, library)
    rms = np.sqrt(np.diag(spectra.gram) / library.wavelengths)
    materials = np.flatnonzero(spectra.sizes)
    rng = np.random.default_rng(settings.seed)
    drawn = rng.integers(spectra.sizes[materials], size=(settings.draws, materials.size)) + spectra.starts[materials]
    shape = library.materials, energy.size
    total, squares, sums, counted = np.zeros(shape), np.zeros(shape), np.zeros(shape[1]), np.zeros(shape[1])
    noises = settings.noise * rng.standard_normal((settings.draws, len(z), 1)) if settings.noise else repeat(0.0)
    for members, noise in zip(drawn, noises, strict=False):
        parts = _fit(z + noise, spectra.vertices[members], 1.0 if settings.shade else _FAR)
        sums += parts.sum(axis=0)
        if settings.brightness:
            parts *= rms[members][:, None]
        whole = parts.sum(axis=0)
        lit = whole > 0
        shares = parts / np.where(lit, whole, 1.0)
        counted += lit
        total[materials] += shares
        squares[materials] += shares**2
    return _spread(total, squares, counted, 1.0 - sums / settings.draws)


def _fit(z: Floats, vertices: Floats, far: float) -> Floats:
    """Fractions >= 0 of each pixel, which with shade sum to `far`."""
    return far * fcls(z, np.concatenate([np.zeros((1, len(z))), far * vertices]))[1:]


def _spread(total: Floats, squares: Floats, counted: Floats, shade: Floats) -> Cover:
    """Mean and standard deviation from sums over draws."""
    draws = np.where(counted > 0, counted, np.nan)
    mean = total / draws + 0 * shade  # NaN pixels
    variance = (squares / draws - mean**2).clip(0) * draws / np.maximum(draws - 1, 1)
    return Cover(mean.astype(np.float32), np.sqrt(variance).astype(np.float32), shade.astype(np.float32))
