"""NEON files -> lazy labelled cubes, and with their quality layers Datasets: xarray's engine "neon"."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, ClassVar

import xarray as xr
from xarray.backends import BackendEntrypoint

from hsi_dask.io.layers import layer_dataset
from hsi_dask.io.neon.metadata import NAME, read_metadata

__all__ = ["NeonBackend", "open_neon", "read_metadata"]


def open_neon(path: str | os.PathLike[str], *, chunks: Any = "auto", masked: bool = True) -> xr.DataArray:
    """Open a NEON reflectance tile or flight line as a lazy labelled cube.

    Parameters
    ----------
    path : path
        An HDF5 file of DP3.30006 or DP1.30006, from 2016 on.
    chunks, masked
        As in `open_cube`.

    Returns
    -------
    xarray.DataArray
        As `open_cube` gives it, y and x in metres.

    Raises
    ------
    FileFormatError
        Not HDF5, truncated, at-sensor radiance, the flat layout of 2013 to 2015, or a part is missing.

    Examples
    --------
    >>> import tempfile
    >>> from hsi_dask.synthetic import simulate_scene, write_neon_tile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cube = open_neon(write_neon_tile(folder, simulate_scene((20, 30))))
    >>> dict(cube.sizes), str(cube.dtype), cube.rio.crs.to_epsg()
    ({'y': 20, 'x': 30, 'wavelength': 426}, 'float32', 32618)
    """
    import rioxarray  # noqa: F401  registers .rio; half a second that reading metadata need not pay

    return read_metadata(path).cube(chunks=chunks, masked=masked)


class NeonBackend(BackendEntrypoint):
    """xarray's engine "neon": the cube, the quality layers and the view angles of one file.

    `xr.open_dataset(path, engine="neon", chunks={})` blocks by whole stored chunks. Layers carry the file's
    names in lower case; no data are NaN, or with `mask_and_scale=False` stay as stored, beside `_FillValue`.
    """

    description: ClassVar[str] = "NEON AOP surface reflectance (DP1.30006, DP3.30006), HDF5"
    url: ClassVar[str] = "https://data.neonscience.org/data-products/DP3.30006.001"

    def open_dataset(  # type: ignore[override]  # xarray's own engines add their options in the same way
        self,
        filename_or_obj: str | os.PathLike[str],
        *,
        drop_variables: str | Iterable[str] | None = None,
        mask_and_scale: bool = True,
    ) -> xr.Dataset:
        """Open lazily, without dask.

        Parameters
        ----------
        drop_variables : str or iterable of str, optional
            Names to leave out; a name that is not there is ignored.
        mask_and_scale : bool
            True: reflectance as float32, layers as floats wide enough for their integers, no data NaN.
        """
        file = read_metadata(filename_or_obj)
        found = file.layers()
        layers = layer_dataset(found.maps)
        if mask_and_scale:
            layers = xr.decode_cf(layers, decode_times=False, decode_coords=False)
        cube = file.cube(chunks=None, masked=mask_and_scale)
        dataset = cube.to_dataset().assign(layers.variables)
        dataset.attrs = replace(file, notes=(*file.notes, *found.notes)).provenance()
        dropped = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        return dataset.drop_vars(dropped, errors="ignore")

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        if not isinstance(filename_or_obj, str | os.PathLike):
            return False
        return NAME.fullmatch(os.path.basename(os.fspath(filename_or_obj))) is not None
