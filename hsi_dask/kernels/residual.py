"""What a mixture leaves of a pixel."""

# mypy: allow-untyped-defs

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsi_dask.kernels.compiled import as_input, compiled

Floats = NDArray[np.float64]

_TILE = 512  # pixels of the buffers, which stay in cache


def residual(
    coordinates: Floats, energy: Floats, vertices: Floats, abundances: Floats, wavelengths: int
) -> NDArray[np.float32]:
    """Root mean square over wavelength of what the fit leaves of each pixel.

    Parameters
    ----------
    coordinates : (r, n), pixels on an orthonormal basis of the endmembers.
    energy : (n,), squared norm of the whole pixel, of which the coordinates hold the endmembers' part.
    vertices : (p, r), endmembers on that basis.
    abundances : (p, n).
    wavelengths : how many the pixels have.

    Returns
    -------
    (n,) float32, in the unit of the pixels.
    """
    out = np.empty(energy.size, np.float32)
    _residual(*map(as_input, (coordinates, energy, vertices, abundances)), wavelengths, out)
    return out


@compiled(fastmath={"contract"})  # fused multiply-add: nothing else about a sum changes, NaN included
def _residual(coordinates, energy, vertices, abundances, wavelengths, out):
    """In short loops over rows of pixels from their start, which a compiler vectorises."""
    p, r = vertices.shape
    norm = np.sqrt(wavelengths)
    gap, outside, inside = np.empty(_TILE), np.empty(_TILE), np.empty(_TILE)
    for start in range(0, energy.size, _TILE):
        size = min(_TILE, energy.size - start)
        whole = energy[start : start + size]
        for i in range(size):
            outside[i] = whole[i]
            inside[i] = 0.0
        for j in range(r):
            along = coordinates[j, start : start + size]
            for i in range(size):
                gap[i] = along[i]
                outside[i] -= along[i] * along[i]
            for k in range(p):
                share, vertex = abundances[k, start : start + size], vertices[k, j]
                for i in range(size):
                    gap[i] -= share[i] * vertex
            for i in range(size):
                inside[i] += gap[i] * gap[i]
        root = out[start : start + size]
        for i in range(size):
            root[i] = np.sqrt((outside[i] if outside[i] > 0.0 else 0.0) + inside[i]) / norm
