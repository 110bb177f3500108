"""fcls against cvxopt's exact QP, against every support tried one by one, and against the KKT conditions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_dask.kernels.fcls import fcls, fcls_cvxopt


def _spectra(rng, p, correlation, wavelengths=120):
    """Smooth spectra around 0.3, pairwise correlated about as asked."""
    x = np.linspace(0, 1, wavelengths)
    bumps = np.exp(-((x[:, None] - np.linspace(0, 1, 60)) ** 2) / 0.004)
    own = rng.normal(size=(p, 60)) @ bumps.T
    own = (own - own.mean(axis=1, keepdims=True)) / own.std(axis=1, keepdims=True)
    shared = np.sin(3 * x) / np.sin(3 * x).std()
    return 0.3 + 0.1 * (np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own)


def _coordinates(spectra):
    return spectra @ np.linalg.qr(spectra.T)[0]


def _conditioned(rng, p, condition):
    """p vertices in p dimensions whose differences from their mean have this condition number."""
    left = np.linalg.qr(np.column_stack([np.ones(p), rng.normal(size=(p, p - 1))]))[0][:, 1:]
    right = np.linalg.qr(rng.normal(size=(p, p)))[0][:, : p - 1]
    return left @ np.diag(np.geomspace(1, 1 / condition, p - 1)) @ right.T + rng.normal(size=p)


def _mixtures(rng, vertices, n, noise, concentration=0.5):
    p, r = vertices.shape
    return vertices.T @ rng.dirichlet(np.full(p, concentration), n).T + rng.normal(0, noise, (r, n))


def _objective(coordinates, vertices, abundances):
    return ((coordinates - vertices.T @ abundances) ** 2).sum(axis=0)


def _kkt_gap(coordinates, vertices, abundances):
    """How much the linearised objective can still fall, over its own scale; an upper bound of the suboptimality."""
    rest = coordinates - vertices.T @ abundances
    slopes = np.array([((v[:, None] - vertices.T @ abundances) * rest).sum(axis=0) for v in vertices])
    scale = np.linalg.norm(vertices, axis=1).max()
    away = np.linalg.norm(coordinates - vertices.mean(axis=0)[:, None], axis=0)
    return slopes.max(axis=0) / (scale * (scale + away))


def _every_support(pixel, vertices):
    """The best feasible point among the affine optima of all supports."""
    p = len(vertices)
    best, lowest = None, np.inf
    for size in range(1, p + 1):
        for support in map(list, combinations(range(p), size)):
            first, others = vertices[support[0]], vertices[support[1:]]
            weights = np.linalg.lstsq((others - first).T, pixel - first, rcond=None)[0]
            abundances = np.zeros(p)
            abundances[support] = [1 - weights.sum(), *weights]
            distance = ((pixel - abundances @ vertices) ** 2).sum()
            if abundances.min() >= -1e-14 and distance < lowest:
                best, lowest = abundances, distance
    return best


def _assert_feasible(abundances):
    assert (abundances >= 0).all()
    np.testing.assert_allclose(abundances.sum(axis=0), 1, rtol=0, atol=1e-12)


@pytest.mark.parametrize("p", [1, 2, 3, 4, 5])
def test_small_problems_agree_with_trying_every_support(p):
    rng = np.random.default_rng(p)
    vertices = rng.normal(size=(p, 5))
    pixels = _mixtures(rng, vertices, 60, 0.5)
    expected = np.array([_every_support(z, vertices) for z in pixels.T]).T
    np.testing.assert_allclose(fcls(pixels, vertices), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("condition", [1e5, 1e7])
def test_ill_conditioned_small_problems_agree_with_trying_every_support(condition):
    rng = np.random.default_rng(5)
    vertices = _conditioned(rng, 5, condition)
    pixels = _mixtures(rng, vertices, 40, 0.1 / condition)
    expected = np.array([_every_support(z, vertices) for z in pixels.T]).T
    np.testing.assert_allclose(fcls(pixels, vertices), expected, rtol=0, atol=1e-14 * condition)


@pytest.mark.parametrize("correlation", [0.0, 0.99])
@pytest.mark.parametrize("p", [1, 2, 4, 9, 12, 13, 20, 32])
def test_agrees_with_cvxopt(p, correlation):
    rng = np.random.default_rng(p)
    vertices = _coordinates(_spectra(rng, p, correlation))
    pixels = _mixtures(rng, vertices, 12, 0.02)
    fast, reference = fcls(pixels, vertices), fcls_cvxopt(pixels, vertices)
    np.testing.assert_allclose(fast, reference, rtol=0, atol=1e-5)
    assert (_objective(pixels, vertices, fast) <= _objective(pixels, vertices, reference) + 1e-12).all()


@pytest.mark.parametrize("p", [*range(1, 16), 20, 25, 31, 40, 70])
def test_the_optimality_conditions_hold(p):
    rng = np.random.default_rng(p)
    for vertices in (rng.normal(size=(p, max(p, 3))), _coordinates(_spectra(rng, p, 0.99, 426))):
        for noise in (0.0, 0.01, 1.0):
            pixels = _mixtures(rng, vertices, 40, noise)
            abundances = fcls(pixels, vertices)
            _assert_feasible(abundances)
            assert _kkt_gap(pixels, vertices, abundances).max() < 1e-13


@pytest.mark.parametrize("condition", [1e3, 1e5, 1e7])
@pytest.mark.parametrize("p", [4, 12, 20, 30])
def test_exact_mixtures_of_ill_conditioned_vertices_are_recovered(p, condition):
    rng = np.random.default_rng(p)
    vertices = _conditioned(rng, p, condition)
    truth = rng.dirichlet(np.full(p, 0.5), 50).T
    abundances = fcls(vertices.T @ truth, vertices)
    _assert_feasible(abundances)
    np.testing.assert_allclose(abundances, truth, rtol=0, atol=2e-14 * condition)


@pytest.mark.parametrize(("condition", "length"), [(1e3, 0.1), (1e5, 1e-3), (1e5, 1e-6), (1e7, 1e-8)])
@pytest.mark.parametrize("p", [4, 12, 20, 30])
def test_planted_optima_of_ill_conditioned_vertices_are_found(p, condition, length):
    """Pixels with a known optimum, z = a C + rest, the rest leaning away from the absent vertices.

    Least squares answers a rounding of the vertices with condition + condition^2 x length.
    """
    rng = np.random.default_rng(p)
    vertices = _conditioned(rng, p, condition)
    away = np.linalg.pinv(vertices - vertices.mean(axis=0), rcond=1e-3 / condition)
    truth = rng.dirichlet(np.full(p, 0.5), 50).T
    absent = rng.random((p, 50)) < 0.5
    absent[0] = False
    truth[absent] = 0
    truth /= truth.sum(axis=0)
    push = away @ (absent * rng.uniform(-1, -0.5, (p, 50)))
    pixels = vertices.T @ truth + length * push / np.linalg.norm(push, axis=0).clip(1e-300)
    abundances = fcls(pixels, vertices)
    tolerance = 2e-14 * condition + 1e-14 * condition**2 * length
    np.testing.assert_allclose(abundances, truth, rtol=0, atol=tolerance)
    assert (abundances[absent] == 0).all()


@pytest.mark.parametrize("p", [1, 3, 12, 30])
def test_a_pure_pixel_is_a_unit_vector(p):
    vertices = _coordinates(_spectra(np.random.default_rng(p), p, 0.9))
    np.testing.assert_allclose(fcls(vertices.T, vertices), np.eye(p), rtol=0, atol=1e-9)
    separate = np.random.default_rng(p).normal(size=(p, p))
    np.testing.assert_allclose(fcls(separate.T, separate), np.eye(p), rtol=0, atol=1e-12)


@pytest.mark.parametrize("p", [4, 12, 20, 30])
def test_pixels_far_outside_the_simplex_go_to_its_nearest_point(p):
    rng = np.random.default_rng(p)
    vertices = rng.normal(size=(p, p))
    for distance in (1e2, 1e4, 1e8):
        pixels = distance * rng.normal(size=(p, 30))
        abundances = fcls(pixels, vertices)
        _assert_feasible(abundances)
        assert _kkt_gap(pixels, vertices, abundances).max() < 1e-13
    _assert_feasible(fcls(np.geomspace(1e10, 1e300, 400) * rng.normal(size=(p, 400)), vertices))
    nearest = fcls(1e8 * (vertices - vertices.mean(axis=0)).T, vertices)
    assert ((nearest == 0) | (nearest == 1)).mean() > 0.9


@pytest.mark.parametrize("p", [5, 12, 14, 30])
def test_any_optimum_will_do_when_vertices_repeat_or_depend(p):
    rng = np.random.default_rng(p)
    some = rng.normal(size=(p, p))
    repeated = np.concatenate([some[: p - 2], some[:2]])
    nearly = repeated + 1e-11 * rng.normal(size=(p, p))
    dependent = np.concatenate([some[: p - 1], some[: p - 1].mean(axis=0, keepdims=True)])
    one_point = np.repeat(some[:1], p, axis=0)
    in_plane = rng.normal(size=(p, 2))
    for vertices in (repeated, nearly, dependent, one_point, in_plane, 1e-9 * some, 1e9 * some):
        for noise in (0.0, 0.3):
            size = np.abs(vertices).max()
            pixels = _mixtures(rng, vertices, 40, noise * size)
            abundances = fcls(pixels, vertices)
            _assert_feasible(abundances)
            rest = np.sqrt(_objective(pixels, vertices, abundances))
            away = np.linalg.norm(pixels - vertices.mean(axis=0)[:, None], axis=0)
            if noise == 0:
                assert rest.max() < 1e-11 * size
            assert (_kkt_gap(pixels, vertices, abundances) * (size + away) < 1e-12 * (size + away)).all()


def test_raw_spectra_give_what_their_coordinates_give():
    rng = np.random.default_rng(0)
    spectra = _spectra(rng, 6, 0.9, 426)
    basis = np.linalg.qr(spectra.T)[0]
    pixels = _mixtures(rng, spectra, 300, 0.01)
    np.testing.assert_allclose(fcls(pixels, spectra), fcls(basis.T @ pixels, spectra @ basis), rtol=0, atol=1e-11)


def test_a_value_that_is_not_finite_empties_its_own_pixel_only():
    rng = np.random.default_rng(0)
    for p, r in ((1, 3), (3, 3), (4, 9), (14, 14)):
        vertices = rng.normal(size=(p, r))
        pixels = _mixtures(rng, vertices, 200, 0.2)
        expected = fcls(pixels, vertices)
        expected[:, [3, 77, 150]] = np.nan
        pixels[[0, r - 1, r // 2], [3, 77, 150]] = [np.nan, np.inf, -np.inf]
        np.testing.assert_array_equal(fcls(pixels, vertices), expected)
        np.testing.assert_allclose(fcls_cvxopt(pixels[:, 140:160], vertices), expected[:, 140:160], atol=1e-5)


def test_no_pixels_give_no_abundances():
    assert fcls(np.empty((3, 0)), np.eye(3)).shape == (3, 0)
    assert fcls_cvxopt(np.empty((3, 0)), np.eye(3)).shape == (3, 0)


def test_inputs_of_other_layouts_and_types_are_taken():
    rng = np.random.default_rng(0)
    vertices, pixels = rng.normal(size=(4, 4)), rng.normal(size=(4, 50))
    expected = fcls(pixels, vertices)
    frozen = pixels.copy()
    frozen.flags.writeable = False
    for z in (np.asfortranarray(pixels), pixels.astype(">f8"), pixels.tolist(), frozen):
        np.testing.assert_array_equal(fcls(z, vertices.astype(">f8")), expected)
    assert fcls(pixels.astype("f4"), vertices.astype("f4")).dtype == np.float64
    np.testing.assert_allclose(fcls_cvxopt(pixels.astype(">f8"), vertices), expected, atol=1e-6)


@pytest.mark.parametrize("solver", [fcls, fcls_cvxopt])
def test_shapes_that_do_not_match_are_refused_with_both_named(solver):
    with pytest.raises(ValueError, match=r"\(3, 5\) and \(4, 2\)"):
        solver(np.zeros((3, 5)), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="1 vertex coordinates are not finite"):
        solver(np.zeros((2, 5)), [[0, np.nan], [1, 1]])


@pytest.mark.parametrize("p", [4, 6, 12, 13, 25])
@pytest.mark.parametrize("kind", ["separate", "correlated", "ill-conditioned", "repeated"])
def test_no_bit_of_an_answer_depends_on_the_other_pixels(p, kind):
    rng = np.random.default_rng(p)
    vertices = {
        "separate": rng.normal(size=(p, p)),
        "correlated": _spectra(rng, p, 0.99, 150),
        "ill-conditioned": _conditioned(rng, p, 1e6),
        "repeated": np.repeat(rng.normal(size=(p - 2, p)), [3, *[1] * (p - 3)], axis=0),
    }[kind]
    clean = _mixtures(rng, vertices, 150, 0.0, 0.2)
    pixels = np.concatenate([clean, clean + rng.normal(0, 0.02, clean.shape), vertices.T], axis=1)
    whole = fcls(pixels, vertices)
    order = rng.permutation(pixels.shape[1])
    np.testing.assert_array_equal(fcls(pixels[:, order], vertices), whole[:, order])
    for size in (1, 7, 100):
        parts = [fcls(pixels[:, i : i + size], vertices) for i in range(0, pixels.shape[1], size)][:60]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole[:, : 60 * size])


def test_threads_do_not_disturb_each_other():
    rng = np.random.default_rng(0)
    vertices = _coordinates(_spectra(rng, 10, 0.99))
    parts = [_mixtures(rng, vertices, 500, 0.02) for _ in range(8)]
    expected = [fcls(z, vertices) for z in parts]
    with ThreadPoolExecutor(4) as pool:
        for got, want in zip(pool.map(lambda z: fcls(z, vertices), parts * 3), expected * 3, strict=True):
            np.testing.assert_array_equal(got, want)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    p=st.integers(1, 18),
    r=st.integers(1, 18),
    size=st.integers(-6, 6),
    noise=st.sampled_from([0.0, 1e-8, 0.1, 10.0]),
    grid=st.booleans(),
)
def test_feasible_and_never_worse_than_any_other_mixture(seed, p, r, size, noise, grid):
    rng = np.random.default_rng(seed)
    vertices = rng.integers(0, 3, (p, r)) * 1.0 if grid else rng.normal(size=(p, r))
    pixels = _mixtures(rng, vertices, 20, noise)
    pixels = np.round(pixels) if grid else pixels
    scale = 10.0**size
    abundances = fcls(scale * pixels, scale * vertices)
    _assert_feasible(abundances)
    best = _objective(pixels, vertices, abundances)
    for others in (rng.dirichlet(np.ones(p), 20).T, np.eye(p)[rng.integers(0, p, 20)].T):
        for share in (1.0, 1e-3):
            rival = _objective(pixels, vertices, (1 - share) * abundances + share * others)
            assert (best <= rival + 1e-12 * (1 + rival)).all()
