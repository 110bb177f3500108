"""Whether two runs were mapped with the same endmembers: by number, name, material and spectrum."""

from __future__ import annotations

import re

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.errors import EndmemberError
from hsi_dask.schema import (
    ENDMEMBER,
    MATERIAL,
    NAME,
    SAME_WAVELENGTH,
    WAVELENGTH,
    endmember_materials,
    endmember_names,
    endmember_numbers,
)

_NO_NAME = re.compile(r"endmember[ _]\d+")
# Of the norm of the difference to that of the spectrum. Resampling by 2 nm leaves below 0.004 in reflectance spectra;
# the same material found anew in another year's tiles differs by some hundredths
_SAME = 0.01
_FEWEST = 10  # wavelengths that tell spectra apart, unless the runs have not many more
_WAY_OUT = "map the second with the endmembers of the first: `hsi-dask run TILE... --endmembers {} --out ...`"


def require_same_endmembers(before: xr.DataArray, after: xr.DataArray, paths: tuple[str, str]) -> xr.DataArray:
    """The first run's endmembers, with the names of the second where only that has them.

    Parameters
    ----------
    before, after : (endmember, wavelength) reflectance, each on its own wavelengths, nm
    paths : of the runs, for messages

    Raises
    ------
    EndmemberError
        Numbers, names, materials or spectra differ, or the wavelengths have too little in common to tell.
    """
    numbers = endmember_numbers(before).tolist()
    _require(numbers == (others := endmember_numbers(after).tolist()), paths, _counts(numbers, others))
    names = _names(before) or _names(after)
    for what, one, other in (
        ("name", _names(before), _names(after)),
        ("material", endmember_materials(before), endmember_materials(after)),
    ):
        if (one is None) != (other is None) and what == "material":
            _require(False, paths, "only one of them has materials")
        for number, mine, theirs in zip(numbers, one or (), other or (), strict=False):
            _require(mine == theirs, paths, f"the {what} of endmember {number} is {mine!r} and {theirs!r}")
    _require_same_spectra(before, after, numbers, paths)
    if names is None:
        return before.drop_vars(NAME, errors="ignore")
    return before.assign_coords({NAME: (ENDMEMBER, np.array(names, dtype=object))})


def _require(holds: bool, paths: tuple[str, str], difference: str) -> None:
    if not holds:
        raise EndmemberError(
            f"{paths[0]} and {paths[1]} were not mapped with the same endmembers: {difference}; "
            f"{_WAY_OUT.format(paths[0])}"
        )


def _counts(mine: list[int], theirs: list[int]) -> str:
    if len(mine) != len(theirs):
        return f"there are {len(mine)} and {len(theirs)}"
    return f"their numbers are {mine} and {theirs}"


def _names(endmembers: xr.DataArray) -> list[str] | None:
    """Names that somebody gave."""
    names = endmember_names(endmembers)
    return None if names is None or all(map(_NO_NAME.fullmatch, names)) else names


def _require_same_spectra(
    before: xr.DataArray, after: xr.DataArray, numbers: list[int], paths: tuple[str, str]
) -> None:
    mine, theirs = (np.asarray(spectra[WAVELENGTH], np.float64) for spectra in (before, after))
    common = _between_neighbours(theirs, mine)
    few = int(common.sum()) < min(_FEWEST, (mine.size + 1) // 2, (theirs.size + 1) // 2)
    _require(not few, paths, f"they have {int(common.sum()) or 'no'} wavelengths in common, too few to tell")
    for number, one, other in zip(numbers, _values(before), _values(after), strict=True):
        resampled = np.interp(theirs[common], mine, one)
        apart = float(np.linalg.norm(resampled - other[common])) / max(float(np.linalg.norm(resampled)), 1e-9)
        said = f"the spectra of endmember {number} are {apart:.1%} apart"
        _require(apart <= _SAME, paths, said)


def _between_neighbours(wanted: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Wavelengths that are known ones, or lie between two which are no wider apart than is usual."""
    same: NDArray[np.bool_] = np.abs(wanted[:, None] - known).min(axis=1) <= SAME_WAVELENGTH
    if known.size < 2:
        return same
    after = np.clip(np.searchsorted(known, wanted), 1, known.size - 1)
    close = known[after] - known[after - 1] <= 1.5 * np.median(np.diff(known))
    found: NDArray[np.bool_] = same | (close & (wanted >= known[0]) & (wanted <= known[-1]))
    return found


def _values(spectra: xr.DataArray) -> NDArray[np.float64]:
    return np.asarray(spectra.transpose(ENDMEMBER, WAVELENGTH), np.float64)


def material_names(endmembers: xr.DataArray) -> list[str]:
    """Names of the materials in the order of planes of maps; none where the spectra have none."""
    return sorted(set(endmember_materials(endmembers) or ())) if MATERIAL in endmembers.coords else []
