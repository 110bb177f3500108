"""What an estimate of the number of materials consists of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Count(NamedTuple):
    """How many spectrally distinct materials, and the curve behind the number.

    materials : entries of the curve above their limit.
    curve : (L,), what the method looks at, most distinct first.
    limit : (L,), what noise explains of it.
    """

    materials: int
    curve: Floats
    limit: Floats

    @classmethod
    def of(cls, curve: Floats, limit: Floats) -> Count:
        return cls(int((curve > limit).sum()), curve, limit)
