"""The change between two runs as files: Cloud-Optimized GeoTIFFs, tables, and a page that opens from disk, offline."""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

from hsi_dask.batch.observer import Advanced
from hsi_dask.batch.state.manifest import versions
from hsi_dask.batch.state.outputs import require_free
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.comparison.pairs import open_pair
from hsi_dask.comparison.stored import Changes, store_changes
from hsi_dask.errors import FileFormatError, counted
from hsi_dask.io import cog
from hsi_dask.io.durable import sync_folders, write_file
from hsi_dask.io.readers import read_source
from hsi_dask.schema import Variable
from hsi_dask.show import change_tables as tables
from hsi_dask.show.change_pictures import ChangePictures, class_change_legend, significance_colours
from hsi_dask.show.export import beside, put_in_place, told, work_folder
from hsi_dask.show.facts import area
from hsi_dask.show.geotiff import MapImage
from hsi_dask.show.labels import title_of
from hsi_dask.show.pictures import STYLE
from hsi_dask.show.tables import csv_text
from hsi_dask.show.templates import template

PAGE = "change.html"
_TILES_LOOKED_AT = 20  # whose dates a page tells
_OTHER_LIGHT = 0.02  # of shade, that a page tells of
_MOST_CLASSES = 25  # of a matrix on the page; the files have all


def export_changes(
    run_a: str | os.PathLike[str],
    run_b: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    confidence: float = 0.95,
    compress: bool = True,
    wrote: Callable[[Path], None] | None = None,
    noted: Callable[[str], None] = lambda note: None,
    advanced: Advanced = lambda share: None,
) -> list[Path]:
    """Write what changed between two runs for GIS programs, spreadsheets and people; as `compare` tells it.

    Parameters
    ----------
    run_a, run_b : path
        Run directories, the earlier first.
    out : path
        The folder to write to, made if need be. While differences are computed they take room there, too.
    confidence : float, optional
        Of what is larger than its error, 0 to 1.
    compress : bool, optional
        As in `export`.
    wrote : callable, optional
        Called with each file as soon as it is in place.
    noted : callable, optional
        Called with each sentence on what differs between the runs, such as their extents; the page has them, too.
    advanced : callable, optional
        Hears which share of the differences is computed, 0 to 1.

    Returns
    -------
    list of Path
        A GeoTIFF for every difference map, with its `.qml`; `areas.csv`, `transitions.csv` and for each class map its
        matrix in hectares; last of all the page, `change.html`: without it the folder is not complete.

    Raises
    ------
    RunError, GridError, EndmemberError, ConfigError
        As `compare`; or `out` cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import hsi_dask as hsi
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for year in ("2019", "2022"):
    ...         site = hsi.synthetic.simulate_site(f"{folder}/{year}", tiles=(1, 1), size=40)
    ...     first = hsi.run(hsi.RunConfig(tiles=[f"{folder}/2019"]), f"{folder}/a")
    ...     same = hsi.RunConfig(tiles=[f"{folder}/2022"], endmembers={"file": f"{folder}/a"})
    ...     second = hsi.run(same, f"{folder}/b")
    ...     files = export_changes(f"{folder}/a", f"{folder}/b", f"{folder}/change")
    >>> files[0].name, files[-1].name
    ('abundance_change.tif', 'change.html')
    """
    require_free(out)
    pair, target = open_pair(run_a, run_b), Path(out)
    with work_folder(target) as part:
        (target / PAGE).unlink(missing_ok=True)  # what it tells is being replaced
        changes = store_changes(pair, part / "changes.zarr", confidence=confidence, advanced=advanced)
        notes = [*pair.notes, *_light_notes(changes)]
        for note in notes:
            noted(note)
        made = chain(_maps(changes, part, target, confidence, compress), _tables(changes, target))
        files = [file for group in made for file in told(group, wrote)]
        write_file(target / PAGE, _page(changes, confidence, notes, [file.name for file in files]).encode())
        sync_folders([target])
    advanced(1.0)
    return [*files, *told([target / PAGE], wrote)]


def _maps(changes: Changes, part: Path, target: Path, confidence: float, compress: bool) -> Iterator[list[Path]]:
    """The GeoTIFF of every difference map, and what lies beside it."""
    tags = {
        "TIFFTAG_SOFTWARE": f"hsi_dask {versions()['hsi-dask']}", "before": changes.pair.before.path.name,
        "after": changes.pair.after.path.name, "confidence": f"{confidence:g}",
    }  # fmt: skip
    shared = {variable.name: variable for variable in changes.pair.variables}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for variable in changes.variables:
            of = shared.get(str(variable.of)) or shared[str(variable.of).removesuffix("_change")]
            names = tables.labels_in(changes, of).names if len(variable.dims) > 2 else ()
            legend, colours = _legend(changes, variable, of)
            own = tags | {"role": variable.role, "of": of.name}
            image = MapImage(variable, changes, names, legend, colours, own)
            cog.write_cog(
                part / f"{variable.name}.tif", image.pattern(), image.levels(pool), variable.fill_value, pool,
                compress=compress or variable.dtype != "float32",
            )  # fmt: skip
            yield put_in_place(part / f"{variable.name}.tif", target / f"{variable.name}.tif", beside(image))


def _legend(changes: Changes, variable: Variable, of: Variable) -> tuple[dict[int, str], Any]:
    """What the values of a map of whole numbers are called, and their colours."""
    if of.role == "class":
        return class_change_legend(changes, of)
    if variable.dtype != "uint8":
        return {}, significance_colours()
    meanings = [word.replace("_", " ") for word in str(variable.attrs["flag_meanings"]).split()]
    return dict(enumerate(meanings)), significance_colours()


def _tables(changes: Changes, target: Path) -> Iterator[list[Path]]:
    for name, rows in tables.tables(changes).items():
        write_file(target / name, csv_text(rows).encode())
        yield [target / name]


# ------------------------------------------------------------------------------------------------ the page


def _page(changes: Changes, confidence: float, notes: list[str], files: list[str]) -> str:
    from matplotlib import rc_context

    pair = changes.pair
    paths = [str(run.path) for run in (pair.before, pair.after)]
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # letters that no installed font has become boxes
        drawn = ChangePictures(changes)
        return template("change.html").render(
            before=pair.before.path.resolve().name,
            after=pair.after.path.resolve().name,
            paths=[pair.before.path.resolve(), pair.after.path.resolve()],
            summary=list(_summary(changes, confidence)),
            notes=notes,
            classes=[_class_section(changes, drawn, variable) for variable in tables.of_role(changes, "class")],
            fractions=list(_fraction_sections(changes, drawn, confidence)),
            files=files,
            tables=[name for name in files if name.endswith(".csv")],
            opened=f"import hsi_dask as hsi; change = hsi.compare({paths[0]!r}, {paths[1]!r})",
            again=f"hsi-dask compare {shlex.join(paths)} --out DIR",
            version=versions()["hsi-dask"],
        )


def _summary(changes: Changes, confidence: float) -> Iterator[tuple[str, str, str]]:
    """Label, number, and what else there is to say."""
    pair, grid = changes.pair, changes.grid
    for label, run in (("before", pair.before), ("after", pair.after)):
        yield label, run.path.resolve().name, _flown(run)
    pixels = max((one.count for planes in changes.statistics.values() for one in planes), default=0)
    yield "compared", area(pixels * pair.hectares), f"{pixels:,} pixels with data in both"
    for variable in tables.of_role(changes, "class"):
        found = tables.transitions_of(changes, variable)
        moved = found.changed * float(found.hectares.sum())
        yield f"{title_of(variable)} that changed", f"{found.changed:.1%}", area(moved)
    west, south, east, north = grid.bbox
    yield "grid", grid.label, f"{west:.9g} to {east:.9g} E, {south:.9g} to {north:.9g} N"
    if pair.stds:
        yield "confidence", f"{confidence:.0%}", "of what counts as larger than its error"


def _light_notes(changes: Changes) -> Iterator[str]:
    """That light differs, as far as maps of shade tell."""
    for variable in tables.of_role(changes, "shade"):
        mean = changes.statistics[f"{variable.name}_change"][0].mean
        if abs(mean) > _OTHER_LIGHT:
            yield (
                f"the second run is {'darker' if mean > 0 else 'brighter'}: its mean {variable.name} is "
                f"{'higher' if mean > 0 else 'lower'} by {abs(mean):.2f}; fractions that are not normalised by shade "
                "change with it"
            )


def _flown(run: Run) -> str:
    """The years in which a run's tiles were flown, as far as their files are there and tell."""
    years: set[str] = set()
    for tile in run.manifest.tiles[:_TILES_LOOKED_AT]:
        try:
            years |= set(map(str, read_source(tile.path).years))
        except (FileFormatError, OSError):
            continue
    return f"flown in {', '.join(sorted(years))}" if years else f"{counted(len(run.manifest.tiles), 'tile')}"


def _class_section(changes: Changes, drawn: ChangePictures, variable: Variable) -> dict[str, Any]:
    """Where a class map changed, its transitions and its areas."""
    found = tables.transitions_of(changes, variable)
    names = list(zip(found.names, found.colours, strict=True))
    most = max(float(found.hectares.max(initial=0)), 1e-12)
    rows = [
        {"name": name, "colour": colour, "sum": _hectares(row.sum()),
         "cells": [{"text": _hectares(value), "same": n == at, "share": _share(value, most, n == at)}
                   for n, value in enumerate(row)]}
        for at, ((name, colour), row) in enumerate(zip(names, found.hectares, strict=True))
    ]  # fmt: skip
    return {
        "id": variable.name, "title": title_of(variable), "words": variable.long_name, "names": names,
        "rows": rows if len(rows) <= _MOST_CLASSES else [],
        "picture": drawn.classes(variable), "sums": [_hectares(v) for v in found.hectares.sum(axis=0)],
        "changed": f"{found.changed:.1%}", "areas": [_row(one) for one in tables.areas_of(changes, variable)],
    }  # fmt: skip


def _share(value: float, most: float, same: bool) -> str:
    """How strongly a cell is coloured: changes by their area, nothing where a class stayed."""
    return f"{0.0 if same else min(0.75, 0.06 + 3 * value / most) if value else 0.0:.2f}"


def _fraction_sections(changes: Changes, drawn: ChangePictures, confidence: float) -> Iterator[dict[str, Any]]:
    """The difference maps of fractions and shade, and areas."""
    for variable in (*tables.of_role(changes, "fraction"), *tables.of_role(changes, "shade")):
        has_errors = variable.name in changes.pair.stds
        yield {
            "id": variable.name, "title": title_of(variable), "words": variable.long_name, "errors": has_errors,
            "planes": list(drawn.differences(variable)), "confidence": f"{confidence:.0%}",
            "areas": [_row(one) for one in tables.areas_of(changes, variable)] if variable.role == "fraction" else [],
        }  # fmt: skip


def _row(one: tables.Areas) -> dict[str, str]:
    """Areas as the page writes them; what is not known is empty."""
    signed = f"{'+' if one.net > 0 else '-' if one.net < 0 else ''}{_hectares(abs(one.net))}"
    known = one.net_std == one.net_std
    return {
        "name": one.name, "colour": one.colour, "before": _hectares(one.before), "after": _hectares(one.after),
        "gained": _hectares(one.gained), "lost": _hectares(one.lost), "net": signed,
        "std": _hectares(one.net_std) if known else "", "decreased": f"{one.decreased:.1%}" if known else "",
        "increased": f"{one.increased:.1%}" if known else "",
    }  # fmt: skip


def _hectares(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
