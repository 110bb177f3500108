"""Two years of a site, from the tree that a download leaves to what changed, against the known change; and planning.

The second year has other light, noise and wavelengths (1.7 nm longer), and vegetation on 5 % of the area is soil.
"""

from __future__ import annotations

import csv
import shutil
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks.measure import Claim, claim, process
from hsi_dask.io.libraries import write_table
from hsi_dask.synthetic import Scene, neon_wavelengths, simulate_scene, write_neon_tile
from hsi_dask.synthetic.fields import TABLE

MATERIALS = ("vegetation", "soil", "water", "roof")
TILES, SIZE = (5, 6), 100  # 30 tiles a year
CHANGED = 0.05  # of the area
LARGE = 200  # tiles of 1 km that are planned
_SETTINGS: dict[str, Any] = {"variability": 0.5, "no_data": 0.03, "seed": 4, "materials": MATERIALS}


@dataclass(frozen=True, eq=False)
class LaterScene(Scene):
    """The same ground later: where a field is above a limit, vegetation is soil; noise and light are others."""

    limit: float = 1.0

    @cached_property
    def cleared(self) -> np.ndarray:
        return self.field("relief", 4) > self.limit

    @cached_property
    def abundance(self) -> np.ndarray:
        found = np.array(Scene.abundance.func(self))  # type: ignore[attr-defined]  # a cached property
        found[1, self.cleared] += found[0, self.cleared]
        found[0, self.cleared] = 0
        return found

    def _pixels(self) -> Any:
        pixels = super()._pixels()
        return pixels._replace(start=(pixels.start + TABLE // 3) % TABLE)


def two_years() -> tuple[Scene, LaterScene]:
    """Both scenes; the limit is where 5 % of the area turns from vegetation to soil."""
    shape = TILES[0] * SIZE, TILES[1] * SIZE
    before = simulate_scene(shape, illumination=(0.9, 1.1), wavelength=neon_wavelengths(426), **_SETTINGS)
    after = simulate_scene(shape, illumination=(0.75, 0.95), wavelength=neon_wavelengths(426) + 1.7, **_SETTINGS)
    field, cover = before.field("relief", 4).ravel(), before.abundance[0].ravel()
    order = np.argsort(-field)
    lost = np.cumsum(cover[order]) / cover.size
    limit = float(field[order[np.searchsorted(lost, CHANGED)]])
    return before, LaterScene(**{one.name: getattr(after, one.name) for one in fields(Scene)}, limit=limit)


def write_tree(root: Path, scene: Scene, visit: str) -> None:
    """The folders that neonutilities makes, with what lies beside the tiles; years are told by visits."""
    product = root / f"DP3.30006.001/neon-aop-products/{visit[:4]}/FullSite/D02/{visit}"
    folder = product / "L3/Spectrometer/Reflectance"
    for tile in scene.tiles(SIZE):
        path = write_neon_tile(folder, tile, chunks=(0, 0, 1))
        path.with_suffix(".kml").write_text("<kml/>")
    (product / "Metadata").mkdir(parents=True)
    (product / "Metadata" / "report.pdf").write_text("")


def commands(folder: Path) -> list[list[str]]:
    """From the tree to what changed."""
    tree, first, second = (str(folder / name) for name in ("tree", "2019", "2022"))
    return [
        ["run", tree, "--year", "2019", "--out", first, "--library", str(folder / "library.csv"),
         "--material-column", "material", "--method", "cover", "--method", "sam"],
        ["run", tree, "--year", "2022", "--out", second, "--endmembers", first, "--method", "cover", "--method", "sam"],
        ["seams", second, "--out", str(folder / "seams.csv")],
        ["compare", first, second, "--out", str(folder / "change")],
    ]  # fmt: skip


def years(folder: Path, rounds: int) -> list[Claim]:
    """How well a known change comes back, and the seconds of each command."""
    folder = folder / "years"
    shutil.rmtree(folder, ignore_errors=True)
    before, after = two_years()
    for scene, visit in ((before, "2019_SERC_4"), (after, "2022_SERC_6")):
        write_tree(folder / "tree", scene, visit)
    library = before.library(8)
    write_table(folder / "library.csv", library)
    found = [claim(f"hsi-dask {words[0]}", [process(*words).wall], "s") for words in commands(folder)]
    return [*found, *_recovered(folder / "change", after.abundance - before.abundance)]


def _recovered(folder: Path, truth: np.ndarray) -> list[Claim]:
    """The change of cover against the known one, and where it was told as larger than its error."""
    change, std, significant = (
        _planes(folder / f"fraction_{name}.tif") for name in ("change", "change_std", "significant")
    )
    rows, held, found = {row["name"]: row for row in _areas(folder)}, [], list[Claim]()
    for number, name in enumerate(sorted(MATERIALS)):
        true, known = truth[MATERIALS.index(name)], np.isfinite(change[number])
        off = np.abs(change[number] - true)[known]
        held.append(float((off <= 1.96 * std[number][known]).mean()))
        if name not in ("vegetation", "soil"):
            continue
        net, told, error = float(true[known].sum()) * 1e-4, float(rows[name]["net_ha"]), float(rows[name]["net_std_ha"])
        found.append(claim(f"{name}: net change (true {net:.3f}, std at most {error:.3f})", [told], "ha"))
        found.append(claim(f"{name}: error of the net, of its std", [abs(told - net) / error], "", "<= 1.96"))
        code, most = (1, true <= -0.8) if name == "vegetation" else (2, true >= 0.8)
        found.append(
            claim(
                f"{name}: found, of pixels of which 80 % changed",
                [float((significant[number] == code)[most & known].mean())],
                "",
            )
        )
        still = known & (true == 0)
        found.append(
            claim(
                f"{name}: told as changed, of those that did not",
                [float((significant[number] > 0)[still].mean())],
                "",
                "<= 0.05",
            )
        )
    return [*found, claim("95 % intervals of the change of cover that hold the truth", held, "", ">= 0.93")]


def _planes(path: Path) -> np.ndarray:
    import rasterio

    with rasterio.open(path) as file:
        return np.asarray(file.read())


def _areas(folder: Path) -> list[dict[str, str]]:
    with open(folder / "areas.csv", encoding="utf-8", newline="") as stream:
        return [row for row in csv.DictReader(stream) if row["map"] == "fraction"]


def planning(folder: Path, rounds: int) -> list[Claim]:
    """Finding and planning 200 tiles of 1 km, of which no chunk is written, in the same tree."""
    folder = folder / "planning"
    tree = folder / "DP3.30006.002/neon-aop-products/2022/FullSite/D02/2022_SERC_6/L3/Spectrometer/Reflectance"
    if not folder.exists():
        model = write_neon_tile(folder / "model.h5", simulate_scene((20, 20), no_data=0), revision="DP3.002")
        tree.mkdir(parents=True)
        for number in range(LARGE):
            _write_large(model, tree, 368000 + 1000 * (number % 20), 4300000 + 1000 * (number // 20))
        model.unlink()
    words = ("run", str(folder), "--out", str(folder / "run"), "--dry-run")
    return [claim(f"finding and planning {LARGE} tiles", [process(*words).wall for _ in range(rounds)], "s", "<= 20")]


def _write_large(model: Path, folder: Path, east: int, north: int) -> None:
    path = Path(shutil.copy(model, folder / f"NEON_D02_SERC_DP3_{east}_{north}_bidirectional_reflectance.h5"))
    path.with_suffix(".kml").write_text("<kml/>")
    with h5py.File(path, "r+") as file:
        group = file["SERC/Reflectance"]
        for data in (group["Reflectance_Data"], *group["Metadata/Ancillary_Imagery"].values()):
            attrs, name, shape = dict(data.attrs), data.name, (1000, 1000, *data.shape[2:])
            dtype, chunks = data.dtype, (1000, 1000, 1) if data.name.endswith("Reflectance_Data") else True
            del file[name]
            file.create_dataset(name, shape, dtype, chunks=chunks, compression=3).attrs.update(attrs)
        system = group["Metadata/Coordinate_System"]
        fields_of = system["Map_Info"][()].decode().split(",")
        fields_of[3:5] = f"{east:.2f}", f"{north + 1000:.1f}"
        del system["Map_Info"]
        system["Map_Info"] = ",".join(fields_of)
