"""posterior against sums over models, one after the other, in float64."""

from itertools import combinations, product

import numpy as np
import pytest

from hsi_dask.kernels.mixtures.library import Library, ordered
from hsi_dask.kernels.mixtures.posterior import SMOOTHING, CoverSettings, metric, moments, posterior


def _slow(scene, settings, shade=0.0):
    """Weighted mean and variance of fractions (n, materials), misfit and shade, model after model."""
    spectra, pixels = scene.spectra - shade, scene.pixels - shade
    count = scene.fraction.shape[1]
    groups = [spectra[scene.material == m] for m in range(count)]
    within = np.concatenate([group - group.mean(axis=0) for group in groups])
    covariance = within.T @ within / len(within)
    inverse = np.linalg.inv(covariance + SMOOTHING * np.trace(covariance) * np.eye(len(covariance)))
    basis = np.linalg.qr(np.vstack([spectra, np.full((1, 60), shade)]).T)[0]  # what is outside is no misfit
    root = np.linalg.cholesky(basis.T @ inverse @ basis)
    spectra, pixels = spectra @ basis @ root, pixels @ basis @ root
    weights, shares, brightness = [], [], []
    for level in range(settings.min_materials, settings.max_materials + 1):
        for group in combinations(range(count), level):
            for members in product(*(np.flatnonzero(scene.material == m) for m in group)):
                a = np.linalg.lstsq(spectra[list(members)].T, pixels.T, rcond=None)[0]
                q = ((pixels.T - spectra[list(members)].T @ a) ** 2).sum(axis=0)
                a = a.clip(0)
                lit = a.sum(axis=0) > 0
                fraction = np.zeros((count, len(pixels)))
                fraction[list(group)] = a / np.where(lit, a.sum(axis=0), 1)
                weights.append(np.where(lit, q**-4.0, 0))
                shares.append(fraction)
                brightness.append(a.sum(axis=0))
    weights, shares, brightness = np.array(weights), np.array(shares), np.array(brightness)
    share = weights / weights.sum(axis=0)
    mean = (share[:, None] * shares).sum(axis=0)
    variance = (share[:, None] * shares**2).sum(axis=0) - mean**2
    lit = (share * brightness).sum(axis=0)
    return mean, variance, weights.mean(axis=0) ** -0.25 / lit**2, 1 - lit


CASES = [
    (CoverSettings(), (4, 5, 3)),
    (CoverSettings(1), (3, 4)),
    (CoverSettings(2), (6, 5)),
    (CoverSettings(2), (2, 3, 1, 4)),
    (CoverSettings(3, 3), (1, 2, 5)),
]


@pytest.mark.parametrize(("settings", "sizes"), CASES)
@pytest.mark.parametrize("shade", [0.0, 0.03])
def test_means_and_variances_are_those_of_all_models(simulate, settings, sizes, shade):
    scene = simulate(1, sizes)
    scene = scene._replace(pixels=scene.pixels + shade)
    basis = np.linalg.qr(np.vstack([scene.spectra, np.full((1, 60), shade)]).T)[0]
    library = Library(scene.spectra @ basis, scene.material, len(sizes), 60, np.full(60, shade) @ basis)
    found = moments((scene.pixels @ basis).T, (scene.pixels**2).sum(axis=1), library, settings)
    mean, variance, misfit, dark = _slow(scene, settings, shade)
    assert np.allclose(found.fraction, mean, atol=2e-4)
    assert np.allclose(np.sqrt(found.variance), np.sqrt(variance.clip(0)), atol=2e-3)
    assert np.allclose(found.misfit, misfit, rtol=2e-3)
    assert np.allclose(found.shade, dark, atol=2e-4)


def test_fractions_sum_to_one_and_find_what_was_mixed(simulate):
    scene = simulate(2, (12, 12, 12), noise=0.001)
    cover = posterior(*scene.sums, scene.library, CoverSettings())
    assert np.allclose(cover.fraction.sum(axis=0), 1, atol=1e-6)
    assert (cover.fraction >= 0).all()
    assert np.abs(cover.fraction.T - scene.fraction).mean() < 0.1
    assert (cover.fraction_std > 0).all()


def test_light_changes_the_shade_alone(simulate):
    scene = simulate(3)
    z, energy = scene.sums
    one, half = (posterior(f * z, f * f * energy, scene.library, CoverSettings()) for f in (1.0, 0.5))
    assert np.allclose(one.fraction, half.fraction, atol=1e-5)
    assert np.allclose(1 - half.shade, 0.5 * (1 - one.shade), atol=1e-5)


def test_a_pixel_has_the_same_answer_in_any_block(simulate):
    scene = simulate(4, (9, 7, 8), pixels=500)
    z, energy = scene.sums
    whole = posterior(z, energy, scene.library, CoverSettings())
    for start, stop in ((0, 1), (1, 150), (150, 500)):
        part = posterior(z[:, start:stop], energy[start:stop], scene.library, CoverSettings())
        for one, all_ in zip(part, whole, strict=True):
            assert np.array_equal(one, all_[..., start:stop])


def test_standard_deviations_grow_with_what_the_library_lacks(simulate):
    scene = simulate(5)
    z, energy = scene.sums
    complete, lacking = (posterior(z, energy, scene.library, CoverSettings(incompleteness=c)) for c in (0.0, 1e-3))
    assert (lacking.fraction_std > complete.fraction_std).all()
    unknown = posterior(z, energy, scene.library, CoverSettings(incompleteness=1e9))
    spread = np.random.default_rng(0).dirichlet(np.ones(3), 200_000).std(axis=0)
    between = complete.fraction_std**2
    assert np.allclose(unknown.fraction_std**2 - between, spread[:, None] ** 2, rtol=0.02)


def test_equal_spectra_one_spectrum_a_material_and_a_material_without_any(simulate):
    scene = simulate(6, (1, 1, 1))
    vertices = scene.library.vertices[[0, 0, 1, 2, 2]]
    library = Library(vertices, np.array([0, 0, 1, 3, 4]), 5, 60)
    cover = posterior(*scene.sums, library, CoverSettings())
    assert np.isfinite(cover.fraction).all()
    assert (cover.fraction[2] == 0).all()
    assert np.allclose(cover.fraction[3], cover.fraction[4], atol=1e-6)


def test_missing_and_dark_pixels(simulate):
    scene = simulate(7, pixels=4)
    pixels = scene.pixels.copy()
    pixels[0], pixels[1], pixels[2] = np.nan, 0.0, -0.2
    cover = posterior(*scene._replace(pixels=pixels).sums, scene.library, CoverSettings())
    assert np.isnan(cover.fraction[:, :3]).all()
    assert np.isnan(cover.fraction_std[:, :3]).all()
    assert np.isnan(cover.shade[0])
    assert cover.shade[1:3].tolist() == [1, 1]
    assert np.isfinite(cover.fraction[:, 3]).all()


def test_the_metric_makes_the_variation_within_materials_even(simulate):
    scene = simulate(8, (40, 40), variation=0.1)
    spectra = ordered(scene.library, 1, 1)
    white = metric(spectra.vertices, spectra.starts)
    within = np.concatenate([part - part.mean(axis=0) for part in np.split(spectra.vertices @ white.T, [40])])
    variances = np.linalg.eigvalsh(within.T @ within / 80)
    assert variances.max() <= 1 + 1e-9
    assert np.median(variances[-10:]) > 0.5


def test_models_of_four_materials_are_refused(simulate):
    scene = simulate(9)
    with pytest.raises(ValueError, match="max_materials is 4; cover has models of at most 3"):
        posterior(*scene.sums, scene.library, CoverSettings(4))
