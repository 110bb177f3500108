"""Numbers that contradict what a file says of them: made so here, and found; the readings are counted."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import hsi_dask as hsi
from hsi_dask.errors import FileFormatError
from hsi_dask.io.chunked import InMemory
from hsi_dask.io.plausible import doubt_of_no_data, doubt_of_scale, facts_of, plausible
from hsi_dask.io.readers import read_source
from hsi_dask.io.tile_source import TileSource

WAVELENGTH = np.array([450.0, 560.0, 860.0])


def cube(values: np.ndarray, scale: float, fill: float | None = -9999.0) -> SimpleNamespace:
    return SimpleNamespace(reflectance=InMemory(values), wavelength=WAVELENGTH, scale_factor=scale, fill_value=fill)


def test_floats_whose_scale_contradicts_their_size_are_doubted() -> None:
    fractions = np.random.default_rng(0).uniform(0.02, 0.5, (50, 40, 3)).astype("f4")
    fractions[:20] = -9999  # a line's empty end is not looked at
    digital = np.where(fractions == -9999, -9999, fractions * 10000).astype("f4")
    assert doubt_of_scale(cube(fractions, 1.0), "the scale") is None
    assert doubt_of_scale(cube(digital, 10000.0), "the scale") is None
    assert doubt_of_scale(cube(digital.astype("i2"), 1.0), "the scale") is None, "integers are what the file says"
    said = doubt_of_scale(cube(fractions, 10000.0), "Scale_Factor")
    assert said is not None
    assert said.startswith("holds fractions (median 0.2")
    assert said.endswith("at 560 nm), but Scale_Factor is 10000")
    assert "digital numbers (median 2" in str(doubt_of_scale(cube(digital, 1.0), "the scale"))
    assert doubt_of_scale(cube(np.full((50, 40, 3), -9999, "f4"), 10000.0), "the scale") is None


@pytest.mark.parametrize(
    ("dtype", "scale", "stated", "held"),
    [("f4", 1.0, None, -9999.0), ("f4", 1.0, -9999.0, 1e34), ("f4", 1.0, None, -1.0), ("i2", 10000.0, 0.0, -9999.0 * 2),
     ("u2", 100.0, None, 65535.0)],
)  # fmt: skip
def test_numbers_that_no_reflectance_is_are_no_data_that_the_file_does_not_tell(dtype, scale, stated, held) -> None:
    values = (np.random.default_rng(0).uniform(0.02, 0.5, (50, 40, 3)) * scale).astype(dtype)
    values[20, :3] = held
    assert doubt_of_no_data(facts_of(cube(values, scale, stated))) is None, "few may be damaged"
    values[:2, :30] = held
    said = str(doubt_of_no_data(facts_of(cube(values, scale, stated))))
    assert said.startswith(f"holds {held:g} in ")
    assert said.endswith(f"says that {'nothing' if stated is None else f'{stated:g}'} is no data")
    assert doubt_of_no_data(facts_of(cube(values, scale, held))) is None, "what the file tells is right"


class Counted(InMemory):
    """Tells how often it was read."""

    readings = 0

    def fill(self, wanted, out, spread) -> None:
        self.readings += 1
        super().fill(wanted, out, spread)


def source(values: np.ndarray, scale: float, fill: float | None = -9999.0) -> TileSource:
    stored = Counted(values)
    stored.stored_chunks = (10, 40, 3)
    return TileSource(path="/a.img", reflectance=stored, wavelength=WAVELENGTH, crs="EPSG:32618", west=0.0, north=0.0,
                      resolution=(1.0, 1.0), scale_factor=scale, fill_value=fill)  # fmt: skip


def judged(of: TileSource) -> TileSource:
    return plausible(of, "/a.img", "'scale'", "'data ignore value'")


def test_each_place_of_floats_is_read_once_and_only_when_a_file_is_first_opened() -> None:
    of = source(np.full((50, 40, 3), 0.3, "f4"), 1.0)
    for _ in range(3):
        judged(of)
    assert of.reflectance.readings == 3


@pytest.mark.parametrize(("dtype", "scale", "readings"), [("i2", 10000.0, 3), ("u2", 10000.0, 0), ("u1", 255.0, 0)])
def test_integers_are_looked_at_when_they_are_first_read_if_they_can_be_impossible(dtype, scale, readings) -> None:
    of = source(np.full((50, 40, 3), 100, dtype), scale, None)
    found = judged(of)
    assert of.reflectance.readings == 0
    for _ in range(3):
        found.reflectance[:4]
    assert of.reflectance.readings == readings + 3


def test_integers_that_hold_undeclared_no_data_give_no_number_however_they_are_read(tmp_path: Path) -> None:
    values = np.full((50, 40, 3), 3000, "i2")
    values[:, :5] = -32768
    cube = judged(source(values, 10000.0)).reflectance
    key = (slice(0, 5), slice(0, 5), np.array([0]))
    for read in (
        lambda: cube[0, 0, 0],
        lambda: list(cube.pieces(key)),
        lambda: cube.read_to(key, np.zeros((5, 5, 1), "i2")),
        lambda: judged(source(values, 10000.0)).numbers().isel(wavelength=[0]).compute(scheduler="sync"),
    ):
        with pytest.raises(FileFormatError, match=r"/a.img holds -32768 in 150 of 1200 .*; write the right 'data ig"):
            read()


def test_an_image_of_integers_is_opened_without_its_numbers_and_refused_when_they_are_read(
    tmp_path: Path, write_envi
) -> None:
    values = np.full((60, 40, 3), 3000, "i2")
    values[:, :5] = -32768
    path = write_envi(tmp_path / "image.img", values, WAVELENGTH, data_ignore_value=-9999)
    assert read_source(path).shape == (60, 40, 3)
    with pytest.raises(FileFormatError, match="holds -32768 in 900 of 7200 pixels"):
        hsi.open_cube(path).isel(y=50).compute()
    values[:, :5] = -9999
    path = write_envi(tmp_path / "image.img", values, WAVELENGTH, data_ignore_value=-9999)
    assert int(hsi.open_cube(path).isel(y=50).count()) == 35 * 3
