"""Variables of netCDF-4 files, which are HDF5: dimensions by their scales, numbers by HDF5's stored chunks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from hsi_dask.errors import FileFormatError
from hsi_dask.io import hdf5, hdf5_values
from hsi_dask.io.stored_variables import Attribute, StoredVariable, StoredVariables

_INTERNAL = {
    "CLASS",
    "NAME",
    "REFERENCE_LIST",
    "DIMENSION_LIST",
    "_Netcdf4Dimid",
    "_Netcdf4Coordinates",
    "_NCProperties",
}
_NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable"
_MOST_DIMS = 4


def is_netcdf_3(path: str) -> bool:
    """Is it a file of the older kind, which is not HDF5?"""
    with open(path, "rb") as stream:
        return stream.read(3) == b"CDF"


def read_variables(path: str) -> StoredVariables:
    """The variables of numbers in a netCDF-4 file and in its groups.

    Raises
    ------
    FileFormatError
        It is not HDF5, or damaged.
    """
    if is_netcdf_3(path):
        raise FileFormatError(f"{path} is netCDF of the classic kind; convert it (nccopy -k nc4 {path} new.nc)")
    found: dict[str, StoredVariable] = {}
    refused: dict[str, str] = {}
    with hdf5.open_file(path) as file:
        try:
            for name, data in _datasets(file):
                try:
                    found[name] = _variable(name, data, path)
                except FileFormatError as error:
                    refused[name] = str(error).removeprefix(f"{path}: ")
            return StoredVariables(path, found, _attributes(file), refused)
        except FileFormatError:
            raise
        except (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError) as error:
            raise FileFormatError(f"{path} has unreadable metadata ({error}); copy it again") from error


def _datasets(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Names and datasets of numbers at the root and one group down."""
    for name, item in hdf5.members(file):
        inside = hdf5.members(item) if isinstance(item, h5py.Group) else ()
        for full, data in [(name, item), *((f"{name}/{inner}", one) for inner, one in inside)]:
            if isinstance(data, h5py.Dataset) and _is_of_numbers(data):
                yield full, data


def _is_of_numbers(data: h5py.Dataset) -> bool:
    plain = data.shape is not None and data.ndim <= _MOST_DIMS and data.dtype.kind in "iufb"
    return plain and not _is_bare_dimension(data)


def _is_bare_dimension(data: h5py.Dataset) -> bool:
    return hdf5_values.text(hdf5_values.attribute(data, "NAME")).startswith(_NO_VARIABLE)


def _variable(name: str, data: h5py.Dataset, path: str) -> StoredVariable:
    return StoredVariable(name, _dims(name, data), _attributes(data), hdf5.stored_array(data, path))


def _dims(name: str, data: h5py.Dataset) -> tuple[str, ...]:
    """Names of its dimensions: of a coordinate its own; () where the file names none."""
    if "DIMENSION_LIST" not in data.attrs:
        scale = hdf5_values.text(hdf5_values.attribute(data, "CLASS")) == "DIMENSION_SCALE"
        return (name.rpartition("/")[2],) if scale and data.ndim == 1 else ()
    hdf5_values.require_sound_heaps(data)  # references are of variable length
    names = [scales[0].name.rpartition("/")[2] for scales in data.dims if len(scales)]
    return tuple(names) if len(names) == data.ndim else ()


def _attributes(item: Any) -> dict[str, Attribute]:
    """Text, numbers, and flat lists of these; others are left out."""
    found: dict[str, Attribute] = {}
    for name in item.attrs:
        if name not in _INTERNAL and (value := _plain(item, name)) is not None:
            found[name] = value
    return found


def _plain(item: Any, name: str) -> Attribute | None:
    try:
        value = hdf5_values.attribute(item, name)
    except FileFormatError:  # of a type of its own
        return None
    if words := hdf5_values.text(value):
        return words
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "iufb" and value.size:
        numbers: list[Any] = np.ravel(value).tolist()
        return numbers[0] if len(numbers) == 1 else numbers
    return None
