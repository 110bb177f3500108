"""Spectral information divergence from sums over wavelength: the finish step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def divergences(
    total: NDArray[np.float64], forward: NDArray[np.float64], backward: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Symmetric divergence between the shapes of each pixel and each endmember.

    With p = x / sum(x) and q = e / sum(e), SID = sum p log(p/q) + sum q log(q/p). The logarithms of the sums
    cancel, which leaves sum x log(x/e) / sum(x) - sum q log(x/e).

    Parameters
    ----------
    total : (n,) sum of x.
    forward : (p, n) sum of x log(x / e).
    backward : (p, n) sum of q log(x / e).

    Returns
    -------
    (p, n) float32 nats, >= 0. NaN where the pixel is NaN.

    References
    ----------
    Chang, C.-I. (2000). An information-theoretic approach to spectral variability, similarity, and
    discrimination for hyperspectral image analysis. IEEE Transactions on Information Theory 46(5).
    """
    difference = forward / total - backward
    return np.maximum(difference, 0, out=difference).astype(np.float32)  # rounding may leave -1e-8 for equal shapes
