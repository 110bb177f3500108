"""Endmembers that are given: read from the file the configuration names, brought to the tiles' wavelengths."""

from __future__ import annotations

import os

import xarray as xr

from hsi_dask.config import RunConfig
from hsi_dask.errors import ConfigError
from hsi_dask.io.spectra import read_spectra
from hsi_dask.io.tile_source import TileSource
from hsi_dask.ops.bands import select_bands
from hsi_dask.ops.resampling import resample_endmembers


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
    spectra = resample_endmembers(read_spectra(path, config.endmembers.names), cube)
    count = int(spectra.sizes["endmember"])
    for method, value in config.limits.items():
        if isinstance(value, tuple) and len(value) != count:
            raise ConfigError(
                f"thresholds.{method} has {len(value)} numbers, but {path} gives {count} endmembers; "
                "give one number, or one per endmember"
            )
    return config.replace(endmembers={"file": path, "count": count}), spectra
