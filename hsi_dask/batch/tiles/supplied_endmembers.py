"""Endmembers that are given: read from the file the configuration names, brought to the tiles' wavelengths."""

from __future__ import annotations

import logging
import os

import xarray as xr

from hsi_dask.config import RunConfig
from hsi_dask.errors import ConfigError
from hsi_dask.io.spectra import read_spectra
from hsi_dask.io.tile_source import TileSource
from hsi_dask.ops.bands import select_bands
from hsi_dask.ops.resampling import resample_endmembers
from hsi_dask.schema import MAX_ENDMEMBERS

logger = logging.getLogger(__name__)


def supplied_endmembers(config: RunConfig, file: TileSource) -> tuple[RunConfig, xr.DataArray | None]:
    """The configuration with the number of given spectra, and these on the file's kept wavelengths; None if not given.

    Raises
    ------
    EndmemberError
        The file of spectra cannot be read, lacks a name, or does not cover the wavelengths.
    ConfigError
        Thresholds for another number of endmembers.
    """
    if config.endmembers.file is None:
        return config, None
    path = os.path.abspath(os.path.expanduser(config.endmembers.file))
    bands = config.bands
    cube = select_bands(file.numbers(), windows=bands.windows, drop_last=bands.drop_last)
    given = config.endmembers
    read = read_spectra(path, given.names, units=given.units, material_column=given.material_column)
    logger.info("%s: %s", path, read.attrs.get("units_from"))
    spectra = resample_endmembers(read, cube, grid=file.wavelength)
    count = int(spectra.sizes["endmember"])
    for method, value in config.limits.items():
        if isinstance(value, tuple) and len(value) != count:
            raise ConfigError(
                f"thresholds.{method} has {len(value)} numbers, but {path} gives {count} endmembers; "
                "give one number, or one per endmember"
            )
    known = {"count": count} if count <= MAX_ENDMEMBERS else {}  # a class library may have thousands
    return config.replace(endmembers={"file": path, **known}), spectra
