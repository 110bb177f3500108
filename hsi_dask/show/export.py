"""Export: the maps of a run as Cloud-Optimized GeoTIFFs, its spectra as an ENVI library and a table.

A plane streams from the store and its overviews into the file, a row of chunks at a time, and that is the memory.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from hsi_dask.batch.observer import Advanced
from hsi_dask.batch.state.manifest import versions
from hsi_dask.batch.state.outputs import require_free
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.batch.tiles.plan import free_bytes
from hsi_dask.errors import RunError
from hsi_dask.escaping import xml_text
from hsi_dask.io import cog, endmember_store
from hsi_dask.io.durable import PART, lock_alone, sync_folders, write_file
from hsi_dask.io.libraries import write_library, write_table
from hsi_dask.overviews.overviews import Overviews, kept_overviews
from hsi_dask.overviews.statistics import Statistics
from hsi_dask.progress import shown_stage
from hsi_dask.schema import FLAGS, QUALITY_OF_AREA, Variable, flags_of
from hsi_dask.show.composites import MIX, chosen_of, has_composite, require_composite, virtual_raster
from hsi_dask.show.geotiff import MapImage, value_colours
from hsi_dask.show.labels import Labels, dim_of, labels_of
from hsi_dask.show.palettes import ramp_of
from hsi_dask.show.settings import Settings
from hsi_dask.show.styles import categories_style, ramp_style
from hsi_dask.show.thresholds import Wanted, thresholds_of


def export(
    run_dir: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    compress: bool = True,
    thresholds: Wanted | None = None,
    composite: Sequence[str] | None = None,
    wrote: Callable[[Path], None] | None = None,
    advanced: Advanced | None = None,
    progress: bool | None = None,
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
    thresholds : mapping, optional
        By a method's name, or that of a class map, one threshold or one for each endmember: the class map is made anew
        by it, from the stored scores.
    composite : three names, optional
        The fractions that a `.vrt` shows in red, green and blue; without, those with the largest means.
    wrote : callable, optional
        Called with each file as soon as it is in place.
    advanced : callable, optional
        Of the run's overviews, as in `open_overviews`.
    progress : bool, optional
        Whether to show that where nobody hears it; None: on a terminal and in a notebook.

    Returns
    -------
    list of Path
        A GeoTIFF for every map of the run, by its name: fractions and scores with one band an endmember (float32, NaN
        where no data), residuals, classes (uint8, 255 where no data, with colours; their names are in an `.aux.xml`
        beside each), models (int16, -1 where none), `quality.tif` (flags, 1 where no data); beside each a `.qml`, by
        which QGIS draws it. Beside fractions of three or more a `.vrt`: the three largest as red, green and blue, a
        picture that GDAL makes of the GeoTIFF. Tags tell its role and, of classes, their threshold.
        `endmembers.sli` and `.hdr` (ENVI), `endmembers.csv`.

    Raises
    ------
    RunError
        The folder is not a run or has no finished tile, its store is damaged, `out` cannot be written, or another
        export writes there.
    ConfigError
        A threshold of a class map that the run has not, or that its scores cannot have.

    Examples
    --------
    >>> import tempfile
    >>> import hsi_dask as hsi
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     site = hsi.synthetic.simulate_site(folder, tiles=(1, 2), size=40)
    ...     summary = hsi.run(hsi.RunConfig(tiles=[folder]), f"{folder}/run")
    ...     files = export(summary.run_dir, f"{folder}/gis")
    >>> [file.name for file in files if file.suffix == ".tif"][:3]
    ['abundance.tif', 'residual.tif', 'abundance_class.tif']
    """
    require_free(out)
    limits = thresholds_of(run_dir, thresholds)
    with (
        shown_stage("making overviews", progress, advanced) as made,
        kept_overviews(run_dir, thresholds=limits, advanced=made) as overviews,
        work_folder(Path(out)) as part,
    ):
        files = _files(overviews, part, Path(out), compress, composite)
        return [file for some in files for file in told(some, wrote)]


def tiles_of(file: Path) -> str:
    """The tiles that an exported map is of, as `9 of 36`: while it was written the run may have gone on."""
    from tifffile import TiffFile  # not GDAL, which opens no name that is not UTF-8

    with TiffFile(file) as found:
        metadata = ElementTree.fromstring(str(found.gdal_metadata))
    return metadata.findtext("Item[@name='tiles_done']", "unknown")


def _files(
    overviews: Overviews, part: Path, target: Path, compress: bool, composite: Sequence[str] | None
) -> Iterator[Sequence[Path]]:
    """The files of each map as soon as they are in place, then those of the spectra."""
    run, spectra = overviews.run, endmember_store.open_endmembers(overviews.run.path)
    endmembers, maps = labels_of(spectra), {variable.name: variable for variable in overviews.variables}
    require_composite([labels_of(spectra, dim_of(v, maps)) for v in maps.values() if v.role == "fraction"], composite)
    tags = _tags(run, len(overviews.records))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, variable in maps.items():
            labels = labels_of(spectra, dim_of(variable, maps))
            legend = _legend(overviews, variable, labels, endmembers)
            colours = value_colours(variable, labels.numbers, legend)
            image = MapImage(variable, overviews, labels.names, legend, colours, tags | _own_tags(overviews, variable))
            cog.write_cog(
                part / f"{name}.tif", image.pattern(), image.levels(pool), variable.fill_value, pool,
                compress=compress or variable.dtype == "uint8",
            )  # fmt: skip
            yield put_in_place(part / f"{name}.tif", target / f"{name}.tif", beside(image))
            statistics = overviews.statistics[name]
            if has_composite(variable, len(statistics)):
                chosen = chosen_of(labels, [plane.mean for plane in statistics], composite)
                text = virtual_raster(f"{name}.tif", run.manifest.grid, labels.names, chosen)
                write_file(target / f"{name}_{MIX}.vrt", text.encode())
                yield [target / f"{name}_{MIX}.vrt"]
    yield write_library(target / "endmembers.sli", spectra)
    yield [write_table(target / "endmembers.csv", spectra)]


def told(files: Sequence[Path], wrote: Callable[[Path], None] | None) -> list[Path]:
    if wrote:
        for file in files:
            wrote(file)
    return list(files)


@contextmanager
def work_folder(target: Path) -> Iterator[Path]:
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
        if not lock_alone(descriptor):
            raise RunError(f"another export writes to {target}; wait for it, or give another --out folder")
        yield
    finally:
        os.close(descriptor)


def put_in_place(part: Path, target: Path, beside: Mapping[str, str]) -> list[Path]:
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


def _own_tags(overviews: Overviews, variable: Variable) -> dict[str, str]:
    """What a map's values mean: its role, flags of quality, thresholds of classes."""
    known = {"role": variable.role, "units": variable.units, "better": variable.better, "of": variable.of}
    tags = {name: str(value) for name, value in known.items() if value is not None}
    if variable.role == "flag":
        masks, meanings = variable.attrs["flag_masks"], str(variable.attrs["flag_meanings"]).split()
        return tags | {"flag_masks": ", ".join(map(str, masks)), "flag_meanings": ", ".join(meanings)}
    if variable.role == "class" and (threshold := threshold_of(overviews, variable)) is not None:
        tags["threshold"] = str(threshold)
    return tags


def threshold_of(overviews: Overviews, classes: Variable) -> Any:
    """The threshold by which a class map was made: one number, one for each of its scores, or None."""
    own = next((c.thresholds for c in overviews.reclassified if c.variable.name == classes.name), None)
    if own is None:
        return Settings(overviews.run).threshold(classes)
    return own[0] if len(set(own)) == 1 else list(own)


def _legend(overviews: Overviews, variable: Variable, labels: Labels, endmembers: Labels) -> dict[int, str]:
    """What the values of a map of classes, models or flags are called; of flags, those that this run can set."""
    if variable.role == "class":
        return {value: name for value, (name, _) in labels.classes.items()}
    if variable.role == "model":
        found = {int(value) for plane in overviews.statistics[variable.name] for value in plane.values}
        names = dict(zip(endmembers.numbers, endmembers.names, strict=True))
        return {number: names.get(number, f"spectrum {number}") for number in sorted(found)}
    if variable.role != "flag":
        return {}
    if variable.name != QUALITY_OF_AREA.name:
        return {0: "good", FLAGS["no_data"]: "no data"} | {bit: flag for flag, bit in flags_of(variable).items()}
    masks = Settings(overviews.run).masks
    flags = {bit: flag.replace("_", " ") for flag, bit in FLAGS.items() if flag in {"no_data", *masks}}
    values = [value for value in range(256) if not value & ~sum(flags)]
    if variable == QUALITY_OF_AREA:
        values, flags = [*values, FLAGS["outside"]], {**flags, FLAGS["outside"]: "outside"}
    return {value: " + ".join(text for bit, text in flags.items() if value & bit) or "good" for value in values}


def beside(image: MapImage) -> dict[str, str]:
    """What lies beside the file, by its ending: names of values for GDAL, a style for QGIS."""
    if image.legend:
        legend, colours = image.legend, image.colours
        return {".tif.aux.xml": _aux(legend, colours), ".qml": categories_style(legend, colours)}
    low, high = image.spec.limits or _range(image.overviews.statistics[image.name])
    return {".qml": ramp_style(ramp_of(image.spec), low, high)}


def _range(bands: Sequence[Statistics]) -> tuple[float, float]:
    """Where nearly all values of all bands lie."""
    known = [band for band in bands if band.count]
    low = min((max(band.mean - 2 * band.std, band.minimum) for band in known), default=0.0)
    high = max((min(band.mean + 2 * band.std, band.maximum) for band in known), default=1.0)
    return low, max(high, low + 1e-9)


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
