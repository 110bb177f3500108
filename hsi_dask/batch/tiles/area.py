"""The area of interest of a run: from the configuration to polygons, and to what of each tile is read."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.config import AreaConfig
from hsi_dask.errors import ConfigError, counted
from hsi_dask.escaping import visible
from hsi_dask.io.partial import PartOfCube, chunks_touched
from hsi_dask.io.readers import corner_in_name
from hsi_dask.io.regions import Bounds, Region, extent_text, inside, overlap, read_region, region_of_bounds, together
from hsi_dask.io.tile_source import TileSource


class Cut(NamedTuple):
    """A tile, of which only chunks that touch the area are read, and (y, x) which of its pixels are inside."""

    file: TileSource
    inside: NDArray[np.bool_]


class Share(NamedTuple):
    """How much of a tile is inside: pixels, and stored chunks that touch the area, of how many."""

    pixels: float
    chunks: int
    of_chunks: int


def region_of(area: AreaConfig, crs: str, kept: Region | None = None, *, reread: bool = True) -> Region | None:
    """The area of a configuration in the CRS of the tiles; None without one.

    Parameters
    ----------
    kept : what an earlier start of the run made of the same configuration; it holds unless the file of polygons says
        otherwise now, for another version of PROJ may bring the same polygons to slightly other places
    reread : look whether the file of polygons is there and says otherwise

    Raises
    ------
    ConfigError
        The file or the CRS cannot be used.
    """
    if kept is not None and not (area.region and reread and os.path.exists(area.region)):
        return kept
    if area.bounds is not None:
        return region_of_bounds(area.bounds, crs, None if area.bounds_crs is None else f"EPSG:{area.bounds_crs}")
    if area.region is None:
        return None
    found = read_region(area.region, crs)
    return kept if kept is not None and kept.origin == found.origin else found


def with_whole_path(area: AreaConfig) -> AreaConfig:
    """The file of polygons by its absolute path."""
    path = None if area.region is None else os.path.abspath(os.path.expanduser(area.region))
    return area.model_copy(update={"region": path})


def touching(files: Sequence[TileSource], region: Region) -> tuple[list[TileSource], list[Share]]:
    """The files with a pixel inside, and how much of each is.

    Raises
    ------
    ConfigError
        There is none. Tells both extents.
    """
    shares = [(file, _share(file, region)) for file in files]
    found = [(file, share) for file, share in shares if share.pixels]
    if not found:
        spanned = together([file.bounds for file in files])
        raise ConfigError(_apart(region, spanned, files[0].crs, len(files)))
    return [file for file, _ in found], [share for _, share in found]


def may_touch(path: str, like: TileSource, region: Region) -> bool:
    """Whether a tile that cannot be read may touch the area, by its name."""
    if (corner := corner_in_name(path)) is None:
        return True
    west, south = map(float, corner.split("_"))
    (rows, columns), (dx, dy) = like.shape[:2], like.resolution
    return overlap((west, south, west + columns * dx, south + rows * dy), region.bounds)


def cut(file: TileSource, region: Region) -> Cut:
    """The tile as a run with this area reads it."""
    found = _inside(file, region)
    if found.all():
        return Cut(file, found)
    stored = file.reflectance
    void = file.fill_value if file.fill_value is not None else math.nan if stored.dtype.kind == "f" else 0
    needed = chunks_touched(found, stored.stored_chunks)
    return Cut(replace(file, reflectance=PartOfCube(stored, needed, void)), found)


def area_note(region: Region, shares: Sequence[Share], tiles: int) -> str:
    """What of a site is in the area, as one sentence."""
    read, stored = sum(share.chunks for share in shares), sum(share.of_chunks for share in shares)
    return (
        f"the area ({visible(region.name)}) touches {len(shares)} of {counted(tiles, 'tile')}, and {read:,} of the "
        f"{stored:,} stored chunks in these; only they are read"
    )


def _inside(file: TileSource, region: Region) -> NDArray[np.bool_]:
    return inside(region, (file.west, file.north), file.resolution, (file.shape[0], file.shape[1]))


def _share(file: TileSource, region: Region) -> Share:
    if not overlap(file.bounds, region.bounds):
        return Share(0.0, 0, 0)
    found, stored = _inside(file, region), file.reflectance.stored_chunks
    needed, planes = chunks_touched(found, stored), -(-file.shape[2] // stored[2])
    return Share(float(found.mean()), int(needed.sum()) * planes, needed.size * planes)


def _apart(region: Region, spanned: Bounds, crs: str, tiles: int) -> str:
    """The sentence on an area that touches no tile."""
    least, most = min(map(abs, region.bounds)), max(map(abs, region.bounds))
    degrees = most <= 360 < max(map(abs, spanned)) and least <= 180
    hint = "; they look like degrees: --bounds-crs 4326 (area.bounds_crs)" if degrees else "; correct the area"
    which = "the tile" if tiles == 1 else f"any of the {tiles} tiles"
    return (
        f"the area ({region.name}) holds no pixel of {which}: it spans {extent_text(region.bounds, region.crs)}, the "
        f"tiles {extent_text(spanned, crs)}{hint}"
    )
