"""Vertices of the largest simplex of all tiles: a tile is reduced to planes, of which small questions are asked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.io.scene import PlanesFile
from hsi_dask.kernels.extraction.whole_scene import Question, Ranked, Space, Vertices, answer, combine, search
from hsi_dask.ops.whole_scene import Begun, begin, certificate, projected
from hsi_dask.scene.reduction import Arrays

__all__ = [
    "VERSION",
    "Begun",
    "Question",
    "Ranked",
    "Vertices",
    "answer_of",
    "begin",
    "begun_from",
    "begun_to",
    "certificate",
    "combine",
    "search",
    "store_planes",
]

VERSION = 1  # of what the arrays mean; others are computed anew


def store_planes(cube: xr.DataArray, where: xr.DataArray | None, space: Space, out: PlanesFile) -> None:
    """Put the planes (r, y, x) of a cube to a file, NaN where no data or where a pixel does not count."""
    planes = projected(cube, space)
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


def begun_to(begun: Begun) -> Arrays:
    """The start of a search as arrays that can be kept."""
    return {**begun.space._asdict(), "points": begun.points, "reference": begun.reference}


def begun_from(arrays: Arrays) -> Begun:
    """The start of a search that was kept."""
    known: dict[str, Any] = dict(arrays)
    return Begun(Space(known["basis"], known["axes"], known["origin"]), known["points"], known["reference"])
