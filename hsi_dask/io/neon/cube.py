"""NEON files -> lazy labelled cubes, and with their quality layers Datasets: xarray's engine "neon"."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import xarray as xr
from xarray.backends import BackendEntrypoint

from hsi_dask import schema
from hsi_dask.errors import FileFormatError
from hsi_dask.io.neon.layers import layer_dataset, read_layers
from hsi_dask.io.neon.metadata import NAME, NeonFile, read_metadata
from hsi_dask.io.variables import stored_variable
from hsi_dask.schema import CUBE_DIMS, GRID_MAPPING, WAVELENGTH, X, Y

__all__ = ["NeonBackend", "NeonFile", "open_cube", "open_neon", "read_metadata"]


def open_neon(path: str | os.PathLike[str], *, chunks: Any = "auto", masked: bool = True) -> xr.DataArray:
    """Open a NEON reflectance tile or flight line as a lazy labelled cube.

    Parameters
    ----------
    path : path
        An HDF5 file of DP3.30006 or DP1.30006, from 2016 on.
    chunks : "auto", None or anything xarray accepts
        "auto": dask blocks of whole stored chunks, about 64 MB of stored numbers. None: no dask, read when
        indexed. Dimensions that a dict does not name are blocked as by "auto".
    masked : bool
        True: float32 reflectance, NaN where no data. False: the file's numbers, with `scale_factor` (to
        multiply with) and `_FillValue` in the attributes.

    Returns
    -------
    xarray.DataArray
        "reflectance" (y, x, wavelength). Coordinates: y (descending) and x of the pixel centres, metres;
        wavelength and fwhm, nm; good_wavelength, False in the water-vapour windows; spatial_ref, so that
        `.rio.crs` works. Attributes tell where the data come from, and in `notes` what the file lacked.

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

    return open_cube(read_metadata(path), chunks=chunks, masked=masked)


def open_cube(file: NeonFile, *, chunks: Any = "auto", masked: bool = False) -> xr.DataArray:
    """The cube of a file whose metadata are known, as `open_neon` gives it; touches no file."""
    stored = file.reflectance.masked(file.scale_factor, file.fill_value) if masked else file.reflectance
    variable, spec = stored_variable(CUBE_DIMS, stored, chunks), schema.VARIABLES["reflectance"]
    variable.attrs = {"long_name": spec.long_name, "units": spec.units, **spec.attrs, **_provenance(file)}
    if not masked:
        variable.attrs["scale_factor"] = 1 / file.scale_factor
        if file.fill_value is not None:
            variable.attrs["_FillValue"] = stored.dtype.type(file.fill_value).item()
    return xr.Dataset({spec.name: variable}, _coordinates(file))[spec.name]


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
        found = read_layers(file)
        layers = layer_dataset(found.maps)
        if mask_and_scale:
            layers = xr.decode_cf(layers, decode_times=False, decode_coords=False)
        cube = open_cube(file, chunks=None, masked=mask_and_scale)
        dataset = cube.to_dataset().assign(layers.variables)
        dataset.attrs = _provenance(replace(file, notes=(*file.notes, *found.notes)))
        dropped = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        return dataset.drop_vars(dropped, errors="ignore")

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        if not isinstance(filename_or_obj, str | os.PathLike):
            return False
        return NAME.fullmatch(os.path.basename(os.fspath(filename_or_obj))) is not None


def _coordinates(file: NeonFile) -> dict[Hashable, xr.Variable]:
    """Pixel centres, half a pixel inside the outer edge, so that tiles join; spectra; the CRS."""
    (rows, columns), (dx, dy) = file.shape[:2], file.resolution
    transform = (file.west, dx, 0.0, file.north, 0.0, -dy)
    crs = _crs_attrs(file.epsg) | {"GeoTransform": " ".join(map(str, transform))}
    coordinates: dict[Hashable, xr.Variable] = {
        Y: xr.Variable(Y, file.north - (np.arange(rows) + 0.5) * dy),
        X: xr.Variable(X, file.west + (np.arange(columns) + 0.5) * dx),
        WAVELENGTH: xr.Variable(WAVELENGTH, file.wavelength),
        "fwhm": xr.Variable(WAVELENGTH, file.fwhm),
        "good_wavelength": xr.Variable(WAVELENGTH, file.good_wavelength),
        GRID_MAPPING: xr.Variable((), 0, crs),
    }
    schema.describe_coordinates(coordinates)
    return coordinates


@lru_cache
def _crs_attrs(epsg: int) -> dict[str, Any]:
    """CF grid mapping, and beside it the older WKT that GDAL looks for."""
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        crs = CRS.from_epsg(epsg)
    except CRSError as error:
        raise FileFormatError(f"EPSG code {epsg} is unknown to PROJ; correct 'EPSG Code'") from error
    if not crs.is_projected:
        raise FileFormatError(f"EPSG code {epsg} ({crs.name}) is not in metres; correct 'EPSG Code'")
    return {**crs.to_cf(), "spatial_ref": crs.to_wkt("WKT1_GDAL")}


def _provenance(file: NeonFile) -> dict[str, Any]:
    """Where the data come from: strings, numbers and flat lists, as netCDF, Zarr and JSON can hold them."""
    facts: dict[str, Any] = {
        "source": os.path.basename(file.path),
        "site": file.site,
        "product": file.product,
        "product_from": "layout" if file.product_inferred else "file name",
        "acquisition_dates": list(file.dates),
        "flight_lines": list(file.flight_lines),
        "epsg": file.epsg,
        "water_vapour_windows": list(sum(file.windows, ())),  # nm: low, high, low, high
        "water_vapour_windows_from": "file" if file.own_windows else "fallback",
        **file.remarks,
        "notes": list(file.notes),
    }
    return {name: value for name, value in facts.items() if value != []}
