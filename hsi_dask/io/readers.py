"""The readers of tiles: built in, or of other packages by the entry points "hsi_dask.readers"; who reads which file.

A reader is one module with a `Reader`: it says which names its files have, looks whether a file is one of its own, and
reads what the file says of itself. Nothing else in the package knows any reader by name.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import xarray as xr

from hsi_dask.errors import FileFormatError, HsiDaskError
from hsi_dask.io.tile_source import TileSource

logger = logging.getLogger(__name__)

GROUP = "hsi_dask.readers"
_SHOWN = 200  # characters of an error that is not ours
_BUILT_IN = ("hsi_dask.io.neon.reader", "hsi_dask.io.envi", "hsi_dask.io.grid", "hsi_dask.io.cells")


def file_identity(path: str) -> tuple[int, int]:
    """Size in bytes and time of the last change, in ns, of a file."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def files_below(path: str) -> tuple[str, ...]:
    """A file itself; of a folder all regular files below it, sorted."""
    if not os.path.isdir(path):
        return (path,)
    found = (os.path.join(root, name) for root, _, names in os.walk(path) for name in names)
    return tuple(sorted(file for file in found if os.path.isfile(file)))


@dataclass(frozen=True)
class Reader:
    """How tiles of one format are found and read.

    Attributes
    ----------
    name : one word, for messages
    title : what it reads
    suffixes : of its files, lower case, such as (".h5",): by these a folder is searched
    recognises : does this path hold what it reads? By looking, never raising; a damaged file of its own counts too
    read : what the file says of itself; FileFormatError in one sentence where it cannot be used
    identity : size and time of the last change, by which a changed tile is noticed
    main_file : of files that belong together, the one that stands for the tile
    files : all of them; of a folder those below it
    corner : easting_northing of the south-west corner, where a name tells it: room for a file that cannot be read

    Examples
    --------
    In a package of its own, with `[project.entry-points."hsi_dask.readers"]` and `npz = "my_package:READER"`:

    >>> import numpy as np
    >>> from hsi_dask.io.chunked import InMemory
    >>> def read(path):
    ...     with np.load(path) as file:  # no pickles: numpy's default
    ...         west, north = file["corner"]
    ...         return TileSource(
    ...             path=path, reflectance=InMemory(file["cube"]), wavelength=file["wavelength"], crs="EPSG:32618",
    ...             west=float(west), north=float(north), resolution=(1.0, 1.0),
    ...         )
    >>> READER = Reader("npz", "cubes in .npz files", (".npz",), lambda path: path.endswith(".npz"), read)
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    recognises: Callable[[str], bool]
    read: Callable[[str], TileSource]
    identity: Callable[[str], tuple[int, int]] = file_identity
    main_file: Callable[[str], str] = str
    files: Callable[[str], tuple[str, ...]] = files_below
    corner: Callable[[str], str | None] = lambda path: None


def open_cube(path: str | os.PathLike[str], *, chunks: Any = "auto", masked: bool = True) -> xr.DataArray:
    """Open a tile or flight line of any known format as a lazy labelled cube.

    Parameters
    ----------
    path : path
        NEON's HDF5, ENVI (the header or the data), a netCDF-4 file or Zarr folder with y, x and wavelength, or what
        installed readers know.
    chunks : "auto", None or anything xarray accepts
        "auto": dask blocks of whole stored chunks, about 32 MB of stored numbers. None: no dask, read when
        indexed. Dimensions that a dict does not name are blocked as by "auto".
    masked : bool
        True: float32 reflectance, NaN where no data. False: the file's numbers, with `scale_factor` (to
        multiply with) and `_FillValue` in the attributes.

    Returns
    -------
    xarray.DataArray
        "reflectance" (y, x, wavelength). Coordinates: y (descending) and x of the pixel centres, in the CRS's units;
        wavelength and fwhm, nm; good_wavelength, False in the water-vapour windows and where the file marks a band as
        bad; spatial_ref, so that `.rio.crs` works. Attributes tell where the data come from, and in `notes` what the
        file lacked.

    Raises
    ------
    FileFormatError
        No reader knows the file, or it is damaged or incomplete.

    Examples
    --------
    >>> import tempfile
    >>> from hsi_dask.synthetic import simulate_scene, write_neon_tile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cube = open_cube(write_neon_tile(folder, simulate_scene((20, 30))))
    >>> dict(cube.sizes), str(cube.dtype), cube.rio.crs.to_epsg()
    ({'y': 20, 'x': 30, 'wavelength': 426}, 'float32', 32618)
    """
    import rioxarray  # noqa: F401  registers .rio; half a second that reading metadata need not pay

    return read_source(path).cube(chunks=chunks, masked=masked)


def read_source(path: str | os.PathLike[str]) -> TileSource:
    """What a tile of any known format says of itself: a few ms, no pixel, safe in threads.

    Raises
    ------
    FileFormatError
        As `open_cube`.
    """
    where = os.path.abspath(os.path.expanduser(os.fspath(path)))
    if not os.path.exists(where):
        raise FileFormatError(f"{where} does not exist; check the path")
    reader = reader_of(where)
    if reader is None:
        raise FileFormatError(f"{where} is of no format that is known ({_known_formats()}); convert it to one of them")
    where = reader.main_file(where)
    try:
        size, mtime_ns = reader.identity(where)
        source = reader.read(where)
    except (FileNotFoundError, NotADirectoryError) as error:  # it, or what it is made of
        raise FileFormatError(f"{where} cannot be read: {error.filename or where} is gone; restore it") from error
    except (HsiDaskError, OSError):
        raise
    except Exception as error:  # a reader of another package may raise anything
        what = " ".join(f"{type(error).__name__}: {error}".split())[:_SHOWN]
        raise FileFormatError(f"{where} cannot be read by the reader {reader.name!r} ({what})") from error
    if not isinstance(source, TileSource):
        raise FileFormatError(f"{where}: the reader {reader.name!r} gives no TileSource; update its package")
    return replace(source, reader=reader.name, file_size=size, mtime_ns=mtime_ns)


def reader_of(path: str) -> Reader | None:
    """The reader that recognises a path; else, so that it can say what is wrong, one whose suffix it has."""
    return recognised(path) or next(iter(_by_suffix(path)), None)


def recognised(path: str) -> Reader | None:
    """The first reader that takes a path for its own by looking; those whose suffix it has look first."""
    by_suffix = _by_suffix(path)
    others = (reader for reader in known_readers() if reader not in by_suffix)
    return next((reader for reader in (*by_suffix, *others) if _recognises(reader, path)), None)


def identity(path: str) -> tuple[int, int]:
    """Size and time of the last change, in ns, of a tile, by which a changed one is noticed; OSError if it is gone."""
    by_suffix = _by_suffix(path)
    reader = by_suffix[0] if len(by_suffix) == 1 else reader_of(path)
    return (reader.identity if reader else file_identity)(path)


def files_of(path: str) -> tuple[str, ...]:
    """All files that a tile consists of."""
    reader = reader_of(path)
    return (reader.files if reader else files_below)(path)


def title(name: str) -> str:
    """What the reader of this name reads."""
    return next((reader.title for reader in known_readers() if reader.name == name), name)


def corner_in_name(path: str) -> str | None:
    """easting_northing of a tile's south-west corner in its file's name; None when it tells none."""
    return next((corner for reader in known_readers() if (corner := reader.corner(path)) is not None), None)


@cache
def suffixes() -> tuple[str, ...]:
    """Of all readers' files."""
    return tuple(dict.fromkeys(suffix for reader in known_readers() for suffix in reader.suffixes))


@cache
def known_readers() -> tuple[Reader, ...]:
    """The built-in readers, then those of installed packages by name; loaded when first asked for."""
    built_in = [import_module(module).READER for module in _BUILT_IN]
    found = {reader.name: reader for reader in built_in}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        if (reader := _loaded(point)) is not None:
            found.setdefault(reader.name, reader)
    return tuple(found.values())


def _loaded(point: EntryPoint) -> Reader | None:
    """A reader of another package; None, and a warning that names it, where it is broken."""
    try:
        reader = point.load()
        if not isinstance(reader, Reader):
            raise TypeError(f"it is a {type(reader).__name__}, not a Reader")
    except Exception as error:
        package = point.dist.name if point.dist else "unknown"
        logger.warning(
            "reader %r of package %r cannot be used (%s: %s); update or remove that package",
            point.name, package, type(error).__name__, error,
        )  # fmt: skip
        return None
    return reader


def _by_suffix(path: str) -> list[Reader]:
    return [reader for reader in known_readers() if path.lower().endswith(reader.suffixes)]


def _recognises(reader: Reader, path: str) -> bool:
    try:
        return bool(reader.recognises(path))
    except Exception as error:
        logger.debug("reader %r failed to look at %s: %r", reader.name, path, error)
        return False


def _known_formats() -> str:
    known = (reader for reader in known_readers() if reader.suffixes)
    return "; ".join(f"{reader.title} ({', '.join(reader.suffixes)})" for reader in known)
