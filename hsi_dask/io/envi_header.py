"""ENVI headers: `key = value` lines beside a file of numbers, read as text, numbers and lists, within bounds."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from hsi_dask.errors import FileFormatError

MOST_BYTES = 16 * 2**20  # of a header; 426 bands with all their lists take 20 kB
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
        return self.fields.get(key, "").strip("{} \t")

    def whole(self, key: str, default: int | None = None) -> int:
        value = self.text(key)
        if not value and default is not None:
            return default
        if not _WHOLE.fullmatch(value):
            raise self.error(f"has {key} = {value[:40] or 'nothing'!r}, not a whole number; correct it")
        return int(value)

    def real(self, key: str) -> float | None:
        """One number; None where there is none."""
        value = self.text(key)
        return _number(self, key, value) if value else None

    def list(self, key: str) -> list[str]:
        value = self.text(key)
        return [" ".join(part.split()) for part in value.split(",")] if value else []

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
    if (size := Path(path).stat().st_size) > MOST_BYTES:
        raise FileFormatError(f"{path} has {size} bytes: no ENVI header is that long; give the header of an image")
    lines = iter(Path(path).read_text(encoding="utf-8", errors="replace").splitlines())
    if not next(lines, "").strip().startswith("ENVI"):
        raise FileFormatError(f"{path} is not an ENVI header: it does not begin with ENVI")
    found: dict[str, str] = {}
    for line in lines:
        key, equals, value = line.partition("=")
        if not equals or key.lstrip().startswith(";"):
            continue
        parts = [value.strip()]
        if parts[0].startswith("{"):
            while "}" not in parts[-1]:
                if (more := next(lines, None)) is None:
                    raise FileFormatError(f"{path} has no closing brace after {key.strip()[:40]!r}; correct it")
                parts.append(more.strip())
        found[" ".join(key.lower().split())] = " ".join(parts)
    return found


def _number(header: Header, key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise header.error(f"has {text[:40]!r} as {key}, which is no number; correct it") from None
