"""Reduction: a tile becomes a few arrays, and those of two parts become those of both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import xarray as xr
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Reduction:
    """What is computed of each tile, and how parts are combined.

    Attributes
    ----------
    name : a word; the folder in `scene.zarr`
    title : as messages call it, "statistics"
    version : of what the arrays mean; others are computed anew
    reduce : (cube, (y, x) bool of pixels that count or None) to arrays; small, for they are kept for every tile
    combine : arrays of two parts to those of both
    settings : what the arrays depend on beside the cube and the pixels that count; JSON
    """

    name: str
    title: str
    version: int
    reduce: Callable[[xr.DataArray, xr.DataArray | None], Arrays]
    combine: Callable[[Arrays, Arrays], Arrays]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def combine_all(self, parts: Iterable[Arrays]) -> Arrays | None:
        """Arrays of all parts; None where there are none.

        Parts are combined by pairs, so that their order alone decides every bit, and few are in memory.

        Examples
        --------
        >>> import numpy as np
        >>> total = Reduction("total", "sum", 1, lambda cube, where: {}, lambda a, b: {"n": a["n"] + b["n"]})
        >>> int(total.combine_all({"n": np.array(n)} for n in range(5))["n"])
        10
        """
        waiting: list[tuple[int, Arrays]] = []  # how many parts, and their arrays
        for part in parts:
            size, arrays = 1, part
            while waiting and waiting[-1][0] == size:
                before, earlier = waiting.pop()
                size, arrays = size + before, self.combine(earlier, arrays)
            waiting.append((size, arrays))
        while len(waiting) > 1:
            (before, earlier), (size, arrays) = waiting[-2:]
            waiting[-2:] = [(before + size, self.combine(earlier, arrays))]
        return waiting[0][1] if waiting else None
