"""Verbs `report`, `seams`, `export` and `view`: look at what a run has found."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from hsi_dask.cli.app import DONE, RunDir, app, complain
from hsi_dask.cli.output import bytes_text
from hsi_dask.cli.progress import drawing_progress, overviews_progress
from hsi_dask.errors import ConfigError, counted

Thresholds = Annotated[
    list[str] | None,
    typer.Option(
        "--threshold", metavar="NAME=N[,N...]",
        help="Classes by another threshold, or one for each endmember: sam=0.1. From the stored scores.",
    ),
]  # fmt: skip


Composite = Annotated[
    str | None,
    typer.Option("--composite", metavar="A,B,C", help="Fractions to show as red, green, blue (the largest)."),
]


@app.command()
def report(
    run_dir: RunDir,
    threshold: Thresholds = None,
    library: Annotated[
        str | None, typer.Option(metavar="FILE", help="Tell which spectra of this library endmembers are like.")
    ] = None,
    composite: Composite = None,
) -> int:
    """Write RUN_DIR/report.html: the run on one page.

    Summary, pictures of the site, endmembers, maps, classes with their areas, quality and tiles. It opens from disk,
    offline. `run` and `demo` write it at their end.
    """
    from hsi_dask.show.report import report as draw

    with overviews_progress() as advanced, drawing_progress() as drawn:
        page = draw(
            run_dir, thresholds=_thresholds(threshold), library=library, composite=_names(composite),
            advanced=advanced, drawn=drawn,
        )  # fmt: skip
    print(page)
    return DONE


@app.command()
def seams(
    run_dir: RunDir,
    out: Annotated[Path | None, typer.Option("--out", metavar="CSV", help="A table; else on stdout.")] = None,
) -> int:
    """What changes from tile to tile, or flight line to flight line.

    Reflectance, fractions, scores and classes of neighbouring pixels across every common edge, against the same inside
    the tiles: whether light or weather drew a pattern. The report shows them as maps.
    """
    from hsi_dask.show.seams import seam_table, seams_told, write_seams

    with overviews_progress() as advanced:
        rows = seam_table(run_dir, advanced=advanced)
    text = write_seams(out, rows)
    if out is None:
        print(text, end="")
    else:
        print(f"{counted(len({tuple(row[:4]) for row in rows[1:]}), 'seam')}, {counted(len(rows) - 1, 'row')}: {out}")
    complain(seams_told(rows))
    return DONE


@app.command()
def export(
    run_dir: RunDir,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The files are written here.")],
    compress: Annotated[
        bool, typer.Option(help="Without, files are half as large again, and written nearly as fast as the disk is.")
    ] = True,
    threshold: Thresholds = None,
    composite: Composite = None,
) -> int:
    """Write maps and spectra for GIS programs.

    Cloud-Optimized GeoTIFFs for QGIS, ArcGIS and R; the endmembers as an ENVI spectral library and as CSV.
    """
    from hsi_dask.show.export import export as write_files
    from hsi_dask.show.export import tiles_of

    def wrote(file: Path) -> None:
        print(f"{file.name:24} {bytes_text(file.stat().st_size)}", flush=True)

    limits = _thresholds(threshold)
    with overviews_progress() as advanced:
        files = write_files(
            run_dir, out, compress=compress, thresholds=limits, composite=_names(composite), wrote=wrote,
            advanced=advanced,
        )  # fmt: skip
    print(f"{counted(len(files), 'file')} in {out}, of {counted(tiles_of(files[0]), 'tile')}")
    return DONE


@app.command()
def view(
    run_dir: RunDir,
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="0 takes a free one.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
) -> int:
    """Look at a run in the browser.

    Zoom, switch layers, click pixels for their spectra, move thresholds. Served to this machine only, until Ctrl-C.
    """
    import webbrowser

    from hsi_dask.show.view import served, wait

    with overviews_progress() as advanced, served(run_dir, port=port, advanced=advanced) as address:
        print(address, flush=True)
        complain("Ctrl-C ends it")
        if not no_browser:
            webbrowser.open(address)
        with contextlib.suppress(KeyboardInterrupt):
            wait()
    return DONE


def _names(words: str | None) -> list[str] | None:
    return None if words is None else [word.strip() for word in words.split(",")]


def _thresholds(texts: Sequence[str] | None) -> dict[str, float | list[float]]:
    """By name one number, or one for each endmember."""
    found: dict[str, float | list[float]] = {}
    for text in texts or ():
        name, equals, numbers = text.partition("=")
        try:
            values = [float(number) for number in numbers.split(",")]
        except ValueError:
            values = []
        if not (name and equals and values):
            raise ConfigError(f"--threshold is {text!r}; give a name and numbers, such as sam=0.1 or sam=0.1,0.2,0.1")
        found[name] = values if len(values) > 1 else values[0]
    return found
