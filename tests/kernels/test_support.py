"""robust against a loop over all distances and angles, on scenes with planted outliers, and figures of real ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_dask import synthetic
from hsi_dask.kernels.extraction.atgp import atgp
from hsi_dask.kernels.extraction.minimum_volume import minimum_volume
from hsi_dask.kernels.extraction.nfindr import nfindr
from hsi_dask.kernels.extraction.vca import vca
from hsi_dask.kernels.fcls import fcls
from hsi_dask.kernels.support import nearest_by_angle, robust

WAVELENGTHS = 25


def scene(count, n=600, seed=0, noise=0.002):
    """Mixtures with 30 nearly pure pixels of each material first."""
    rng = np.random.default_rng(seed)
    pure = rng.uniform(0.05, 0.6, (count, WAVELENGTHS))
    mostly = 0.98 * np.repeat(np.eye(count), 30, axis=0) + 0.02 / count
    shares = np.vstack([mostly, rng.dirichlet(np.ones(count), n) * 0.9 + 0.1 / count])
    return shares @ pure + rng.normal(0, noise, (len(shares), WAVELENGTHS)), pure


def angle(a, b):
    return np.arccos((a @ b / np.linalg.norm(a) / np.linalg.norm(b)).clip(-1, 1))


def angles_to(truth, found):
    return np.array([min(angle(one, other) for other in found) for one in truth])


@settings(max_examples=25, deadline=None)
@given(count=st.integers(2, 6), outliers=st.integers(0, 12), seed=st.integers(0, 999))
def test_planted_outliers_are_dropped_and_every_material_is_found(count, outliers, seed):
    pixels, pure = scene(count, seed=seed)
    rng = np.random.default_rng(seed + 1)
    at = rng.choice(np.arange(30 * count, len(pixels)), outliers, replace=False)
    pixels[at] = rng.uniform(0, 3, (outliers, WAVELENGTHS))
    found = robust(pixels, count, np.random.default_rng(seed))
    assert not set(found.indices.tolist()) & set(at.tolist())
    assert set(found.diagnostics["dropped"].tolist()) <= set(at.tolist())
    assert sorted((found.indices // 30).tolist()) == list(range(count))
    assert angles_to(pure, found.spectra).max() < 0.02
    assert (found.diagnostics["dropped_support"] > 4).all()
    assert (found.diagnostics["support"] <= 4).all()


def test_members_are_the_nearest_by_angle_and_endmembers_their_mean():
    pixels, _ = scene(4)
    found = robust(pixels, 4, np.random.default_rng(0), neighbours=7)
    for index, members, angles, spectrum in zip(
        found.indices, found.diagnostics["members"], found.diagnostics["angles"], found.spectra, strict=True
    ):
        expected = sorted((angle(pixels[index], other), i) for i, other in enumerate(pixels))[:7]
        assert members[0] == index
        assert set(members.tolist()) == {i for _, i in expected}
        np.testing.assert_allclose(angles, [a for a, _ in expected], atol=1e-7)
        np.testing.assert_allclose(spectrum, pixels[members].mean(axis=0))


def test_support_is_the_distance_of_the_tenth_nearest_over_its_median():
    pixels, _ = scene(3, n=300)
    pixels = pixels[:, :20]  # as many dimensions as distances are measured in
    found = robust(pixels, 3, np.random.default_rng(0), factor=np.inf)
    distances = np.sort(np.linalg.norm(pixels[:, None] - pixels, axis=2), axis=1)[:, 9]
    expected = distances[found.indices] / np.median(distances)
    np.testing.assert_allclose(found.diagnostics["support"], expected, rtol=1e-6)
    assert found.diagnostics["dropped"].size == 0
    assert found.indices.tolist() == nfindr(pixels, 3, np.random.default_rng(0)).indices.tolist()


@pytest.mark.parametrize("extract", [nfindr, vca, atgp])
def test_any_extractor_of_pixels_is_made_robust(extract):
    pixels, pure = scene(4)
    pixels[[200, 300, 400]] = np.random.default_rng(0).uniform(0, 3, (3, WAVELENGTHS))
    found = robust(pixels, 4, np.random.default_rng(0), extract=extract)
    assert set(found.diagnostics["dropped"].tolist()) == {200, 300, 400}
    assert angles_to(pure, found.spectra).max() < 0.03
    assert set(extract(pixels, 4, np.random.default_rng(0)).diagnostics) <= set(found.diagnostics)


def test_the_same_seed_gives_the_same_answer_and_one_endmember_is_the_brightest_supported():
    pixels, _ = scene(3)
    pixels[150] = 9.0
    first, again = (robust(pixels, 3, np.random.default_rng(5)) for _ in range(2))
    assert first.indices.tolist() == again.indices.tolist()
    np.testing.assert_array_equal(first.spectra, again.spectra)
    one = robust(pixels, 1, np.random.default_rng(5))
    assert 150 in one.diagnostics["dropped"]
    assert one.spectra.shape == (1, WAVELENGTHS)


@pytest.mark.parametrize("seed", [0, 3])
def test_the_noisy_short_end_of_a_simulated_tile_gives_no_endmember(seed):
    tile = synthetic.simulate_scene((120, 120), seed=seed)
    w = tile.wavelength
    keep = ~((w >= 1340) & (w <= 1445)) & ~((w >= 1790) & (w <= 1955)) & (w < 2460)
    pixels = (tile.reflectance()[..., keep] * 1e-4).reshape(-1, keep.sum())
    found = robust(pixels, 6, np.random.default_rng(seed))
    plain = pixels[nfindr(pixels, 6, np.random.default_rng(seed)).indices]
    assert angles_to(tile.endmembers[:, keep].astype(float), found.spectra).max() < 0.06
    assert plain[:, w[keep] < 390].max() > 1.0  # single pixels of noise
    assert found.spectra[:, w[keep] < 390].max() < 0.3


def test_jasper_ridge_is_mapped_better_than_by_single_pixels(real_data):
    data = np.load(real_data / "jasper_ridge.npz")
    pixels, truth = data["cube"].reshape(-1, 198) / 5000.0, data["endmembers"].astype(float)
    results = {}
    for name, spectra in (
        ("plain", pixels[nfindr(pixels, 4, np.random.default_rng(0)).indices]),
        ("robust", robust(pixels, 4, np.random.default_rng(0)).spectra),
    ):
        table = np.array([[angle(one, other) for other in spectra] for one in truth])
        order = table.argmin(axis=1)
        basis = np.linalg.qr(spectra[order].T)[0]
        error = fcls((pixels @ basis).T, spectra[order] @ basis).T - data["abundance"].reshape(-1, 4)
        results[name] = table.min(axis=1).mean(), np.sqrt((error**2).mean())
    assert results["plain"] == pytest.approx((0.1604, 0.1588), abs=5e-4)
    assert results["robust"] == pytest.approx((0.1303, 0.1047), abs=5e-4)


def test_equal_and_zero_spectra_have_nearest_ones():
    pixels = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    order, angles = nearest_by_angle(pixels, np.array([1, 3]), 4)
    assert order.tolist() == [[1, 0, 3, 2], [3, 0, 1, 2]]
    np.testing.assert_allclose(angles[0], [0, 0, np.pi / 4, np.pi / 2], atol=1e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neighbours": 1}, "neighbours is 1"),
        ({"neighbours": 10_000}, "must be 2 to 720"),
        ({"factor": 1.0}, "factor 1.0"),
        ({"extract": minimum_volume}, "no pixels, which have no neighbours"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        robust(scene(4)[0], 4, np.random.default_rng(0), **options)
