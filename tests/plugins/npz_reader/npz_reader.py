"""A reader of .npz cubes in a package of its own: an example, and what a test takes through the package."""

import zipfile

import numpy as np

from hsi_dask.errors import FileFormatError
from hsi_dask.io.chunked import InMemory
from hsi_dask.io.readers import Reader
from hsi_dask.io.tile_source import TileSource

NEEDED = ("cube", "wavelength", "corner")


def recognises(path: str) -> bool:
    return path.endswith(".npz") and zipfile.is_zipfile(path)


def read(path: str) -> TileSource:
    with np.load(path) as file:  # refuses pickles
        if lack := [name for name in NEEDED if name not in file]:
            raise FileFormatError(f"{path} has no array {lack[0]!r}; write {', '.join(NEEDED)}")
        west, north = file["corner"]
        return TileSource(
            path=path,
            reflectance=InMemory(file["cube"]),
            wavelength=file["wavelength"],
            crs="EPSG:32618",
            west=float(west),
            north=float(north),
            resolution=(1.0, 1.0),
        )


READER = Reader(name="npz", title="cubes in .npz files", suffixes=(".npz",), recognises=recognises, read=read)
