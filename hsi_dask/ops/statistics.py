"""Statistics of a whole cube: mean, covariance and noise covariance, in one pass over strips of rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.errors import ConfigError, EndmemberError, SchemaError
from hsi_dask.kernels.moments import Moments, block_moments, combine, combine_all
from hsi_dask.methods.specification import Background
from hsi_dask.ops.decoding import checked, storage
from hsi_dask.ops.whole_planes import Place, hold_in_threads
from hsi_dask.schema import CUBE_DIMS, SAME_WAVELENGTH, WAVELENGTH, X, Y, describe_coordinates, require_dims
from hsi_dask.sources import PieceSource, Source, find_source

OTHER = "other_wavelength"
Noise = Literal["all", "quiet"]
_STRIP_BYTES = 48 * 2**20  # of stored numbers of whole spectra: a strip a thread
MOST_HELD = 2**30  # bytes of stored numbers of blocks that lie side by side; a tile of 1 km in whole planes has 0.9


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
        return combine_all([_strip_moments([values], counts, r, scale=scale, fill=fill, noise=noise) for r in rows])
    import dask.array as da
    from dask.delayed import delayed

    of_strip = delayed(partial(_strip_moments, scale=scale, fill=fill, noise=noise), pure=True)
    both = delayed(combine, pure=True)
    source, row_bytes = find_source(data), data.dtype.itemsize * data.shape[1] * data.shape[2]
    if source is not None and max(data.chunks[0]) * row_bytes > MOST_HELD:
        level = _by_turns(source, valid, MOST_HELD // row_bytes // fits * fits or fits, fits, of_strip)
    else:
        data = data.rechunk({0: _height(data.chunks[0], fits), 1: -1})
        blocks = [delayed(list(row.ravel())) for row in data.to_delayed()]
        masks: list[Any] = [None] * len(blocks)
        if valid is not None:
            masks = list(da.asarray(valid).rechunk((data.chunks[0], -1)).to_delayed().ravel())
        level = [
            of_strip(block, mask, slice(start, start + fits))
            for block, mask, height in zip(blocks, masks, data.chunks[0], strict=True)
            for start in range(0, max(1, height), fits)
        ]
    while len(level) > 1:
        pairs = [both(*level[i : i + 2]) for i in range(0, len(level) - 1, 2)]
        level = pairs + level[2 * len(pairs) :]
    return level[0]


def held_bytes(shape: tuple[int, int, int], block_rows: int, itemsize: int) -> int:
    """How many bytes of stored numbers `cube_moments` of a cube (y, x, wavelength) with such blocks holds, at most.

    Blocks that lie side by side, and those below them that are read meanwhile.

    Examples
    --------
    >>> [held_bytes((rows, 1000, 362), rows, 2) for rows in (1000, 5000)], held_bytes((1000, 1000, 362), 64, 2)
    ([724000000, 1073741824], 99912000)
    """
    row = max(1, shape[1] * shape[2] * itemsize)
    if block_rows * row > MOST_HELD:
        return MOST_HELD
    return shape[1] * shape[2] * itemsize * min(shape[0], 2 * max(block_rows, _STRIP_BYTES // row))


def _by_turns(source: Source, valid: Any, height: int, fits: int, of_strip: Any) -> list[Any]:
    """Moments of strips of blocks that cannot all be held: so many rows are read once those before them are done."""
    from dask.delayed import delayed

    columns, wavelengths = slice(source.columns[0].start, source.columns[-1].stop), np.concatenate(source.wavelengths)
    top, end = source.rows[0].start, source.rows[-1].stop
    found: list[Any] = []
    done: list[Any] = []
    for start in range(top, end, height):
        rows = slice(start, min(start + height, end))
        parts = delayed(partial(_held, source.array, (rows, columns, wavelengths)), pure=False)(done)
        counts = None if valid is None else valid[rows.start - top : rows.stop - top]
        done = [of_strip(parts, counts, slice(n, n + fits)) for n in range(0, rows.stop - rows.start, fits)]
        found += done
    return found


def _held(array: PieceSource, place: Place, done: object) -> list[NDArray[Any]]:
    return [hold_in_threads(array, place).transpose(1, 2, 0)]


def _height(rows: tuple[int, ...], fits: int) -> Any:
    """Rows of the blocks that strips are cut from: the data's own, unless they are few or cut quads of pixels."""
    return rows if all(n % 2 == 0 and n >= fits // 4 for n in rows[:-1]) else fits


def _strip_moments(
    parts: Sequence[NDArray[Any]],
    valid: NDArray[np.bool_] | None,
    rows: slice,
    *,
    scale: float,
    fill: float | None,
    noise: Noise,
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
