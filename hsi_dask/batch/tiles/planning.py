"""RunConfig to Plan. Reads metadata only."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

from hsi_dask.batch.stalls import REMARK, Patience
from hsi_dask.batch.tiles.area import Share, area_note, may_touch, region_of, touching, with_whole_path
from hsi_dask.batch.tiles.cells import CELLS, Cut, cut_into_cells
from hsi_dask.batch.tiles.common_bands import with_common_windows
from hsi_dask.batch.tiles.layout import Layout, difference, lay_out, slabs
from hsi_dask.batch.tiles.masks import missing_layer
from hsi_dask.batch.tiles.mixture import contents_of, may_be_of_visit, of_visit, require_unmixed
from hsi_dask.batch.tiles.plan import BadTile, Plan, Tile
from hsi_dask.batch.tiles.provenance import data_sources
from hsi_dask.batch.tiles.supplied_endmembers import supplied_endmembers
from hsi_dask.config import RunConfig
from hsi_dask.errors import ConfigError, FileFormatError, GridError, counted
from hsi_dask.escaping import visible
from hsi_dask.io import blocks
from hsi_dask.io.readers import corner_in_name, identity, read_source
from hsi_dask.io.regions import Region
from hsi_dask.io.tile_source import TileSource
from hsi_dask.methods.registry import method
from hsi_dask.ops.bands import select_bands
from hsi_dask.ops.grids import corner_name
from hsi_dask.ops.statistics import held_bytes
from hsi_dask.schema import WAVELENGTH

_WHOLE = Share(1.0, 1, 1)  # of a tile, without an area of interest
_LONGEST_ID = 120  # bytes: names of files for a tile have endings, and end at 255


def make_plan(
    paths: Sequence[str | os.PathLike[str]],
    config: RunConfig,
    *,
    kept_region: Region | None = None,
    run_dir: str | os.PathLike[str] = ".",
) -> Plan:
    """Plan a run over these files, or those of them that touch the area of interest.

    A file whose metadata cannot be read is put aside in `Plan.bad`, unless none can be read; so is one of another site,
    whose CRS, pixels or wavelengths are not those of more than half of the files.

    Parameters
    ----------
    kept_region : the area as an earlier start of the run kept it, for where its file is gone
    run_dir : where the documents of cells will be, if tiles overlap

    Raises
    ------
    GridError
        The tiles do not share CRS, resolution, wavelengths and pixel grid, or overlap.
    FileFormatError
        No file can be read.
    EndmemberError
        Given endmembers cannot be used.
    ConfigError
        No file has a layer that a mask needs; or the files are of several products, sites or years, and `mix` is false;
        or the area of interest cannot be used, or touches no tile.
    """
    if not paths:
        raise ConfigError("no tiles; give reflectance files, folders of them or patterns such as site/*.h5")
    read = _read_all([os.fspath(path) for path in paths])
    files = [file for file in read if not isinstance(file, BadTile)]
    bad = [file for file in read if isinstance(file, BadTile)]
    if not files:
        more = f" (and {len(bad) - 1} more files cannot be read either)" if len(bad) > 1 else ""
        raise FileFormatError(bad[0].reason + more)
    files = of_visit(files, config.year, config.visit)
    bad = [tile for tile in bad if may_be_of_visit(tile.path, config.year, config.visit)]
    files, strangers = _of_one_site(files)
    shares, notes, everything = [_WHOLE] * len(files), list[str](), len(files)
    config = config.replace(area=with_whole_path(config.area).model_dump())
    if (region := region_of(config.area, files[0].crs, kept_region, reread=bool(config.tiles))) is not None:
        bad = [tile for tile in bad if may_touch(tile.path, files[0], region)]
        files, shares = touching(files, region)
    if not config.mix:
        require_unmixed(files)
    whole, contents, sources = files, contents_of(files), data_sources(files)
    cut = _cut(files, config, Path(os.path.abspath(run_dir)) / CELLS)
    if cut is not None:
        notes.append(f"{len(files)} overlapping tiles are cut into {counted(len(cut.files), 'cell')}; {cut.rule}")
        files, everything = list(cut.files), len(cut.files)
        shares = [_WHOLE] * everything
        files, shares = (files, shares) if region is None else touching(files, region)
    if region is not None:
        notes.append(area_note(region, shares, everything))
    _require_layers(files, config)
    layout = lay_out(files, [] if cut else [tile.path for tile in bad], cut.lines if cut else None)
    own_windows = config.bands.windows is not None and "file" not in config.bands.windows
    config, of_windows = with_common_windows(whole, config)
    config, spectra, inherited = supplied_endmembers(config, files[0], own_windows=own_windows)
    tiles = _placed(files, shares, layout, cut, _bands_of_statistics(files[0], config))
    aside = _with_unique_ids([*bad, *strangers], {tile.id for tile in tiles})
    notes += (*of_windows, *inherited)
    return Plan(
        config, layout.grid, tiles, aside, spectra, contents, sources, region=region, notes=tuple(notes),
    )  # fmt: skip


def _placed(
    files: Sequence[TileSource], shares: Sequence[Share], layout: Layout, cut: Cut | None, bands: int
) -> tuple[Tile, ...]:
    """The tiles, where they are in the mosaic; `bands`: of statistics of the scene."""
    return tuple(
        Tile(
            id=corner_name(*file.bounds[:2]),
            path=file.path,
            file_size=file.file_size,
            mtime_ns=file.mtime_ns,
            shape=(file.shape[0], file.shape[1]),
            row=box.top,
            column=box.left,
            slabs=slabs(file, layout.grid),
            block_bytes=math.prod(block) * file.reflectance.dtype.itemsize,
            block_pixels=math.prod(block[:2]),
            inside=share.pixels,
            read=share.chunks / share.of_chunks * (cut.read_share(file) if cut else 1.0),
            held_bytes=held_bytes((file.shape[0], file.shape[1], bands), block[0], file.reflectance.dtype.itemsize),
            cell=cut.cells[file.path] if cut else None,
        )
        for file, box, share in zip(files, layout.boxes, shares, strict=True)
        for block in [blocks.block_shape(file.reflectance)]
    )


def _bands_of_statistics(file: TileSource, config: RunConfig) -> int:
    """How many wavelengths statistics of the scene are of; 0 where no method needs any."""
    if not any(method(name).background for name in config.methods):
        return 0
    return select_bands(file.numbers(), windows=config.bands.pairs, drop_last=config.bands.drop_last).sizes[WAVELENGTH]


def _cut(files: Sequence[TileSource], config: RunConfig, folder: Path) -> Cut | None:
    """Cells, where tiles cannot be laid out side by side and the configuration says which holds; None where they can.

    Raises
    ------
    GridError
        The tiles' pixel grids do not align.
    """
    if config.overlap == "error":
        return None
    try:
        lay_out(files)
    except GridError:
        return cut_into_cells(files, config.overlap, folder)
    return None


def _of_one_site(files: Sequence[TileSource]) -> tuple[list[TileSource], list[BadTile]]:
    """The files that share a grid and wavelengths, when they are more than half, and the others with the reason.

    Without such a majority all files are kept, and laying them out refuses them.
    """
    kinds: list[list[TileSource]] = []
    for file in files:
        kind = next((kind for kind in kinds if not difference(kind[0], file)), None)
        if kind is None:
            kinds.append([file])
        else:
            kind.append(file)
    most = max(kinds, key=len)
    if 2 * len(most) <= len(files):
        return list(files), []
    strangers = [file for kind in kinds if kind is not most for file in kind]
    return most, [
        BadTile(corner_name(*file.bounds[:2]), file.path, file.file_size, file.mtime_ns, difference(most[0], file))
        for file in strangers
    ]


def _require_layers(files: Sequence[TileSource], config: RunConfig) -> None:
    """Where only some files lack a layer, their tiles fail alone, each with its sentence."""
    lacks = [missing_layer(file, config.masks) for file in files]
    if all(lacks):
        others = f" (nor has any of the {len(files) - 1} others)" if len(files) > 1 else ""
        raise ConfigError(f"{files[0].path} {lacks[0]}{others}")


def _read_all(paths: Sequence[str]) -> list[TileSource | BadTile]:
    with ThreadPoolExecutor(8) as pool:  # on network file systems opening is mostly waiting
        reading, patience = [pool.submit(_try_read, path) for path in paths], Patience()
        for path, file in zip(paths, reading, strict=True):
            while not wait([file], timeout=REMARK / 10).done:
                patience.look(f"reading the metadata of {path}")
            patience.moved()
    return [file.result() for file in reading]


def _try_read(path: str) -> TileSource | BadTile:
    try:
        return read_source(path)
    except (FileFormatError, OSError) as error:
        reason = str(error)
    try:
        size, mtime = identity(path)
    except (FileFormatError, OSError):
        size, mtime = 0, 0
    return BadTile(corner_in_name(path) or _id_from_name(path), os.path.abspath(path), size, mtime, reason)


def _id_from_name(path: str) -> str:
    """What stands for a tile that does not tell its place: its file's name, as far as a file can be named for it."""
    shown = visible(Path(path).stem).replace("\\", "_").lstrip(".")
    return shown.encode()[:_LONGEST_ID].decode(errors="ignore") or "tile"


def _with_unique_ids(bad: Sequence[BadTile], used: set[str]) -> tuple[BadTile, ...]:
    found = []
    for tile in bad:
        name, number = tile.id, 2
        while name in used:
            name, number = f"{tile.id}-{number}", number + 1
        used.add(name)
        found.append(replace(tile, id=name))
    return tuple(found)
