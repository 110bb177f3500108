"""How reflectance becomes brightness: all three colours alike, so that grey ground stays grey."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_ENDS = 1, 99  # percent of values that become black and white
_MIDDLE = 0.42  # brightness of the median: vegetation reflects 3 % of red light and would be nearly black
_GAMMAS = 0.35, 1.0


class Stretch(NamedTuple):
    """Reflectance that becomes black and white, and the exponent between them."""

    low: float
    high: float
    gamma: float

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Brightness, 0 to 1; NaN stays."""
        scaled: NDArray[np.float32] = np.clip((values - self.low) / (self.high - self.low), 0, 1) ** self.gamma
        return scaled


def stretch_of(values: NDArray[np.float32]) -> Stretch:
    """The stretch that suits these reflectances, whatever their shape: NaNs do not count."""
    good = values[np.isfinite(values)]
    if not good.size:
        return Stretch(0.0, 1.0, 1.0)
    low, high, middle = np.percentile(good, (*_ENDS, 50))
    high = max(high, low + 1e-6)
    share = np.clip((middle - low) / (high - low), 1e-3, 0.999)
    return Stretch(float(low), float(high), float(np.clip(np.log(_MIDDLE) / np.log(share), *_GAMMAS)))
