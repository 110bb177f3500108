"""nfindr against a textbook loop (one determinant a pixel and vertex), and against every set of vertices."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_dask.kernels.nfindr import nfindr
from hsi_dask.kernels.subspace import principal_subspace, reduce


def volume(vertices):
    rows = np.column_stack([np.ones(len(vertices)), vertices])
    return abs(np.linalg.det(rows)) / math.factorial(len(vertices) - 1)


def textbook(reduced, start):
    """Winter's loop: replace each vertex by each pixel, keep what is larger, until a sweep keeps nothing."""
    indices, largest, improved = list(start), volume(reduced[start]), True
    while improved:
        improved = False
        for vertex, pixel in itertools.product(range(len(indices)), range(len(reduced))):
            candidate = [*indices[:vertex], pixel, *indices[vertex + 1 :]]
            if volume(reduced[candidate]) > largest * (1 + 1e-12):
                indices, largest, improved = candidate, volume(reduced[candidate]), True
    return set(indices), largest


def mixed(n, count, seed):
    """Random vertices first, then n mixtures of them strictly inside: (count + n, count - 1)."""
    rng = np.random.default_rng(seed)
    vertices = rng.normal(size=(count, count - 1))
    return np.vstack([vertices, rng.dirichlet(np.ones(count), n) @ vertices * 0.999 + vertices.mean(0) * 0.001])


@pytest.mark.parametrize("count", [2, 3, 4, 6])
def test_the_textbook_loop_finds_the_same_pixels(count):
    reduced = mixed(80, count, seed=count)
    indices, largest = textbook(reduced, list(range(10, 10 + count)))
    found = nfindr(reduced, count)
    assert set(found.indices.tolist()) == indices
    assert found.volume == pytest.approx(largest, rel=1e-12)


@pytest.mark.parametrize("seed", range(40))
def test_the_textbook_loop_cannot_improve_even_a_single_restart(seed):
    reduced = np.random.default_rng(seed).normal(size=(30, 4))
    found = nfindr(reduced, 5, restarts=1)
    assert textbook(reduced, found.indices) == (
        set(found.indices.tolist()),
        pytest.approx(found.volume, rel=1e-9),
    )


@pytest.mark.parametrize(("n", "count"), [(12, 2), (14, 3), (12, 4), (10, 5), (6, 6)])
@pytest.mark.parametrize("seed", range(3))
def test_restarts_reach_the_largest_of_all_vertex_sets(n, count, seed):
    reduced = np.random.default_rng(seed).normal(size=(n, count - 1))
    best = max(itertools.combinations(range(n), count), key=lambda some: volume(reduced[list(some)]))
    found = nfindr(reduced, count, restarts=30)
    assert sorted(found.indices.tolist()) == list(best)
    assert found.volume == pytest.approx(volume(reduced[list(best)]), rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(count=st.integers(2, 7), seed=st.integers(0, 10_000), data=st.data())
def test_planted_vertices_are_found_whatever_the_pixel_order(count, seed, data):
    reduced = mixed(60, count, seed)
    order = np.array(data.draw(st.permutations(range(len(reduced)))))
    found = nfindr(reduced[order], count, restarts=3)
    assert set(order[found.indices].tolist()) == set(range(count))
    assert order[found.indices].tolist() == nfindr(reduced, count, restarts=3).indices.tolist()


@settings(max_examples=60, deadline=None)
@given(count=st.integers(2, 7), seed=st.integers(0, 10_000))
def test_without_clear_vertices_the_pixel_order_still_changes_no_digit(count, seed):
    rng = np.random.default_rng(seed)
    reduced, order = rng.normal(size=(200, count - 1)), rng.permutation(200)
    expected, found = nfindr(reduced, count, seed=seed), nfindr(reduced[order], count, seed=seed)
    assert order[found.indices].tolist() == expected.indices.tolist()
    assert found.volumes.tolist() == expected.volumes.tolist()


@settings(max_examples=30, deadline=None)
@given(count=st.integers(2, 6), seed=st.integers(0, 10_000))
def test_stretching_and_moving_the_axes_changes_no_vertex(count, seed):
    rng = np.random.default_rng(seed)
    reduced = mixed(60, count, seed)
    scale = 10 ** rng.uniform(-3, 3, count - 1)
    found, expected = nfindr(reduced * scale + scale, count), nfindr(reduced, count)
    assert found.indices.tolist() == expected.indices.tolist()
    assert found.volume == pytest.approx(expected.volume * scale.prod(), rel=1e-9)


def test_more_restarts_never_lower_the_volume():
    reduced = np.random.default_rng(3).normal(size=(500, 9))
    runs = [nfindr(reduced, 10, restarts=restarts) for restarts in (1, 2, 5, 20)]
    assert sorted(run.volume for run in runs) == [run.volume for run in runs]
    assert runs[-1].volume > runs[0].volume  # here they do find more
    for run in runs:
        assert run.volume == run.volumes.max()
        np.testing.assert_array_equal(run.volumes, runs[-1].volumes[: len(run.volumes)])


def test_restarts_that_were_made_before_need_not_be_made_again():
    reduced = np.random.default_rng(5).normal(size=(400, 6))
    whole = nfindr(reduced, 7, restarts=12, seed=3)
    for before in (1, 4, 11):
        found = nfindr(reduced, 7, restarts=12, seed=3, after=nfindr(reduced, 7, restarts=before, seed=3))
        for name, values in whole._asdict().items():
            np.testing.assert_array_equal(getattr(found, name), values, err_msg=name)


@pytest.mark.parametrize("thin", [1.0, 1e-7])
def test_pixels_that_single_precision_cannot_tell_apart_are_told_apart(thin):
    rng = np.random.default_rng(1)
    reduced = rng.uniform(size=(2000, 5)) * [1, 1, 1, 1, thin]
    ends = reduced[rng.integers(2000, size=40)]
    reduced = np.vstack([reduced, ends * (1 + 1e-9), ends * (1 - 1e-9)])
    found = nfindr(reduced, 6, restarts=5, seed=2)
    scaled = (reduced - reduced.min(axis=0)) / np.ptp(reduced, axis=0)
    rows = np.column_stack([scaled, np.ones(len(scaled))])
    scores = np.abs(rows @ np.linalg.inv(rows[found.indices]))
    assert scores.max() <= 1 + 1e-11


def test_replacements_count_what_the_starts_lacked():
    reduced = np.random.default_rng(3).normal(size=(500, 9))
    assert nfindr(reduced, 10).replacements.min() > 0
    assert nfindr(reduced[:10], 10).replacements.tolist() == [0] * 10


def test_the_same_seed_gives_the_same_answer_and_another_seed_other_restarts():
    reduced = np.random.default_rng(3).normal(size=(500, 9))
    first, again, other = (nfindr(reduced, 10, seed=seed) for seed in (1, 1, 2))
    assert first.volumes.tolist() == again.volumes.tolist()
    assert first.indices.tolist() == again.indices.tolist()
    assert first.volumes.tolist() != other.volumes.tolist()
    assert first.volumes[0] == other.volumes[0]  # the deterministic start


@pytest.mark.parametrize("dimensions", [1, 2, 3, 10, 30])
def test_the_corner_of_a_box_has_the_product_of_its_edges_over_the_factorial_as_volume(dimensions):
    edges = np.linspace(0.5, 2, dimensions)
    corner = np.vstack([np.zeros(dimensions), np.diag(edges), np.full(dimensions, 0.01)])
    found = nfindr(corner, dimensions + 1)
    assert found.volume == pytest.approx(edges.prod() / math.factorial(dimensions), rel=1e-9)
    assert set(found.indices.tolist()) == set(range(dimensions + 1))


def test_indices_ascend_by_reduced_coordinates():
    reduced = np.random.default_rng(0).normal(size=(100, 4))
    assert (np.diff(reduced[nfindr(reduced, 5).indices, 0]) > 0).all()
    square = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    assert nfindr(square, 3).indices.tolist() == [2, 1, 0]


def test_two_endmembers_are_the_ends_of_the_line():
    found = nfindr(np.array([[3.0], [-2.0], [9.0], [9.0], [4.0]]), 2)
    assert found.indices.tolist() == [1, 2]
    assert found.volume == pytest.approx(11, rel=1e-12)


def test_of_equal_pixels_the_first_is_named():
    reduced = mixed(20, 3, seed=0)
    assert sorted(nfindr(np.vstack([reduced, reduced]), 3).indices.tolist()) == [0, 1, 2]


def flat_pixels(kind):
    rng = np.random.default_rng(0)
    return {
        "identical": np.tile(rng.normal(size=3), (50, 1)),
        "on a line": np.outer(rng.normal(size=50), rng.normal(size=3)) + 1,
        "on a tilted plane": rng.normal(size=(50, 2)) @ rng.normal(size=(2, 3)) + 1,
        "one axis is rounding": rng.normal(size=(50, 3)) * [1, 1, 1e-14],
        "three distinct": np.repeat(rng.normal(size=(3, 3)), 20, axis=0),
    }[kind]


@pytest.mark.parametrize(
    "kind", ["identical", "on a line", "on a tilted plane", "one axis is rounding", "three distinct"]
)
def test_pixels_in_fewer_dimensions_have_volume_zero(kind):
    found = nfindr(flat_pixels(kind), 4)
    assert found.volume == 0
    assert found.volumes.tolist() == [0] * 10
    assert found.indices.shape == (4,)


@settings(max_examples=60, deadline=None)
@given(count=st.integers(3, 9), thinness=st.floats(-13, -3), seed=st.integers(0, 10_000))
def test_a_tilted_and_almost_flat_set_gives_distinct_vertices_or_volume_zero(count, thinness, seed):
    rng = np.random.default_rng(seed)
    widths = 10.0 ** rng.uniform(thinness, 0, count - 1)
    rotation = np.linalg.qr(rng.normal(size=(count - 1, count - 1))).Q
    found = nfindr(rng.normal(size=(100, count - 1)) * widths @ rotation, count, restarts=3)
    assert len(set(found.indices.tolist())) == count or found.volume == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pure_pixels_are_found_in_spectra_of_either_precision(dtype):
    rng = np.random.default_rng(0)
    shares = np.vstack([np.eye(4), rng.dirichlet(np.ones(4), 3000) * 0.96 + 0.01])
    pixels = (shares @ rng.uniform(0.05, 0.6, (4, 60)) + rng.normal(0, 1e-4, (3004, 60))).astype(dtype)
    found = nfindr(reduce(pixels, principal_subspace(pixels, 3)), 4)
    assert sorted(found.indices.tolist()) == [0, 1, 2, 3]
    assert found.volumes.min() == found.volumes.max()


def test_single_precision_and_strided_pixels_are_accepted():
    reduced = mixed(60, 4, seed=0)
    expected = set(nfindr(reduced, 4).indices.tolist())
    assert set(nfindr(reduced.astype(np.float32), 4).indices.tolist()) == expected
    assert set(nfindr(np.asfortranarray(reduced), 4).indices.tolist()) == expected


@pytest.mark.parametrize(
    ("shape", "count", "restarts", "message"),
    [
        ((3, 3), 4, 10, "3 pixels are fewer than 4"),
        ((9, 3), 3, 10, r"reduce them to \(n, 2\)"),
        ((9, 0), 1, 10, "count is 1"),
        ((9, 2), 3, 0, "restarts is 0"),
    ],
)
def test_impossible_requests_are_refused(shape, count, restarts, message):
    with pytest.raises(ValueError, match=message):
        nfindr(np.random.default_rng(0).normal(size=shape), count, restarts=restarts)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_reduced_pixels_that_are_not_finite_are_refused(bad):
    reduced = mixed(20, 3, seed=0)
    reduced[4, 1] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        nfindr(reduced, 3)
