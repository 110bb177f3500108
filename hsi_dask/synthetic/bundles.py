"""Spectral variability within a material: its spectra are a bundle around the one that stands for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

CURVES = 3  # ways in which each material varies
_BUMPS = 6  # Gaussians in a curve
_WIDTHS = 80.0, 450.0  # nm: absorptions to slopes
_RMS = 1.4  # of a curve: where positions weigh three of them by -1 to 1, the whole varies by about 1


def curves(seed: int, spectra: Array, wavelength: Array) -> Array:
    """What is added to each material's spectrum at a weight of 1: smooth, and in proportion to it.

    Parameters
    ----------
    seed : the same materials vary in the same ways in every scene of it.
    spectra : (p, L) reflectance.
    wavelength : (L,) nm.

    Returns
    -------
    (p, CURVES, L) float64.

    Examples
    --------
    >>> curves(0, np.full((2, 5), 0.5), np.linspace(400, 2400, 5)).shape
    (2, 3, 5)
    """
    rng = np.random.default_rng([seed, len(spectra)])
    shape = (len(spectra), CURVES, _BUMPS, 1)
    strength, centre = rng.standard_normal(shape), rng.uniform(350.0, 2550.0, shape)
    width = rng.uniform(*_WIDTHS, shape)

    def at(nm: Array) -> Array:
        return np.asarray((strength * np.exp(-0.5 * ((nm - centre) / width) ** 2)).sum(axis=2))

    usual = np.sqrt((at(np.arange(350.0, 2551.0, 10.0)) ** 2).mean(axis=-1, keepdims=True))  # whatever the bands are
    return np.asarray(spectra[:, None] * at(wavelength) * _RMS / usual)


def drawn(spectra: Array, curves: Array, variability: float, count: int, seed: int) -> Array:
    """(p * count, L) float32: `count` random spectra of each material's bundle, material after material."""
    weights = np.random.default_rng(seed).triangular(-1, 0, 1, (len(spectra), count, CURVES))  # nearly as the fields
    varied = spectra[:, None] + variability * np.einsum("pnc,pcl->pnl", weights, curves)
    return np.asarray(varied.clip(0).reshape(-1, spectra.shape[-1]), np.float32)
