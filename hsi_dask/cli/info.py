"""Verb `info`: what is in the files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsi_dask.cli.app import DONE, FOUND, Tiles, app, complain
from hsi_dask.cli.output import bytes_text, print_rows, print_table, table, times
from hsi_dask.errors import HsiDaskError
from hsi_dask.escaping import visible

if TYPE_CHECKING:
    from hsi_dask.io.tile_source import TileSource


@app.command()
def info(tiles: Tiles) -> int:
    """What is in the files.

    Site, revision, shape, wavelengths, CRS, stored chunks, no-data share. Reads metadata, and for the no-data share one
    plane at a wavelength outside the water-vapour windows.
    """
    from concurrent.futures import ThreadPoolExecutor

    from hsi_dask.batch.tiles.search import search_tiles

    paths, aside = search_tiles(tiles)
    with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as pool:
        looked = list(pool.map(_look, paths))
    good = [(file, share) for file, share in looked if not isinstance(file, Exception)]
    if len(paths) == 1 and good:
        _show_file(*good[0])
    elif good:
        _show_files(good)
    for file, _ in looked:
        if isinstance(file, Exception):
            complain(f"error: {file}")
    if aside:
        complain("left aside: " + ", ".join(f"{n} {end} of other products" for end, n in sorted(aside.items())))
    return FOUND if len(good) < len(looked) else DONE


def _look(path: Path) -> tuple[Any, str]:
    """A file's metadata and its no-data share as text; or the error that says why not."""
    import numpy as np

    from hsi_dask.io.readers import read_source

    try:
        file = read_source(path)
        good = np.flatnonzero(file.good_wavelength)
        if not good.size or (file.fill_value is None and file.reflectance.dtype.kind != "f"):
            return file, "-"
        near = int(good[np.abs(file.wavelength[good] - 860).argmin()])  # nm: far from every absorption of air
        plane = file.reflectance[:, :, near]
        return file, f"{((plane == file.fill_value) | (plane != plane)).mean():.1%}"  # NaN differs from itself
    except (HsiDaskError, OSError) as error:
        return error, ""


def _show_file(file: TileSource, share: str) -> None:
    import numpy as np

    from hsi_dask.io import blocks
    from hsi_dask.io import crs as reference
    from hsi_dask.io.readers import title as read_by

    west, south, east, north = file.bounds
    block, bands = blocks.block_shape(file.reflectance), file.wavelength
    fwhm = np.empty(0) if file.fwhm is None else file.fwhm[np.isfinite(file.fwhm)]
    widths = f"{fwhm.min():.1f} to {fwhm.max():.1f} nm" if fwhm.size else "unknown"
    windows = ", ".join(f"{low:g} to {high:g}" for low, high in file.windows)
    product = f"{file.product} ({'inferred from the layout' if file.product_inferred else file.level})"
    unit = reference.unit(file.crs)
    rows = {
        "format": read_by(file.reader),
        "site": ", ".join(filter(None, (file.site, product if file.product else ""))) or "unknown",
        "pixels": f"{file.shape[0]} x {file.shape[1]} (y, x) of {file.resolution[0]:g} {unit}, {share} no data",
        "wavelengths": f"{bands.size}, {bands[0]:.1f} to {bands[-1]:.1f} nm, FWHM {widths}",
        "windows": f"{windows} nm ({'from the file' if file.own_windows else 'not in the file: assumed'})"
        if windows else "none",
        "bad bands": "" if file.bad is None else f"{int(file.bad.sum())}",
        "CRS": reference.label(file.crs),
        "bounds": f"{west:.10g} to {east:.10g} E, {south:.10g} to {north:.10g} N",
        "stored": f"{file.reflectance.dtype} in chunks of {times(file.reflectance.stored_chunks)} (y, x, wavelength)",
        "blocks": f"{times(block)}",
        "size": bytes_text(file.file_size),
        "acquired": ", ".join(file.dates) or file.visit or "unknown",
        "layers": ", ".join(file.layer_names) or "none",
    }  # fmt: skip
    rows = {key: value for key, value in rows.items() if value}
    print(file.path)
    print_rows(
        {f"  {key}": value for key, value in rows.items()} | {f"  note {n}": t for n, t in enumerate(file.notes, 1)}
    )


def _show_files(files: list[tuple[TileSource, str]]) -> None:
    from hsi_dask.io import crs as reference

    rows = table("product", "pixels", "wavelengths, nm", "CRS", "chunks", "no data", "size", "file")
    for file, share in files:
        rows.add_row(
            file.product or file.reader, times(file.shape[:2]), f"{file.wavelength.size}, {file.wavelength[0]:.1f} on",
            str(file.epsg or reference.label(file.crs)), times(file.reflectance.stored_chunks), share,
            bytes_text(file.file_size),
            visible(os.path.basename(file.path)),
        )  # fmt: skip
    print_table(rows)
