"""Seams against numpy over the mosaic's own pixels, and in sites of which one tile, or line, is known to differ."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

import hsi_dask as hsi
from hsi_dask.cli import main
from hsi_dask.overviews.overviews import QUICKLOOK_WAVELENGTHS, kept_overviews
from hsi_dask.overviews.seams import PLAIN, SEAMS, Seam, seams_of
from hsi_dask.overviews.steps import differences, ordinary
from hsi_dask.schema import QUICKLOOK, Variable
from hsi_dask.synthetic import neon_wavelengths, simulate_scene, write_neon_tile

GRID = neon_wavelengths(60, step=35.0)
ORIGIN = 368040, 4306080
BRIGHT = "368160_4306200"  # the tile in the middle


def brighten(path: Path, by: float = 1.1) -> None:
    with h5py.File(path, "r+") as file:
        data = file["SERC/Reflectance/Reflectance_Data"]
        numbers = data[...]
        data[...] = np.where(numbers == -9999, numbers, np.round(numbers * by)).astype("i2")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine tiles of 120 x 120 pixels and both chunk layouts, of which the one in the middle is 10 % brighter."""
    folder = tmp_path_factory.mktemp("seams")
    scene = simulate_scene((360, 360), wavelength=GRID, seed=3, no_data=0.04, patch=12, origin=ORIGIN)
    for number, tile in enumerate(scene.tiles(120)):
        path = write_neon_tile(folder / "tiles", tile, chunks=((16, 16, 27), (0, 0, 1))[number % 2])
        if BRIGHT in path.name:
            brighten(path)
    masks = {"shadow": True}
    hsi.run(hsi.RunConfig(tiles=[str(folder / "tiles")], endmembers={"count": 3}, masks=masks), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def seams(run_dir: Path) -> tuple[Seam, ...]:
    with kept_overviews(run_dir) as overviews:
        return seams_of(overviews)


def look_of(run_dir: Path) -> xr.DataArray:
    """Reflectance where the run has pixels, as the tiles have it."""
    cube = hsi.open_mosaic(run_dir.parent / "tiles")
    near = [int(np.abs(cube.wavelength.values - nm).argmin()) for nm in QUICKLOOK_WAVELENGTHS]
    return cube.isel(wavelength=near).load()


def test_every_pair_of_neighbours_is_there_once(seams: tuple[Seam, ...]) -> None:
    pairs = {(seam.first, seam.second) for seam in seams}
    assert len(pairs) == len(seams) == 12
    assert all(seam.where == "edge" for seam in seams)
    for first, second in pairs:
        (x0, y0), (x1, y1) = (map(int, name.split("_")) for name in (first, second))
        assert (x1 - x0, y1 - y0) in {(120, 0), (0, -120)}, "the western or northern tile is the first"


def test_steps_are_those_of_the_mosaics_neighbouring_pixels(run_dir: Path, seams: tuple[Seam, ...]) -> None:
    maps, look = hsi.open_results(run_dir).load(), look_of(run_dir)
    for seam in seams:
        (x0, y0), (x1, y1) = seam.points
        if x0 == x1:
            rows = {"y": look.y[(look.y < y0) & (look.y > y1)]}
            one, other = ({**rows, "x": x0 - 0.5}, {**rows, "x": x0 + 0.5})
        else:
            columns = {"x": look.x[(look.x > x0) & (look.x < x1)]}
            one, other = ({**columns, "y": y0 + 0.5}, {**columns, "y": y0 - 0.5})
        for step in seam.steps:
            source = look.transpose("wavelength", ...) if step.variable == "quicklook" else maps[step.variable]
            plane = source if step.plane < 0 else source[step.plane]
            a, b = (plane.sel(where).values.astype(np.float64) for where in (one, other))
            if step.variable.endswith("_class"):
                known = (a != 255) & (b != 255)
                expected = (a[known] != b[known]).mean()
            else:
                known = np.isfinite(a) & np.isfinite(b)
                known &= (a != 0) | (b != 0) | (step.variable != "abundance")
                expected = np.median(b[known] - a[known])
            assert step.pairs == known.sum()
            assert step.step == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_the_edges_of_a_brighter_tile_are_plain_and_others_are_not(seams: tuple[Seam, ...]) -> None:
    for seam in seams:
        times = [step.times or 0.0 for step in seam.steps if step.variable == "quicklook"]
        relative = np.median([step.relative for step in seam.steps if step.variable == "quicklook"])
        if BRIGHT in (seam.first, seam.second):
            assert max(times) > PLAIN
            assert relative == pytest.approx(0.1 if seam.second == BRIGHT else -0.1, abs=0.03)
        else:
            assert max(times) < PLAIN
            assert abs(relative) < 0.03


def test_what_is_ordinary_is_that_of_lines_inside() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0.3, 0.01, (200, 300)).astype(np.float32)
    values[:5] = np.nan
    found = ordinary(values, 1, QUICKLOOK)
    assert found is not None
    steps = np.nanmedian(np.diff(values, axis=1), axis=0)
    assert found.step == pytest.approx(0, abs=float(4 * steps.std() / 32**0.5))
    assert found.spread == pytest.approx(steps.std(), rel=0.5)
    assert found.texture == pytest.approx(np.nanmedian(np.abs(np.diff(values, axis=1))), rel=0.05)
    assert ordinary(values[:8], 0, QUICKLOOK) is None, "too few lines have data"


def test_fractions_of_a_material_that_is_nowhere_near_do_not_count() -> None:
    fraction = Variable("toy", ("endmember", "y", "x"), "float32", "toy", role="fraction")
    first, second = np.array([0, 0, 0.2, np.nan], np.float32), np.array([0, 0.1, 0.3, 0.5], np.float32)
    np.testing.assert_allclose(differences(first, second, fraction), [0.1, 0.1])
    classes = Variable("toy_class", ("y", "x"), "uint8", "toy", role="class")
    found = differences(np.array([1, 0, 255, 2], np.uint8), np.array([1, 3, 1, 255], np.uint8), classes)
    np.testing.assert_array_equal(found, [0, 1])


def test_they_are_kept_and_made_anew_for_other_tiles_or_damage(run_dir: Path, tmp_path: Path, seams: Any) -> None:
    copy = Path(shutil.copytree(run_dir, tmp_path / "run"))
    kept = copy / SEAMS
    before = kept.stat().st_mtime_ns
    with kept_overviews(copy) as overviews:
        assert seams_of(overviews) == seams
    assert kept.stat().st_mtime_ns == before
    values = json.loads(kept.read_text())
    values["seams"][0]["steps"][0][3] = "much"
    kept.write_text(json.dumps(values))
    with kept_overviews(copy) as overviews:
        assert seams_of(overviews) == seams
    (copy / "records" / f"{BRIGHT}.json").unlink()
    with kept_overviews(copy) as overviews:
        found = seams_of(overviews)
    assert len(found) == 8
    assert not any(BRIGHT in (seam.first, seam.second) for seam in found)


def test_tiles_that_do_not_meet_have_no_seam(tmp_path: Path) -> None:
    """A tile that is cropped at the seam, and one whose file is gone: its maps are compared, its reflectance cannot."""
    scene = simulate_scene((40, 120), wavelength=GRID, seed=1, no_data=0)
    left, middle, right = scene.tiles(40)
    cropped = left.window(slice(None), slice(0, 35))
    paths = [write_neon_tile(tmp_path / f"{n}.h5", one) for n, one in enumerate((cropped, middle, right))]
    hsi.run(hsi.RunConfig(tiles=list(map(str, paths)), endmembers={"count": 3, "sample": 500}), tmp_path / "run")
    paths[2].unlink()
    with kept_overviews(tmp_path / "run") as overviews:
        (seam,) = seams_of(overviews)
    assert (seam.first, seam.second) == ("368040_4306000", "368080_4306000")
    assert {step.variable for step in seam.steps} >= {"abundance", "sam_class"}
    assert "quicklook" not in {step.variable for step in seam.steps}


def test_verb_report_and_python_tell_the_same(run_dir: Path, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit) as end:
        main(["seams", str(run_dir), "--out", str(tmp_path / "seams.csv")])
    assert end.value.code == 0
    told = capsys.readouterr()
    assert "12 seams" in told.out
    assert re.fullmatch(
        r"12 seams, 4 plain in reflectance; the largest: .*, \S+ spreads from what is usual inside\n", told.err
    )
    with open(tmp_path / "seams.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    table = hsi.seams(run_dir)
    assert len(table) == len(rows)
    assert [float(row["step"]) for row in rows] == pytest.approx(table["step"].tolist())
    assert {row["of"] for row in rows if row["map"] == "reflectance"} == {"490 nm", "560 nm", "665 nm", "842 nm"}
    page = hsi.report(run_dir).read_text(encoding="utf-8")
    section = re.search(r'<section id="seams">(.*?)</section>', page, re.DOTALL)
    assert section is not None
    assert len(re.findall("<img", section[1])) == 3
    assert "4 of 12 plain" in section[1]
    shown = [row for row in re.findall(r"<tr>(.*?)</tr>", section[1], re.DOTALL) if " why" in row]
    assert len(shown) == 4
    assert all(BRIGHT in row for row in shown)


# ------------------------------------------------------------------------------------------------ overlapping lines


@pytest.fixture(scope="module", params=[(0, 0, 1), (16, 9, 27)], ids=["planes", "small chunks"])
def lines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene as three lines of 90 x 60 pixels that overlap by 20 columns; the second is 10 % brighter."""
    folder = tmp_path_factory.mktemp("lines")
    scene = simulate_scene((90, 140), wavelength=GRID, seed=5, no_data=0, patch=8)
    for number in range(3):
        part = scene.window(slice(None), slice(40 * number, 40 * number + 60))
        path = write_neon_tile(folder / "lines" / f"line{number}.h5", part, chunks=request.param)
        if number == 1:
            brighten(path)
    settings: dict[str, Any] = {"endmembers": {"count": 3, "sample": 2000}, "overlap": "first"}
    hsi.run(hsi.RunConfig(tiles=[str(folder / "lines")], **settings), folder / "run")
    return folder


def test_overlapping_lines_are_compared_where_they_meet_and_where_both_have_data(lines: Path) -> None:
    with kept_overviews(lines / "run") as overviews:
        found = seams_of(overviews)
    met = {(seam.first, seam.second) for seam in found if seam.where != "overlap"}
    assert met == {("line0", "line1"), ("line1", "line2")}
    pairs = {n: sum(seam.steps[0].pairs for seam in found if seam.where != "overlap" and seam.first == f"line{n}")
             for n in (0, 1)}  # fmt: skip
    assert pairs == {0: 90, 1: 90}, "every row once"
    for seam in found:
        sign = 1 if seam.second == "line1" else -1
        look = [step for step in seam.steps if step.variable == "quicklook"]
        assert np.median([step.relative for step in look]) == pytest.approx(0.097 * sign, abs=0.03)
        if seam.where == "overlap":
            assert [step.variable for step in seam.steps] == ["quicklook"] * 4
            assert all(step.times is None for step in seam.steps)
    both = {(seam.first, seam.second): 0 for seam in found if seam.where == "overlap"}
    for seam in found:
        if seam.where == "overlap":
            both[seam.first, seam.second] += seam.steps[0].pairs
    assert both == {("line0", "line1"): 20 * 90, ("line1", "line2"): 20 * 90}
    page = hsi.report(lines / "run").read_text(encoding="utf-8")
    assert "from flight line to flight line" in page


def test_lines_that_are_gone_leave_the_other_seams(lines: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(lines / "run", tmp_path / "run"))
    (copy / SEAMS).unlink(missing_ok=True)
    moved = lines / "elsewhere"
    (lines / "lines").rename(moved)
    try:
        with kept_overviews(copy) as overviews:
            assert seams_of(overviews) == ()
    finally:
        moved.rename(lines / "lines")


def test_envi_lines_have_seams_too(tmp_path: Path, write_envi: Any) -> None:
    scene = simulate_scene((60, 100), wavelength=GRID, seed=5, no_data=0, patch=8)
    numbers = scene.reflectance()
    (tmp_path / "lines").mkdir()
    for number, (left, by) in enumerate([(0, 1.0), (40, 1.1)]):
        values = np.round(numbers[:, left : left + 60] * by).astype("i2")
        write_envi(tmp_path / "lines" / f"line{number}.img", values, GRID, corner=(368000 + left, 4306000))
    settings: dict[str, Any] = {"endmembers": {"count": 3, "sample": 2000}, "overlap": "best"}
    hsi.run(hsi.RunConfig(tiles=[str(tmp_path / "lines")], **settings), tmp_path / "run")
    table = hsi.seams(tmp_path / "run")
    look = table[table["map"] == "reflectance"]
    assert set(look["first"]) == {"line0"}
    assert set(look["where"]) > {"overlap"}
    overlap = look[look["where"] == "overlap"]
    assert overlap["pairs"].sum() == 4 * 20 * 60
    assert overlap["relative"].to_numpy() == pytest.approx(np.full(len(overlap), 0.1 / 1.05), abs=0.01)
