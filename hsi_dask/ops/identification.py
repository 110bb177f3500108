"""What found endmembers may be: the spectra of a library that are nearest to each."""

from __future__ import annotations

from typing import Literal

import numpy as np
import xarray as xr

from hsi_dask.errors import ConfigError
from hsi_dask.kernels.sam import angles
from hsi_dask.ops.resampling import resample_endmembers
from hsi_dask.schema import (
    ENDMEMBER,
    MATERIAL,
    NAME,
    WAVELENGTH,
    endmember_materials,
    endmember_names,
    endmember_numbers,
    require_labels,
)

RANK = "rank"


def identify(
    endmembers: xr.DataArray, library: xr.DataArray, *, method: Literal["sam"] = "sam", nearest: int = 3
) -> xr.Dataset:
    """The library spectra nearest to each endmember, by spectral angle after resampling.

    Parameters
    ----------
    endmembers : (endmember, wavelength) reflectance.
    library : (endmember, wavelength) with names; see `read_spectra`. Wavelengths that it does not reach, up to half of
        them, are not compared.
    method : "sam".
    nearest : how many of each.

    Returns
    -------
    Dataset, with `rank` from 1, the nearest: `name` (endmember, rank) of the library's spectrum, its `number`, its
    `material` if it has one, `angle` in radians, and `margin` (endmember,), how much farther the nearest spectrum of
    another name is, in radians: a small margin is no identification.

    Raises
    ------
    EndmemberError : the library covers less than half of the endmembers' wavelengths.
    ConfigError : an unknown method.

    References
    ----------
    Kruse, F. A. et al. (1993). Remote Sensing of Environment 44.

    Examples
    --------
    >>> values = np.array([[0.1, 0.5, 0.3], [0.3, 0.3, 0.3]])
    >>> library = xr.DataArray(values, {"wavelength": [500.0, 900.0, 1600.0]}, ("endmember", "wavelength"))
    >>> library = library.assign_coords(name=("endmember", ["plant", "road"]))
    >>> identify(0.5 * library[:1], library, nearest=1)["name"].values.tolist()
    [['plant']]
    """
    if method != "sam":
        raise ConfigError(f"method must be 'sam', not {method!r}")
    for spectra, what in ((endmembers, "endmembers"), (library, "the library")):
        require_labels(spectra, (ENDMEMBER, WAVELENGTH), what)
    endmembers = _reached(endmembers, library)
    known = resample_endmembers(library, endmembers)
    values = np.asarray(endmembers.transpose(ENDMEMBER, ...), np.float64)
    found = angles(values.T, (values**2).sum(axis=1), np.asarray(known, np.float64)).T
    order = np.argsort(found, axis=1, kind="stable")
    first = order[:, : min(nearest, found.shape[1])]
    numbers = endmember_numbers(known)
    names = np.array(endmember_names(known) or [f"spectrum {n}" for n in numbers], dtype=object)
    margin = np.full(len(values), np.nan)
    for row, ranked in enumerate(order):
        others = ranked[names[ranked] != names[ranked[0]]]
        if others.size:
            margin[row] = found[row, others[0]] - found[row, ranked[0]]
    dims = (ENDMEMBER, RANK)
    coords = {ENDMEMBER: endmember_numbers(endmembers), RANK: np.arange(1, first.shape[1] + 1)}
    materials = endmember_materials(known)
    more = {} if materials is None else {MATERIAL: (dims, np.array(materials, dtype=object)[first])}
    return xr.Dataset(
        {
            NAME: (dims, names[first]),
            **more,
            "number": (dims, numbers[first]),
            "angle": (dims, np.take_along_axis(found, first, axis=1), {"units": "radian"}),
            "margin": (ENDMEMBER, margin, {"units": "radian"}),
        },
        coords,
    )


def labelled(found: xr.Dataset) -> list[list[str]]:
    """Of each endmember the names of the nearest, with their materials where these say more."""
    materials = found[MATERIAL].values if MATERIAL in found else found[NAME].values
    pairs = zip(found[NAME].values.tolist(), materials.tolist(), strict=True)
    return [[a if b in a else f"{a} ({b})" for a, b in zip(*row, strict=True)] for row in pairs]


def _reached(endmembers: xr.DataArray, library: xr.DataArray) -> xr.DataArray:
    """The endmembers at the wavelengths that all spectra of the library reach; all where these are few."""
    there = np.isfinite(np.asarray(library.transpose(ENDMEMBER, WAVELENGTH))).all(axis=0)
    known, wanted = np.asarray(library[WAVELENGTH])[there], np.asarray(endmembers[WAVELENGTH])
    if not known.size:
        return endmembers
    reached = (wanted >= known.min()) & (wanted <= known.max())
    return endmembers.isel({WAVELENGTH: reached}) if 2 * reached.sum() >= reached.size else endmembers
