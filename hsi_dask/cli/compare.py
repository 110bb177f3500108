"""Verb `compare`: what changed between two runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hsi_dask.cli.app import DONE, app, complain
from hsi_dask.cli.output import bytes_text, print_table, table
from hsi_dask.cli.progress import comparing_progress
from hsi_dask.escaping import visible

_QUANTITIES = ("before", "after", "gained", "lost", "net")


@app.command()
def compare(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="The earlier run.")],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="The later, by the endmembers of the earlier.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The files are written here.")],
    confidence: Annotated[float, typer.Option(metavar="P", help="Of what is larger than its error, 0 to 1.")] = 0.95,
    compress: Annotated[bool, typer.Option(help="As of export.")] = True,
) -> int:
    """What changed between two runs, such as two years of a site.

    Differences of fractions, with what is larger than their error, transitions of classes in hectares, as GeoTIFFs,
    tables and a page. Both runs have one pixel grid and the same endmembers: run --endmembers RUN_A for the second.
    """
    from hsi_dask.show.change_report import export_changes

    def wrote(file: Path) -> None:
        print(f"{file.name:32} {bytes_text(file.stat().st_size)}", flush=True)

    def noted(note: str) -> None:
        complain(f"note: {visible(note)}")

    with comparing_progress() as advanced:
        files = export_changes(
            run_a, run_b, out, confidence=confidence, compress=compress, wrote=wrote, noted=noted, advanced=advanced
        )
    _show_areas(next(file for file in files if file.name == "areas.csv"))
    print(files[-1])
    return DONE


def _show_areas(file: Path) -> None:
    """Hectares of classes and fractions, as the table has them."""
    import csv

    with open(file, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    shown = table("map", "name", "before (ha)", "after (ha)", "gained (ha)", "lost (ha)", "net (ha)")
    for row in rows:
        shown.add_row(row["map"], row["name"], *(f"{float(row[f'{name}_ha']):.4g}" for name in _QUANTITIES))
    print_table(shown)
