"""mesma against a slow loop of direct least squares over whole spectra, and against the `mesma` package on PyPI."""

from itertools import combinations, product

import numpy as np
import pytest

from hsi_dask.kernels.mixtures.library import Library
from hsi_dask.kernels.mixtures.mesma import MISSING, MODELLED, NO_MODEL, MesmaSettings, mesma


def _slow(scene, settings, shade=0.0):
    """Spectra (n, materials), fractions, shade and rmse of each pixel, model after model, pixel after pixel."""
    spectra, pixels = scene.spectra - shade, scene.pixels - shade
    materials = range(scene.fraction.shape[1])
    n = len(pixels)
    levels = []
    for level in range(settings.min_materials, settings.max_materials + 1):
        best = np.full(n, np.inf)
        model, fraction = np.full((n, len(materials)), -1), np.zeros((n, len(materials)))
        for group in combinations(materials, level):
            for members in product(*(np.flatnonzero(scene.material == m) for m in group)):
                a = np.linalg.lstsq(spectra[list(members)].T, pixels.T, rcond=None)[0]
                rmse = np.sqrt(((pixels.T - spectra[list(members)].T @ a) ** 2).mean(axis=0))
                dark = 1 - a.sum(axis=0)
                good = (a >= settings.fractions[0]).all(axis=0) & (a <= settings.fractions[1]).all(axis=0)
                good &= (dark >= settings.shade[0]) & (dark <= settings.shade[1]) & (rmse <= settings.max_rmse)
                better = good & (rmse < best)
                best[better], model[better], fraction[better] = rmse[better], -1, 0
                for m, member, share in zip(group, members, a, strict=True):
                    model[better, m], fraction[better, m] = member, share[better]
        levels.append((best, model, fraction))
    rmse = np.array([best for best, _, _ in levels])
    kept = rmse.copy()
    for row in range(1, len(rmse)):
        kept[row, ~(rmse[row] <= rmse[row - 1] - settings.fusion)] = np.inf
    chosen, every = kept.argmin(axis=0), np.arange(n)
    model = np.array([m for _, m, _ in levels])[chosen, every]
    fraction = np.array([f for _, _, f in levels])[chosen, every]
    found = np.isfinite(kept.min(axis=0))
    return np.where(found[:, None], model, -1), fraction, kept.min(axis=0), found


CASES = [
    (MesmaSettings(1), (6, 5, 4)),
    (MesmaSettings(), (6, 5, 4)),
    (MesmaSettings(3), (4, 5, 3)),
    (MesmaSettings(3, fusion=0.0), (4, 5, 3)),
    (MesmaSettings(3, 3), (4, 1, 3)),
    (MesmaSettings(5, fusion=0.0005), (2, 3, 2, 1, 2)),
    (MesmaSettings(4, 2, fractions=(-np.inf, np.inf), shade=(-np.inf, np.inf), max_rmse=np.inf), (2, 3, 2, 2)),
    (MesmaSettings(3, fractions=(0.1, 0.7), shade=(0.2, 0.4), max_rmse=0.01, fusion=0.002), (4, 3, 4)),
]


@pytest.mark.parametrize(("settings", "sizes"), CASES)
@pytest.mark.parametrize("shade", [0.0, 0.03])
def test_the_model_is_that_of_a_slow_loop_over_all_of_them(simulate, settings, sizes, shade):
    scene = simulate(1, sizes)
    scene = scene._replace(pixels=scene.pixels + shade)
    basis = np.linalg.qr(np.vstack([scene.spectra, np.full((1, 60), shade)]).T)[0]
    library = Library(scene.spectra @ basis, scene.material, len(sizes), 60, np.full(60, shade) @ basis)
    found = mesma((scene.pixels @ basis).T, (scene.pixels**2).sum(axis=1), library, settings)
    model, fraction, rmse, modelled = _slow(scene, settings, shade)
    assert modelled.mean() > 0.03
    assert np.array_equal(found.flag == MODELLED, modelled)
    assert np.array_equal(found.model.T, model)
    assert np.allclose(found.fraction.T[modelled], fraction[modelled], atol=1e-6)
    assert np.allclose(found.shade[modelled], 1 - fraction[modelled].sum(axis=1), atol=1e-6)
    assert np.allclose(found.rmse[modelled], rmse[modelled], atol=1e-8)
    assert np.isnan(found.fraction[:, ~modelled]).all()
    assert np.isnan(found.rmse[~modelled]).all()


@pytest.mark.parametrize("settings", [MesmaSettings(), MesmaSettings(3), MesmaSettings(3, fusion=0.001)])
def test_the_mesma_package_chooses_the_same_spectra_and_fractions(simulate, settings):
    core = pytest.importorskip("mesma.core.mesma")
    scene = simulate(2, (5, 6, 4), variation=0.03)
    models = core.MesmaModels()
    models.setup(scene.material.astype(str))
    for level in range(2, settings.max_materials + 2):
        models.select_level(True, level)
        for m in range(3):
            models.select_class(True, m, level)
    image, table = scene.pixels.T[:, None], models.return_look_up_table()
    quiet = lambda *_, **__: None  # noqa: E731
    package = core.MesmaCore(1)
    with package.pool:
        model, fraction, rmse, _ = package.execute(
            image, scene.spectra.T, table, models.em_per_class, fusion_value=settings.fusion, log=quiet
        )
    found = mesma(*scene.sums, scene.library, settings)
    modelled = found.flag == MODELLED
    assert 0.5 < modelled.mean() < 1
    assert np.array_equal(modelled, rmse[0] != 9999)
    assert (found.model == model[:, 0]).all(axis=0).mean() >= 0.99
    same = modelled & (found.model == model[:, 0]).all(axis=0)
    assert np.allclose(found.fraction[:, same], fraction[:3, 0][:, same], atol=1e-4)
    assert np.allclose(found.shade[same], fraction[3, 0][same], atol=1e-4)
    assert np.allclose(found.rmse[same], rmse[0][same], atol=1e-6)


def test_a_pixel_has_the_same_answer_in_any_block(simulate):
    scene = simulate(3, (9, 7, 8), pixels=500)
    z, energy = scene.sums
    whole = mesma(z, energy, scene.library, MesmaSettings(3, fusion=0.0))
    for start, stop in ((0, 1), (1, 150), (150, 500)):
        part = mesma(z[:, start:stop], energy[start:stop], scene.library, MesmaSettings(3, fusion=0.0))
        for one, all_ in zip(part, whole, strict=True):
            assert np.array_equal(one, all_[..., start:stop], equal_nan=True)


def test_the_order_of_the_library_changes_numbers_only(simulate):
    scene = simulate(4)
    order = np.random.default_rng(0).permutation(len(scene.spectra))
    library = scene.library._replace(vertices=scene.library.vertices[order], material=scene.material[order])
    one, other = (mesma(*scene.sums, lib, MesmaSettings(3, fusion=0.0)) for lib in (scene.library, library))
    assert np.array_equal(np.where(other.model >= 0, order[other.model], -1), one.model)
    assert np.allclose(one.fraction, other.fraction, atol=1e-6, equal_nan=True)


def test_identical_spectra_of_two_materials_are_no_mixture_and_the_first_stands_for_them(simulate):
    scene = simulate(5, (3, 3))
    material = np.concatenate([scene.material, 1 - scene.material])
    twice = scene._replace(spectra=np.vstack([scene.spectra, scene.spectra]), material=material)
    library = scene.library._replace(vertices=twice.spectra @ scene.basis, material=material)
    found = mesma(*scene.sums, library, MesmaSettings())
    modelled = found.flag == MODELLED
    one, other = found.model[:, modelled]
    both = (one >= 0) & (other >= 0)
    assert both.any()
    assert (one[both] % 6 != other[both] % 6).all()
    assert (one >= 0).all()  # every spectrum is in the first material, too
    assert np.nanmax(np.abs(found.fraction)) <= 1.05 + 1e-6


@pytest.mark.parametrize("difference", [1e-2, 1e-3, 1e-4])
def test_nearly_equal_spectra_of_two_materials_are_told_apart(simulate, difference):
    scene = simulate(8, (4, 4, 3), pixels=200)
    changed = scene.spectra.copy()
    changed[4:8] = scene.spectra[:4] * (1 + difference * np.random.default_rng(0).normal(size=(4, 60)))
    scene = scene._replace(spectra=changed)
    settings = MesmaSettings(3, fusion=0.0, fractions=(-5, 5), shade=(-1, 1), max_rmse=1)
    found = mesma(*scene.sums, scene.library, settings)
    model, fraction, rmse, modelled = _slow(scene, settings)
    assert modelled.all()
    assert np.allclose(found.rmse, rmse, atol=1e-7)
    same = (model == found.model.T).all(axis=1)
    assert same.mean() > 0.99
    assert np.allclose(found.fraction.T[same], fraction[same], atol=1e-4)


def test_a_material_without_spectra_is_never_in_a_model(simulate):
    scene = simulate(6)
    library = scene.library._replace(material=np.array([0, 1, 3])[scene.material], materials=4)
    found, known = (mesma(*scene.sums, lib, MesmaSettings(3)) for lib in (library, scene.library))
    assert np.array_equal(found.model[[0, 1, 3]], known.model)
    assert (found.model[2] == -1).all()
    assert np.isin(found.fraction[2], [0, np.nan]).all() or np.nanmax(found.fraction[2]) == 0


def test_shade_saturation_and_missing_pixels_are_told_apart(simulate):
    scene = simulate(7, pixels=4)
    pixels = scene.pixels.copy()
    pixels[0], pixels[1], pixels[2] = 0.0, 5.0, np.nan
    found = mesma(*scene._replace(pixels=pixels).sums, scene.library, MesmaSettings())
    assert found.flag[:3].tolist() == [NO_MODEL, NO_MODEL, MISSING]
    for values in (found.fraction, found.shade, found.rmse):
        assert np.isnan(values[..., :3]).all()
    assert (found.model[:, :3] == -1).all()


def test_no_pixels_and_one_spectrum_are_no_special_cases():
    library = Library(np.array([[0.5]]), np.array([0]), 1, 4)
    assert mesma(np.empty((1, 0)), np.empty(0), library, MesmaSettings()).fraction.shape == (1, 0)
    found = mesma(np.array([[0.25]]), np.array([0.0625]), library, MesmaSettings(3))
    assert found.fraction.tolist() == [[0.5]]
    assert found.model.tolist() == [[0]]


def test_shapes_that_do_not_match_are_refused():
    library = Library(np.eye(2), np.array([0, 1]), 2, 4)
    with pytest.raises(ValueError, match=r"r = 2 with the library.*\(3, 5\) and \(5,\)"):
        mesma(np.zeros((3, 5)), np.zeros(5), library, MesmaSettings())
