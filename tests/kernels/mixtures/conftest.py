"""Libraries of bundles of spectra, and mixtures of spectra that they lack."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from hsi_dask.kernels.mixtures.library import Library


class Scene(NamedTuple):
    """Spectra (L, wavelength), their materials, pixels (n, wavelength) and their cover (n, materials)."""

    spectra: np.ndarray
    material: np.ndarray
    pixels: np.ndarray
    fraction: np.ndarray

    @property
    def basis(self):
        return np.linalg.qr(self.spectra.T)[0]

    @property
    def library(self):
        count = self.fraction.shape[1]
        return Library(self.spectra @ self.basis, self.material, count, self.spectra.shape[1])

    @property
    def sums(self):
        """Coordinates and energy."""
        return np.ascontiguousarray((self.pixels @ self.basis).T), (self.pixels**2).sum(axis=1)


@pytest.fixture
def simulate():
    """Smooth spectra that vary within their material; pixels from spectra of the same kind, in changing light."""

    def scene(seed=0, sizes=(6, 5, 4), pixels=300, wavelengths=60, variation=0.05, noise=0.004, light=(0.5, 1.0)):
        rng = np.random.default_rng(seed)
        x = np.linspace(0, 1, wavelengths)
        bumps = np.exp(-((x[:, None] - np.linspace(0, 1, 12)) ** 2) / 0.01)
        means = 0.35 + 0.12 * rng.normal(size=(len(sizes), 12)) @ bumps.T

        def spectra(count, mean):
            varied = mean * rng.uniform(0.8, 1.2, (count, 1)) + variation * rng.normal(size=(count, 12)) @ bumps.T
            return varied.clip(0.01)

        library = np.concatenate([spectra(size, mean) for size, mean in zip(sizes, means, strict=True)])
        fraction = rng.dirichlet(np.ones(len(sizes)), pixels)
        mixed = sum(f[:, None] * spectra(pixels, mean) for f, mean in zip(fraction.T, means, strict=True))
        lit = rng.uniform(*light, (pixels, 1))
        observed = lit * mixed + noise * rng.normal(size=mixed.shape)
        return Scene(library, np.repeat(np.arange(len(sizes)), sizes), observed, fraction)

    return scene
