"""Simulated tiles of real size, made once a folder."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import prod
from pathlib import Path

import h5py
import imagecodecs
import numpy as np

from hsi_dask import synthetic
from hsi_dask.io.hdf5 import StoredArray
from hsi_dask.io.neon.cube import read_metadata

LAYOUTS: dict[str, tuple[synthetic.Revision, tuple[int, int, int]]] = {
    "(32,63,27)": ("DP3.001", (32, 63, 27)),
    "(1000,1000,1)": ("DP3.002", (1000, 1000, 1)),
}


def tile(folder: Path, layout: str, number: int = 0) -> Path:
    """One tile of 1000 x 1000 x 426 in this layout; `number` places it along a row of tiles."""
    revision, chunks = LAYOUTS[layout]
    home = folder / layout.strip("()").replace(",", "-")
    home.mkdir(parents=True, exist_ok=True)
    scene = list(synthetic.simulate_scene((1000, 8000), seed=1, no_data=0.02).tiles(1000))[number]
    made = sorted(home.glob(f"*_{scene.origin[0]}_{scene.origin[1]}_*.h5"))
    return made[0] if made else synthetic.write_neon_tile(home, scene, revision=revision, chunks=chunks)


def line(folder: Path, shape: tuple[int, int], chunks: tuple[int, int, int]) -> Path:
    """A flight line of this many lines and samples, 426 bands."""
    path = folder / f"NEON_D02_SERC_DP1_20160807_{shape[0]:06d}_reflectance.h5"
    if not path.exists():
        scene = synthetic.simulate_scene(shape, seed=2, no_data=0.2, no_data_shape="border")
        synthetic.write_neon_tile(path, scene, revision="DP1.001-2016", chunks=chunks)
    return path


def site(folder: Path, side: int) -> Path:
    """A folder of side x side tiles of 1000 x 1000 pixels, with few wavelengths: maps as large as those of any site."""
    home = folder / f"site-{side}"
    if not home.exists():
        part = home.with_suffix(".part")
        wavelength = synthetic.neon_wavelengths(22, step=95.0)
        synthetic.simulate_site(part, tiles=(side, side), size=1000, wavelength=wavelength)
        part.rename(home)
    return home


def stored(path: Path) -> StoredArray:
    cube = read_metadata(path).reflectance
    if not isinstance(cube, StoredArray):
        raise TypeError(f"{path} is not stored as HDF5")
    return cube


def inflate_everything(path: Path, threads: int) -> Callable[[], None]:
    """The floor: read and inflate every chunk of the file's cube with libdeflate in threads, and keep nothing."""
    cube = stored(path)
    size = prod(cube.stored_chunks) * cube.dtype.itemsize
    places: list[tuple[int, int]] = []
    with h5py.File(path) as file:
        file[cube.name].id.chunk_iter(lambda chunk: places.append((chunk.size, chunk.byte_offset)))

    rooms = threading.local()  # memory that each thread inflates to, again and again

    def inflate(descriptor: int, at: tuple[int, int]) -> int:
        if not hasattr(rooms, "out"):
            rooms.out = np.empty(size, np.uint8)
        return len(imagecodecs.deflate_decode(os.pread(descriptor, *at), out=rooms.out))

    def work() -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            with ThreadPoolExecutor(threads) as pool:
                if any(length != size for length in pool.map(partial(inflate, descriptor), places)):
                    raise RuntimeError(f"{path}: a chunk is damaged")
        finally:
            os.close(descriptor)

    return work


def read_with_h5py(path: Path) -> Callable[[], None]:
    cube = stored(path)

    def work() -> None:
        with h5py.File(path) as file:
            file[cube.name][...]

    return work
