"""Tiles found: files, folders searched in depth, patterns, and lists of these."""

from __future__ import annotations

import csv
import glob
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hsi_dask.errors import ConfigError, FileFormatError, counted
from hsi_dask.io.readers import Reader, reader_of, recognised, suffixes
from hsi_dask.io.regular import read_regular

logger = logging.getLogger(__name__)

_LISTS = (".txt", ".csv")
_COLUMNS = ("path", "file", "tile", "filename")  # of a CSV list: the column that names tiles, else the first
_MOST_BYTES = 32 * 2**20  # of a list: 200 000 paths
_RUN = "manifest.json"  # what makes a folder a run directory, whose maps are no input


class Found(NamedTuple):
    """Tiles, sorted, each once, and how many files of readers' suffixes hold something else, by suffix."""

    paths: list[Path]
    aside: Counter[str]


def find_tiles(tiles: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Files, folders (searched in depth), patterns and lists of these as a sorted list of tiles, each once.

    In a folder a tile is what a reader recognises by its name's ending and by looking. A list is a .txt file of one
    path a line, or a .csv file with a column `path`; what it names is relative to its own folder.

    Raises
    ------
    ConfigError
        An argument matches nothing.
    """
    return search_tiles(tiles).paths


def search_tiles(tiles: Sequence[str | os.PathLike[str]]) -> Found:
    """As `find_tiles`, and what was left aside."""
    if not tiles:
        raise ConfigError("no tiles; give reflectance files, folders of them, patterns such as site/*.h5, or lists")
    found: dict[str, Path] = {}
    aside: Counter[str] = Counter()
    for path in (path for tile in tiles for path in _expand(os.path.expanduser(os.fspath(tile)), aside)):
        found.setdefault(os.path.realpath(path), Path(os.path.abspath(path)))
    for tile in found.values():
        _require_text(tile)
    if aside:
        logger.info("left aside as other products: %s", dict(aside))
    return Found(sorted(found.values()), aside)


def _require_text(path: Path) -> None:
    """What a run keeps are texts: a name of bytes that are no characters has no place in them."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        raise ConfigError(
            f"{path} is no text in {sys.getfilesystemencoding()}, the encoding of file names here; rename it, or set "
            "LANG to a locale with the encoding it was named in"
        ) from None


def _expand(tile: str, aside: Counter[str], lists: bool = True) -> Iterator[str]:
    if os.path.isdir(tile):
        yield from _folder(tile, aside)
    elif os.path.exists(tile) and lists and tile.lower().endswith(_LISTS):
        for path in _listed(tile):
            yield from _expand(path, aside, lists=False)
    elif os.path.exists(tile):
        yield _main_file(reader_of(tile), tile)
    elif glob.has_magic(tile):
        matches = [path for path in glob.glob(tile, recursive=True) if os.path.isfile(path) or recognised(path)]
        if not matches:
            raise ConfigError(f"the pattern {tile} matches no file; check it, and quote it if the shell expands it")
        yield from (_main_file(reader_of(path), path) for path in matches)
    else:
        raise ConfigError(f"{tile} does not exist; check the path")


def _main_file(reader: Reader | None, path: str) -> str:
    return reader.main_file(path) if reader else path


def _folder(folder: str, aside: Counter[str]) -> Iterator[str]:
    """The tiles in a folder, at any depth; the folder itself, where it is one."""
    if (reader := recognised(folder)) is not None:
        yield reader.main_file(folder)
        return
    inside, before = 0, aside.total()
    for path in _walk(folder):
        if (reader := recognised(path)) is None:
            aside[os.path.splitext(path)[1].lower()] += 1
            continue
        inside += 1
        yield reader.main_file(path)
    if not inside:
        others = f"; {counted(aside.total() - before, 'file')} of other products" if aside.total() > before else ""
        ends = ", ".join(suffixes())
        raise ConfigError(f"the folder {folder} holds no tile that a reader knows ({ends}), at any depth{others}")


def _walk(folder: str) -> Iterator[str]:
    """What has a reader's suffix, file or folder, below a folder; links are followed, each folder is entered once."""
    entered = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        status = os.stat(root)
        if (status.st_dev, status.st_ino) in entered or _RUN in names:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        visible = sorted(name for name in (*folders, *names) if not name.startswith("."))
        known = [name for name in visible if name.lower().endswith(suffixes())]
        yield from (os.path.join(root, name) for name in known)
        folders[:] = [name for name in visible if name in folders and name not in known]


def _listed(path: str) -> Iterator[str]:
    """The paths in a list; ConfigError where it is none."""
    try:
        text = read_regular(Path(path), _MOST_BYTES).decode("utf-8-sig")
        lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        names = _column(lines) if path.lower().endswith(".csv") else lines
    except (OSError, FileFormatError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        if isinstance(error, UnicodeDecodeError):
            reason = "it is not UTF-8 text"
        raise ConfigError(f"cannot read the list of tiles {path}: {reason}") from None
    if not names:
        raise ConfigError(f"the list of tiles {path} is empty; write one path a line")
    for number, name in enumerate(names, 1):
        there = os.path.join(os.path.dirname(os.path.abspath(path)), os.path.expanduser(name))
        if "\0" in name or not (os.path.exists(there) or glob.has_magic(name)):
            raise ConfigError(f"{path} names {name[:200]!r} as number {number}, which does not exist; correct the list")
        yield there


def _column(lines: list[str]) -> list[str]:
    rows = [row for row in csv.reader(lines) if row]
    head = [cell.strip().lower() for cell in rows[0]] if rows else []
    at = next((head.index(name) for name in _COLUMNS if name in head), None)
    cells = (row[at or 0].strip() for row in (rows if at is None else rows[1:]) if len(row) > (at or 0))
    return [cell for cell in cells if cell]
