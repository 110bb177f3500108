"""What verbs print: aligned rows, tables, sizes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from hsi_dask.escaping import visible


def print_rows(rows: dict[str, str]) -> None:
    """Aligned keys and values, not wrapped: they are copied and searched."""
    width = max((len(key) for key in rows), default=0)
    for key, value in rows.items():
        print(f"{key:{width}}  {visible(value)}".rstrip())


def table(first: str, *others: str) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="")  # no style: stdout shows control characters
    table.add_column(first)
    for column in others:
        table.add_column(column, justify="left" if column == "file" else "right")
    return table


def print_table(table: Any) -> None:
    from rich.console import Console

    # a row is a line, however narrow the terminal: a folded table cannot be read or searched
    Console(file=sys.stdout, width=400, highlight=False, markup=False, emoji=False).print(table)


def times(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


def bytes_text(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
