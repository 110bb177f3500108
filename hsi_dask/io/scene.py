"""scene.zarr: what was computed of each tile of a scene, a folder each that takes its name once it is whole."""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hsi_dask.errors import RunError
from hsi_dask.io.documents import Digest, as_typed
from hsi_dask.io.durable import digest, read_plain, whole_folder
from hsi_dask.io.map_arrays import COMPRESSION
from hsi_dask.io.zarr_metadata import METADATA, read_group_metadata, require_known

SCENE = "scene.zarr"
_MOST_BYTES = 2**28  # of an array; a covariance of 2151 bands has 37 MB
_PLANES, _IDENTITY = "planes.npy", "identity.json"
_MOST_IDENTITY = 2**20  # bytes
_PLANE_DIMS = 3
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class _Told:
    """Attributes of the group."""

    OTHER_KEYS: ClassVar[bool] = True
    identity: Mapping[str, Any]
    digest: Digest


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
        sizes = {name: array.chunk_bytes for name, array in require_known(folder).items() if _small(array.shape)}
        told = as_typed(dict(read_group_metadata(folder).attributes), _Told, folder / METADATA)
        if told.identity != json.loads(json.dumps(identity)):
            return None
        arrays = {name: _values(folder, name, sizes) for name in sizes}
        return arrays if told.digest == _digest(arrays) else None
    except (RunError, OSError, ValueError, KeyError, TypeError, RuntimeError):
        return None


def _small(shape: tuple[int, ...]) -> bool:
    """Whether there is room for it; one that is left out changes the digest."""
    return math.prod(shape) * np.dtype(np.float64).itemsize <= _MOST_BYTES


def _values(folder: Path, name: str, sizes: Mapping[str, int]) -> NDArray[Any]:
    import zarr

    from hsi_dask.io.local_stores import PlainFiles

    array: Any = zarr.open_array(PlainFiles(folder, sizes), path=name, mode="r", zarr_format=3)
    return np.asarray(array[...])


def write_planes(folder: Path, planes: NDArray[Any], identity: Mapping[str, Any]) -> None:
    """Keep one large array under an identity, for `read_planes`; replaces what is there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(folder) as part:
        part.mkdir(exist_ok=True)
        np.save(part / _PLANES, planes, allow_pickle=False)
        (part / _IDENTITY).write_text(json.dumps(identity), encoding="utf-8")


def read_planes(folder: Path, identity: Mapping[str, Any]) -> NDArray[Any] | None:
    """The array kept under this identity, mapped into memory and read where it is used; None where there is none."""
    try:
        if json.loads(read_plain(folder, _IDENTITY, _MOST_IDENTITY)) != json.loads(json.dumps(identity)):
            return None
        if not stat.S_ISREG((folder / _PLANES).lstat().st_mode):  # a link may lead anywhere, a pipe never ends
            return None
        planes: NDArray[Any] = np.load(folder / _PLANES, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, UnicodeDecodeError):
        return None
    return planes if planes.ndim == _PLANE_DIMS and planes.dtype == np.float32 else None


def _digest(arrays: Arrays) -> str:
    parts = (f"{name} {v.dtype.str} {v.shape}".encode() + v.tobytes() for name, v in sorted(arrays.items()))
    return digest(b"".join(parts))
