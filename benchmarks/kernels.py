"""FCLS, N-FINDR and what others take for the same maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Claim, claim, in_turn, ratios, seconds
from hsi_dask import synthetic
from hsi_dask.kernels.fcls import fcls, fcls_cvxopt
from hsi_dask.kernels.nfindr import nfindr
from hsi_dask.kernels.projection import project, weights
from hsi_dask.kernels.sam import angles
from hsi_dask.kernels.sid import divergences

Floats = NDArray[np.float64]
_TARGETS = {4: "<= 0.1", 12: "<= 0.5", 30: "<= 5"}


def kernels(folder: Path, rounds: int) -> list[Claim]:
    """Microseconds a pixel on one core, endmembers far apart and alike, pixels in scene order."""
    claims = []
    for count, target in _TARGETS.items():
        for alike in (0.0, 0.99):
            pixels, vertices = _mixtures(count, 1_000_000 if count <= 12 else 100_000, alike)
            fcls(pixels[:, :1000], vertices)
            times = [seconds(lambda p=pixels, v=vertices: fcls(p, v)) for _ in range(rounds)]  # type: ignore[misc]
            per_pixel = [1e6 * t / pixels.shape[1] for t in times]
            claims.append(claim(f"FCLS, {count} endmembers, correlation {alike:g}", per_pixel, "us/pixel", target))
    pixels, vertices = _library(240)
    fcls(pixels[:, :50], vertices)
    times = [seconds(lambda: fcls(pixels, vertices)) for _ in range(rounds)]
    per_pixel = [1e6 * t / pixels.shape[1] for t in times]
    claims.append(claim("FCLS, a library of 240 spectra of six materials", per_pixel, "us/pixel", "<= 200"))
    reduced = np.random.default_rng(0).dirichlet(np.ones(4), 1_000_000)[:, :3]
    nfindr(reduced[:1000], 4, restarts=1)
    times = [seconds(lambda: nfindr(reduced, 4, restarts=10)) for _ in range(rounds)]
    claims.append(claim("N-FINDR, 1 000 000 pixels, 4 endmembers, 10 restarts", times, "s", "<= 2"))
    return claims


def peers(folder: Path, rounds: int) -> list[Claim]:
    """The same maps of a 100 x 100 corner by per-pixel loops, as pysptools does, and SAM by the spectral package."""
    scene = synthetic.simulate_scene((100, 100), seed=3)
    cube = scene.reflectance().reshape(-1, scene.wavelength.size)[:, :362] * 1e-4
    spectra = scene.endmembers[:4, :362].astype(float)
    planes = np.ascontiguousarray(cube.T)

    def ours() -> None:
        w = weights(spectra)
        vertices = spectra @ w.basis.T
        sums = project(planes, w)
        fcls(sums.projections, vertices)
        angles(sums.projections, sums.energy, vertices)
        divergences(sums.total, sums.forward, sums.backward)

    def our_angles() -> None:
        w = weights(spectra, divergence=False)
        sums = project(planes, w)
        angles(sums.projections, sums.energy, spectra @ w.basis.T)

    mine, loops = in_turn(max(1, rounds // 2), ours, lambda: _pixel_by_pixel(cube, spectra))
    claims = [claim("per-pixel cvxopt FCLS + SAM + SID / ours", ratios(loops, mine), "x", ">= 100")]
    try:
        from spectral import spectral_angles
    except ImportError:
        return claims
    image = cube.reshape(100, 100, -1)
    mine, theirs = in_turn(rounds, our_angles, lambda: spectral_angles(image, spectra))
    return [*claims, claim("SAM by the spectral package / ours, one thread", ratios(theirs, mine), "x")]


def _pixel_by_pixel(cube: Floats, spectra: Floats) -> None:
    basis = np.linalg.qr(spectra.T)[0].T
    fcls_cvxopt(basis @ cube.T, spectra @ basis.T)
    shares = spectra / spectra.sum(axis=1, keepdims=True)
    for pixel in np.maximum(cube, 1e-4):
        p = pixel / pixel.sum()
        for e, q in zip(spectra, shares, strict=True):
            np.arccos(pixel @ e / np.sqrt((pixel @ pixel) * (e @ e)))
            (p * np.log(p / q)).sum() + (q * np.log(q / p)).sum()


def _library(count: int) -> tuple[Floats, Floats]:
    """Coordinates of a simulated scene's pixels (r, n), and of a library of so many spectra of its materials."""
    scene = synthetic.simulate_scene((60, 60), seed=3, no_data=0.0)
    known = scene.library(count // len(scene.endmembers)).values[:, :362].astype(np.float64)
    values = scene.reflectance().reshape(-1, scene.wavelength.size)[:, :362] * 1e-4
    basis = np.linalg.qr(known.T)[0].T
    return np.ascontiguousarray((values @ basis.T).T), known @ basis.T


def _mixtures(count: int, n: int, correlation: float) -> tuple[Floats, Floats]:
    """Coordinates of noisy mixtures in scene order (r, n), and of their endmembers (p, r)."""
    rng = np.random.default_rng(count)
    own, common = rng.standard_normal((count, 200)), rng.standard_normal(200)
    spectra = 0.3 + 0.1 * (np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own)
    knots = rng.gamma(0.3, size=(n // 50 + 2, count))
    at = np.arange(n) / 50
    low, part = at.astype(int), (at % 1)[:, None]
    shares = (1 - part) * knots[low] + part * knots[low + 1]
    shares /= shares.sum(axis=1, keepdims=True)
    basis = np.linalg.qr(spectra.T)[0].T
    vertices = spectra @ basis.T
    return np.ascontiguousarray((shares @ vertices + rng.normal(0, 0.005, (n, count))).T), vertices
