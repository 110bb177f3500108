"""Of which release NEON files are, and how to cite them: what `hsi-dask download`, or the folders, tell."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath
from typing import ClassVar, NamedTuple

from hsi_dask.errors import RunError
from hsi_dask.escaping import visible
from hsi_dask.io.documents import Text, read_document

LISTING = "neon-download.json"  # beside the files: what they are, and of which release
PROVISIONAL = "PROVISIONAL"
_PROVISIONAL_FOLDER = "neon-aop-provisional-products"  # of what `neonutilities` downloads


class Release(NamedTuple):
    """Such as RELEASE-2026, or PROVISIONAL, and how to cite the data; "" where nothing tells."""

    name: str = ""
    citation: str = ""


@dataclass(frozen=True)
class _Listing:
    """What is read of the listing."""

    OTHER_KEYS: ClassVar[bool] = True
    releases: tuple[Text, ...] = ()
    citation: Text = ""


def release_of(path: str) -> Release:
    """The release of a file; a listing that is damaged tells nothing."""
    folder = Path(path).parent
    try:
        status = os.stat(folder / LISTING)
    except OSError:
        return Release(PROVISIONAL) if _PROVISIONAL_FOLDER in PurePath(path).parts else Release()
    return _read(folder, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def _read(folder: Path, mtime_ns: int, size: int) -> Release:
    try:
        found = read_document(folder / LISTING, _Listing)
    except RunError:
        return Release()
    return Release(visible(", ".join(found.releases)), visible(found.citation))
