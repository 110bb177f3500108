"""GeoPackages are SQLite databases, which may compute what they hold: only those of plain tables are read.

A view is a query without bounds, a generated column as large as it likes, and a virtual table leads to other files.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from hsi_dask.errors import FileFormatError
from hsi_dask.io.delimited import shown

_INDEX = re.compile(r'CREATE VIRTUAL TABLE (?:"(?:[^"]|"")*"|\w+) USING rtree\s*\([\w\s,"]*\)', re.IGNORECASE)
_VIRTUAL = re.compile(r"CREATE\s+VIRTUAL\s.*", re.IGNORECASE | re.DOTALL)
_MOST_STEPS = 50_000_000  # of SQLite's machine: some seconds; an honest catalogue takes thousands


def require_plain_tables(path: Path) -> None:
    """Raise FileFormatError if a GeoPackage holds more than tables and their spatial indices, or sqlite3.Error."""
    # With changes that are not in the file yet, it is read with them, as GDAL reads it
    mode = "mode=ro" if os.path.exists(f"{path}-wal") else "mode=ro&immutable=1"
    with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?{mode}", uri=True)) as file:
        file.execute("PRAGMA trusted_schema = OFF")
        file.set_progress_handler(lambda: 1, _MOST_STEPS)
        for what in _computed(file):
            raise FileFormatError(f"{path} holds {what}, which SQL computes; export the layer to a file of its own")


def _computed(file: sqlite3.Connection) -> Iterator[str]:
    for kind, name, statement in file.execute("SELECT type, name, sql FROM sqlite_master"):
        text = str(statement or "").strip()
        if kind == "view":
            yield f"the view {shown(str(name))}"
        elif kind == "table" and _VIRTUAL.fullmatch(text):
            if not _INDEX.fullmatch(text):
                yield f"the virtual table {shown(str(name))}"
        elif kind == "table":
            columns = file.execute("SELECT name FROM pragma_table_xinfo(?) WHERE hidden IN (2, 3)", (name,))
            yield from (f"the generated column {shown(str(column))}" for (column,) in columns)
