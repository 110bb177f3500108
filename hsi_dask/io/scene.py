"""scene.zarr: what was computed of each tile of a scene, a folder each that takes its name once it is whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsi_dask.io.durable import digest, whole_folder

SCENE = "scene.zarr"
Arrays = Mapping[str, NDArray[Any]]


def write_arrays(folder: Path, arrays: Arrays, identity: Mapping[str, Any]) -> None:
    """Keep arrays under an identity, which says what they were computed from; replaces what is there."""
    import zarr

    folder.parent.mkdir(parents=True, exist_ok=True)
    attrs: dict[str, Any] = {"identity": dict(identity), "digest": _digest(arrays)}
    with whole_folder(folder) as part:
        group = zarr.open_group(part, mode="w", zarr_format=3, attributes=attrs)
        for name, values in arrays.items():
            array = group.create_array(
                name, shape=values.shape, chunks=values.shape, dtype=values.dtype, compressors=None
            )
            array[...] = values


def read_arrays(folder: Path, identity: Mapping[str, Any]) -> Arrays | None:
    """The arrays kept under this identity; None where there are none, others, or damaged ones."""
    import zarr

    try:
        attrs = json.loads((folder / "zarr.json").read_text(encoding="utf-8"))["attributes"]
        if attrs["identity"] != json.loads(json.dumps(identity)):
            return None
        group = zarr.open_group(folder, mode="r", zarr_format=3)
        arrays = {name: np.asarray(array[...]) for name, array in group.arrays()}
        return arrays if attrs["digest"] == _digest(arrays) else None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return None


def _digest(arrays: Arrays) -> str:
    parts = (f"{name} {v.dtype.str} {v.shape}".encode() + v.tobytes() for name, v in sorted(arrays.items()))
    return digest(b"".join(parts))
