"""ENVI headers: `key = value` lines beside an image or a library, read as text, numbers and lists, within bounds."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from hsi_dask.errors import FileFormatError
from hsi_dask.io.delimited import clean, shown
from hsi_dask.io.regular import read_regular

MOST_BYTES = 16 * 2**20  # of a header; 426 bands with all their lists take 20 kB, 7000 names of spectra 0.15 MB
# ENVI's data types; 6 and 9 are complex
TYPES = {1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 12: "u2", 13: "u4", 14: "i8", 15: "u8"}
_WHOLE = re.compile(r"[0-9]{1,15}")


class Header:
    """The fields of a header, by their names in lower case; every error names the file and the field."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.fields = _fields(path)

    def error(self, sentence: str) -> FileFormatError:
        return FileFormatError(f"{self.path} {sentence}")

    def text(self, key: str) -> str:
        """A value without its braces; "" where there is none."""
        value = self.fields.get(key, "")
        return value.partition("}")[0].strip("{ \t") if value.startswith("{") else value

    def whole(self, key: str, default: int | None = None) -> int:
        value = self.text(key)
        if not value and default is not None:
            return default
        if not _WHOLE.fullmatch(value):
            raise self.error(f"has {key} = {shown(value or 'nothing')}, not a whole number; correct it")
        return int(value)

    def real(self, key: str) -> float | None:
        """One number; None where there is none."""
        value = self.text(key)
        return _number(self, key, value) if value else None

    def list(self, key: str) -> list[str]:
        value = self.text(key)
        return [clean(part) for part in value.split(",")] if value else []

    def reals(self, key: str, count: int, what: str) -> np.ndarray | None:
        """(count,) float64; None where there are none."""
        parts = self.list(key)
        while parts and not parts[-1]:  # a comma at the end
            parts.pop()
        if not parts:
            return None
        if len(parts) != count:
            raise self.error(f"has {len(parts)} numbers as {key} for {count} {what}; correct it")
        return np.array([_number(self, key, part) for part in parts])


def _fields(path: str) -> dict[str, str]:
    text = read_regular(Path(path), MOST_BYTES).decode("utf-8", errors="replace").lstrip("\ufeff \t\r\n")
    if not text.startswith("ENVI"):
        raise FileFormatError(f"{path} is not an ENVI header: it does not begin with ENVI")
    found, lines = dict[str, str](), iter(re.split(r"\r\n|\r|\n", text))
    for line in lines:
        key, equals, value = line.partition("=")
        if not equals or key.lstrip().startswith(";"):
            continue
        parts = [value.strip()]
        if parts[0].startswith("{"):
            while "}" not in parts[-1]:
                if (more := next(lines, None)) is None:
                    raise FileFormatError(f"{path} has no closing brace after {shown(key.strip())}; correct it")
                parts.append(more.strip())
        found[" ".join(key.lower().split())] = " ".join(parts)
    return found


def _number(header: Header, key: str, text: str) -> float:
    """A number of plain digits: float() also takes those of other scripts, and 1_000."""
    try:
        if text.isascii() and "_" not in text:
            return float(text)
    except ValueError:
        pass
    raise header.error(f"has {shown(text)} as {key}, which is no number; correct it")
