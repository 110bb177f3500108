"""Cloud-Optimized GeoTIFFs of arrays, read back by rasterio and checked by rio-cogeo."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from rio_cogeo.cogeo import cog_validate

from hsi_dask.io import cog
from hsi_dask.io.cog import BLOCK, Level, write_cog

SHAPE = (1100, 700)


def level(values):
    def strips(band):
        yield from (values[band, top : top + BLOCK] for top in range(0, values.shape[1], BLOCK))

    return Level(values.shape[1:], strips)


def pattern(dtype, fill):
    profile = {
        "driver": "GTiff", "dtype": dtype, "count": 3, "nodata": fill, "width": 1, "height": 1, "crs": "EPSG:32618",
        "transform": Affine(2, 0, 368000, 0, -2, 4306000),
    }  # fmt: skip
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile) as file:
            file.update_tags(made="by a test")
        return bytes(memory.getbuffer())


@pytest.fixture(params=[("float32", np.nan), ("uint8", 255)], ids=["floats", "codes"])
def image(request):
    """Dtype, no-data value, and (band, y, x); the last band has no data, the first none in its last block."""
    dtype, fill = request.param
    values = np.random.default_rng(0).normal(100, 30, (3, *SHAPE)).clip(1, 254).astype(dtype)
    values[2], values[0, 2 * BLOCK :, BLOCK:] = fill, fill
    return dtype, fill, values


@pytest.fixture(params=[(False, True), (True, True), (False, False)], ids=["classic", "big", "plain"])
def path(image, request, monkeypatch, tmp_path):
    """A file of the image; classic or big, compressed or not."""
    (dtype, fill, values), (big, compress) = image, request.param
    if big:
        monkeypatch.setattr(cog, "_MOST_CLASSIC", 1000)
    levels = [level(values[:, ::step, ::step]) for step in (1, 2, 4)]
    with ThreadPoolExecutor(2) as pool:
        write_cog(tmp_path / "image.tif", pattern(dtype, fill), levels, fill, pool, compress=compress)
    assert ((tmp_path / "image.tif").read_bytes()[2] == 43) == big
    with rasterio.open(tmp_path / "image.tif") as file:
        assert (file.compression is not None) == compress
    return tmp_path / "image.tif"


def test_every_pixel_of_every_level_comes_back(path, image):
    for number, step in enumerate((None, 2, 4)):
        options = {} if step is None else {"overview_level": number - 1}
        with rasterio.open(path, **options) as file:
            np.testing.assert_array_equal(file.read(), image[2][:, :: step or 1, :: step or 1])


def test_the_file_is_what_it_says(path):
    assert cog_validate(path, strict=True) == (True, [], [])
    with rasterio.open(path) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.tags()["made"] == "by a test"
        assert file.crs.to_epsg() == 32618
        assert tuple(file.bounds) == (368000, 4306000 - 2 * SHAPE[0], 368000 + 2 * SHAPE[1], 4306000)
        assert file.overviews(1) == [2, 4]


def test_blocks_have_their_size_before_and_their_end_behind_them_in_the_order_of_their_numbers(path):
    data, last = path.read_bytes(), 0
    with rasterio.open(path) as file:
        for band in (1, 2, 3):
            for row, column in ((r, c) for r in range(3) for c in range(2)):
                where = file.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=band)
                assert (where is None) == (band == 3 or (band, row, column) == (1, 2, 1))
                if where is not None:
                    start = int(where)
                    size = int(file.get_tag_item(f"BLOCK_SIZE_{column}_{row}", "TIFF", bidx=band))
                    assert int.from_bytes(data[start - 4 : start], "little") == size
                    assert data[start + size : start + size + 4] == data[start + size - 4 : start + size]
                    assert start > last
                    last = start
