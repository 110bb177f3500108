"""Receipts of written chunks: key, bytes and checksum, as a tile's record keeps them."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from hsi_dask.io.documents import Count, Digest, matching

ChunkKey = Annotated[
    str, matching(r"[A-Za-z_][A-Za-z0-9_]{0,63}/c(/\d{1,7}){2,3}", "a chunk's key, such as quality/c/0/3")
]


class Receipt(NamedTuple):
    """What was written for one chunk: its key in the store, its length and sha256 of its bytes."""

    key: ChunkKey
    nbytes: Count
    digest: Digest
