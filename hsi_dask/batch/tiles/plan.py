"""Plan: tiles, their place in the mosaic, memory and cost."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import xarray as xr

from hsi_dask.batch.tiles.mixture import Contents
from hsi_dask.batch.tiles.provenance import DataSource, checksums_of
from hsi_dask.config import MaskConfig, RunConfig
from hsi_dask.errors import GridError
from hsi_dask.io import chunked
from hsi_dask.io.cells import Cell
from hsi_dask.io.durable import digest
from hsi_dask.io.map_arrays import endmember_planes
from hsi_dask.io.map_grid import Grid
from hsi_dask.io.regions import Region
from hsi_dask.methods.options import method_options
from hsi_dask.methods.registry import method, variables
from hsi_dask.methods.specification import Method
from hsi_dask.ops.whole_planes import HELD_BYTES, READ_PLANES, STEP_PIXELS, SUM_BYTES, pieces_at_once
from hsi_dask.schema import CLASS_DIMS, ENDMEMBER, QUALITY, QUALITY_OF_AREA, WAVELENGTH, Variable

# Memory of one tile's task, measured on tiles of 1 km in both chunk layouts:
#   what a process holds before its first tile: interpreter, libraries, compiled kernels, the sample
_PROCESS = 340 * 2**20
#   each thread holds one block of stored integers and the inflated chunk beside it; a slab that is one block is read
#   by all threads in pieces of planes, of float32 at most
_COPIES_OF_BLOCK = 2
#   the sums of a block's pixels, float64; each thread holds those of one, and one more waits to be finished
#   but where these are too many, so many bytes of stored numbers are held, and a thread reads few planes at a time;
#   finishing holds a step's stored numbers and sums, and what is computed of them
_COPIES_OF_STEP = 3
#   maps are held as they are finished, as they are joined, and while they are padded and compressed
_COPIES_OF_MAPS = 3
#   masks, of every pixel: layers as stored, planes of indices in float32, least and largest values, flags
_MASK_BYTES = 40
#   statistics of the scene: sums and differences of a strip's pixels, by each thread
_STRIP_SUMS = 32 * 2**20
#   a search over every pixel: its planes in float32, once more as they are written, and sums in float64
_COPIES_OF_PLANES = 3

# Tiles that pixels are sampled from, unless the configuration says how many: every one of a small site, for a material
# may be in one tile alone; of a large one so many, for a tile with one wavelength a chunk is inflated whole for it
_MOST_SAMPLED = 16

_OF_NOTHING = 0.02  # what a byte of no data takes when it is stored, and the chunks' own share


@dataclass(frozen=True)
class Tile:
    """One input file and its place: what a task needs to know.

    Attributes
    ----------
    id : easting_northing of the south-west corner
    row, column : of its north-west pixel in the mosaic
    slabs : row ranges of the tile, computed and written one after another
    block_bytes, block_pixels : stored integers of one dask block, and its pixels
    inside, read : shares of its pixels that are in the area of interest, and of its stored bytes that are read
    held_bytes : stored integers that statistics of the scene hold, where these are needed
    cell : which files it is of, where tiles overlap; then `path` is of the document that says so
    """

    id: str
    path: str
    file_size: int
    mtime_ns: int
    shape: tuple[int, int]
    row: int
    column: int
    slabs: tuple[tuple[int, int], ...]
    block_bytes: int
    block_pixels: int
    inside: float = 1.0
    read: float = 1.0
    held_bytes: int = 0
    cell: Cell | None = None


@dataclass(frozen=True)
class BadTile:
    """A file whose metadata cannot be read; it fails, the others go on. Size and time are 0 where it is gone."""

    id: str
    path: str
    file_size: int
    mtime_ns: int
    reason: str


@dataclass(frozen=True)
class Plan:
    """What will be done.

    Attributes
    ----------
    config : with the number of endmembers, also where these are given, and the windows that hold for all tiles
    bad : files that cannot be read
    spectra : the endmembers, if they are given
    contents : how many tiles of which product, site and year
    sources : of which releases they are, and how to cite them
    checksums : sha256 of input files by their paths, if they are asked for
    region : the area of interest; None is all
    notes : sentences on what was chosen for the tiles together
    """

    config: RunConfig
    grid: Grid
    tiles: tuple[Tile, ...]
    bad: tuple[BadTile, ...]
    spectra: xr.DataArray | None = field(default=None, compare=False, repr=False)
    contents: Contents = field(default_factory=dict, compare=False)
    sources: tuple[DataSource, ...] = field(default=(), compare=False)
    checksums: Mapping[str, str] = field(default_factory=dict, compare=False)
    region: Region | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The maps to be computed."""
        quality = QUALITY if self.region is None else QUALITY_OF_AREA
        return (*variables(self.config.methods, self.config.method_options), quality)

    @property
    def fingerprint(self) -> str:
        """sha256 over everything that decides the numbers, the area of interest among it."""
        settings = self.config.fingerprint()
        return settings if self.region is None else digest(f"{settings} {self.region.polygons}".encode())

    @property
    def sizes(self) -> dict[str, int]:
        """How many planes maps have, at most, along each dimension before y and x."""
        wanted = self.config.endmembers
        if self.spectra is None:
            return {ENDMEMBER: wanted.most if wanted.count == "auto" else wanted.count}
        return {dim: numbers.size for dim, numbers in endmember_planes(self.spectra).items()}

    @property
    def bytes_to_read(self) -> int:
        """Bytes of input files, as far as they are in the area, once more where pixels are sampled or all looked at."""
        sampled = self.in_sampling_order()[: self.sampled] if self.spectra is None else []
        again = list(self.tiles) if self.search_bytes else sampled  # every pixel is looked at as the sample is drawn
        return math.ceil(sum(tile.file_size * tile.read for tile in (*self.tiles, *again)))

    @property
    def sampled(self) -> int:
        """How many tiles are read to find endmembers."""
        return min(self.config.endmembers.sample_tiles or _MOST_SAMPLED, len(self.tiles))

    def in_sampling_order(self) -> list[Tile]:
        """The tiles so that the first n, for any n, are spread over the site, from its middle on.

        Files of less than half the usual size, as on the edge of a site, hold little but no data: they come last, and
        so do those with little inside the area.
        """
        ordered = sorted(self.tiles, key=lambda tile: (tile.row, tile.column))
        places = np.array([(tile.row, tile.column) for tile in ordered])
        middle = int(((places - (places.min(axis=0) + places.max(axis=0)) / 2) ** 2).sum(axis=1).argmin())
        ordered = ordered[middle:] + ordered[:middle]
        bits = max(1, (len(ordered) - 1).bit_length())
        reverse = sorted(range(2**bits), key=lambda i: f"{i:0{bits}b}"[::-1])
        little = np.median([tile.file_size * tile.inside for tile in ordered]) / 2
        chosen = (ordered[i] for i in reverse if i < len(ordered))
        return sorted(chosen, key=lambda tile: tile.file_size * tile.inside < little)

    @property
    def bytes_to_write(self) -> int:
        """Projected bytes of the results store, on the high side."""
        return sum(self.output_bytes(tile) for tile in self.tiles)

    def output_bytes(self, tile: Tile) -> int:
        """Projected stored bytes of one tile's maps."""
        share = sum(v.stored_share * self._bytes_a_pixel(v) for v in self.variables)
        return math.ceil(share * math.prod(tile.shape) * min(1.0, tile.inside + _OF_NOTHING))

    @property
    def search_bytes(self) -> int:
        """Bytes that a search over every pixel keeps with the run, until it has found the endmembers."""
        return sum(self._searched_bytes_a_pixel * math.prod(tile.shape) for tile in self.tiles)

    def memory(self, threads: int) -> int:
        """Projected peak bytes of a process that works on the largest tile with so many threads."""
        return max(self.tile_memory(tile, threads) for tile in self.tiles)

    def tile_memory(self, tile: Tile, threads: int) -> int:
        """Projected peak bytes of a process that works on this tile."""
        pixels = max(stop - start for start, stop in tile.slabs) * tile.shape[1]
        block = min(pixels, tile.block_pixels)
        specs = [method(name) for name in self.config.methods]
        planes = self._sums_a_pixel(specs)
        maps = sum(map(self._bytes_a_pixel, self.variables)) * pixels
        own = max(spec.memory for spec in specs)
        if 8 * planes * block > SUM_BYTES:
            stored = threads * READ_PLANES * 4 * block
            step = threads * STEP_PIXELS * (8 * planes * _COPIES_OF_STEP + own)
            sums = min(threads, math.ceil(pixels / block)) * HELD_BYTES + step
        else:
            if block < pixels:
                stored = threads * tile.block_bytes * _COPIES_OF_BLOCK
            else:
                piece = min(4 * pixels * chunked.PIECE_PLANES, chunked.PLANES_BYTES)
                more = (pieces_at_once(8 * planes * pixels) - 1) * piece  # it is gone before there are maps
                stored = max(piece, tile.block_bytes) + max(0, more - maps)
            sums = (planes * 8 + own) * min(pixels, (threads + 1) * tile.block_pixels)
        masks = _MASK_BYTES * pixels if self.config.masks != MaskConfig() else 0
        searched = _COPIES_OF_PLANES * self._searched_bytes_a_pixel * pixels
        mapped = stored + max(sums + maps, maps * _COPIES_OF_MAPS, searched)
        return _PROCESS + max(mapped, tile.held_bytes + threads * min(_STRIP_SUMS, tile.held_bytes)) + masks

    def _sums_a_pixel(self, specs: Sequence[Method]) -> int:
        """Numbers that a pixel is summed to: its products with a basis, its energy, and what divergences need."""
        count = self.sizes[ENDMEMBER]
        options = method_options(specs, self.config.method_options)
        basis = count + sum(spec.most_directions(count, options[spec.name]) for spec in specs)
        if self.spectra is not None:  # a basis has no more than all wavelengths
            count, basis = (min(number, self.spectra.sizes[WAVELENGTH]) for number in (count, basis))
        return basis + 2 * count + 2 if any(spec.divergence for spec in specs) else basis + 1

    @property
    def _searched_bytes_a_pixel(self) -> int:
        """The mean and some more components than endmembers in float32, where every pixel is looked at; else 0."""
        if self.spectra is not None or self.config.endmembers.sample != "all":
            return 0
        return np.dtype(np.float32).itemsize * (1 + max(20, 2 * self.sizes[ENDMEMBER]))

    def _bytes_a_pixel(self, variable: Variable) -> int:
        planes = self.sizes.get(variable.dims[0], 1) if len(variable.dims) > len(CLASS_DIMS) else 1
        return planes * np.dtype(variable.dtype).itemsize


def with_checksums(plan: Plan, advanced: Callable[[float], None] = lambda share: None) -> Plan:
    """The plan with checksums of its files, and the share done on the way; OSError where one cannot be read."""
    paths = [part.path for tile in plan.tiles for part in (tile.cell.parts if tile.cell else [tile])]
    return replace(plan, checksums=checksums_of(dict.fromkeys(paths), advanced))


def on_grid(plan: Plan, grid: Grid) -> Plan:
    """The same plan on a run's existing grid; tiles keep their place on the ground.

    Raises
    ------
    GridError
        A tile lies outside that grid or across its chunks.
    """
    if plan.grid == grid:
        return plan
    down = round((grid.north - plan.grid.north) / grid.resolution[1])
    right = round((plan.grid.west - grid.west) / grid.resolution[0])
    tiles = []
    for tile in plan.tiles:
        row, column = tile.row + down, tile.column + right
        inside = 0 <= row <= grid.shape[0] - tile.shape[0] and 0 <= column <= grid.shape[1] - tile.shape[1]
        if not inside or (plan.grid.crs, plan.grid.resolution) != (grid.crs, grid.resolution):
            raise GridError(f"{tile.path} lies outside the mosaic of this run; start a new run directory for it")
        tiles.append(replace(tile, row=row, column=column))
    return replace(plan, grid=grid, tiles=tuple(tiles))


def free_bytes(run_dir: str | os.PathLike[str]) -> int:
    """Free disk space where the run directory is or will be."""
    folder = Path(os.path.abspath(run_dir))
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
