"""A run on one page: report.html, which opens from disk, offline, and holds its pictures itself.

Maps are drawn from the overviews, a plane at a time; counts, means and areas are those of all pixels.
"""

from __future__ import annotations

import os
import shlex
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from hsi_dask.batch.observer import Advanced
from hsi_dask.batch.state.manifest import versions
from hsi_dask.errors import RunError, counted
from hsi_dask.extractors.registry import EXTRACTORS
from hsi_dask.io.durable import sync_folders, write_file
from hsi_dask.io.regions import extent_text
from hsi_dask.overviews.overviews import kept_overviews
from hsi_dask.overviews.seams import seams_of
from hsi_dask.progress import shown_stage
from hsi_dask.schema import ENDMEMBER, FLAGS, QUALITY, X, Y, endmember_materials, endmember_names
from hsi_dask.show import assessments, palettes, pictures, seam_maps, sections, tables
from hsi_dask.show.composites import require_composite
from hsi_dask.show.facts import Facts, area, bytes_text, duration
from hsi_dask.show.figures import share_text
from hsi_dask.show.labels import lines_of, title_of
from hsi_dask.show.origins import search
from hsi_dask.show.seams import COLUMNS, rows_of
from hsi_dask.show.templates import template
from hsi_dask.show.thresholds import Wanted, thresholds_of

REPORT = "report.html"


def report(
    run_dir: str | os.PathLike[str],
    *,
    thresholds: Wanted | None = None,
    library: str | os.PathLike[str] | None = None,
    composite: Sequence[str] | None = None,
    advanced: Advanced | None = None,
    drawn: Advanced | None = None,
    progress: bool | None = None,
) -> Path:
    """Write RUN_DIR/report.html; returns its path.

    Parameters
    ----------
    run_dir : path
        A run, complete or not.
    thresholds : mapping, optional
        By a method's name, or that of a class map, one threshold or one for each endmember: the class map is made anew
        by it, from the stored scores.
    library : path, optional
        A spectral library, as `read_spectra` takes it: its spectra that are nearest to each endmember are told.
    composite : three names, optional
        The fractions that one picture shows in red, green and blue; without, those with the largest means.
    advanced, drawn : callable, optional
        Hear which share of the overviews, if they have to be made, and of the pictures is done, 0 to 1.
    progress : bool, optional
        Whether to show these shares where nobody hears them; None: on a terminal and in a notebook.

    Raises
    ------
    RunError
        The folder is not a run, has no finished tile, or cannot be written.
    ConfigError
        A threshold of a class map that the run has not, or that its scores cannot have; a composite of other than three
        fractions.

    Examples
    --------
    >>> import tempfile
    >>> import hsi_dask as hsi
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     site = hsi.synthetic.simulate_site(folder, tiles=(1, 1), size=40)
    ...     summary = hsi.run(hsi.RunConfig(tiles=[folder]), f"{folder}/run")
    ...     page = report(summary.run_dir).read_text(encoding="utf-8")
    >>> page.startswith("<!doctype html>"), "http://" in page
    (True, False)
    """
    limits = thresholds_of(run_dir, thresholds)
    with (
        shown_stage("making overviews", progress, advanced) as made,
        shown_stage("drawing the report", progress, drawn) as drew,
        kept_overviews(run_dir, thresholds=limits, advanced=made) as overviews,
    ):
        drew(0.0)
        facts = Facts(overviews, None if composite is None else tuple(composite))
        require_composite([facts.labels_of(v) for v in facts.variables.values() if v.role == "fraction"], composite)
        page = _page(facts, drew, _nearest(facts, library))
        path = Path(run_dir) / REPORT
        try:
            write_file(path, page.encode())
            sync_folders([path.parent])
        except OSError as error:
            raise RunError(f"{path} cannot be written ({error.strerror}); make room or restore access") from error
        drew(1.0)
        return path


def _page(facts: Facts, drawn: Advanced, nearest: Mapping[int, str]) -> str:
    from matplotlib import rc_context

    step = _steps(drawn, 3 + sections.pictures_to_draw(facts))
    seams = seams_of(facts.overviews)
    with rc_context(pictures.STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # letters that no installed font has become boxes
        frames = pictures.Frames(facts)
        spectra = pictures.endmembers(facts)
        step()
        site = list(pictures.site(facts, frames))
        step()
        return template("report.html").render(
            title=_title(facts),
            summary=list(_summary(facts)),
            pictures=site,
            spectra=spectra,
            search=" ".join(search(facts)),
            origins=list(_origins(facts, nearest)),
            compared=bool(nearest),
            fractions=[title_of(facts.variables[name]) for name in _fractions(facts)],
            located={X, Y} <= set(facts.endmembers.coords),
            maps=list(sections.sections(facts, frames, step)),
            classes=list(sections.class_maps(facts, frames, step)),
            agreement=sections.agreement(facts),
            accuracies=list(assessments.section(facts.run, len(facts.records))),
            quality=pictures.quality(facts, frames),
            seams=seam_maps.section(facts, seams),
            layout=pictures.layout(facts),
            tiles=_tiles(facts),
            states=palettes.STATES,
            tables=tables.tables(facts, [COLUMNS, *rows_of(facts, seams)]),
            next_steps=list(_next_steps(facts)),
            settings=facts.settings.text,
            sources=_sources(facts),
            citations=list(_citations(facts)),
            versions={"made with": facts.run.manifest.versions, "drawn with": versions()},
            run=facts.run,
            units=_axes_units(facts),
        )


def _steps(drawn: Advanced, of: int) -> Callable[[], None]:
    """What is called after each picture, of so many."""
    counted = count(1)
    return lambda: drawn(min(next(counted) / of, 0.99))


# ------------------------------------------------------------------------------------------------ words


def _title(facts: Facts) -> str:
    sites = set(facts.run.manifest.contents.get("site", ()))
    if not sites and facts.first:
        sites = {facts.first.site}
    return ", ".join(sorted(sites)) or facts.run.path.resolve().name


def _axes_units(facts: Facts) -> str:
    """Of the coordinates beside maps."""
    unit = facts.run.manifest.grid.unit
    return "kilometres" if unit == "m" else f"{unit}s"


def _summary(facts: Facts) -> Iterator[tuple[str, str, str]]:
    """Label, number, and what else there is to say."""
    manifest, records = facts.run.manifest, facts.records
    pending = len(manifest.tiles) - len(records) - len(facts.failed)
    rest = [f"{len(facts.failed)} failed"] * bool(facts.failed) + [f"{pending} pending"] * bool(pending > 0)
    yield "tiles", f"{len(records)} of {len(manifest.tiles)} done", ", ".join(rest) or "none failed"
    if any(manifest.contents.values()):
        product, site, *others = (_parts(found) for found in manifest.contents.values())
        known = len(manifest.contents.get("site", ()))
        told = (product, site if known > 1 else "", *others)
        yield "site", f"{known} sites" if known > 1 else site or "not named", ", ".join(filter(None, told))
    valid = facts.valid
    # a pixel may be masked for several reasons: quality counts each once, and nothing that has no data at all
    found, none = facts.statistics[QUALITY.name][0].values, sum(record.pixels.get("no_data", 0) for record in records)
    elsewhere = FLAGS["no_data"] | FLAGS["outside"]
    total = none + sum(n for value, n in found.items() if not int(value) & elsewhere)
    whole = "the area of interest" if manifest.region else "the tiles"
    yield "mapped area", area(valid * facts.pixel_area), f"{valid:,} pixels, {valid / max(total, 1):.1%} of {whole}"
    if manifest.region:
        yield "area of interest", manifest.region.name, extent_text(manifest.region.bounds, manifest.region.crs)
    west, south, east, north = manifest.grid.bbox
    step, unit = manifest.grid.resolution[0], manifest.grid.unit
    yield "grid", manifest.grid.label, f"{west:.9g} to {east:.9g} E, {south:.9g} to {north:.9g} N, {step:g} {unit}"
    seconds = sum(record.seconds for record in records)
    hosts = len({record.host for record in records})
    where = f", on {hosts} machines" if hosts > 1 else ""
    yield "computing", duration(seconds), f"{seconds / max(len(records), 1):.1f} s a tile{where}"
    read = sum(record.file_size for record in records)
    written = sum(chunk.nbytes for record in records for chunk in record.chunks)
    yield "data", f"{bytes_text(read)} in", f"{bytes_text(written)} of maps out"
    wavelength = facts.endmembers["wavelength"]
    spectra = f"{float(wavelength[0]):.0f} to {float(wavelength[-1]):.0f} nm, {counted(wavelength.size, 'wavelength')}"
    yield "endmembers", str(len(facts.labels.names)), spectra


def _parts(found: Mapping[str, int]) -> str:
    """Values, and of how many tiles each is where there are several."""
    return ", ".join(f"{value} ({counted(n, 'tile')})" if len(found) > 1 else value for value, n in found.items())


def _nearest(facts: Facts, library: str | os.PathLike[str] | None) -> dict[int, str]:
    """By endmember the spectra of a library that are nearest to it; nothing without a library."""
    if library is None:
        return {}
    from hsi_dask.io.spectra import read_spectra
    from hsi_dask.ops.identification import identify, labelled

    found = identify(facts.endmembers, read_spectra(library))
    rows = zip(found[ENDMEMBER].values, labelled(found), np.degrees(found["angle"].values), strict=True)
    return {
        int(number): "; ".join(f"{name}, {angle:.1f}°" for name, angle in zip(names, angles, strict=True))
        for number, names, angles in rows
    }


def _origins(facts: Facts, nearest: Mapping[int, str]) -> Iterator[dict[str, Any]]:
    """Where each endmember came from; of a library, how many spectra each material has."""
    if endmember_materials(facts.endmembers) is not None:
        yield from _materials(facts)
        return
    spectra, known = facts.endmembers, set(facts.endmembers.coords)
    files = {str(tile): facts.file(str(tile)) for tile in np.unique(spectra["tile"])} if "tile" in known else {}
    for number, (name, colour) in enumerate(zip(facts.labels.names, facts.labels.colours, strict=True)):
        one, label = spectra.isel({ENDMEMBER: number}), facts.labels.numbers[number]
        tile = str(one["tile"].item()) if "tile" in known else ""
        file = files.get(tile)
        yield {
            "name": name, "colour": colour, "nearest": nearest.get(label, ""),
            "tile": tile or str(spectra.attrs.get("source", "given")),
            "place": f"{float(one[X]):.9g} E, {float(one[Y]):.9g} N" if {X, Y} <= known else "not of this site",
            "date": ", ".join(file.dates) if file else "", "line": ", ".join(file.flight_lines) if file else "",
            "means": [share_text(facts.statistics[fraction][number].mean) for fraction in _fractions(facts)],
        }  # fmt: skip


def _materials(facts: Facts) -> Iterator[dict[str, Any]]:
    names, colours = lines_of(facts.endmembers)
    counts, own = Counter(names), dict(zip(names, colours, strict=True))
    for name in sorted(counts):
        yield {"name": name, "colour": own[name], "spectra": counts[name]}


def _fractions(facts: Facts) -> list[str]:
    """The maps of fractions of endmembers."""
    return [v.name for v in facts.variables.values() if v.role == "fraction" and ENDMEMBER in v.dims]


def _tiles(facts: Facts) -> list[dict[str, Any]]:
    """Every tile; what went wrong comes first."""
    order = ["failed", "pending", "done"]
    return sorted(_each_tile(facts), key=lambda tile: order.index(tile["state"]))


def _each_tile(facts: Facts) -> Iterator[dict[str, Any]]:
    done = {record.tile: record for record in facts.records}
    for tile in facts.run.manifest.tiles:
        record, reason = done.get(tile.id), facts.failed.get(tile.id)
        masked = {k: n for k, n in record.pixels.items() if n and k not in ("valid", "no_data")} if record else {}
        words = [f"{n:,} {name.replace('_', ' ')}" for name, n in masked.items()]
        yield {
            "id": tile.id, "file": os.path.basename(tile.path), "reason": reason,
            "state": "done" if record else "failed" if reason else "pending",
            "valid": f"{record.pixels.get('valid', 0):,}" if record else "", "masked": ", ".join(words),
            "seconds": f"{record.seconds:.1f}" if record else "",
            "finished": record.finished.replace("T", " ").replace("Z", "") if record else "",
        }  # fmt: skip


def _sources(facts: Facts) -> list[str]:
    """The publications of the methods, as far as these are installed."""
    made = (facts.settings.method_of(variable) for variable in facts.variables.values())
    found = {method.name: method for method in made if method}
    finder = EXTRACTORS.specifications.get(str(facts.endmembers.attrs.get("method")))
    how = [f"Endmembers, {finder.title}: {finder.source}"] if finder else []
    return [*how, *(f"{method.title} ({name}): {method.source}" for name, method in found.items())]


def _citations(facts: Facts) -> Iterator[str]:
    """How to cite the data, a sentence for each release; what is known of it where no file tells."""
    manifest = facts.run.manifest
    for source in manifest.sources:
        several = f" ({source.tiles} of the tiles)" if len(manifest.sources) > 1 else ""
        state = "" if not source.release or source.release in source.citation else f", {source.release}"
        if not source.citation:
            state += "; cite the product by the DOI of that release, or say that it is provisional"
        yield f"{source.citation or _product(facts)}{state}{several}."
    if not manifest.sources:
        yield f"{_product(facts)}. No file tells of its release: see where the data were downloaded."
    if manifest.checksums:
        yield f"manifest.json holds the sha256 of all {len(manifest.checksums)} input files."


def _product(facts: Facts) -> str:
    """The products, and from which sites and years."""
    found = facts.run.manifest.contents
    told = [", ".join(found[what]) for what in ("product", "site", "year") if found.get(what)]
    return "Surface reflectance" + (f": {'; '.join(told)}" if told else "")


def _next_steps(facts: Facts) -> Iterator[tuple[str, str]]:
    """What to do with the run now: words, and the command."""
    run = shlex.quote(str(facts.run.path))
    if facts.failed:
        yield "Try the tiles that failed once more", f"hsi-dask run --out {run}"
    if endmember_names(facts.endmembers) is None:
        first, second, *_ = [*facts.labels.numbers, 2]
        yield "See which spectra of a library they are like", f"hsi-dask report {run} --library LIBRARY.csv"
        yield "Name the endmembers; names appear everywhere", f"hsi-dask name {run} {first}=water {second}=roof"
    yield "Zoom, click pixels for their spectra, move thresholds", f"hsi-dask view {run}"
    classes = next((v for v in facts.variables.values() if v.role == "class" and v.of in facts.variables), None)
    if classes is not None and facts.variables[str(classes.of)].role == "score":
        typical = facts.statistics[str(classes.of)][0].mean
        yield "Draw this page by another threshold", f"hsi-dask report {run} --threshold {classes.name}={typical:.2g}"
    yield "Maps for QGIS, ArcGIS and R, and the spectra", f"hsi-dask export {run} --out gis"
    opened = f"import hsi_dask as hsi; maps = hsi.open_results({str(facts.run.path)!r})"
    yield "In Python, lazily, with coordinates and CRS", opened
