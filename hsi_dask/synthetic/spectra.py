"""Spectra of simulated materials, and the wavelengths of NEON's spectrometer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hsi_dask.errors import ConfigError

Array = npt.NDArray[Any]

WATER_WINDOWS = (
    (1340.0, 1445.0),
    (1790.0, 1955.0),
)  # nm; the atmosphere is opaque there and NEON's values are noise


def peak(wavelength: Array, centre: float, width: float) -> Array:
    return np.exp(-0.5 * ((wavelength - centre) / width) ** 2)


def sigmoid(wavelength: Array, centre: float, width: float) -> Array:
    return 1 / (1 + np.exp(-(wavelength - centre) / width))


# each material without its narrow absorptions, as a function of nm; after its chemistry, nothing copied
_CONTINUA: dict[str, Callable[[Array], Array]] = {
    # chlorophyll leaves a green peak and ends at the red edge (718 nm); leaf water darkens the far infrared
    "vegetation": lambda w: (
        (0.035 + 0.055 * peak(w, 552, 30) + 0.44 * sigmoid(w, 718, 11))
        * (1 - 0.25 * sigmoid(w, 1330, 50) - 0.25 * sigmoid(w, 1850, 60) - 0.15 * sigmoid(w, 2280, 60))
    ),
    "soil": lambda w: 0.05 + 0.36 * (1 - np.exp(-(w - 340) / 620)) - 0.06 * sigmoid(w, 2250, 70),
    "asphalt": lambda w: 0.075 + 0.05 * (w - 350) / 2150,
    # white painted metal: the pigment absorbs below 410 nm
    "roof": lambda w: 0.06 + 0.60 * sigmoid(w, 408, 7) - 0.34 * (w - 350) / 2150,
    # particles scatter in the visible; pure water absorbs nearly all beyond 750 nm
    "water": lambda w: 0.002 + 0.02 * peak(w, 540, 90) + 0.02 * sigmoid(-w, -620, 40),
    "dry_vegetation": lambda w: 0.06 + 0.42 * sigmoid(w, 640, 110) - 0.18 * sigmoid(w, 1750, 250),
}


_ABSORPTIONS: dict[str, tuple[tuple[float, float, float], ...]] = {  # (centre nm, width nm, optical depth)
    "vegetation": ((970, 28, 0.08), (1200, 40, 0.17), (1450, 55, 0.9), (1940, 75, 1.3)),  # liquid water
    "soil": (
        *((480, 60, 0.35), (900, 90, 0.10)),  # iron oxides
        *((1415, 25, 0.12), (1915, 35, 0.22), (2205, 22, 0.20)),  # hydroxyl, bound water, clay
    ),
    "asphalt": ((1730, 22, 0.08), (2310, 35, 0.16)),  # the binder's hydrocarbons
    "roof": (
        (1200, 25, 0.05),
        (1430, 45, 0.12),
        (1730, 25, 0.22),
        (1940, 50, 0.2),
        (2310, 40, 0.35),
    ),  # resin
    "water": (),
    "dry_vegetation": (
        *((1200, 35, 0.07), (1460, 50, 0.25), (1935, 50, 0.3)),  # what water is left
        *((1730, 30, 0.1), (2100, 50, 0.32), (2310, 45, 0.3)),  # lignin and cellulose
    ),
}


MATERIALS = tuple(_CONTINUA)


def _material(name: str, wavelength: Array) -> Array:
    depth = np.zeros_like(wavelength)
    for centre, width, strength in _ABSORPTIONS[name]:
        depth += strength * peak(wavelength, centre, width)
    return _CONTINUA[name](wavelength) * np.exp(-depth)


def material_spectra(names: Sequence[str], wavelength: npt.ArrayLike) -> Array:
    """Plausible reflectance spectra of named materials, made of Gaussians and logistics.

    Parameters
    ----------
    names : sequence of str
        Any of `MATERIALS`.
    wavelength : (L,) array_like
        Nanometres, 350 to 2600, any grid.

    Returns
    -------
    (len(names), L) ndarray of float64
        Reflectance, within [0, 1].

    Examples
    --------
    >>> red, infrared = material_spectra(["vegetation"], [670, 860])[0]
    >>> bool(infrared > 5 * red)
    True
    """
    grid = np.asarray(wavelength, dtype=np.float64)
    unknown = [name for name in names if name not in _CONTINUA]
    if unknown or not names:
        raise ConfigError(f"materials {unknown or 'none'} are not in the library; choose from {', '.join(MATERIALS)}")
    if grid.ndim != 1 or grid.size == 0 or not (grid.min() >= 350 and grid.max() <= 2600):
        raise ConfigError("the material library needs a list of wavelengths within 350 to 2600 nm")
    return np.stack([_material(name, grid) for name in names])


def neon_wavelengths(bands: int = 426, *, first: float = 381.5, step: float = 5.0085) -> Array:
    """Band centres, nm, (bands,) float64; NEON's first lies at 381.5 to 383.9 nm, by site, year."""
    exact = first + step * np.arange(bands, dtype=np.float64)
    return np.round(exact * 1024) / 1024  # the same number in float32: files hold either kind


def neon_fwhm(wavelength: npt.ArrayLike) -> Array:
    """Full width at half maximum of NEON's bands, nm: narrowest at 782 nm, 6.4 nm at the far end."""
    return 5.632 + 2.666e-7 * (np.asarray(wavelength, dtype=np.float64) - 782.0) ** 2
