"""A simulated site in two years: vegetation of 5 % of it cleared to soil, other light, noise and wavelengths."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import hsi_dask as hsi
from hsi_dask.synthetic import Scene, material_spectra, neon_wavelengths, simulate_scene, write_neon_tile
from hsi_dask.synthetic.fields import TABLE

MATERIALS = ("vegetation", "soil", "water", "roof")
SIZE, ORIGIN = 80, (368000, 4306000)
WAVELENGTH = neon_wavelengths(107, step=20.0)
STD = {"fcls": {"std": True, "shade": True, "normalize": "shade"}}


@dataclass(frozen=True, eq=False)
class LaterScene(Scene):
    """The same ground later: in the north-west vegetation is soil; the light is another, and so is the noise."""

    @cached_property
    def cleared(self) -> np.ndarray:
        """(y, x) bool"""
        rows, columns = np.arange(*self.rows) - self.site_rows[0], np.arange(*self.cols) - self.site_cols[0]
        tall, wide = (stop - start for start, stop in (self.site_rows, self.site_cols))
        return (rows[:, None] < tall // 2) & (columns < wide // 2)

    @cached_property
    def abundance(self) -> np.ndarray:
        found = Scene.abundance.func(self)
        where = self.cleared
        found[1, where] += found[0, where]
        found[0, where] = 0
        return found

    @cached_property
    def illumination(self) -> np.ndarray:
        low, high = self.illumination_range
        return (low + (high - low) * self.field("light", 6)).astype(np.float32)

    def _pixels(self) -> Any:
        pixels = super()._pixels()
        return pixels._replace(start=(pixels.start + TABLE // 3) % TABLE)


def later(scene: Scene, wavelength: np.ndarray) -> LaterScene:
    """The scene in another year, at other wavelengths, 0.8 to 1 as bright."""
    simulated = simulate_scene(
        scene.shape, materials=scene.names, seed=scene.seed, origin=scene.origin, illumination=(0.8, 1.0),
        no_data=scene.no_data_share, wavelength=wavelength, patch=scene.patch,
    )  # fmt: skip
    return LaterScene(**{one.name: getattr(simulated, one.name) for one in fields(Scene)})


def write_site(folder: Path, scene: Scene, size: int = SIZE, **names: Any) -> Path:
    for tile in scene.tiles(size):
        write_neon_tile(folder, tile, chunks=(0, 0, 1), **names)
    return folder


class Years(NamedTuple):
    """Run directories of both years, and their scenes."""

    first: Path
    second: Path
    before: Scene
    after: LaterScene


@pytest.fixture(scope="session")
def years(tmp_path_factory: pytest.TempPathFactory) -> Years:
    """Two by two tiles of 80 pixels; the second year by the endmembers of the first, at wavelengths 1.7 nm longer."""
    folder = tmp_path_factory.mktemp("years")
    before = simulate_scene(
        (2 * SIZE, 2 * SIZE), materials=MATERIALS, seed=4, origin=ORIGIN, illumination=(0.9, 1.1), no_data=0.05,
        wavelength=WAVELENGTH,
    )  # fmt: skip
    after = later(before, WAVELENGTH + 1.7)
    tiles = [write_site(folder / year, scene) for year, scene in (("2019", before), ("2022", after))]
    settings = {"options": STD, "thresholds": {"sam": 0.3}}
    found = hsi.RunConfig(tiles=[str(tiles[0])], endmembers={"count": 4, "sample": 3000, "restarts": 3}, **settings)
    hsi.run(found, folder / "a")
    given = hsi.RunConfig(tiles=[str(tiles[1])], endmembers={"file": str(folder / "a")}, **settings)
    hsi.run(given, folder / "b")
    return Years(folder / "a", folder / "b", before, after)


def write_library(path: Path) -> Path:
    """Three spectra of each material, some hundredths apart, at every nanometre."""
    nm, random = np.arange(350.0, 2600.0), np.random.default_rng(0)
    rows = ["name,class," + ",".join(f"{w:.0f}" for w in nm)]
    for material, spectrum in zip(MATERIALS, material_spectra(MATERIALS, nm), strict=True):
        for number in range(3):
            bright, slope = 0.03 * random.standard_normal(2)
            values = spectrum * (1 + bright) * (1 + slope * (nm - 1500) / 1000)
            rows.append(f"{material}_{number},{material}," + ",".join(f"{v:.5f}" for v in values))
    path.write_text("\n".join(rows))
    return path


@pytest.fixture(scope="session")
def covered(years: Years, tmp_path_factory: pytest.TempPathFactory) -> Years:
    """Both years once more: fractional cover by a library, whose standard deviations are calibrated."""
    folder, windows = tmp_path_factory.mktemp("covered"), [(350, 400), (1340, 1445), (1790, 1955)]
    library = write_library(folder / "library.csv")
    for name, first in (("a", years.first.parent / "2019"), ("b", years.first.parent / "2022")):
        settings = {"methods": ["cover"], "endmembers": {"file": str(library)}, "bands": {"windows": windows}}
        hsi.run(hsi.RunConfig(tiles=[str(first)], **settings), folder / name)
    return years._replace(first=folder / "a", second=folder / "b")
