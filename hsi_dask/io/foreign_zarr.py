"""What Zarr folders of versions 2 and 3 say of themselves: only arrays that are known to be harmless to read.

Metadata are JSON and numbers are of fixed types. Object types, filters and codecs that run code are refused by name, as
are links and special files in the folder.
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hsi_dask.errors import FileFormatError
from hsi_dask.io.stored_variables import Attribute, StoredVariable, StoredVariables
from hsi_dask.io.zarr_arrays import CODECS, Chunks, ZarrArray, opened

_MOST_METADATA = 4 * 2**20  # bytes of a JSON file
_MOST_CHUNK = 2**30  # bytes; a larger one is damaged metadata
_MOST_ARRAYS = 1000  # of a folder
_TYPES = re.compile(r"bool|u?int(?:8|16|32|64)|float(?:32|64)")
_DTYPES = re.compile(r"[<>|](?:b1|[iu][1248]|f[48])")
_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}  # that JSON has no digits for


def is_zarr(path: str) -> bool:
    """Does this folder hold a Zarr group or array?"""
    return any(os.path.isfile(os.path.join(path, name)) for name in ("zarr.json", ".zgroup", ".zarray"))


def read_variables(path: str) -> StoredVariables:
    """The arrays of numbers in a Zarr folder and in its groups.

    Raises
    ------
    FileFormatError
        Its metadata cannot be read, or a link or special file is in the folder.
    """
    *stamp, odd = _looked_through(path)
    if odd:
        raise FileFormatError(
            f"{path} is refused: {odd} is a link or no file, its data lie outside the folder; copy it"
        )
    found: dict[str, StoredVariable] = {}
    refused: dict[str, str] = {}
    try:
        folders = {"": path} if _node(path) == "array" else dict(_arrays(path))
        for name, folder in folders.items():
            try:
                found[name] = _variable(name or os.path.basename(path), folder, (stamp[0], stamp[1]))
            except ValueError as error:
                refused[name] = str(error)
        return StoredVariables(path, found, _attributes(path), refused)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise FileFormatError(f"{path} has unreadable Zarr metadata ({error!r:.200}); copy it again") from error


def identity(path: str) -> tuple[int, int]:
    """Bytes of all files in a folder, and the time of the last change of any of them or of the folders, ns."""
    return _looked_through(path)[:2]


def _looked_through(path: str) -> tuple[int, int, str]:
    """Bytes, time of the last change, and the first entry that is neither file nor folder."""
    total, newest, odd, folders = 0, os.stat(path).st_mtime_ns, "", [path]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                newest = max(newest, status.st_mtime_ns)
                if stat.S_ISDIR(status.st_mode):
                    folders.append(entry.path)
                elif stat.S_ISREG(status.st_mode):
                    total += status.st_size
                else:
                    odd = odd or entry.path
    return total, newest, odd


def _arrays(path: str) -> Iterator[tuple[str, str]]:
    """Names and folders of the arrays in a group and in its groups."""
    count = 0
    for name in sorted(os.listdir(path)):
        folder = os.path.join(path, name)
        kind = _node(folder)
        inner = [name] if kind == "array" else sorted(os.listdir(folder)) if kind == "group" else []
        for one in inner:
            below = folder if kind == "array" else os.path.join(folder, one)
            if _node(below) == "array" and (count := count + 1) <= _MOST_ARRAYS:
                yield name if kind == "array" else f"{name}/{one}", below


def _node(folder: str) -> str:
    """array, group, or nothing of Zarr's."""
    if os.path.isfile(os.path.join(folder, "zarr.json")):
        return str(_json(folder, "zarr.json").get("node_type"))
    return next((kind for file, kind in ((".zarray", "array"), (".zgroup", "group"))
                 if os.path.isfile(os.path.join(folder, file))), "")  # fmt: skip


def _json(folder: str, name: str) -> dict[str, Any]:
    with opened(os.path.join(folder, name)) as (descriptor, size):
        if size > _MOST_METADATA:
            raise ValueError(f"{name} has {size} bytes")
        values = json.loads(os.pread(descriptor, size, 0))
    if not isinstance(values, dict):
        raise ValueError(f"{name} is no mapping")
    return values


def _attributes(folder: str) -> dict[str, Attribute]:
    """Of a group or array: text, numbers, and flat lists of these."""
    if os.path.isfile(os.path.join(folder, "zarr.json")):
        values = _json(folder, "zarr.json").get("attributes") or {}
    else:
        values = _json(folder, ".zattrs") if os.path.isfile(os.path.join(folder, ".zattrs")) else {}
    return {str(key): value for key, value in dict(values).items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float) or (
        isinstance(value, list) and all(isinstance(one, str | int | float) for one in value)
    )


def _variable(name: str, folder: str, stamp: tuple[int, int]) -> StoredVariable:
    """An array; ValueError where it is of a kind that is not read."""
    attrs = _attributes(folder)
    if os.path.isfile(os.path.join(folder, "zarr.json")):
        meta = _json(folder, "zarr.json")
        shape, outer, inner, chunks = _version_3(meta)
        dims, fill = meta.get("dimension_names") or (), _fill_value(meta.get("fill_value"), chunks.dtype)
        attrs = _with_plain_fill(attrs)
    else:
        meta = _json(folder, ".zarray")
        shape, outer, inner, chunks = _version_2(meta)
        dims, fill = attrs.get("_ARRAY_DIMENSIONS", ()), _fill_value(meta.get("fill_value"), chunks.dtype)
        if meta.get("fill_value") is not None:  # version 2 has no other place for what means no data
            attrs = {"_FillValue": fill, **attrs}
    array = ZarrArray(folder, shape, inner, outer, chunks, fill, stamp)
    names = tuple(map(str, dims)) if isinstance(dims, list | tuple) and len(dims) == len(shape) else ()
    return StoredVariable(name, names, attrs, array)


_Layout = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], Chunks]  # shape, shards or chunks, chunks, how


def _version_3(meta: Mapping[str, Any]) -> _Layout:
    kind, grid, keys = meta["data_type"], meta["chunk_grid"], meta["chunk_key_encoding"]
    if not isinstance(kind, str) or not _TYPES.fullmatch(kind):
        raise ValueError(f"its type {str(kind)[:40]!r} is none of plain numbers")
    if grid["name"] != "regular" or meta.get("storage_transformers") or keys["name"] not in ("default", "v2"):
        raise ValueError("its chunks are laid out in a way that is not read")
    shape, outer = _sizes(meta["shape"]), _sizes(grid["configuration"]["chunk_shape"])
    codecs, inner, first = list(meta["codecs"]), outer, False
    index: tuple[str, ...] = ()
    if codecs and codecs[0]["name"] == "sharding_indexed":
        inside = codecs[0]["configuration"]
        inner, index = _sizes(inside["chunk_shape"]), _names(inside["index_codecs"])[0]
        first, codecs = inside.get("index_location", "end") == "start", list(inside["codecs"])
    names, big = _names(codecs)
    own = keys.get("configuration") or {}
    prefix, usual = ("c", "/") if keys["name"] == "default" else ("", ".")
    separator = own.get("separator", usual)
    if separator not in (".", "/"):
        raise ValueError("its chunks are named in a way that is not read")
    dtype = np.dtype(kind).newbyteorder(">" if big else "<")
    return _checked_layout(shape, outer, inner, Chunks(dtype, names, prefix, separator, "C", index, first))


def _version_2(meta: Mapping[str, Any]) -> _Layout:
    kind, compressor = meta["dtype"], meta.get("compressor")
    if not isinstance(kind, str) or not _DTYPES.fullmatch(kind):
        raise ValueError(f"its type {str(kind)[:40]!r} is none of plain numbers")
    if meta.get("filters"):
        shown = ", ".join(str(one.get("id"))[:20] for one in meta["filters"])
        raise ValueError(f"its filters ({shown}) may run code")
    codecs = () if compressor is None else (str(compressor["id"]),)
    if unknown := [codec for codec in codecs if codec not in CODECS]:
        raise ValueError(f"its codec {unknown[0][:40]!r} is none of {', '.join(CODECS)}")
    separator, order = meta.get("dimension_separator", "."), meta.get("order", "C")
    if separator not in (".", "/") or order not in ("C", "F"):
        raise ValueError("its chunks are laid out in a way that is not read")
    shape, chunks = _sizes(meta["shape"]), _sizes(meta["chunks"])
    return _checked_layout(shape, chunks, chunks, Chunks(np.dtype(kind), codecs, "", separator, order))


def _names(codecs: list[Any]) -> tuple[tuple[str, ...], bool]:
    """Codecs in the order of decoding, and whether bytes are big-endian; ValueError for any that is not known."""
    names = [str(codec["name"]) for codec in codecs]
    if unknown := [name for name in names if name not in {*CODECS, "bytes", "crc32c"}]:
        raise ValueError(f"its codec {unknown[0][:40]!r} is none of {', '.join(CODECS)}")
    if names.count("bytes") != 1 or names[0] != "bytes":
        raise ValueError("its codecs do not begin with bytes")
    big = (codecs[0].get("configuration") or {}).get("endian", "little") == "big"
    return tuple(reversed(names)), big


def _sizes(values: Any) -> tuple[int, ...]:
    sizes = tuple(values)
    if len(sizes) > 4 or not all(type(size) is int and 0 <= size < 2**40 for size in sizes):
        raise ValueError(f"its sizes {str(sizes)[:60]} are none of an array")
    return sizes


def _checked_layout(shape: tuple[int, ...], outer: tuple[int, ...], inner: tuple[int, ...], chunks: Chunks) -> _Layout:
    same = len(shape) == len(outer) == len(inner)
    fits = same and all(n > 0 and o % n == 0 for o, n in zip(outer, inner, strict=True))
    shards = math.prod(o // n for o, n in zip(outer, inner, strict=True)) if fits else 0
    if not fits or max(math.prod(inner) * chunks.dtype.itemsize, 16 * shards) > _MOST_CHUNK:
        raise ValueError(f"its chunks {str(outer)[:60]} are none of an array of {shape}")
    return shape, outer, inner, chunks


def _fill_value(value: Any, dtype: np.dtype[Any]) -> float:
    """The number of chunks that were never written."""
    if isinstance(value, str):
        if value in _NUMBERS:
            return _NUMBERS[value]
        return float(np.frombuffer(bytes.fromhex(value[2:]), dtype.newbyteorder(">"))[0])  # its bits
    return float(value or 0)


def _with_plain_fill(attrs: dict[str, Attribute]) -> dict[str, Attribute]:
    """xarray writes _FillValue of floats as the base64 text of a float64."""
    if isinstance(text := attrs.get("_FillValue"), str):
        return attrs | {"_FillValue": float(np.frombuffer(base64.b64decode(text, validate=True), "<f8")[0])}
    return attrs
