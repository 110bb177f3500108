"""Compiling ahead: what a run with the default methods needs, before its first tile or on behalf of others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from hsi_dask.kernels.compiled import compiling_ahead
from hsi_dask.kernels.fcls import TABLED, fcls
from hsi_dask.kernels.nearest import nearest
from hsi_dask.kernels.nfindr import nfindr
from hsi_dask.kernels.projection import project, weights
from hsi_dask.kernels.residual import residual
from hsi_dask.kernels.sam import angles


def warm(counts: Sequence[int] = (4, TABLED + 1), dtype: DTypeLike = np.int16) -> float:
    """Compile the kernels of FCLS, SAM, SID and N-FINDR, or load them where they were compiled before.

    Parameters
    ----------
    counts : numbers of endmembers, each at least 2. FCLS has one program for up to 12 and another above.
    dtype : of the stored numbers.

    Returns
    -------
    Seconds spent compiling; 0.0 where nothing was left to compile.

    Examples
    --------
    >>> seconds = warm()
    >>> warm()
    0.0
    """
    with compiling_ahead() as clock:
        for count in counts:
            _run_all(count, np.dtype(dtype))
    return clock.seconds


def _run_all(count: int, dtype: np.dtype[np.generic]) -> None:
    """Every kernel once, on a few pixels."""
    spectra = np.random.default_rng(0).uniform(0.1, 0.9, (count, count + 1))
    nfindr(spectra[:, :-2], count, restarts=1)
    w = weights(spectra)
    vertices = spectra @ w.basis.T
    sums = project(np.ones((count + 1, 3), dtype), w)
    abundances = fcls(sums.projections, vertices)
    residual(sums.projections, sums.energy, vertices, abundances, count + 1)
    nearest(angles(sums.projections, sums.energy, vertices), np.full(count, np.inf), 255)
