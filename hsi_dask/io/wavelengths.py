"""Wavelengths as files have them: in several units, and where two detectors meet, not ascending."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsi_dask.io.decoding import Say

_NANOMETRES = {"nm", "nanometer", "nanometers", "nanometre", "nanometres"}
_MICROMETRES = {
    "um", "µm", "μm", "micron", "microns", "micrometer", "micrometers", "micrometre", "micrometres",
}  # fmt: skip
_UNKNOWN = {"", "unknown"}
_SHORTEST = 100.0  # nm: smaller numbers are micrometres
_MOST_OVERLAPPING = 0.1  # of the bands: detectors that meet share a few


def nanometres_per(unit: str, wavelength: NDArray[np.float64], say: Say) -> float:
    """Nanometres in the unit of wavelengths; of one that is not told, by their size. ValueError for another unit."""
    known = unit.strip().lower()
    if known not in {*_NANOMETRES, *_MICROMETRES, *_UNKNOWN}:
        raise ValueError(f"has wavelengths in {unit[:30]!r}; write them in nm")
    micrometres = known in _MICROMETRES
    if known in _UNKNOWN:
        micrometres = wavelength.size > 0 and bool(np.nanmax(wavelength) < _SHORTEST)
        say(f"units of wavelengths are missing: {'micrometres' if micrometres else 'nanometres'} by their size")
    return 1000.0 if micrometres else 1.0


def ascending(wavelength: NDArray[np.float64], say: Say) -> NDArray[np.bool_]:
    """Which bands to keep so that wavelengths ascend: AVIRIS has some twice. ValueError where too few would be left."""
    before = np.maximum.accumulate(np.concatenate(([0.0], wavelength[:-1])))
    kept: NDArray[np.bool_] = np.isfinite(wavelength) & (wavelength > before)
    dropped = int((~kept).sum())
    if dropped > _MOST_OVERLAPPING * wavelength.size:
        at = int(kept.argmin())
        raise ValueError(f"has wavelength {wavelength[at]:g} as number {at + 1}, not ascending; sort its bands")
    if dropped:
        shown = ", ".join(f"{value:g}" for value in wavelength[~kept][:5])
        say(f"{dropped} bands whose wavelengths do not ascend are left out ({shown}): detectors overlap")
    return kept
