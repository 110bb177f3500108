"""Two runs that can be compared: on one pixel grid, with the same endmembers, and the maps that they share."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from hsi_dask.batch.state.run_directory import Run
from hsi_dask.comparison.spectra import require_same_endmembers
from hsi_dask.errors import ConfigError, GridError, RunError
from hsi_dask.io.endmember_store import read_endmembers
from hsi_dask.io.map_grid import Grid
from hsi_dask.io.regions import extent_text
from hsi_dask.ops.grids import PixelGrid, offset
from hsi_dask.schema import WAVELENGTH, Variable

Window = tuple[slice, slice]

FRACTION_LIKE = ("fraction", "shade")  # roles whose difference is a share of a pixel
_OF_YEARS = 3.0  # nm that a band may move from a year to another: sites and years differ by up to 2
_OWN_TO_A_YEAR = ("tiles", "mix", "endmembers.", "bands.")  # settings that may differ


@dataclass(frozen=True)
class Pair:
    """An earlier and a later run, and what of them can be compared.

    Attributes
    ----------
    grid : of the pixels that both have, in chunks as the first has them
    windows : rows and columns of this grid in the mosaics of both
    endmembers : (endmember, wavelength) of the first, with the names that either has
    variables : maps of fractions, shade and classes that both have
    stds : by name of a fraction its map of standard deviations, where both have it
    complete : whether each has all its tiles
    notes : sentences on what differs although they can be compared
    """

    before: Run
    after: Run
    grid: Grid
    windows: tuple[Window, Window]
    endmembers: xr.DataArray
    variables: tuple[Variable, ...]
    stds: dict[str, Variable]
    complete: tuple[bool, bool]
    notes: tuple[str, ...]

    @property
    def hectares(self) -> float:
        """Area of a pixel."""
        return self.grid.pixel_area / 1e4


def open_pair(run_a: str | os.PathLike[str], run_b: str | os.PathLike[str]) -> Pair:
    """Two runs that can be compared, in the order of time.

    Raises
    ------
    RunError
        One is no run or has no finished tile, or they share no map of fractions or classes.
    GridError
        Their grids differ in CRS, resolution or origin, or do not overlap.
    EndmemberError
        They were not mapped with the same endmembers.
    """
    before, after = Run.open(run_a), Run.open(run_b)
    if before.path.resolve() == after.path.resolve():
        raise RunError(f"{before.path} and {after.path} are one run; give two")
    for run in (before, after):
        run.finished()
    grid, windows, partly = _overlap(before, after)
    spectra = tuple(read_endmembers(run.endmembers) for run in (before, after))
    endmembers = require_same_endmembers(spectra[0], spectra[1], (str(before.path), str(after.path)))
    shared, stds = _shared(before, after)
    lacking = tuple(len(run.pending()) + len(run.failed()) for run in (before, after))
    tiles = (f"{run.path} is not complete: {n} of its tiles have no data"
             for run, n in zip((before, after), lacking, strict=True) if n)  # fmt: skip
    notes = (*partly, *_band_notes(*spectra), *_settings_notes(before, after), *tiles)
    complete = not lacking[0], not lacking[1]
    return Pair(before, after, grid, windows, endmembers, shared, stds, complete, notes)


# ------------------------------------------------------------------------------------------------ grids


def _overlap(before: Run, after: Run) -> tuple[Grid, tuple[Window, Window], tuple[str, ...]]:
    """The grid of the pixels that both have, these pixels in both mosaics, and a sentence if that is not all."""
    one, other = before.manifest.grid, after.manifest.grid
    down, across = offset(_pixels(before), _pixels(after), "runs are compared on one pixel grid; map both on the same")
    sides = [
        (max(0, start), min(size, start + more))
        for start, size, more in zip((down, across), one.shape, other.shape, strict=True)
    ]
    if any(stop <= start for start, stop in sides):
        where = " and ".join(
            f"{run.path} ({extent_text(run.manifest.grid.bbox, run.manifest.grid.crs)})" for run in (before, after)
        )
        raise GridError(f"{where} do not overlap; give two runs of one site")
    (top, bottom), (left, right) = sides
    shape = bottom - top, right - left
    grid = replace(
        one, west=one.west + left * one.resolution[0], north=one.north - top * one.resolution[1], shape=shape,
        chunk=(min(one.chunk[0], shape[0]), min(one.chunk[1], shape[1])),
    )  # fmt: skip
    windows = (
        (slice(top, bottom), slice(left, right)),
        (slice(top - down, bottom - down), slice(left - across, right - across)),
    )
    if one.shape == other.shape == shape:
        return grid, windows, ()
    return grid, windows, (f"the extents differ: compared are the {shape[0]} x {shape[1]} pixels (y, x) of both",)


def _pixels(run: Run) -> PixelGrid:
    grid = run.manifest.grid
    return PixelGrid(str(run.path), grid.crs, grid.west, grid.north, grid.resolution, grid.unit, np.empty(0))


# ------------------------------------------------------------------------------------------------ maps


def _shared(before: Run, after: Run) -> tuple[tuple[Variable, ...], dict[str, Variable]]:
    """Maps of fractions, shade and classes that both have, and standard deviations of the fractions."""
    mine, theirs = ({v.name: v for v in run.manifest.variables} for run in (before, after))
    alike = [v for name, v in mine.items() if name in theirs and (v.dims, v.role) == _kind(theirs[name])]
    shared = tuple(v for v in alike if v.role in (*FRACTION_LIKE, "class"))
    if not shared:
        has = (f"{run.path} has {', '.join(v.name for v in run.manifest.variables)}" for run in (before, after))
        raise RunError(f"the runs share no map of fractions or classes: {' and '.join(has)}; run the same methods")
    return shared, {str(v.of): v for v in alike if v.role == "uncertainty" and v.of in {s.name for s in shared}}


def _kind(variable: Variable) -> tuple[tuple[str, ...], str]:
    return variable.dims, variable.role


# ------------------------------------------------------------------------------------------------ notes


def _band_notes(one: xr.DataArray, other: xr.DataArray) -> tuple[str, ...]:
    mine, theirs = (np.asarray(spectra[WAVELENGTH], np.float64) for spectra in (one, other))
    alike = int((np.abs(mine[:, None] - theirs).min(axis=1) <= _OF_YEARS).sum())
    if alike == mine.size == theirs.size:
        return ()
    return (f"the runs were mapped at {mine.size} and {theirs.size} wavelengths, of which {alike} are alike",)


def _settings_notes(before: Run, after: Run) -> tuple[str, ...]:
    """What was asked for in another way, as far as it decides maps; nothing where a plug-in is missing."""
    try:
        differences = after.config.differences(before.config)
    except (ConfigError, RunError):
        return ()
    telling = [text for text in differences if not text.startswith(_OWN_TO_A_YEAR)]
    return (f"the runs' settings differ, which may look like change: {'; '.join(telling)}",) if telling else ()
