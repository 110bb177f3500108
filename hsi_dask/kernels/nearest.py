"""The class of a pixel from its scores: the nearest endmember among those that are near enough."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsi_dask.kernels.compiled import as_input, compiled

_TILE = 4096  # pixels: buffers stay in cache


def nearest(scores: NDArray[np.floating[Any]], limits: NDArray[np.float64], missing: int) -> NDArray[np.uint8]:
    """Number of the endmember with the smallest score that is not above its limit.

    Parameters
    ----------
    scores : (p, n) angles or divergences, p < 255.
    limits : (p,) largest score allowed of each endmember; infinite allows all.
    missing : the class of a pixel of which a score is NaN.

    Returns
    -------
    (n,) uint8, 1..p, or 0 where no score is within its limit. Equal scores go to the smaller number.
    """
    classes = np.empty(scores.shape[1], np.uint8)
    _nearest(as_input(scores), as_input(limits, np.float64), missing, classes)
    return classes


@compiled()
def _nearest(scores: Any, limits: Any, missing: Any, classes: Any) -> None:
    best = np.empty(_TILE, scores.dtype)
    for start in range(0, classes.size, _TILE):
        m = min(_TILE, classes.size - start)
        found = classes[start : start + m]
        for i in range(m):
            best[i] = np.inf
            found[i] = 0
        for k in range(limits.size):
            limit, number = limits[k], np.uint8(k + 1)
            score = scores[k, start : start + m]
            for i in range(m):
                smaller = score[i] <= limit and score[i] < best[i]
                best[i] = score[i] if smaller else best[i]
                found[i] = number if smaller else found[i]
        for k in range(limits.size):
            score = scores[k, start : start + m]
            for i in range(m):
                found[i] = missing if score[i] != score[i] else found[i]
