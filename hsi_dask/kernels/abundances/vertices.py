"""What unmixing asks of projections and vertices."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def checked(projections: ArrayLike, vertices: ArrayLike) -> tuple[Floats, Floats]:
    """Both as contiguous float64; infinite projections become NaN. ValueError where they do not fit each other."""
    z = np.ascontiguousarray(projections, dtype=np.float64)
    c = np.ascontiguousarray(vertices, dtype=np.float64)
    if z.ndim != 2 or c.ndim != 2 or c.shape[1] != z.shape[0] or not c.size:
        raise ValueError(
            f"projections (r, n) and vertices (p, r) must share r, with p and r at least 1; "
            f"they have shapes {z.shape} and {c.shape}"
        )
    if not np.isfinite(c).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(c))} vertex coordinates are not finite; drop them first")
    if np.isinf(z).any():
        z = np.where(np.isinf(z), np.nan, z)
    return z, c
