"""Mixtures of a class library: MESMA, and fractional cover with its uncertainty."""

from __future__ import annotations

from typing import Literal

import xarray as xr

from hsi_dask.ops.materials import map_materials


def mesma(
    cube: xr.DataArray,
    library: xr.DataArray,
    *,
    max_materials: int = 2,
    fractions: tuple[float, float] = (-0.05, 1.05),
    shade: tuple[float, float] = (0.0, 0.8),
    max_rmse: float | None = 0.025,
    fusion: float = 0.007,
    shade_spectrum: xr.DataArray | None = None,
    normalize: bool = False,
) -> xr.Dataset:
    """Multiple endmember spectral mixture analysis: the best of all mixture models of a class library.

    A model takes one spectrum of each of some materials, and shade for the rest.

    Parameters
    ----------
    cube : (y, x, wavelength) as in `map_materials`.
    library : (endmember, wavelength) on the cube's wavelengths, with the coordinate `material`; see `read_spectra`,
        `resample_endmembers`.
    max_materials : materials in a model, 1 to 3, shade not counted.
    fractions, shade : smallest and largest fraction of a material, and of shade, that a model may have.
    max_rmse : a pixel of which every model leaves more than this is not modelled; None models all.
    fusion : a model with one material more must lower the residual by at least this.
    shade_spectrum : (wavelength,) reflectance of shade; zero if not given.
    normalize : fractions of the lit part, divided by 1 - shade.

    Returns
    -------
    Dataset, lazy where the cube is: `fraction` (material, y, x), `shade` (y, x), `model` (material, y, x) int16 the
    number of the library's spectrum that stands for a material, -1 none, `residual` (y, x), root mean square
    reflectance, and `unmodelled` (y, x) uint16 flags: 0 where a model holds, 512 where none does, 1 without data. Where
    no model holds, fractions and residual are NaN.

    Raises
    ------
    EndmemberError : a library without materials, on other wavelengths, or of more than ten million models.
    ConfigError : an option out of range.

    Notes
    -----
    Limits and defaults have the meaning of the `mesma` package. Its stable zones and weightings are not here.

    References
    ----------
    Roberts, D. A. et al. (1998). Mapping chaparral in the Santa Monica Mountains using multiple endmember spectral
    mixture models. Remote Sensing of Environment 65, 267-279.

    Examples
    --------
    >>> wavelength = {"wavelength": [500.0, 900.0, 1600.0]}
    >>> values = [[0.1, 0.5, 0.3], [0.1, 0.6, 0.3], [0.2, 0.3, 0.4]]
    >>> library = xr.DataArray(values, wavelength, ("endmember", "wavelength"))
    >>> library = library.assign_coords(material=("endmember", ["plant", "plant", "soil"]))
    >>> pixel = 0.5 * library[1] + 0.3 * library[2]
    >>> cube = pixel.expand_dims(y=[0.5], x=[0.5])
    >>> found = mesma(cube, library).isel(y=0, x=0)
    >>> found.fraction.values.astype(float).round(3).tolist(), found.model.values.tolist(), round(float(found.shade), 3)
    ([0.5, 0.3], [2, 3], 0.2)
    """
    options = {
        "max_materials": max_materials, "fractions": fractions, "shade": shade, "max_rmse": max_rmse,
        "fusion": fusion, "normalize": normalize,
    }  # fmt: skip
    if shade_spectrum is not None:
        library, cube = library - shade_spectrum, cube - shade_spectrum
    return map_materials(cube, library, methods=("mesma",), options={"mesma": options})


def fractional_cover(
    cube: xr.DataArray,
    library: xr.DataArray,
    *,
    method: Literal["posterior", "bundles"] = "posterior",
    max_materials: int = 3,
    draws: int = 50,
    seed: int = 0,
    noise: float | None = None,
) -> xr.Dataset:
    """Fraction of each material of a class library in each pixel, with its standard deviation.

    Parameters
    ----------
    cube, library : as in `mesma`.
    method : "posterior", the mean over all mixture models, each weighted by how well it fits; or "bundles", the mean
        over random sets of one spectrum of each material (Monte Carlo).
    max_materials : materials in a model of the posterior, 1 to 3.
    draws, seed : of bundles; the same sets for every pixel, whatever the chunks.
    noise : standard deviation of the reflectance's noise at each wavelength. Standard deviations of the posterior are
        calibrated with it (None: 0.004), draws of bundles add it to the pixels (None: nothing).

    Returns
    -------
    Dataset, lazy where the cube is: `fraction` (material, y, x) in [0, 1], summing to 1; `fraction_std`, its standard
    deviation; `shade` (y, x), negative where a pixel is brighter than the library.

    Raises
    ------
    EndmemberError : a library without materials, on other wavelengths, or of more than ten million models.

    Notes
    -----
    Standard deviations are calibrated on mixtures of spectra that libraries lacked; see `python -m benchmarks cover`.

    References
    ----------
    Hoeting, J. A. et al. (1999). Bayesian model averaging: a tutorial. Statistical Science 14(4), 382-417. Asner, G. P.
    & Lobell, D. B. (2000). A biogeophysical approach for automated SWIR unmixing of soils and vegetation. Remote
    Sensing of Environment 74, 99-112.

    Examples
    --------
    >>> wavelength = {"wavelength": [500.0, 900.0, 1600.0]}
    >>> values = [[0.1, 0.5, 0.3], [0.1, 0.6, 0.3], [0.2, 0.3, 0.4]]
    >>> library = xr.DataArray(values, wavelength, ("endmember", "wavelength"))
    >>> library = library.assign_coords(material=("endmember", ["plant", "plant", "soil"]))
    >>> cube = (0.8 * library[2]).expand_dims(y=[0.5], x=[0.5])
    >>> found = fractional_cover(cube, library, max_materials=2).isel(y=0, x=0)
    >>> found.fraction.sel(material="soil").item() > 0.9
    True
    """
    options = {"method": method, "max_materials": max_materials, "draws": draws, "seed": seed, "noise": noise}
    return map_materials(cube, library, methods=("cover",), options={"cover": options})
