"""Selections from a class library against the `spectral-libraries` package and slow loops over candidates."""

import numpy as np
import pytest

from hsi_dask.kernels.mixtures.pairs import measures, pairs
from hsi_dask.kernels.mixtures.selection import by_counts, iterate, smallest

LIMITS = (-0.05, 1.05, 0.02)


def library(seed, size=15, materials=3, wavelengths=30):
    """Spectra that vary around one of each material, brightness too."""
    rng = np.random.default_rng(seed)
    means = rng.uniform(0.05, 0.5, (materials, wavelengths))
    noise = rng.normal(0, 0.02, (materials, size, wavelengths))
    spectra = (means[:, None] + noise) * rng.uniform(0.6, 1.2, (materials, size, 1))
    return spectra.reshape(-1, wavelengths).clip(0.001), np.repeat(np.arange(materials), size)


def quiet(*_, **__):
    pass


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_averages_are_those_of_the_package(seed):
    peer = pytest.importorskip("spectral_libraries.core.ear_masa_cob")
    spectra, material = library(seed)
    ear, masa, *_ = peer.EarMasaCob().execute(spectra.T, material.astype(str), LIMITS, log=quiet)
    told = measures(spectra, material, pairs(spectra, max_rmse=LIMITS[2]))
    np.testing.assert_allclose(told.ear, ear, rtol=1e-4)
    np.testing.assert_allclose(told.masa, masa, rtol=1e-4)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_first_of_each_material_by_counts_has_the_largest_count_of_the_package(seed):
    peer = pytest.importorskip("spectral_libraries.core.ear_masa_cob")
    spectra, material = library(seed)
    counts = peer.EarMasaCob().execute(spectra.T, material.astype(str), LIMITS, log=quiet)[2]
    found = pairs(spectra, max_rmse=LIMITS[2])
    told = measures(spectra, material, found)
    chosen = by_counts(found, told, material, count=1)
    largest = [counts[material == m].max() for m in range(3)]
    assert counts[chosen].tolist() == largest == told.inside[chosen].tolist()


@pytest.mark.parametrize("seed", range(6))
def test_the_iterative_selection_is_that_of_the_package(seed, monkeypatch):
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)  # NumPy 2.4 no longer has it
    peer = pytest.importorskip("spectral_libraries.core.ies")
    spectra, material = library(seed, size=20)
    expected, steps = peer.Ies().execute(spectra.T, material, LIMITS, summary=True, log=quiet, set_progress=quiet)
    found = iterate(pairs(spectra, max_rmse=LIMITS[2]), material)
    assert found.selected.tolist() == expected.tolist()
    last = max(steps)
    assert found.kappa == pytest.approx(steps[last].get("r_kappa", steps[last].get("kappa")), abs=1e-6)


@pytest.mark.parametrize("count", [None, 2])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_iterative_selection_is_that_of_a_slow_loop(seed, count):
    spectra, material = library(seed, size=8)
    found = pairs(spectra, max_rmse=LIMITS[2])
    selected, kappa = slow_selection(found, material, count)
    assert iterate(found, material, count) == (pytest.approx(np.array(selected)), pytest.approx(kappa))


def slow_selection(found, material, count):
    selected, kappa = [], -np.inf
    while True:
        before = kappa
        full = [m for m in set(material) if count and sum(material[s] == m for s in selected) >= count]
        added = [sorted([*selected, i]) for i in range(len(material)) if i not in selected and material[i] not in full]
        for adding in (True, False):
            trials = added if adding else [[s for s in selected if s != gone] for gone in selected]
            scored = [(slow_kappa(found, trial, material), trial) for trial in trials if trial]
            if scored and max(score for score, _ in scored) > kappa + 1e-9:
                kappa, selected = max(scored, key=lambda one: one[0])
        if kappa <= before + 1e-9:
            return selected, kappa


def slow_kappa(found, selected, material):
    classes = []
    for j in range(len(material)):
        allowed = [i for i in selected if found.allowed[i, j]]
        classes.append(material[min(allowed, key=lambda i: (found.rmse[i, j], i))] if allowed else -1)
    n = len(material)
    same = sum(a == b for a, b in zip(classes, material, strict=True)) / n
    chance = sum(classes.count(m) * (material == m).sum() for m in set(material)) / n**2
    return (same - chance) / (1 - chance)


def test_counts_go_on_until_every_spectrum_is_modelled():
    spectra, material = library(3)
    found = pairs(spectra, max_rmse=LIMITS[2])
    chosen = by_counts(found, measures(spectra, material, found), material)
    for m in range(3):
        own = np.flatnonzero(material == m)
        assert found.allowed[np.ix_(chosen[material[chosen] == m], own)].any(axis=0).all()


def test_residuals_are_those_of_direct_least_squares_with_fractions_cut_at_their_limits():
    spectra, _ = library(4, size=4)
    spectra[1] *= 3  # the fraction of a third in others, and of 3 by others
    found = pairs(spectra, fractions=(0.0, 1.0))
    for i, model in enumerate(spectra):
        for j, pixel in enumerate(spectra):
            fraction = model @ pixel / (model @ model)
            rmse = np.sqrt(((pixel - min(fraction, 1.0) * model) ** 2).mean())
            assert found.rmse[i, j] == pytest.approx(rmse, abs=1e-6)
            assert found.allowed[i, j] == (i == j or (fraction <= 1 and rmse <= 0.025))


def test_identical_spectra_are_represented_once():
    spectra, material = np.repeat(library(0, size=1)[0], 5, axis=0), np.repeat(np.arange(3), 5)
    found = pairs(spectra)
    told = measures(spectra, material, found)
    assert iterate(found, material) == (pytest.approx(np.array([0, 5, 10])), 1.0)
    assert by_counts(found, told, material).tolist() == [0, 5, 10]
    assert told.ear.max() < 1e-6


def test_one_spectrum_a_material_is_kept_by_every_selection():
    spectra, material = library(0, size=1)
    found = pairs(spectra)
    told = measures(spectra, material, found)
    assert smallest(told.ear, material, 1).tolist() == by_counts(found, told, material).tolist() == [0, 1, 2]
    assert iterate(found, material).kappa == 1.0


def test_one_material_has_nothing_to_be_told_apart_from():
    spectra, material = library(0, materials=1)
    with pytest.raises(ValueError, match="the library has one; select by counts"):
        iterate(pairs(spectra), material)


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="1 values of the spectra are not finite"):
        pairs(np.array([[0.1, np.nan], [0.2, 0.3]]))
