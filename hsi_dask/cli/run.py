"""Verb `run`: map the materials of tiles, resume, or only show the plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hsi_dask.cli.app import DONE, FOUND, app
from hsi_dask.cli.output import bytes_text, print_rows
from hsi_dask.cli.runs import carry_out_run, count_of, draw_report, settings_of, show_summary, with_endmembers
from hsi_dask.cli.settings import (
    Bounds,
    BoundsCrs,
    MaskFlags,
    Methods,
    Names,
    RegionFile,
    Thresholds,
    Values,
    Windows,
    area_of,
    changed,
)
from hsi_dask.errors import ConfigError

if TYPE_CHECKING:
    from hsi_dask.config import BandConfig, RunConfig


@app.command()
def run(
    out: Annotated[Path, typer.Option("--out", metavar="RUN_DIR", help="Everything is written here.")],
    tiles: Annotated[
        list[str] | None, typer.Argument(metavar="TILE", help="Reflectance files, folders of them, or patterns.")
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="What to compute; see `hsi-dask config`.")] = None,
    count: Annotated[str | None, typer.Option(metavar="N|auto", help="How many endmembers (4).")] = None,
    endmembers: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Given spectra: an earlier run, endmembers.zarr, .csv or ENVI .sli."),
    ] = None,
    library: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The same, of a library with materials, or earthlib.")
    ] = None,
    names: Names = None,
    material_column: Annotated[str | None, typer.Option(metavar="NAME", help="Which column names materials.")] = None,
    library_units: Annotated[str | None, typer.Option(metavar="UNIT", help="fraction, percent or 10000.")] = None,
    method: Methods = None,
    threshold: Thresholds = None,
    windows: Windows = None,
    mask: MaskFlags = None,
    bounds: Bounds = None,
    bounds_crs: BoundsCrs = None,
    region: RegionFile = None,
    year: Annotated[int | None, typer.Option(metavar="Y", help="Of tiles of several years those of this one.")] = None,
    visit: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of several visits this one, such as 2022_SERC_6.")
    ] = None,
    overlap: Annotated[
        str | None,
        typer.Option(metavar="WHICH", help="Where tiles overlap, the first or the last that has data holds."),
    ] = None,
    sample_tiles: Annotated[int | None, typer.Option(metavar="N", help="Tiles to find endmembers in (16).")] = None,
    keep_outliers: Annotated[
        bool, typer.Option("--keep-outliers", help="Endmembers may be single pixels that stand alone.")
    ] = False,
    values: Values = None,
    cluster: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to compute; see cluster_configs.")] = None,
    part: Annotated[
        str | None, typer.Option(metavar="I/N", help="Only this share of the tiles; others run beside it.")
    ] = None,
    mix: Annotated[
        bool, typer.Option("--mix", help="Tiles may be of several products, sites or years in one run.")
    ] = False,
    same_content: Annotated[
        bool, typer.Option("--same-content", help="Files that were copied again may have other times; checked.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and stop.")] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Draw no page of pictures at the end.")] = False,
) -> int:
    """Map the materials of all tiles, or resume.

    Repeated, a run goes on where it stopped; then --out is all it needs.
    """
    if library is not None and endmembers is not None:
        raise ConfigError("--library and --endmembers both name spectra; give one of them")
    settings = settings_of(tiles or [], out, config, None)
    settings = changed(
        with_endmembers(settings, count, endmembers or library), methods=method or (["cover"] if library else None),
        thresholds=threshold, windows=windows, masks=mask, names=names, values=values, keep_outliers=keep_outliers,
        sample_tiles=sample_tiles, units=library_units, material_column=material_column,
        area=area_of(bounds, bounds_crs, region),
    )  # fmt: skip
    settings = settings if count is None else settings.replace(endmembers={"count": count_of(count)})
    settings = settings.replace(mix=True) if mix else settings
    own = {"year": year, "visit": visit, "overlap": overlap}
    settings = settings.replace(**{name: value for name, value in own.items() if value is not None})
    if dry_run:
        return _show_plan(settings, out)
    summary = carry_out_run(settings, out, cluster, part, same_content=same_content)
    show_summary(summary)
    if not no_report:
        draw_report(summary)
    return FOUND if summary.failed else DONE


def _bands_text(path: str, bands: BandConfig) -> str:
    """`362 of 426 wavelengths, 382 to 2460 nm`, of a tile."""
    from hsi_dask.io.readers import read_source
    from hsi_dask.ops.bands import select_bands

    source = read_source(path)
    kept = select_bands(source.numbers(), windows=bands.pairs, drop_last=bands.drop_last).wavelength.values
    return f"{kept.size} of {source.wavelength.size} wavelengths, {kept[0]:.0f} to {kept[-1]:.0f} nm"


def _show_plan(settings: RunConfig, out: Path) -> int:
    from dask.system import CPU_COUNT

    from hsi_dask.batch.state.manifest import MANIFEST
    from hsi_dask.batch.state.run_directory import Run, input_paths, kept_region
    from hsi_dask.batch.tiles.mixture import words
    from hsi_dask.batch.tiles.plan import free_bytes, make_plan
    from hsi_dask.batch.tiles.search import search_tiles
    from hsi_dask.io.regions import extent_text

    before = Run.open(out) if (out / MANIFEST).is_file() else None
    found = search_tiles(settings.tiles) if settings.tiles or before is None else None
    paths = found.paths if found else input_paths(before) if before else []
    plan = make_plan(paths, settings, kept_region=kept_region(out, settings), run_dir=out)
    done = len(before.done()) if before else 0
    (rows, columns), (tall, wide) = plan.grid.shape, plan.grid.chunk
    bad = {tile.path for tile in plan.bad}
    wanted, masks = plan.config.endmembers, plan.config.masks.model_dump(exclude_defaults=True)
    print_rows({
        "tiles": f"{len(plan.tiles)} to map" + (f", {done} of them done before" if done else ""),
        "data": words(plan.contents) or "of no product or site that the files name",
        **({"aside": ", ".join(f"{n} {end} of other products" for end, n in found.aside.items())}
           if found and found.aside else {}),
        **({"area": f"{plan.region.name}: {extent_text(plan.region.bounds, plan.region.crs)}"} if plan.region else {}),
        "blocks": f"of whole stored chunks, up to {bytes_text(max(t.block_bytes for t in plan.tiles))} each",
        "mosaic": f"{rows} x {columns} pixels in {plan.grid.label}, chunks of {tall} x {wide}",
        "bands": _bands_text(next(str(path) for path in paths if str(path) not in bad), plan.config.bands),
        "maps": ", ".join(variable.name for variable in plan.variables),
        "spectra": f"{wanted.count} endmembers, {f'from {wanted.file}' if wanted.file else 'to be found'}",
        "masks": ", ".join(f"{name} {value}" for name, value in masks.items()) or "of no data only",
        "to read": bytes_text(plan.bytes_to_read),
        "to write": f"at most about {bytes_text(plan.bytes_to_write)}, {bytes_text(free_bytes(out))} free at {out}",
        "memory": f"about {bytes_text(plan.memory(CPU_COUNT))} a process with {CPU_COUNT} threads, "
        f"{bytes_text(plan.memory(1))} with one",
    })  # fmt: skip
    for note in plan.notes:
        print(f"note    {note}")
    for tile in plan.bad:
        print(f"cannot be read  {tile.reason}")
    return FOUND if plan.bad else DONE
