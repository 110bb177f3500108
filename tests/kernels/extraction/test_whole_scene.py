"""N-FINDR over a scene in parts against determinants of all replacements, one by one, in float64."""

from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_dask.kernels.extraction.whole_scene import GAIN, Question, answer, basis_of, combine, holds, search, space_of


def scene(seed=0, count=4, pixels=3000, noise=0.002):
    """Mixtures with 30 pure pixels of each material: spectra (n, L) and the materials."""
    rng = np.random.default_rng(seed)
    pure = rng.uniform(0.05, 0.6, (count, 12))
    shares = np.vstack([np.repeat(np.eye(count), 30, axis=0), rng.dirichlet(np.ones(count), pixels - 30 * count)])
    return shares[rng.permutation(pixels)] @ pure + rng.normal(0, noise, (pixels, 12)), pure


def of_sample(spectra, count):
    """The space of a sample in its own basis."""
    basis = basis_of(spectra, count)
    return space_of(spectra @ basis.T, basis, count)


def asked(planes, space, cuts=(), order=None):
    """Answers about planes (r, n) that are cut into parts, which come in some order."""
    parts = list(zip(np.split(planes, cuts, axis=1), (0, *cuts), strict=True))
    parts = parts if order is None else [parts[number] for number in order]
    return lambda question: reduce(combine, (answer(part, first, space, question) for part, first in parts))


def searched(spectra, count, sample, *, known=None, **how):
    """The search from the first pixels of a sample; planes are float32, as they are in a run."""
    space = of_sample(spectra[sample], count)
    planes = (spectra @ space.basis.T).astype(np.float32).T
    start = np.asarray(sample[:count])
    points = planes[:, start].T.astype(float)
    ask = asked(planes, space, how.pop("cuts", ()), how.pop("order", None))
    if known is not None:
        how["sample"] = planes[:, known].T.astype(float)
    return search(ask, space, start, planes[:, sample[:200]].T.astype(float), points, **how), space, planes


def determinants(space, planes, found):
    """For each vertex and pixel: the determinant with the pixel in place of the vertex, over that without."""
    rows, corners = space.rows(planes.T.astype(float)), space.rows(found.points)
    out = np.empty((len(corners), len(rows)))
    for vertex in range(len(corners)):
        for pixel, row in enumerate(rows):
            changed = corners.copy()
            changed[vertex] = row
            out[vertex, pixel] = abs(np.linalg.det(changed) / np.linalg.det(corners))
    return out


@pytest.mark.parametrize("robust", [True, False])
def test_no_pixel_that_others_support_enlarges_what_is_found(robust):
    spectra, _ = scene(pixels=1500)
    spectra[5], spectra[700] = 1.5, 2.0 * spectra[700, ::-1]
    found, space, planes = searched(spectra, 4, np.arange(1, 1500, 5), robust=robust)
    ratios = determinants(space, planes, found)
    kept = np.setdiff1d(np.arange(1500), found.dropped)
    assert ratios[:, kept].max() <= 1 + GAIN
    assert found.gain == pytest.approx(ratios[:, kept].max() - 1, abs=1e-9)
    assert found.known == 1500
    assert (5 in found.pixels) != robust
    points = planes.T.astype(float)
    for pixel, support in zip(found.dropped, found.dropped_support, strict=True):
        tenth = np.sort(np.linalg.norm(points - points[pixel], axis=1))[9]
        assert support > 4
        assert tenth > 4 * np.median(np.sort(np.linalg.norm(points[:, None] - points[:200:5], axis=2), axis=0)[9]) * 0.7


def test_a_patch_that_the_sample_missed_becomes_an_endmember():
    spectra, pure = scene(count=4, pixels=6000)
    weights = np.linalg.lstsq(pure.T, spectra.T, rcond=None)[0]
    patch = np.flatnonzero(weights[2] > 0.9)
    sample = np.setdiff1d(np.arange(0, 6000, 3), patch)
    assert patch.size > 12
    found, *_ = searched(spectra, 4, sample)
    assert np.isin(found.pixels, patch).sum() == 1
    vertex = int(np.flatnonzero(np.isin(found.pixels, patch))[0])
    assert np.isin(found.members[vertex], patch).all()
    assert found.members[vertex, 0] == found.pixels[vertex]
    np.testing.assert_allclose(spectra[found.members[vertex]].mean(axis=0), pure[2], atol=0.02)


@settings(max_examples=15, deadline=None)
@given(data=st.data(), seed=st.integers(0, 99))
def test_neither_size_nor_order_of_the_parts_changes_the_answer(data, seed):
    spectra, _ = scene(seed, pixels=800)
    cuts = tuple(sorted(data.draw(st.sets(st.integers(1, 799), max_size=5))))
    order = data.draw(st.permutations(range(len(cuts) + 1)))
    sample = np.arange(0, 800, 4)
    whole, *_ = searched(spectra, 4, sample)
    parts, *_ = searched(spectra, 4, sample, cuts=cuts, order=order)
    for name in ("pixels", "members", "dropped", "known", "rounds"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
    np.testing.assert_allclose(parts.support, whole.support, rtol=1e-6)


@pytest.mark.parametrize("kind", ["nearest", "angle"])
def test_the_nearest_pixels_are_those_of_a_slow_sort_and_missing_ones_are_none(kind):
    spectra, _ = scene(pixels=400)
    space = of_sample(spectra, 3)
    planes = (spectra @ space.basis.T).T
    planes[:, 40:60] = np.nan
    points = planes[:, [0, 100, 399]].T
    found = asked(planes, space, (90, 200))(Question(kind, points, 7))
    assert found.known == 380
    unit = 1 if kind == "nearest" else np.linalg.norm(planes, axis=0)
    for row, point in enumerate(points):
        point = point if kind == "nearest" else point / np.linalg.norm(point)
        squares = np.nan_to_num(((planes / unit - point[:, None]) ** 2).sum(axis=0), nan=np.inf)
        np.testing.assert_array_equal(np.argsort(squares, kind="stable")[:7], found.pixels[row])
        np.testing.assert_allclose(found.scores[row], np.sort(squares)[:7], atol=1e-12)


def test_fewer_pixels_than_asked_for_are_filled_up():
    spectra, _ = scene(pixels=200)
    space = of_sample(spectra, 3)
    found = answer((spectra[:3] @ space.basis.T).T, 10, space, Question("nearest", spectra[:1] @ space.basis.T, 5))
    assert found.pixels[0].tolist()[3:] == [-1, -1]
    assert np.isinf(found.scores[0, 3:]).all()


def test_too_few_dimensions_are_refused():
    with pytest.raises(ValueError, match="ask for 3 at most"):
        of_sample(scene(count=3, noise=0)[0], 6)


def test_a_basis_of_some_pixels_holds_the_materials_that_they_are_made_of():
    rng = np.random.default_rng(0)
    pure = np.cumsum(rng.normal(0, 0.02, (5, 80)), axis=1) + 0.3
    shares = rng.dirichlet(np.ones(5), 4000)
    without = np.column_stack([rng.dirichlet(np.ones(4), 1000), np.zeros(1000)])
    spectra, few = (each @ pure + rng.normal(0, 0.002, (len(each), 80)) for each in (shares, without))
    own = basis_of(spectra, 5)
    found = pure + rng.normal(0, 0.002 / np.sqrt(10), pure.shape)  # as means of ten pixels are
    assert holds(basis_of(spectra[:500], 5), own, found)
    assert holds(basis_of(few, 5), own, found[:4])
    assert not holds(basis_of(few, 5), own, found)
    assert holds(own[:5], own, np.zeros((1, 80)))


def test_spectra_without_noise_lie_in_both_bases_but_for_rounding():
    rng = np.random.default_rng(0)
    pure = rng.uniform(0.05, 0.6, (3, 30))
    spectra = (rng.dirichlet(np.ones(3), 2000) @ pure).astype(np.float32)
    assert holds(basis_of(spectra[:300], 3), basis_of(spectra, 3), spectra[:20])


def test_members_are_those_of_a_sample_only_where_it_has_pixels_as_much_alike():
    spectra, pure = scene(count=4, pixels=6000)
    weights = np.linalg.lstsq(pure.T, spectra.T, rcond=None)[0]
    patch = np.flatnonzero(weights[2] > 0.9)
    known = np.setdiff1d(np.arange(0, 6000, 2), patch)
    start = np.setdiff1d(np.arange(0, 6000, 3), patch)
    found, _, planes = searched(spectra, 4, start, known=known)
    rare = np.isin(found.pixels, patch)
    assert rare.sum() == 1
    assert (found.sampled[rare] == -1).all()
    assert (found.sampled[~rare] >= 0).any()
    unit = planes.T.astype(float) / np.linalg.norm(planes.T.astype(float), axis=1, keepdims=True)
    for number, pixel in enumerate(found.pixels):
        distance = np.linalg.norm(unit - unit[pixel], axis=1)
        nearest = known[np.argsort(distance[known], kind="stable")[:10]]
        if found.sampled[number, 0] >= 0:
            np.testing.assert_array_equal(known[found.sampled[number]], nearest)
        alike = distance[nearest[-1]] <= 2 * np.sort(distance)[9]
        assert alike == (found.sampled[number, 0] >= 0)


def test_a_sample_of_few_pixels_and_a_plain_search_give_no_members():
    spectra, _ = scene(pixels=2000)
    few, *_ = searched(spectra, 4, np.arange(0, 2000, 3), known=np.arange(9))
    plain, *_ = searched(spectra, 4, np.arange(0, 2000, 3), known=np.arange(2000), robust=False)
    assert (few.sampled == -1).all()
    assert (plain.sampled == -1).all()
    assert plain.sampled.shape == (4, 1)
