"""Export: the maps of a run as Cloud-Optimized GeoTIFFs, its spectra as an ENVI library and a table.

A plane streams from the store and its overviews into the file, a row of chunks at a time, and that is the memory.
"""

from __future__ import annotations

import fcntl
import math
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from hsi_dask.batch.observer import Advanced
from hsi_dask.batch.state.run_directory import Run, versions
from hsi_dask.batch.tiles.plan import free_bytes
from hsi_dask.errors import RunError
from hsi_dask.escaping import xml_text
from hsi_dask.io import cog, store
from hsi_dask.io.durable import PART, sync_folders, write_file
from hsi_dask.io.levels import level_grids, stored_array
from hsi_dask.io.libraries import write_library, write_table
from hsi_dask.io.store import Grid
from hsi_dask.methods.registry import method
from hsi_dask.overviews.overviews import Overviews, halved, kept_overviews
from hsi_dask.overviews.statistics import Cell, Statistics, damage_named, place
from hsi_dask.schema import ENDMEMBER, FLAGS, UNCLASSIFIED, Variable, endmember_numbers
from hsi_dask.show.figures import names_of
from hsi_dask.show.palettes import ERRORS, SEQUENTIAL, class_table, quality_table
from hsi_dask.show.styles import categories_style, ramp_style


def export(
    run_dir: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    compress: bool = True,
    wrote: Callable[[Path], None] | None = None,
    advanced: Advanced = lambda share: None,
) -> list[Path]:
    """Write what a run has found so far for GIS and spectroscopy programs; files of an earlier export are replaced.

    Parameters
    ----------
    run_dir : path
        A run, complete or not: pixels of tiles that are not done have no data.
    out : path
        The folder to write to, made if need be.
    compress : bool, optional
        Deflate, which every GIS reads, and which takes most of the time. Without it only classes and quality are
        compressed, and the files are half as large again.
    wrote : callable, optional
        Called with each file as soon as it is in place.
    advanced : callable, optional
        Of the run's overviews, as in `open_overviews`.

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
        The folder is not a run or has no finished tile, its store is damaged, `out` cannot be written, or another
        export writes there.

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
    with kept_overviews(run_dir, advanced=advanced) as overviews, _folder(Path(out)) as part:
        return [file for files in _files(overviews, part, Path(out), compress) for file in _told(files, wrote)]


def tiles_of(file: Path) -> str:
    """The tiles that an exported map is of, as `9 of 36`: while it was written the run may have gone on."""
    from tifffile import TiffFile  # not GDAL, which opens no name that is not UTF-8

    with TiffFile(file) as found:
        metadata = ElementTree.fromstring(str(found.gdal_metadata))
    return metadata.findtext("Item[@name='tiles_done']", "unknown")


def _files(overviews: Overviews, part: Path, target: Path, compress: bool) -> Iterator[Sequence[Path]]:
    """The files of each map as soon as they are in place, then those of the spectra."""
    run, endmembers = overviews.run, store.open_endmembers(overviews.run.path)
    labels = dict(zip(endmember_numbers(endmembers).tolist(), names_of(endmembers), strict=True))
    tags = _tags(run, len(overviews.records))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for variable in run.manifest.variables:
            name = variable.name
            image = _Image(variable, overviews, labels, tags | _own_tags(run, variable))
            cog.write_cog(
                part / f"{name}.tif", image.pattern(), image.levels(pool), image.spec.fill_value, pool,
                compress=compress or image.spec.dtype == "uint8",
            )  # fmt: skip
            yield _put(part / f"{name}.tif", target / f"{name}.tif", image.beside())
    yield write_library(target / "endmembers.sli", endmembers)
    yield [write_table(target / "endmembers.csv", endmembers)]


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
    os.replace(part, target)
    target.with_name(target.name + ".aux.xml").unlink(missing_ok=True)  # a GIS may have noted something there
    paths = {target.with_name(target.stem + ending): text for ending, text in beside.items()}
    for path, text in paths.items():
        write_file(path, text.encode())
    sync_folders([target.parent])
    return [target, *paths]


def _tags(run: Run, done: int) -> dict[str, str]:
    return {
        "TIFFTAG_SOFTWARE": f"hsi_dask {versions()['hsi-dask']}",
        "run_created": run.manifest.created,
        "settings_fingerprint": run.manifest.fingerprint,
        "tiles_done": f"{done} of {len(run.manifest.tiles)}",
    }


def _own_tags(run: Run, variable: Variable) -> dict[str, str]:
    """What a map's values mean: flags of quality, thresholds of classes."""
    if variable.role == "flag":
        return {"flag_masks": ", ".join(map(str, FLAGS.values())), "flag_meanings": ", ".join(FLAGS)}
    threshold = threshold_of(run, variable)
    return {} if threshold is None else {"threshold": str(threshold)}


def _legend(run: Run, variable: Variable, labels: Mapping[int, str]) -> dict[int, str]:
    """What the values of a map of classes or flags are called; of flags, those that this run can set."""
    if variable.role == "class":
        return {UNCLASSIFIED: "unclassified", **labels}
    if variable.role != "flag":
        return {}
    masks = run.config.masks.model_dump(exclude_defaults=True)
    flags = {bit: flag.replace("_", " ") for flag, bit in FLAGS.items() if flag in {"no_data", *masks}}
    values = [value for value in range(256) if not value & ~sum(flags)]
    return {value: " + ".join(text for bit, text in flags.items() if value & bit) or "good" for value in values}


def _aux(legend: Mapping[int, str], colours: NDArray[np.uint8]) -> str:
    """GDAL's XML of category names, and of an attribute table with colours, from which QGIS makes its legend."""
    names = (f"<Category>{xml_text(legend.get(value, ''))}</Category>" for value in range(max(legend) + 1))
    fields = [("Value", 0, 5), ("Class", 2, 2), ("Red", 0, 6), ("Green", 0, 7), ("Blue", 0, 8)]  # name, type, usage
    heads = (
        f'<FieldDefn index="{n}"><Name>{name}</Name><Type>{kind}</Type><Usage>{usage}</Usage></FieldDefn>'
        for n, (name, kind, usage) in enumerate(fields)
    )
    rows = (
        f'<Row index="{n}">' + "".join(f"<F>{xml_text(cell)}</F>" for cell in (value, text, *colours[value, :3]))
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
    """A map on its way into a GeoTIFF, with its overviews."""

    spec: Variable
    overviews: Overviews
    labels: Mapping[int, str]
    tags: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def grid(self) -> Grid:
        return self.overviews.run.manifest.grid

    @property
    def bands(self) -> list[str]:
        name = self.name.replace("_", " ")
        return [f"{name}: {label}" for label in self.labels.values()] if ENDMEMBER in self.spec.dims else [name]

    def pattern(self) -> bytes:
        """A GeoTIFF of one pixel without data that says all the rest."""
        from rasterio import MemoryFile
        from rasterio.crs import CRS
        from rasterio.errors import CRSError
        from rasterio.transform import Affine

        try:
            crs = CRS.from_user_input(self.grid.crs)
        except CRSError as error:
            raise RunError(f"{self.overviews.run.path} is in {self.grid.label}, which GDAL does not know") from error
        profile = {
            "driver": "GTiff", "dtype": self.spec.dtype, "count": len(self.bands), "nodata": self.spec.fill_value,
            "height": 1, "width": 1, "crs": crs,
            "transform": Affine(*self.grid.transform),
        }  # fmt: skip
        with MemoryFile() as memory:
            with memory.open(**profile) as file:
                self.describe(file)
            return bytes(memory.getbuffer())

    def describe(self, file: Any) -> None:
        """Metadata, names, units and statistics of bands, colours of classes and flags."""
        file.update_tags(TIFFTAG_IMAGEDESCRIPTION=self.spec.long_name, **self.tags)
        for number, name in enumerate(self.bands, 1):
            file.set_band_description(number, name)
            if self.spec.units and self.spec.units != "1":
                file.set_band_unit(number, self.spec.units)
            file.update_tags(number, **self.statistics(number - 1))
        if self.spec.role in ("class", "flag"):
            colours = colours_of(self.spec, self.labels)
            file.write_colormap(1, {value: tuple(map(int, colour)) for value, colour in enumerate(colours)})

    def beside(self) -> dict[str, str]:
        """What lies beside the file, by its ending: names of values for GDAL, a style for QGIS."""
        legend = _legend(self.overviews.run, self.spec, self.labels)
        if legend:
            colours = colours_of(self.spec, self.labels)
            return {".tif.aux.xml": _aux(legend, colours), ".qml": categories_style(legend, colours)}
        low, high = self.spec.limits or _range(self.overviews.statistics[self.name])
        return {".qml": ramp_style(SEQUENTIAL if self.spec.role == "fraction" else ERRORS, low, high)}

    def statistics(self, band: int) -> dict[str, str]:
        """As GDAL keeps them; nothing of a band without data."""
        found = self.overviews.statistics[self.name][band]
        if not found.count:
            return {}
        told = {
            "MINIMUM": found.minimum, "MAXIMUM": found.maximum, "MEAN": found.mean, "STDDEV": found.std,
            "VALID_PERCENT": 100 * found.count / math.prod(self.grid.shape),
        }  # fmt: skip
        return {f"STATISTICS_{what}": f"{value:.9g}" for what, value in told.items()}

    def levels(self, pool: Executor) -> list[cog.Level]:
        """The map, its overviews as stored, and what these lack down to a single block."""
        sources: list[_Stored | _Halved] = []
        for factor, grid in level_grids(self.grid).items():
            path, group = (self.overviews.run.results, "") if factor == 1 else (self.overviews.path, f"{factor}/")
            cells = self.overviews.cells if factor == 1 else None
            sources.append(_Stored(self.spec, stored_array(path, f"{group}{self.name}"), grid, path, cells, pool))
        while max(sources[-1].shape) > cog.BLOCK:
            sources.append(_Halved(self.spec, sources[-1]))
        return [cog.Level(source.shape, source.strips) for source in sources]


@dataclass(frozen=True)
class _Stored:
    """A level in a Zarr store, read a row of chunks at a time; of these cells only, if they are given."""

    spec: Variable
    array: Any
    grid: Grid
    path: Path
    cells: Collection[Cell] | None
    pool: Executor

    @property
    def shape(self) -> tuple[int, int]:
        return self.grid.shape

    def strips(self, band: int) -> Iterator[NDArray[Any]]:
        (height, width), tall = self.shape, self.grid.chunk[0]
        last = (height - 1) // tall
        number, rows, coming = -1, np.empty((0, width), self.array.dtype), self._started(band, 0)
        for first in range(0, height, cog.BLOCK):
            strip = np.empty((min(cog.BLOCK, height - first), width), rows.dtype)
            done = 0
            while done < len(strip):
                if (first + done) // tall != number:
                    number += 1
                    rows, jobs = coming
                    for job in jobs:
                        job.result()
                    if number < last:
                        coming = self._started(band, number + 1)
                piece = rows[first + done - number * tall :][: len(strip) - done]
                strip[done : done + len(piece)] = piece
                done += len(piece)
            yield strip

    def _started(self, band: int, row: int) -> tuple[NDArray[Any], list[Future[None]]]:
        """A row of chunks, and the jobs that decode them into it side by side."""
        cells = [(row, column) for column in range(-(-self.shape[1] // self.grid.chunk[1]))]
        places = [place(self.grid, cell) for cell in cells if self.cells is None or cell in self.cells]
        down = place(self.grid, cells[0])[0]
        rows = np.full((down.stop - down.start, self.shape[1]), self.spec.fill_value, self.array.dtype)
        return rows, [self.pool.submit(self._read, band, at, rows) for at in places]

    def _read(self, band: int, at: tuple[slice, slice], rows: NDArray[Any]) -> None:
        way_out = {} if self.cells is not None else {"way_out": "remove that folder and export again"}
        with damage_named(self.spec.name, at, self.path, **way_out):
            rows[:, at[1]] = self.array[(*[band] * (self.array.ndim - 2), *at)]


@dataclass(frozen=True)
class _Halved:
    """One level below another, made in memory: of levels of a thousand pixels and less."""

    spec: Variable
    finer: _Stored | _Halved

    @property
    def shape(self) -> tuple[int, int]:
        down, across = (-(-side // 2) for side in self.finer.shape)
        return down, across

    def strips(self, band: int) -> Iterator[NDArray[Any]]:
        values = halved(np.concatenate(list(self.finer.strips(band))), self.spec)
        yield from (values[top : top + cog.BLOCK] for top in range(0, len(values), cog.BLOCK))


def _range(bands: Sequence[Statistics]) -> tuple[float, float]:
    """Where nearly all values of all bands lie."""
    known = [band for band in bands if band.count]
    low = min((max(band.mean - 2 * band.std, band.minimum) for band in known), default=0.0)
    high = max((min(band.mean + 2 * band.std, band.maximum) for band in known), default=1.0)
    return low, max(high, low + 1e-9)


def colours_of(spec: Variable, labels: Collection[int]) -> NDArray[np.uint8]:
    """(256, 4) RGBA of the values of a map of classes or flags."""
    return quality_table() if spec.role == "flag" else class_table(labels)


def threshold_of(run: Run, variable: Variable) -> Any:
    """The threshold by which the run made a class map, None where it has none."""
    found = (name for name in run.config.methods if variable.name in {v.name for v in method(name).variables})
    return next((run.config.limits.get(name) for name in found), None) if variable.role == "class" else None
