"""Spectral angle mapper from sums over wavelength: the finish step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsi_dask.kernels.compiled import as_input, compiled, inlined

_TILE = 512  # pixels: buffers stay in cache


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
    _angles(as_input(coordinates), as_input(energy), as_input(unit), out)
    return out


@compiled(fastmath={"contract"})
def _angles(coordinates: Any, energy: Any, unit: Any, out: Any) -> None:
    """In short loops over rows of pixels from their start, which a compiler vectorises."""
    p, r = unit.shape
    norm = np.empty(_TILE)
    cosine = np.empty(_TILE)
    for start in range(0, energy.size, _TILE):
        m = min(_TILE, energy.size - start)
        brightness = energy[start : start + m]
        for i in range(m):
            norm[i] = np.sqrt(brightness[i])
        for k in range(p):
            for i in range(m):
                cosine[i] = 0.0
            for j in range(r):
                along, weight = coordinates[j, start : start + m], unit[k, j]
                for i in range(m):
                    cosine[i] += weight * along[i]
            for i in range(m):
                cosine[i] /= norm[i]
            _arccos(cosine[:m], out[k, start : start + m])


# arcsin(s) = s + s^3 P(s^2) for 0 <= s <= 1/2: the P of degree 7 whose largest relative error is smallest, 1e-10
_P0, _P1, _P2, _P3 = 0.166666666, 0.0750000504, 0.0446406877, 0.0304268422
_P4, _P5, _P6, _P7 = 0.0218630066, 0.0206590430, 0.00194845193, 0.0329417499


@inlined()
def _arccos(cosine: Any, out: Any) -> None:
    """From the arcsine of small arguments, which keeps the digits of small angles; rounding beyond 1 counts as 1."""
    for i in range(cosine.size):
        x = abs(cosine[i])
        x = 1.0 if x > 1.0 else x
        t = (1.0 - x) * 0.5 if x > 0.5 else x * x
        s = np.sqrt(t)
        high = _P4 + t * (_P5 + t * (_P6 + t * _P7))
        arcsine = s + s * t * (_P0 + t * (_P1 + t * (_P2 + t * (_P3 + t * high))))
        angle = 2.0 * arcsine if x > 0.5 else np.pi / 2 - arcsine
        out[i] = np.pi - angle if cosine[i] < 0 else angle
