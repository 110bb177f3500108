"""How many materials a scene has, by estimators that look at its statistics."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from hsi_dask.counts.registry import ESTIMATORS
from hsi_dask.errors import ConfigError, EndmemberError
from hsi_dask.kernels.moments import spectra_moments
from hsi_dask.kernels.noise import regression_noise
from hsi_dask.methods.specification import Background
from hsi_dask.ops.endmembers import find_endmembers
from hsi_dask.ops.materials import unmix
from hsi_dask.ops.statistics import background_of, scene_statistics
from hsi_dask.parameters import filled
from hsi_dask.schema import CUBE_DIMS, PIXEL, WAVELENGTH, require_labels

Noise = Literal["regression", "neighbours"]
DIRECTION = "direction"
_SAME_MATERIAL = 0.05  # radian: two draws of one material are closer, two materials are farther apart


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


def _statistics(spectra: xr.DataArray, statistics: xr.Dataset | None) -> Background:
    if statistics is not None:
        return background_of(statistics, spectra)
    if PIXEL in require_labels(spectra, CUBE_DIMS, "the cube").dims:
        found = spectra_moments(np.asarray(spectra.transpose(PIXEL, WAVELENGTH), np.float64))
        nothing = np.full(found.covariance.shape, np.nan)
        return Background(found.mean, found.covariance, nothing, found.pixels)
    return background_of(scene_statistics(spectra), spectra)


def stable_count(pixels: xr.DataArray, most: int, *, seed: int = 0, **how: Any) -> xr.Dataset:
    """How many endmembers come back from other pixels: the largest count at which both halves of a sample agree.

    Parameters
    ----------
    pixels : (pixel, wavelength) reflectance without missing values.
    most : the largest count that is tried, from 2.
    seed : of the halves, and of the search.
    how : of the search, as in `find_endmembers`.

    Returns
    -------
    Dataset over `tried` (2 to most): `apart`, the largest spectral angle (radian) between the endmembers of the halves,
    matched with one another; `residual`, the root mean square that endmembers of all pixels leave of them; and `count`,
    the largest tried whose `apart` is below 0.05, or 2 where none is.

    Notes
    -----
    A count that is too large finds ends that are noise, or mixtures, and other pixels have others.

    References
    ----------
    Breckenridge 1989, Replicating cluster analysis, Multivariate Behavioral Research 24(2) (agreement of halves).
    """
    order = np.random.default_rng(seed).permutation(pixels.sizes[PIXEL])
    halves = [pixels.isel({PIXEL: np.sort(part)}) for part in np.array_split(order, 2)]
    tried = np.arange(2, most + 1)
    row = xr.DataArray(pixels.values[None], {WAVELENGTH: pixels[WAVELENGTH]}, ("y", "x", WAVELENGTH))
    apart, residual = np.full(tried.size, np.nan), np.full(tried.size, np.nan)
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        searches = [
            [pool.submit(find_endmembers, part, count, seed=seed, **how) for part in (*halves, pixels)]
            for count in tried.tolist()
        ]
        for place, search in enumerate(searches):
            try:
                one, other, whole = (future.result() for future in search)
            except EndmemberError:  # no more dimensions than noise has
                pool.shutdown(wait=False, cancel_futures=True)
                break
            apart[place] = _farthest_match(one.values, other.values)
            residual[place] = float(unmix(row, whole).residual.mean())
    agree = np.flatnonzero(apart < _SAME_MATERIAL)
    count = int(tried[agree[-1]]) if agree.size else 2
    curves = {"apart": ("tried", apart), "residual": ("tried", residual)}
    return xr.Dataset({"count": ((), np.int64(count)), **curves}, {"tried": tried})


def _farthest_match(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The largest angle between spectra (n, L) matched one to one, closest pairs first."""
    unit = [
        values / np.linalg.norm(values, axis=1, keepdims=True) for values in (one.astype(float), other.astype(float))
    ]
    angle = np.arccos(np.clip(unit[0] @ unit[1].T, -1, 1))
    largest = 0.0
    for _ in range(len(one)):
        row, column = np.unravel_index(angle.argmin(), angle.shape)
        largest = max(largest, float(angle[row, column]))
        angle[row], angle[:, column] = np.inf, np.inf
    return largest
