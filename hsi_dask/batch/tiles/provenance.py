"""Where a run's data come from: releases, how to cite them, and checksums of files."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hsi_dask.io.documents import Count, Text
from hsi_dask.io.durable import file_digest
from hsi_dask.io.readers import files_of
from hsi_dask.io.tile_source import TileSource

_THREADS = 4  # that read and hash: file systems deliver no faster to more


@dataclass(frozen=True)
class DataSource:
    """A release of data, how to cite it, and how many tiles are of it; "" where nothing tells."""

    release: Text
    citation: Text
    tiles: Count


def data_sources(files: Sequence[TileSource]) -> tuple[DataSource, ...]:
    """Of which releases files are; nothing where none of them tells."""
    counts = Counter((file.release, file.citation) for file in files)
    if not any(map(any, counts)):
        return ()
    return tuple(DataSource(*told, tiles) for told, tiles in sorted(counts.items()))


def checksums_of(paths: Iterable[str], advanced: Callable[[float], None] = lambda share: None) -> dict[str, str]:
    """sha256 of every file that these tiles are of, by its path. OSError where one cannot be read.

    `advanced` takes the finished share of their bytes, from several threads.
    """
    files = list(dict.fromkeys(file for path in paths for file in files_of(path)))
    total, done, lock = sum(os.path.getsize(file) for file in files), 0, threading.Lock()

    def read(count: int) -> None:
        nonlocal done
        with lock:
            done += count
            advanced(min(done / max(total, 1), 1.0))

    with ThreadPoolExecutor(_THREADS) as pool:  # hashing lets the interpreter go
        return dict(zip(files, pool.map(lambda file: file_digest(file, read), files), strict=True))
