"""Numbers of a library as reflectance: which unit they are in, and which of them are none."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from hsi_dask.errors import EndmemberError
from hsi_dask.io.delimited import shown

Units = Literal["fraction", "percent", "10000"]
Array = NDArray[np.float64]

LOWEST, HIGHEST = -0.5, 3.0  # reflectance beyond these is no surface's, nor noise over one
_BRIGHTEST = 1.5  # of a library's bright spectra: 1.5 % and less is dark everywhere
_ONE: dict[str, tuple[float, str]] = {
    "fraction": (1.0, "as fractions"),
    "percent": (100.0, "in percent"),
    "10000": (10000.0, "out of 10000"),
}
_BEYOND = 1e5  # ten times a reflectance of 1 out of 10000: fill values such as -1.23e34 are beyond
_APART = 50.0  # times all other values: a fill value such as 9999 among fractions
_NOISY = ((0.0, 400.0), (1330.0, 1470.0), (1780.0, 1970.0), (2350.0, 3000.0))  # nm: ends, water vapour and a margin
_BLOCK = 50.0  # nm under one median
_NANOMETRES = {
    "nm": 1.0,
    "nanometer": 1.0,
    "um": 1000.0,
    "µm": 1000.0,
    "μm": 1000.0,
    "micrometer": 1000.0,
    "micron": 1000.0,
    "angstrom": 0.1,
}
_FREQUENCIES = {"wavenumber", "wavenumbers", "ghz", "mhz", "thz"}
_RANGE = (50.0, 1e6)  # nm: ultraviolet to far infrared


class Reflectance(NamedTuple):
    """Spectra as fractions.

    values : (n, L), NaN where there is none
    units_from : which unit they were in, and why
    """

    values: Array
    units_from: str


def to_fractions(
    values: Array, wavelength: Array, names: list[str], path: Path, scale: float | None, units: Units | None
) -> Reflectance:
    """Reflectance from the numbers of a file.

    Parameters
    ----------
    values : (n, L), any unit, NaN where there is none; changed in place.
    wavelength : (L,) nm.
    names : n, for messages.
    path : the file, for messages.
    scale : what a reflectance of 1 is stored as, if the file tells.
    units : the unit, if the user tells.

    Raises
    ------
    EndmemberError
        No value, or values that contradict their unit.

    Notes
    -----
    Values that no reflectance can have become NaN: not finite; below -0.5 or above 3; above 1.5 and 50 times all
    others; below -0.005, repeated, and 20 times all others.
    Units are judged outside the water-vapour windows and the noisy ends, by the median in each 50 nm, of which nine
    tenths in nine tenths of the spectra are below the value that counts: up to 1.5 is a fraction, up to 150 percent.
    """
    before = int(np.isfinite(values).sum())
    values[~(np.abs(values) < _BEYOND * max(1.0, scale or 1.0))] = np.nan
    _drop_high_fill(values)
    if not np.isfinite(values).any():
        raise EndmemberError(f"{path} holds no value; give spectra")
    medians = _block_medians(values, wavelength)
    bright = float(np.nan_to_num(_quantile(_quantile(medians, 0.9), 0.9)))
    one, told = _unit(scale, bright, path, units)
    _require_one_unit(_quantile(medians, 0.5, np.floor), names, path, one)
    with np.errstate(over="ignore"):
        values /= one
    values[(values < LOWEST) | (values > HIGHEST)] = np.nan
    _drop_low_fill(values)
    dropped = before - int(np.isfinite(values).sum())
    if dropped == before:
        raise EndmemberError(f"{path} holds no value that reflectance can have ({LOWEST:g} to {HIGHEST:g}); check it")
    return Reflectance(values, f"{told}; {dropped} values that no reflectance has are missing" if dropped else told)


def to_nanometres(stated: str, grid: Array, path: Path) -> tuple[float, str]:
    """Nanometres a unit of the wavelengths, and how that is known.

    Raises
    ------
    EndmemberError
        Fewer than two wavelengths, one twice, numbers of bands, or none that light has.
    """
    if grid.size < 2 or not np.isfinite(grid).all() or np.unique(grid).size < grid.size or grid.min() <= 0:
        raise EndmemberError(f"{path} needs two or more wavelengths, positive and each once")
    if grid.size > 2 and np.array_equal(np.sort(grid), np.arange(1, grid.size + 1)):
        raise EndmemberError(
            f"{path} counts 1 to {grid.size} where wavelengths should be: numbers of bands; give wavelengths"
        )
    if words := _FREQUENCIES & set(re.findall(r"[a-z]+", stated.lower())):
        raise EndmemberError(f"{path} has {min(words)} where wavelengths should be; give wavelengths in nm or um")
    factor, why = _wavelength_unit(stated, grid)
    low, high = float(grid.min()) * factor, min(float(grid.max()), 1e9) * factor
    if low < _RANGE[0] or high > _RANGE[1]:
        raise EndmemberError(
            f"{path} has wavelengths of {low:g} to {high:g} nm ({why}), but {_RANGE[0]:g} to {_RANGE[1]:g} nm can be; "
            "correct them or their unit"
        )
    return factor, why


def _wavelength_unit(stated: str, grid: Array) -> tuple[float, str]:
    text = stated.lower().replace("micrometre", "micrometer").replace("nanometre", "nanometer")
    words = set(re.findall(r"[a-zµμ]+", text))
    for word, factor in _NANOMETRES.items():
        if words & {word, f"{word}s"}:
            return factor, f"wavelengths in {word} as the file says"
    micrometres = float(grid.max()) < 100
    return (1000.0, "wavelengths in um by their values") if micrometres else (1.0, "wavelengths in nm by their values")


# ------------------------------------------------------------------------------------------------ units


def _unit(scale: float | None, bright: float, path: Path, units: Units | None) -> tuple[float, str]:
    """What a reflectance of 1 is stored as, and how that is known."""
    reach = f"outside water vapour they reach {bright:.4g}"
    if units is not None:
        if units not in _ONE:
            raise EndmemberError(f"units must be one of {', '.join(get_args(Units))}, not {shown(str(units))}")
        one, name = _ONE[units]
        _require_agreement(one, bright, path, f"units {units} are asked for")
        return one, f"reflectance {name} as asked for"
    if scale is not None and scale > 0 and np.isfinite(scale):
        _require_agreement(scale, bright, path, f"its reflectance scale is {scale:g}")
        return scale, f"reflectance scale {scale:g} as the file says"
    one, name = next((unit for unit in _ONE.values() if bright <= unit[0] * _BRIGHTEST), _ONE["10000"])
    return one, f"reflectance {name} by its values: {reach}"


def _require_agreement(one: float, bright: float, path: Path, why: str) -> None:
    """Refuse a stated unit under which bright spectra are above all reflectance, or fractions out of hundreds."""
    if bright > HIGHEST * one or (0 < bright <= _BRIGHTEST and one > 100 * _BRIGHTEST):
        raise EndmemberError(
            f"{path} holds values that reach {bright:.4g} outside water vapour, but {why}, which makes reflectance of "
            f"{bright / one:.4g}; say which unit they are in ({', '.join(get_args(Units))})"
        )


def _require_one_unit(typical: Array, names: list[str], path: Path, one: float) -> None:
    """Refuse a spectrum of another unit than the others, or a column that is none."""
    if (wrong := np.flatnonzero(typical > HIGHEST * one)).size:
        value = typical[wrong[0]]
        raise EndmemberError(
            f"{path} has {shown(names[wrong[0]])} with a median of {value:.4g}, a reflectance of {value / one:.4g} in "
            f"the unit of the others (1 is stored as {one:g}); leave it out, or give all in one unit"
        )


# ------------------------------------------------------------------------------------------------ robust measures


def _block_medians(values: Array, wavelength: Array) -> Array:
    """(n, blocks): medians in each 50 nm outside water vapour and the noisy ends; everywhere if nothing else is there.

    What is below -1.5, fill values in percent and out of 10000, does not count.
    """
    clean = np.ones(wavelength.size, dtype=bool)
    for low, high in _NOISY:
        clean &= (wavelength < low) | (wavelength > high)
    if not clean.any():
        clean[:] = True
    block = (wavelength[clean] // _BLOCK).astype(np.int64)
    judged = values[:, clean]
    judged = np.where(judged > -_BRIGHTEST, judged, np.nan)
    return np.stack([_quantile(judged[:, block == one], 0.5, np.floor) for one in np.unique(block)], axis=-1)


def _quantile(values: Array, q: float, rounded: Callable[[Array], Array] = np.ceil) -> Array:
    """One of the values along the last axis, NaN aside; NaN where there is none."""
    ordered = np.sort(values, axis=-1)  # NaN last
    last = np.maximum(np.isfinite(ordered).sum(axis=-1) - 1, 0)
    at = rounded(q * last).astype(np.intp)
    found: Array = np.take_along_axis(ordered, at[..., None], axis=-1)[..., 0]
    return found


def _drop_high_fill(values: Array) -> None:
    """NaN for a largest value above 1.5 that is far above all others."""
    for _ in range(3):  # a file may have more than one
        top = np.fmax.reduce(values, axis=None, initial=0.0)
        rest = np.fmax.reduce(np.where(values < top, values, np.nan), axis=None, initial=0.0)
        if not (top > _BRIGHTEST and rest > 0 and top > _APART * rest):
            return
        values[values == top] = np.nan


def _drop_low_fill(fractions: Array) -> None:
    """NaN for a lowest value below -0.005 that repeats and is far below all others, such as -999 out of 10000."""
    low = np.fmin.reduce(fractions, axis=None, initial=0.0)
    if low > -0.005 or (fractions == low).sum() < 2:
        return
    rest = np.fmin.reduce(np.where(fractions > low, fractions, np.nan), axis=None, initial=0.0)
    if rest >= low / 20:
        fractions[fractions == low] = np.nan
