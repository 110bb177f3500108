"""The reader of NEON AOP reflectance, as the registry finds it."""

from __future__ import annotations

import os

import h5py

from hsi_dask.errors import FileFormatError
from hsi_dask.io import hdf5
from hsi_dask.io.neon.metadata import NAME, corner_in_name, read_metadata
from hsi_dask.io.readers import Reader


def _recognises(path: str) -> bool:
    """By NEON's name; else a group <SITE>/Reflectance, or an ending that promises HDF5 which is not there."""
    if not os.path.isfile(path):
        return False
    if NAME.fullmatch(os.path.basename(path)):
        return True
    try:
        with hdf5.open_file(path) as file:
            groups = [group for _, group in hdf5.members(file) if isinstance(group, h5py.Group)]
            return any(isinstance(hdf5.member(group, "Reflectance"), h5py.Group) for group in groups)
    except (FileFormatError, OSError, RuntimeError):
        return path.lower().endswith(".h5")


READER = Reader(
    name="neon",
    title="NEON AOP surface reflectance, HDF5",
    suffixes=(".h5",),
    recognises=_recognises,
    read=read_metadata,
    corner=corner_in_name,
)
