"""k-means of a whole scene, through scikit-learn."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from hsi_dask.errors import ConfigError, EndmemberError
from hsi_dask.ops.estimators import apply
from hsi_dask.ops.samples import features
from hsi_dask.ops.sampling import sample_pixels
from hsi_dask.schema import (
    CLASS_DIMS,
    ENDMEMBER,
    MAX_ENDMEMBERS,
    NAME,
    WAVELENGTH,
    Variable,
    X,
    Y,
    class_attrs,
    describe,
)

_BATCH = 2**14  # pixels of a step
_SAMPLE = 20_000  # pixels that the first centres come from
_CLASSES = Variable("kmeans_class", CLASS_DIMS, "uint8", "k-means cluster", role="class", stored_share=0.25)


def kmeans(cube: xr.DataArray, clusters: int, *, seed: int = 0) -> xr.Dataset:
    """Clusters of the pixels of a whole scene by k-means, and the mean spectrum of each.

    Parameters
    ----------
    cube : (y, x, wavelength) as in `map_materials`, or a map (component, y, x) such as `mnf` gives.
    clusters : how many, 2 to 254.
    seed : of the sample and of the first centres.

    Returns
    -------
    Dataset of `kmeans_class` (y, x) uint8, lazy where the cube is, 1 to `clusters` in order of the centres' brightness,
    255 where no data; and `centers` (endmember, wavelength), computed.

    Raises
    ------
    ConfigError : scikit-learn is not installed, or clusters out of range.
    EndmemberError : fewer pixels with data than clusters.

    Notes
    -----
    Centres are those of a sample, refined by a step of mini-batch k-means for every 16 384 pixels of the scene, row by
    row: one pass, whatever the chunks. Distances are Euclidean: for components of `mnf`, in units of the noise.

    References
    ----------
    Sculley, D. (2010). Web-scale k-means clustering. Proc. WWW 2010, 1177-1178.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> values = np.where(np.arange(20)[:, None, None] < 10, 0.1, 0.4) + rng.normal(0, 0.01, (20, 20, 3))
    >>> cube = xr.DataArray(values, {"wavelength": [500.0, 700.0, 900.0]}, ("y", "x", "wavelength"))
    >>> found = kmeans(cube, 2).kmeans_class
    >>> found.values[[0, 15], 0].tolist()
    [1, 2]
    """
    try:
        from sklearn.cluster import KMeans, MiniBatchKMeans
    except ImportError as error:
        raise ConfigError(
            'kmeans needs scikit-learn, which is not installed; get it with: pip install "hsi-dask[learn]"'
        ) from error
    if not 2 <= clusters <= MAX_ENDMEMBERS:
        raise ConfigError(f"clusters must be 2 to {MAX_ENDMEMBERS}, not {clusters}")
    table = features(cube)
    first = _first_pixels(cube, table, seed)
    if len(first) < clusters:
        raise EndmemberError(f"{clusters} clusters need as many pixels with data, and there are {len(first)}")
    with threadpool_limits(1):  # sums of several threads come in no fixed order
        start = KMeans(clusters, n_init=3, random_state=seed).fit(first)
        model = MiniBatchKMeans(clusters, init=start.cluster_centers_, n_init=1, reassignment_ratio=0.0)
        model.partial_fit(first)
    model = _refined(table, model)
    model.cluster_centers_ = model.cluster_centers_[np.linalg.norm(model.cluster_centers_, axis=1).argsort()]
    numbers = np.arange(1, clusters + 1)
    classes = describe(
        apply(cube, _Numbered(model, numbers)).rename("kmeans_class"), _CLASSES,
        **class_attrs(numbers.tolist(), [f"cluster_{n}" for n in numbers]),
    )  # fmt: skip
    dim = table.dims[2]
    coords: dict[Any, Any] = {
        ENDMEMBER: numbers,
        NAME: (ENDMEMBER, np.array([f"cluster {n}" for n in numbers], object)),
    }
    coords |= {key: c.variable for key, c in table.coords.items() if c.dims == (dim,)}
    centers = xr.DataArray(model.cluster_centers_.astype(np.float32), coords, (ENDMEMBER, dim))
    return xr.Dataset({"kmeans_class": classes, "centers": centers}, attrs={"seed": seed})


class _Numbered:
    """Clusters numbered from 1."""

    def __init__(self, model: Any, numbers: NDArray[np.int64]) -> None:
        self.model, self.classes_ = model, numbers

    def predict(self, spectra: NDArray[np.float32]) -> NDArray[Any]:
        return np.asarray(self.model.predict(spectra)) + 1


def _first_pixels(cube: xr.DataArray, table: xr.DataArray, seed: int) -> NDArray[np.float32]:
    """Pixels spread over the scene, the same whatever the chunks."""
    if WAVELENGTH in cube.dims:
        return np.asarray(sample_pixels(cube, _SAMPLE, seed=seed))
    step = max(1, int(np.sqrt(table.sizes[Y] * table.sizes[X] / _SAMPLE)))
    return _known(np.asarray(table[step // 2 :: step, step // 2 :: step]))


def _refined(table: xr.DataArray, model: Any) -> Any:
    """The model after a step for each strip of rows; one graph, so that every block is read once."""
    height = max(1, _BATCH // max(1, table.sizes[X]))
    if not hasattr(table.data, "dask"):
        for start in range(0, table.sizes[Y], height):
            model = _step(model, np.asarray(table.data[start : start + height]))
        return model
    from dask.delayed import delayed

    step = delayed(_step, pure=False)
    state: Any = model
    for strip in table.data.rechunk((height, -1, -1)).to_delayed().ravel():
        state = step(state, strip)
    return state.compute()


def _step(model: Any, strip: NDArray[np.float32]) -> Any:
    pixels = _known(strip)
    if not len(pixels):
        return model
    with threadpool_limits(1):
        return deepcopy(model).partial_fit(pixels)


def _known(block: NDArray[np.float32]) -> NDArray[np.float32]:
    pixels = block.reshape(-1, block.shape[2])
    return pixels[~np.isnan(pixels[:, 0])]
