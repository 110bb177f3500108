"""Simulated sites: adjacent NEON tiles of one scene."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt

from hsi_dask.errors import ConfigError, counted
from hsi_dask.synthetic.neon_files import write_neon_tile
from hsi_dask.synthetic.neon_layouts import LAYOUTS
from hsi_dask.synthetic.scenes import Scene, simulate_scene
from hsi_dask.synthetic.spectra import MATERIALS


@dataclass(frozen=True, eq=False)
class Site:
    """A simulated site: `paths[i]` holds `scenes[i]`, a window of `scene`; these carry the truth."""

    folder: Path
    scene: Scene
    scenes: tuple[Scene, ...]
    paths: tuple[Path, ...]

    def __repr__(self) -> str:
        return f"Site of {counted(len(self.paths), 'tile')} in {self.folder}: {self.scene!r}"


def simulate_site(
    folder: str | os.PathLike[str],
    *,
    tiles: tuple[int, int] = (2, 2),
    size: int = 1000,
    revisions: Sequence[Literal["DP3.001", "DP3.002", "rewritten"]] = ("DP3.001",),
    chunks: Sequence[tuple[int, int, int]] = ((32, 63, 27), (0, 0, 1)),
    materials: Sequence[str] = MATERIALS,
    seed: int = 0,
    noise: float = 0.001,
    illumination: tuple[float, float] | None = (0.7, 1.1),
    no_data: float = 0.02,
    origin: tuple[int, int] = (368000, 4306000),
    wavelength: npt.ArrayLike | None = None,
    patch: float | None = None,
    variability: float = 0.0,
    site: str = "SERC",
    domain: str = "D02",
    zone: int = 18,
    workers: int | None = None,
) -> Site:
    """Simulate a site and write it as adjacent NEON tiles of one grid of wavelengths, chunked in turn in both ways.

    Parameters
    ----------
    folder : path
        Where the tiles go; made if missing.
    tiles : (rows, columns)
    size : int
        Pixels of 1 m along a tile's edge; `origin`, the site's south-west corner, is a multiple of it.
    revisions : sequence of str
        Layouts, taken in turn along rows and columns. Tiles of several products are mixed in a run only if it says so.
    chunks : sequence of (y, x, wavelength)
        Stored chunks, taken in turn likewise, 0 for a whole axis; none: each revision's own.
    materials, seed, noise, illumination, no_data, wavelength, patch, variability
        As in `simulate_scene`, of the site as a whole; the no-data corner is the site's north-west one.
    site, domain, zone, workers
        As in `write_neon_tile`.

    Returns
    -------
    Site
        One tile's pixels at most were in memory; the maps of `scene` are computed only when asked for.
    """
    if size < 1 or origin[0] % size or origin[1] % size:
        raise ConfigError(f"a tile's corners lie on multiples of its size; origin {origin} is none of {size}")
    if any(LAYOUTS[name].product != "DP3" for name in revisions if name in LAYOUTS) or not revisions:
        raise ConfigError(f"a site is made of mosaic tiles; revisions {tuple(revisions)} hold others or none")
    scene = simulate_scene(
        (tiles[0] * size, tiles[1] * size), materials=materials, seed=seed, noise=noise,
        illumination=illumination, no_data=no_data, origin=origin, wavelength=wavelength, patch=patch,
        variability=variability,
    )  # fmt: skip
    paths = []
    for number, tile in enumerate(scene.tiles(size)):
        turn = sum(divmod(number, tiles[1]))
        revision = revisions[turn % len(revisions)]
        names: dict[str, Any] = {"site": site, "domain": domain, "zone": zone}
        names["chunks"] = chunks[turn % len(chunks)] if chunks else None
        paths.append(write_neon_tile(folder, tile, revision=revision, workers=workers, **names))
    return Site(Path(folder), scene, tuple(scene.tiles(size)), tuple(paths))
