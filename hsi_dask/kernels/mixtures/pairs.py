"""Every spectrum of a library as the model of every other: one fraction and shade, and how well that fits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Materials = NDArray[np.integer]

MOST = 12_000  # spectra: their pairs take 0.7 GB
_ROWS = 512  # models at a time


class Pairs(NamedTuple):
    """L two-endmember models (a spectrum and photometric shade) of each of L spectra.

    rmse : (L, L) float32, [i, j] the root mean square residual of spectrum j modelled by spectrum i.
    allowed : (L, L) bool, whether that model meets the limits; each spectrum models itself.
    """

    rmse: NDArray[np.float32]
    allowed: NDArray[np.bool_]


class Measures(NamedTuple):
    """How well each of L spectra stands for its own material.

    ear : (L,) average residual of the other spectra of its material, modelled by it (endmember average RMSE).
    masa : (L,) average spectral angle to them, radians.
    inside, outside : (L,) int, how many other spectra of its material, and of others, it models within the limits.
    """

    ear: Floats
    masa: Floats
    inside: NDArray[np.int64]
    outside: NDArray[np.int64]


def pairs(spectra: Floats, *, fractions: tuple[float, float] = (-0.05, 1.05), max_rmse: float = 0.025) -> Pairs:
    """Model every spectrum by every other and shade.

    Parameters
    ----------
    spectra : (L, wavelength) float64 reflectance, finite.
    fractions : smallest and largest fraction; beyond it is cut, and the model is not allowed.
    max_rmse : the largest residual of a model that is allowed.

    Raises
    ------
    ValueError
        More than 12 000 spectra, or values that are not finite.

    References
    ----------
    Roberts et al. 1997, Proceedings of SPIE 3118, 108-119.

    Examples
    --------
    >>> found = pairs(np.array([[0.2, 0.4], [0.1, 0.2], [0.3, 0.1]]))
    >>> found.rmse[0].round(3).astype(str).tolist(), found.allowed[0].tolist()
    (['0.0', '0.0', '0.158'], [True, True, False])
    """
    if len(spectra) > MOST:
        raise ValueError(f"{len(spectra)} spectra are compared with each other, more than {MOST}; choose fewer")
    if not np.isfinite(spectra).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(spectra))} values of the spectra are not finite")
    size, wavelengths = spectra.shape
    energy = np.einsum("ij,ij->i", spectra, spectra)
    share = 1 / np.where(energy > 0, energy, 1.0)
    rmse, allowed = np.empty((size, size), np.float32), np.empty((size, size), bool)
    for first in range(0, size, _ROWS):
        rows = slice(first, first + _ROWS)
        products = spectra[rows] @ spectra.T
        fraction = products * share[rows, None]
        cut = fraction.clip(*fractions)
        squares = energy - 2 * cut * products + cut**2 * energy[rows, None]
        rmse[rows] = np.sqrt(squares.clip(0) / wavelengths)
        allowed[rows] = (cut == fraction) & (rmse[rows] <= max_rmse)
    np.fill_diagonal(rmse, 0.0)
    np.fill_diagonal(allowed, True)
    return Pairs(rmse, allowed)


def measures(spectra: Floats, material: Materials, found: Pairs) -> Measures:
    """What the pairs say of each spectrum; 0 where it is the only one of its material.

    References
    ----------
    Dennison & Roberts 2003, Remote Sensing of Environment 87, 123-135 (EAR). Dennison et al. 2004, Remote Sensing of
    Environment 93, 359-367 (MASA). Roberts et al. 2003, IEEE TGRS 41(6), 1297-1310 (counts).

    Examples
    --------
    >>> spectra = np.array([[0.2, 0.4], [0.1, 0.2], [0.3, 0.1]])
    >>> told = measures(spectra, np.array([0, 0, 1]), pairs(spectra))
    >>> told.inside.tolist(), told.outside.tolist(), told.masa.round(4).tolist()
    ([1, 0, 0], [0, 0, 0], [0.0, 0.0, 0.0])
    """
    ear, masa, inside = np.zeros(len(spectra)), np.zeros(len(spectra)), np.zeros(len(spectra), np.int64)
    unit = spectra / np.maximum(np.linalg.norm(spectra, axis=1, keepdims=True), np.finfo(float).tiny)
    for own in members(material):
        others = max(own.size - 1, 1)
        square = np.ix_(own, own)
        ear[own] = found.rmse[square].sum(axis=1, dtype=np.float64) / others
        angles = np.arccos((unit[own] @ unit[own].T).clip(-1, 1))
        np.fill_diagonal(angles, 0.0)
        masa[own] = angles.sum(axis=1) / others
        inside[own] = found.allowed[square].sum(axis=1) - 1
    return Measures(ear, masa, inside, found.allowed.sum(axis=1) - 1 - inside)


def members(material: Materials) -> list[NDArray[np.intp]]:
    """Which spectra are of each material that has some, in order."""
    return [np.flatnonzero(material == number) for number in np.unique(material)]
