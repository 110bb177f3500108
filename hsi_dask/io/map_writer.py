"""Writing of computed maps: a chunk is there whole or not at all, and the same maps give the same bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.errors import SchemaError
from hsi_dask.io.durable import sync_folders
from hsi_dask.io.receipts import Receipt
from hsi_dask.io.zarr_metadata import read_array_metadata

_WRITES = 16  # planes on their way to the disk at a time: what waits for it leaves the cores to others


def write_region(path: Path, maps: xr.Dataset, row: int, column: int) -> tuple[Receipt, ...]:
    """Write computed maps whose north-west pixel is at (row, column) of the mosaic, as whole chunks.

    The region is padded with no data to the edges of its chunks, so those chunks must be nobody else's.
    Returns when the bytes are on disk; the same maps give the same bytes.

    Returns
    -------
    receipts of every chunk, sorted by key
    """
    import zarr

    from hsi_dask.io.local_stores import Ledger

    ledger = Ledger(path)
    # chunks that hold no data are written too, so that every chunk of a record exists
    with zarr.config.set({"array.write_empty_chunks": True}):
        planes = [plane for name in maps.data_vars for plane in _planes(ledger, maps[name], row, column)]
        writing = [_writers(os.getpid()).submit(plane.write) for plane in planes]
        wait(writing)  # also those beside one that failed
        for written in writing:
            written.result()
    receipts = tuple(sorted(ledger.receipts))
    names = {name for r in receipts for name in accumulate(r.key.split("/")[:-1], "{}/{}".format)}
    sync_folders([path, *(path / name for name in sorted(names))])
    return receipts


@lru_cache
def _writers(process: int) -> ThreadPoolExecutor:
    """Threads that are kept, for starting them takes a hundredth of a tile's time; one pool per process."""
    return ThreadPoolExecutor(_WRITES, thread_name_prefix="hsi-dask-write")


class _Plane(NamedTuple):
    """A part of an array that Zarr stores as it is: cut by Zarr, several of them would be copied."""

    array: Any
    place: tuple[slice, ...]
    values: NDArray[Any]

    def write(self) -> None:
        self.array[self.place] = self.values


def _array(ledger: Any, name: str) -> Any:
    """One of the store's arrays, to write to; its metadata are cached, for every tile needs the same."""
    import zarr
    from zarr.storage import StorePath

    status = os.stat(Path(ledger.root) / name / "zarr.json")
    metadata = _metadata(Path(ledger.root), name, (status.st_ino, status.st_size, status.st_mtime_ns))
    return zarr.Array(zarr.AsyncArray(metadata, StorePath(ledger, name)))


@lru_cache(maxsize=32)
def _metadata(path: Path, name: str, file: tuple[int, ...]) -> Any:
    import zarr

    from hsi_dask.io.local_stores import PlainFiles

    read_array_metadata(path, name)
    return zarr.open_array(PlainFiles(path), path=name, mode="r").metadata


def _planes(ledger: Any, maps: xr.DataArray, row: int, column: int) -> Iterator[_Plane]:
    name = str(maps.name)
    array = _array(ledger, name)
    values = maps.transpose(*array.metadata.dimension_names).values
    padding: list[tuple[int, int]] = [(0, 0)] * (values.ndim - 2)
    target: list[slice] = []
    for axis, first in ((-2, row), (-1, column)):
        last, chunk = first + values.shape[axis], array.chunks[axis]
        if last > array.shape[axis]:
            raise SchemaError(f"{name}: {first}..{last} is outside the mosaic of {array.shape} pixels")
        start, stop = first // chunk * chunk, min(-(-last // chunk) * chunk, array.shape[axis])
        padding.append((first - start, stop - last))
        target.append(slice(start, stop))
    if any(map(any, padding)):
        values = np.pad(values, padding, constant_values=array.fill_value)
    for at in np.ndindex(values.shape[:-2]):
        plane = tuple(slice(k, k + 1) for k in at)
        yield _Plane(array, (*plane, *target), values[plane])
