"""calibrate against pixels of spectra that were never in the library."""

import numpy as np
import pytest

from hsi_dask.kernels.mixtures.calibration import calibrate, folds
from hsi_dask.kernels.mixtures.posterior import CoverSettings, posterior


@pytest.mark.parametrize("sizes", [(12, 10, 14), (15, 15)])
def test_intervals_hold_as_often_as_they_say_on_spectra_that_the_library_lacks(simulate, sizes):
    inside = []
    for seed in range(4):
        scene = simulate(seed, sizes, pixels=400)
        cover = posterior(*scene.sums, scene.library, calibrate(scene.library, CoverSettings(len(sizes)), pixels=1000))
        error = np.abs(cover.fraction.T - scene.fraction) / cover.fraction_std.T
        inside.append([(error < 1).mean(), (error < 1.96).mean()])
    one, two = np.mean(inside, axis=0)
    assert 0.6 < one < 0.8
    assert 0.9 < two < 0.98


def test_a_fold_leaves_out_what_its_pixels_are_made_of(simulate):
    scene = simulate(1, (6, 5, 1))
    found = list(folds(scene.library, 3, pixels=60, light=(1.0, 1.0), noise=0.0, seed=0))
    assert len(found) == 60
    for fold in found[:6]:
        assert (fold.library.material == 2).sum() == 1  # a single spectrum cannot be left out
        assert np.allclose(fold.fraction.sum(axis=0), 1)
        kept = fold.library.vertices
        out = [v for v in scene.library.vertices if not (kept == v).all(axis=1).any()]
        means = np.linalg.lstsq(np.vstack([out, kept[-1:]]).T, fold.coordinates, rcond=None)[0]
        assert np.allclose(np.vstack([out, kept[-1:]]).T @ means, fold.coordinates)


def test_the_same_seed_gives_the_same_calibration(simulate):
    library = simulate(2).library
    one, same, other = (calibrate(library, CoverSettings(), pixels=200, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_without_spectra_to_leave_out_the_settings_stay(simulate):
    settings = CoverSettings(incompleteness=0.5)
    assert calibrate(simulate(3, (1, 1)).library, settings) == settings
