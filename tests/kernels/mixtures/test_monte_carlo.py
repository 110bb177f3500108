"""monte_carlo against non-negative least squares by trying every support, draw after draw."""

from itertools import combinations

import numpy as np
import pytest

from hsi_dask.kernels.fcls import fcls
from hsi_dask.kernels.mixtures.library import Library
from hsi_dask.kernels.mixtures.monte_carlo import MonteCarloSettings, monte_carlo


def _nnls(spectra, pixel):
    """The best of the least squares on all supports that have no negative fraction."""
    best, found = (pixel**2).sum(), np.zeros(len(spectra))
    for size in range(1, len(spectra) + 1):
        for support in map(list, combinations(range(len(spectra)), size)):
            a = np.linalg.lstsq(spectra[support].T, pixel, rcond=None)[0]
            rest = ((pixel - a @ spectra[support]) ** 2).sum()
            if (a >= 0).all() and rest < best - 1e-12:
                best, found = rest, np.zeros(len(spectra))
                found[support] = a
    return found


def _draws(scene, settings):
    """Spectra of each draw."""
    sizes = np.bincount(scene.material)
    drawn = np.random.default_rng(settings.seed).integers(sizes, size=(settings.draws, sizes.size))
    return [scene.spectra[np.cumsum(sizes) - sizes + members] for members in drawn]


@pytest.mark.parametrize("brightness", [True, False])
def test_fractions_are_means_over_draws_of_non_negative_least_squares(simulate, brightness):
    settings = MonteCarloSettings(8, 3, brightness)
    scene = simulate(1, pixels=40)
    fractions, lit = [], []
    for spectra in _draws(scene, settings):
        a = np.array([_nnls(spectra, pixel) for pixel in scene.pixels])
        lit.append(a.sum(axis=1))
        a = a * (np.sqrt((spectra**2).mean(axis=1)) if brightness else 1.0)
        fractions.append(a / a.sum(axis=1, keepdims=True))
    cover = monte_carlo(*scene.sums, scene.library, settings)
    assert np.allclose(cover.fraction.T, np.mean(fractions, axis=0), atol=1e-6)
    assert np.allclose(cover.fraction_std.T, np.std(fractions, axis=0, ddof=1), atol=1e-6)
    assert np.allclose(cover.shade, 1 - np.mean(lit, axis=0), atol=1e-6)


def test_with_shade_fractions_and_shade_sum_to_one_in_every_draw(simulate):
    settings = MonteCarloSettings(8, 3, brightness=False, shade=True)
    scene = simulate(2, pixels=100, light=(0.7, 1.4))
    shares = [fcls(scene.pixels.T, np.vstack([spectra, np.zeros(60)])) for spectra in _draws(scene, settings)]
    cover = monte_carlo(*scene.sums, scene.library, settings)
    assert np.allclose(cover.shade, np.mean([share[-1] for share in shares], axis=0), atol=1e-6)
    assert np.allclose(cover.fraction, np.mean([s[:-1] / s[:-1].sum(axis=0) for s in shares], axis=0), atol=1e-6)
    assert (cover.shade >= 0).all()


def test_the_same_seed_gives_the_same_answer_in_any_block(simulate):
    scene = simulate(3, pixels=200)
    z, energy = scene.sums
    whole = monte_carlo(z, energy, scene.library, MonteCarloSettings(5, seed=1))
    part = monte_carlo(z[:, 70:130], energy[70:130], scene.library, MonteCarloSettings(5, seed=1))
    other = monte_carlo(z, energy, scene.library, MonteCarloSettings(5, seed=2))
    for one, all_ in zip(part, whole, strict=True):
        assert np.array_equal(one, all_[..., 70:130])
    assert not np.allclose(other.fraction, whole.fraction, atol=1e-3)


def test_missing_dark_and_absent(simulate):
    scene = simulate(4, pixels=3)
    pixels = scene.pixels.copy()
    pixels[0], pixels[1] = np.nan, 0.0
    library = scene.library._replace(material=np.array([0, 1, 3])[scene.material], materials=4)
    cover = monte_carlo(*scene._replace(pixels=pixels).sums, library, MonteCarloSettings(5))
    assert np.isnan(cover.fraction[:, :2]).all()
    assert np.isnan(cover.shade[0])
    assert cover.shade[1] == 1
    assert cover.fraction[2, 2] == 0
    assert np.isclose(cover.fraction[:, 2].sum(), 1)


def test_a_spread_needs_two_draws():
    with pytest.raises(ValueError, match="draws is 1; a standard deviation needs at least 2"):
        monte_carlo(np.ones((1, 1)), np.ones(1), Library(np.eye(1), np.array([0]), 1, 1), MonteCarloSettings(1))


def test_noise_spreads_the_fractions_as_least_squares_would_have_it():
    rng = np.random.default_rng(0)
    factors = rng.random((60, 3))
    library = Library(factors.T, np.arange(3), 3, 60)
    pixel = (factors @ [0.3, 0.3, 0.2])[:, None]  # away from all limits
    settings = MonteCarloSettings(4000, brightness=False, noise=1e-3)
    found = monte_carlo(pixel, (pixel**2).sum(axis=0), library, settings)
    covariance = 1e-6 * np.linalg.inv(factors.T @ factors)
    share, whole = np.array([0.3, 0.3, 0.2]) / 0.8, 0.8
    slope = (np.eye(3) - share[:, None]) / whole  # of fractions that are divided by their sum
    expected = np.sqrt(np.diag(slope @ covariance @ slope.T))
    np.testing.assert_allclose(found.fraction_std[:, 0], expected, rtol=0.05)
    assert monte_carlo(pixel, (pixel**2).sum(axis=0), library, settings._replace(noise=0.0)).fraction_std.max() < 1e-6
