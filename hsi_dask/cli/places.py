"""Verb `extract`: values of maps at points and in polygons."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hsi_dask.cli.app import DONE, RunDir, app, complain
from hsi_dask.errors import ConfigError

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
    buffer: Buffer = None,
    crs: Crs = None,
    layer: Layer = None,
) -> int:
    """Values of all maps at plots or in crowns.

    At a point those of its pixel. In polygons and with a buffer means and standard deviations of their pixels, of
    classes the commonest and all shares. Reads only chunks that hold such pixels.
    """
    from hsi_dask.io.places import read_places
    from hsi_dask.io.store import open_results
    from hsi_dask.show.places import STATE, values_at, write_values

    maps = chosen(open_results(run_dir), variable)
    places = read_places(file, crs=crs, layer=layer)
    found = values_at(maps, places, buffer=buffer)
    text = write_values(found, places, maps, out)
    if out is None:
        print(text, end="")
    else:
        print(f"{len(found)} places, {len(found.columns)} columns: {out}")
    states = found[STATE].value_counts()
    if others := [f"{count} {state}" for state, count in states.items() if state != "inside"]:
        complain(f"of {len(found)} places {', '.join(others)}; column {STATE} says which")
    return DONE


def chosen(maps: xr.Dataset, names: list[str] | None) -> xr.Dataset:
    """Only these maps."""
    if not names:
        return maps
    if unknown := [name for name in names if name not in maps]:
        raise ConfigError(f"the run has no map {unknown[0]!r} but {', '.join(map(str, maps))}")
    return maps[names]
