"""pysptools 0.15 and the spectral package beside hsi_dask on one simulated tile: speed in turn, and errors.

pysptools is patched here as far as it needs to run, and no further: names that NumPy and SciPy have dropped.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import hsi_dask as hsi
from benchmarks import kernels
from benchmarks.measure import Claim, claim, in_turn, ratios
from hsi_dask.kernels.continuum import continuum_removed

_MATERIALS = ("vegetation", "soil", "water", "roof")
_WINDOWS = ((0, 400), (1340, 1445), (1790, 1955), (2430, 9999))  # nm: noise
_SMALL, _LARGE = 60, 250  # pixels: what pysptools maps in seconds, by loops over pixels or by matrices
_LOOPS = ("NFINDR", "PPI", "FIPPI", "FCLS", "NNLS", "NormXCorr", "convex_hull_removal")
_COUNT = len(_MATERIALS)


class Tile(NamedTuple):
    """A simulated tile as both want it.

    cube, spectra, pixels : labelled float32, all pixels in the last.
    image, endmembers, abundance : float64 arrays.
    clean : the image without noise.
    """

    cube: xr.DataArray
    spectra: xr.DataArray
    pixels: xr.DataArray
    image: NDArray[np.float64]
    endmembers: NDArray[np.float64]
    abundance: NDArray[np.float64]
    clean: NDArray[np.float64]


def peers(folder: Path, rounds: int) -> list[Claim]:
    """Ratios of time, theirs over ours, then errors of both."""
    claims = kernels.peers(folder, rounds)
    if (theirs := _pysptools()) is None:
        return claims
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pysptools
        small, large = _tile(_SMALL), _tile(_LARGE)
        for (name, slow, own), (_, fast, ours) in zip(_pairs(theirs, small), _pairs(theirs, large), strict=True):
            size, works = (_SMALL, (own, slow)) if name in _LOOPS else (_LARGE, (ours, fast))
            mine, others = in_turn(max(1, rounds // 2), *works)
            claims.append(claim(f"pysptools {name} / ours, {size} x {size} pixels", ratios(others, mine), "x"))
        return claims + [claim(what, [value], unit) for what, value, unit in _errors(theirs, small)]


def _pysptools() -> Any:
    """Its modules by name; None where it is not installed."""
    for name, value in (("float", float), ("int", int), ("bool", bool)):
        np.__dict__.setdefault(name, value)
    try:
        import scipy
        import scipy.integrate
        import scipy.linalg
        from pysptools import abundance_maps, classification, detection, eea, material_count, noise, skl, spectro
    except ImportError:
        return None
    scipy.sqrt = np.lib.scimath.sqrt
    scipy.linalg._flinalg = SimpleNamespace(sdet_c=lambda matrix: (np.linalg.det(matrix), 0))
    scipy.integrate.trapz = scipy.integrate.trapezoid
    return SimpleNamespace(
        abundance_maps=abundance_maps, classification=classification, detection=detection, eea=eea,
        material_count=material_count, noise=noise, skl=skl, spectro=spectro,
    )  # fmt: skip


def _tile(size: int) -> Tile:
    scene = hsi.synthetic.simulate_scene(
        (size, size), materials=_MATERIALS, seed=3, illumination=None, no_data=0, patch=12
    )
    kept = ~np.any([(scene.wavelength > low) & (scene.wavelength < high) for low, high in _WINDOWS], axis=0)
    labels = {"wavelength": scene.wavelength[kept]}
    image = scene.reflectance()[..., kept] * 1e-4
    endmembers = scene.endmembers[:, kept].astype(float)
    abundance = np.moveaxis(scene.abundance, 0, 2).astype(float)
    cube = xr.DataArray(image.astype(np.float32), labels, ("y", "x", "wavelength"))
    spectra = xr.DataArray(endmembers.astype(np.float32), labels, ("endmember", "wavelength"))
    return Tile(cube, spectra, hsi.sample_pixels(cube, size**2), image, endmembers, abundance, abundance @ endmembers)


Work = Callable[[], object]


def _pairs(p: Any, tile: Tile) -> Iterator[tuple[str, Work, Work]]:
    """Name, their call and ours."""
    image, endmembers, cube, spectra, pixels = tile.image, tile.endmembers, tile.cube, tile.spectra, tile.pixels

    def find(method: str) -> Work:
        return lambda: hsi.find_endmembers(pixels, _COUNT, method=method, robust=False)

    for name in ("NFINDR", "ATGP", "FIPPI", "PPI"):
        yield name, lambda n=name: getattr(p.eea, n)().extract(image, _COUNT), find(name.lower())  # type: ignore[misc]
    for name in ("UCLS", "NNLS", "FCLS"):
        yield (
            name,
            lambda n=name: getattr(p.abundance_maps, n)().map(image, endmembers),  # type: ignore[misc]
            lambda n=name: hsi.unmix(cube, spectra, method=n.lower()),  # type: ignore[misc]
        )
    for name, method in (("SAM", "sam"), ("SID", "sid"), ("NormXCorr", "ncc")):
        yield (
            name,
            lambda n=name: getattr(p.classification, n)().classify(image, endmembers, 0.3),  # type: ignore[misc]
            lambda m=method: hsi.classify(cube, spectra, method=m),  # type: ignore[misc]
        )
    for name, method in (("MatchedFilter", "mf"), ("ACE", "ace"), ("CEM", "cem"), ("GLRT", "glrt")):
        yield (
            name,
            lambda n=name: getattr(p.detection, n)().detect(image, endmembers[0]),  # type: ignore[misc]
            lambda m=method: hsi.detect(cube, spectra[:1], method=m),  # type: ignore[misc]
        )
    yield (
        "OSP",
        lambda: p.detection.OSP().detect(image, endmembers[1:], endmembers[0]),
        lambda: hsi.detect(cube, spectra, method="osp"),
    )
    yield "HfcVd", lambda: p.material_count.HfcVd().count(image), lambda: hsi.estimate_count(cube, method="hfc")
    yield "HySime", lambda: p.material_count.HySime().count(image), lambda: hsi.estimate_count(cube)
    yield "MNF", lambda: p.noise.MNF().apply(image), lambda: hsi.mnf(cube, cube.sizes["wavelength"])
    some, grid = image[::4, ::4].reshape(-1, image.shape[2]), cube["wavelength"].values
    yield (
        "convex_hull_removal",
        lambda: [p.spectro.convex_hull_removal(list(pixel), list(grid)) for pixel in some],
        lambda: continuum_removed(some, grid),
    )


def _errors(p: Any, tile: Tile) -> Iterator[tuple[str, float, str]]:
    """What both make of a tile whose truth is known."""
    image, endmembers = tile.image, tile.endmembers
    theirs = p.abundance_maps.NNLS().map(image, endmembers)
    ours = hsi.unmix(tile.cube, tile.spectra, method="nnls").abundance.transpose("y", "x", "endmember").values
    yield "pysptools NNLS, error of abundances", _rms(theirs - tile.abundance), "RMSE"
    yield "our nnls, error of abundances", _rms(ours - tile.abundance), "RMSE"
    yield "pysptools NNLS, farthest from the optimum", float(np.abs(theirs - ours).max()), "abundance"
    theirs = p.abundance_maps.FCLS().map(image, endmembers)
    ours = hsi.unmix(tile.cube, tile.spectra).abundance.transpose("y", "x", "endmember").values
    yield "pysptools FCLS, farthest from ours", float(np.abs(theirs - ours).max()), "abundance"
    sam = p.classification.SAM()
    sam.classify(image, endmembers, 0.3)
    angle = hsi.classify(tile.cube, tile.spectra).sam_angle.transpose("y", "x", "endmember").values
    cosine = image @ endmembers.T / (np.linalg.norm(image, axis=2)[..., None] * np.linalg.norm(endmembers, axis=1))
    exact = np.arccos(np.clip(cosine, -1, 1))
    yield "pysptools SAM, largest error of an angle", float(np.abs(sam.angles - exact).max()), "rad"
    yield "our sam, largest error of an angle", float(np.abs(angle - exact).max()), "rad"
    white = p.noise.Whiten().apply(image).reshape(-1, image.shape[2])
    correlation = np.corrcoef(white.T) - np.eye(image.shape[2])
    yield "pysptools Whiten, largest correlation left", float(np.abs(correlation).max()), ""
    mnf = p.noise.MNF()
    kept = mnf.apply(image).copy()
    kept[..., _COUNT - 1 :] = 0
    back = mnf.inverse_transform(kept)
    yield f"pysptools MNF, {_COUNT - 1} components inverted, error", _rms(back - tile.clean), "reflectance"
    yield "our denoise, the same", _rms(hsi.denoise(tile.cube, _COUNT - 1).values - tile.clean), "reflectance"
    yield "the noise itself", _rms(image - tile.clean), "reflectance"
    yield (
        f"pysptools HfcVd, false alarms 1e-3, of {_COUNT}",
        float(p.material_count.HfcVd().count(image)[0]),
        "materials",
    )
    counted = float(p.material_count.HfcVd().count(image * 1e4)[0])
    yield "pysptools HfcVd, the same in digital numbers", counted, "materials"
    yield f"our hfc, of {_COUNT}", float(hsi.estimate_count(tile.cube, method="hfc")["count"]), "materials"
    yield f"pysptools HySime, of {_COUNT}", float(p.material_count.HySime().count(image)[0]), "materials"
    yield f"our hysime, of {_COUNT}", float(hsi.estimate_count(tile.cube)["count"]), "materials"
    quotient = p.spectro.FeaturesConvexHullQuotient(
        list(image[5, 5]), list(tile.cube["wavelength"].values), baseline=0.97
    )
    deepest = min(quotient.features, key=lambda feature: feature["abs_depth"])
    yield "pysptools FeaturesConvexHullQuotient, what it calls depth", float(deepest["abs_depth"]), ""
    yield "our absorption, depth", float(hsi.absorption(tile.cube[5, 5]).absorption_depth), ""
    found = [p.eea.NFINDR().extract(image, _COUNT, maxit=5, ATGP_init=False) for _ in range(5)]
    yield "pysptools NFINDR without ATGP, five runs: different answers", float(len({f.tobytes() for f in found})), ""
    yield f"pysptools FIPPI, asked for {_COUNT}", float(len(p.eea.FIPPI().extract(image, _COUNT))), "endmembers"


def _rms(values: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(values**2)))
