"""Floats that no reflectance is, such as infinity and 1e30, against the same cube with NaN in that pixel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

import hsi_dask as hsi
from hsi_dask.synthetic import simulate_scene

WAVELENGTH = np.linspace(400, 2400, 30)
ENDMEMBERS = xr.DataArray(
    np.random.default_rng(1).uniform(0.1, 0.5, (3, 30)), {"wavelength": WAVELENGTH}, ("endmember", "wavelength")
)
OPERATIONS: dict[str, Callable[[xr.DataArray], Any]] = {
    "statistics": lambda cube: hsi.scene_statistics(cube),
    "mnf": lambda cube: hsi.mnf(cube, 3),
    "pca": lambda cube: hsi.pca(cube, 3),
    "denoise": lambda cube: hsi.denoise(cube, 3),
    "endmembers": lambda cube: hsi.find_endmembers(cube, 3, seed=0),
    "count": lambda cube: hsi.estimate_count(cube),
    "smooth": lambda cube: hsi.smooth(cube),
    "maps": lambda cube: hsi.map_materials(cube, ENDMEMBERS, methods=("fcls", "sam", "sid")),
}


@pytest.fixture(scope="module")
def cube() -> xr.DataArray:
    values = simulate_scene((24, 24), wavelength=WAVELENGTH).reflectance().astype("f4") / np.float32(1e4)
    coords = {"y": np.arange(24.0)[::-1], "x": np.arange(24.0), "wavelength": WAVELENGTH}
    return xr.DataArray(values, coords, ("y", "x", "wavelength"))


@pytest.mark.parametrize("chunks", [None, {"y": 7, "x": 24, "wavelength": 11}])
@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e30, -1.23e34, 3.4e38])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_number_that_no_reflectance_is_spoils_neither_its_pixel_nor_the_scene(
    cube: xr.DataArray, operation: str, value: float, chunks: Any
) -> None:
    damaged, expected = cube.copy(deep=True), cube.copy(deep=True)
    damaged[3, 4, 7], expected[3, 4] = value, np.nan
    if chunks is not None:
        damaged, expected = damaged.chunk(chunks), expected.chunk(chunks)
    found, wanted = (OPERATIONS[operation](one).compute() for one in (damaged, expected))
    xr.testing.assert_equal(found, wanted)


def test_noise_and_digital_numbers_in_floats_are_data(cube: xr.DataArray) -> None:
    for factor in (100.0, 10000.0):
        assert int(hsi.scene_statistics(cube * np.float32(factor)).pixels) == 24 * 24
        maps = hsi.map_materials(cube * np.float32(factor), ENDMEMBERS, methods=("sam",))
        assert int(maps.sam_angle.count()) == 3 * 24 * 24
