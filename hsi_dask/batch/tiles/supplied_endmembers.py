"""Endmembers that are given: read from the file the configuration names, brought to the tiles' wavelengths."""

from __future__ import annotations

import logging

import xarray as xr

from hsi_dask.config import RunConfig
from hsi_dask.errors import ConfigError
from hsi_dask.io.installed_libraries import kept_name
from hsi_dask.io.spectra import read_spectra
from hsi_dask.io.tile_source import TileSource
from hsi_dask.methods.registry import method
from hsi_dask.ops.bands import select_bands
from hsi_dask.ops.materials import require_library
from hsi_dask.ops.resampling import resample_endmembers
from hsi_dask.schema import MAX_ENDMEMBERS

logger = logging.getLogger(__name__)


def supplied_endmembers(config: RunConfig, file: TileSource) -> tuple[RunConfig, xr.DataArray | None]:
    """The configuration with the number of given spectra, and these on the file's kept wavelengths; None if not given.

    Raises
    ------
    EndmemberError
        The file of spectra cannot be read, lacks a name, does not cover the wavelengths, or no method can use it.
    ConfigError
        Thresholds for another number of endmembers; a method that needs a library, and none is given.
    """
    if config.endmembers.file is None:
        _require_no_materials(config)
        return config, None
    path = kept_name(config.endmembers.file)
    bands = config.bands
    cube = select_bands(file.numbers(), windows=bands.windows, drop_last=bands.drop_last)
    given = config.endmembers
    read = read_spectra(path, given.names, units=given.units, material_column=given.material_column)
    logger.info("%s: %s", path, read.attrs.get("units_from"))
    spectra = resample_endmembers(read, cube, grid=file.wavelength)
    require_library(spectra, config.methods, config.method_options)
    count = int(spectra.sizes["endmember"])
    for name, value in config.limits.items():
        if isinstance(value, tuple) and len(value) != count:
            raise ConfigError(
                f"thresholds.{name} has {len(value)} numbers, but {path} gives {count} endmembers; "
                "give one number, or one per endmember"
            )
    known = {"count": count} if count <= MAX_ENDMEMBERS else {}  # a class library may have thousands
    return config.replace(endmembers={"file": path, **known}), spectra


def _require_no_materials(config: RunConfig) -> None:
    """Refuse methods that map the materials of a library where endmembers are to be found."""
    if needs := next((name for name in config.methods if method(name).of_materials), None):
        raise ConfigError(
            f"{needs} maps the materials of a class library; give one (--library FILE, or endmembers.file), or leave "
            f"{needs} out"
        )
