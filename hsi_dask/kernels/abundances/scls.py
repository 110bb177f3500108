"""Sum-to-one constrained least squares: abundances of any sign that sum to one."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hsi_dask.kernels.abundances.vertices import checked
from hsi_dask.kernels.linear_forms import linear_forms
from hsi_dask.kernels.rounding import rounding


def scls(projections: ArrayLike, vertices: ArrayLike) -> NDArray[np.float64]:
    """Abundances of every pixel: argmin |z - a C|^2 with sum a = 1.

    Parameters and result are those of `ucls`; the sum is 1 within rounding. Of dependent vertices the abundances
    nearest to equal ones are chosen.

    References
    ----------
    Heinz & Chang 2001, IEEE TGRS 39(3), 529-545.

    Examples
    --------
    >>> scls([[0.25, 2.0], [0.5, -1.0]], [[1.0, 0.0], [0.0, 1.0]]).T.round(12).tolist()
    [[0.375, 0.625], [2.0, -1.0]]
    """
    z, c = checked(projections, vertices)
    centre = c.mean(axis=0)
    around = (c - centre).T  # about their mean vertices sum to zero: of p, p - 1 are independent
    share = np.linalg.pinv(around, rcond=rounding(around, c))
    return linear_forms(share, z, 1.0 / len(c) - share @ centre)
