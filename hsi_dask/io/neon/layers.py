"""The quality layers and view angles beside a NEON cube, as stored; apart, for it takes longer than the rest."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import h5py
import xarray as xr

from hsi_dask.errors import FileFormatError
from hsi_dask.io import hdf5
from hsi_dask.io.hdf5 import StoredArray
from hsi_dask.io.neon import values
from hsi_dask.io.neon.metadata import NO_DATA, NeonFile, layer_name
from hsi_dask.io.variables import stored_variable
from hsi_dask.schema import X, Y

logger = logging.getLogger(__name__)

OFF_SWATH = 241.0  # no data in one-byte layers, which cannot hold the -9999 that their attribute claims


@dataclass(frozen=True)
class Layer:
    """A map beside the cube, (y, x) or (y, x, n), as stored; elements equal to `fill_value` are no data."""

    stored: StoredArray
    fill_value: float | None
    attrs: Mapping[str, str]


class Layers(NamedTuple):
    """The layers of a file by their names in lower case, and a sentence for each that is not usable."""

    maps: dict[str, Layer]
    notes: tuple[str, ...]


def read_layers(file: NeonFile, names: Collection[str] | None = None) -> Layers:
    """Read what the file says about its layers (all, or some), some 10 ms, no pixel.

    Whether Cast_Shadow's 1 is lit or shaded is documented both ways, and codes of Haze_Cloud_Water_Map are
    doubtful in .002: who makes a mask of them decides it from the data.

    Raises
    ------
    FileFormatError
        The file is damaged, or gone since its metadata were read.
    """
    with hdf5.open_file(file.path) as opened:
        try:
            found = _read(opened[file.reflectance.name].parent["Metadata"], file, names)
        except FileFormatError:
            raise
        except (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError) as error:
            raise FileFormatError(f"{file.path} has unreadable layers ({error}); download it again") from error
    for note in found.notes:
        logger.info("%s: %s", file.path, note)
    return found


def layer_dataset(maps: Mapping[str, Layer]) -> xr.Dataset:
    """The layers as stored, read when indexed, without coordinates; no data is in the attribute `_FillValue`."""
    return xr.Dataset({name: _variable(name, layer) for name, layer in maps.items()})


def _read(metadata: h5py.Group, file: NeonFile, names: Collection[str] | None) -> Layers:
    maps: dict[str, Layer] = {}
    notes = []
    for stored, data in _datasets(metadata):
        name = layer_name(stored)
        if name in maps or (names is not None and name not in names):
            continue
        dtype, shape = data.dtype, data.shape or ()
        if dtype.kind not in "iuf" or shape[:2] != file.shape[:2] or len(shape) > 3 or 0 in shape:
            notes.append(f"layer {stored} is {dtype} {shape}, not the cube's pixels: left out")
        else:
            maps[name] = _layer(stored, data)
    return Layers(maps, tuple(notes))


def _datasets(metadata: h5py.Group) -> Iterator[tuple[str, h5py.Dataset]]:
    imagery = metadata.get("Ancillary_Imagery")
    for group in (metadata, *([imagery] if isinstance(imagery, h5py.Group) else [])):
        for name in group:
            if group.get(name, getclass=True) is h5py.Dataset:
                yield name, group[name]


def _layer(name: str, data: h5py.Dataset) -> Layer:
    candidates = (values.number(data, "Data_Ignore_Value"), NO_DATA, OFF_SWATH)
    fill = next((value for value in candidates if value is not None and values.holds(data.dtype, value)), None)
    texts = {key.lower(): values.text(values.attribute(data, key)) for key in ("Units", "Description")}
    attrs = {"long_name": name.replace("_", " ")} | {key: text for key, text in texts.items() if text}
    return Layer(hdf5.stored_array(data, data.file.filename), fill, attrs)


def _variable(name: str, layer: Layer) -> xr.Variable:
    third = "rgb" if name == "weather_quality_indicator" else f"{name}_component"
    variable = stored_variable((Y, X, third)[: layer.stored.ndim], layer.stored, None)
    fill = {} if layer.fill_value is None else {"_FillValue": layer.stored.dtype.type(layer.fill_value)}
    variable.attrs = {**layer.attrs, **fill}
    return variable
