"""How many materials a scene has, by estimators that look at its statistics."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import xarray as xr

from hsi_dask.counts.registry import ESTIMATORS
from hsi_dask.errors import ConfigError, EndmemberError
from hsi_dask.kernels.moments import spectra_moments
from hsi_dask.kernels.noise import regression_noise
from hsi_dask.methods.specification import Background
from hsi_dask.ops.statistics import background_of, scene_statistics
from hsi_dask.parameters import filled
from hsi_dask.schema import PIXEL, WAVELENGTH

Noise = Literal["regression", "neighbours"]
DIRECTION = "direction"


def estimate_count(
    cube_or_pixels: xr.DataArray,
    *,
    method: str = "hysime",
    noise: Noise = "regression",
    statistics: xr.Dataset | None = None,
    **options: Any,
) -> xr.Dataset:
    """How many spectrally distinct materials there are, and the curve behind the number; computed.

    Parameters
    ----------
    cube_or_pixels : (y, x, wavelength) a cube, or (pixel, wavelength) a sample without missing values.
    method : "hysime", "hfc" or "nwhfc".
    noise : how the noise is estimated: "regression" of each wavelength on the others, or "neighbours", differences of
        neighbouring pixels of a cube, which are above the noise where the ground differs.
    statistics : of the cube, from `scene_statistics`; taken if not given.
    options : the method's parameters, such as `false_alarm`.

    Returns
    -------
    Dataset of `count` (int), and along `direction` the `curve` whose entries above `limit` are counted.

    Notes
    -----
    Estimators disagree: on real scenes HySime is often high, HFC low. Take them as a bracket.

    Raises
    ------
    ConfigError : an unknown method or option.
    EndmemberError : too few pixels for the statistics.

    Examples
    --------
    >>> from hsi_dask.synthetic import simulate_scene
    >>> scene = simulate_scene((60, 60), materials=("vegetation", "soil", "water"), seed=2, illumination=None)
    >>> spectra = scene.reflectance().reshape(-1, 426)[:, 20:180] / 1e4
    >>> pixels = xr.DataArray(spectra, {"wavelength": scene.wavelength[20:180]}, ("pixel", "wavelength"))
    >>> int(estimate_count(pixels)["count"])
    3
    """
    known = ESTIMATORS.specifications
    if method not in known and method not in ESTIMATORS.broken:
        raise ConfigError(f"method must be {' or '.join(map(repr, known))}, not {method!r}")
    estimator = ESTIMATORS.get(method)
    chosen = filled(estimator.parameters, options, method)
    found = _statistics(cube_or_pixels, statistics)
    try:
        variances = (
            regression_noise(found.covariance, found.pixels) if noise == "regression" else found.noise_covariance
        )
        count = estimator.count(found.mean, found.covariance, variances, found.pixels, **chosen)
    except ValueError as error:
        raise EndmemberError(f"the number of materials cannot be estimated: {error}") from error
    curve = {"curve": (DIRECTION, count.curve), "limit": (DIRECTION, count.limit)}
    coords = {DIRECTION: np.arange(1, count.curve.size + 1)}
    attrs = {"method": method, "noise": noise, "pixels": found.pixels, **chosen}
    return xr.Dataset({"count": ((), np.int64(count.materials)), **curve}, coords, attrs)


def _statistics(given: xr.DataArray, statistics: xr.Dataset | None) -> Background:
    if statistics is not None:
        return background_of(statistics, given)
    if PIXEL in given.dims:
        found = spectra_moments(np.asarray(given.transpose(PIXEL, WAVELENGTH), np.float64))
        nothing = np.full(found.covariance.shape, np.nan)
        return Background(found.mean, found.covariance, nothing, found.pixels)
    return background_of(scene_statistics(given), given)
