"""nnls against scipy's active set, ucls and scls against numpy's least squares, pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_dask.kernels.abundances.nnls import nnls
from hsi_dask.kernels.abundances.scls import scls
from hsi_dask.kernels.abundances.spread import abundance_std
from hsi_dask.kernels.abundances.ucls import ucls
from hsi_dask.kernels.linear_forms import linear_forms

METHODS = [ucls, scls, nnls]


def problem(p, n=200, seed=0, noise=0.05, wavelengths=30):
    """Pixels (L, n), endmembers (p, L), and both in an orthonormal basis of the endmembers."""
    rng = np.random.default_rng(seed)
    spectra = rng.uniform(0.05, 0.6, (p, wavelengths))
    pixels = rng.dirichlet(np.full(p, 0.5), n) * rng.uniform(0, 2, (n, 1)) @ spectra
    pixels = (pixels + rng.normal(0, noise, pixels.shape)).T
    basis = np.linalg.qr(spectra.T)[0].T
    return pixels, spectra, basis @ pixels, spectra @ basis.T


@pytest.mark.parametrize("p", [1, 2, 4, 8, 12, 20])
def test_nnls_is_that_of_scipy(p):
    optimize = pytest.importorskip("scipy.optimize")
    pixels, spectra, projections, vertices = problem(p)
    expected = np.array([optimize.nnls(spectra.T, pixel)[0] for pixel in pixels.T]).T
    for found in (nnls(projections, vertices), nnls(pixels, spectra)):
        np.testing.assert_allclose(found, expected, atol=1e-10)
        assert ((found > 0) == (expected > 1e-11)).all()


@settings(max_examples=40, deadline=None)
@given(p=st.integers(1, 14), seed=st.integers(0, 999), alike=st.floats(0, 0.999))
def test_nnls_fulfils_the_conditions_of_its_optimum(p, seed, alike):
    _, _, projections, vertices = problem(p, 60, seed)
    vertices = alike * vertices.mean(axis=0) + (1 - alike) * vertices
    found = nnls(projections, vertices)
    slopes = vertices @ (projections - vertices.T @ found)
    assert (found >= 0).all()
    assert (slopes <= 1e-9).all()
    assert (np.abs(slopes[found > 0]) <= 1e-9).all()


@pytest.mark.parametrize("p", [1, 2, 5, 12])
def test_ucls_and_scls_are_least_squares_without_and_with_a_heavy_row_of_ones(p):
    pixels, spectra, projections, vertices = problem(p)
    free, summed = ucls(projections, vertices), scls(projections, vertices)
    heavy = 1e7
    for i, pixel in enumerate(pixels.T[:50]):
        np.testing.assert_allclose(free[:, i], np.linalg.lstsq(spectra.T, pixel, rcond=None)[0], atol=1e-10)
        rows = np.vstack([spectra.T, np.full(p, heavy)])
        expected = np.linalg.lstsq(rows, np.append(pixel, heavy), rcond=None)[0]
        np.testing.assert_allclose(summed[:, i], expected, atol=1e-5)
    np.testing.assert_allclose(summed.sum(axis=0), 1, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(p=st.integers(1, 8), seed=st.integers(0, 999))
def test_scls_leaves_a_residual_normal_to_every_change_that_keeps_the_sum(p, seed):
    _, _, projections, vertices = problem(p, 20, seed)
    rest = projections - vertices.T @ scls(projections, vertices)
    np.testing.assert_allclose((vertices - vertices.mean(axis=0)) @ rest, 0, atol=1e-10)


@pytest.mark.parametrize("p", [5, 7, 12, 20, 30])
def test_the_dimension_that_a_fixed_sum_takes_is_never_taken_for_a_number(p):
    for seed in range(60):  # a tenth of sets of 20 had abundances of 1e15
        _, _, projections, vertices = problem(p, 5, seed)
        assert np.abs(scls(projections, vertices)).max() < 100


@pytest.mark.parametrize("p", [2, 5, 12, 30])
def test_endmembers_that_are_mixtures_of_others_leave_abundances_bounded(p):
    for seed in range(40):
        pixels, spectra, _, _ = problem(p, 5, seed, wavelengths=60)
        several = np.vstack([spectra, spectra.mean(axis=0), spectra[:1]])
        for method in (ucls, scls):
            found = method(pixels, several)
            assert np.abs(found).max() < 100
            np.testing.assert_allclose(several.T @ found, spectra.T @ method(pixels, spectra), atol=1e-9)
        std = abundance_std(several, np.full((p + 2, 1), 1 / (p + 2)), np.array([0.05]), 60)
        assert std.max() < 10


@pytest.mark.parametrize("method", METHODS)
def test_mixtures_are_unmixed_and_pure_pixels_are_unit_vectors(method):
    _, spectra, _, _ = problem(5)
    shares = np.random.default_rng(1).dirichlet(np.ones(5), 40).T
    np.testing.assert_allclose(method(spectra.T @ shares, spectra), shares, atol=1e-10)
    np.testing.assert_allclose(method(spectra.T, spectra), np.eye(5), atol=1e-10)


@pytest.mark.parametrize("method", [ucls, nnls])
def test_brightness_scales_abundances(method):
    _, _, projections, vertices = problem(6)
    np.testing.assert_allclose(method(projections * 3.7, vertices), 3.7 * method(projections, vertices), atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_a_pixel_is_unmixed_alone_as_among_others_bit_for_bit(method):
    _, _, projections, vertices = problem(6, 3000)
    whole = method(projections, vertices)
    for part in (slice(0, 1), slice(17, 18), slice(1000, 2999)):
        np.testing.assert_array_equal(method(projections[:, part], vertices), whole[:, part])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_missing_value_makes_its_own_pixel_nan(method, bad):
    _, _, projections, vertices = problem(3, 10)
    projections[1, 4] = bad
    found = method(projections, vertices)
    assert np.isnan(found[:, 4]).all()
    assert np.isfinite(np.delete(found, 4, axis=1)).all()


@pytest.mark.parametrize("method", METHODS)
def test_dependent_endmembers_are_allowed(method):
    pixels, spectra, _, _ = problem(3)
    several = np.vstack([spectra, spectra[1]])
    found = method(pixels, several)
    np.testing.assert_allclose(several.T @ found, spectra.T @ method(pixels, spectra), atol=1e-9)


def test_a_black_pixel_has_no_abundance():
    assert nnls(np.zeros((3, 2)), np.eye(3)).tolist() == [[0, 0]] * 3


def test_a_mixture_that_is_zero_is_refused_by_nnls():
    with pytest.raises(ValueError, match="is zero everywhere"):
        nnls(np.ones((2, 3)), [[1.0, 0.5], [-1.0, -0.5]])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("projections", "vertices", "message"),
    [
        (np.ones((3, 5)), np.ones((2, 4)), r"\(3, 5\) and \(2, 4\)"),
        (np.ones(3), np.ones((2, 3)), r"\(3,\)"),
        (np.ones((3, 5)), np.full((2, 3), np.nan), "6 vertex coordinates are not finite"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(method, projections, vertices, message):
    with pytest.raises(ValueError, match=message):
        method(projections, vertices)


def test_linear_forms_are_a_matrix_product():
    rng = np.random.default_rng(0)
    matrix, planes, offsets = rng.normal(size=(5, 7)), rng.normal(size=(7, 3000)), rng.normal(size=5)
    np.testing.assert_allclose(linear_forms(matrix, planes, offsets), matrix @ planes + offsets[:, None], atol=1e-12)
    with pytest.raises(ValueError, match="do not fit"):
        linear_forms(matrix, planes[:6])
