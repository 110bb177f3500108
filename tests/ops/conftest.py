"""A small simulated tile, its cube and its true endmembers, for every test of the operations."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr

from hsi_dask import synthetic
from hsi_dask.io.neon.metadata import read_metadata
from hsi_dask.ops.bands import select_bands

CHUNKINGS: list[Any] = [(60, 70, -1), (13, 70, -1), (60, 70, 50), (17, 23, 61), (60, 70, 1)]


@pytest.fixture(scope="session")
def scene() -> synthetic.Scene:
    return synthetic.simulate_scene((60, 70), seed=3, no_data=0.1)


@pytest.fixture(scope="session", params=["DP3.001", "DP3.002"])
def tile(request: pytest.FixtureRequest, scene: synthetic.Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    chunks = {"DP3.001": (16, 9, 27), "DP3.002": (60, 70, 1)}[request.param]
    return synthetic.write_neon_tile(tmp_path_factory.mktemp("tile"), scene, revision=request.param, chunks=chunks)


@pytest.fixture
def raw(tile: Path) -> xr.DataArray:
    """Stored integers, on dask, good wavelengths only."""
    return select_bands(read_metadata(tile).cube())


@pytest.fixture
def cube(tile: Path) -> xr.DataArray:
    """Reflectance with NaN, in memory, good wavelengths only."""
    return select_bands(read_metadata(tile).cube(masked=True)).compute(scheduler="sync")


@pytest.fixture
def endmembers(scene: synthetic.Scene, cube: xr.DataArray) -> xr.DataArray:
    """The materials the scene is made of, on the cube's wavelengths."""
    kept = np.isin(scene.wavelength, cube.wavelength)
    spectra = scene.endmembers[:, kept].astype("float32")
    return xr.DataArray(spectra, {"wavelength": cube.wavelength.values}, ("endmember", "wavelength"))


@pytest.fixture
def refuse_to_compute() -> Iterator[None]:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("something computed while the graph was built")

    with dask.config.set(scheduler=refuse):
        yield
