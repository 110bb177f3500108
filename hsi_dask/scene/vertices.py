"""Vertices of the largest simplex of all tiles: a tile is reduced to planes, of which small questions are asked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.io.scene import PlanesFile
from hsi_dask.kernels.extraction.whole_scene import Question, Ranked, Space, Vertices, answer, basis_of, combine, search
from hsi_dask.ops.kept_pixels import KeptPixels
from hsi_dask.ops.whole_scene import begin, mean_spectra, members_to_read, projected, told
from hsi_dask.scene.reduction import Arrays

__all__ = [
    "VERSION",
    "KeptPixels",
    "Question",
    "Ranked",
    "Space",
    "Vertices",
    "answer_of",
    "basis_of",
    "begin",
    "combine",
    "mean_spectra",
    "members_to_read",
    "projected",
    "search",
    "space_from",
    "space_to",
    "store_planes",
    "told",
]

VERSION = 2  # of what the arrays mean; others are computed anew


def store_planes(planes: Any, where: xr.DataArray | None, out: PlanesFile) -> None:
    """Put planes (r, y, x), lazy or not, to a file, NaN where no data or where a pixel does not count."""
    if where is not None:
        planes = np.where(np.asarray(where), planes, np.float32(np.nan))
    if not hasattr(planes, "dask"):
        out[:, :, :] = planes
        return
    import dask.array as da

    target: Any = out  # all that dask asks for is that parts can be put there
    da.store(planes, target, lock=False)


def answer_of(planes: NDArray[np.float32], first: int, space: Space, question: Question, threads: int) -> Ranked:
    """The answer of a part whose pixels are numbered row by row from `first`, by so many threads."""
    planes = planes.reshape(len(planes), -1)
    edges = np.linspace(0, planes.shape[1], threads + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        parts = pool.map(
            lambda start, stop: answer(planes, first, space, question, slice(start, stop)), edges[:-1], edges[1:]
        )
        return reduce(combine, parts)


def space_to(space: Space) -> Arrays:
    """The space of a search as arrays that can be kept."""
    return space._asdict()


def space_from(arrays: Arrays) -> Space | None:
    """A space that was kept; None where the arrays are none."""
    if set(arrays) != set(Space._fields) or any(values.dtype != np.float64 for values in arrays.values()):
        return None
    space = Space(**arrays)
    rows, directions = len(space.basis), len(space.axes)
    return space if space.axes.shape == (directions, rows) and space.origin.shape == (directions,) else None
