"""Linear forms of every pixel: a small matrix times planes, bit for bit a function of the pixel alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hsi_dask.kernels.compiled import compiled

_TILE = 1024  # pixels: their sums stay in the first-level cache


def linear_forms(matrix: ArrayLike, planes: NDArray[Any], offsets: ArrayLike | None = None) -> NDArray[np.float64]:
    """matrix @ planes + offsets, summed in one order for every pixel: a product of BLAS may round by its position.

    Parameters
    ----------
    matrix : (k, r).
    planes : (r, n) float64, a row for each projection. NaN in one makes all forms of its pixel NaN.
    offsets : (k,), or None for zeros.

    Returns
    -------
    (k, n) float64.

    Examples
    --------
    >>> linear_forms([[1.0, 2.0]], np.array([[3.0, 0.0], [4.0, 1.0]]), [0.5]).tolist()
    [[11.5, 2.5]]
    """
    weights = np.ascontiguousarray(matrix, dtype=np.float64)
    values = np.ascontiguousarray(planes, dtype=np.float64).view()
    values.flags.writeable = False
    start = np.zeros(len(weights)) if offsets is None else np.asarray(offsets, dtype=np.float64)
    if weights.ndim != 2 or values.ndim != 2 or weights.shape[1] != len(values) or start.shape != weights.shape[:1]:
        raise ValueError(
            f"a matrix of {weights.shape}, planes of {values.shape} and offsets of {start.shape} do not fit"
        )
    out = np.empty((len(weights), values.shape[1]))
    _forms(weights, values, start, out)
    return out


@compiled(fastmath={"contract"})
def _forms(weights: Any, values: Any, offsets: Any, out: Any) -> None:
    for start in range(0, values.shape[1], _TILE):
        size = min(_TILE, values.shape[1] - start)
        for j in range(weights.shape[0]):
            total = out[j, start : start + size]
            for i in range(size):
                total[i] = offsets[j]
            for x in range(weights.shape[1]):
                weight, plane = weights[j, x], values[x, start : start + size]
                for i in range(size):
                    total[i] += weight * plane[i]
