"""The quality layers and view angles beside a NEON cube, as stored; apart, for it takes longer than the rest."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hsi_dask.errors import FileFormatError, SchemaError
from hsi_dask.io import hdf5
from hsi_dask.io import hdf5_values as values
from hsi_dask.io.decoding import NO_DATA, holds
from hsi_dask.io.layers import USUAL_NAMES, Layer, Layers

logger = logging.getLogger(__name__)

OFF_SWATH = 241.0  # no data in one-byte layers, which cannot hold the -9999 that their attribute claims
ROLES = USUAL_NAMES
_DAMAGE = (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError)


def read_layers(path: str, cube: str, shape: tuple[int, ...], names: Collection[str] | None = None) -> Layers:
    """Read what the file says about its layers (all, or some), some 10 ms, no pixel.

    Whether Cast_Shadow's 1 is lit or shaded is documented both ways, and codes of Haze_Cloud_Water_Map are
    doubtful in .002: who makes a mask of them decides it from the data.

    Parameters
    ----------
    cube, shape : the dataset of the file's reflectance, beside which the layers are, and its shape

    Raises
    ------
    FileFormatError
        The file is damaged, or gone since its metadata were read.
    """
    with hdf5.open_file(path) as opened:
        try:
            found = _read(opened[cube].parent["Metadata"], shape, names)
        except FileFormatError:
            raise
        except _DAMAGE as error:
            raise FileFormatError(f"{path} has unreadable layers ({error}); download it again") from error
    for note in found.notes:
        logger.info("%s: %s", path, note)
    return found


def layer_names(metadata: h5py.Group) -> tuple[str, ...]:
    """Our names of the layers in a file's group Metadata."""
    return tuple(dict.fromkeys(layer_name(name) for name, _ in _datasets(metadata)))


def layer_name(stored: str) -> str:
    """Our name of a layer: its own in lower case, whatever the revision; some spell Acquisition_Date without an i."""
    return re.sub(r"\W+", "_", stored).lower().replace("acqusition", "acquisition")


def _read(metadata: h5py.Group, cube: tuple[int, ...], names: Collection[str] | None) -> Layers:
    maps: dict[str, Layer] = {}
    notes = []
    for stored, data in _datasets(metadata):
        name = layer_name(stored)
        if name in maps or (names is not None and name not in names):
            continue
        dtype, shape = data.dtype, data.shape or ()
        if dtype.kind not in "iuf" or shape[:2] != cube[:2] or len(shape) > 3 or 0 in shape:
            notes.append(f"layer {stored} is {dtype} {shape}, not the cube's pixels: left out")
        else:
            maps[name] = _layer(stored, data)
    return Layers(maps, tuple(notes))


def _datasets(metadata: h5py.Group) -> Iterator[tuple[str, h5py.Dataset]]:
    imagery = hdf5.member(metadata, "Ancillary_Imagery")
    for group in (metadata, *([imagery] if isinstance(imagery, h5py.Group) else [])):
        for name, item in hdf5.members(group):
            if isinstance(item, h5py.Dataset):
                yield name, item


def _layer(name: str, data: h5py.Dataset) -> Layer:
    candidates = (values.number(data, "Data_Ignore_Value"), NO_DATA, OFF_SWATH)
    fill = next((value for value in candidates if value is not None and holds(data.dtype, value)), None)
    texts = {key.lower(): values.text(values.attribute(data, key)) for key in ("Units", "Description")}
    attrs = {"long_name": name.replace("_", " ")} | {key: text for key, text in texts.items() if text}
    weather = layer_name(name) == ROLES["cloud"]
    third, decode = ("rgb", _cloud) if weather else ("", None)
    return Layer(hdf5.stored_array(data, data.file.filename), fill, attrs, third, decode)


def _cloud(weather: NDArray[Any]) -> NDArray[np.float32]:
    """1 (below 10 % cloud), 2 (to 50 %), 3, NaN where unknown: of whole numbers, or of green, yellow and red."""
    if weather.ndim > 2:
        if weather.shape[2] < 2:
            raise SchemaError(
                f"Weather_Quality_Indicator has {weather.shape[2]} colours, not 3; set masks.cloud to null"
            )
        red, green = (weather[..., colour] > 127 for colour in (0, 1))  # blue tells nothing
        classes = np.select([red & green, red, green], [2, 3, 1], 0)
        weather = np.where((weather == OFF_SWATH).all(axis=2), 0, classes)
    return np.where((weather >= 1) & (weather <= 3), weather, np.nan).astype(np.float32)
