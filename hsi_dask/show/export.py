"""Export: the maps of a run as Cloud-Optimized GeoTIFFs, its spectra as an ENVI library and a table.

A map streams from the store into a plain tiled GeoTIFF, a store chunk at a time; GDAL adds overviews to it and then
lays it out and compresses it with its COG driver. Memory is one chunk of every endmember and GDAL's bounded cache.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hsi_dask.batch.plan import free_bytes
from hsi_dask.batch.state import Run, versions
from hsi_dask.errors import RunError
from hsi_dask.io import store
from hsi_dask.io.durable import PART, sync_folders, write_file
from hsi_dask.io.libraries import write_library, write_table
from hsi_dask.io.store import Grid
from hsi_dask.schema import ENDMEMBER, FLAGS, UNCLASSIFIED, VARIABLES, Variable
from hsi_dask.show.figures import names_of
from hsi_dask.show.palettes import ERRORS, SEQUENTIAL, class_table, quality_table
from hsi_dask.show.styles import categories_style, ramp_style

Window = tuple[slice, slice]  # rows, columns of the mosaic

_CACHE = 256  # MB for GDAL, whose default is 5 % of the machine
_BLOCK_BYTES = 8 * 2**20  # of all bands together, as viewers read them
# Deflate is read by every GIS; from level 1 to 6 floats get 0.3 % smaller and take 20 % longer
_FLOATS = {"compress": "DEFLATE", "level": 1, "predictor": "YES"}
_CODES = {"compress": "DEFLATE", "level": 6, "predictor": "NO"}


def export(
    run_dir: str | os.PathLike[str], out: str | os.PathLike[str], *, wrote: Callable[[Path], None] | None = None
) -> list[Path]:
    """Write what a run has found so far for GIS and spectroscopy programs; files of an earlier export are replaced.

    Parameters
    ----------
    run_dir : path
        A run, complete or not: pixels of tiles that are not done have no data.
    out : path
        The folder to write to, made if need be.
    wrote : callable, optional
        Called with each file as soon as it is in place.

    Returns
    -------
    list of Path
        A GeoTIFF for every map of the run: `abundance.tif`, `sam_angle.tif` and `sid_divergence.tif` with one band an
        endmember (float32, NaN where no data), `residual.tif`, `sam_class.tif` and `sid_class.tif` (uint8, 255 where no
        data, with colours; their names are in an `.aux.xml` beside each), `quality.tif` (flags, 1 where no data);
        beside each a `.qml`, by which QGIS draws it.
        `endmembers.sli` and `.hdr` (ENVI), `endmembers.csv`.

    Raises
    ------
    RunError
        The folder is not a run or has no finished tile, its store is damaged, or `out` cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import hsi_dask as hsi
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     site = hsi.synthetic.simulate_site(folder, tiles=(1, 2), size=40)
    ...     summary = hsi.run(hsi.RunConfig(tiles=[folder]), f"{folder}/run")
    ...     files = export(summary.run_dir, f"{folder}/gis")
    >>> [file.name for file in files if file.suffix == ".tif"][:3]
    ['abundance.tif', 'residual.tif', 'sam_angle.tif']
    """
    run, target = Run.open(run_dir), Path(out)
    records = run.finished()
    endmembers, maps = store.open_endmembers(run_dir), store.open_results(run_dir, chunks=None)
    labels, keys = names_of(endmembers), [chunk.key for record in records for chunk in record.chunks]
    tags, written = _tags(run, len(records)), []

    def one(name: str) -> list[Path]:
        windows = _windows(run.manifest.grid, [key for key in keys if key.startswith(f"{name}/")])
        image = _Image(maps[name], run.manifest.grid, labels, tags | _own_tags(run, name))
        _write(image, windows, part / f"{name}.tif")
        beside = _beside(part / f"{name}.tif", _legend(run, name, labels), len(labels))
        return _put(part / f"{name}.tif", target / f"{name}.tif", beside)

    # one after the other: with two threads in GDAL, one that reports an error and one that closes a file would wait
    # for each other for ever; it compresses with all cores by itself
    with _folder(target) as part, _gdal_errors():
        for name in map(str, maps):
            written += _told(one(name), wrote)
        written += _told(write_library(target / "endmembers.sli", endmembers), wrote)
        written += _told([write_table(target / "endmembers.csv", endmembers)], wrote)
    return written


def _told(files: Sequence[Path], wrote: Callable[[Path], None] | None) -> list[Path]:
    if wrote:
        for file in files:
            wrote(file)
    return list(files)


@contextmanager
def _folder(target: Path) -> Iterator[Path]:
    """A folder inside the target for what is not yet whole; what a killed export left there goes."""
    try:
        target.mkdir(parents=True, exist_ok=True)
        with _alone(target):
            for old in target.glob(f".export-*{PART}"):
                shutil.rmtree(old, ignore_errors=True)
            with TemporaryDirectory(suffix=PART, prefix=".export-", dir=target, ignore_cleanup_errors=True) as part:
                yield Path(part)
    except RunError:
        raise
    except OSError as error:
        reason = f"{error.strerror or error}, {free_bytes(target) / 1e9:.1f} GB free there"
        raise RunError(f"{target} cannot be written ({reason}); make room, or give another --out folder") from error


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """No other export writes here meanwhile; where the file system has no locks, nobody knows."""
    descriptor = os.open(target, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"another export writes to {target}; wait for it, or give another --out folder") from None
        except OSError:
            pass  # no locks here
        yield
    finally:
        os.close(descriptor)


def _put(part: Path, target: Path, beside: Mapping[str, str]) -> list[Path]:
    """Bring a finished GeoTIFF to its name, and texts to files of its name with other endings."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(part, target)
    target.with_name(target.name + ".aux.xml").unlink(missing_ok=True)  # a GIS may have noted something there
    paths = {target.with_name(target.stem + ending): text for ending, text in beside.items()}
    for path, text in paths.items():
        write_file(path, text.encode())
    sync_folders([target.parent])
    return [target, *paths]


def _beside(path: Path, legend: Mapping[int, str], count: int) -> dict[str, str]:
    """What lies beside a map of so many endmembers, by its ending: names of values for GDAL, a style for QGIS."""
    if legend:
        colours = colours_of(path.stem, count)
        return {".tif.aux.xml": _aux(legend, colours), ".qml": categories_style(legend, colours)}
    if path.stem == "abundance":
        return {".qml": ramp_style(SEQUENTIAL, 0.0, 1.0)}
    return {".qml": ramp_style(ERRORS, *_range(path))}


def _range(path: Path) -> tuple[float, float]:
    """Where nearly all values of all bands lie, by their statistics."""
    import rasterio

    with rasterio.open(path) as file:
        tags = [file.tags(band) for band in file.indexes]
    known = [{key: float(tag[f"STATISTICS_{key}"]) for key in ("MINIMUM", "MEAN", "STDDEV", "MAXIMUM")}
             for tag in tags if "STATISTICS_MEAN" in tag]  # fmt: skip
    low = min((max(one["MEAN"] - 2 * one["STDDEV"], one["MINIMUM"]) for one in known), default=0.0)
    high = max((min(one["MEAN"] + 2 * one["STDDEV"], one["MAXIMUM"]) for one in known), default=1.0)
    return low, max(high, low + 1e-9)


def _windows(grid: Grid, keys: Sequence[str]) -> list[Window]:
    """The pixels of the chunks with these keys, as `abundance/c/0/3/5`, each once, by row."""
    cells = sorted({(int(row), int(column)) for row, column in (key.split("/")[-2:] for key in keys)})
    (tall, wide), (height, width) = grid.chunk, grid.shape
    return [
        (slice(i * tall, min((i + 1) * tall, height)), slice(j * wide, min((j + 1) * wide, width))) for i, j in cells
    ]


def _tags(run: Run, done: int) -> dict[str, str]:
    return {
        "TIFFTAG_SOFTWARE": f"hsi_dask {versions()['hsi-dask']}",
        "run_created": run.manifest.created,
        "settings_fingerprint": run.manifest.fingerprint,
        "tiles_done": f"{done} of {len(run.manifest.tiles)}",
    }


def _own_tags(run: Run, name: str) -> dict[str, str]:
    """What a map's values mean: flags of quality, thresholds of classes."""
    if name == "quality":
        return {"flag_masks": ", ".join(map(str, FLAGS.values())), "flag_meanings": ", ".join(FLAGS)}
    method, _, kind = name.partition("_")
    threshold = getattr(run.config.thresholds, method) if kind == "class" else None
    return {} if threshold is None else {"threshold": str(threshold)}


def _legend(run: Run, name: str, labels: Sequence[str]) -> dict[int, str]:
    """What the values of a map of classes or flags are called; of flags, those that this run can set."""
    if name.endswith("_class"):
        return {UNCLASSIFIED: "unclassified", **dict(enumerate(labels, 1))}
    if name != "quality":
        return {}
    masks = run.config.masks.model_dump(exclude_defaults=True)
    flags = {bit: flag.replace("_", " ") for flag, bit in FLAGS.items() if flag in {"no_data", *masks}}
    values = [value for value in range(256) if not value & ~sum(flags)]
    return {value: " + ".join(text for bit, text in flags.items() if value & bit) or "good" for value in values}


def _aux(legend: Mapping[int, str], colours: NDArray[np.uint8]) -> str:
    """GDAL's XML of category names, and of an attribute table with colours, from which QGIS makes its legend."""
    names = (f"<Category>{escape(legend.get(value, ''))}</Category>" for value in range(max(legend) + 1))
    fields = [("Value", 0, 5), ("Class", 2, 2), ("Red", 0, 6), ("Green", 0, 7), ("Blue", 0, 8)]  # name, type, usage
    heads = (
        f'<FieldDefn index="{n}"><Name>{name}</Name><Type>{kind}</Type><Usage>{usage}</Usage></FieldDefn>'
        for n, (name, kind, usage) in enumerate(fields)
    )
    rows = (
        f'<Row index="{n}">' + "".join(f"<F>{escape(str(cell))}</F>" for cell in (value, text, *colours[value, :3]))
        + "</Row>"
        for n, (value, text) in enumerate(legend.items())
    )  # fmt: skip
    return "\n".join([
        '<PAMDataset><PAMRasterBand band="1">', "<CategoryNames>", *names, "</CategoryNames>",
        '<GDALRasterAttributeTable tableType="thematic">', *heads, *rows, "</GDALRasterAttributeTable>",
        "</PAMRasterBand></PAMDataset>", "",
    ])  # fmt: skip


# ------------------------------------------------------------------------------------------------ GeoTIFF


@dataclass(frozen=True)
class _Image:
    """A map on its way into a GeoTIFF: `values` (y, x) or (endmember, y, x), read when a window is asked for."""

    values: xr.DataArray
    grid: Grid
    labels: Sequence[str]
    tags: Mapping[str, str]

    @property
    def spec(self) -> Variable:
        return VARIABLES[str(self.values.name)]

    @property
    def bands(self) -> list[str]:
        name = self.spec.name.replace("_", " ")
        return [f"{name}: {label}" for label in self.labels] if ENDMEMBER in self.spec.dims else [name]

    @property
    def block(self) -> int:
        """Pixels along a block's sides: 512, fewer where many bands lie in it."""
        side, pixel = 512, len(self.bands) * self.values.dtype.itemsize
        while side > 64 and side * side * pixel > _BLOCK_BYTES:
            side //= 2
        return side

    def profile(self) -> dict[str, Any]:
        from rasterio.crs import CRS
        from rasterio.transform import Affine

        grid = self.grid
        return {
            "driver": "GTiff", "dtype": self.spec.dtype, "count": len(self.bands), "nodata": self.spec.fill_value,
            "height": grid.shape[0], "width": grid.shape[1], "crs": CRS.from_epsg(grid.epsg),
            "transform": Affine(*grid.transform), "tiled": True, "blockxsize": self.block, "blockysize": self.block,
            "interleave": "band", "bigtiff": "IF_SAFER", "sparse_ok": True,
        }  # fmt: skip

    def describe(self, file: Any) -> None:
        """Metadata, names and units of bands, colours of classes and flags."""
        file.update_tags(TIFFTAG_IMAGEDESCRIPTION=self.spec.long_name, **self.tags)
        for number, name in enumerate(self.bands, 1):
            file.set_band_description(number, name)
            if self.spec.units and self.spec.units != "1":
                file.set_band_unit(number, self.spec.units)
        if self.spec.dtype == "uint8":
            colours = colours_of(self.spec.name, len(self.labels))
            file.write_colormap(1, {value: tuple(map(int, colour)) for value, colour in enumerate(colours)})

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """(band, y, x) of one chunk."""
        try:
            found = self.values.variable[..., rows, columns].values
        except Exception as error:  # whatever a codec makes of damaged bytes
            raise RunError(
                f"{self.spec.name} cannot be read at rows {rows.start} to {rows.stop}, columns {columns.start} to "
                f"{columns.stop} ({error}); `hsi-dask verify` names the damaged tile"
            ) from error
        return np.asarray(found.reshape(-1, *found.shape[-2:]))


def colours_of(name: str, count: int) -> NDArray[np.uint8]:
    """(256, 4) RGBA of the values of a map of classes or flags."""
    return quality_table() if name == "quality" else class_table(count)


def _write(image: _Image, windows: Sequence[Window], path: Path) -> None:
    """The windows of a map as a Cloud-Optimized GeoTIFF; what is in none of them costs no disk."""
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.shutil import copy

    floats, plain = image.spec.dtype != "uint8", path.with_suffix(".plain.tif")
    with rasterio.Env(GDAL_CACHEMAX=_CACHE, GDAL_NUM_THREADS="ALL_CPUS", SPARSE_OK_OVERVIEW="ON"):
        with rasterio.open(plain, "w", **image.profile()) as file:
            image.describe(file)
            for rows, columns in windows:
                place = (rows.start, rows.stop), (columns.start, columns.stop)
                file.write(image.read(rows, columns), window=place)
        with rasterio.open(plain, "r+") as file:
            factors = _factors(max(file.shape), image.block)
            file.build_overviews(factors, Resampling.average if floats else Resampling.mode)
        copy(
            plain, path, driver="COG", blocksize=image.block, num_threads="ALL_CPUS", bigtiff="IF_SAFER",
            sparse_ok="TRUE", overviews="FORCE_USE_EXISTING", statistics="YES", **(_FLOATS if floats else _CODES),
        )  # fmt: skip
    plain.unlink()


def _factors(size: int, block: int) -> list[int]:
    """Overviews down to the first that is one block."""
    return [2**n for n in range(1, 32) if size > block * 2 ** (n - 1)]


class _Errors(logging.Handler):
    """What GDAL says went wrong; rasterio raises it except while a file is flushed and closed, and logs it always."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg.startswith("GDAL signalled an error") or record.levelno >= logging.ERROR:
            self.told.append(str(record.args[-1] if isinstance(record.args, tuple) and record.args else record.msg))


@contextmanager
def _gdal_errors() -> Iterator[None]:
    """Raise OSError for all that GDAL says went wrong inside, a full disk at the last byte too."""
    errors, logger = _Errors(), logging.getLogger("rasterio")
    before = logger.level, logger.propagate
    logger.addHandler(errors)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    except RunError:
        raise
    except Exception as error:  # rasterio's errors and those of GDAL have no common base
        raise OSError((errors.told or [str(error)])[0]) from error
    finally:
        logger.removeHandler(errors)
        logger.setLevel(before[0])
        logger.propagate = before[1]
    if errors.told:
        raise OSError(errors.told[0])
