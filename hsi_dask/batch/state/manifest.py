"""manifest.json, tile records and failure notes: what they hold, and how they are read as a stranger's documents."""

from __future__ import annotations

import json
import math
import platform
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

from hsi_dask.batch.tiles.common_bands import CONFIG_FILE
from hsi_dask.batch.tiles.provenance import DataSource
from hsi_dask.errors import RunError
from hsi_dask.escaping import visible
from hsi_dask.io.documents import (
    Count,
    Digest,
    Form,
    InputPath,
    Name,
    Seconds,
    Text,
    as_typed,
    between,
    matching,
    read_json,
)
from hsi_dask.io.durable import digest, sync_folders, write_file
from hsi_dask.io.map_grid import Grid
from hsi_dask.io.receipts import Receipt
from hsi_dask.io.regions import Region
from hsi_dask.io.zarr_metadata import MOST_PIXELS
from hsi_dask.methods import registry as methods
from hsi_dask.schema import CLASS_DIMS, ENDMEMBER, MATERIAL, QUALITY, QUALITY_OF_AREA, Variable, with_all_flags

FORMAT = 3  # of the run directory; a newer one is not read
OLDEST = 2  # that is read, but not gone on with
CONFIG, MANIFEST, RECORDS, FAILURES = CONFIG_FILE, "manifest.json", "records", "failures"
_MOST_CELLS = 10**6  # of a mosaic; a site of 30 km has 900
_PACKAGES = ("hsi-dask", "numpy", "numba", "dask", "xarray", "zarr", "numcodecs", "h5py")


def _is_tile_id(text: str) -> bool:
    """Whether files may be named for it: on one line, visible, no path, and not hidden."""
    plain = bool(text) and visible(text) == text and text[0] != "." and not {"/", "\\"} & set(text)
    return plain and len(text.encode()) <= 200


TileId = Annotated[str, Form("a tile's name, such as 368000_4306000", _is_tile_id)]
Time = Annotated[int, between(-(2**63), 2**63)]  # ns since 1970
Moment = Annotated[str, matching(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "a time such as 2026-01-31T12:00:00Z")]
Versions = Mapping[Name, Text]


@dataclass(frozen=True)
class Input:
    """A tile of a run as it was when the run was made."""

    id: TileId
    path: InputPath
    file_size: Count
    mtime_ns: Time
    readable: bool = True  # False: its metadata could not be read


@dataclass(frozen=True)
class Manifest:
    """What a run is, written once.

    Attributes
    ----------
    fingerprint : of the settings that decide the numbers
    variables : the maps, as the methods declared them when the run was made
    contents : how many tiles of which product, site and year
    sources : of which releases they are, and how to cite them; nothing where no file tells
    checksums : sha256 of input files by their paths, if they were asked for
    region : the area of interest, in the CRS of the grid; None is all
    """

    format: int
    created: Moment
    fingerprint: Digest
    grid: Grid
    variables: tuple[Variable, ...]
    tiles: tuple[Input, ...]
    versions: Versions
    contents: Mapping[Name, Mapping[Text, Count]] = field(default_factory=dict)
    sources: tuple[DataSource, ...] = ()
    checksums: Mapping[InputPath, Digest] = field(default_factory=dict)
    region: Region | None = None


@dataclass(frozen=True)
class TileRecord:
    """Proof that a tile is done: what it was computed from, and every chunk that was written.

    Attributes
    ----------
    fingerprint, endmembers : of the settings and of the spectra
    file_size, mtime_ns : of the input file
    pixels : counts, "valid" and by reason the rest
    """

    tile: TileId
    path: InputPath
    file_size: Count
    mtime_ns: Time
    fingerprint: Digest
    endmembers: Digest
    chunks: tuple[Receipt, ...]
    pixels: Mapping[Name, Count]
    seconds: Seconds
    finished: Moment
    host: Text
    versions: Versions = field(default_factory=dict)

    @property
    def cells(self) -> set[tuple[int, int]]:
        """Rows and columns of its chunks in the mosaic, from their keys: abundance/c/0/3/5."""
        numbers = (chunk.key.rsplit("/", 2)[1:] for chunk in self.chunks)
        return {(int(row), int(column)) for row, column in numbers}


@dataclass(frozen=True)
class FailureNote:
    """Why a tile failed, and where."""

    tile: TileId
    path: InputPath
    reason: Text
    time: Moment
    host: Text


@lru_cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def checksum_of(values: Mapping[str, Any]) -> str:
    """Checksum of a record's content; an edited record is not trusted."""
    return digest(json.dumps(values, sort_keys=True).encode())


def write_json(path: Path, values: Any) -> None:
    write_file(path, json.dumps(values, indent=1).encode())
    sync_folders([path.parent])


_STORED = ("name", "dims", "dtype", "long_name", "units", "role", "better", "of", "limits", "stored_share")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def stored(variable: Variable) -> dict[str, Any]:
    """A map's specification as JSON keeps it."""
    return {key: getattr(variable, key) for key in _STORED}


def _upgraded(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A manifest of today from that of an earlier release, which named its maps and a code for its CRS."""
    found = dict(values)
    maps = found.get("variables")
    if isinstance(maps, list) and all(isinstance(name, str) for name in maps):
        known = [QUALITY if name == QUALITY.name else methods.variable(name) for name in maps]
        if None in known:
            raise RunError(
                f"{path} is damaged: no method makes one of {', '.join(maps)[:200]}; start a new run directory"
            )
        found["variables"] = [json.loads(json.dumps(stored(variable))) for variable in known if variable]
    if isinstance(grid := found.get("grid"), dict) and "epsg" in grid:
        code = as_typed(grid["epsg"], int, path)
        found["grid"] = {"crs": f"EPSG:{code}", **{key: value for key, value in grid.items() if key != "epsg"}}
    return found


def _as_map(variable: Variable, path: Path) -> Variable:
    """A map's specification, if it is one that a store may hold."""
    if variable.name == QUALITY.name:
        return QUALITY_OF_AREA if variable.dtype == QUALITY_OF_AREA.dtype else QUALITY
    words = [variable.name, *([variable.of] if variable.of else [])]
    known = variable.dims[-2:] == CLASS_DIMS and set(variable.dims[:-2]) <= {ENDMEMBER, MATERIAL}
    types = ("uint8", "uint16") if variable.role == "flag" else ("float32", "uint8", "int16")
    if not known or variable.dtype not in types or not all(map(_WORD.fullmatch, words)):
        raise RunError(f"{path} is damaged: {visible(variable.name)[:80]!r} is no map; start a new run directory")
    if variable.role == "flag":  # whose bits are not stored
        declared = methods.variable(variable.name)
        alike = declared is not None and (declared.role, declared.dtype) == (variable.role, variable.dtype)
        return replace(variable, attrs=declared.attrs) if declared and alike else with_all_flags(variable)
    return variable


def read_manifest(path: Path) -> Manifest:
    values = read_json(path)
    found = as_typed(values.get("format") if isinstance(values, dict) else None, int, path)
    if found > FORMAT:
        raise RunError(f"{path} was written by a newer hsi_dask (format {found}, not {FORMAT}); update hsi_dask")
    if found < OLDEST:
        raise RunError(
            f"{path} was written by an older hsi_dask (format {found}, not {FORMAT}); start a new run directory"
        )
    manifest = as_typed(_upgraded(values, path), Manifest, path)
    manifest = replace(manifest, variables=tuple(_as_map(variable, path) for variable in manifest.variables))
    grid, names = manifest.grid, [tile.id for tile in manifest.tiles]
    cells = math.prod(-(-size // chunk) for size, chunk in zip(grid.shape, grid.chunk, strict=True))
    fits = grid.chunk[0] <= grid.shape[0] and grid.chunk[1] <= grid.shape[1]
    if not fits or cells > _MOST_CELLS or math.prod(grid.shape) > MOST_PIXELS:
        raise RunError(
            f"{path} is damaged: no mosaic is {grid.shape} in chunks of {grid.chunk}; start a new run directory"
        )
    if len(set(names)) < len(names):
        raise RunError(f"{path} is damaged: it names a tile twice; start a new run directory")
    return manifest
