"""Verbs `count` and `name`: how many materials there are, and what found endmembers are called."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hsi_dask.cli.app import DONE, RunDir, Tiles, app, complain
from hsi_dask.cli.output import print_table, table
from hsi_dask.cli.progress import run_observer
from hsi_dask.errors import ConfigError, counted
from hsi_dask.escaping import visible

if TYPE_CHECKING:
    import xarray as xr


@app.command()
def count(
    tiles: Tiles,
    most: Annotated[int, typer.Option(metavar="N", min=2, max=60, help="Counts that are tried, from 2.")] = 12,
    sample_tiles: Annotated[int | None, typer.Option(metavar="N", help="Tiles to sample (16).")] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the sample.")] = 0,
) -> int:
    """How many materials there are.

    By HySime, HFC, NWHFC, and by which endmembers come back from both halves of a sample. They disagree: a bracket.
    """
    from hsi_dask.counts.registry import ESTIMATORS
    from hsi_dask.ops.counting import estimate_count, stable_count

    pixels = _sampled(tiles, sample_tiles, seed)
    bracket = {name: int(estimate_count(pixels, method=name)["count"]) for name in ESTIMATORS.specifications}
    with run_observer() as observer:
        observer.message(f"comparing the endmembers of both halves, 2 to {most}")
        curve = stable_count(pixels, most, seed=seed)
    rows = table("endmembers", "halves differ by (degrees)", "residual")
    for tried, apart, residual in zip(curve.tried.values, curve.apart.values, curve.residual.values, strict=True):
        if apart == apart:  # not NaN: the pixels have so many dimensions
            rows.add_row(str(tried), f"{apart * 57.29578:.2f}", f"{residual:.4f}")
    print_table(rows)
    stable = int(curve["count"])
    print(", ".join(f"{name} {number}" for name, number in bracket.items()) + f", stable {stable}")
    low, high = min(*bracket.values(), stable), max(*bracket.values(), stable)
    print(
        f"between {low} and {high} materials by {pixels.sizes['pixel']} pixels; up to {stable} come back from "
        "either half of them: --count auto takes so many"
    )
    return DONE


def _sampled(tiles: list[str], sample_tiles: int | None, seed: int) -> xr.DataArray:
    from hsi_dask.batch.execution.dispatch import Workers
    from hsi_dask.batch.execution.sampling import sample_site
    from hsi_dask.batch.tiles.planning import make_plan
    from hsi_dask.batch.tiles.search import search_tiles
    from hsi_dask.config import RunConfig

    settings = RunConfig(tiles=tuple(tiles), mix=True, endmembers={"sample_tiles": sample_tiles, "seed": seed})
    plan = make_plan(search_tiles(tiles).paths, settings)
    with run_observer() as observer:
        observer.stage("sampling")
        observer.message(f"sampling pixels of {plan.sampled} of {counted(len(plan.tiles), 'tile')}")
        return sample_site(plan, Path("."), Workers(observer=observer))


@app.command()
def name(
    run_dir: RunDir,
    names: Annotated[list[str] | None, typer.Argument(metavar="N=NAME", help="Such as 1=water 3=roof.")] = None,
    library: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Propose names: the nearest spectra of this library.")
    ] = None,
) -> int:
    """Give found endmembers names.

    They appear in report, viewer, figures, exports, QGIS styles and Python. No map is computed anew.
    """
    from hsi_dask.batch.state.naming import name_endmembers
    from hsi_dask.io.endmember_store import open_endmembers
    from hsi_dask.schema import endmember_names, endmember_numbers

    if library is not None:
        proposed = _propose(open_endmembers(run_dir), library)
        if not names:
            print(f"to accept them: {shlex.join(['hsi-dask', 'name', str(run_dir), *proposed])}")
    endmembers = name_endmembers(run_dir, dict(map(_pair, names))) if names else open_endmembers(run_dir)
    if names or library is None:
        known = endmember_names(endmembers)
        for place, number in enumerate(endmember_numbers(endmembers)):
            print(f"{number}  {visible(known[place]) if known else 'no name yet'}")
    if not names and library is None and not known:
        words = shlex.join(["hsi-dask", "name", str(run_dir), "1=water"])
        complain(f"give them names with `{words}`; --library FILE proposes some")
    return DONE


def _pair(words: str) -> tuple[int, str]:
    number, equals, text = words.partition("=")
    if not equals or not number.strip().isdecimal() or not text.strip():
        raise ConfigError(f"{words!r} names nothing; give a number and a name, such as 1=water")
    return int(number), text.strip()


def _propose(endmembers: xr.DataArray, library: Path) -> list[str]:
    """Print the nearest spectra of each endmember; the first ones as this verb takes names."""
    from hsi_dask.io.spectra import read_spectra
    from hsi_dask.ops.identification import identify, labelled

    found = identify(endmembers, read_spectra(library))
    known = labelled(found)
    for number, names, angles in zip(found.endmember.values, known, found["angle"].values, strict=True):
        ranked = zip(names, angles, strict=True)
        words = [f"{visible(str(name))}, {angle * 57.29578:.1f} degrees" for name, angle in ranked]
        print(f"endmember {number}: nearest is {words[0]}; next {'; '.join(words[1:]) or 'none'}")
    return [f"{number}={visible(names[0])}" for number, names in zip(found.endmember.values, known, strict=True)]
