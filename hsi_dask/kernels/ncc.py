"""Normalised cross-correlation from sums over wavelength: the finish step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsi_dask.kernels.compiled import compiled

_TILE = 1024  # pixels: buffers stay in cache
_FLAT = 1e-13  # of a spectrum's energy: below this its variation is rounding, and like that of no other


def correlations(
    projections: NDArray[np.float64],
    energy: NDArray[np.float64],
    vertices: NDArray[np.float64],
    ones: NDArray[np.float64],
    wavelengths: int,
) -> NDArray[np.float32]:
    """Correlation coefficient over wavelength between every pixel and every endmember.

    The mean of a spectrum is its product with the spectrum of ones, so that this needs one projection more than the
    spectral angle, of which it is the cosine after the means were taken out.

    Parameters
    ----------
    projections : (r, n) float64, pixels on an orthonormal basis of the endmembers and the spectrum of ones.
    energy : (n,) float64, squared norm of the whole pixel.
    vertices : (p, r) float64, endmembers on the same basis.
    ones : (r,) float64, the spectrum of ones on it.
    wavelengths : how many the pixels have.

    Returns
    -------
    (p, n) float32 in [-1, 1], larger is more alike; neither brightness nor an added constant changes it. 0 where the
    pixel or the endmember is the same at every wavelength; NaN where the pixel is NaN or zero.

    References
    ----------
    van der Meer & Bakker 1997, CCSM: Cross correlogram spectral matching, Int. J. Remote Sensing 18(5), 1197-1201.
    """
    if projections.ndim != 2 or vertices.shape[1:] != ones.shape or len(ones) != len(projections):
        raise ValueError(f"projections {projections.shape}, vertices {vertices.shape}, ones {ones.shape} do not fit")
    level = ones / np.sqrt(wavelengths)
    centred = vertices - np.outer(vertices @ level, level)
    variation = np.einsum("ij,ij->i", centred, centred)
    flat = variation <= _FLAT * np.einsum("ij,ij->i", vertices, vertices)
    unit = np.where(flat[:, None], 0.0, centred / np.sqrt(np.where(flat, 1.0, variation))[:, None])
    out = np.empty((len(vertices), energy.size), np.float32)
    _correlations(np.ascontiguousarray(projections), energy, unit, level, out)
    return out


@compiled(fastmath={"contract"})
def _correlations(projections: Any, energy: Any, unit: Any, level: Any, out: Any) -> None:
    """In short loops over rows of pixels from their start, which a compiler vectorises."""
    norm, along = np.empty(_TILE), np.empty(_TILE)
    for start in range(0, energy.size, _TILE):
        size = min(_TILE, energy.size - start)
        for i in range(size):
            along[i] = 0.0
        for x in range(level.size):
            weight, plane = level[x], projections[x, start : start + size]
            for i in range(size):
                along[i] += weight * plane[i]
        for i in range(size):
            whole = energy[start + i]
            varied = whole - along[i] * along[i]
            # a flat pixel divides by infinity, a pixel of zeros by NaN
            norm[i] = np.sqrt(varied) if varied > _FLAT * whole else np.inf * whole
            norm[i] = norm[i] if varied == varied else np.nan
        for j in range(unit.shape[0]):
            for i in range(size):
                along[i] = 0.0
            for x in range(level.size):
                weight, plane = unit[j, x], projections[x, start : start + size]
                for i in range(size):
                    along[i] += weight * plane[i]
            score = out[j, start : start + size]
            for i in range(size):
                value = along[i] / norm[i]
                value = 1.0 if value > 1.0 else value
                score[i] = -1.0 if value < -1.0 else value
