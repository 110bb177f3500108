"""Fractional cover and MESMA on bundles of real spectra: accuracy, honesty of the error bars, speed, and the peer.

Half of the spectra of a bundle make the pixels, the other half are the library: no method sees what a pixel is made
of. `pip install --no-deps earthlib==1.1.0 mesma==1.0.8` brings the spectra and the peer; `python -m benchmarks cover
--plot FILE` draws how often the intervals hold.
"""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from csv import DictReader
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import hsi_dask as hsi
from benchmarks import tiles
from benchmarks.measure import Claim, claim, in_turn, process, ratios
from hsi_dask.batch.execution.tile import working
from hsi_dask.batch.tiles.planning import make_plan
from hsi_dask.io.libraries import write_table
from hsi_dask.io.readers import read_source
from hsi_dask.kernels.fcls import fcls
from hsi_dask.kernels.mixtures.calibration import calibrate
from hsi_dask.kernels.mixtures.library import Library
from hsi_dask.kernels.mixtures.mesma import Mesma, MesmaSettings, mesma
from hsi_dask.kernels.mixtures.monte_carlo import MonteCarloSettings, monte_carlo
from hsi_dask.kernels.mixtures.posterior import CoverSettings, posterior
from hsi_dask.kernels.projection import weights
from hsi_dask.ops.passes import Finish, finished_planes

Floats = NDArray[np.float64]

MATERIALS = {"soil": ("bare", "soil"), "canopy": ("vegetation", "canopy"), "dry plants": ("npv", None)}
SEEDS = (0, 1, 2)
WAVELENGTHS = 360  # of the speed measurements, about those of NEON without water vapour
THREADS = 2
MILLION = 1_000_000
PEER_PIXELS, PIXELS = 1000, 144 * 100  # of the mesma package: 13 to 60 s; fewer of ours would time a call


class Bundles(NamedTuple):
    """A library (L, wavelength), its materials, and pixels (n, wavelength) of other spectra with their cover (n, m)."""

    spectra: Floats
    material: NDArray[np.int64]
    pixels: Floats
    fraction: Floats

    def projected(self) -> tuple[Floats, Floats, Library]:
        """What the kernels take: coordinates, energy and library."""
        basis = np.linalg.qr(self.spectra.T)[0]
        library = Library(self.spectra @ basis, self.material, self.fraction.shape[1], self.spectra.shape[1])
        return np.ascontiguousarray((self.pixels @ basis).T), (self.pixels**2).sum(axis=1), library


def cover(folder: Path, rounds: int, part: str | None = None) -> list[Claim]:
    """Accuracy and times of a million pixels, if earthlib with its spectra is there; intervals of areas; memory."""
    wanted = [name for name in PARTS if part in (None, name)]
    if importlib.util.find_spec("earthlib") is None:
        wanted = [name for name in wanted if name not in _OF_EARTHLIB]
    return [line for name in wanted for line in PARTS[name](folder, rounds)]


def simulate(seed: int, *, size: int = 20, pixels: int = 4000, wavelengths: int | None = None) -> Bundles:
    """Mixtures of three materials, `size` spectra of each: any cover is as likely, light 0.5 to 1, noise 0.004."""
    rng = np.random.default_rng(seed)
    drawn = [group[rng.permutation(len(group))[: 2 * size]] for group in _spectra(wavelengths)]
    fraction = rng.dirichlet(np.ones(len(drawn)), pixels)
    mixed = sum(f[:, None] * group[rng.integers(size, size=pixels)] for f, group in zip(fraction.T, drawn, strict=True))
    observed = rng.uniform(0.5, 1.0, (pixels, 1)) * mixed
    observed += 0.004 * rng.standard_normal(observed.shape)
    library = np.concatenate([group[size:] for group in drawn])
    return Bundles(library, np.repeat(np.arange(len(drawn)), size), observed, fraction)


@cache
def _spectra(wavelengths: int | None) -> list[Floats]:
    """All of earthlib's spectra of each material, read without importing it and what it imports."""
    spec = importlib.util.find_spec("earthlib")
    data = Path((spec.submodule_search_locations or [""])[0] if spec else "") / "data"
    library = hsi.read_spectra(data / "spectra.sli")
    values, grid = library.values.astype(np.float64), library.wavelength.values
    if wavelengths is not None:
        fine = np.linspace(grid[0], grid[-1], wavelengths)
        values = np.array([np.interp(fine, grid, spectrum) for spectrum in values])
    with (data / "spectra.csv").open(newline="") as stream:
        rows = list(DictReader(stream))
    groups = []
    for second, third in MATERIALS.values():
        groups.append(values[[r["LEVEL_2"] == second and third in (None, r["LEVEL_3"]) for r in rows]])
    return groups


# ---------------------------------------------------------------------------------------------- accuracy


def _accuracy() -> list[Claim]:
    errors: dict[str, list[float]] = {}
    inside: dict[str, list[tuple[float, float]]] = {}
    for seed in SEEDS:
        scene = simulate(seed)
        for name, (fraction, std) in _methods(scene).items():
            known = np.isfinite(fraction).all(axis=1)
            error = np.abs(fraction - scene.fraction)[known]
            errors.setdefault(name, []).append(float(error.mean()))
            if std is not None:
                parts = [float((error < k * std[known]).mean()) for k in (1.0, 1.96)]
                inside.setdefault(name, []).append((parts[0], parts[1]))
    best = min(np.median(errors[name]) for name in errors if name != "posterior")
    claims = [
        claim(f"mean absolute error, {name}", found, "", f"<= {best:.4f}" if name == "posterior" else "")
        for name, found in errors.items()
    ]
    for name, pairs in inside.items():
        for column, (percent, low, high) in enumerate(((68, 0.65, 0.75), (95, 0.92, 0.97))):
            line = claim(f"{percent} % intervals hold, {name}", [pair[column] for pair in pairs], "")
            if name == "posterior":
                line = line._replace(target=f"{low} to {high}", met=low <= line.median <= high)
            claims.append(line)
    return claims


def _methods(scene: Bundles) -> dict[str, tuple[NDArray[Any], NDArray[Any] | None]]:
    """Cover (n, materials) and its standard deviation by each method."""
    z, energy, library = scene.projected()
    means = np.array([scene.spectra[scene.material == m].mean(axis=0) for m in range(library.materials)])
    found = mesma(z, energy, library, MesmaSettings(3, 3))
    drawn = monte_carlo(z, energy, library, MonteCarloSettings(100, brightness=False, shade=True))
    bright = monte_carlo(z, energy, library, MonteCarloSettings(100))
    weighted = posterior(z, energy, library, calibrate(library, CoverSettings()))
    return {
        "FCLS on means": (fcls(scene.pixels.T, means).T, None),
        "FCLS on means, brightness": (fcls(_unit(scene.pixels).T, _unit(means)).T, None),
        "Monte Carlo, 100 draws, shade": (drawn.fraction.T, drawn.fraction_std.T),
        "Monte Carlo, 100 draws, brightness": (bright.fraction.T, bright.fraction_std.T),
        "MESMA, 8000 models": ((found.fraction / found.fraction.sum(axis=0)).T, None),
        "posterior": (weighted.fraction.T, weighted.fraction_std.T),
    }


def _unit(spectra: Floats) -> Floats:
    brightness: Floats = np.sqrt((spectra**2).mean(axis=1, keepdims=True))
    return spectra / brightness


# ------------------------------------------------------------------------------------------------- speed


def _speed(rounds: int) -> list[Claim]:
    """29 790 models: all that 30 + 30 + 30 spectra of three materials make. Seconds are processor time / 2."""
    pixels = PIXELS
    z, energy, library = simulate(0, size=30, pixels=THREADS * pixels, wavelengths=WAVELENGTHS).projected()
    blocks = [(np.ascontiguousarray(z[:, i : i + pixels]), energy[i : i + pixels]) for i in (0, pixels)]
    settings = calibrate(library, CoverSettings())

    def on_threads(kernel: Callable[[Floats, Floats], object]) -> Callable[[], object]:
        return lambda: list(pool.map(lambda block: kernel(*block), blocks))

    kernels: dict[str, Callable[[Floats, Floats], object]] = {
        "all": lambda z, e: mesma(z, e, library, MesmaSettings(3, fusion=0.0)),
        "fusion": lambda z, e: mesma(z, e, library, MesmaSettings(3)),
        "cover": lambda z, e: posterior(z, e, library, settings),
        "draws": lambda z, e: monte_carlo(z, e, library, MonteCarloSettings(50)),
    }
    with ThreadPoolExecutor(THREADS) as pool:
        works = [on_threads(kernel) for kernel in kernels.values()]
        for work in works:
            work()  # compiles
        measured = [[_processor(work) for work in works] for _ in range(rounds)]
    times = dict(zip(kernels, map(list, zip(*measured, strict=True)), strict=True))
    whole = {name: [t / THREADS * MILLION / (THREADS * pixels) for t in spent] for name, spent in times.items()}
    return [
        claim("MESMA, 29 790 models, fusion 0, a million pixels on two cores", whole["all"], "s", "<= 25"),
        claim("MESMA, the same with fusion 0.007", whole["fusion"], "s", "<= 25"),
        claim("cover by posterior, the same models", whole["cover"], "s"),
        claim("cover by posterior / MESMA with fusion 0", ratios(times["cover"], times["all"]), "x", "<= 1.5"),
        claim("cover by posterior / MESMA with fusion 0.007", ratios(times["cover"], times["fusion"]), "x"),
        claim("cover by 50 Monte Carlo draws", whole["draws"], "s"),
        claim("calibration, once a run", [_processor(lambda: calibrate(library, CoverSettings()))], "s"),
    ]


def _processor(work: Callable[[], object]) -> float:
    """Processor seconds of all threads: what others do on the machine does not count."""
    start = time.process_time()
    work()
    return time.process_time() - start


# -------------------------------------------------------------------------------------------------- peer


def _peer() -> list[Claim]:
    """The `mesma` package and direct least squares in float64 on the same pixels and library."""
    scene = simulate(0, size=30, pixels=PIXELS, wavelengths=WAVELENGTHS)
    z, energy, library = scene.projected()
    settings = MesmaSettings(3)
    mesma(z, energy, library, settings)  # compiles
    spent = min(_processor(lambda: mesma(z, energy, library, settings)) for _ in range(3))
    few = scene._replace(pixels=scene.pixels[:PEER_PIXELS])
    mine = mesma(z, energy, library, MesmaSettings(3, 3))
    model = _direct(few, settings)
    claims = [claim("same spectra as direct least squares, float64", [_same(mine, model)], "", ">= 0.999")]
    if importlib.util.find_spec("mesma") is None:
        return claims
    theirs, model, fraction = _package(few, settings)
    mine = mesma(z, energy, library, settings)
    n = model.shape[1]
    same = (mine.model[:, :n] == model).all(axis=0) & (mine.flag[:n] == 0)
    gap = np.abs(mine.fraction[:, :n] - fraction)[:, same].max()
    return [
        *claims,
        claim("same spectra as the mesma package", [_same(mine, model)], "", ">= 0.999"),
        claim("largest difference of fractions", [float(gap)], "", "<= 0.0001"),
        claim("the mesma package / ours, processor time", [theirs / n / (spent / energy.size)], "x", ">= 4000"),
    ]


def _same(mine: Mesma, model: NDArray[np.int64]) -> float:
    return float((mine.model[:, : model.shape[1]] == model).all(axis=0).mean())


def _direct(scene: Bundles, settings: MesmaSettings) -> NDArray[np.int64]:
    """The best allowed three-material model of each pixel, (3, n), by orthogonal factors of whole spectra."""
    groups = [np.flatnonzero(scene.material == m) for m in range(3)]
    models = np.array(list(product(*groups)))
    best, model = np.full(len(scene.pixels), settings.max_rmse), np.full((3, len(scene.pixels)), -1)
    for members in np.array_split(models, len(models) // 60):
        q, r = np.linalg.qr(scene.spectra[members].transpose(0, 2, 1))
        along = q.transpose(0, 2, 1) @ scene.pixels.T
        a = np.linalg.solve(r, along)
        rmse = np.sqrt(((scene.pixels.T - q @ along) ** 2).mean(axis=1))
        dark = 1 - a.sum(axis=1)
        good = (a.min(axis=1) >= settings.fractions[0]) & (a.max(axis=1) <= settings.fractions[1])
        rmse[~(good & (dark >= settings.shade[0]) & (dark <= settings.shade[1]))] = np.inf
        first = rmse.argmin(axis=0)
        better = rmse.min(axis=0) < best
        best[better], model[:, better] = rmse.min(axis=0)[better], members[first[better]].T
    return model


def _package(scene: Bundles, settings: MesmaSettings) -> tuple[float, NDArray[np.int64], Floats]:
    """Seconds, models (3, n) and fractions (3, n) of the `mesma` package."""
    peer = importlib.import_module("mesma.core.mesma")
    models = peer.MesmaModels()
    models.setup(scene.material.astype(str))
    models.select_level(True, settings.max_materials + 1)
    for m in range(3):
        models.select_class(True, m, settings.max_materials + 1)
    table = models.return_look_up_table()
    package = peer.MesmaCore(THREADS)
    results: list[tuple[NDArray[np.int64], Floats]] = []

    def run() -> None:
        found = package.execute(
            scene.pixels.T[:, None], scene.spectra.T, table, models.em_per_class, log=lambda *_, **__: None
        )
        results.append((found[0][:, 0], found[1][:3, 0]))

    with package.pool:
        spent = _processor(run)
    return spent, *results[0]


# ------------------------------------------------------------------------------------------ areas, memory


def _areas() -> list[Claim]:
    """How often intervals hold the areas of simulated scenes, whose spectra the library does not have."""
    inside = [
        row["fraction_low"] <= true <= row["fraction_high"]
        for seed in range(6)
        for variability in (0.05, 0.12)
        for patch in (6.0, 20.0)
        for true, row in _covered(seed, variability, patch)
    ]
    return [claim(f"95 % intervals hold the area, of {len(inside)} areas", [float(np.mean(inside))], "", ">= 0.92")]


def _covered(seed: int, variability: float, patch: float) -> Iterator[tuple[float, Any]]:
    """True hectares of each material, and what the maps say."""
    scene = hsi.synthetic.simulate_scene(
        (120, 150), materials=("vegetation", "soil", "dry_vegetation"), seed=seed, variability=variability, patch=patch,
        illumination=(0.6, 1.0), noise=0.002, wavelength=hsi.synthetic.neon_wavelengths(100, step=20.0),
    )  # fmt: skip
    labels = {"y": scene.y, "x": scene.x, "wavelength": scene.wavelength}
    cube = xr.DataArray((scene.reflectance() / 1e4).astype(np.float32), labels, ("y", "x", "wavelength"))
    bands: dict[str, Any] = {"windows": [(1330, 1455), (1780, 1965)], "drop_last": 5}
    library = scene.library(15, seed=seed)
    maps = hsi.fractional_cover(hsi.select_bands(cube, **bands), hsi.select_bands(library, **bands))
    found = maps.hsi.areas()
    for name, abundance in zip(scene.names, scene.abundance, strict=True):
        yield float(abundance.sum(dtype=np.float64)) / 1e4, found.loc[name]


def _projection(folder: Path, rounds: int) -> list[Claim]:
    """A tile of each layout projected on random spectra, and mapped by 50 Monte Carlo draws, against inflating it."""
    claims = []
    for layout in tiles.LAYOUTS:
        path = tiles.tile(folder, layout)
        inflate = tiles.inflate_everything(path, THREADS)
        for count, target in ((90, "<= 2.5"), (300, "<= 5")):
            project = partial(_project, path, count)
            spent, floor = in_turn(rounds, project, inflate)
            claims.append(
                claim(f"{layout} projection on {count} spectra / inflating", ratios(spent, floor), "x", target)
            )
        spent, floor = in_turn(rounds, partial(_drawn, path), inflate)
        claims.append(claim(f"{layout} cover by 50 draws, 90 spectra / inflating", ratios(spent, floor), "x", "<= 12"))
    return claims


def _project(path: Path, count: int) -> None:
    cube = hsi.select_bands(read_source(str(path)).numbers())
    spectra = np.random.default_rng(0).random((count, cube.sizes["wavelength"]))
    first = Finish(
        ((lambda _, sums: {"first": sums.projections[:1].astype(np.float32)}, None),), {"first": slice(1, 2)}
    )
    with working(THREADS, lambda share: None):
        finished_planes(cube, weights(spectra, divergence=False), first).compute()


def _drawn(path: Path) -> None:
    cube = hsi.select_bands(read_source(str(path)).numbers())
    library = _simulated_library(30).sel(wavelength=cube.wavelength.values, method="nearest")
    with working(THREADS, lambda share: None):
        hsi.fractional_cover(cube, library, method="bundles", draws=50).compute()


def _memory(folder: Path) -> list[Claim]:
    """Peak memory of MESMA with 90 and 300 spectra on a tile of each layout, and as the plan projects it."""
    claims = []
    for layout in tiles.LAYOUTS:
        path = tiles.tile(folder, layout)
        for count in (30, 100):
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                library = write_table(Path(scratch) / "library.csv", _simulated_library(count))
                words = ("run", str(path), "--library", str(library), "--method", "mesma", "--no-report")
                peak = process(*words, "--out", f"{scratch}/run").peak
                config = hsi.RunConfig(tiles=[str(path)], endmembers={"file": str(library)}, methods=["mesma"])
                projected = make_plan([path], config).memory(THREADS) / 2**20
            what = f"MESMA, {3 * count} spectra, {layout}"
            target = "<= 1000" if count == 30 else ""
            claims.append(claim(f"{what}, peak memory", [peak], "MB", target))
            claims.append(claim(f"{what}, peak / projected memory", [peak / projected], "x", "<= 1"))
    return claims


def _simulated_library(count: int) -> xr.DataArray:
    materials = ("vegetation", "soil", "dry_vegetation")
    return hsi.synthetic.simulate_scene((10, 10), materials=materials, variability=0.05).library(count)


PARTS: dict[str, Callable[[Path, int], list[Claim]]] = {
    "accuracy": lambda folder, rounds: _accuracy(),
    "speed": lambda folder, rounds: _speed(rounds),
    "peer": lambda folder, rounds: _peer(),
    "areas": lambda folder, rounds: _areas(),
    "projection": _projection,
    "memory": lambda folder, rounds: _memory(folder),
}
_OF_EARTHLIB = ("accuracy", "speed", "peer")


# -------------------------------------------------------------------------------------------------- plot


def plot(path: Path) -> None:
    """How often intervals hold, of posterior cover and Monte Carlo, over three seeds."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    stated = np.linspace(0.02, 0.98, 49)
    half = np.array([_quantile(0.5 + p / 2) for p in stated])
    for name, colour in (("posterior", "C0"), ("Monte Carlo, 100 draws, shade", "C1")):
        scored = [_scored(simulate(seed), name) for seed in SEEDS]
        for error, std in scored:
            left.plot(stated, [(error < h * std).mean() for h in half], color=colour, alpha=0.4, lw=1)
        error, std = (np.concatenate(parts) for parts in zip(*scored, strict=True))
        left.plot(stated, [(error < h * std).mean() for h in half], color=colour, label=name)
        bins = np.array_split(np.argsort(std), 12)
        right.plot([std[b].mean() for b in bins], [np.sqrt((error[b] ** 2).mean()) for b in bins], "o-", color=colour)
    left.plot([0, 1], [0, 1], "k:", lw=1)
    left.set(xlabel="stated probability of the interval", ylabel="pixels inside", xlim=(0, 1), ylim=(0, 1))
    left.legend(loc="upper left", frameon=False)
    right.axline((0, 0), slope=1, color="k", ls=":", lw=1)
    right.set(xlabel="standard deviation", ylabel="root mean square error", xlim=(0, None), ylim=(0, None))
    figure.suptitle("Fractional cover of spectra that the library lacks")
    figure.savefig(path, dpi=90)


def _scored(scene: Bundles, name: str) -> tuple[Floats, Floats]:
    fraction, std = _methods(scene)[name]
    return np.abs(fraction - scene.fraction).ravel(), np.asarray(std).ravel()


def _quantile(probability: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(probability)
