"""Zarr stores in a folder: one that reads regular files only, and one that commits chunks durably.

Importing this module imports zarr, which takes a while: do it where a store is opened.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import LocalStore

from hsi_dask.errors import RunError
from hsi_dask.io.durable import digest, make_folder, read_plain, write_file
from hsi_dask.io.receipts import Receipt
from hsi_dask.io.zarr_arrays import CODECS
from hsi_dask.io.zarr_metadata import METADATA, MOST_CHUNK

_MOST_BYTES = MOST_CHUNK + 2**20  # of a file: a chunk that does not become smaller gets a header


class PlainFiles(LocalStore):
    """A local store, read only, in which no link is followed and only regular files are read; else RunError.

    `chunk_bytes` tells for arrays by their names how large their chunks are inflated: another size is refused before
    room is made for it, and so is what does not inflate. It is tried here, in 0.2 ms a MB, for Zarr's own errors
    name no file.
    """

    def __init__(
        self, root: Path | str, chunk_bytes: Mapping[str, int] | None = None, *, read_only: bool = True
    ) -> None:
        super().__init__(root, read_only=read_only)
        self.chunk_bytes = dict(chunk_bytes or {})

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        return await asyncio.to_thread(self.get_sync, key, prototype=prototype, byte_range=byte_range)

    def get_sync(self, key: str, *, prototype: Any = None, byte_range: Any = None) -> Any:
        if byte_range is not None:
            raise ValueError(f"{self.root}: chunks are read whole, for they are not sharded")
        try:
            data = read_plain(Path(self.root), key, _MOST_BYTES)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        except OSError as error:
            raise RunError(f"{Path(self.root) / key} cannot be read: {error.strerror}") from error
        size = self.chunk_bytes.get(key.partition("/c/")[0].removesuffix("/c"))
        if size is not None and not key.endswith(METADATA) and not _inflates(data, size):
            raise RunError(
                f"{Path(self.root) / key} is damaged: it does not hold {size} bytes; `hsi-dask verify` names its tile"
            )
        return (prototype or default_buffer_prototype()).buffer.from_bytes(data)


def _inflates(chunk: bytes, size: int) -> bool:
    """Whether a chunk becomes so many bytes."""
    try:
        CODECS["blosc"](chunk, out=np.empty(size, np.uint8))
    except (ValueError, RuntimeError):
        return False
    return True


class Ledger(PlainFiles):
    """A local store that commits each value by rename after fsync and keeps a receipt of it."""

    def __init__(self, root: Path | str, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self.receipts: list[Receipt] = []
        self._lock = threading.Lock()

    async def set(self, key: str, value: Any) -> None:
        await asyncio.to_thread(self.set_sync, key, value)

    def set_sync(self, key: str, value: Any) -> None:
        data, folder = value.as_buffer_like(), key.rpartition("/")[0]
        make_folder(Path(self.root), folder)
        write_file(Path(self.root) / key, data)
        receipt = Receipt(key, memoryview(data).nbytes, digest(data))
        with self._lock:
            self.receipts.append(receipt)
