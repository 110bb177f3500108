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
    from hsi_dask.io.neon.cube import NeonFile


@app.command()
def info(tiles: Tiles) -> int:
    """What is in the files.

    Site, revision, shape, wavelengths, CRS, stored chunks, no-data share. Reads metadata, and for the no-data share one
    plane at a wavelength outside the water-vapour windows.
    """
    from concurrent.futures import ThreadPoolExecutor

    from hsi_dask.batch.tiles.plan import find_tiles

    paths = find_tiles(tiles)
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
    return FOUND if len(good) < len(looked) else DONE


def _look(path: Path) -> tuple[Any, str]:
    """A file's metadata and its no-data share as text; or the error that says why not."""
    import numpy as np

    from hsi_dask.io.neon.cube import read_metadata

    try:
        file = read_metadata(path)
        if file.fill_value is None:
            return file, "-"
        good = np.flatnonzero(file.good_wavelength)
        near = int(good[np.abs(file.wavelength[good] - 860).argmin()])  # nm: far from every absorption of air
        return file, f"{(file.reflectance[:, :, near] == file.fill_value).mean():.1%}"
    except (HsiDaskError, OSError) as error:
        return error, ""


def _show_file(file: NeonFile, share: str) -> None:
    import numpy as np

    from hsi_dask.io import hdf5

    west, south, east, north = file.bounds
    block, bands = hdf5.block_shape(file.reflectance), file.wavelength
    widths = (
        f"{np.nanmin(file.fwhm):.1f} to {np.nanmax(file.fwhm):.1f} nm" if np.isfinite(file.fwhm).any() else "unknown"
    )
    windows = ", ".join(f"{low:g} to {high:g}" for low, high in file.windows)
    rows = {
        "site": f"{file.site}, {file.product} ({'inferred from the layout' if file.product_inferred else file.level})",
        "pixels": f"{file.shape[0]} x {file.shape[1]} (y, x) of {file.resolution[0]:g} m, {share} no data",
        "wavelengths": f"{bands.size}, {bands[0]:.1f} to {bands[-1]:.1f} nm, FWHM {widths}",
        "windows": f"{windows} nm ({'from the file' if file.own_windows else 'not in the file: assumed'})",
        "CRS": f"EPSG:{file.epsg}",
        "bounds": f"{west:.10g} to {east:.10g} E, {south:.10g} to {north:.10g} N",
        "stored": f"{file.reflectance.dtype} in chunks of {times(file.reflectance.stored_chunks)} (y, x, wavelength)",
        "blocks": f"{times(block)}",
        "size": bytes_text(file.file_size),
        "acquired": ", ".join(file.dates) or "unknown",
        "layers": ", ".join(file.layer_names) or "none",
    }
    print(file.path)
    print_rows(
        {f"  {key}": value for key, value in rows.items()} | {f"  note {n}": t for n, t in enumerate(file.notes, 1)}
    )


def _show_files(files: list[tuple[NeonFile, str]]) -> None:
    rows = table("product", "pixels", "wavelengths, nm", "EPSG", "chunks", "no data", "size", "file")
    for file, share in files:
        rows.add_row(
            file.product, times(file.shape[:2]), f"{file.wavelength.size}, {file.wavelength[0]:.1f} on",
            str(file.epsg), times(file.reflectance.stored_chunks), share, bytes_text(file.file_size),
            visible(os.path.basename(file.path)),
        )  # fmt: skip
    print_table(rows)
