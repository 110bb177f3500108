"""Published scenes against figures that were computed independently of this code; they skip where it is absent."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import hsi_dask as hsi


def cube_of(values: np.ndarray, wavelength: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values, {"wavelength": wavelength}, ("y", "x", "wavelength"))


def endmembers_of(spectra: np.ndarray, wavelength: np.ndarray) -> xr.DataArray:
    return xr.DataArray(spectra, {"wavelength": wavelength}, ("endmember", "wavelength"))


@pytest.fixture
def jasper(real_data: Path) -> dict[str, np.ndarray]:
    with np.load(real_data / "jasper_ridge.npz") as scene:
        return dict(scene)


def abundance_error(found: xr.DataArray, truth: np.ndarray) -> float:
    return float(np.sqrt(((found.transpose("y", "x", "endmember").values - truth) ** 2).mean()))


def test_jasper_ridge_unmixes_to_the_known_error(jasper: dict[str, np.ndarray]) -> None:
    cube = cube_of(jasper["cube"] / 5000.0, jasper["wavelength_nm"])
    found = hsi.unmix(cube, endmembers_of(jasper["endmembers"], jasper["wavelength_nm"]))
    assert abundance_error(found.abundance, jasper["abundance"]) == pytest.approx(0.0851, abs=5e-5)


@pytest.mark.parametrize("seed", range(3))
def test_jasper_ridge_has_the_known_endmembers_whatever_the_seed(jasper: dict[str, np.ndarray], seed: int) -> None:
    cube = cube_of(jasper["cube"] / 5000.0, jasper["wavelength_nm"])
    pixels = hsi.sample_pixels(cube, 10_000, seed=seed)
    found = hsi.find_endmembers(pixels, 4, seed=seed, robust=False)
    assert set((found.column * 100 + found.row).values.tolist()) == {4269, 5245, 6864, 8931}
    truth = jasper["endmembers"]
    cosine = (found.values @ truth.T) / np.outer(np.linalg.norm(found, axis=1), np.linalg.norm(truth, axis=1))
    angle = np.arccos(np.clip(cosine, -1, 1))
    best = min(permutations(range(4)), key=lambda order: angle[range(4), order].mean())
    assert angle[range(4), best].mean() == pytest.approx(0.1604, abs=5e-5)
    matched = hsi.unmix(cube, found).abundance[np.argsort(best)]
    assert abundance_error(matched, jasper["abundance"]) == pytest.approx(0.1588, abs=5e-5)


def test_a_scene_without_pure_pixels_unmixes_exactly_with_its_true_endmembers(real_data: Path) -> None:
    with np.load(real_data / "sim1_no_pure_pixels.npz") as scene:
        values, spectra, truth = scene["cube"], scene["endmembers"], scene["abundance"]
    wavelength = np.linspace(400, 2500, values.shape[2])
    found = hsi.unmix(cube_of(values, wavelength), endmembers_of(spectra, wavelength)).abundance
    np.testing.assert_allclose(found.transpose("y", "x", "endmember"), truth, atol=1e-6)


def test_a_scene_without_pure_pixels_is_not_claimed_to_be_recovered(real_data: Path) -> None:
    with np.load(real_data / "sim1_no_pure_pixels.npz") as scene:
        values, spectra = scene["cube"], scene["endmembers"]
    wavelength = np.linspace(400, 2500, values.shape[2])
    cube = cube_of(values, wavelength)
    found = hsi.find_endmembers(hsi.sample_pixels(cube, 20_000), 6).values
    cosine = (found @ spectra.T) / np.outer(np.linalg.norm(found, axis=1), np.linalg.norm(spectra, axis=1))
    assert np.arccos(np.clip(cosine, -1, 1)).min(axis=0).max() > 0.02


def test_a_rewritten_neon_tile_goes_through_the_whole_run(real_data: Path, tmp_path: Path) -> None:
    tile = real_data / "neon_sjer_2017_30x30.h5"
    cube = hsi.open_neon(tile)
    assert cube.shape == (30, 30, 426)
    assert cube.rio.crs.to_epsg() == 32611
    assert (float(cube.x[0]), float(cube.y[0])) == (257000.5, 4111999.5)
    config = hsi.RunConfig.model_validate({"tiles": [str(tile)], "endmembers": {"count": 4}})
    assert not hsi.run(config, tmp_path / "run").failed
    results = hsi.open_results(tmp_path / "run")
    assert results.abundance.shape == (4, 30, 30)
    assert results.rio.crs.to_epsg() == 32611
    np.testing.assert_allclose(results.abundance.sum("endmember"), 1, atol=1e-6)
    assert set(np.unique(results.sam_class)) <= {0, 1, 2, 3, 4}


def test_real_tree_crowns_are_nearer_to_their_own_kind(real_data: Path) -> None:
    """Spectra of one taxon differ among themselves; their mean must still be nearest to most of them."""
    with np.load(real_data / "osbs_crowns.npz", allow_pickle=False) as crowns:
        pixels, taxon = crowns["pixels"] / 1e4, crowns["taxon"]
    names, counts = np.unique(taxon, return_counts=True)
    names = names[counts >= 50]
    wavelength = np.linspace(400, 2500, pixels.shape[1])
    means = np.stack([pixels[taxon == name].mean(axis=0) for name in names])
    kept = np.isin(taxon, names)
    cube = cube_of(pixels[kept][None], wavelength)
    classes = hsi.classify(cube, endmembers_of(means, wavelength), method="sam").sam_class.values[0]
    assert (names[classes - 1] == taxon[kept]).mean() > 1.5 / len(names)
