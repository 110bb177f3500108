"""select_bands against boolean indexing by wavelength."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from hsi_dask.errors import ConfigError, SchemaError
from hsi_dask.io.neon.metadata import read_metadata
from hsi_dask.ops.bands import select_bands, single_pixel, single_wavelength

from .conftest import CHUNKINGS


@pytest.fixture
def whole(tile) -> xr.DataArray:
    return read_metadata(tile).cube(masked=True, chunks=None).compute()


def kept(whole: xr.DataArray) -> np.ndarray:
    w = whole.wavelength.values
    good = ~(((w >= 1340) & (w <= 1445)) | ((w >= 1790) & (w <= 1955)))
    good[-10:] = False
    return good


@pytest.mark.parametrize("chunks", [None, *CHUNKINGS])
def test_the_files_own_windows_and_the_last_ten_go(whole: xr.DataArray, chunks: object) -> None:
    cube = whole if chunks is None else whole.chunk(dict(zip(whole.dims, chunks, strict=True)))
    xr.testing.assert_identical(select_bands(cube).compute(), whole[:, :, kept(whole)])


def test_windows_can_be_given_and_keep_the_end(whole: xr.DataArray) -> None:
    chosen = select_bands(whole, windows=[(900, 1200), (2000, 3000)], drop_last=0)
    assert chosen.wavelength.max() < 2000
    assert not ((chosen.wavelength >= 900) & (chosen.wavelength <= 1200)).any()


def test_sampled_pixels_lose_the_same_wavelengths(whole: xr.DataArray) -> None:
    pixels = whole.stack(pixel=("y", "x")).transpose("pixel", "wavelength").drop_vars(["pixel", "y", "x"])
    assert select_bands(pixels).sizes["wavelength"] == kept(whole).sum()


@pytest.mark.usefixtures("refuse_to_compute")
def test_nothing_is_computed(tile) -> None:
    select_bands(read_metadata(tile).cube())


def test_the_choice_reaches_the_file(tile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wavelengths that are dropped and stored apart are not inflated."""
    from hsi_dask.io import hdf5

    calls = []
    inflate = hdf5._inflate
    monkeypatch.setattr(hdf5, "_inflate", lambda data, room: (calls.append(room.nbytes), inflate(data, room))[1])
    file = read_metadata(tile)
    chosen = select_bands(file.cube())
    chosen.compute(scheduler="sync")
    height, width, bands = file.reflectance.stored_chunks
    planes = -(-60 // height) * -(-70 // width)
    expected = chosen.sizes["wavelength"] if bands == 1 else -(-426 // bands)
    assert len(calls) == planes * expected


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"drop_last": -1}, "drop_last must be 0 to 425"),
        ({"drop_last": 426}, "drop_last must be 0 to 425"),
        ({"windows": [(0, 9999)]}, "leave no wavelength"),
        ({"windows": [(1445, 1340)]}, "from < to"),
    ],
)
def test_impossible_choices_are_refused(whole: xr.DataArray, options: dict, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        select_bands(whole, **options)


def test_a_cube_without_wavelengths_or_windows_is_refused(whole: xr.DataArray) -> None:
    with pytest.raises(SchemaError, match="coordinate 'wavelength'"):
        select_bands(whole.drop_vars("wavelength"))
    with pytest.raises(SchemaError, match="give windows="):
        select_bands(whole.drop_vars("good_wavelength"))


class Recorder:
    """A stored cube that notes what is asked of it."""

    def __init__(self, values):
        self.values, self.shape, self.dtype, self.ndim, self.asked = values, values.shape, values.dtype, 3, []

    def __getitem__(self, key):
        self.asked.append(self.values[key].size)
        return self.values[key]


@pytest.mark.parametrize("times", [0, 1, 2])
def test_a_plane_and_a_pixel_are_read_alone_also_after_select_bands(times):
    values = np.random.default_rng(0).random((20, 30, 40), dtype=np.float32)
    recorder = Recorder(values)
    coords = {"wavelength": np.linspace(400, 1000, 40), "y": np.arange(20), "x": np.arange(30)}
    stored = da.from_array(recorder, chunks=(10, 30, 40))
    cube = eager = xr.DataArray(stored, coords, ("y", "x", "wavelength"), "reflectance")
    for window in [(480, 560), (700, 720)][:times]:
        cube = select_bands(cube, windows=[window], drop_last=2)
    eager = cube.compute()
    recorder.asked.clear()
    plane = single_wavelength(cube, 7)
    assert recorder.asked == []
    xr.testing.assert_identical(plane.compute(), eager.isel(wavelength=7))
    assert sum(recorder.asked) == 600
    recorder.asked.clear()
    xr.testing.assert_identical(single_pixel(cube, 3, 4), eager.isel(y=3, x=4))
    assert sum(recorder.asked) == 40
