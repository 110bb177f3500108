"""Zarr metadata: what hsi_dask writes, and nothing else, is opened.

Zarr formats and codecs can do much: a version 2 array may unpickle, and a codec may be any installed code. So the
metadata of a store are read here first, as documents of a stranger, and only then by Zarr and xarray.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from hsi_dask.errors import RunError
from hsi_dask.io.documents import Form, Name, between, read_document

METADATA = "zarr.json"
MOST_SIDE = 10_000_000  # pixels along a side: a UTM zone has fewer metres
MOST_PIXELS = 2**37  # of a plane or a cube of planes; a site of 30 km with 100 endmembers has 2**36
MOST_CHUNK = 2**30  # bytes of a chunk, inflated
_OLD = (".zgroup", ".zarray", ".zattrs")  # files of format 2
# Attributes by which xarray would make other values of what is stored
_DECODING = frozenset({"scale_factor", "add_offset", "missing_value", "_Unsigned", "_Encoding", "dtype", "calendar"})

Side = Annotated[int, between(1, MOST_SIDE)]
Shape = tuple[Side, ...]
DType = Literal["float32", "float64", "uint8", "uint16", "int16", "int32", "int64", "bool"]
Fill = Annotated[
    Any, Form('a number, true, false or "NaN"', lambda fill: isinstance(fill, int | float) or fill == "NaN")
]
Attributes = Annotated[
    Mapping[str, Any], Form("free of attributes that change values", lambda found: _DECODING.isdisjoint(found))
]


@dataclass(frozen=True)
class _ChunkShape:
    chunk_shape: Shape


@dataclass(frozen=True)
class _ChunkGrid:
    name: Literal["regular"]
    configuration: _ChunkShape


@dataclass(frozen=True)
class _Separator:
    separator: Literal["/"]


@dataclass(frozen=True)
class _ChunkKeys:
    name: Literal["default"]
    configuration: _Separator


@dataclass(frozen=True)
class _Order:
    endian: Literal["little"] = "little"


@dataclass(frozen=True)
class _BytesCodec:
    name: Literal["bytes"]
    configuration: _Order = _Order()


@dataclass(frozen=True)
class _Packing:
    """Settings of blosc; the others do not matter to a reader."""

    OTHER_KEYS: ClassVar[bool] = True
    cname: Literal["lz4"]


@dataclass(frozen=True)
class _BloscCodec:
    name: Literal["blosc"]
    configuration: _Packing


@dataclass(frozen=True)
class ArrayMetadata:
    """An array as hsi_dask writes it; other versions of Zarr may add keys, which it judges by itself."""

    OTHER_KEYS: ClassVar[bool] = True
    zarr_format: Literal[3]
    node_type: Literal["array"]
    shape: Shape
    data_type: DType
    chunk_grid: _ChunkGrid
    chunk_key_encoding: _ChunkKeys
    fill_value: Fill
    codecs: tuple[_BytesCodec, _BloscCodec]
    dimension_names: tuple[Name, ...] = ()
    storage_transformers: tuple[()] = ()
    attributes: Attributes = field(default_factory=dict)

    @property
    def chunks(self) -> tuple[int, ...]:
        return self.chunk_grid.configuration.chunk_shape

    @property
    def chunk_bytes(self) -> int:
        """Of a chunk, inflated."""
        return math.prod(self.chunks) * np.dtype(self.data_type).itemsize


@dataclass(frozen=True)
class GroupMetadata:
    """A group as hsi_dask writes it."""

    OTHER_KEYS: ClassVar[bool] = True
    zarr_format: Literal[3]
    node_type: Literal["group"]
    attributes: Attributes = field(default_factory=dict)


def read_array_metadata(store: Path, name: str) -> ArrayMetadata:
    """The metadata of an array of a store, such as "4/quality".

    Raises
    ------
    RunError
        They are missing, damaged, or of something that hsi_dask does not write.
    """
    folder = store / name
    _require_version_3(folder)
    found = read_document(folder / METADATA, ArrayMetadata, below=store)
    if not len(found.shape) == len(found.chunks) == len(found.dimension_names):
        raise RunError(f"{folder} is damaged: shape, chunks and dimensions differ in number; start a new run directory")
    if math.prod(found.shape) > MOST_PIXELS or found.chunk_bytes > MOST_CHUNK:
        raise RunError(f"{folder} is said to be {found.shape} in chunks of {found.chunks}: no run has so much")
    return found


def read_group_metadata(store: Path, group: str = "") -> GroupMetadata:
    """The metadata of a group of a store, or of the store itself. Raises RunError as `read_array_metadata` does."""
    folder = store / group
    _require_version_3(folder)
    return read_document(folder / METADATA, GroupMetadata, below=store)


def require_known(store: Path, group: str = "") -> dict[str, ArrayMetadata]:
    """The arrays of a group by their names, each of a kind that hsi_dask writes; to be called before it is opened.

    Raises
    ------
    RunError
        One of them, or the group, is not.
    """
    read_group_metadata(store, group)
    folder = store / group
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    return {name: read_array_metadata(store, (Path(group) / name).as_posix()) for name in names}


def _require_version_3(folder: Path) -> None:
    if not (folder / METADATA).is_file() and any((folder / name).exists() for name in _OLD):
        raise RunError(
            f"{folder} is Zarr format 2; hsi_dask opens the format 3 that it writes, start a new run directory"
        )
