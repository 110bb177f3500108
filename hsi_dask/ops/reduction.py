"""Reducing a class library to the spectra that stand for the others, before a scene is mapped with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.errors import ConfigError, EndmemberError
from hsi_dask.kernels.mixtures.pairs import Measures, Pairs, measures, pairs
from hsi_dask.kernels.mixtures.selection import by_counts, iterate, smallest
from hsi_dask.schema import ENDMEMBER, WATER_VAPOUR_WINDOWS, WAVELENGTH, endmember_materials, require_labels

Reduction = Literal["ies", "ear", "masa", "cob"]


def reduce_library(
    library: xr.DataArray,
    *,
    method: Reduction = "ies",
    count: int | None = None,
    fractions: tuple[float, float] = (-0.05, 1.05),
    max_rmse: float = 0.025,
    windows: Sequence[tuple[float, float]] = WATER_VAPOUR_WINDOWS,
) -> xr.DataArray:
    """The spectra of a class library that stand for the others: fewer mixture models, nearly the same answer.

    Every spectrum models every other by one fraction and photometric shade, as two-endmember MESMA does.

    Parameters
    ----------
    library : (endmember, wavelength) reflectance with the coordinate `material`; see `read_spectra`.
    method : "ies", spectra are added, and dropped again, while the whole library is classified better by those chosen
        (Cohen's kappa); "cob", of each material the spectrum that models most others, then the next of those that are
        left; "ear" and "masa", the spectra with the smallest average residual, or spectral angle, to the others of
        their material.
    count : spectra of each material, at most. None: "ies" and "cob" keep as many as they need, "ear" and "masa" one.
    fractions, max_rmse : limits within which a spectrum counts as modelled; fractions beyond are cut.
    windows : pairs (from, to) in nm that do not count; nor do wavelengths at which a spectrum has no value.

    Returns
    -------
    DataArray of the chosen spectra, which keep their numbers and order; at least one of each material. Coordinates
    beside them, of the whole library: `ear` (reflectance), `masa` (radians), and how many spectra of its own and of
    other materials each models, `cob_in` and `cob_out`. attrs: `reduced_by`, and `kappa` of "ies".

    Raises
    ------
    EndmemberError : a library without materials, with one only ("ies"), without a wavelength that all spectra have, or
        of more than 12 000 spectra.
    ConfigError : an option out of range.

    Notes
    -----
    "ies" may do without a material whose spectra others model as well; it then gets the one with the smallest average
    residual. Time and memory grow with the square of the number of spectra: 2000 take seconds, 12 000 take 0.7 GB.

    References
    ----------
    Roberts et al. (1997), Proceedings of SPIE 3118, 108-119. Dennison & Roberts (2003), Remote Sensing of Environment
    87, 123-135 (EAR). Roberts et al. (2003), IEEE TGRS 41(6), 1297-1310 (CoB). Dennison et al. (2004), Remote Sensing
    of Environment 93, 359-367 (MASA). Schaaf et al. (2011), Remote Sensing of Environment 115(6), 1409-1421 (IES).

    Examples
    --------
    >>> wavelength = {"wavelength": [500.0, 900.0, 1600.0]}
    >>> values = [[0.1, 0.5, 0.3], [0.1, 0.51, 0.3], [0.2, 0.3, 0.4], [0.2, 0.31, 0.4]]
    >>> library = xr.DataArray(values, wavelength, ("endmember", "wavelength"))
    >>> library = library.assign_coords(endmember=[1, 2, 3, 4], material=("endmember", ["plant"] * 2 + ["soil"] * 2))
    >>> reduced = reduce_library(library)
    >>> reduced.endmember.values.tolist(), reduced.cob_in.values.tolist(), reduced.attrs["kappa"]
    ([1, 3], [1, 1], 1.0)
    """
    if method not in get_args(Reduction):
        raise ConfigError(f"method must be {', '.join(get_args(Reduction))}, not {method!r}")
    if count is not None and count < 1:
        raise ConfigError(f"count is {count}; keep one spectrum of each material at least, or give no count")
    names = endmember_materials(require_labels(library, (ENDMEMBER, WAVELENGTH), "the library"))
    if names is None:
        raise EndmemberError(
            "the library's spectra have no materials; name their column (material_column, --material-column), or "
            "assign some"
        )
    material = np.unique(np.array(names), return_inverse=True)[1]
    spectra = _compared(library, windows)
    try:
        found = pairs(spectra, fractions=fractions, max_rmse=max_rmse)
        told = measures(spectra, material, found)
        chosen, kappa = _chosen(method, found, told, material, count)
    except ValueError as error:
        raise EndmemberError(f"the library cannot be reduced: {error}") from error
    beside = {"ear": told.ear, "masa": told.masa, "cob_in": told.inside, "cob_out": told.outside}
    kept = library.assign_coords({name: (ENDMEMBER, values) for name, values in beside.items()})
    kept = kept.isel({ENDMEMBER: chosen})
    kept.attrs = library.attrs | {"reduced_by": method} | ({} if kappa is None else {"kappa": kappa})
    if len(kept.attrs.get("names", ())) == len(names):  # names of runs and files, in the order of the spectra
        kept.attrs["names"] = [kept.attrs["names"][n] for n in chosen]
    return kept


def _compared(library: xr.DataArray, windows: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    """(L, wavelength): what all spectra have, outside windows."""
    spectra = np.asarray(library.transpose(ENDMEMBER, WAVELENGTH), np.float64)
    wavelength = np.asarray(library[WAVELENGTH], np.float64)
    seen = ~np.any([(wavelength >= low) & (wavelength <= high) for low, high in [(np.inf, np.inf), *windows]], axis=0)
    shared = seen & np.isfinite(spectra).all(axis=0)
    if not shared.any():
        raise EndmemberError(
            f"none of {np.count_nonzero(seen)} wavelengths has a value in all {len(spectra)} spectra; "
            "leave out the spectra that lack most"
        )
    return np.ascontiguousarray(spectra[:, shared])


def _chosen(
    method: Reduction, found: Pairs, told: Measures, material: NDArray[np.intp], count: int | None
) -> tuple[NDArray[np.intp], float | None]:
    """Places of the chosen spectra, ascending, and kappa of an iterative selection."""
    if method in ("ear", "masa"):
        return smallest(told.ear if method == "ear" else told.masa, material, count or 1), None
    if method == "cob":
        return by_counts(found, told, material, count), None
    selected, kappa = iterate(found, material, count)
    missing = [m for m in np.unique(material) if m not in material[selected]]
    best = smallest(told.ear, material, 1)
    return np.union1d(selected, best[np.isin(material[best], missing)]), kappa
