"""Endmembers that are given: read from the file the configuration names, brought to the tiles' wavelengths."""

from __future__ import annotations

import logging
import os
from typing import NamedTuple

import xarray as xr

from hsi_dask.batch.tiles.common_bands import with_bands_of_run, with_last_of_run
from hsi_dask.config import RunConfig
from hsi_dask.errors import ConfigError, counted
from hsi_dask.io.installed_libraries import kept_name
from hsi_dask.io.spectra import read_spectra
from hsi_dask.io.tile_source import TileSource
from hsi_dask.methods.registry import method
from hsi_dask.ops.bands import select_bands
from hsi_dask.ops.materials import require_library
from hsi_dask.ops.resampling import resample_endmembers
from hsi_dask.schema import MAX_ENDMEMBERS

logger = logging.getLogger(__name__)


class Supplied(NamedTuple):
    """The configuration with the number of given spectra, these on the kept wavelengths, and what was chosen for them.

    spectra : (endmember, wavelength), None where none are given
    notes : sentences
    """

    config: RunConfig
    spectra: xr.DataArray | None = None
    notes: tuple[str, ...] = ()


def supplied_endmembers(config: RunConfig, file: TileSource, *, own_windows: bool = False) -> Supplied:
    """Read the spectra that the configuration names; what an earlier run left out is left out here, too.

    Parameters
    ----------
    own_windows : the configuration says itself which windows are left out: it is not changed

    Raises
    ------
    EndmemberError
        The file of spectra cannot be read, lacks a name, does not cover the wavelengths, or no method can use it.
    ConfigError
        Thresholds for another number of endmembers; a method that needs a library, and none is given.
    """
    if config.endmembers.file is None:
        _require_no_materials(config)
        return Supplied(config)
    path = kept_name(config.endmembers.file)
    wanted = config.endmembers
    read = read_spectra(path, wanted.names, units=wanted.units, material_column=wanted.material_column)
    logger.info("%s: %s", path, read.attrs.get("units_from"))
    notes: tuple[str, ...] = ()
    if os.path.isdir(path):
        config, notes = with_last_of_run(config, path)
    if os.path.isdir(path) and not own_windows:
        config, of_windows = with_bands_of_run(config, file, read, path)
        notes += of_windows
    bands = config.bands
    cube = select_bands(file.numbers(), windows=bands.pairs, drop_last=bands.drop_last)
    spectra = resample_endmembers(read, cube, grid=file.wavelength)
    require_library(spectra, config.methods, config.method_options)
    count = int(spectra.sizes["endmember"])
    for name, value in config.limits.items():
        if isinstance(value, tuple) and len(value) != count:
            raise ConfigError(
                f"thresholds.{name} has {len(value)} numbers, but {path} gives {counted(count, 'endmember')}; "
                "give one number, or one per endmember"
            )
    known = {"count": count} if count <= MAX_ENDMEMBERS else {}  # a class library may have thousands
    return Supplied(config.replace(endmembers={"file": path, **known}), spectra, notes)


def _require_no_materials(config: RunConfig) -> None:
    """Refuse methods that map the materials of a library where endmembers are to be found."""
    if needs := next((name for name in config.methods if method(name).of_materials), None):
        raise ConfigError(
            f"{needs} maps the materials of a class library; give one (--library FILE, or endmembers.file), or leave "
            f"{needs} out"
        )
