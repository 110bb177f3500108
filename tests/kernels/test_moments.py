"""Moments against numpy's float64 mean and covariance of all valid pixels, and a slow loop over neighbours."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_dask.kernels import moments as module
from hsi_dask.kernels.moments import Moments, block_moments, combine, combine_all, spectra_moments

WAVELENGTHS = 12
FILL = -9999


def stored(shape, seed=0, missing=0.1, wavelengths=WAVELENGTHS):
    """Correlated digital numbers (y, x, L) int16; some pixels are no data in part, some all zero."""
    rng = np.random.default_rng(seed)
    shape = tuple(shape)
    mixing = rng.normal(size=(wavelengths, wavelengths))
    block = np.rint(3000 + 500 * rng.normal(size=(*shape, wavelengths)) @ mixing).clip(-30000, 30000).astype(np.int16)
    gone = rng.random(shape)
    block[gone < missing / 2, rng.integers(wavelengths)] = FILL
    block[gone > 1 - missing / 2] = 0
    return block


def valid(block):
    return np.isfinite(block).all(axis=2) & (block != FILL).all(axis=2) & (block != 0).any(axis=2)


def slow(block):
    """Count, mean and scatter of valid pixels, and pairs and noise scatter of quads, one by one."""
    good, pixels = valid(block), block.astype(float)
    centred = pixels[good] - pixels[good].mean(axis=0)
    pairs, noise = 0, np.zeros((block.shape[2],) * 2)
    for y in range(0, block.shape[0] - 1, 2):
        for x in range(0, block.shape[1] - 1, 2):
            if good[y : y + 2, x : x + 2].all():
                (a, b), (c, d) = pixels[y : y + 2, x : x + 2]
                for difference in (a - b, c - d, a - c, b - d):
                    noise += np.outer(difference, difference) / 2
                    pairs += 1
    return Moments(int(good.sum()), pixels[good].mean(axis=0), centred.T @ centred, pairs, noise)


def assert_close(found, expected, tolerance):
    assert (found.pixels, found.pairs) == (expected.pixels, expected.pairs)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-12)
    for name in ("scatter", "noise_scatter"):
        matrix, truth = getattr(found, name), getattr(expected, name)
        spread = np.sqrt(np.diag(truth))
        assert (np.abs(matrix - truth) <= tolerance * np.outer(spread, spread)).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 2), (7, 5), (40, 31), (3, 5000)])
def test_moments_are_those_of_all_valid_pixels_and_of_the_differences_within_quads(shape):
    block = stored(shape, missing=0.1 if min(shape) > 2 else 0)
    assert_close(block_moments(block, fill=FILL), slow(block), 1e-13)


@pytest.mark.parametrize("dtype", [np.int16, ">i2", np.int32, np.uint16, np.float32, np.float64])
def test_numbers_of_any_type_and_memory_order_give_the_same_moments(dtype):
    block = np.abs(stored((8, 9), missing=0)).astype(dtype)
    for order in (block, np.asfortranarray(block), block.transpose(2, 0, 1).copy().transpose(1, 2, 0)):
        assert_close(block_moments(order), slow(block.astype(float)), 1e-13)


def test_float_pixels_with_nan_or_infinity_are_left_out():
    block = stored((12, 12), missing=0).astype(np.float32)
    block[3, 4, 5], block[7, 7, 0] = np.nan, -np.inf
    found = block_moments(block)
    assert found.pixels == 142
    assert_close(found, slow(block), 1e-13)


def test_the_scale_is_the_unit_of_the_result():
    block = stored((6, 6))
    plain, scaled = (block_moments(block, fill=FILL, scale=scale) for scale in (1, 1e-4))
    np.testing.assert_allclose(scaled.mean, plain.mean * 1e-4, rtol=1e-13)
    np.testing.assert_allclose(scaled.covariance, plain.covariance * 1e-8, rtol=1e-13)
    np.testing.assert_allclose(scaled.noise_covariance, plain.noise_covariance * 1e-8, rtol=1e-13)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), data=st.data())
def test_where_blocks_are_cut_changes_mean_and_covariance_by_rounding_only(seed, data):
    block = stored((16, 14), seed)
    cuts = st.lists(st.integers(1, 15), max_size=4, unique=True).map(sorted)
    parts = [
        block_moments(part, fill=FILL)
        for strip in np.split(block, data.draw(cuts))
        for part in np.split(strip, [cut for cut in data.draw(cuts) if cut < 14], axis=1)
    ]
    found, expected = combine_all(parts), slow(block)
    assert found.pixels == expected.pixels
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-13)
    spread = np.sqrt(np.diag(expected.scatter))
    np.testing.assert_allclose(
        found.scatter / np.outer(spread, spread), expected.scatter / np.outer(spread, spread), atol=1e-13
    )


def test_blocks_of_even_size_have_the_pairs_of_the_whole_scene():
    block = stored((20, 24))
    parts = [block_moments(block[y : y + 4, x : x + 6], fill=FILL) for y in range(0, 20, 4) for x in range(0, 24, 6)]
    assert_close(combine_all(parts), slow(block), 1e-13)


def test_large_blocks_are_worked_in_steps(monkeypatch):
    block = stored((30, 30))
    monkeypatch.setattr(module, "_STEP", 7)
    for noise in ("all", "quiet"):
        assert block_moments(block, fill=FILL, noise=noise).pixels == slow(block).pixels
    assert_close(block_moments(block, fill=FILL), slow(block), 1e-13)


def test_combining_in_one_order_gives_the_same_bits_every_time_and_empty_parts_change_none():
    parts = [block_moments(stored((5, 5), seed), fill=FILL) for seed in range(7)]
    parts.insert(3, Moments.empty(WAVELENGTHS))
    first, again = combine_all(parts), combine_all(parts)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    for pair in (combine(parts[3], first), combine(first, parts[3])):
        assert pair is first


def test_a_mean_far_from_zero_costs_no_digits():
    rng = np.random.default_rng(0)
    spectra = 1e6 + rng.normal(size=(3000, 4))
    found = combine_all([spectra_moments(part) for part in np.split(spectra, 6)])
    np.testing.assert_allclose(found.covariance, np.cov(spectra.T), rtol=1e-10, atol=1e-10)


def test_spectra_in_no_order_have_moments_and_no_noise():
    spectra = stored((1, 9000))[0]
    found = spectra_moments(spectra, fill=FILL)
    assert_close(found, slow(spectra[None])._replace(pairs=0, noise_scatter=np.zeros((WAVELENGTHS,) * 2)), 1e-13)
    np.testing.assert_allclose(found.correlation, found.scatter / found.pixels + np.outer(found.mean, found.mean))
    with pytest.raises(ValueError, match="1 valid pairs of neighbours, and the scene has 0"):
        _ = found.noise_covariance


def test_noise_alone_is_found_by_all_pairs_and_quiet_ones_and_edges_are_left_out_by_the_quiet():
    rng = np.random.default_rng(1)
    spread = np.linspace(1, 3, 200)
    noise = rng.normal(size=(60, 60, 200)) * spread
    edges = 100.0 * (np.indices((60, 60, 1))[1] // 9 % 2)
    for block, choice in ((noise, "all"), (noise, "quiet"), (noise + edges, "quiet")):
        found = np.sqrt(np.diag(block_moments(block, noise=choice).noise_covariance))
        np.testing.assert_allclose(found, spread, rtol=0.15)
        assert np.median(found / spread) == pytest.approx(1, abs=0.05)
    assert np.diag(block_moments(noise + edges).noise_covariance).min() > 100


def test_a_block_without_a_valid_pixel_has_no_moments():
    found = block_moments(np.full((4, 4, 3), FILL, np.int16), fill=FILL)
    assert (found.pixels, found.pairs, found.scatter.any()) == (0, 0, False)
    with pytest.raises(ValueError, match="2 valid pixels, and the scene has 0"):
        _ = found.covariance


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: block_moments(np.zeros((2, 2))), r"float64 \(2, 2\)"),
        (lambda: block_moments(np.zeros((2, 2, 2), complex)), "complex128"),
        (lambda: block_moments(np.ones((2, 2, 2)), noise="none"), "'none'"),
        (lambda: spectra_moments(np.ones(3)), r"\(3,\)"),
        (lambda: combine_all([]), "no moments"),
    ],
)
def test_other_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
