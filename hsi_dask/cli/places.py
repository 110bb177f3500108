"""Verbs `extract` and `accuracy`: maps at points and in polygons, and how right classes are there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hsi_dask.cli.app import DONE, RunDir, app, complain
from hsi_dask.cli.output import print_table, table
from hsi_dask.errors import ConfigError, RunError, counted
from hsi_dask.escaping import visible

if TYPE_CHECKING:
    import xarray as xr

PlacesFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="CSV with x and y, or lon and lat; GeoJSON, GeoPackage, shapefile.")
]
Crs = Annotated[str | None, typer.Option("--crs", metavar="CRS", help="Of FILE, where it does not tell: EPSG:4326.")]
Buffer = Annotated[float | None, typer.Option("--buffer", metavar="METRES", help="Pixels so far around each place.")]
Layer = Annotated[str | None, typer.Option("--layer", metavar="NAME", help="Of a FILE that has several.")]


@app.command()
def extract(
    run_dir: RunDir,
    file: PlacesFile,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="CSV|GPKG", help="A table or vector file; else CSV on stdout.")
    ] = None,
    variable: Annotated[
        list[str] | None, typer.Option("--variable", metavar="NAME", help="Only this map; may be repeated.")
    ] = None,
    spectra: Annotated[bool, typer.Option("--spectra", help="Reflectance of the tiles, too.")] = False,
    buffer: Buffer = None,
    crs: Crs = None,
    layer: Layer = None,
) -> int:
    """Values of all maps at plots or in crowns.

    At a point those of its pixel. In polygons and with a buffer means and standard deviations of their pixels, of
    classes the commonest and all shares. Reads only chunks that hold such pixels.
    """
    from hsi_dask.batch.state.outputs import require_free
    from hsi_dask.io.places import read_places
    from hsi_dask.io.store import open_results
    from hsi_dask.show.places import STATE, values_at, with_spectra, write_values

    if out is not None:
        require_free(out, file)
    maps = chosen(open_results(run_dir), variable)
    places = read_places(file, crs=crs, layer=layer)
    found = values_at(maps, places, buffer=buffer)
    if spectra:
        found = with_spectra(found, run_dir, places, buffer=buffer)
    text = write_values(found, places, maps, out)
    if out is None:
        print(text, end="")
    else:
        print(f"{counted(len(found), 'place')}, {counted(len(found.columns), 'column')}: {out}")
    states = found[STATE].value_counts()
    if others := [f"{count} {state}" for state, count in states.items() if state != "inside"]:
        complain(f"of {counted(len(found), 'place')} {', '.join(others)}; column {STATE} says which")
    return DONE


def chosen(maps: xr.Dataset, names: list[str] | None) -> xr.Dataset:
    """Only these maps."""
    if not names:
        return maps
    if unknown := [name for name in names if name not in maps]:
        raise ConfigError(f"the run has no map {unknown[0]!r} but {', '.join(map(str, maps))}")
    return maps[names]


@app.command()
def accuracy(
    run_dir: RunDir,
    file: PlacesFile,
    column: Annotated[str, typer.Option("--column", metavar="NAME", help="Of FILE: the class that is known.")],
    variable: Annotated[
        str | None, typer.Option("--variable", metavar="NAME", help="The class map, such as sam_class.")
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="VALUE=CLASS", help="What a value of the column is in the map; repeated."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="CSV", help="The table, for spreadsheets.")] = None,
    confidence: Annotated[float, typer.Option(metavar="P", help="Of the intervals, 0 to 1.")] = 0.95,
    buffer: Buffer = None,
    crs: Crs = None,
    layer: Layer = None,
) -> int:
    """How right a class map is, by classes known at places.

    Confusion matrix; overall, user's and producer's accuracy and areas of classes, adjusted for the area that is mapped
    as each, with confidence intervals (Olofsson et al. 2014). They hold for places that were chosen at random.
    """
    from hsi_dask.batch.state.outputs import require_free
    from hsi_dask.show.accuracy import accuracy as assessed
    from hsi_dask.show.accuracy import accuracy_rows, write_accuracy
    from hsi_dask.show.assessments import keep_accuracy

    if out is not None:
        require_free(out, file)
    stands_for = dict(map(_pair, classes or ()))
    found = assessed(
        run_dir, file, column, variable=variable, classes=stands_for, buffer=buffer, crs=crs, layer=layer,
        confidence=confidence,
    )  # fmt: skip
    rows = accuracy_rows(found)
    _show_accuracy(found, rows)
    for note in found.attrs["notes"]:
        complain(f"note: {note}")
    if out is not None:
        write_accuracy(out, rows)
        print(out)
    try:
        kept = keep_accuracy(run_dir, found, str(file))
    except RunError as error:
        complain(f"note: not kept for the report: {error}")
    else:
        complain(f"kept in {kept}; `hsi-dask report {run_dir}` shows it")
    return DONE


def _pair(words: str) -> tuple[str, str]:
    value, equals, name = words.rpartition("=")
    if not equals or not value.strip() or not name.strip():
        raise ConfigError(f"--class {words!r} says nothing; give a value and a class, such as 'Acer rubrum=maple'")
    return value.strip(), name.strip()


def _show_accuracy(found: xr.Dataset, rows: list[list[Any]]) -> None:
    """The confusion matrix, and below it what follows for each class and for all."""
    head, *each, _ = rows
    after = head.index("samples") + 1
    matrix = table("mapped as \\ is", *(visible(name.removeprefix("is_")) for name in head[1 : after - 1]), "samples")
    for row in each:
        matrix.add_row(visible(row[0]), *(str(count) for count in row[1:after]))
    print_table(matrix)
    print()
    level = f"{found.attrs['confidence']:.0%}"
    first = f"{found.attrs['variable']}, {level}"
    accuracies = table(first, "user's accuracy", "producer's accuracy", "area (ha)", "mapped (ha)")
    for row in each:
        mapped, users, users_margin, producers, producers_margin, area, area_margin, *_ = row[after:]
        accuracies.add_row(
            visible(row[0]), _percent(users, users_margin), _percent(producers, producers_margin),
            _with_margin(area, area_margin), f"{mapped:.4g}",
        )  # fmt: skip
    print_table(accuracies)
    overall = _percent(float(found.overall_accuracy), float(found.overall_accuracy_margin))
    samples, right = found.attrs["samples"], float(found.sample_accuracy)
    print(f"\noverall accuracy {overall}; of the {samples} samples {right:.1%} are right")


def _percent(value: float, margin: float) -> str:
    if value != value:
        return "-"
    return f"{value:.1%} ± {100 * margin:.1f}" if margin == margin else f"{value:.1%}"


def _with_margin(value: float, margin: float) -> str:
    return f"{value:.4g} ± {margin:.2g}" if margin == margin else f"{value:.4g}"
