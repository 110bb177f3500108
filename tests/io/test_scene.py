"""Planes of a scene in files, against the arrays that were put there."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hsi_dask.io.scene import planes_file, read_planes

SHAPE = (3, 10, 12)


@pytest.mark.parametrize("columns", [12, 5])
def test_parts_from_several_threads_make_up_the_planes(tmp_path: Path, columns: int) -> None:
    values = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    places = [
        (slice(0, 3), slice(top, min(top + 4, 10)), slice(left, min(left + columns, 12)))
        for top in range(0, 10, 4)
        for left in range(0, 12, columns)
    ]
    with planes_file(tmp_path / "tile", SHAPE, {"n": 1}) as planes, ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda place: planes.__setitem__(place, values[place]), places))
    np.testing.assert_array_equal(read_planes(tmp_path / "tile", {"n": 1}), values)
    assert read_planes(tmp_path / "tile", {"n": 2}) is None


def test_planes_that_were_not_finished_are_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="invalid entry"), planes_file(tmp_path / "tile", SHAPE, {}) as planes:
        planes[:, 20:30, :] = np.zeros(SHAPE, np.float32)
    assert read_planes(tmp_path / "tile", {}) is None
