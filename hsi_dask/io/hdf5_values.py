"""Attributes and scalars as HDF5 files hold them: text in bytes, numbers as text, either in arrays of one."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hsi_dask.errors import FileFormatError
from hsi_dask.io import hdf5

_HEAP = 2**20  # bytes of a heap to look at; the library makes them of 4 kB
_HEAP_BEGINS = b"GCOL\x01\0\0\0"  # and a version
_SEARCHED = 16 * 2**20  # bytes at either end of a file


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
    found = hdf5.member(parent, name)
    if not isinstance(found, h5py.Dataset) or found.size != 1:
        return ""
    _require_plain(found, found.dtype, found.name)
    _require_sound_heap(found)
    value = found[()]
    return text(value) or str(np.ravel(value)[0])


def attribute(item: Any, name: str) -> Any:
    """An attribute that is text or numbers; None where there is none."""
    if name not in item.attrs:
        return None
    dtype = item.attrs.get_id(name).dtype
    _require_plain(item, dtype, name)
    if dtype.kind == "O":
        require_sound_heaps(item)
    return item.attrs[name]


def require_sound_heaps(item: Any) -> None:
    """Refuse a file with a heap that the library would loop over for ever; before what is of variable length is read.

    Where the heaps of attributes are is the library's secret: they are looked for in the first and last 16 MB.
    """
    path = item.file.filename
    status = os.stat(path)
    if (address := _endless_heap(path, status.st_size, status.st_mtime_ns)) is not None:
        raise error(item, f"has a damaged heap of text at byte {address}; download it again")


@lru_cache(maxsize=256)
def _endless_heap(path: str, size: int, mtime_ns: int) -> int | None:
    with open(path, "rb") as file:
        for start in dict.fromkeys((0, max(0, size - _SEARCHED))):
            file.seek(start)
            data = file.read(_SEARCHED)
            at = data.find(_HEAP_BEGINS)
            while at >= 0:
                length = min(int.from_bytes(data[at + 8 : at + 16], "little"), _HEAP)
                if _is_endless(data[at + 16 : at + length]):
                    return start + at
                at = data.find(_HEAP_BEGINS, at + 1)
    return None


def _require_plain(item: Any, dtype: np.dtype[Any], name: str) -> None:
    """The HDF5 library crashes on some types that damage makes of text."""
    if dtype.kind not in "biufSU" and h5py.check_string_dtype(dtype) is None:
        raise error(item, f"has {name} of a type that is neither text nor numbers; download it again")


def _require_sound_heap(dataset: h5py.Dataset) -> None:
    """Text of variable length lies in a heap, and the library loops for ever over one with an entry of no length.

    Zeros, as a torn copy leaves them, are such an entry: https://github.com/HDFGroup/hdf5/issues/1707.
    """
    kind, where = h5py.check_string_dtype(dataset.dtype), dataset.id.get_offset()
    if kind is None or kind.length is not None or where is None:
        return
    with open(dataset.file.filename, "rb") as file:
        file.seek(where + 4)  # behind the text's length: the heap's address, and the entry in it
        address = int.from_bytes(file.read(8), "little")
        if address > os.fstat(file.fileno()).st_size:
            return  # the library says so
        file.seek(address)
        if file.read(4) != _HEAP_BEGINS[:4]:
            return  # the library says so
        file.seek(address + 8)
        size = min(int.from_bytes(file.read(8), "little"), _HEAP)
        heap = file.read(size - 16)
    if _is_endless(heap):
        raise error(dataset, f"has a damaged heap of text at byte {address}; download it again")


def _is_endless(heap: bytes) -> bool:
    """Has a heap, from behind its head, an entry of no length?"""
    at = 0
    while at + 16 <= len(heap):
        index, length = int.from_bytes(heap[at : at + 2], "little"), int.from_bytes(heap[at + 8 : at + 16], "little")
        # entry 0 is the free rest, and counts its own head
        step = (length if index == 0 else 16 + -(-length // 8) * 8) % 2**64
        if step == 0:
            return True
        at += step
    return False


def numbers(value: Any) -> NDArray[np.float64]:
    """(n,) numbers that may come as a scalar, an array or text such as "15000.0"; ValueError if none."""
    if words := text(value):
        value = words.strip("[] ").replace(",", " ").split()
    return np.asarray(value, dtype=np.float64).ravel()


def number(data: h5py.Dataset, name: str) -> float | None:
    """An attribute that is one number; None where there is none."""
    if (value := attribute(data, name)) is None:
        return None
    try:
        (found,) = numbers(value)
    except (ValueError, TypeError) as wrong:
        raise error(data, f"has {name} {value!r} on {data.name}, not one number; correct it") from wrong
    return float(found)
