"""Minimum noise fraction and principal components of a cube, back to reflectance, and a cube without its noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from hsi_dask.errors import ConfigError, EndmemberError, SchemaError
from hsi_dask.kernels import mnf as kernel
from hsi_dask.kernels.linear_forms import linear_forms
from hsi_dask.kernels.projection import Sums, weights
from hsi_dask.ops.passes import Finish, finished_planes
from hsi_dask.ops.statistics import background_of, scene_statistics
from hsi_dask.schema import CUBE_DIMS, WAVELENGTH, Variable, X, Y, describe, describe_coordinates, require_dims

COMPONENT = "component"
Kind = Literal["mnf", "pca"]
_VARIABLES = {
    "mnf": Variable("mnf", (COMPONENT, Y, X), "float32", "minimum noise fraction, in standard deviations of the noise"),
    "pca": Variable("pca", (COMPONENT, Y, X), "float32", "principal component", "1"),
}
_BLOCK_BYTES = 64 * 2**20  # of restored spectra


def mnf(
    cube: xr.DataArray, components: int = 20, statistics: xr.Dataset | None = None, *, ridge: float = 0.0
) -> xr.DataArray:
    """Components of a cube by descending signal-to-noise ratio; the noise of each has variance 1, uncorrelated.

    Parameters
    ----------
    cube : (y, x, wavelength) as in `map_materials`.
    components : how many, 1 to the number of wavelengths.
    statistics : from `scene_statistics`, of this cube, of its site, or of what a mask leaves of it. If not given they
        are taken of the whole cube at once, which reads it, with the noise of its quiet parts.
    ridge : share of its variance that is added to the noise of each wavelength; 1e-6 makes any noise covariance
        invertible.

    Returns
    -------
    (component, y, x) float32, components numbered from 1, NaN where no data; lazy where the cube is. attrs:
    `eigenvalues` of all components, variance in units of the noise's: about 1 for one that is noise alone.

    Raises
    ------
    ConfigError : components out of range.
    EndmemberError : the noise of a wavelength is zero, or there are too few pixels for its covariance.
    SchemaError : a dimension or coordinate is missing, or statistics are of other wavelengths.

    Notes
    -----
    Noise is what neighbours differ by. Noise from "all" of them, as `scene_statistics` takes it, has the borders of
    patches in it, and a denoised cube then lacks them: on a simulated tile the error was 11 times the noise with "all",
    and a tenth of the noise with "quiet". Signs are fixed: the largest weight of a component is positive.

    References
    ----------
    Green, A. A. et al. (1988). IEEE Transactions on Geoscience and Remote Sensing 26(1), 65-74.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> values = 0.1 * np.arange(20)[:, None, None] * [1.0, 2.0, 0.5] + rng.normal(0, 0.01, (20, 20, 3))
    >>> cube = xr.DataArray(values, {"wavelength": [500.0, 700.0, 900.0]}, ("y", "x", "wavelength"))
    >>> found = mnf(cube, 2)
    >>> found.dims, bool(found.attrs["eigenvalues"][0] > 20 * found.attrs["eigenvalues"][1])
    (('component', 'y', 'x'), True)
    """
    return _components(cube, components, statistics, "mnf", ridge)


def pca(cube: xr.DataArray, components: int = 20, statistics: xr.Dataset | None = None) -> xr.DataArray:
    """Components of a cube by descending variance, in reflectance about the mean.

    Parameters, result and errors as in `mnf`; `eigenvalues` are variances.

    References
    ----------
    Jolliffe, I. T. (2002). Principal component analysis. Springer.

    Examples
    --------
    >>> values = np.array([[[0.1, 0.1], [0.2, 0.2]], [[0.3, 0.3], [0.4, 0.4]]])
    >>> cube = xr.DataArray(values, {"wavelength": [500.0, 700.0]}, ("y", "x", "wavelength"))
    >>> pca(cube, 1).values.astype(float).round(3).ravel().tolist()
    [-0.212, -0.071, 0.071, 0.212]
    """
    return _components(cube, components, statistics, "pca", 0.0)


def inverse_transform(components: xr.DataArray, statistics: xr.Dataset, *, ridge: float = 0.0) -> xr.DataArray:
    """Reflectance (y, x, wavelength) float32 of components of `mnf` or `pca`, lazy where they are.

    Parameters
    ----------
    components : (component, y, x) named "mnf" or "pca". Those that are left out, by `isel` or `sel`, count as zero.
    statistics, ridge : those that the components are from.

    Raises
    ------
    SchemaError : no components, or no statistics of as many wavelengths.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> values = rng.uniform(0.1, 0.5, (4, 6, 3))
    >>> cube = xr.DataArray(values, {"wavelength": [500.0, 700.0, 900.0]}, ("y", "x", "wavelength"))
    >>> statistics = scene_statistics(cube)
    >>> back = inverse_transform(mnf(cube, 3, statistics), statistics)
    >>> bool(abs(back - cube).max() < 1e-6)
    True
    """
    components = require_dims(components, (COMPONENT, Y, X), "components")
    kind = components.name
    if kind not in _VARIABLES or COMPONENT not in components.coords:
        raise SchemaError(f"components are named {kind!r}; take them from mnf or pca, and keep name and numbers")
    transform = _transform(_background(statistics, statistics), kind, ridge)
    numbers = np.asarray(components[COMPONENT])
    if numbers.size and not (numbers.min() >= 1 and numbers.max() <= transform.mean.size):
        raise SchemaError(
            f"components go to {numbers.max()}, the statistics have {transform.mean.size} wavelengths; give those that "
            f"the components are from"
        )
    coords = {name: c.variable for name, c in statistics["mean"].coords.items() if c.dims == (WAVELENGTH,)}
    return _restored(components, transform, numbers - 1, coords)


def denoise(
    cube: xr.DataArray,
    components: int = 20,
    statistics: xr.Dataset | None = None,
    *,
    method: Kind = "mnf",
    ridge: float = 0.0,
) -> xr.DataArray:
    """The cube made of its first components alone: reflectance without the noise that the others hold.

    Parameters
    ----------
    cube, components, statistics, ridge : as in `mnf`.
    method : "mnf" or "pca".

    Returns
    -------
    (y, x, wavelength) float32 reflectance, NaN where no data; lazy where the cube is.

    Notes
    -----
    What is small, rare or as fine as a pixel may be in the components left out.

    References
    ----------
    Green, A. A. et al. (1988). IEEE Transactions on Geoscience and Remote Sensing 26(1), 65-74.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> clean = 0.02 * np.arange(20)[:, None, None] * [1.0, 2.0, 0.5, 0.3] + 0.1
    >>> cube = xr.DataArray(clean + rng.normal(0, 0.01, (20, 20, 4)), dims=("y", "x", "wavelength"))
    >>> cube = cube.assign_coords(wavelength=[500.0, 700.0, 900.0, 1100.0])
    >>> round(float(((denoise(cube, 1) - clean) ** 2).mean() ** 0.5), 3)
    0.006
    """
    if method not in _VARIABLES:
        raise ConfigError(f"method must be 'mnf' or 'pca', not {method!r}")
    if statistics is None:
        statistics = scene_statistics(cube, noise="quiet").compute()
    return inverse_transform(_components(cube, components, statistics, method, ridge), statistics, ridge=ridge)


class _Forms(NamedTuple):
    """Components from the projections of a pass: matrix (k, r), offsets (k,)."""

    matrix: NDArray[np.float64]
    offsets: NDArray[np.float64]


def _forms(model: _Forms, sums: Sums) -> Mapping[str, NDArray[Any]]:
    return {COMPONENT: linear_forms(model.matrix, sums.projections, model.offsets)}


def _components(
    cube: xr.DataArray, count: int, statistics: xr.Dataset | None, kind: Kind, ridge: float
) -> xr.DataArray:
    cube = require_dims(cube, CUBE_DIMS, "the cube")
    if not 1 <= count <= cube.sizes[WAVELENGTH]:
        raise ConfigError(f"components must be 1 to {cube.sizes[WAVELENGTH]}, the number of wavelengths, not {count}")
    transform = _transform(_background(statistics, cube), kind, ridge)
    forward = transform.forward[:count]
    w = weights(forward, divergence=False)
    model = _Forms(forward @ w.basis.T, -forward @ transform.mean)
    planes = finished_planes(cube, w, Finish(((_forms, model),), {COMPONENT: slice(1, count + 1)}))[1:]
    coords: dict[Any, Any] = {name: c.variable for name, c in cube.coords.items() if WAVELENGTH not in c.dims}
    coords[COMPONENT] = xr.Variable(COMPONENT, np.arange(1, count + 1), {"long_name": "number of the component"})
    describe_coordinates(coords)
    found = xr.DataArray(planes, coords, (COMPONENT, Y, X))
    return describe(found, _VARIABLES[kind], eigenvalues=transform.eigenvalues.tolist())


def _background(statistics: xr.Dataset | None, of: Any) -> Any:
    return background_of(scene_statistics(of, noise="quiet").compute() if statistics is None else statistics, of)


def _transform(background: Any, kind: str, ridge: float) -> kernel.Transform:
    with threadpool_limits(1, user_api="blas"):  # the same digits whatever the number of threads
        try:
            if kind == "pca":
                return kernel.principal_components(background.mean, background.covariance)
            return kernel.mnf(background.mean, background.covariance, background.noise_covariance, ridge=ridge)
        except ValueError as error:
            raise EndmemberError(f"{kind}: {error}") from error


def _restored(
    components: xr.DataArray, transform: kernel.Transform, rows: NDArray[np.intp], coords: dict[Any, Any]
) -> xr.DataArray:
    how = {"inverse": np.ascontiguousarray(transform.inverse[:, rows].T), "mean": transform.mean}
    data, size = components.data, transform.mean.size
    if hasattr(data, "dask"):
        import dask.array as da

        height = max(1, _BLOCK_BYTES // max(1, 4 * size * max(data.chunks[2])))
        heights = tuple(part for rows in data.chunks[1] for part in _parts(rows, height))
        data = da.blockwise(
            _spectra, "yxw", data.rechunk((-1, heights, data.chunks[2])), "kyx", new_axes={"w": size},
            concatenate=True, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32), **how,
        )  # fmt: skip
    else:
        data = _spectra(data, **how)
    kept = {name: c.variable for name, c in components.coords.items() if COMPONENT not in c.dims}
    found = xr.DataArray(data, {**kept, **coords}, CUBE_DIMS)
    return describe(found, "reflectance")


def _parts(rows: int, height: int) -> list[int]:
    return [min(height, rows - start) for start in range(0, rows, height)]


def _spectra(planes: NDArray[Any], *, inverse: NDArray[np.float64], mean: NDArray[np.float64]) -> NDArray[np.float32]:
    """Components (k, rows, columns) as spectra (rows, columns, L)."""
    pixels = planes.reshape(len(planes), -1).T.astype(np.float64)
    return (pixels @ inverse + mean).astype(np.float32).reshape(*planes.shape[1:], -1)
