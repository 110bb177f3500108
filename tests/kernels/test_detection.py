"""Detectors against the spectral package, and against their definitions written out pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_dask.kernels.detection import ace, background, cem, glrt, matched_filter, osp
from hsi_dask.kernels.linear_forms import linear_forms
from hsi_dask.kernels.mnf import mnf
from hsi_dask.kernels.noise import regression_noise


def scene(wavelengths=12, n=400, seed=0):
    rng = np.random.default_rng(seed)
    pure = rng.uniform(0.05, 0.6, (5, wavelengths))
    spread = rng.uniform(0.005, 0.02, wavelengths)
    pixels = rng.dirichlet(np.ones(5), n) @ pure + rng.normal(size=(n, wavelengths)) * spread
    return pixels, rng.uniform(0.05, 0.6, (3, wavelengths)), spread**2


def statistics(pixels):
    return pixels.mean(axis=0), np.cov(pixels.T)


def scores(forms, pixels):
    return linear_forms(forms.weights, pixels.T, forms.offsets)


def test_matched_filter_and_ace_are_those_of_the_spectral_package():
    spectral = pytest.importorskip("spectral")
    pixels, targets, _ = scene()
    ours = background(*statistics(pixels))
    theirs = spectral.GaussianStats(*statistics(pixels), len(pixels))
    cosines = ace(ours.whitened(pixels), ours.whitened(targets))
    for number, target in enumerate(targets):
        expected = spectral.matched_filter(pixels[None], target, theirs).ravel()
        np.testing.assert_allclose(scores(matched_filter(ours, targets), pixels)[number], expected, atol=1e-10)
        expected = spectral.ace(pixels[None], target, theirs).ravel()
        np.testing.assert_allclose(np.abs(cosines[number]), expected, atol=1e-6)


def test_every_detector_is_its_definition():
    pixels, targets, _ = scene()
    mean, covariance = statistics(pixels)
    ours = background(mean, covariance)
    inverse = np.linalg.inv(covariance)
    moments = np.linalg.inv(covariance + np.outer(mean, mean))
    whitened, directions = ours.whitened(pixels), ours.whitened(targets)
    found = {
        "mf": scores(matched_filter(ours, targets), pixels),
        "cem": scores(cem(ours, targets), pixels),
        "osp": scores(osp(targets), pixels),
        "ace": ace(whitened, directions),
        "glrt": glrt(whitened, directions, 400),
    }
    for j, target in enumerate(targets):
        s, others = target - mean, np.delete(targets, j, axis=0).T
        away = np.eye(12) - others @ np.linalg.inv(others.T @ others) @ others.T
        for i, pixel in enumerate(pixels[:60]):
            y = pixel - mean
            along, energy = s @ inverse @ y, y @ inverse @ y
            expected = {
                "mf": along / (s @ inverse @ s),
                "cem": target @ moments @ pixel / (target @ moments @ target),
                "osp": target @ away @ pixel / (target @ away @ target),
                "ace": along * abs(along) / (s @ inverse @ s * energy),
                "glrt": along * abs(along) / (s @ inverse @ s * (400 + energy)),
            }
            for name, value in expected.items():
                assert found[name][j, i] == pytest.approx(value, abs=2e-6), name


@pytest.mark.parametrize("count", [1, 3, 12])
def test_few_components_are_the_textbook_on_pixels_reduced_by_mnf(count):
    pixels, targets, noise = scene()
    mean, covariance = statistics(pixels)
    ours = background(mean, covariance, noise=noise, components=count)
    transform = mnf(mean, covariance, noise)
    reduced, reduced_targets = (
        (spectra - transform.mean) @ transform.forward[:count].T for spectra in (pixels, targets)
    )
    textbook = background(reduced.mean(axis=0), np.atleast_2d(np.cov(reduced.T)))
    np.testing.assert_allclose(
        ace(ours.whitened(pixels), ours.whitened(targets)),
        ace(textbook.whitened(reduced), textbook.whitened(reduced_targets)),
        atol=1e-6,
    )
    np.testing.assert_allclose(
        scores(matched_filter(ours, targets), pixels),
        scores(matched_filter(textbook, reduced_targets), reduced),
        atol=1e-9,
    )


def test_projections_on_any_basis_that_holds_the_forms_give_the_same_scores():
    pixels, targets, noise = scene(40)
    ours = background(*statistics(pixels), noise=noise, components=6)
    filters = matched_filter(ours, targets)
    basis = np.linalg.qr(np.vstack([targets, filters.weights, ours.forward]).T)[0].T
    projections = basis @ pixels.T
    whitened = linear_forms(ours.forward @ basis.T, projections, -ours.forward @ ours.mean)
    np.testing.assert_allclose(
        ace(whitened, ours.whitened(targets)), ace(ours.whitened(pixels), ours.whitened(targets)), atol=1e-6
    )
    found = linear_forms(filters.weights @ basis.T, projections, filters.offsets)
    np.testing.assert_allclose(found, scores(filters, pixels), atol=1e-10)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), count=st.one_of(st.none(), st.integers(2, 12)), light=st.floats(0.1, 10))
def test_targets_score_one_the_mean_scores_nothing_and_ace_ignores_the_distance_from_it(seed, count, light):
    pixels, targets, _ = scene(seed=seed)
    ours = background(*statistics(pixels), components=count)
    for forms in (matched_filter(ours, targets), cem(ours, targets), osp(targets)):
        np.testing.assert_allclose(np.diag(scores(forms, targets)), 1, atol=1e-8)
    np.testing.assert_allclose(scores(matched_filter(ours, targets), ours.mean[None]), 0, atol=1e-10)
    np.testing.assert_allclose(scores(osp(targets), targets), np.eye(3), atol=1e-8)
    moved = ours.mean + light * (targets - ours.mean)
    np.testing.assert_allclose(np.diag(ace(ours.whitened(moved), ours.whitened(targets))), 1, atol=1e-6)
    found = ace(ours.whitened(pixels), ours.whitened(targets))
    assert (np.abs(found) <= 1 + 1e-6).all()
    assert (np.abs(glrt(ours.whitened(pixels), ours.whitened(targets), 400)) <= np.abs(found)).all()
    np.testing.assert_array_equal(ace(np.zeros((len(ours.forward), 1)), ours.whitened(targets)), 0)


def test_cem_has_the_least_energy_of_all_filters_that_pass_the_target():
    pixels, targets, _ = scene()
    mean, covariance = statistics(pixels)
    best = scores(cem(background(mean, covariance * 399 / 400), targets[:1]), pixels)[0]
    for change in np.random.default_rng(0).normal(size=(20, 12)):
        change -= targets[0] * (change @ targets[0]) / (targets[0] @ targets[0])
        assert ((best + 1e-3 * pixels @ change) ** 2).sum() > (best**2).sum()


def test_undesired_spectra_are_suppressed():
    _, targets, _ = scene()
    forms = osp(targets[:1], targets[1:])
    np.testing.assert_allclose(scores(forms, np.array([[0.3, 0.7]]) @ targets[1:]), 0, atol=1e-12)
    assert osp(targets[:1]).weights.shape == (1, 12)  # nothing to suppress


def test_a_missing_pixel_is_nan_in_every_score():
    pixels, targets, _ = scene()
    ours = background(*statistics(pixels))
    pixels[3, 2] = np.nan
    assert np.isnan(ace(ours.whitened(pixels), ours.whitened(targets))).any(axis=0).nonzero()[0].tolist() == [3]


def test_on_jasper_ridge_few_components_find_water_better_than_all(real_data):
    data = np.load(real_data / "jasper_ridge.npz")
    pixels, water = data["cube"].reshape(-1, 198) / 5000.0, data["abundance"].reshape(-1, 4)[:, 1] > 0.5
    mean, covariance = statistics(pixels)
    areas = {}
    for count in (None, 10):
        ours = background(mean, covariance, noise=regression_noise(covariance, len(pixels)), components=count)
        order = ace(ours.whitened(pixels), ours.whitened(data["endmembers"][1:2]))[0].argsort().argsort()
        n = water.sum()
        areas[count] = (order[water].sum() - n * (n - 1) / 2) / (n * (~water).sum())
    assert areas[None] == pytest.approx(0.83, abs=0.01)
    assert areas[10] > 0.998


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: background(np.ones(3), np.eye(4)), "L must agree"),
        (lambda: background(np.ones(3), np.ones((3, 3))), "rank 1"),
        (lambda: background(np.ones(3), np.ones((3, 3)), components=2), "fewer than 2 components"),
        (lambda: background(np.ones(3), np.eye(3), components=4), "1 to the 3 wavelengths"),
        (lambda: matched_filter(background(np.ones(3), np.eye(3)), np.ones((2, 4))), r"\(2, 4\)"),
        (lambda: matched_filter(background(np.ones(3), np.eye(3)), np.ones(3)), "target 1 is the mean"),
        (lambda: osp([[1.0, 0.0], [2.0, 0.0]]), "target 1 is a mixture"),
        (lambda: ace(np.ones((3, 5)), np.ones((4, 1))), r"\(3, 5\) and targets \(4, 1\)"),
        (lambda: glrt(np.ones((3, 5)), np.ones((3, 1)), 0), "pixels is 0"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
