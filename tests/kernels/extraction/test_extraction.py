"""Extractors against loops that write the methods out, the spectral package's ppi, and planted vertices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsi_dask.kernels.extraction.atgp import atgp
from hsi_dask.kernels.extraction.fippi import fippi
from hsi_dask.kernels.extraction.minimum_volume import minimum_volume
from hsi_dask.kernels.extraction.ppi import ppi
from hsi_dask.kernels.extraction.spa import spa
from hsi_dask.kernels.extraction.vca import vca
from hsi_dask.kernels.subspace import principal_subspace, reduce

PIXELS = [atgp, spa, vca, ppi, fippi]
WAVELENGTHS = 30


def planted(count, n=300, seed=0, noise=0.0):
    """Random pure spectra first, then n mixtures of them, none above 0.9."""
    rng = np.random.default_rng(seed)
    pure = rng.uniform(0.05, 0.6, (count, WAVELENGTHS))
    shares = np.vstack([np.eye(count), 0.9 * rng.dirichlet(np.ones(count), n) + 0.1 / count])
    return shares @ pure + rng.normal(0, noise, (n + count, WAVELENGTHS)), pure


def textbook_atgp(pixels, count):
    found = [int((pixels**2).sum(axis=1).argmax())]
    while len(found) < count:
        U = pixels[found].T
        P = np.eye(pixels.shape[1]) - U @ np.linalg.pinv(U)
        found.append(int(((pixels @ P) ** 2).sum(axis=1).argmax()))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_atgp_is_the_orthogonal_subspace_projection_of_the_textbook(seed):
    pixels, _ = planted(6, seed=seed, noise=0.01)
    assert atgp(pixels, 6, np.random.default_rng()).indices.tolist() == textbook_atgp(pixels, 6)


@pytest.mark.parametrize("seed", range(5))
def test_spa_is_qr_with_column_pivoting_of_the_right_singular_vectors(seed):
    linalg = pytest.importorskip("scipy.linalg")
    pixels, _ = planted(6, seed=seed, noise=0.01)
    left = np.linalg.svd(pixels, full_matrices=False)[0][:, :6]
    assert spa(pixels, 6, np.random.default_rng()).indices.tolist() == linalg.qr(left.T, pivoting=True)[2][:6].tolist()


def test_ppi_counts_the_ends_of_every_direction():
    pixels, _ = planted(4, noise=0.02)
    found = ppi(pixels, 4, np.random.default_rng(5), directions=700)
    points = reduce(pixels, principal_subspace(pixels, 3))
    scores = np.zeros(len(pixels), int)
    for direction in np.random.default_rng(5).standard_normal((700, 3)):
        products = [point @ direction for point in points]
        scores[np.argmin(products)] += 1
        scores[np.argmax(products)] += 1
    assert found.diagnostics["scores"].tolist() == np.sort(scores)[::-1][:4].tolist()
    assert scores[found.indices].tolist() == found.diagnostics["scores"].tolist()
    assert found.diagnostics["candidates"] == (scores > 0).sum()


def test_the_purest_pixels_are_those_of_the_spectral_package():
    spectral = pytest.importorskip("spectral")
    pixels, _ = planted(4)
    points = reduce(pixels, principal_subspace(pixels, 3))
    counts = spectral.ppi(points.reshape(1, -1, 3), 2000, display=0).ravel()
    assert set(np.argsort(counts)[-4:]) == set(ppi(pixels, 4, np.random.default_rng(0)).indices.tolist())


@pytest.mark.parametrize("extract", PIXELS)
@settings(max_examples=25, deadline=None)
@given(count=st.integers(2, 8), seed=st.integers(0, 999), data=st.data())
def test_planted_vertices_are_found_whatever_the_order_of_the_pixels(extract, count, seed, data):
    pixels, _ = planted(count, 60, seed)
    order = np.array(data.draw(st.permutations(range(len(pixels)))))
    found = extract(pixels[order], count, np.random.default_rng(seed))
    assert set(order[found.indices].tolist()) == set(range(count))
    assert found.spectra is None
    assert order[found.indices].tolist() == extract(pixels, count, np.random.default_rng(seed)).indices.tolist()


@pytest.mark.parametrize("extract", PIXELS)
def test_the_same_seed_gives_the_same_endmembers_in_single_precision_too(extract):
    pixels, _ = planted(5, 2000, noise=0.003)
    first, again = (extract(pixels, 5, np.random.default_rng(1)) for _ in range(2))
    assert first.indices.tolist() == again.indices.tolist()
    single = extract(pixels.astype(np.float32), 5, np.random.default_rng(1))
    assert single.indices.dtype == np.intp
    assert len(set(single.indices.tolist())) == 5


def test_vca_scales_out_the_light_where_noise_is_low_and_does_not_where_it_is_high():
    pixels, _ = planted(4, 3000)
    light = np.random.default_rng(1).uniform(0.5, 1.5, (len(pixels), 1))
    found = vca(pixels * light, 4, np.random.default_rng(0))
    assert found.diagnostics["projective"]
    assert set(found.indices.tolist()) == {0, 1, 2, 3}
    noisy = vca(pixels + np.random.default_rng(2).normal(0, 0.1, pixels.shape), 4, np.random.default_rng(0))
    assert not noisy.diagnostics["projective"]
    assert noisy.diagnostics["snr"] == pytest.approx(20 * np.log10(np.sqrt((pixels**2).mean()) / 0.1), abs=1.5)


def test_fippi_ends_with_pixels_that_are_extreme_along_each_other():
    pixels, _ = planted(5, 2000, noise=0.05)
    found = fippi(pixels, 5, np.random.default_rng(0))
    assert found.diagnostics["complete"]
    assert 5 <= found.diagnostics["candidates"] < 40
    assert not fippi(pixels, 5, np.random.default_rng(0), rounds=1).diagnostics["complete"]


@pytest.mark.parametrize("count", [3, 5, 8])
def test_minimum_volume_finds_vertices_that_no_pixel_is_near(count):
    rng = np.random.default_rng(count)
    pure = rng.uniform(0.05, 0.6, (count, WAVELENGTHS))
    shares = rng.dirichlet(np.ones(count), 20_000)
    pixels = shares[shares.max(axis=1) < 0.8][:8000] @ pure
    pixels = pixels + rng.normal(0, 0.0005, pixels.shape)
    found = minimum_volume(pixels, count, np.random.default_rng(0))
    assert found.indices is None
    assert found.diagnostics["converged"]
    assert found.diagnostics["volume"] > 1
    distance = np.linalg.norm(found.spectra[:, None] - pure, axis=2).min(axis=1)
    nearest_pixel = np.linalg.norm(pixels[:, None] - pure, axis=2).min(axis=0)
    assert distance.max() < 0.35 * nearest_pixel.min()


def test_minimum_volume_keeps_pure_pixels_and_depends_on_neither_unit_nor_order():
    pixels, pure = planted(4, 2000)
    found = minimum_volume(pixels, 4, np.random.default_rng(0), outside=0.0005)
    other = minimum_volume(pixels[::-1] * 1e4, 4, np.random.default_rng(0), outside=0.0005)
    order = np.linalg.norm(found.spectra[:, None] - pure, axis=2).argmin(axis=0)
    np.testing.assert_allclose(found.spectra[order], pure, atol=0.03)
    np.testing.assert_allclose(other.spectra * 1e-4, found.spectra, atol=1e-3)


def test_without_pure_pixels_the_real_benchmark_is_solved(real_data):
    scene = np.load(real_data / "sim1_no_pure_pixels.npz")
    found = minimum_volume(scene["cube"].reshape(-1, 224), 6, np.random.default_rng(0)).spectra
    truth = scene["endmembers"]
    cosine = truth @ found.T / np.outer(np.linalg.norm(truth, axis=1), np.linalg.norm(found, axis=1))
    assert np.arccos(cosine.max(axis=1).clip(max=1)).max() < 0.01  # N-FINDR: .2


@pytest.mark.parametrize("extract", [*PIXELS, minimum_volume])
@pytest.mark.parametrize(
    ("pixels", "count", "message"),
    [
        (np.ones((5, 4), np.int16), 2, "int16"),
        (np.ones((5, 4)), 5, "5 endmembers of 5 spectra on 4 wavelengths"),
        (np.full((5, 4), np.nan), 2, "NaN"),
        (np.outer(np.arange(1.0, 9.0), np.ones(6)), 4, "too few dimensions for 4 endmembers; ask for [12] at most"),
    ],
)
def test_pixels_that_cannot_give_endmembers_are_refused(extract, pixels, count, message):
    with pytest.raises(ValueError, match=message):
        extract(pixels, count, np.random.default_rng(0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", [vca, ppi, fippi])
def test_a_dark_material_is_a_dimension_and_rounding_is_none(method, dtype):
    rng = np.random.default_rng(0)
    pure = rng.uniform(0.1, 0.6, (4, 300))
    pure[3] *= 0.005
    shares = np.vstack([np.repeat(np.eye(4), 50, axis=0), rng.dirichlet(np.ones(4), 2000)])
    found = method((shares @ pure).astype(dtype), 4, np.random.default_rng(0))
    assert len(found.indices) == 4
    with pytest.raises(ValueError, match="ask for 4 at most"):
        method((shares @ pure).astype(dtype), 6, np.random.default_rng(0))
