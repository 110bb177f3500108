"""Savitzky-Golay: every value of a spectrum replaced by that of a polynomial through its neighbours."""

from __future__ import annotations

from math import factorial

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GAP = 3.0  # times the usual spacing: wavelengths were left out, and nothing is fitted across


def savitzky_golay(wavelength: ArrayLike, window: int, order: int, derivative: int = 0) -> NDArray[np.float64]:
    """The matrix (L, L) that smooths a spectrum, or takes the derivative of the smooth one: matrix @ spectrum.

    Parameters
    ----------
    wavelength : (L,) ascending; spacing may vary. Across gaps of more than three times the usual one nothing is fitted.
    window : odd number of neighbours; fewer at the ends of what hangs together, where the polynomial of the last whole
        window is evaluated.
    order : of the polynomial, below `window`.
    derivative : 0 to `order`; per unit of wavelength to that power.

    References
    ----------
    Savitzky & Golay 1964, Analytical Chemistry 36(8), 1627-1639.

    Examples
    --------
    >>> savitzky_golay([1.0, 2.0, 3.0, 4.0], 3, 1)[1].round(3).tolist()
    [0.333, 0.333, 0.333, 0.0]
    """
    grid = np.asarray(wavelength, dtype=np.float64)
    if window < 1 or window % 2 == 0 or not 0 <= derivative <= order < window:
        raise ValueError(
            f"window is {window}, order {order}, derivative {derivative}; the window must be odd, and "
            "0 <= derivative <= order < window"
        )
    steps = np.diff(grid)
    if (steps <= 0).any():
        raise ValueError("wavelengths must ascend; sort the spectra by them first")
    matrix = np.zeros((grid.size, grid.size))
    for part in np.split(np.arange(grid.size), np.flatnonzero(steps > _GAP * np.median(steps)) + 1):
        size = min(window, part.size)
        for at in part:
            first = min(max(at - window // 2, part[0]), part[-1] + 1 - size)
            inside = np.arange(first, first + size)
            scale = max(np.abs(grid[inside] - grid[at]).max(), 1e-12)  # powers of numbers near 1
            powers = np.vander((grid[inside] - grid[at]) / scale, min(order, size - 1) + 1, increasing=True)
            if derivative < powers.shape[1]:
                row = np.linalg.pinv(powers)[derivative]
                matrix[at, inside] = row * factorial(derivative) / scale**derivative
    return matrix
