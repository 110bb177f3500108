"""How near endmembers and abundances come to the truth, step by step from plain N-FINDR to what a run does.

Scenes are simulated; those made of published ones are left out where `HSI_DASK_TEST_DATA`, or `../shared/data` beside
the project, does not hold them. Samples are seeds: of the sample, of the search and of the scene's noise.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import hsi_dask as hsi
from benchmarks.measure import Claim, claim
from hsi_dask.kernels.support import robust

Floats = NDArray[np.float64]
_SIZE = 120  # pixels, of simulated scenes
_SAMPLE = 10_000
_OUTLIERS = 0.005  # of the pixels
_LIT = {"shade": True, "normalize": "shade"}


class Truth(NamedTuple):
    """A scene: (y, x, wavelength) reflectance, and what it is made of: (p, L) and (y, x, p)."""

    cube: xr.DataArray
    endmembers: Floats
    abundance: Floats


def science(folder: Path, rounds: int) -> list[Claim]:
    """Mean spectral angle (rad) of endmembers and root mean square error of abundances, step by step on every scene."""
    claims = []
    for name, make in _scenes().items():
        found: dict[str, list[tuple[float, float]]] = {}
        for seed in range(rounds):
            truth = make(seed)
            for step, (spectra, options) in _steps(truth, seed):
                found.setdefault(step, []).append(_errors(truth, spectra, options))
        for step, errors in found.items():
            angles, abundances = zip(*errors, strict=True)
            if "lit part" not in step:  # the endmembers of the step before
                claims.append(claim(f"{name}: {step}, angle", angles, "rad"))
            claims.append(claim(f"{name}: {step}, abundance", abundances, "RMSE"))
    return claims


def _steps(truth: Truth, seed: int) -> Iterator[tuple[str, tuple[xr.DataArray, dict[str, object]]]]:
    """Endmembers of each step, and the options of the unmixing."""
    count = len(truth.endmembers)
    pixels = hsi.sample_pixels(truth.cube, _SAMPLE, seed=seed)
    yield "N-FINDR", (hsi.find_endmembers(pixels, count, seed=seed, robust=False), {})
    means = robust(pixels.values, count, np.random.default_rng(seed), factor=np.inf).spectra
    labels = {"wavelength": pixels["wavelength"].variable}
    yield "+ mean of the nearest", (xr.DataArray(means, labels, ("endmember", "wavelength")), {})
    supported = hsi.find_endmembers(pixels, count, seed=seed)
    yield "+ support test (a run)", (supported, {})
    yield "+ shade, of the lit part", (supported, _LIT)
    every = hsi.find_endmembers(truth.cube, count, seed=seed)
    yield "every pixel", (every, {})
    yield "every pixel, of the lit part", (every, _LIT)


def _errors(truth: Truth, spectra: xr.DataArray, options: dict[str, object]) -> tuple[float, float]:
    """Mean angle and abundance error for the best of all matchings of found and true endmembers."""
    found = np.asarray(spectra, np.float64)
    lengths = np.outer(np.linalg.norm(found, axis=1), np.linalg.norm(truth.endmembers, axis=1))
    angle = np.arccos(np.clip(found @ truth.endmembers.T / lengths, -1, 1))
    count = len(found)
    order = min(permutations(range(count)), key=lambda some: angle[list(some), range(count)].sum())
    maps = hsi.unmix(truth.cube, spectra.drop_vars("endmember", errors="ignore"), **options).abundance  # type: ignore[arg-type]
    error = maps.transpose("y", "x", "endmember").values[..., list(order)] - truth.abundance
    return float(angle[list(order), range(count)].mean()), float(np.sqrt(np.nanmean(error**2)))


# ------------------------------------------------------------------------------------------------ scenes


def _scenes() -> dict[str, Callable[[int], Truth]]:
    scenes: dict[str, Callable[[int], Truth]] = {
        "simulated, even light": lambda seed: _simulated(seed, None),
        "simulated, uneven light": lambda seed: _simulated(seed, (0.5, 1.1)),
        "simulated, outliers": lambda seed: _spoiled(_simulated(seed, (0.7, 1.1)), seed),
        "simulated, a patch of 25 pixels": _rare,
    }
    data = Path(os.environ.get("HSI_DASK_TEST_DATA") or Path(__file__).parents[1] / ".." / "shared" / "data")
    if (data / "urban_truth.npz").is_file():
        scenes["Urban, uneven light"] = lambda seed: _urban(data, seed)
        scenes["Urban, outliers"] = lambda seed: _spoiled(_urban(data, seed), seed)
    if (data / "jasper_ridge.npz").is_file():
        scenes["Jasper Ridge"] = lambda seed: _jasper(data)
        scenes["Jasper Ridge, outliers"] = lambda seed: _spoiled(_jasper(data), seed)
    return scenes


def _simulated(seed: int, illumination: tuple[float, float] | None) -> Truth:
    """Of NEON's wavelengths, the noisy short end included."""
    materials = ("vegetation", "soil", "asphalt", "roof", "water")
    scene = hsi.synthetic.simulate_scene(
        (_SIZE, _SIZE), materials=materials, seed=seed, illumination=illumination, no_data=0.02, noise=0.004
    )
    stored = scene.reflectance()
    values = np.where(stored == -9999, np.nan, stored * 1e-4).astype(np.float32)
    cube = xr.DataArray(values, {"wavelength": scene.wavelength}, ("y", "x", "wavelength"))
    cube = hsi.select_bands(cube, windows=[(1340, 1445), (1790, 1955)])
    kept = np.isin(scene.wavelength, cube.wavelength)
    return Truth(cube, scene.endmembers[:, kept].astype(float), np.moveaxis(scene.abundance, 0, 2).astype(float))


def _rare(seed: int) -> Truth:
    """250 x 250 pixels of which 25, side by side, are of a material that is nowhere else."""
    rng = np.random.default_rng(seed)
    of = hsi.synthetic.simulate_scene((1, 1), materials=("vegetation", "soil", "roof", "dry_vegetation", "asphalt"))
    abundance = rng.dirichlet(np.full(5, 0.4), (250, 250))
    abundance[..., 4] = 0
    abundance /= abundance.sum(axis=2, keepdims=True)
    abundance[100:105, 100:105] = np.eye(5)[4]
    light = rng.uniform(0.7, 1.1, (250, 250, 1))
    values = light * (abundance @ of.endmembers) + rng.normal(0, 0.004, (250, 250, of.wavelength.size))
    cube = hsi.select_bands(_labelled(values, of.wavelength), windows=[(1340, 1445), (1790, 1955)])
    return Truth(cube, of.endmembers[:, np.isin(of.wavelength, cube.wavelength)].astype(float), abundance)


def _urban(data: Path, seed: int) -> Truth:
    """The scene's reference abundances and endmembers, mixed anew, in light that varies over short distances."""
    rng = np.random.default_rng(seed)
    with np.load(data / "urban_truth.npz") as known:
        spectra, abundance = known["endmembers"].astype(float), known["abundance"][::2, ::2].astype(float)
    spectra = spectra / spectra.max()
    light = rng.uniform(0.5, 1.1, abundance.shape[:2])[..., None]
    values = light * (abundance @ spectra) + rng.normal(0, 0.005, (*abundance.shape[:2], spectra.shape[1]))
    return Truth(_labelled(values, np.linspace(400, 2400, spectra.shape[1])), spectra, abundance)


def _jasper(data: Path) -> Truth:
    with np.load(data / "jasper_ridge.npz") as known:
        cube = _labelled(known["cube"] / 5000.0, known["wavelength_nm"])
        return Truth(cube, known["endmembers"].astype(float), known["abundance"].astype(float))


def _spoiled(truth: Truth, seed: int) -> Truth:
    """The same scene with some pixels that are no spectra of anything."""
    rng = np.random.default_rng(1000 + seed)
    values = truth.cube.values.copy()
    chosen = rng.random(values.shape[:2]) < _OUTLIERS
    values[chosen] = rng.uniform(0, 1.2, (int(chosen.sum()), 1)) * rng.uniform(
        0, 1, (int(chosen.sum()), values.shape[2])
    )
    values[np.isnan(truth.cube.values)] = np.nan
    abundance = np.where(chosen[..., None], np.nan, truth.abundance)
    return Truth(truth.cube.copy(data=values), truth.endmembers, abundance)


def _labelled(values: Floats, wavelength: Floats) -> xr.DataArray:
    return xr.DataArray(values.astype(np.float32), {"wavelength": wavelength}, ("y", "x", "wavelength"))
