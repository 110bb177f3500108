"""Runs over tiles and flight lines that overlap, against the maps of `open_mosaic` with the same rule."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import hsi_dask as hsi
from hsi_dask.batch.execution.run import run
from hsi_dask.batch.state.run_directory import Run
from hsi_dask.batch.state.verify import verify
from hsi_dask.batch.tiles.planning import make_plan
from hsi_dask.config import RunConfig
from hsi_dask.errors import FileFormatError, GridError, RunError
from hsi_dask.io.cells import Cell, Layers, Part, cell_source
from hsi_dask.io.chunked import InMemory
from hsi_dask.io.endmember_store import open_endmembers
from hsi_dask.io.readers import identity, read_source
from hsi_dask.schema import FLAGS
from hsi_dask.synthetic import neon_wavelengths, simulate_scene, write_neon_tile

WAVELENGTH = neon_wavelengths(60, step=30.0)
SETTINGS: dict[str, Any] = {"endmembers": {"count": 3, "sample": 600, "restarts": 2}, "bands": {"drop_last": 5}}
Store = Callable[[Path], dict[str, bytes]]


@pytest.fixture(scope="module", params=[(0, 0, 1), (16, 9, 27)], ids=["planes", "small chunks"])
def lines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three lines of 85 x 40 pixels that overlap by 10 columns and carry other numbers there; with no-data corners."""
    folder = tmp_path_factory.mktemp("lines")
    for number, (east, north) in enumerate([(0, 15), (30, 0), (60, 10)]):
        scene = simulate_scene(
            (85, 40), wavelength=WAVELENGTH, seed=6 + number, no_data=0.2 if number else 0.05,
            origin=(368000 + east, 4306000 + north),
        )  # fmt: skip
        write_neon_tile(folder / f"line{number}.h5", scene, chunks=request.param)
    return folder


def config(folder: Path, rule: str, **more: Any) -> RunConfig:
    return RunConfig(tiles=[str(folder)], overlap=rule, **SETTINGS | more)


@pytest.mark.parametrize("rule", ["first", "last"])
def test_a_run_of_overlapping_lines_equals_the_maps_of_their_mosaic(lines: Path, tmp_path: Path, rule: Any) -> None:
    summary = run(config(lines, rule), tmp_path / "run")
    assert not summary.failed
    assert len(summary.done) > 1
    results = hsi.open_results(tmp_path / "run").load()
    mosaic = hsi.open_mosaic(sorted(lines.glob("*.h5")), overlap=rule)
    cube = hsi.select_bands(mosaic.sel(y=results.y, x=results.x), drop_last=5).load()
    expected = hsi.map_materials(cube, open_endmembers(tmp_path / "run"))
    np.testing.assert_array_equal(results.quality == 1, cube.isnull().any("wavelength"))
    for name in ("abundance", "sam_angle", "residual"):
        np.testing.assert_allclose(results[name], expected[name], rtol=2e-5, atol=2e-6, err_msg=name)
    assert (results.sam_class != expected.sam_class).mean() < 1e-3


def layers_of(path: Path, **layers: Any) -> None:
    """Replace layers of a NEON file; None removes one."""
    import h5py

    with h5py.File(path, "r+") as file:
        metadata = file["SERC/Reflectance/Metadata"]
        for name, values in layers.items():
            where = metadata if name.startswith("to-") else metadata["Ancillary_Imagery"]
            if name in where:
                attrs = dict(where[name].attrs)
                del where[name]
            if values is not None:
                where.create_dataset(name, data=values).attrs.update(attrs)


GREEN, YELLOW = (0, 255, 0), (255, 255, 0)  # below 10 % cloud, and to 50 %


@pytest.fixture
def two_lines(tmp_path: Path) -> tuple[Path, Path]:
    """Two lines of 20 x 30 pixels that overlap by 20 columns; the first is cloudy in its south, the second off nadir
    in its east, and 241 or -9999 say that nothing is known."""
    paths = []
    for number in range(2):
        scene = simulate_scene(
            (20, 30), wavelength=WAVELENGTH, seed=number, no_data=0, origin=(368000 + 10 * number, 0)
        )
        paths.append(
            write_neon_tile(tmp_path / "lines" / f"line{number}.h5", scene, chunks=((0, 0, 1), (8, 7, 9))[number])
        )
    cloud, angle = np.empty((20, 30, 3), "u1"), np.full((20, 30), 5, "f4")
    cloud[:] = GREEN
    cloud[12:] = YELLOW
    cloud[:, 28:] = 241
    layers_of(paths[0], Weather_Quality_Indicator=cloud, **{"to-sensor_zenith_angle": angle})
    cloud[:], angle[:, 10:] = GREEN, 9
    angle[:, 4] = -9999
    layers_of(paths[1], Weather_Quality_Indicator=cloud, **{"to-sensor_zenith_angle": angle})
    return paths[0], paths[1]


def test_the_best_is_the_least_cloudy_then_the_nearest_to_nadir(two_lines: tuple[Path, Path], tmp_path: Path) -> None:
    owner = np.zeros((20, 40), int)
    owner[:, 30:] = 1  # the second alone
    owner[12:, 10:30] = 1  # less cloud
    owner[:, 28:30] = 1  # of the first nothing is known
    # elsewhere both are clear: 5 degrees each, where the first by path holds, or 5 against 9 and against nothing known
    settings = {**SETTINGS, "endmembers": {"count": 3, "sample": 400, "restarts": 2}}
    plan = make_plan(two_lines, RunConfig(overlap="best", **settings), run_dir=tmp_path / "run")
    assert plan.notes[0].endswith("the least cloudy, then the one nearest to nadir, then the first holds")
    run(RunConfig(tiles=list(map(str, two_lines)), overlap="best", **settings), tmp_path / "run")
    results = hsi.open_results(tmp_path / "run").load()
    cubes = [hsi.open_cube(path) for path in two_lines]
    first, second = (c.reindex(y=results.y, x=results.x) for c in cubes)
    cube = hsi.select_bands(first.where(xr.DataArray(owner == 0, dims=("y", "x")), second), drop_last=5).load()
    expected = hsi.map_materials(cube, open_endmembers(tmp_path / "run"))
    np.testing.assert_allclose(results.abundance, expected.abundance, rtol=2e-5, atol=2e-6)
    other = hsi.map_materials(hsi.select_bands(second, drop_last=5).load(), open_endmembers(tmp_path / "run"))
    assert (np.abs(results.abundance - other.abundance).max("endmember")[:12, 10:28] > 1e-4).mean() > 0.9
    assert Run.open(tmp_path / "run").config.overlap == "best"


def test_the_rule_that_remains_without_layers_is_told(two_lines: tuple[Path, Path], tmp_path: Path) -> None:
    config = RunConfig(overlap="best", **SETTINGS)
    layers_of(two_lines[1], Weather_Quality_Indicator=None)
    (note, *_) = make_plan(two_lines, config).notes
    assert note.endswith("the one nearest to nadir, then the first holds (not all files have a layer of cloud)")
    layers_of(two_lines[0], **{"to-sensor_zenith_angle": None})
    plan = make_plan(two_lines, config)
    assert plan.notes[0].endswith("the first holds (not all files have a layer of cloud or view zenith)")
    assert plan.tiles[0].cell == replace(make_plan(two_lines, config.replace(overlap="first")).tiles[0].cell)


def test_masks_of_cells_are_those_of_the_line_that_holds(two_lines: tuple[Path, Path], tmp_path: Path) -> None:
    settings = {**SETTINGS, "masks": {"cloud": 10}, "endmembers": {"count": 3, "sample": 300, "restarts": 2}}
    tiles = list(map(str, two_lines))
    for rule, cloudy in (("first", slice(0, 28)), ("best", slice(0, 10))):
        run(RunConfig(tiles=tiles, overlap=rule, **settings), tmp_path / rule)
        quality = hsi.open_results(tmp_path / rule).quality.load()
        expected = np.zeros((20, 40), int)
        expected[12:, cloudy] = FLAGS["cloud"]
        np.testing.assert_array_equal(quality, expected, err_msg=rule)
        assert open_endmembers(tmp_path / rule).sizes["endmember"] == 3


def test_the_rule_decides(lines: Path, tmp_path: Path) -> None:
    run(config(lines, "first"), tmp_path / "first")
    endmembers = {"file": str(tmp_path / "first"), "count": 3}
    run(config(lines, "last", endmembers=endmembers), tmp_path / "last")
    first, last = (hsi.open_results(tmp_path / name).residual.load() for name in ("first", "last"))
    differs = (first != last) & first.notnull()
    columns = np.flatnonzero(differs.any("y"))
    assert columns.size > 0
    assert set(columns) <= set(range(30, 40)) | set(range(60, 70)), "where two lines overlap"


def test_without_a_rule_overlapping_lines_are_refused_with_the_way_out(lines: Path) -> None:
    with pytest.raises(GridError, match=r"(overlap or share one cell|lies across) .*--overlap first, last or best"):
        make_plan(sorted(lines.glob("*.h5")), RunConfig(**SETTINGS))


def test_tiles_that_do_not_overlap_stay_tiles(site: Any) -> None:
    plan = make_plan(site.paths, RunConfig(overlap="first"))
    assert plan == replace(make_plan(site.paths, RunConfig()), config=plan.config)


def test_lines_whose_grids_do_not_align_are_refused(lines: Path, tmp_path: Path) -> None:
    import h5py

    for path in sorted(lines.glob("*.h5"))[:2]:
        shutil.copy2(path, tmp_path)
    with h5py.File(sorted(tmp_path.glob("*.h5"))[1], "r+") as file:
        (site,) = file
        place = file[f"{site}/Reflectance/Metadata/Coordinate_System"]
        fields = place["Map_Info"][()].decode().split(",")
        fields[3] = f" {float(fields[3]) + 0.4}"
        del place["Map_Info"]
        place["Map_Info"] = ",".join(fields)
    with pytest.raises(GridError, match="off the pixel grid"):
        make_plan(sorted(tmp_path.glob("*.h5")), RunConfig(overlap="first", **SETTINGS))


def test_a_run_of_cells_goes_on_and_says_what_changed(lines: Path, tmp_path: Path, store_of: Store) -> None:
    folder = tmp_path / "lines"
    shutil.copytree(lines, folder)
    run(config(folder, "first"), tmp_path / "whole")
    run(config(folder, "first"), tmp_path / "run")
    records = sorted((tmp_path / "run" / "records").iterdir())
    records[0].unlink()
    summary = run(Run.open(tmp_path / "run").config.replace(tiles=()), tmp_path / "run")
    assert (len(summary.done), len(summary.skipped)) == (1, len(records) - 1)
    assert store_of(tmp_path / "run") == store_of(tmp_path / "whole")
    assert verify(tmp_path / "run") == []
    with pytest.raises(RunError, match='overlap: "last", not "first"'):
        run(config(folder, "last"), tmp_path / "run")
    changed = sorted(folder.glob("*.h5"))[1]
    changed.write_bytes(changed.read_bytes())
    state = Run.open(tmp_path / "run")
    assert 0 < len(state.done()) < len(records), "cells without that line are still done"
    with pytest.raises(RunError, match="has another time of change"):
        run(config(folder, "first"), tmp_path / "run")


def test_a_moved_run_of_cells_goes_on(lines: Path, tmp_path: Path) -> None:
    run(config(lines, "first"), tmp_path / "before")
    moved = (tmp_path / "before").rename(tmp_path / "moved")
    records = sorted((moved / "records").iterdir())
    assert len(Run.open(moved).done()) == len(records), "they are trusted"
    assert verify(moved) == []
    records[0].unlink()
    summary = run(Run.open(moved).config.replace(tiles=()), moved)
    assert (len(summary.done), len(summary.skipped)) == (1, len(records) - 1)
    records[1].unlink()
    assert len(run(config(lines, "first"), moved).done) == 1, "with the tiles named, too"
    assert hsi.report(moved).is_file()


def test_a_run_of_cells_is_looked_at_like_any_other(lines: Path, tmp_path: Path) -> None:
    run(config(lines, "first", area={"bounds": (368010, 4306030, 368070, 4306080)}), tmp_path / "run")
    results = hsi.open_results(tmp_path / "run").load()
    inside = (results.x > 368010) & (results.x < 368070) & (results.y > 4306030) & (results.y < 4306080)
    assert inside.sum() == 60 * 50
    assert results.quality.where(inside, 0).isin([0, 1]).all()
    assert results.quality.where(~inside, 256).isin([256, 1]).all(), "no data where no line is"
    assert hsi.report(tmp_path / "run").is_file()
    from hsi_dask.overviews.overviews import open_overviews

    look = open_overviews(tmp_path / "run").at(1000).quicklook.load()
    assert (look.notnull().all("wavelength") == (results.quality == 0)).all()
    plan = make_plan(sorted(lines.glob("*.h5")), config(lines, "first"))
    assert "3 overlapping tiles are cut into" in plan.notes[0]
    assert plan.bytes_to_read > 0


def test_layers_take_the_first_that_has_data_whatever_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    shape = (20, 30, 5)
    expected, parts = np.full(shape, -9999, np.int16), []
    for top, left, rows, columns in ((-3, 4, 12, 20), (5, -2, 10, 40), (0, 0, 20, 8), (18, 28, 9, 9)):
        values = rng.integers(0, 100, (rows, columns, 5), dtype=np.int16)
        values[rng.random((rows, columns)) < 0.3] = -9999
        parts.append((InMemory(values), top, left))
        for y, x in np.ndindex(rows, columns):
            if 0 <= (at := (y + top, x + left))[0] < 20 and 0 <= at[1] < 30 and expected[at][0] == -9999:
                expected[at] = values[y, x]
    layers = Layers(tuple(parts), shape, -9999)
    np.testing.assert_array_equal(layers[:, :, :], expected)
    np.testing.assert_array_equal(layers[3:17, [1, 5, 29], [0, 4]], expected[3:17][:, [1, 5, 29]][:, :, [0, 4]])
    assert layers[:0, :, :].shape == (0, 30, 5)


def test_documents_of_cells_that_are_damaged_or_lead_to_themselves_are_refused(lines: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.cell.json"
    source = read_source(sorted(lines.glob("*.h5"))[0])
    part = Part(source.path, source.file_size, source.mtime_ns)
    cell = Cell(source.west, source.north, (10, 10), (part,))
    path.write_text(json.dumps(cell.document()))
    assert read_source(path).shape[:2] == (10, 10)
    assert identity(str(path)) == (source.file_size, source.mtime_ns)
    for wrong in ({"parts": []}, {"shape": [0, 1]}, {"parts": [{"path": str(path), "file_size": 1, "mtime_ns": 1}]},
                  {"parts": [{"path": "relative", "file_size": 1, "mtime_ns": 1}]}, {"more": 1}):  # fmt: skip
        path.write_text(json.dumps(cell.document() | wrong))
        with pytest.raises(FileFormatError, match="is damaged"):
            read_source(path)


KILLED = """
    import time
    from hsi_dask.batch.execution.run import run
    from hsi_dask.batch.observer import Observer
    from hsi_dask.config import RunConfig

    class Waiting(Observer):
        def tile_done(self, record):
            print("done", record.tile, flush=True)
            time.sleep(60)

    if __name__ == "__main__":
        run(RunConfig(**{values!r}), {run_dir!r}, observer=Waiting())
"""


def test_a_killed_run_of_cells_in_an_area_goes_on_to_the_same_bytes(
    lines: Path, tmp_path: Path, store_of: Store, spawn: Callable[[str], subprocess.Popen[str]]
) -> None:
    settings = config(lines, "best", area={"bounds": (368005, 4306005, 368095, 4306095)})
    whole = run(settings, tmp_path / "whole")
    assert len(whole.done) > 2
    for _ in range(2):  # each time in the middle of the next cell
        driver = spawn(KILLED.format(values=settings.model_dump(), run_dir=str(tmp_path / "run")))
        assert driver.stdout is not None
        assert any(line.startswith("done") for line in driver.stdout)
        driver.kill()
        driver.wait()
    summary = run(settings, tmp_path / "run")
    assert (len(summary.skipped), len(summary.done)) == (2, len(whole.done) - 2)
    assert store_of(tmp_path / "run") == store_of(tmp_path / "whole")
    assert verify(tmp_path / "run") == []


def test_a_cell_that_is_larger_than_what_its_tiles_reach_is_refused(two_lines: tuple[Path, Path]) -> None:
    """A few digits in a sent document would ask for any memory."""
    files = [read_source(path) for path in two_lines]
    parts = tuple(Part(file.path, file.file_size, file.mtime_ns) for file in files)
    for shape in ((4_000_000, 40), (40, 4_000_000)):
        with pytest.raises(GridError, match="pixels, more than its tiles have"):
            cell_source(Cell(files[0].west, files[0].north, shape, parts), "/a.cell.json", files)
