"""Maps at places: the value of the pixel that holds a point, or mean, spread and shares over the pixels of a shape."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.batch.state.outputs import require_free
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.batch.tiles.mosaic import open_mosaic
from hsi_dask.errors import ConfigError, RunError, SchemaError
from hsi_dask.io import crs as reference
from hsi_dask.io.damage import damage_named
from hsi_dask.io.durable import sync_folders, write_file
from hsi_dask.io.endmember_store import open_endmembers
from hsi_dask.io.footprints import NO_GEOMETRY, OUTSIDE, Lattice, Pixels, pixels_of, states
from hsi_dask.io.places import TABLES, Places
from hsi_dask.io.vector_files import VECTORS, write_frame
from hsi_dask.schema import FLAGS, GRID_MAPPING, QUALITY, SAME_WAVELENGTH, WAVELENGTH, X, Y
from hsi_dask.show.place_sums import Sums, layers_of
from hsi_dask.show.tables import csv_text

if TYPE_CHECKING:
    import pandas as pd

STATE, PIXELS = "state", "pixels"
NO_DATA = "no data"
_VALUES = 2**23  # that are read together
_BLOCK = 512  # pixels: places that share such a square are read together


def values_at(maps: xr.Dataset, places: Places, *, buffer: float | None = None) -> pd.DataFrame:
    """The maps at places, one row each, in their order.

    Parameters
    ----------
    maps : with y and x, evenly spaced; lazy ones are read only where places are
    places : in any CRS, or in that of the maps
    buffer : metres around each place; None or 0 for none

    Returns
    -------
    DataFrame
        The columns of the places; `state`: inside, partly outside, outside, no data or no geometry; `pixels` with data;
        then the maps, as `Pictures.at` tells.

    Raises
    ------
    SchemaError
        The maps have no y and x, or no CRS although the places have one.
    ConfigError
        The buffer is negative, or in metres where the maps are not.
    """
    import pandas as pd

    lattice, crs = _lattice(maps), _crs(maps)
    radius = _radius(buffer, crs)
    if places.crs is not None and crs is None:
        raise SchemaError("the maps have no CRS, but the places have one; give places in the maps' own coordinates")
    here = places.to_crs(crs) if crs is not None else places
    found = states(here, lattice, radius)
    single = not radius and not here.shapes.size
    sums = {str(name): Sums(here.count, single, layers_of(maps, str(name))) for name in maps if _is_map(maps[name])}
    known = np.zeros(here.count, np.int64)
    most = max(1, _VALUES // max(1, sum(len(one.layers.columns) for one in sums.values())))
    for batch in _batches(here, lattice, radius, found, most):
        _add(maps, batch, sums, known)
    state = [NO_DATA if not n and s not in (OUTSIDE, NO_GEOMETRY) else s for s, n in zip(found, known, strict=True)]
    made: dict[str, Any] = {STATE: state, PIXELS: known}
    for one in sums.values():
        made |= dict(one.columns())
    own = {f"file_{name}" if name in made else name: values for name, values in places.columns.items()}
    return pd.DataFrame(own | made)


def with_spectra(
    found: pd.DataFrame, run_dir: str | os.PathLike[str], places: Places, *, buffer: float | None = None
) -> pd.DataFrame:
    """The table of a run's maps, and beside it the reflectance of its tiles at the run's wavelengths.

    Raises
    ------
    RunError
        No file of the run's tiles is there any more.
    """
    import pandas as pd

    run = Run.open(run_dir)
    paths = [record.path for record in run.finished() if os.path.exists(record.path)]
    if not paths:
        raise RunError(f"the tiles of {run.path} are no longer where they were: there are no spectra")
    cube, own = open_mosaic(paths, mix=True, overlap="first"), open_endmembers(run_dir)[WAVELENGTH].to_numpy()
    kept = np.abs(cube[WAVELENGTH].to_numpy()[:, None] - own).min(axis=1) <= SAME_WAVELENGTH
    spectra = values_at(cube.isel({WAVELENGTH: kept}).to_dataset(name="reflectance"), places, buffer=buffer)
    beside = spectra.iloc[:, len(places.columns) + len((STATE, PIXELS)) :]
    return pd.concat([found, beside], axis=1)


def _is_map(array: xr.DataArray) -> bool:
    return {X, Y} <= set(array.dims)


def _lattice(maps: xr.Dataset) -> Lattice:
    if not {X, Y} <= set(maps.coords):
        raise SchemaError(
            f"places need maps with coordinates y and x, not {', '.join(map(str, maps.coords)) or 'none'}"
        )
    return Lattice.of(np.asarray(maps[Y], np.float64), np.asarray(maps[X], np.float64))


def _crs(maps: xr.Dataset) -> str | None:
    return reference.from_attrs(maps[GRID_MAPPING].attrs) if GRID_MAPPING in maps.coords else None


def _radius(buffer: float | None, crs: str | None) -> float:
    if not buffer:
        return 0.0
    if not 0 < buffer < 1e6:
        raise ConfigError(f"buffer is {buffer:g} m; it must be above 0 and below 1000 km")
    if crs is not None and reference.unit(crs) != "m":
        raise ConfigError(
            f"buffer is in metres, but the maps are in {reference.label(crs)}, in {reference.unit(crs)}; give polygons"
        )
    return buffer


# ------------------------------------------------------------------------------------------------ reading


def _batches(places: Places, lattice: Lattice, radius: float, found: NDArray[Any], most: int) -> Iterator[Pixels]:
    """Pixels of places that lie on the grid, neighbours together, so many at a time at most."""
    order = _in_order(places, lattice)
    chosen = order[(found[order] != OUTSIDE) & (found[order] != NO_GEOMETRY)]
    held, size = list[Pixels](), 0
    for pixels in pixels_of(places, chosen, lattice, radius):
        for start in range(0, pixels.rows.size, most):
            piece = pixels.part(slice(start, start + most))
            if held and size + piece.rows.size > most:
                yield _joined(held)
                held, size = [], 0
            held.append(piece)
            size += piece.rows.size
    if held:
        yield _joined(held)


def _joined(held: Sequence[Pixels]) -> Pixels:
    return Pixels(*(np.concatenate(values) for values in zip(*held, strict=True)))


def _in_order(places: Places, lattice: Lattice) -> NDArray[np.intp]:
    """Places square by square."""
    x, y = places.x.copy(), places.y.copy()
    for n, shape in enumerate(places.shapes):
        if shape is not None:
            x[n], y[n] = shape.bounds[0], shape.bounds[3]
    down, across = lattice.at(x, y)
    return np.asarray(np.lexsort((across // _BLOCK, down // _BLOCK)), np.intp)


def _add(maps: xr.Dataset, batch: Pixels, sums: Mapping[str, Sums], known: NDArray[np.int64]) -> None:
    """Read the maps at these pixels and add them to the sums of their places."""
    place = batch.place
    at = {Y: xr.DataArray(batch.rows, dims="pixel"), X: xr.DataArray(batch.columns, dims="pixel")}
    with damage_named(maps.encoding.get("source", "the maps")):
        values = maps[list(sums)].isel(at).compute()
    has_data = np.zeros(place.size, bool)
    for name, one in sums.items():
        layer = values[name]
        planes = np.asarray(layer.transpose(..., "pixel")).reshape(-1, place.size)
        has_data |= one.add(place, planes)
    if QUALITY.name in sums:
        has_data = np.asarray(values[QUALITY.name]) & FLAGS["no_data"] == 0
    known += np.bincount(place[has_data], minlength=known.size)


# ------------------------------------------------------------------------------------------------ files


def write_values(found: pd.DataFrame, places: Places, maps: xr.Dataset, out: Path | None) -> str:
    """Write the table as its name says, CSV or vectors with the places as geometry; returns it as CSV without a name.

    Raises
    ------
    ConfigError
        The name is of no known kind or a run's own, or vectors are asked for and there is no geopandas.
    RunError
        It cannot be written.
    """
    if out is None or out.suffix.lower() in TABLES:
        digits = [17 if n < len(places.columns) else 9 for n in range(len(found.columns))]  # its own stay as they are
        rows = (list(map(csv_value, row, digits)) for row in found.itertuples(index=False))
        text = csv_text([list(found.columns), *rows])
        if out is not None:
            with writable(out):
                write_file(out, text.encode())
                sync_folders([out.parent])
        return text
    if out.suffix.lower() not in VECTORS:
        raise ConfigError(f"--out {out} is of no known kind; give one of {', '.join((*TABLES, *VECTORS))}")
    with writable(out):
        write_frame(out, found, places.geometry(), places.crs or _crs(maps))
    return ""


def csv_value(value: Any, digits: int = 9) -> Any:
    """Numbers with so many digits, of 17 all that they need, and nothing where there is none."""
    if isinstance(value, float):
        text = repr(float(value)) if digits >= 17 else f"{value:.{digits}g}"
        return "" if value != value else text.removesuffix(".0")
    return "" if value is None else value


@contextmanager
def writable(out: Path) -> Iterator[None]:
    require_free(out)
    try:
        yield
    except OSError as error:
        raise RunError(f"{out} cannot be written ({error.strerror or error}); give another --out") from error
