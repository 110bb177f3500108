"""What of a matrix may be rounding alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROUNDINGS = 8  # times the size of a matrix: several times what singular values of rounding errors reach


def rounding(matrix: NDArray[np.float64], of: NDArray[np.float64] | None = None) -> float:
    """Below which share of its largest a singular value of a matrix may be rounding alone.

    numpy's own 1e-15 is less than rounding gives in matrices of five rows and more.

    of : what the matrix is differences of, and has the rounding errors of.
    """
    largest = np.linalg.norm(matrix, 2)
    level = largest if of is None else max(largest, np.linalg.norm(of, 2))
    return float(_ROUNDINGS * max(matrix.shape) * np.finfo(np.float64).eps * level / (largest or 1.0))
