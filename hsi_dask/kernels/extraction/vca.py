"""VCA: vertex component analysis, extremes along random directions orthogonal to the vertices found before."""

from __future__ import annotations

import numpy as np

from hsi_dask.kernels.extraction.directions import extremes
from hsi_dask.kernels.extraction.extracted import Extracted, Floats, Spectra, checked, principal_axes
from hsi_dask.kernels.moments import Moments, spectra_moments

_DARK = 1e-3  # of the mean along itself: such pixels have no direction
_PROJECTIVE = 15.0  # dB more than 10 log10(count): above it pixels are scaled onto a plane, where light plays no part


def vca(spectra: Spectra, count: int, rng: np.random.Generator) -> Extracted:
    """`count` extremes of the pixels' simplex, each along a random direction normal to the vertices before.

    Parameters
    ----------
    spectra : (n, L) float without NaN.
    count : 2 to min(n, L).
    rng : of the directions.

    Returns
    -------
    Extracted
        diagnostics: `snr` in dB, power in `count` directions against that left; `projective`, whether pixels were
        scaled to a common plane, which takes brightness out and is done where the noise allows it.

    References
    ----------
    Nascimento & Bioucas-Dias 2005, Vertex component analysis, IEEE TGRS 43(4), 898-910.

    Examples
    --------
    >>> pixels = np.array([[0.1, 0.9, 0.1], [0.3, 0.5, 0.3], [0.5, 0.1, 0.5], [0.4, 0.4, 0.2]])
    >>> sorted(vca(pixels, 3, np.random.default_rng(0)).indices.tolist())
    [0, 2, 3]
    """
    spectra = checked(spectra, count, least=2)
    found = spectra_moments(spectra)
    axes, variances = principal_axes(found.covariance, spectra, count, fewer=1)
    snr = _signal_to_noise(variances, float(found.mean @ found.mean), count)
    projective = snr > _PROJECTIVE + 10 * np.log10(count)
    points = _on_a_plane(spectra, found, count) if projective else _with_a_constant((spectra - found.mean) @ axes)
    vertices = np.zeros((count, count))
    vertices[0, -1] = 1.0
    indices = np.empty(count, np.intp)
    for step in range(count):
        direction = rng.standard_normal(count)
        basis = np.linalg.svd(vertices[: max(step, 1)], full_matrices=False)[2]
        direction -= basis.T @ (basis @ direction)
        low, high = extremes(points, direction[None] / np.linalg.norm(direction))
        products = points[[low[0], high[0]]] @ direction
        indices[step] = low[0] if -products[0] > products[1] else high[0]
        vertices[step] = points[indices[step]]
    return Extracted(indices, {"snr": snr, "projective": bool(projective)})


def _signal_to_noise(variances: Floats, mean: float, count: int) -> float:
    """In dB, of pixels of which `count` directions hold the signal and all hold the noise; `mean`: its energy."""
    power, signal = variances.sum() + mean, variances[:count].sum() + mean
    noise = power - signal
    signal -= count / variances.size * power
    if noise <= np.finfo(np.float32).eps ** 2 * power:
        return float("inf")
    return float(10 * np.log10(max(signal, 1e-300) / noise))


def _on_a_plane(spectra: Spectra, found: Moments, count: int) -> Floats:
    """Coordinates (n, count) in the directions of most energy, scaled to the plane through the mean."""
    axes, _ = principal_axes(found.correlation, spectra, count)
    points = spectra @ axes
    centre = found.mean @ axes
    heights = points @ centre / (centre @ centre)
    dark = heights < _DARK
    points[dark], heights[dark] = centre, 1.0
    return np.asarray(points / heights[:, None])


def _with_a_constant(points: Floats) -> Floats:
    """Principal coordinates (n, count - 1), and the largest norm as the last."""
    largest = np.sqrt((points**2).sum(axis=1).max())
    return np.column_stack([points, np.full(len(points), largest)])
