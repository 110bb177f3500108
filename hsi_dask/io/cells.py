"""Cells of a mosaic of overlapping files: of each pixel the file that holds there, by a rule.

A run over flight lines maps cells, not files. What a cell is of is a small document in the run directory, which this
reader reads like a tile.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from math import nan
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from hsi_dask.errors import FileFormatError, GridError, RunError
from hsi_dask.io import blocks, readers
from hsi_dask.io.blocks import StoredCube
from hsi_dask.io.chunked import ChunkedArray, Want, read_into
from hsi_dask.io.documents import Count, Form, InputPath, as_typed, between, read_json
from hsi_dask.io.layers import Layer, Role
from hsi_dask.io.layers import Layers as FoundLayers
from hsi_dask.io.tile_source import TileSource
from hsi_dask.io.zarr_metadata import Side
from hsi_dask.sources import Index, Spread

SUFFIX = ".cell.json"
Order = Literal["first", "last", "best"]  # which holds where files overlap
CRITERIA: tuple[Role, ...] = ("cloud", "view_zenith")  # of the best: less is better, the earlier decides
_Path = Annotated[InputPath, Form("a path of a tile", lambda path: not path.endswith(SUFFIX))]
_Degrees = Annotated[float, between(-1e9, 1e9)]  # or metres
# Stored numbers of a strip of a cell, whole spectra: files are not stored along the cells' lines, and the chunks at its
# edges are inflated for two strips
_STRIP_BYTES = 2 * blocks.BLOCK_BYTES


@dataclass(frozen=True)
class Part:
    """A file that a cell has pixels of, as it was."""

    path: _Path
    file_size: Count
    mtime_ns: Annotated[int, between(-(2**63), 2**63)]


@dataclass(frozen=True)
class Cell:
    """Where a cell is, and whose pixels it has.

    rule : the layers, by their roles, whose least values decide which part holds in a pixel, of those that have data
        there; where they are equal, and without any, the first
    """

    west: _Degrees
    north: _Degrees
    shape: tuple[Side, Side]
    parts: Annotated[tuple[Part, ...], Form("a list of files", lambda parts: 0 < len(parts) <= 10_000)]
    rule: tuple[Literal["cloud", "view_zenith"], ...] = ()

    @property
    def identity(self) -> tuple[int, int]:
        """Size and time of the last change, as if the cell were a file."""
        return sum(part.file_size for part in self.parts), max(part.mtime_ns for part in self.parts)

    def document(self) -> dict[str, Any]:
        """As JSON keeps it; what an earlier release would not know is left out where it says nothing."""
        values = asdict(self)
        return values if self.rule else {key: value for key, value in values.items() if key != "rule"}


@dataclass(frozen=True, eq=False)
class Layers(ChunkedArray):
    """Stored cubes over each other, each at a row and column of a common grid: the first that has data holds, or the
    one with data whose layers have the least values.

    parts : cube, and row and column of its north-west pixel, which may lie outside
    void : what means no data
    files : what the cubes are of; needed for layers
    rule : roles of the layers that decide; without any the first holds, wavelength by wavelength
    """

    parts: tuple[tuple[StoredCube, int, int], ...]
    shape: tuple[int, ...]
    void: float | None
    files: tuple[TileSource, ...] = ()
    rule: tuple[Role, ...] = ()

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        return self.parts[0][0].dtype

    @property
    def stored_chunks(self) -> tuple[int, ...]:  # type: ignore[override]
        """Strips of whole spectra; of files in whole planes, planes."""
        rows, columns, bands = self.shape
        planes = [stored.stored_chunks for stored, _, _ in self.parts if stored.stored_chunks[2] < bands]
        if any(down * across * 4 >= rows * columns and down >= rows for down, across, _ in planes):
            return rows, columns, max(deep for _, _, deep in planes)
        return max(1, min(rows, _STRIP_BYTES // (columns * bands * self.dtype.itemsize))), columns, bands

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        from dask.base import normalize_token

        return type(self).__name__, self.shape, self.void, normalize_token(self.parts), self.rule

    def fill(self, wanted: tuple[Want, ...], out: NDArray[Any], spread: Spread) -> None:
        rows, columns, bands = (want.along for want in wanted)
        out.fill(nan if self.dtype.kind == "f" else self.void or 0)
        for number, (stored, _, _) in enumerate(self.parts):
            (y, to_rows), (x, to_columns) = self._shared(number, rows, columns)
            target = out[to_rows, to_columns]
            if not target.size:
                continue
            if number == 0 and not self.rule:
                read_into(stored, (y, x, bands), target, spread)
                continue
            holds = (
                (self.owner[rows][:, columns][to_rows, to_columns] == number)[..., None]
                if self.rule
                else self._free(target)
            )
            if holds.any():
                values = np.empty((target.shape[2], *target.shape[:2]), target.dtype).transpose(1, 2, 0)
                read_into(stored, (y, x, bands), values, spread)
                np.copyto(target, values, where=holds)

    @cached_property
    def owner(self) -> NDArray[np.int16]:
        """(y, x) which part holds; -1 where none has data. Of the parts a plane is read, and the layers of the rule."""
        owner = np.full(self.shape[:2], -1, np.int16)
        best = [np.full(owner.shape, np.inf, np.float32) for _ in self.rule]
        for number in range(len(self.parts)):
            there = ~self._free(self.planes(number, np.array([self.shape[2] // 2])))[..., 0]
            if not there.any():
                continue
            found = [np.nan_to_num(self.layer(number, role), nan=np.inf) for role in self.rule]
            better, equal = owner < 0, np.ones(owner.shape, bool)
            for values, least in zip(found, best, strict=True):
                better |= equal & (values < least)
                equal &= values == least
            chosen = there & better
            owner[chosen] = number
            for values, least in zip(found, best, strict=True):
                least[chosen] = values[chosen]
        return owner

    def planes(self, number: int, bands: NDArray[np.intp]) -> NDArray[Any]:
        """(y, x, band) of one part alone, on these pixels."""
        void = nan if self.dtype.kind == "f" else self.void or 0
        out = np.full((bands.size, *self.shape[:2]), void, self.dtype).transpose(1, 2, 0)
        (y, to_rows), (x, to_columns) = self._shared(number, *(slice(0, n) for n in self.shape[:2]))
        if (target := out[to_rows, to_columns]).size:
            read_into(self.parts[number][0], (y, x, bands), target, map)
        return out

    def layer(self, number: int, role: Role) -> NDArray[np.float32]:
        """(y, x) of one part alone, a layer by its role; NaN where unknown."""
        out, file = np.full(self.shape[:2], np.nan, np.float32), self.files[number]
        (y, to_rows), (x, to_columns) = self._shared(number, *(slice(0, n) for n in self.shape[:2]))
        if (found := file.layer(role)) is None:
            raise FileFormatError(f"{file.path} has no usable layer {file.layer_name(role)}; download it again")
        if out[to_rows, to_columns].size:
            out[to_rows, to_columns] = found.by_role(y, x)
        return out

    def _shared(self, number: int, rows: Index, columns: Index) -> tuple[tuple[Index, slice], tuple[Index, slice]]:
        """Of these rows and columns what lies in a part, and where it stands in them."""
        stored, top, left = self.parts[number]
        return _shared(rows, top, stored.shape[0]), _shared(columns, left, stored.shape[1])

    def _free(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Where there is no data yet."""
        void = np.equal(values, 0 if self.void is None else self.void)
        return np.asarray(void if self.dtype.kind != "f" else np.isnan(values) | void)


def _shared(along: Index, start: int, size: int) -> tuple[Index, slice]:
    """Of an ascending index on the common grid, what lies in a cube that begins at `start`; and where it stands."""
    if isinstance(along, slice):
        low, high = max(along.start, start), min(along.stop, start + size)
        high = max(low, high)
        return slice(low - start, high - start), slice(low - along.start, high - along.start)
    first, stop = np.searchsorted(along, (start, start + size)).tolist()
    return along[first:stop] - start, slice(first, stop)


# ------------------------------------------------------------------------------------------------ a cell as a tile


def cell_source(cell: Cell, path: str, files: Sequence[TileSource]) -> TileSource:
    """A cell as a tile at this path, of its files in their order.

    Raises
    ------
    GridError
        The files hold numbers that mean different things, or do not reach the cell's ends.
    """
    first, (dx, dy) = files[0], files[0].resolution
    for file in files[1:]:
        mine, theirs = (_meaning(one) for one in (first, file))
        if mine != theirs:
            raise GridError(f"{first.path} holds {mine}, but {file.path} {theirs}; one cannot stand for the other")
    parts = tuple(
        (file.reflectance, round((cell.north - file.north) / dy), round((file.west - cell.west) / dx)) for file in files
    )
    corners = np.array([(top, left) for _, top, left in parts])
    ends = corners + [stored.shape[:2] for stored, _, _ in parts]
    if (corners.min(axis=0) > 0).any() or (ends.max(axis=0) < cell.shape).any():
        raise GridError(f"{path} is of {cell.shape} pixels, more than its tiles have; start a new run directory")
    bad = np.any([~file.good_wavelength if file.bad is None else file.bad for file in files], axis=0)
    size, mtime_ns = cell.identity
    layers = Layers(parts, (*cell.shape, first.shape[2]), first.fill_value, tuple(files), cell.rule)
    roles = {role: name for role, name in first.layer_roles.items() if all(role in file.layer_roles for file in files)}
    return replace(
        first, path=path, west=cell.west, north=cell.north, bad=bad if bad.any() else first.bad, reflectance=layers,
        dates=tuple(sorted({date for file in files for date in file.dates})),
        flight_lines=tuple(sorted({line for file in files for line in file.flight_lines})),
        layer_names=tuple(roles.values()), layers=partial(_cell_layers, layers, roles), layer_roles=roles,
        remarks={}, notes=(), reader="cell", file_size=size, mtime_ns=mtime_ns,
    )  # fmt: skip


def _cell_layers(layers: Layers, roles: Mapping[Role, str], names: Collection[str] | None = None) -> FoundLayers:
    """Layers of a cell: in each pixel those of the file that holds there, as numbers that their roles have."""
    wanted = {role: name for role, name in roles.items() if names is None or name in names}
    return FoundLayers({name: Layer(_OfOwners(layers, role), nan) for role, name in wanted.items()})


class _OfOwners(ChunkedArray):
    """A layer (y, x) of a cell."""

    def __init__(self, layers: Layers, role: Role) -> None:
        self.layers, self.role = layers, role
        self.shape = self.stored_chunks = layers.shape[:2]
        self.dtype = np.dtype(np.float32)

    def fill(self, wanted: tuple[Want, ...], out: NDArray[Any], spread: Spread) -> None:
        rows, columns = (want.along for want in wanted)
        whole = np.full(self.shape, np.nan, np.float32)
        for number in range(len(self.layers.parts)):
            if (mine := self.layers.owner == number).any():
                whole[mine] = self.layers.layer(number, self.role)[mine]
        out[...] = whole[rows][:, columns]


def _meaning(file: TileSource) -> str:
    return f"{file.reflectance.dtype} by {file.scale_factor:g} without data {file.fill_value}"


def parts_of(path: str) -> tuple[str, ...]:
    """The files that a cell is of; of any other path the path itself. FileFormatError where it cannot be read."""
    return tuple(part.path for part in _document(path).parts) if path.endswith(SUFFIX) else (path,)


def _document(path: str) -> Cell:
    try:
        return as_typed(read_json(Path(path)), Cell, Path(path))
    except RunError as error:
        raise FileFormatError(str(error)) from None


def _read(path: str) -> TileSource:
    cell = _document(path)
    return cell_source(cell, path, [readers.read_source(part.path) for part in cell.parts])


def _identity(path: str) -> tuple[int, int]:
    """As the document says, unless a file has changed since."""
    cell = _document(path)
    now = [Part(part.path, *readers.identity(part.path)) for part in cell.parts]
    size, mtime_ns = replace(cell, parts=tuple(now)).identity
    return size, mtime_ns + sum(one != before for one, before in zip(now, cell.parts, strict=True))


READER = readers.Reader("cell", "cells of overlapping tiles", (), lambda path: path.endswith(SUFFIX), _read, _identity)
