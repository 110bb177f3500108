"""Verb `demo`: a simulated site, mapped and compared with the known truth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hsi_dask.cli.app import DONE, FOUND, app, complain
from hsi_dask.cli.output import print_table, table
from hsi_dask.cli.runs import carry_out_run, draw_report, show_summary
from hsi_dask.errors import RunError

if TYPE_CHECKING:
    from hsi_dask.batch.execution.run import RunSummary
    from hsi_dask.synthetic import Agreement, Scene


# The demo's site: small enough for a minute on two cores, compilation included, large enough to look at
DEMO_TILE = 250
# Light varies by 15 %: abundances that sum to one read shade as some of the darkest material
DEMO_SITE: dict[str, Any] = {"seed": 0, "no_data": 0.02, "illumination": (0.9, 1.05)}


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, or an earlier demo's.")] = Path(
        "hsi-dask-demo"
    ),
) -> int:
    """Simulate a small site, map it, compare with the truth.

    Four NEON tiles of both chunk layouts go through the same steps as real ones.
    """
    from hsi_dask.config import RunConfig
    from hsi_dask.synthetic import MATERIALS

    scene = _demo_scene(folder)
    settings = RunConfig(tiles=(str(folder / "tiles"),), endmembers={"count": len(MATERIALS)})
    summary = carry_out_run(settings, folder / "run", None)
    show_summary(summary)
    page = draw_report(summary)
    if summary.failed:
        return FOUND
    _show_agreement(scene, summary)
    west, north = scene.x[0] - 0.5, scene.y[0] + 0.5
    print(f"\nlook    {page or 'hsi-dask report ' + str(summary.run_dir)}: in a browser")
    print(f"        {summary.results}: in QGIS (GDAL 3.11 or later),")
    print("        Layer > Add Layer > Add Raster Layer, type Zarr")
    print(f"        the site's north-west corner is {west:.0f} E, {north:.0f} N, UTM zone 18 north")
    print(f"check   hsi-dask verify {summary.run_dir}")
    return DONE


def _demo_scene(folder: Path) -> Scene:
    """The demo's scene, and its tiles in the folder; tiles of an earlier demo are kept, for its run is of them."""
    from hsi_dask.synthetic import simulate_scene, simulate_site

    held = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if (folder.exists() and not folder.is_dir()) or held - {"tiles", "run"}:
        what = f"holds other things ({', '.join(sorted(held)[:3])})" if held else "is a file"
        raise RunError(f"{folder} {what}; give a new folder, as in `hsi-dask demo DIR`")
    if len(list((folder / "tiles").glob("*.h5"))) == 4:
        return simulate_scene((2 * DEMO_TILE, 2 * DEMO_TILE), **DEMO_SITE)
    complain(f"simulating a site of 4 tiles in {folder / 'tiles'}")
    try:
        return simulate_site(folder / "tiles", tiles=(2, 2), size=DEMO_TILE, **DEMO_SITE).scene
    except OSError as error:
        raise RunError(f"{folder} cannot be written ({error.strerror or error}); give another folder") from error


_LEGEND = """\
angle: between the found and the true spectrum; dark water is mostly noise
abundance: root mean square error of all pixels; illumination varies,
           and abundances have to sum to one
right: of the pixels that are 90 % or more of the material, those of its class"""


def _show_agreement(scene: Scene, summary: RunSummary) -> None:
    from hsi_dask.io.endmember_store import open_endmembers
    from hsi_dask.io.store import open_results
    from hsi_dask.synthetic import compare_with_truth

    maps = open_results(summary.run_dir, chunks=None)
    found = compare_with_truth(open_endmembers(summary.run_dir), maps, scene)
    print(f"\nfound against simulated, {maps.sizes['y']} x {maps.sizes['x']} pixels:")
    rows = table("material", "endmember", "angle (degrees)", "abundance", "SAM right", "SID right")
    for row in _agreement_rows(found):
        rows.add_row(*row)
    print_table(rows)
    print(_LEGEND)


def _agreement_rows(found: Agreement) -> Iterator[tuple[str, ...]]:
    import numpy as np

    for n, name in enumerate(found.names):
        yield (
            name, str(found.found[n] or "none"), f"{np.degrees(found.angle[n]):.2f}", f"{found.abundance_rmse[n]:.3f}",
            *(f"{found.classes[kind][n]:.1%}" for kind in ("sam_class", "sid_class")),
        )  # fmt: skip
