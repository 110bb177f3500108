"""Endmember spectra of a run, with where each came from, its name and its material."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import xarray as xr

from hsi_dask import schema
from hsi_dask.errors import RunError
from hsi_dask.io.documents import Digest, Text, as_typed
from hsi_dask.io.durable import digest, whole_folder
from hsi_dask.io.map_arrays import create_array, plain_json
from hsi_dask.io.zarr_groups import RESTORE, open_group, part_of_run, readable
from hsi_dask.io.zarr_metadata import METADATA, read_group_metadata, require_known
from hsi_dask.schema import ENDMEMBER, MATERIAL, NAME, WAVELENGTH, endmember_names

ENDMEMBERS = "endmembers.zarr"


def write_endmembers(path: Path, endmembers: xr.DataArray) -> str:
    """Store endmember spectra with where each came from; returns their digest. Replaces what is there.

    Text does not go into Zarr arrays (fixed-width text stops GDAL): the tiles are in the attribute `tiles`.
    """
    import zarr

    described = schema.describe(endmembers.drop_vars(endmembers.coords).copy(), "endmembers")
    identity = endmembers_digest(endmembers)
    attrs = {key: plain_json(value) for key, value in endmembers.attrs.items() if key not in described.attrs}
    if "tile" in endmembers.coords:
        attrs["tiles"] = [str(tile) for tile in endmembers["tile"].values]
    if (names := endmember_names(endmembers)) is not None:
        attrs["names"] = names
    if MATERIAL in endmembers.coords:
        attrs["materials"] = [str(material) for material in endmembers[MATERIAL].values]
    coordinates: dict[Hashable, xr.Variable] = {
        name: xr.Variable(c.dims, c.values, c.attrs)
        for name, c in endmembers.coords.items()
        if c.dtype.kind in "iufb" and set(c.dims) <= {ENDMEMBER, WAVELENGTH}
    }
    coordinates.setdefault(ENDMEMBER, xr.Variable(ENDMEMBER, np.arange(1, endmembers.sizes[ENDMEMBER] + 1)))
    schema.describe_coordinates(coordinates)
    extra = " ".join(str(name) for name in coordinates if name not in (ENDMEMBER, WAVELENGTH))
    with whole_folder(path) as part:
        own = {"Conventions": "CF-1.11", "digest": identity, **attrs}
        group = zarr.open_group(part, mode="w", zarr_format=3, attributes=own)
        for name, variable in coordinates.items():
            create_array(group, str(name), variable, None)
        variable = described.variable
        if extra:
            variable.attrs["coordinates"] = extra
        create_array(group, "endmembers", variable, None)
    return identity


def open_endmembers(run_dir: str | os.PathLike[str]) -> xr.DataArray:
    """The endmember spectra of a run, in memory.

    Returns
    -------
    xarray.DataArray
        (endmember, wavelength) float32 with fwhm, and for each endmember the tile, pixel (row, column) and y, x that it
        came from; attributes tell the volume of the simplex and its spread over the restarts, and of which pixels
        endmembers are the means.

    Raises
    ------
    RunError
        The folder is not a run, or its endmembers are missing or damaged.
    """
    return read_endmembers(part_of_run(run_dir, ENDMEMBERS))


def read_endmembers(path: Path) -> xr.DataArray:
    """As `open_endmembers`, from the Zarr folder itself; refuses spectra that do not match their digest."""
    if not any((path / name).exists() for name in (METADATA, ".zgroup")):
        raise RunError(f"{path} is no run directory, and no {ENDMEMBERS} of one; give either, or a file of spectra")
    return _endmembers(path, tuple(sorted(_files(path)))).copy()


def _files(path: Path) -> Iterator[tuple[str, int, int, int]]:
    """The files below a folder, and what changes with their contents."""
    for folder, _, names in os.walk(path):
        for name in names:
            status = os.stat(os.path.join(folder, name))
            yield os.path.join(folder, name), status.st_ino, status.st_size, status.st_mtime_ns


@lru_cache(maxsize=4)
def _endmembers(path: Path, files: tuple[Any, ...]) -> xr.DataArray:
    """The endmembers in these files; cached, for reading twenty small files takes a sixtieth of a tile's time."""
    arrays = require_known(path)
    told = as_typed(dict(read_group_metadata(path).attributes), _Told, path / METADATA)
    if "endmembers" not in arrays or arrays["endmembers"].dimension_names != (ENDMEMBER, WAVELENGTH):
        raise RunError(f"{path} holds no endmembers (endmember, wavelength); give a run directory or its {ENDMEMBERS}")
    with open_group(path, "", None) as dataset, readable(path):
        endmembers: xr.DataArray = dataset["endmembers"].load()
        found = endmembers_digest(endmembers)
    if found != told.digest:
        raise RunError(f"{path} is damaged: its spectra differ from their checksum; {RESTORE}")
    wavelength = np.asarray(endmembers[WAVELENGTH], np.float64)
    if not (np.isfinite(wavelength).all() and (np.diff(wavelength) > 0).all() and np.isfinite(endmembers).all()):
        raise RunError(f"{path} is damaged: spectra must be finite, on ascending wavelengths; {RESTORE}")
    count = endmembers.sizes[ENDMEMBER]
    for what, texts in (("tiles", told.tiles), ("names", told.names), ("materials", told.materials)):
        if texts is not None and len(texts) != count:
            raise RunError(f"{path} is damaged: it has {len(texts)} {what} of {count} endmembers; {RESTORE}")
    shown = ("Conventions", "digest", "tiles", "materials")
    endmembers.attrs |= {name: value for name, value in dataset.attrs.items() if name not in shown}
    texts_of = {"tile": told.tiles, NAME: told.names, MATERIAL: told.materials}
    return endmembers.assign_coords(
        {name: (ENDMEMBER, np.array(texts, dtype=object)) for name, texts in texts_of.items() if texts is not None}
    )


@dataclass(frozen=True)
class _Told:
    """Attributes of an endmembers store that are relied on."""

    OTHER_KEYS: ClassVar[bool] = True
    digest: Digest
    tiles: tuple[Text, ...] | None = None
    names: tuple[Text, ...] | None = None
    materials: tuple[Text, ...] | None = None
    source: Text = ""


def endmembers_digest(endmembers: xr.DataArray) -> str:
    """Identity of the spectra: their values and wavelengths, not where they came from."""
    spectra = endmembers.transpose(ENDMEMBER, WAVELENGTH)
    values = np.ascontiguousarray(spectra.values, "<f4").tobytes()
    return digest(values + np.ascontiguousarray(spectra[WAVELENGTH].values, "<f8").tobytes())
