"""Statistics of a whole cube: mean, covariance and noise covariance, in one pass over strips of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.errors import ConfigError, EndmemberError, SchemaError
from hsi_dask.kernels.moments import Moments, block_moments, combine, combine_all
from hsi_dask.methods.specification import Background
from hsi_dask.ops.decoding import checked, storage
from hsi_dask.schema import CUBE_DIMS, SAME_WAVELENGTH, WAVELENGTH, X, Y, describe_coordinates, require_dims

OTHER = "other_wavelength"
Noise = Literal["all", "quiet"]
_STRIP_BYTES = 48 * 2**20  # of stored numbers of whole spectra: a strip a thread, and its copies in float64


def scene_statistics(cube: xr.DataArray, *, where: xr.DataArray | None = None, noise: Noise = "all") -> xr.Dataset:
    """Mean, covariance and noise covariance of a cube's pixels, in one pass.

    Parameters
    ----------
    cube : (y, x, wavelength) reflectance, or stored integers with `scale_factor` and `_FillValue` in attrs; numpy or
        dask. Pixels with a missing value, or of zeros alone, are left out.
    where : (y, x) bool, pixels that count; None is all.
    noise : from which neighbours: "all", or "quiet", the half of all quads of 2 x 2 pixels that differ least, so that
        edges of fields and roofs are not taken for noise.

    Returns
    -------
    Dataset, float64, lazy where the cube is: `mean` (wavelength), `covariance` and `noise_covariance` (wavelength,
    other_wavelength) in squared reflectance, `pixels` how many they are of. Noise is what neighbours in y and x differ
    by, over two: an upper bound, for the ground differs too.

    Notes
    -----
    Sums are exact for stored integers, and combined by pairs in a fixed order: chunks change nothing but the last
    digits of the combination.

    Raises
    ------
    SchemaError : a dimension or coordinate is missing.

    References
    ----------
    Green, A. A. et al. (1988). IEEE Transactions on Geoscience and Remote Sensing 26(1), 65-74.

    Examples
    --------
    >>> cube = xr.DataArray(np.ones((2, 2, 2)) * [[[1], [2]], [[3], [4]]], dims=("y", "x", "wavelength"))
    >>> found = scene_statistics(cube.assign_coords(wavelength=[500.0, 600.0]))
    >>> found["mean"].values.tolist(), int(found.pixels)
    ([2.5, 2.5], 4)
    """
    cube = require_dims(cube, CUBE_DIMS, "the cube")
    if WAVELENGTH not in cube.coords:
        raise SchemaError("the cube has no wavelength coordinate; assign one in nm")
    if noise not in ("all", "quiet"):
        raise ConfigError(f"noise must be 'all' or 'quiet', not {noise!r}")
    found = cube_moments(cube, where, noise)
    size = cube.sizes[WAVELENGTH]
    shapes = {"mean": (size,), "covariance": (size, size), "noise_covariance": (size, size), "pixels": ()}
    if isinstance(found, Moments):
        values: dict[str, Any] = _fields(found)
    else:
        import dask.array as da
        from dask.delayed import delayed

        fields = delayed(_fields, pure=True)(found)
        values = {
            name: da.from_delayed(fields[name], shape, dtype=np.int64 if name == "pixels" else np.float64)
            for name, shape in shapes.items()
        }
    coords = {name: c.variable for name, c in cube.coords.items() if c.dims == (WAVELENGTH,)}
    coords[OTHER] = xr.Variable(OTHER, np.asarray(cube[WAVELENGTH]), cube[WAVELENGTH].attrs)
    describe_coordinates(coords)
    dims = {"mean": (WAVELENGTH,), "pixels": ()}
    return xr.Dataset({name: (dims.get(name, (WAVELENGTH, OTHER)), values[name]) for name in shapes}, coords)


def background_of(statistics: xr.Dataset, cube: xr.DataArray) -> Background:
    """Statistics as methods take them, computed; refused where they are of other wavelengths than the cube."""
    if missing := {"mean", "covariance", "noise_covariance", "pixels"} - set(statistics):
        raise SchemaError(f"statistics lack {', '.join(sorted(missing))}; take them from scene_statistics")
    known, wanted = np.asarray(statistics[WAVELENGTH]), np.asarray(cube[WAVELENGTH])
    if known.shape != wanted.shape or (np.abs(known - wanted) > SAME_WAVELENGTH).any():
        raise SchemaError(
            f"statistics are of {known.size} other wavelengths than the cube's {wanted.size}; take them of this cube"
        )
    found = statistics[["mean", "covariance", "noise_covariance", "pixels"]].compute()
    mean, covariance, noise = (np.asarray(found[n], np.float64) for n in ("mean", "covariance", "noise_covariance"))
    return Background(mean, covariance, noise, int(found["pixels"]))


def cube_moments(cube: xr.DataArray, where: xr.DataArray | None = None, noise: Noise = "all") -> Any:
    """`Moments` of a cube in memory, or a dask delayed of them."""
    cube = checked(cube)
    scale, fill = storage(cube)
    data = cube.data
    valid = None if where is None else require_dims(where, (Y, X), "where").data
    fits = max(2, _STRIP_BYTES // max(1, data.dtype.itemsize * data.shape[1] * data.shape[2]) // 2 * 2)
    if not hasattr(data, "dask"):
        values, counts = np.asarray(data), None if valid is None else np.asarray(valid)
        step = fits if noise == "quiet" else max(1, len(values))  # what is quiet is so among the quads of a strip
        rows = [slice(start, start + step) for start in range(0, max(1, len(values)), step)]
        return combine_all([_strip_moments([values], scale, fill, counts, noise, r) for r in rows])
    import dask.array as da
    from dask.delayed import delayed

    data = data.rechunk({0: _height(data.chunks[0], fits), 1: -1})
    blocks = [delayed(list(row.ravel())) for row in data.to_delayed()]
    masks: list[Any] = [None] * len(blocks)
    if valid is not None:
        masks = list(da.asarray(valid).rechunk((data.chunks[0], -1)).to_delayed().ravel())
    of_strip, both = delayed(_strip_moments, pure=True), delayed(combine, pure=True)
    level = [
        of_strip(block, scale, fill, mask, noise, slice(start, start + fits))
        for block, mask, height in zip(blocks, masks, data.chunks[0], strict=True)
        for start in range(0, max(1, height), fits)
    ]
    while len(level) > 1:
        pairs = [both(*level[i : i + 2]) for i in range(0, len(level) - 1, 2)]
        level = pairs + level[2 * len(pairs) :]
    return level[0]


def _height(rows: tuple[int, ...], fits: int) -> Any:
    """Rows of the blocks that strips are cut from: the data's own, unless they are few or cut quads of pixels."""
    return rows if all(n % 2 == 0 and n >= fits // 4 for n in rows[:-1]) else fits


def _strip_moments(
    parts: Sequence[NDArray[Any]],
    scale: float,
    fill: float | None,
    valid: NDArray[np.bool_] | None,
    noise: Noise,
    rows: slice,
) -> Moments:
    """Moments of rows of blocks (y, x, wavelength) that follow each other along wavelength."""
    counts = None if valid is None else valid[rows]
    return block_moments([part[rows] for part in parts], scale=scale, fill=fill, where=counts, noise=noise)


def _fields(found: Moments) -> dict[str, Any]:
    if found.pixels < 2 or not found.pairs:
        raise EndmemberError(
            f"statistics need neighbours that have data, and there are {found.pixels} pixels in {found.pairs} pairs"
        )
    return {
        "mean": found.mean, "covariance": found.covariance, "noise_covariance": found.noise_covariance,
        "pixels": np.int64(found.pixels),
    }  # fmt: skip
