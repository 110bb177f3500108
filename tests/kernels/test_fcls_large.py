"""fcls of many vertices against cvxopt, the solver for few, and the conditions of the optimum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_dask.kernels import fcls as module
from hsi_dask.kernels.fcls import MANY, fcls, fcls_cvxopt


def problem(p, n=40, seed=0, alike=0.0, noise=0.003, wavelengths=150):
    """Pixels of one to five vertices each, with noise: (r, n), and the vertices (p, r)."""
    rng = np.random.default_rng(seed)
    own, common = rng.standard_normal((p, wavelengths)), rng.standard_normal(wavelengths)
    spectra = 0.3 + 0.1 * (np.sqrt(alike) * common + np.sqrt(1 - alike) * own)
    shares = np.zeros((n, p))
    for row in shares:
        several = rng.choice(p, rng.integers(1, 6), replace=False)
        row[several] = rng.dirichlet(np.ones(several.size))
    pixels = shares @ spectra + rng.normal(0, noise, (n, wavelengths))
    basis = np.linalg.qr(spectra.T)[0].T
    return np.ascontiguousarray(basis @ pixels.T), spectra @ basis.T


def assert_optimal(abundances, pixels, vertices, tolerance=1e-11):
    assert (abundances >= 0).all()
    np.testing.assert_allclose(abundances.sum(axis=0), 1, atol=1e-12)
    slopes = vertices @ (pixels - vertices.T @ abundances)
    slopes -= (abundances * slopes).sum(axis=0)
    assert slopes.max() <= tolerance
    assert np.abs(slopes[abundances > 0]).max() <= tolerance


@pytest.mark.parametrize("p", [MANY + 1, 100])
@pytest.mark.parametrize("alike", [0.0, 0.99])
def test_abundances_are_those_of_the_interior_point_solver(p, alike):
    pixels, vertices = problem(p, 8, alike=alike)
    np.testing.assert_allclose(fcls(pixels, vertices), fcls_cvxopt(pixels, vertices), atol=1e-5)


@pytest.mark.parametrize("p", [1, 2, 5, 12, 13, 40])
def test_the_solvers_for_few_and_for_many_vertices_agree(p, monkeypatch):
    pixels, vertices = (
        problem(p, 200, noise=0.05) if p > 5 else (np.random.default_rng(0).normal(size=(p, 200)), np.eye(p))
    )
    expected = fcls(pixels, vertices)
    monkeypatch.setattr(module, "MANY", 0)
    found = fcls(pixels, vertices)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert ((found > 0) == (expected > 0)).all()


@settings(max_examples=25, deadline=None)
@given(p=st.integers(MANY + 1, 120), seed=st.integers(0, 999), alike=st.floats(0, 0.9999), noise=st.floats(0, 0.3))
def test_the_conditions_of_the_optimum_hold(p, seed, alike, noise):
    pixels, vertices = problem(p, 20, seed, alike, noise)
    assert_optimal(fcls(pixels, vertices), pixels, vertices)


@pytest.mark.parametrize("kind", ["twice the same", "fewer dimensions than vertices", "all equal", "on a line"])
def test_dependent_vertices_are_allowed(kind):
    pixels, vertices = problem(80, 60, noise=0.02)
    if kind == "twice the same":
        vertices = np.vstack([vertices, vertices])
    elif kind == "fewer dimensions than vertices":
        vertices, pixels = vertices[:, :6], pixels[:6]
    elif kind == "all equal":
        vertices = np.tile(vertices[:1], (80, 1))
    else:
        vertices = np.outer(np.linspace(0, 1, 80), vertices[0])
    assert_optimal(fcls(pixels, vertices), pixels, vertices)


def test_pure_pixels_are_unit_vectors_and_raw_spectra_do_as_well_as_projections():
    pixels, vertices = problem(90)
    np.testing.assert_allclose(fcls(vertices.T, vertices), np.eye(90), atol=1e-12)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(200, 90)))[0]
    np.testing.assert_allclose(fcls(rotation @ pixels, vertices @ rotation.T), fcls(pixels, vertices), atol=1e-10)


def test_a_pixel_alone_and_among_others_has_the_same_bits_and_a_missing_value_is_its_own():
    pixels, vertices = problem(70, 300)
    pixels[3, 17] = np.nan
    pixels[5, 90] = np.inf
    whole = fcls(pixels, vertices)
    assert np.flatnonzero(np.isnan(whole).any(axis=0)).tolist() == [17, 90]
    for part in (slice(0, 1), slice(100, 101), slice(63, 299)):
        np.testing.assert_array_equal(fcls(pixels[:, part], vertices), whole[:, part])


@pytest.mark.parametrize("scale", [1e-200, 1e-6, 1e6, 1e150])
def test_units_do_not_matter(scale):
    pixels, vertices = problem(70)
    np.testing.assert_allclose(fcls(pixels * scale, vertices * scale), fcls(pixels, vertices), atol=1e-12)
