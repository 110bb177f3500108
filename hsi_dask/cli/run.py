"""Verb `run`: map the materials of tiles, resume, or only show the plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hsi_dask.cli.app import DONE, FOUND, app
from hsi_dask.cli.flags import RunFlags, settings_from, with_run_flags
from hsi_dask.cli.output import bytes_text, print_rows
from hsi_dask.cli.runs import carry_out_run, draw_report, show_summary
from hsi_dask.errors import counted

if TYPE_CHECKING:
    from hsi_dask.config import BandConfig, RunConfig


@app.command()
@with_run_flags
def run(
    out: Annotated[Path, typer.Option("--out", metavar="RUN_DIR", help="Everything is written here.")],
    tiles: Annotated[
        list[str] | None, typer.Argument(metavar="TILE", help="Reflectance files, folders of them, or patterns.")
    ] = None,
    *,
    flags: RunFlags,
    cluster: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to compute; see cluster_configs.")] = None,
    part: Annotated[
        str | None, typer.Option(metavar="I/N", help="Only this share of the tiles; others run beside it.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and stop.")] = False,
) -> int:
    """Map the materials of all tiles, or resume.

    Repeated, a run goes on where it stopped; then --out is all it needs.
    """
    settings = settings_from(flags, tiles or [], out)
    if dry_run:
        return _show_plan(settings, out)
    summary = carry_out_run(settings, out, cluster, part, same_content=flags.same_content)
    show_summary(summary)
    if not flags.no_report:
        draw_report(summary)
    return FOUND if summary.failed else DONE


def _bands_text(path: str, bands: BandConfig) -> str:
    """`362 of 426 wavelengths, 382 to 2460 nm`, of a tile."""
    from hsi_dask.io.readers import read_source
    from hsi_dask.ops.bands import select_bands

    source = read_source(path)
    kept = select_bands(source.numbers(), windows=bands.pairs, drop_last=bands.drop_last).wavelength.values
    return f"{kept.size} of {counted(source.wavelength.size, 'wavelength')}, {kept[0]:.0f} to {kept[-1]:.0f} nm"


def _show_plan(settings: RunConfig, out: Path) -> int:
    from dask.system import CPU_COUNT

    from hsi_dask.batch.state.manifest import MANIFEST
    from hsi_dask.batch.state.run_directory import Run, input_paths, kept_region
    from hsi_dask.batch.tiles.mixture import words
    from hsi_dask.batch.tiles.plan import free_bytes
    from hsi_dask.batch.tiles.planning import make_plan
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
        "spectra": f"{counted(wanted.count, 'endmember')}, {f'from {wanted.file}' if wanted.file else 'to be found'}",
        "masks": ", ".join(f"{name} {value}" for name, value in masks.items()) or "of no data only",
        "to read": bytes_text(plan.bytes_to_read),
        "to write": f"at most about {bytes_text(plan.bytes_to_write)}, {bytes_text(free_bytes(out))} free at {out}",
        "memory": f"about {bytes_text(plan.memory(CPU_COUNT))} a process with {counted(CPU_COUNT, 'thread')}, "
        f"{bytes_text(plan.memory(1))} with one",
    })  # fmt: skip
    for note in plan.notes:
        print(f"note    {note}")
    for tile in plan.bad:
        print(f"cannot be read  {tile.reason}")
    return FOUND if plan.bad else DONE
