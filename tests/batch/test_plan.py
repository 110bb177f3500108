"""Plans: which files, where they lie on the common grid, what they will cost. No pixel is read."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hsi_dask.batch.execution.run import run
from hsi_dask.batch.tiles import planning
from hsi_dask.batch.tiles.layout import lay_out
from hsi_dask.batch.tiles.planning import make_plan
from hsi_dask.batch.tiles.search import find_tiles
from hsi_dask.config import RunConfig
from hsi_dask.errors import ConfigError, FileFormatError, GridError
from hsi_dask.io.neon.metadata import read_metadata
from hsi_dask.io.readers import open_cube
from hsi_dask.io.store import open_results
from hsi_dask.io.tile_source import TileSource
from hsi_dask.ops import whole_planes
from hsi_dask.ops.bands import select_bands
from hsi_dask.overviews.overviews import open_overviews
from hsi_dask.show.canvas import Canvas
from hsi_dask.show.report import report
from hsi_dask.synthetic import Site, neon_wavelengths, simulate_scene, write_neon_tile

WAVELENGTH = neon_wavelengths(100, step=20.0)


def write(folder: Path, west: int, south: int, shape: tuple[int, int] = (40, 40), **options: object) -> Path:
    wavelength = options.pop("wavelength", WAVELENGTH)
    scene = simulate_scene(shape, origin=(west, south), wavelength=wavelength)
    return write_neon_tile(folder / f"{west}_{south}.h5", scene, **options)


def test_a_folder_a_pattern_and_files_give_each_file_once_and_sorted(site: Site) -> None:
    given = [site.folder, str(site.folder / "*_reflectance.h5"), site.paths[0]]
    assert find_tiles(given) == sorted(site.paths)


@pytest.mark.parametrize(
    ("tile", "sentence"),
    [
        ("none.h5", "none.h5 does not exist; check the path"),
        ("*.h5", r"the pattern .*\*.h5 matches no file"),
        ("", "holds no tile that a reader knows"),
    ],
)
def test_what_matches_nothing_is_named(tmp_path: Path, tile: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        find_tiles([tmp_path / tile])
    with pytest.raises(ConfigError, match="no tiles; give"):
        find_tiles([])


def test_tiles_get_their_own_cells_of_one_grid(site: Site, config: RunConfig) -> None:
    plan = make_plan(site.paths, config)
    assert (plan.grid.shape, plan.grid.chunk) == ((80, 120), (40, 40))
    assert (plan.grid.west, plan.grid.north) == (368000.0, 4306080.0)
    assert {(t.id, t.row, t.column) for t in plan.tiles} >= {("368000_4306000", 40, 0), ("368080_4306040", 0, 80)}
    assert len({(t.row, t.column) for t in plan.tiles}) == 6


def test_a_diagonal_of_tiles_leaves_the_rest_absent(tmp_path: Path) -> None:
    paths = [write(tmp_path, 368000 + 40 * i, 4306000 + 40 * i) for i in range(4)]
    plan = make_plan(paths, RunConfig())
    assert plan.grid.shape == (160, 160)
    assert plan.bytes_to_write == 4 * plan.output_bytes(plan.tiles[0])


def test_cropped_tiles_fit_into_cells_of_full_ones(tmp_path: Path) -> None:
    paths = [write(tmp_path, 368000, 4306000), write(tmp_path, 368040, 4306010, (30, 25))]
    plan = make_plan(paths, RunConfig())
    assert plan.grid.shape == (40, 65)
    assert [(t.row, t.column) for t in plan.tiles] == [(0, 0), (0, 40)]


def test_cropped_tiles_alone_are_parted_by_lines_of_a_kilometre(tmp_path: Path) -> None:
    paths = [write(tmp_path, 368980, 4306010, (30, 20)), write(tmp_path, 369000, 4306020, (25, 35))]
    plan = make_plan(paths, RunConfig())
    assert plan.grid.chunk == (985, 1000) or plan.grid.chunk[1] == 1000
    assert {t.column // plan.grid.chunk[1] for t in plan.tiles} == {0, 1}


def test_one_tile_is_its_own_mosaic(tmp_path: Path) -> None:
    plan = make_plan([write(tmp_path, 368003, 4306001, (33, 57))], RunConfig())
    assert plan.grid.shape == plan.grid.chunk == (33, 57)


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"zone": 17}, r"a.h5 lies in EPSG:32618, but .*b.h5 lies in EPSG:32617"),
        ({"wavelength": WAVELENGTH + 1.5}, r"a.h5 has 381.50 nm as wavelength 1, but .*b.h5 has 383.00 nm"),
        ({"wavelength": WAVELENGTH[:-2]}, r"a.h5 has 100 wavelengths, but .*b.h5 has 98 wavelengths"),
        ({"west": 368020}, r"a.h5 \(368000\.\..*\) and .*b.h5 .* overlap or share one cell"),
        ({"west": 368060}, r"b.h5 .* lies across the cells of 40 x 40 pixels that .*a.h5"),
    ],
)
def test_tiles_that_do_not_belong_together_are_refused_by_name(
    tmp_path: Path, other: dict[str, object], sentence: str
) -> None:
    west = int(str(other.pop("west", 368040)))
    one = write(tmp_path, 368000, 4306000).rename(tmp_path / "a.h5")
    two = write(tmp_path, west, 4306000, **other).rename(tmp_path / "b.h5")
    with pytest.raises(GridError, match=sentence):
        make_plan([one, two], RunConfig())


def test_a_file_that_cannot_be_read_is_put_aside_with_its_place(site: Site, tmp_path: Path) -> None:
    torn = tmp_path / "NEON_D02_SERC_DP3_368120_4306000_reflectance.h5"
    torn.write_bytes(site.paths[0].read_bytes()[:5000])
    plan = make_plan([*site.paths, torn], RunConfig())
    assert [(t.id, "truncated" in t.reason) for t in plan.bad] == [("368120_4306000", True)]
    assert plan.grid.shape == (80, 160)
    with pytest.raises(FileFormatError, match=r"truncated.*\(and 1 more files cannot be read either\)"):
        make_plan([torn, torn], RunConfig())


def test_a_large_line_is_cut_into_slabs_of_whole_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hsi_dask.batch.tiles import layout
    from hsi_dask.io import blocks

    path = write(tmp_path, 368000, 4306000, (200, 30), chunks=(10, 30, 50))
    monkeypatch.setattr(layout, "SLAB_PIXELS", 50 * 30)
    monkeypatch.setattr(layout, "_CHUNK_PIXELS", 25 * 30)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 10 * 30 * 100 * 2)
    plan = make_plan([path], RunConfig())
    assert plan.grid.chunk == (20, 30)
    assert plan.tiles[0].slabs == tuple((i, i + 40) for i in range(0, 200, 40))


def test_projected_memory_grows_with_threads_and_endmembers(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = (make_plan(site.paths, RunConfig(endmembers={"count": n})) for n in (4, 30))
    assert few.memory(2) == few.memory(8), "a tile of one block is shared by all threads"
    assert few.memory(2) < many.memory(2)
    monkeypatch.setattr(planning.blocks, "BLOCK_BYTES", 1)
    blocks = make_plan(site.paths, RunConfig())
    assert blocks.memory(2) < blocks.memory(8), "of many blocks each thread has one"


def test_projected_memory_counts_whole_spectra_where_statistics_of_the_scene_need_them(site: Site) -> None:
    usual, ace = (make_plan(site.paths, RunConfig(methods=[name])) for name in ("sam", "ace"))
    assert usual.tiles[0].held_bytes == 0
    height, width = ace.tiles[0].shape
    assert ace.tiles[0].held_bytes == height * width * 2 * open_cube(site.paths[0]).pipe(select_bands).wavelength.size
    held = replace(ace.tiles[0], held_bytes=10**9)
    assert ace.tile_memory(held, 2) > ace.tile_memory(replace(held, held_bytes=0), 2) + 9 * 10**8


def test_projected_memory_counts_what_methods_add_to_the_basis(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def memory(**settings: object) -> int:
        plan = make_plan(site.paths, RunConfig(**settings))
        return plan.tile_memory(replace(plan.tiles[0], held_bytes=0), 2)

    (height, width), ace = make_plan(site.paths, RunConfig()).tiles[0].shape, {"methods": ["sam", "ace"]}
    components = [memory(**ace, options={"ace": {"components": n}}) for n in (11, 21, 31)]
    assert np.diff(components).tolist() == [10 * 8 * height * width] * 2
    assert memory(**ace) - memory(methods=["sam", "mf"]) == (20 - 4) * 8 * height * width
    monkeypatch.setattr(whole_planes, "_BY_TWOS", range(2**40))
    piece = 4 * 61 * height * width
    maps = (4 + 4 + 1) * 4 * height * width
    more = memory(**ace, options={"ace": {"components": 11}}) - components[0]
    assert piece - maps <= more < piece, "the second piece is gone before there are maps"


@pytest.mark.parametrize(("side", "sampled"), [(1, 1), (2, 4), (3, 9), (7, 16), (30, 16)])
def test_the_sample_reads_every_tile_of_a_small_site_and_sixteen_spread_over_a_large_one(
    site: Site, config: RunConfig, side: int, sampled: int
) -> None:
    plan = make_plan(site.paths[:1], config)
    (tile,) = plan.tiles
    places = [(row, column) for row in range(side) for column in range(side)]
    tiles = [replace(tile, id=f"{row} {column}", row=40 * row, column=40 * column) for row, column in places]
    plan = replace(plan, tiles=tuple(tiles))
    assert plan.sampled == sampled
    assert plan.bytes_to_read == (side**2 + sampled) * tile.file_size
    order = plan.in_sampling_order()
    assert sorted(t.id for t in order) == sorted(t.id for t in tiles)
    assert abs(order[0].row - 20 * (side - 1)) <= 20 >= abs(order[0].column - 20 * (side - 1))
    first = order[:sampled]
    if side >= sampled:  # some in every two n-th of rows
        for start in range(0, 40 * side, 80 * side // sampled if sampled > 1 else 40 * side):
            assert any(start <= t.row < start + 80 * side / sampled for t in first)
    edge = replace(plan, tiles=(*(replace(t, file_size=t.file_size // 3) for t in first), *order[sampled:]))
    if side > 2:
        assert {t.id for t in edge.in_sampling_order()[-sampled:]} == {t.id for t in first}
    wanted = plan.config.replace(endmembers={"sample_tiles": 5})
    assert replace(plan, config=wanted).sampled == min(5, side**2)


def test_hundreds_of_tiles_are_planned_in_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metadata are read for each of 200 links to one file; only their places are made up."""
    source = write(tmp_path, 368000, 4306000)
    links = [tmp_path / f"link{i}.h5" for i in range(200)]
    for link in links:
        os.link(source, link)

    def elsewhere(path: str) -> TileSource:
        number = int(Path(path).stem[4:])
        return replace(read_metadata(path), west=368000.0 + number % 40 * 40, north=4306000.0 - number // 40 * 40)

    monkeypatch.setattr(planning, "read_source", elsewhere)
    started = time.perf_counter()
    plan = make_plan(links, RunConfig())
    assert time.perf_counter() - started < 10  # 1000 in 6 s on a quiet machine
    assert len(plan.tiles) == 200


def test_off_grid_tiles_are_refused(site: Site) -> None:
    one, two = map(read_metadata, site.paths[:2])
    with pytest.raises(GridError, match=r"is off the pixel grid of .* by 0.00 rows and 0.50 columns"):
        lay_out([one, replace(two, west=two.west + 0.5)])
    assert np.allclose(one.wavelength, two.wavelength)


# ------------------------------------------------------------------------------------------------ other grids


@pytest.mark.parametrize(
    ("info", "crs", "ids"),
    [
        (
            "{{Geographic Lat/Lon, 1, 1, {}, 39, 5e-05, 5e-05, WGS-84}}",
            "EPSG:4326",
            ("-76.5_38.998", "-76.4985_38.998"),
        ),
        ("{{UTM, 1, 1, {}, 39.0, 1.7, 1.7, 18, North, WGS-84}}", "EPSG:32618", ("0_-29", "51_-29")),
    ],
)
def test_images_in_degrees_or_of_odd_pixels_are_laid_out_and_run(
    tmp_path: Path, write_envi, info: str, crs: str, ids: tuple[str, str]
) -> None:
    wests = (-76.5, -76.4985) if "4326" in crs else (0.0, 51.0)
    for number, west in enumerate(wests):
        scene = simulate_scene((40, 30), wavelength=WAVELENGTH, seed=number)
        write_envi(tmp_path / f"{number}.img", scene.reflectance(), WAVELENGTH, map_info=info.format(west))
    plan = make_plan(find_tiles([tmp_path]), RunConfig())
    assert (plan.grid.crs, plan.grid.shape, plan.grid.chunk) == (crs, (40, 60), (40, 30))
    assert tuple(tile.id for tile in plan.tiles) == ids
    run_dir = tmp_path / "run"
    summary = run(RunConfig(tiles=[str(tmp_path)], endmembers={"count": 3, "sample": 300, "restarts": 1}), run_dir)
    assert set(summary.done) == set(ids)
    report(run_dir)
    assert open_overviews(run_dir).at(10).sizes["x"] == 60
    canvas = Canvas(run_dir)
    image = open_cube(tmp_path / "0.hdr")
    pixel = canvas.pixel(float(image.x[3]), float(image.y[5]))
    assert pixel is not None
    np.testing.assert_allclose(canvas.spectrum(pixel), select_bands(image)[5, 3])
    again = run(RunConfig(tiles=[str(tmp_path)], endmembers={"count": 3, "sample": 300, "restarts": 1}), run_dir)
    assert set(again.skipped) == set(ids)


def test_an_envi_copy_of_a_tile_gives_the_same_maps(tmp_path: Path, write_envi) -> None:
    """To the bit, where pieces hold the same wavelengths: whole bands as BSQ, few pixels with all bands as BIL, BIP."""
    scene = simulate_scene((40, 30), wavelength=WAVELENGTH, seed=3, no_data=0.1)
    settings = {"endmembers": {"count": 3, "sample": 300, "restarts": 1}}
    for chunks, interleaves in {(0, 0, 1): ("bsq",), (8, 30, 20): ("bil", "bip")}.items():
        tile = write_neon_tile(tmp_path / f"{chunks[2]}.h5", scene, chunks=chunks)
        run(RunConfig(tiles=[str(tile)], **settings), tmp_path / f"neon{chunks[2]}")
        expected = open_results(tmp_path / f"neon{chunks[2]}").load()
        for kind in interleaves:
            corner = (int(scene.origin[0]), int(scene.origin[1]))
            copy = write_envi(tmp_path / f"{kind}.img", scene.reflectance(), WAVELENGTH, interleave=kind, corner=corner)
            run(RunConfig(tiles=[str(copy)], **settings), tmp_path / kind)
            for name, values in open_results(tmp_path / kind).load().items():
                np.testing.assert_array_equal(values, expected[name], err_msg=f"{kind} {name}")
