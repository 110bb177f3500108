"""Spectral angle mapper from sums over wavelength: the finish step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


def angles(
    coordinates: NDArray[np.float64], energy: NDArray[np.float64], vertices: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Angle between each pixel and each endmember.

    Parameters
    ----------
    coordinates : (r, n) float64, pixels on an orthonormal basis of the endmembers.
    energy : (n,) float64, squared norm of the whole pixel.
    vertices : (p, r) float64, endmembers on the same basis.

    Returns
    -------
    (p, n) float32 radians in [0, pi]. NaN where the pixel is NaN or zero.

    References
    ----------
    Kruse, F. A. et al. (1993). The spectral image processing system (SIPS). Remote Sensing of Environment 44.
    """
    out = np.empty((vertices.shape[0], energy.size), np.float32)
    unit = vertices / np.sqrt((vertices**2).sum(axis=1, keepdims=True))
    _angles(coordinates, energy, unit, out)
    return out


@njit(nogil=True, cache=True)
def _angles(coordinates: Any, energy: Any, unit: Any, out: Any) -> None:
    p, r = unit.shape
    for i in range(energy.size):
        norm = np.sqrt(energy[i])
        for k in range(p):
            along = 0.0
            for j in range(r):
                along += unit[k, j] * coordinates[j, i]
            cosine = along / norm if norm > 0 else np.nan
            out[k, i] = np.arccos(min(1.0, max(-1.0, cosine))) if cosine == cosine else np.nan
