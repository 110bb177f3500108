"""Many files as one lazy cube."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from hsi_dask.batch.tiles.mixture import require_unmixed
from hsi_dask.batch.tiles.search import find_tiles
from hsi_dask.errors import ConfigError
from hsi_dask.io import blocks
from hsi_dask.io.readers import read_source
from hsi_dask.io.tile_source import TileSource
from hsi_dask.ops.mosaic import Overlap, mosaic

# A block of stored bytes that holds whole chunks of every file; files whose chunks have nothing in common would
# need more, and some of their chunks are inflated more than once instead
_MOST = 4 * blocks.BLOCK_BYTES


def open_mosaic(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    chunks: Any = "auto",
    masked: bool = True,
    overlap: Overlap = "error",
    mix: bool = False,
) -> xr.DataArray:
    """Open many tiles as one lazy cube on their common grid. Reads metadata only.

    Parameters
    ----------
    paths : path, or sequence of paths
        Files, folders of them (searched in depth), patterns such as "site/*.h5", or lists as `hsi-dask run` takes them.
    chunks : "auto" or anything xarray accepts
        "auto": dask blocks of whole stored chunks, the tiles' own.
    masked : bool
        True: float32 reflectance, NaN where no data or no tile. False: the files' numbers, with `scale_factor`
        and `_FillValue` in the attributes.
    overlap : {"error", "first", "last"}
        What holds where files overlap. "error" refuses such files; "first" and "last" take the first or last, in
        the order of `paths`, that has data, as flight lines need it.
    mix : bool
        May files be of several products (.001 and .002), sites or years? Their reflectances differ.

    Returns
    -------
    xarray.DataArray
        "reflectance" (y, x, wavelength) with the coordinates of `open_cube`. Attributes: those that all files
        share, `tiles` (easting_northing of each south-west corner) and `tile_bounds` (west, south, east, north of each
        in turn). `.sel(y=slice(north, south), x=slice(west, east))` reads only what it needs.

    Raises
    ------
    GridError
        Different CRS, resolution, wavelengths (by more than 0.01 nm) or pixel grids, or overlapping files. Names
        both with their values.
    ConfigError
        Files are mixed, and `mix` is False.
    FileFormatError
        A file cannot be read, as in `open_cube`.

    Examples
    --------
    >>> import tempfile
    >>> from hsi_dask.synthetic import simulate_site
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     site = simulate_site(folder, tiles=(2, 2), size=20)
    ...     cube = open_mosaic(site.paths[:3])
    >>> dict(cube.sizes), cube.attrs["tiles"][0]
    ({'y': 40, 'x': 40, 'wavelength': 426}, '368000_4306020')
    """
    import rioxarray  # noqa: F401  registers .rio

    if chunks is None:
        raise ConfigError('a mosaic is lazy through dask: chunks may not be None; leave it at "auto"')
    with ThreadPoolExecutor(8) as pool:  # on network file systems opening is mostly waiting
        files = list(pool.map(read_source, _in_order(paths)))
    if not mix:
        require_unmixed(files)
    if isinstance(chunks, str) and chunks == "auto":
        chunks = _common_block(files)
    return mosaic([file.cube(chunks=chunks, masked=masked) for file in files], overlap=overlap)


def _in_order(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The files in the order given, each once."""
    listed = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not listed:
        find_tiles([])
    return list(dict.fromkeys(path for one in listed for path in find_tiles([one])))


class _Cubes(NamedTuple):
    """What decides the blocks of cubes that are read together."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stored_chunks: tuple[int, ...]


def _common_block(files: Sequence[TileSource]) -> tuple[int, ...]:
    """A block of whole stored chunks of every file: where all are stored alike, the block each would have alone."""
    first, stored = files[0].reflectance, {file.reflectance.stored_chunks for file in files}
    shape = tuple(max(sizes) for sizes in zip(*(file.shape for file in files), strict=True))
    chunk = tuple(min(math.lcm(*sizes), n) for sizes, n in zip(zip(*stored, strict=True), shape, strict=True))
    if math.prod(chunk) * first.dtype.itemsize > _MOST:
        chunk = first.stored_chunks
    return blocks.block_shape(_Cubes(shape, first.dtype, chunk))
