"""Choosing wavelengths: water-vapour windows and the noisy end, by wavelength and never by index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.errors import ConfigError, SchemaError
from hsi_dask.schema import CUBE_DIMS, WAVELENGTH, X, Y, require_labels
from hsi_dask.sources import Selection, find_selection, register_selection


def select_bands(
    cube: xr.DataArray, *, windows: Sequence[tuple[float, float]] | None = None, drop_last: int = 10
) -> xr.DataArray:
    """The cube without its water-vapour windows and without its last, noisy wavelengths.

    Parameters
    ----------
    cube : (..., wavelength), a cube or sampled pixels.
    windows : pairs (from, to) in nm, both ends dropped; None takes the file's own through the coordinate
        `good_wavelength`.
    drop_last : how many of the longest wavelengths to drop besides.

    Returns
    -------
    The remaining wavelengths, lazily: dropped ones are not read where they fill stored chunks of their own.

    Examples
    --------
    >>> wavelength = {"wavelength": [500, 1400, 2500]}
    >>> cube = xr.DataArray([[[0.1, 0.0, 0.3]]], wavelength, ("y", "x", "wavelength"))
    >>> select_bands(cube, windows=[(1340, 1445)], drop_last=0).wavelength.values
    array([ 500, 2500])
    """
    cube = require_labels(cube, CUBE_DIMS, "the cube")
    if WAVELENGTH not in cube.dims or WAVELENGTH not in cube.coords:
        raise SchemaError(f"select_bands needs a dimension and coordinate {WAVELENGTH!r} in nm, not {cube.dims}")
    wavelength = np.asarray(cube[WAVELENGTH], dtype=float)
    if not 0 <= drop_last < wavelength.size:
        raise ConfigError(
            f"drop_last must be 0 to {wavelength.size - 1} of {wavelength.size} wavelengths, not {drop_last}"
        )
    keep = _outside(cube, wavelength, windows)
    keep[wavelength.size - drop_last :] = False
    if not keep.any():
        raise ConfigError(f"windows {windows} and drop_last={drop_last} leave no wavelength; drop fewer")
    return _take(cube, np.flatnonzero(keep))


def _outside(
    cube: xr.DataArray, wavelength: NDArray[np.float64], windows: Sequence[tuple[float, float]] | None
) -> NDArray[np.bool_]:
    if windows is None:
        if "good_wavelength" not in cube.coords:
            raise SchemaError("the cube has no good_wavelength coordinate; give windows=[(from, to), ...] in nm")
        return np.array(cube["good_wavelength"], dtype=bool)
    keep = np.ones(wavelength.size, dtype=bool)
    for window in windows:
        low, high = window
        if not low < high:
            raise ConfigError(f"a window must be (from, to) in nm with from < to, not {tuple(window)}")
        keep &= (wavelength < low) | (wavelength > high)
    return keep


def _take(cube: xr.DataArray, wanted: NDArray[np.intp]) -> xr.DataArray:
    """`isel(wavelength=wanted)`; on dask, block by block, so that the choice fuses into the read."""
    if not hasattr(cube.data, "dask"):
        return cube.isel({WAVELENGTH: wanted})
    axis = cube.get_axis_num(WAVELENGTH)
    coords = cube.coords.to_dataset().isel({WAVELENGTH: wanted}).coords
    return xr.DataArray(_take_blocks(cube.data, axis, wanted), coords, cube.dims, cube.name, cube.attrs)


def _take_blocks(data: Any, axis: int, wanted: NDArray[np.intp]) -> Any:
    # dask's own fancy indexing moves elements between blocks and does not fuse; ascending ones need neither
    import dask.array as da
    from dask.array.chunk import getitem
    from dask.base import tokenize
    from dask.highlevelgraph import HighLevelGraph
    from dask.task_spec import Task, TaskRef

    name = f"select-bands-{tokenize(data.name, axis, wanted)}"
    parts = [(k, index) for k, index in enumerate(_by_block(data.chunks[axis], wanted)) if index.size]
    chunks = (*data.chunks[:axis], tuple(index.size for _, index in parts), *data.chunks[axis + 1 :])
    graph: dict[Any, Any] = {}
    for at in np.ndindex(*(len(c) for c in chunks)):
        number, index = parts[at[axis]]
        key: Any = slice(int(index[0]), int(index[-1]) + 1) if np.ptp(index) == index.size - 1 else index.tolist()
        source = (data.name, *at[:axis], number, *at[axis + 1 :])
        full = (slice(None),) * axis
        graph[(name, *at)] = Task(
            (name, *at), getitem, TaskRef(source), (*full, key, *(slice(None),) * (data.ndim - axis - 1))
        )
    register_selection(name, Selection(data.name, data.chunks, axis, tuple(parts)))
    layered = HighLevelGraph.from_collections(name, graph, dependencies=[data])
    return da.Array(layered, name, chunks, dtype=data.dtype)


def _by_block(sizes: tuple[int, ...], wanted: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """The wanted indices of each block, counted from its start."""
    start = 0
    for size in sizes:
        yield wanted[(wanted >= start) & (wanted < start + size)] - start
        start += size


def single_wavelength(cube: xr.DataArray, number: int) -> xr.DataArray:
    """`cube.isel(wavelength=number)`, reading that plane alone after `select_bands` too, which dask cannot see into."""
    plane = cube.isel({WAVELENGTH: number})
    data, numbers = _before_selection(cube.data, np.array([number]))
    if data is not cube.data:
        plane = plane.copy(data=data[(*(slice(None),) * cube.get_axis_num(WAVELENGTH), int(numbers[0]))])
    return plane


def single_pixel(cube: xr.DataArray, row: int, column: int) -> xr.DataArray:
    """The spectrum at y number `row` and x number `column`, computed; reads that pixel's chunks alone."""
    pixel = cube.isel({Y: row, X: column})
    data, numbers = _before_selection(cube.data, np.arange(cube.sizes[WAVELENGTH]))
    if data is cube.data:
        return pixel.compute()
    index = [slice(None)] * 3
    index[cube.get_axis_num(Y)], index[cube.get_axis_num(X)] = row, column  # type: ignore[call-overload]
    return pixel.copy(data=data[tuple(index)].compute()[numbers])


def _before_selection(data: Any, numbers: NDArray[np.intp]) -> tuple[Any, NDArray[np.intp]]:
    """The array that `select_bands` chose from, however often, and these wavelengths' numbers in it."""
    if not hasattr(data, "dask"):
        return data, numbers
    while (selection := find_selection(data)) is not None:
        data, numbers = selection.array(data), selection.numbers()[numbers]
    return data, numbers
