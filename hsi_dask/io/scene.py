"""scene.zarr: what was computed of each tile of a scene, a folder each that takes its name once it is whole."""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hsi_dask.errors import RunError
from hsi_dask.io.documents import Digest, as_typed, read_document
from hsi_dask.io.durable import digest, whole_folder
from hsi_dask.io.map_arrays import COMPRESSION
from hsi_dask.io.zarr_groups import readable
from hsi_dask.io.zarr_metadata import METADATA, Side, read_group_metadata, require_known

SCENE = "scene.zarr"
_MOST_BYTES = 2**28  # of an array; a covariance of 2151 bands has 37 MB
_PLANES, _IDENTITY = "planes.f4", "identity.json"
_PLANE = np.dtype("<f4")
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class _Told:
    """Attributes of the group."""

    OTHER_KEYS: ClassVar[bool] = True
    identity: Mapping[str, Any]
    digest: Digest


@dataclass(frozen=True)
class _ToldPlanes:
    """Beside numbers without a header: numpy's own format is text that is parsed as Python."""

    identity: Mapping[str, Any]
    shape: tuple[Side, Side, Side]


def write_arrays(folder: Path, arrays: Arrays, identity: Mapping[str, Any]) -> None:
    """Keep arrays under an identity, which says what they were computed from; replaces what is there."""
    import zarr
    from zarr.codecs import BloscCodec

    folder.parent.mkdir(parents=True, exist_ok=True)
    attrs: dict[str, Any] = {"identity": dict(identity), "digest": _digest(arrays)}
    with whole_folder(folder) as part:
        group = zarr.open_group(part, mode="w", zarr_format=3, attributes=attrs)
        for name, values in arrays.items():
            array = group.create_array(
                name, shape=values.shape, chunks=values.shape, dtype=values.dtype, fill_value=0,
                compressors=BloscCodec(**COMPRESSION),  # type: ignore[arg-type]
                dimension_names=[f"axis_{axis}" for axis in range(values.ndim)],
            )  # fmt: skip
            array[...] = values


def read_arrays(folder: Path, identity: Mapping[str, Any]) -> Arrays | None:
    """The arrays kept under this identity; None where there are none, others, or damaged ones."""
    try:
        with readable(folder):
            sizes = {name: array.chunk_bytes for name, array in require_known(folder).items() if _small(array.shape)}
            told = as_typed(dict(read_group_metadata(folder).attributes), _Told, folder / METADATA)
            if told.identity != json.loads(json.dumps(identity)):
                return None
            arrays = {name: _values(folder, name, sizes) for name in sizes}
            return arrays if told.digest == _digest(arrays) else None
    except RunError:
        return None


def _small(shape: tuple[int, ...]) -> bool:
    """Whether there is room for it; one that is left out changes the digest."""
    return math.prod(shape) * np.dtype(np.float64).itemsize <= _MOST_BYTES


def _values(folder: Path, name: str, sizes: Mapping[str, int]) -> NDArray[Any]:
    import zarr

    from hsi_dask.io.local_stores import PlainFiles

    array: Any = zarr.open_array(PlainFiles(folder, sizes), path=name, mode="r", zarr_format=3)
    return np.asarray(array[...])


@dataclass(frozen=True)
class PlanesFile:
    """Planes (plane, y, x) float32 in a file: `planes[place] = values` writes a part, from any thread.

    Writing to mapped memory would end the process where the disk is full; this raises OSError.
    """

    path: Path
    shape: tuple[int, int, int]

    def __setitem__(self, place: tuple[slice, slice, slice], values: NDArray[np.float32]) -> None:
        plane, row, column = (along.start or 0 for along in place)
        height, width = values.shape[1:]
        rows = height if width == self.shape[2] else 1  # that follow each other in the file
        with open(self.path, "r+b") as file:
            for k, i in np.ndindex(len(values), height // rows):
                before = np.ravel_multi_index((plane + k, row + i * rows, column), self.shape)
                file.seek(int(before) * _PLANE.itemsize)
                file.write(values[k, i * rows : (i + 1) * rows].astype(_PLANE).tobytes())


@contextmanager
def planes_file(folder: Path, shape: tuple[int, int, int], identity: Mapping[str, Any]) -> Iterator[PlanesFile]:
    """Planes to fill, which are then kept under an identity, for `read_planes`; replaces what is there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(folder) as part:
        part.mkdir(exist_ok=True)
        with open(part / _PLANES, "wb") as file:
            file.truncate(math.prod(shape) * _PLANE.itemsize)
        yield PlanesFile(part / _PLANES, shape)
        (part / _IDENTITY).write_text(json.dumps({"identity": identity, "shape": shape}), encoding="utf-8")


def read_planes(folder: Path, identity: Mapping[str, Any]) -> NDArray[np.float32] | None:
    """The array kept under this identity, mapped into memory and read where it is used; None where there is none."""
    try:
        told = read_document(folder / _IDENTITY, _ToldPlanes)
        status = (folder / _PLANES).lstat()
        if told.identity != json.loads(json.dumps(identity)) or not stat.S_ISREG(status.st_mode):
            return None  # a link may lead anywhere, a pipe never ends
        if status.st_size != math.prod(told.shape) * _PLANE.itemsize:
            return None
        return np.memmap(folder / _PLANES, _PLANE, "r", shape=told.shape)
    except (RunError, OSError, ValueError):
        return None


def _digest(arrays: Arrays) -> str:
    parts = (f"{name} {v.dtype.str} {v.shape}".encode() + v.tobytes() for name, v in sorted(arrays.items()))
    return digest(b"".join(parts))
