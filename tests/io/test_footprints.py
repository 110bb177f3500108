"""Pixels of places against each pixel's own edges, on grids of both orientations."""

import numpy as np
import pytest

from hsi_dask.io.footprints import Lattice, pixels_of, states
from hsi_dask.io.places import Places


@pytest.mark.parametrize("step_y", [-2.0, 2.0])
@pytest.mark.parametrize("step_x", [0.5, -0.5])
def test_a_point_lies_in_the_pixel_whose_edges_hold_it(step_x, step_y):
    x, y = 10 + step_x * np.arange(7), 100 + step_y * np.arange(5)
    random = np.random.default_rng(1)
    points = Places(random.uniform(5, 15, 300), random.uniform(88, 112, 300))
    lattice = Lattice.of(y, x)
    inside = states(points, lattice, 0.0) == "inside"
    (found,) = pixels_of(points, np.flatnonzero(inside), lattice, 0.0)
    np.testing.assert_array_equal(found.place, np.flatnonzero(inside))
    near_x = np.abs(points.x[:, None] - x) <= 0.25
    near_y = np.abs(points.y[:, None] - y) <= 1.0
    np.testing.assert_array_equal(inside, near_x.any(axis=1) & near_y.any(axis=1))
    np.testing.assert_array_equal(found.columns, near_x[inside].argmax(axis=1))
    np.testing.assert_array_equal(found.rows, near_y[inside].argmax(axis=1))


def test_places_on_edges_and_nowhere_are_told():
    lattice = Lattice.of(np.array([9.5, 8.5]), np.array([0.5, 1.5, 2.5]))
    x = np.array([0.0, 3.0, -0.1, np.nan, np.inf, 1.0])
    y = np.array([10.0, 9.0, 9.0, 9.0, 9.0, 8.0])
    expected = ["inside", "outside", "outside", "no geometry", "outside", "outside"]
    assert states(Places(x, y), lattice, 0.0).tolist() == expected
    expected = ["partly outside", "partly outside", "partly outside", "no geometry", "outside", "partly outside"]
    assert states(Places(x, y), lattice, 0.5).tolist() == expected


def test_a_polygon_as_large_as_the_grid_is_inside_and_has_every_pixel():
    shapely = pytest.importorskip("shapely")
    lattice = Lattice.of(np.arange(19.5, 9, -1), np.arange(0.5, 30))
    shapes = np.array([shapely.box(0, 9, 30, 20), shapely.box(0, 9, 30.5, 20)], dtype=object)
    places = Places(np.full(2, np.nan), np.full(2, np.nan), shapes=shapes)
    assert states(places, lattice, 0.0).tolist() == ["inside", "partly outside"]
    parts = list(pixels_of(places, np.array([0]), lattice, 0.0))
    pixels = {(row, column) for part in parts for row, column in zip(part.rows, part.columns, strict=True)}
    assert len(pixels) == 11 * 30


def test_polygons_with_corners_that_are_no_numbers_or_at_the_end_of_numbers_are_outside_or_empty():
    shapely = pytest.importorskip("shapely")
    lattice = Lattice.of(np.arange(19.5, 9, -1), np.arange(0.5, 30))
    corners = [[5, 12], [9, np.nan], [9, 15]], [[5, 12], [np.inf, 12], [9, 15]], [[-1e308, 12], [1e308, 12], [9, 1e308]]
    with np.errstate(invalid="ignore"):
        shapes = np.array([shapely.Polygon(corner) for corner in corners], dtype=object)
    places = Places(np.full(3, np.nan), np.full(3, np.nan), shapes=shapes)
    found = states(places, lattice, 0.0)
    assert set(found[:2]) <= {"outside", "inside"}
    for pixels in pixels_of(places, np.flatnonzero(found != "outside"), lattice, 0.0):
        assert ((pixels.rows >= 0) & (pixels.rows < 11)).all()
