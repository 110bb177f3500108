"""Attributes and scalars as NEON's files hold them: text in bytes, numbers as text, either in arrays of one."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hsi_dask.errors import FileFormatError


def error(item: Any, sentence: str) -> FileFormatError:
    """What is wrong with the file that holds this group or dataset."""
    return FileFormatError(f"{item.file.filename} {sentence}")


def text(value: Any) -> str:
    """Text that may come as str, as bytes, or as either in an array of one; "" for anything else."""
    first = value.ravel()[0] if isinstance(value, np.ndarray) and value.size else value
    if isinstance(first, bytes):
        return first.decode("utf-8", "replace").strip()
    return first.strip() if isinstance(first, str) else ""


def line(parent: h5py.Group, name: str) -> str:
    """A dataset of one string or one number as text; "" where there is none."""
    found = parent.get(name)
    if not isinstance(found, h5py.Dataset) or found.size != 1:
        return ""
    value = found[()]
    return text(value) or str(np.ravel(value)[0])


def numbers(value: Any) -> NDArray[np.float64]:
    """(n,) numbers that may come as a scalar, an array or text such as "15000.0"; ValueError if none."""
    if words := text(value):
        value = words.strip("[] ").replace(",", " ").split()
    return np.asarray(value, dtype=np.float64).ravel()


def number(data: h5py.Dataset, name: str) -> float | None:
    """An attribute that is one number; None where there is none."""
    if name not in data.attrs:
        return None
    value = data.attrs[name]
    try:
        (found,) = numbers(value)
    except (ValueError, TypeError) as wrong:
        raise error(data, f"has {name} {value!r} on {data.name}, not one number; correct it") from wrong
    return float(found)


def holds(dtype: np.dtype[Any], value: float) -> bool:
    """Can an element of this dtype be equal to the value?"""
    if dtype.kind == "f":
        return True
    limits = np.iinfo(dtype)
    return value.is_integer() and limits.min <= value <= limits.max
