"""Variables of a file by their names and dimensions, whatever the format: where a cube and its axes are found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hsi_dask.io.chunked import ChunkedArray

Attribute = str | float | int | list[float] | list[str]


@dataclass(frozen=True)
class StoredVariable:
    """A variable of numbers.

    name : in its file, after the name of a group and a slash where it is in one
    """

    name: str
    dims: tuple[str, ...]
    attrs: Mapping[str, Attribute]
    array: ChunkedArray

    @property
    def own_name(self) -> str:
        """Without the group, in lower case."""
        return self.name.rpartition("/")[2].lower()

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    def text(self, key: str) -> str:
        value = self.attrs.get(key)
        return value.strip() if isinstance(value, str) else ""

    def number(self, key: str) -> float | None:
        value = self.attrs.get(key)
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        return float(value) if isinstance(value, int | float) else None


@dataclass(frozen=True)
class StoredVariables:
    """What a file or folder holds: variables, the attributes of the whole, and why some variables are not read."""

    path: str
    variables: Mapping[str, StoredVariable]
    attrs: Mapping[str, Attribute]
    refused: Mapping[str, str]
