"""Cubes of which some chunks are read, against the whole cube in memory and a list of the chunks asked for."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hsi_dask.io.chunked import InMemory, Want
from hsi_dask.io.decoding import Reflectance
from hsi_dask.io.partial import PartOfCube, chunks_touched
from hsi_dask.sources import Spread, is_partial

SHAPE, CHUNK, VOID = (23, 31, 7), (5, 8, 3), -9999


class Counted(InMemory):
    """A cube in memory by chunks, which notes those that are asked for."""

    def __init__(self, values: NDArray[Any]) -> None:
        super().__init__(values)
        self.stored_chunks = CHUNK
        self.asked: list[tuple[int, ...]] = []

    def fill(self, wanted: tuple[Want, ...], out: NDArray[Any], spread: Spread) -> None:
        self.asked += product(*([part.number for part in want.parts] for want in wanted))
        super().fill(wanted, out, spread)


def cubes(seed: int, share: float) -> tuple[Counted, PartOfCube, NDArray[np.int16]]:
    rng = np.random.default_rng(seed)
    whole = Counted(rng.integers(0, 10_000, SHAPE, dtype=np.int16))
    needed = rng.random((5, 4)) < share
    expected = whole.values.copy()
    expected[~np.kron(needed, np.ones(CHUNK[:2], bool))[: SHAPE[0], : SHAPE[1]]] = VOID
    return whole, PartOfCube(whole, needed, VOID), expected


keys = st.one_of(
    st.builds(lambda a, b: slice(min(a, b), max(a, b) + 1), st.integers(0, 40), st.integers(0, 40)),
    st.lists(st.integers(0, 6), min_size=1, max_size=5).map(np.array),
)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 99), share=st.sampled_from([0.0, 0.2, 0.5, 1.0]), key=st.tuples(keys, keys, keys))
def test_any_index_gives_what_the_whole_has_where_it_is_needed_and_void_elsewhere(seed, share, key):
    _, part, expected = cubes(seed, share)
    for axis, index in enumerate(key):
        expected = expected[(*(slice(None),) * axis, index)]
    np.testing.assert_array_equal(part[key], expected)


@pytest.mark.parametrize("decoded", [False, True])
def test_pieces_read_each_chunk_that_is_needed_once_and_no_other(decoded):
    whole, part, expected = cubes(3, 0.4)
    array = Reflectance(part, 1.0, VOID) if decoded else part
    assert is_partial(array)
    found = np.full(SHAPE, np.nan)
    for values, place in array.pieces((slice(0, 23), slice(0, 31), np.arange(7)), map):
        found[place] = values
    assert sorted(whole.asked) == sorted((*map(int, at), n) for at in np.argwhere(part.needed) for n in range(3))
    void = expected == VOID
    np.testing.assert_array_equal(found[~void], expected[~void])
    assert (np.isnan(found[void]) | (found[void] == VOID)).all()


def test_a_cube_that_only_indexes_is_read_in_rectangles():
    _, part, expected = cubes(4, 0.5)
    plain = PartOfCube(Reflectance(part.stored, 1.0, None), part.needed, VOID)
    np.testing.assert_array_equal(plain[:, :, :], expected)


def test_chunks_are_touched_where_a_pixel_is_inside():
    inside = np.random.default_rng(1).random(SHAPE[:2]) < 0.02
    touched = chunks_touched(inside, CHUNK)
    for row, column in np.ndindex(touched.shape):
        box = inside[row * 5 : row * 5 + 5, column * 8 : column * 8 + 8]
        assert touched[row, column] == box.any()
