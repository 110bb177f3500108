"""The nearest pixels against a stable sort of all distances in float64."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_dask.kernels.extraction.neighbours import neighbours


def slow(planes, points, most, unit):
    """Distances of every pixel, sorted."""
    pixels = planes.T.astype(float)
    if unit:
        length = np.linalg.norm(pixels, axis=1, keepdims=True)
        pixels = pixels / np.where(length == 0, 1, length)
        points = points / np.linalg.norm(points, axis=1, keepdims=True)
    squares = ((pixels - points[:, None]) ** 2).sum(axis=2)
    squares[np.isnan(squares)] = np.inf
    order = np.argsort(squares, axis=1, kind="stable")[:, :most]
    return np.take_along_axis(squares, order, axis=1), order


def scene(seed, pixels=4000, planes=9, dtype=np.float32):
    """A smooth scene with noise, as rows of pixels that are like their neighbours."""
    rng = np.random.default_rng(seed)
    smooth = np.cumsum(rng.normal(size=(planes, pixels)), axis=1) / np.sqrt(pixels) + rng.uniform(1, 2, (planes, 1))
    return (smooth + rng.normal(0, 0.02, smooth.shape)).astype(dtype), rng


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("planes", [1, 5, 9])
def test_the_nearest_are_those_of_a_sort_of_all_distances(planes, dtype, unit):
    values, rng = scene(1, planes=planes, dtype=dtype)
    values[:, rng.permutation(4000)[:300]] = np.nan
    points = np.nan_to_num(values[:, ::400].T.astype(float), nan=1.0)
    squares, found = neighbours(values, points, 10, unit=unit)
    expected, order = slow(values, points, 10, unit)
    np.testing.assert_allclose(squares, expected, atol=1e-13)
    if planes > 1 or not unit:  # of one plane all angles are equal
        np.testing.assert_array_equal(found, order)
    assert (squares[:, 0][~np.isnan(values[0, ::400])] == 0).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), cuts=st.sets(st.integers(1, 1999), max_size=4), unit=st.booleans())
def test_the_nearest_of_parts_hold_the_nearest_of_all_digit_for_digit(seed, cuts, unit):
    values, _ = scene(seed, pixels=2000)
    points = values[:, [3, 700, 1500]].T.astype(float)
    squares, found = neighbours(values, points, 7, unit=unit)
    edges = [0, *sorted(cuts), 2000]
    parts = [neighbours(values, points, 7, unit=unit, pixels=slice(a, b)) for a, b in pairwise(edges)]
    scores, pixels = (np.concatenate(each, axis=1) for each in zip(*parts, strict=True))
    order = np.lexsort((pixels, scores), axis=1)[:, :7]
    np.testing.assert_array_equal(np.take_along_axis(scores, order, axis=1), squares)
    np.testing.assert_array_equal(np.take_along_axis(pixels, order, axis=1), found)


def test_of_equal_pixels_the_first_are_named():
    values = np.tile(np.arange(4.0)[:, None], (1, 900))
    squares, found = neighbours(values, np.arange(4.0)[None], 5)
    assert found.tolist() == [[0, 1, 2, 3, 4]]
    assert not squares.any()


def test_where_there_are_fewer_pixels_the_rest_is_nothing():
    values = np.full((3, 200), np.nan)
    values[:, 150] = 1.0
    squares, found = neighbours(values, np.ones((2, 3)), 3)
    assert found.tolist() == [[150, -1, -1]] * 2
    assert squares.tolist() == [[0.0, np.inf, np.inf]] * 2


def test_a_pixel_of_zeros_stays_where_it_is():
    squares, found = neighbours(np.array([[0.0, 5.0], [0.0, 0.0]]), np.array([[2.0, 0.0]]), 2, unit=True)
    assert found.tolist() == [[1, 0]]
    assert squares.tolist() == [[0.0, 1.0]]
