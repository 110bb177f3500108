"""Simulated scenes with known truth, and the same scenes as files in NEON's own layouts.

A scene is a function of the ground position and the seed. Whatever part of it is asked for, in whatever
strips or groups of bands, the numbers are the same: tiles cut from a site join exactly, and no site has to be
in memory. Two halves under one roof: scenes (seed -> numbers), and files (numbers -> six NEON layouts).

>>> scene = simulate_scene((60, 80), materials=("vegetation", "soil", "water"), seed=1)
>>> scene.reflectance(slice(0, 10)).shape
(10, 80, 426)
>>> bool((scene.abundance.sum(axis=0) == 1).all())
True
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from hsi_dask.errors import ConfigError

if TYPE_CHECKING:
    import xarray as xr

Array = npt.NDArray[Any]
Revision = Literal["DP1.001-2016", "DP3.001", "DP3.002", "rewritten", "radiance", "flat-2013"]

WATER_WINDOWS = (
    (1340.0, 1445.0),
    (1790.0, 1955.0),
)  # nm; the atmosphere is opaque there and NEON's values are noise
SCALE = 10000  # digital numbers per unit reflectance, as in the files
NO_DATA = -9999
SATURATED = 14998  # the largest value seen in NEON's water-vapour windows
OFF_SWATH = 241  # what NEON's one-byte layers hold outside the swath, although their attribute says -9999
PURE_MARGIN = 0.3  # a pixel is pure where its material leads the next one by this much of a patch weight
ABUNDANCE_STEPS = 2**16  # abundances are multiples of 2**-16: exact in float32, so that they sum to exactly 1
# The coarse warp bends and stretches patches, the fine one frays them: (amplitude, scale), in patches
WARPS = ((1.2, 5.0), (0.2, 1.3))
TABLE = 2**20  # standard normal values, 4 MB: stays in cache, and its covariance is white to 0.001
BLOCK = 2**16  # float32 values worked on at a time: 256 kB, a core's share of cache
SLAB = 2**25  # int16 values generated at a time per thread: 64 MB

# ---------------------------------------------------------------------------------------------- spectra


def _peak(wavelength: Array, centre: float, width: float) -> Array:
    return np.exp(-0.5 * ((wavelength - centre) / width) ** 2)


def _step(wavelength: Array, centre: float, width: float) -> Array:
    return 1 / (1 + np.exp(-(wavelength - centre) / width))


# each material without its narrow absorptions, as a function of nm; after its chemistry, nothing copied
_CONTINUA: dict[str, Callable[[Array], Array]] = {
    # chlorophyll leaves a green peak and ends at the red edge (718 nm); leaf water darkens the far infrared
    "vegetation": lambda w: (
        (0.035 + 0.055 * _peak(w, 552, 30) + 0.44 * _step(w, 718, 11))
        * (1 - 0.25 * _step(w, 1330, 50) - 0.25 * _step(w, 1850, 60) - 0.15 * _step(w, 2280, 60))
    ),
    "soil": lambda w: 0.05 + 0.36 * (1 - np.exp(-(w - 340) / 620)) - 0.06 * _step(w, 2250, 70),
    "asphalt": lambda w: 0.075 + 0.05 * (w - 350) / 2150,
    # white painted metal: the pigment absorbs below 410 nm
    "roof": lambda w: 0.06 + 0.60 * _step(w, 408, 7) - 0.34 * (w - 350) / 2150,
    # particles scatter in the visible; pure water absorbs nearly all beyond 750 nm
    "water": lambda w: 0.002 + 0.02 * _peak(w, 540, 90) + 0.02 * _step(-w, -620, 40),
    "dry_vegetation": lambda w: 0.06 + 0.42 * _step(w, 640, 110) - 0.18 * _step(w, 1750, 250),
}
_ABSORPTIONS: dict[str, tuple[tuple[float, float, float], ...]] = {  # (centre nm, width nm, optical depth)
    "vegetation": ((970, 28, 0.08), (1200, 40, 0.17), (1450, 55, 0.9), (1940, 75, 1.3)),  # liquid water
    "soil": (
        *((480, 60, 0.35), (900, 90, 0.10)),  # iron oxides
        *((1415, 25, 0.12), (1915, 35, 0.22), (2205, 22, 0.20)),  # hydroxyl, bound water, clay
    ),
    "asphalt": ((1730, 22, 0.08), (2310, 35, 0.16)),  # the binder's hydrocarbons
    "roof": (
        (1200, 25, 0.05),
        (1430, 45, 0.12),
        (1730, 25, 0.22),
        (1940, 50, 0.2),
        (2310, 40, 0.35),
    ),  # resin
    "water": (),
    "dry_vegetation": (
        *((1200, 35, 0.07), (1460, 50, 0.25), (1935, 50, 0.3)),  # what water is left
        *((1730, 30, 0.1), (2100, 50, 0.32), (2310, 45, 0.3)),  # lignin and cellulose
    ),
}
MATERIALS = tuple(_CONTINUA)


def _material(name: str, wavelength: Array) -> Array:
    depth = np.zeros_like(wavelength)
    for centre, width, strength in _ABSORPTIONS[name]:
        depth += strength * _peak(wavelength, centre, width)
    return _CONTINUA[name](wavelength) * np.exp(-depth)


def material_spectra(names: Sequence[str], wavelength: npt.ArrayLike) -> Array:
    """Plausible reflectance spectra of named materials, made of Gaussians and logistics.

    Parameters
    ----------
    names : sequence of str
        Any of `MATERIALS`.
    wavelength : (L,) array_like
        Nanometres, 350 to 2600, any grid.

    Returns
    -------
    (len(names), L) ndarray of float64
        Reflectance, within [0, 1].

    Examples
    --------
    >>> red, infrared = material_spectra(["vegetation"], [670, 860])[0]
    >>> bool(infrared > 5 * red)
    True
    """
    grid = np.asarray(wavelength, dtype=np.float64)
    unknown = [name for name in names if name not in _CONTINUA]
    if unknown or not names:
        raise ConfigError(f"materials {unknown or 'none'} are not in the library; choose from {', '.join(MATERIALS)}")
    if grid.ndim != 1 or grid.size == 0 or not (grid.min() >= 350 and grid.max() <= 2600):
        raise ConfigError("the material library needs a list of wavelengths within 350 to 2600 nm")
    return np.stack([_material(name, grid) for name in names])


def neon_wavelengths(bands: int = 426, *, first: float = 381.5, step: float = 5.0085) -> Array:
    """Band centres, nm, (bands,) float64; NEON's first lies at 381.5 to 383.9 nm, by site, year."""
    exact = first + step * np.arange(bands, dtype=np.float64)
    return np.round(exact * 1024) / 1024  # the same number in float32: files hold either kind


def neon_fwhm(wavelength: npt.ArrayLike) -> Array:
    """Full width at half maximum of NEON's bands, nm: narrowest at 782 nm, 6.4 nm at the far end."""
    return 5.632 + 2.666e-7 * (np.asarray(wavelength, dtype=np.float64) - 782.0) ** 2


# ---------------------------------------------------------------------------------------- position -> number

_FIELDS = (
    "noise", "patch", "warp_y", "warp_x", "light", "edge", "cloud", "shadow", "relief", "aspect", "air",
)  # fmt: skip


def _hash(seed: int, field: str, *index: Array) -> Array:
    """One uint64 for each (seed, field, index...): splitmix64's finaliser, chained. Broadcasts."""
    state: Array = np.full(1, (seed * 1009 + _FIELDS.index(field)) % 2**64, np.uint64)
    for part in (np.zeros(1, np.int64), *index):
        state = (state ^ part.astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
    return state


def _ease(fraction: Array) -> Array:
    return np.asarray(fraction * fraction * (3 - 2 * fraction))


def _smooth(seed: int, field: str, rows: Array, cols: Array, scale: float) -> Array:
    """A smooth field in [0, 1], (rows, cols) float64: random values every `scale` pixels, eased between."""
    (i, a), (j, b) = ((np.floor(at / scale).astype(np.int64), at / scale % 1.0) for at in (rows, cols))
    lattice_i, lattice_j = np.arange(i.min(), i.max() + 2), np.arange(j.min(), j.max() + 2)
    nodes = _hash(seed, field, lattice_i[:, None], lattice_j) / 2.0**64
    i, j, a, b = i - i.min(), j - j.min(), _ease(a)[:, None], _ease(b)
    lines = nodes[i] * (1 - a) + nodes[i + 1] * a
    smooth: Array = lines[:, j] * (1 - b) + lines[:, j + 1] * b
    return smooth


def _patch_ids(seed: int, field: str, i: Array, j: Array, count: int) -> Array:
    """An id in 0..count-1 for every lattice node (i, j); each run of `count` along j holds all ids."""
    run, place = np.divmod(j, count)
    keys = _hash(seed, field, i[:, None, None], run[None, :, None], np.arange(count))
    return np.take_along_axis(np.argsort(keys, axis=-1), place[None, :, None], axis=-1)[..., 0]


def _patch_weights(seed: int, field: str, rows: Array, cols: Array, scale: float, count: int) -> Array:
    """Weight of each id, (count, rows, cols) float32, summing to about 1: warped patches, 1 in the middle."""
    at_y, at_x = rows[:, None] / scale, cols[None, :] / scale
    for amplitude, reach in WARPS:
        at_y = at_y + amplitude * (2 * _smooth(seed, "warp_y", rows, cols, reach * scale) - 1)
        at_x = at_x + amplitude * (2 * _smooth(seed, "warp_x", rows, cols, reach * scale) - 1)
    i, j = np.floor(at_y).astype(np.int64), np.floor(at_x).astype(np.int64)
    a, b = _ease(at_y - i).astype(np.float32), _ease(at_x - j).astype(np.float32)
    i0, j0 = i.min(), j.min()
    ids = _patch_ids(seed, field, np.arange(i0, i.max() + 2), np.arange(j0, j.max() + 2), count)
    weights = np.zeros((count, *i.shape), np.float32)
    corners = (1 - a) * (1 - b), (1 - a) * b, a * (1 - b), a * b
    for (di, dj), corner in zip(np.ndindex(2, 2), corners, strict=True):
        here = ids[i - i0 + di, j - j0 + dj]
        for number in range(count):
            weights[number] += np.where(here == number, corner, np.float32(0))
    return weights


@lru_cache(maxsize=4)
def _noise_table(seed: int, extra: int) -> Array:
    values = np.random.Generator(np.random.Philox(seed)).standard_normal(TABLE, dtype=np.float32)
    values -= values.mean()
    return np.concatenate([values, values[:extra]])


# ---------------------------------------------------------------------------------------------- scenes


class _Pixels(NamedTuple):
    """What pixels are made of: lit abundances (p, n), start in the noise table (n,), no-data (n,)."""

    weight: Array
    start: Array
    void: Array


@dataclass(frozen=True, eq=False)
class Scene:
    """A simulated scene and its truth, made by `simulate_scene`. Maps are computed when first asked for.

    Attributes
    ----------
    names, endmembers : the p materials, and their reflectance (p, L) float32
    wavelength, fwhm : (L,) float64, nm
    rows, cols : (start, stop) in the ground grid of 1 m: a column is an easting, a row minus a northing
    site_rows, site_cols : the same of the uncut scene, to which the no-data margin belongs
    abundance : (p, y, x) float32, >= 0, sums to exactly 1, also where there is no data
    illumination : (y, x) float32, the factor on reflectance
    no_data : (y, x) bool
    """

    names: tuple[str, ...]
    endmembers: Array
    wavelength: Array
    fwhm: Array
    rows: tuple[int, int]
    cols: tuple[int, int]
    site_rows: tuple[int, int]
    site_cols: tuple[int, int]
    seed: int
    patch: float
    noise: float
    illumination_range: tuple[float, float] | None
    no_data_share: float
    no_data_shape: Literal["corner", "border"]

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows[1] - self.rows[0], self.cols[1] - self.cols[0]

    @property
    def origin(self) -> tuple[int, int]:
        """(easting, northing) of the south-west outer corner, m: the pair in a NEON tile's name."""
        return self.cols[0], -self.rows[1]

    @property
    def y(self) -> Array:
        """Northings of the pixel centres, m, descending."""
        return -(np.arange(*self.rows) + 0.5)

    @property
    def x(self) -> Array:
        """Eastings of the pixel centres, m."""
        return np.arange(*self.cols) + 0.5

    @cached_property
    def abundance(self) -> Array:
        cols = np.arange(*self.cols)
        out = np.empty((len(self.names), *self.shape), np.float32)
        for first in range(0, self.shape[0], 64):  # strips bound the float64 intermediates
            rows = np.arange(self.rows[0] + first, min(self.rows[0] + first + 64, self.rows[1]))
            weights = _patch_weights(self.seed, "patch", rows, cols, self.patch, len(self.names))
            out[:, first : first + len(rows)] = _exact_abundance(weights)
        return out

    @cached_property
    def illumination(self) -> Array:
        if self.illumination_range is None:
            return np.ones(self.shape, np.float32)
        low, high = self.illumination_range
        return (low + (high - low) * self.field("light", 4)).astype(np.float32)

    @cached_property
    def no_data(self) -> Array:
        if self.no_data_share in (0, 1):
            return np.full(self.shape, bool(self.no_data_share))
        (top, bottom), (left, right) = self.site_rows, self.site_cols
        v = ((np.arange(*self.rows) - top + 0.5) / (bottom - top))[:, None]
        u = ((np.arange(*self.cols) - left + 0.5) / (right - left))[None, :]
        wave = 0.08 * (self.field("edge", 1.5) - 0.5)
        if self.no_data_shape == "border":
            return np.asarray(np.minimum(u, 1 - u) < self.no_data_share / 2 + wave / 2)
        share = self.no_data_share  # u + v < t cuts a triangle of area t**2 / 2 off the unit square, up to t = 1
        return np.asarray(u + v < (np.sqrt(2 * share) if share <= 0.5 else 2 - np.sqrt(2 - 2 * share)) + wave)

    def field(self, name: str, patches: float) -> Array:
        """A smooth random field of the scene, (y, x) float64 in [0, 1], with structure of so many patches."""
        return _smooth(self.seed, name, np.arange(*self.rows), np.arange(*self.cols), patches * self.patch)

    def window(self, y: slice = slice(None), x: slice = slice(None)) -> Scene:
        """The same scene cut to a range of its rows and columns; every value stays what it was."""
        (y0, y1, _), (x0, x1, _) = y.indices(self.shape[0]), x.indices(self.shape[1])
        if y1 <= y0 or x1 <= x0:
            raise ConfigError(f"the window y {y0}:{y1}, x {x0}:{x1} of a scene of {self.shape} pixels is empty")
        rows, cols = (self.rows[0] + y0, self.rows[0] + y1), (self.cols[0] + x0, self.cols[0] + x1)
        return replace(self, rows=rows, cols=cols)

    def tiles(self, size: int = 1000) -> Iterator[Scene]:
        """The scene cut along multiples of `size` metres, row by row from the north-west."""
        for row in range(self.rows[0] // size * size, self.rows[1], size):
            for col in range(self.cols[0] // size * size, self.cols[1], size):
                top, left = max(row - self.rows[0], 0), max(col - self.cols[0], 0)
                yield self.window(slice(top, row + size - self.rows[0]), slice(left, col + size - self.cols[0]))

    def reflectance(self, y: slice = slice(None), bands: slice = slice(None)) -> Array:
        """What a NEON file holds, (rows, x, bands) int16: reflectance x 10000, no data -9999."""
        part = self.window(y)
        return _digital_numbers(self, part._pixels(), bands).reshape(*part.shape, -1)

    def truth(self) -> xr.Dataset:
        """The maps and endmembers, labelled; `endmember` counts from 1, abundance is NaN where no data."""
        import xarray as xr

        number = np.arange(1, len(self.names) + 1)
        abundance = np.where(self.no_data, np.float32(np.nan), self.abundance)
        variables = {
            "abundance": (("endmember", "y", "x"), abundance),
            "endmembers": (("endmember", "wavelength"), self.endmembers),
            "illumination": (("y", "x"), self.illumination),
        }
        coords = {"endmember": number, "y": self.y, "x": self.x, "wavelength": self.wavelength}
        return xr.Dataset(variables, coords, attrs={"endmember_names": list(self.names)})

    def _pixels(self) -> _Pixels:
        weight = (self.abundance * self.illumination).reshape(len(self.names), -1)
        place = _hash(self.seed, "noise", np.arange(*self.rows)[:, None], np.arange(*self.cols))
        return _Pixels(weight, (place % np.uint64(TABLE)).astype(np.int64).ravel(), self.no_data.ravel())


def _exact_abundance(weights: Array) -> Array:
    """Patch weights (p, y, x) sharpened to pure cores with mixed borders, and made to sum to exactly 1."""
    margin = np.maximum(weights - weights.max(axis=0) + np.float32(PURE_MARGIN), 0)
    steps = np.floor(margin / margin.sum(axis=0) * ABUNDANCE_STEPS).astype(np.int64)
    largest = steps.argmax(axis=0)[None]
    rest = ABUNDANCE_STEPS - steps.sum(axis=0)
    np.put_along_axis(steps, largest, np.take_along_axis(steps, largest, axis=0) + rest, axis=0)
    return np.asarray(steps / ABUNDANCE_STEPS, dtype=np.float32)


def _noise_profile(scene: Scene) -> tuple[Array, Array]:
    """Noise and upper limit per band, digital numbers, (L,) float32: worse at both ends, wild in windows."""
    w = scene.wavelength
    profile = 1 + 4 * _peak(w, 375, 14) + 1.5 * _peak(w, 940, 8) + 6 * _step(w, 2480, 7)
    opaque = np.any([(w >= low) & (w <= high) for low, high in WATER_WINDOWS], axis=0)
    spread = np.where(opaque, 0.5 * SATURATED, scene.noise * SCALE * profile)
    return spread.astype(np.float32), np.where(opaque, SATURATED, 32000).astype(np.float32)


def _digital_numbers(scene: Scene, pixels: _Pixels, bands: slice = slice(None)) -> Array:
    """Values (n, bands) int16 of pixels.

    Plain multiply and add instead of a matrix product: BLAS may round by the shape of its operands, and
    then a tile would not equal the same pixels of the uncut scene.
    """
    first, stop, _ = bands.indices(scene.wavelength.size)
    spread, top = (values[first:stop] for values in _noise_profile(scene))
    spectra = np.float32(SCALE) * scene.endmembers[:, first:stop]
    table = _noise_table(scene.seed, scene.wavelength.size)
    noise = np.lib.stride_tricks.sliding_window_view(table, stop - first)
    flawed = scene.noise > 0
    glint = np.flatnonzero(scene.wavelength[first:stop] < 390) if flawed else np.empty(0, np.int64)
    dropout = np.flatnonzero(scene.wavelength[first:stop] > 2472) if flawed else np.empty(0, np.int64)
    out = np.empty((pixels.start.size, stop - first), np.int16)
    step = max(BLOCK // (stop - first), 1)
    for start in range(0, len(out), step):
        block = slice(start, start + step)
        normal = noise[pixels.start[block] + first]
        value = normal * spread
        for weight, spectrum in zip(pixels.weight[:, block], spectra, strict=True):
            if weight.any():
                value += weight[:, None] * spectrum
        if glint.size:
            value[:, glint] += 12000 * (normal[:, glint] > 3.5)  # 17877 was seen at 384 nm
        if dropout.size:
            value[:, dropout] *= normal[:, dropout] > -2.5  # NEON holds stray zeros from 2472 nm on
        np.minimum(np.maximum(value, 0, out=value), top, out=value)
        out[block] = np.rint(value, out=value)
    out[pixels.void] = NO_DATA
    return out


def simulate_scene(
    shape: tuple[int, int] = (200, 200),
    *,
    materials: Sequence[str] = MATERIALS,
    seed: int = 0,
    noise: float = 0.001,
    illumination: tuple[float, float] | None = (0.7, 1.1),
    no_data: float = 0.0,
    no_data_shape: Literal["corner", "border"] = "corner",
    origin: tuple[int, int] = (368000, 4306000),
    wavelength: npt.ArrayLike | None = None,
    patch: float | None = None,
) -> Scene:
    """Simulate patches of materials with mixed borders, lit unevenly, seen by a NEON spectrometer.

    Parameters
    ----------
    shape : (y, x)
        Pixels of 1 m.
    materials : sequence of str
        Names in the library, `MATERIALS`.
    seed : int
        Same seed and `patch`: neighbours simulated apart join too, but for the no-data margin.
    noise : float
        Standard deviation in reflectance, mid-spectrum. 0 leaves noise in the water-vapour windows only.
    illumination : (low, high) or None
        Range of a smooth factor on reflectance; None for 1 everywhere: then FCLS can find the exact truth.
    no_data : float
        About this share of the scene has no data, 0 to 1.
    no_data_shape : {"corner", "border"}
        Cut off the north-west corner like a site's boundary, or the east and west sides like a flight line.
    origin : (easting, northing)
        South-west outer corner, whole metres.
    wavelength : (L,) array_like, optional
        Nanometres; `neon_wavelengths()` unless given.
    patch : float, optional
        Size of a patch in pixels; unless given at most 40 and small enough that every material occurs.

    Returns
    -------
    Scene

    Examples
    --------
    >>> simulate_scene((40, 40), seed=3).abundance.shape
    (6, 40, 40)
    """
    if min(shape) < 1 or not 0 <= no_data <= 1 or noise < 0 or seed < 0:
        raise ConfigError(
            f"shape {shape} and seed {seed} must be positive, noise {noise} >= 0, no_data {no_data} in 0..1"
        )
    grid = neon_wavelengths() if wavelength is None else np.asarray(wavelength, dtype=np.float64)
    cols = (int(origin[0]), int(origin[0]) + shape[1])
    rows = (-int(origin[1]) - shape[0], -int(origin[1]))
    return Scene(
        names=tuple(materials),
        endmembers=material_spectra(materials, grid).astype(np.float32),
        wavelength=grid,
        fwhm=neon_fwhm(grid),
        rows=rows,
        cols=cols,
        site_rows=rows,
        site_cols=cols,
        seed=seed,
        # 2p nodes a line hold a whole run of p nodes, wherever the line starts
        patch=float(patch or max(min(40.0, shape[1] / (2 * len(materials))), 2.0)),
        noise=noise,
        illumination_range=illumination,
        no_data_share=no_data,
        no_data_shape=no_data_shape,
    )


# ---------------------------------------------------------------------------------------------- NEON files


@dataclass(frozen=True)
class _Layout:
    """How one revision lays out a file; a chunk axis of 0 means the whole axis."""

    chunks: tuple[int, int, int]
    product: str = "DP3"
    suffix: str = "reflectance"
    float_layers: bool = False  # Cast_Shadow and its like: f4 since .002, u1 before
    vapour: str = "f4"
    aerosol: str = "Aerosol_Optical_Depth"
    weather: Literal["absent", "rgb", "integer"] = "rgb"
    selection: bool = True
    azimuth: str = "to-sensor_azimuth_angle"
    ignore: str = "f8"
    logs: tuple[str, ...] = ("150634", "151211")
    cloud_name: str = "Cloud_conditions"


_WKT = (
    'PROJCS["WGS 84 / UTM zone {zone}N",GEOGCS["WGS 84",DATUM["WGS_1984",'
    'SPHEROID["WGS 84",6378137,298.257223563]],PRIMEM["Greenwich",0],'
    'UNIT["degree",0.0174532925199433]],PROJECTION["Transverse_Mercator"],'
    'PARAMETER["latitude_of_origin",0],PARAMETER["central_meridian",{meridian}],PARAMETER["scale_factor",0.9996],'
    'PARAMETER["false_easting",500000],PARAMETER["false_northing",0],UNIT["metre",1],AUTHORITY["EPSG","{code}"]]'
)
_LOGS = ("ATCOR_Input_file", "ATCOR_Processing_Log", "Shadow_Processing_Log", "Skyview_Processing_Log")
_LINE = "20160807_160559"
_LAYOUTS: dict[str, _Layout] = {
    "DP1.001-2016": _Layout(
        (100, 23, 27), "DP1", vapour="i2", weather="absent", selection=False, logs=(),
        azimuth="to-sensor_Azimuth_Angle", cloud_name="Cloud conditions",
    ),
    "DP3.001": _Layout((32, 63, 27)),
    "DP3.002": _Layout(
        (0, 0, 1), suffix="bidirectional_reflectance", float_layers=True, aerosol="Aerosol_Optical_Thickness",
        weather="integer", azimuth="to-sensor_Azimuth_Angle", ignore="i4",
        logs=("L004-1_20220623", "L005-1_20220623"),
    ),
    "rewritten": _Layout((13, 13, 13)),
    "radiance": _Layout((32, 63, 27), "DP1", "radiance"),
    "flat-2013": _Layout((27, 32, 63), "DP1"),
}  # fmt: skip


def write_neon_tile(
    target: str | os.PathLike[str],
    scene: Scene,
    *,
    revision: Revision = "DP3.001",
    site: str = "SERC",
    domain: str = "D02",
    zone: int = 18,
    chunks: tuple[int, int, int] | None = None,
    fwhm_count: int | None = None,
    compression: int = 3,
    workers: int | None = None,
) -> Path:
    """Write a scene as a file in NEON's layout. Atomic: the file appears under its name when it is complete.

    Clouds, shadows and terrain are in the quality layers only: reflectance does not show them.

    Parameters
    ----------
    target : path
        A name ending in .h5, or a folder, where the file gets NEON's own name.
    scene : Scene
    revision : {"DP3.001", "DP3.002", "DP1.001-2016", "rewritten", "radiance", "flat-2013"}
        Mosaic tiles up to 2021 and from 2022 on, a flight line of 2016, a tile rewritten by other software,
        int32 and next to no metadata, and two that readers should refuse: radiance, and the layout of 2013.
    site, domain, zone : str, str, int
        Codes for names and groups, and the UTM zone (north).
    chunks : (y, x, wavelength), optional
        Stored chunks, 0 for a whole axis; the revision's own unless given.
    fwhm_count : int, optional
        Store only so many FWHM entries; a line of 2016 has 421 for 426 bands.
    compression : int
        Gzip level; NEON's is 3.
    workers : int, optional
        Threads generating and compressing, each with about 150 MB; up to 4 unless given.

    Returns
    -------
    pathlib.Path
        The file.
    """
    import h5py

    if revision not in _LAYOUTS:
        raise ConfigError(f"revision {revision!r} is not known; choose from {', '.join(_LAYOUTS)}")
    layout = _LAYOUTS[revision]
    path = Path(target)
    path = path if path.suffix == ".h5" else path / _file_name(scene, revision, site, domain)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with h5py.File(part, "w") as file:
            options = {"chunks": chunks or layout.chunks, "compression": compression}
            if revision == "flat-2013":
                _write_flat(file, scene, options)
            elif revision == "radiance":
                _write_radiance(file.create_group(f"{site}/Radiance"), scene, options, zone)
            else:
                group = file.create_group(f"{site}/Reflectance")
                data = _create_reflectance(group, scene, revision, layout, options)
                _write_coordinates(group, scene, revision, zone)
                _write_spectral(group, scene, revision, fwhm_count)
                if revision != "rewritten":
                    _write_ancillary(group, scene, layout)
                    _write_logs(group, layout)
                _write_cube(data, scene, compression, workers or min(os.cpu_count() or 1, 4))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _file_name(scene: Scene, revision: Revision, site: str, domain: str) -> str:
    if revision == "flat-2013":
        return "NIS1_20130614_095740_atmcor.h5"
    layout = _LAYOUTS[revision]
    place = _LINE if layout.product == "DP1" else f"{scene.origin[0]}_{scene.origin[1]}"
    return f"NEON_{domain}_{site}_{layout.product}_{place}_{layout.suffix}.h5"


def _fit(chunks: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(min(chunk or length, length) for chunk, length in zip(chunks, shape, strict=True))


def _text(value: str, odd: bool = False) -> Any:
    """A string as NEON stores it, in bytes; odd: in an array of one, as rewritten files have it."""
    return np.array([value.encode()], dtype=object) if odd else value.encode()


def _put(group: Any, name: str, value: str, odd: bool = False) -> None:
    import h5py

    group.create_dataset(name, data=_text(value, odd), dtype=h5py.string_dtype("ascii"))


def _create_reflectance(group: Any, scene: Scene, revision: Revision, layout: _Layout, options: dict[str, Any]) -> Any:
    shape = (*scene.shape, scene.wavelength.size)
    options = {**options, "chunks": _fit(options["chunks"], shape)}
    odd = revision == "rewritten"
    data = group.create_dataset("Reflectance_Data", shape, "i4" if odd else "i2", **options)
    ignore, scale = np.array([NO_DATA], layout.ignore), np.array([SCALE], "f8")
    data.attrs["Data_Ignore_Value"] = ignore if odd else ignore[0]
    data.attrs["Scale_Factor"] = scale if odd or revision == "DP1.001-2016" else scale[0]
    if odd:
        return data
    for number, window in enumerate(WATER_WINDOWS, start=1):
        group.attrs[f"Band_Window_{number}_Nanometers"] = np.array(window, "i4")
    attributes = {
        layout.cloud_name: "< 10%",
        "Description": "Simulated by hsi_dask.synthetic: not an observation.",
        "Dimension_Labels": "Line, Sample, Wavelength",
        "Dimensions": np.array(shape, "i4"),
        "Interleave": "BSQ",  # so do NEON's files say; it is not the order of the array
        "Spatial_Extent_meters": _extent(scene),
        "Spatial_Resolution_X_Y": np.array([1.0, 1.0]),
        "Units": "Unitless.",
        "Units_Valid_range": np.array([0, SCALE], "i4"),
    }
    if layout.float_layers:
        attributes["BRDF Correction"] = "Topographic and BRDF correction applied (FlexBRDF)"
    for name, value in attributes.items():
        data.attrs[name] = _text(value) if isinstance(value, str) else value
    if revision == "DP1.001-2016":
        data.attrs["Interleave"] = _text("BSQ", odd=True)
    return data


def _extent(scene: Scene) -> Array:
    (left, bottom), (height, width) = scene.origin, scene.shape
    return np.array([left, left + width, bottom, bottom + height], "f8")


def _write_coordinates(group: Any, scene: Scene, revision: str, zone: int) -> None:
    left, _, _, top = _extent(scene)
    system = group.require_group("Metadata/Coordinate_System")
    odd = revision == "rewritten"
    info = f"UTM, 1.000, 1.000, {left:.2f}, {top:.1f}, 1.0, 1.0, {zone}, North, WGS-84, units=Meters"
    if revision != "DP1.001-2016":
        info += ", 0"  # 11 fields once, 12 later
    _put(system, "Map_Info", info, odd)
    _put(system, "EPSG Code", str(32600 + zone), odd)
    if odd:
        return
    wkt = _WKT.format(zone=zone, meridian=6 * zone - 183, code=32600 + zone)
    _put(system, "Coordinate_System_String", wkt)
    proj4 = "+proj=utm +zone={zone} +datum=WGS84 +units=m +no_defs"
    if revision == "DP1.001-2016":
        proj4 = "UTM +proj +zone={zone} ellps datum=WGS84"  # malformed in the files of that year
    _put(system, "Proj4", proj4.format(zone=zone))


def _write_spectral(group: Any, scene: Scene, revision: str, fwhm_count: int | None) -> None:
    spectral = group.require_group("Metadata/Spectral_Data")
    kind = "f4" if revision == "DP3.002" else "f8"  # both kinds occur
    values = {"Wavelength": scene.wavelength, "FWHM": scene.fwhm[:fwhm_count]}
    for name, array in values.items():
        if revision == "rewritten" and name == "FWHM":
            continue
        data = spectral.create_dataset(name, data=array.astype(kind))
        if revision != "rewritten":
            data.attrs["Units"] = _text("nanometers")


def _ancillary(scene: Scene, layout: _Layout) -> dict[str, Array]:
    """The quality layers before the swath is cut out: smooth terrain, patches of cloud and of cast shadow."""
    rows, cols = np.arange(*scene.rows), np.arange(*scene.cols)
    cloud, shadow = (
        _patch_weights(scene.seed, name, rows, cols, 1.5 * scene.patch, 5)[0] for name in ("cloud", "shadow")
    )
    weather = np.where(cloud > 0.75, 3, np.where(cloud > 0.4, 2, 1))
    lit = np.where(shadow > 0.6, 0, 1)  # 1 = lit in the files looked at
    relief, aspect, air = scene.field("relief", 6), 360 * scene.field("aspect", 8), scene.field("air", 10)
    slope, sun = np.radians(15 * relief), np.radians(35.0)
    cosine = np.cos(sun) * np.cos(slope) + np.sin(sun) * np.sin(slope) * np.cos(np.radians(aspect - 150))
    names = np.array(scene.names)
    water = scene.abundance[names == "water"].sum(axis=0)
    haze = np.select([weather == 3, lit == 0, water > 0.5], [15, 1, 17], 5)
    flag = "f4" if layout.float_layers else "u1"
    line = np.tile((scene.x > scene.x.mean()).astype("i4"), (scene.shape[0], 1))  # the mosaic of two lines
    layers = {
        layout.aerosol: 0.1 + 0.1 * air if layout.float_layers else (100 + 100 * air).astype("i2"),
        "Aspect": aspect,
        "Cast_Shadow": lit.astype(flag),
        "Dark_Dense_Vegetation_Classification": (relief > 0.6).astype("u1"),
        "Haze_Cloud_Water_Map": haze.astype("u1"),
        "Illumination_Factor": np.clip(100 * cosine, 0, 100).astype(flag),  # cos(i) x 100
        "Path_Length": 1000 + 30 * relief,
        "Sky_View_Factor": (95 + 5 * relief).astype(flag),
        "Slope": 15 * relief,
        "Smooth_Surface_Elevation": 5 + 40 * relief,
        "Visibility_Index_Map": (40 + 20 * air).astype(flag),
        "Water_Vapor_Column": (1500 + 800 * air).astype("i2") if layout.vapour == "i2" else 1.5 + 0.8 * air,
    }
    if layout.weather == "rgb":
        colours = np.array([(0, 255, 0), (255, 255, 0), (255, 0, 0)], "u1")  # green, yellow, red
        layers["Weather_Quality_Indicator"] = colours[weather - 1]
    if layout.weather == "integer":
        layers["Weather_Quality_Indicator"] = weather.astype("i4")
        layers["Acquisition_Date"] = np.full(scene.shape, 20220623, "i4")
    if layout.selection:
        layers["Data_Selection_Index"] = line
    return {name: layer.astype("f4") if layer.dtype == "f8" else layer for name, layer in layers.items()}


def _view_angles(scene: Scene, layout: _Layout) -> dict[str, Array]:
    zenith = layout.azimuth.replace("Azimuth", "Zenith").replace("azimuth", "zenith")
    azimuths, zeniths = 90 + 180 * scene.field("aspect", 30), 18 * scene.field("air", 30)
    return {layout.azimuth: azimuths.astype("f4"), zenith: zeniths.astype("f4")}


def _write_ancillary(group: Any, scene: Scene, layout: _Layout) -> None:
    """Quality layers and view angles, a thousand rows at a time: a flight line has ten thousand."""
    metadata = group["Metadata"]
    for top in range(0, scene.shape[0], 1000):
        part = scene.window(slice(top, top + 1000))
        layers = {f"Ancillary_Imagery/{name}": layer for name, layer in _ancillary(part, layout).items()}
        for name, layer in (layers | _view_angles(part, layout)).items():
            layer[part.no_data] = OFF_SWATH if layer.dtype == "u1" else NO_DATA
            if top == 0:
                shape = (scene.shape[0], *layer.shape[1:])
                data = metadata.create_dataset(name, shape, layer.dtype, compression=3)
                data.attrs["Data_Ignore_Value"] = np.dtype(layout.ignore).type(NO_DATA)
                data.attrs["Units"] = _text("degrees" if "ngle" in name else "unitless")
            metadata[name][top : top + len(layer)] = layer


def _write_logs(group: Any, layout: _Layout) -> None:
    for line in layout.logs or ("",):
        logs = group.require_group(f"Metadata/Logs/{line}".rstrip("/"))
        for number, name in enumerate(("Solar_Azimuth_Angle", "Solar_Zenith_Angle")):
            logs.create_dataset(name, data=np.float32((150.0, 35.0)[number]))
        for name in _LOGS:
            _put(logs, name, f"simulated: no {name}")
        if layout.float_layers:
            coefficients = {"kernels": ["ross_thick", "li_sparse_r"], "coefficients": {"1": [0.1, 0.02]}}
            settings = {"file_type": "neon", "bad_bands": WATER_WINDOWS}
            _put(logs, "BRDF_COEFFS_JSON_for_Hytools", json.dumps(coefficients))
            _put(logs, "BRDF_Config_JSON_for_Hytools", json.dumps(settings))


_PackedChunk = tuple[tuple[int, int, int], bytes | bytearray]  # where it starts, and its bytes


def _write_cube(data: Any, scene: Scene, compression: int, workers: int) -> None:
    """Generate and compress in threads, slab by slab; write finished chunks past HDF5's filters."""
    pending: deque[Future[list[_PackedChunk]]] = deque()

    def store() -> None:
        for offset, packed in pending.popleft().result():
            data.id.write_direct_chunk(offset, packed)

    like = np.empty(data.chunks, data.dtype)
    with ThreadPoolExecutor(workers) as pool:
        for pixels, rows, bands in _slabs(scene, data.chunks):
            pending.append(pool.submit(_packed_chunks, scene, pixels, rows, bands, like, compression))
            if len(pending) > workers:
                store()
        while pending:
            store()


def _slabs(scene: Scene, chunks: tuple[int, int, int]) -> Iterator[tuple[_Pixels, slice, slice]]:
    """Whole chunk rows and as many whole chunks of bands as make about `SLAB` values."""
    height, total = scene.shape[0], scene.wavelength.size
    group = max(SLAB // (chunks[0] * scene.shape[1]) // chunks[2], 1) * chunks[2]
    for top in range(0, height, chunks[0]):
        rows = slice(top, min(top + chunks[0], height))
        pixels = scene.window(rows)._pixels()
        for first in range(0, total, group):
            yield pixels, rows, slice(first, min(first + group, total))


def _packed_chunks(
    scene: Scene, pixels: _Pixels, rows: slice, bands: slice, like: Any, level: int
) -> list[_PackedChunk]:
    """The chunks of a slab, compressed; `like` has their shape and dtype."""
    import imagecodecs

    slab = _digital_numbers(scene, pixels, bands).reshape(-1, scene.shape[1], bands.stop - bands.start)
    packed: list[_PackedChunk] = []
    for left in range(0, slab.shape[1], like.shape[1]):
        for first in range(0, slab.shape[2], like.shape[2]):
            values = slab[:, left : left + like.shape[1], first : first + like.shape[2]]
            chunk = np.zeros_like(like)  # whole also at the edges: so HDF5 stores them
            chunk[tuple(map(slice, values.shape))] = values
            packed.append(((rows.start, left, bands.start + first), imagecodecs.deflate_encode(chunk, level)))
    return packed


def _write_radiance(group: Any, scene: Scene, options: dict[str, Any], zone: int) -> None:
    """At-sensor radiance, whole part in one byte, fifty-thousandths in two: sunlight times reflectance."""
    shape = (*scene.shape, scene.wavelength.size)
    options = {**options, "chunks": _fit(options["chunks"], shape)}
    whole = group.create_dataset("RadianceIntegerPart", shape, "u1", **options)
    rest = group.create_dataset("RadianceDecimalPart", shape, "u2", **options)
    rest.attrs["Scale"] = np.float64(50000)
    for top in range(0, shape[0], 64):
        rows = slice(top, min(top + 64, shape[0]))
        radiance = np.clip(scene.reflectance(rows) / SCALE, 0, 2) * (40 * _peak(scene.wavelength, 500, 500))
        whole[rows], rest[rows] = np.floor(radiance), np.floor(radiance % 1 * 50000)
    _write_coordinates(group, scene, "radiance", zone)
    _write_spectral(group, scene, "radiance", None)


def _write_flat(file: Any, scene: Scene, options: dict[str, Any]) -> None:
    """The layout of 2013 to 2015: one flat group, wavelength first, micrometres, no-data as a string."""
    shape = (scene.wavelength.size, *scene.shape)
    options = {**options, "chunks": _fit(options["chunks"], shape)}
    data = file.create_dataset("Reflectance", shape, "i2", **options)
    data.attrs["Scale Factor"] = np.array([SCALE], "f8")
    data.attrs["data ignore value"] = _text("15000.0")
    for top in range(0, shape[1], 64):
        values = scene.reflectance(slice(top, min(top + 64, shape[1])))
        data[:, top : top + 64] = np.moveaxis(np.where(values == NO_DATA, 15000, values), -1, 0)
    left, _, _, top_edge = _extent(scene)
    _put(file, "map info", f"UTM,1,1,{left:.0f},{top_edge:.0f},1,1,18,North,WGS-84,units=Meters", odd=True)
    file["wavelength"], file["fwhm"] = scene.wavelength[None] / 1000, scene.fwhm[None] / 1000


# ---------------------------------------------------------------------------------------------- sites


@dataclass(frozen=True, eq=False)
class Site:
    """A simulated site: `paths[i]` holds `scenes[i]`, a window of `scene`; these carry the truth."""

    folder: Path
    scene: Scene
    scenes: tuple[Scene, ...]
    paths: tuple[Path, ...]


def simulate_site(
    folder: str | os.PathLike[str],
    *,
    tiles: tuple[int, int] = (2, 2),
    size: int = 1000,
    revisions: Sequence[Literal["DP3.001", "DP3.002", "rewritten"]] = ("DP3.001", "DP3.002"),
    materials: Sequence[str] = MATERIALS,
    seed: int = 0,
    noise: float = 0.001,
    illumination: tuple[float, float] | None = (0.7, 1.1),
    no_data: float = 0.02,
    origin: tuple[int, int] = (368000, 4306000),
    wavelength: npt.ArrayLike | None = None,
    patch: float | None = None,
    site: str = "SERC",
    domain: str = "D02",
    zone: int = 18,
    workers: int | None = None,
) -> Site:
    """Simulate a site and write it as adjacent NEON tiles of alternating layouts, on one grid of wavelengths.

    Parameters
    ----------
    folder : path
        Where the tiles go; made if missing.
    tiles : (rows, columns)
    size : int
        Pixels of 1 m along a tile's edge; `origin`, the site's south-west corner, is a multiple of it.
    revisions : sequence of str
        Layouts, taken in turn along rows and columns.
    materials, seed, noise, illumination, no_data, wavelength, patch
        As in `simulate_scene`, of the site as a whole; the no-data corner is the site's north-west one.
    site, domain, zone, workers
        As in `write_neon_tile`.

    Returns
    -------
    Site
        One tile's pixels at most were in memory; the maps of `scene` are computed only when asked for.
    """
    if size < 1 or origin[0] % size or origin[1] % size:
        raise ConfigError(f"a tile's corners lie on multiples of its size; origin {origin} is none of {size}")
    if any(_LAYOUTS[name].product != "DP3" for name in revisions if name in _LAYOUTS) or not revisions:
        raise ConfigError(f"a site is made of mosaic tiles; revisions {tuple(revisions)} hold others or none")
    scene = simulate_scene(
        (tiles[0] * size, tiles[1] * size), materials=materials, seed=seed, noise=noise,
        illumination=illumination, no_data=no_data, origin=origin, wavelength=wavelength, patch=patch,
    )  # fmt: skip
    paths = []
    for number, tile in enumerate(scene.tiles(size)):
        revision = revisions[sum(divmod(number, tiles[1])) % len(revisions)]
        names: dict[str, Any] = {"site": site, "domain": domain, "zone": zone}
        paths.append(write_neon_tile(folder, tile, revision=revision, workers=workers, **names))
    return Site(Path(folder), scene, tuple(scene.tiles(size)), tuple(paths))


# ---------------------------------------------------------------------------------------------- truth


class Agreement(NamedTuple):
    """What was found against what was simulated, material by material.

    names : the p materials of the scene
    found : (p,) int, the endmember taken for each, 0 where there is none left
    angle : (p,) radians between the found spectrum and the true one
    abundance_rmse : (p,) over all pixels with data
    classes : by variable, (p,) share of the material's nearly pure pixels that have its class; NaN if there are none
    pixels : (p,) int, how many nearly pure pixels there are
    """

    names: tuple[str, ...]
    found: Array
    angle: Array
    abundance_rmse: Array
    classes: dict[str, Array]
    pixels: Array


def compare_with_truth(endmembers: xr.DataArray, maps: xr.Dataset, scene: Scene, *, pure: float = 0.9) -> Agreement:
    """Compare endmembers and maps with the scene they were made from.

    Each material takes the endmember of the smallest angle to it, best pair first, and each endmember goes once.

    Parameters
    ----------
    endmembers : (endmember, wavelength), on some of the scene's wavelengths
    maps : `abundance` and classes, on the scene's pixels or a mosaic that holds them
    scene : Scene
    pure : float
        A pixel counts for its class from this share of one material on.

    Returns
    -------
    Agreement
    """
    places = np.abs(scene.wavelength[:, None] - endmembers["wavelength"].values).argmin(axis=0)
    angle = _angles(scene.endmembers[:, places], endmembers.values)
    found = _pairs(angle)
    maps = maps.sel(y=scene.y, x=scene.x)
    abundance = np.nan_to_num(maps["abundance"].values, nan=-1.0)
    seen = (abundance[0] >= 0) & ~scene.no_data
    matched = np.stack([abundance[n - 1] if n else np.zeros(seen.shape) for n in found])
    error = np.sqrt(((matched - scene.abundance)[:, seen] ** 2).mean(axis=1))
    cores = (scene.abundance >= pure) & seen
    pixels = cores.sum(axis=(1, 2))
    classes = {name: _shares(maps[name].values, found, cores) for name in ("sam_class", "sid_class") if name in maps}
    matched_angle = np.array([row[n - 1] if n else np.nan for n, row in zip(found, angle, strict=True)])
    return Agreement(scene.names, found, matched_angle, error, classes, pixels)


def _shares(classes: Array, numbers: Array, cores: Array) -> Array:
    """For each number the share of its core's pixels that have it as their class."""
    pairs = zip(numbers, cores, strict=True)
    return np.array([(classes[core] == n).mean() if n and core.any() else np.nan for n, core in pairs])


def _angles(one: Array, other: Array) -> Array:
    """Spectral angles, radians, of every row of one to every row of the other."""
    a, b = (np.asarray(s, dtype=np.float64) for s in (one, other))
    a, b = (s / np.linalg.norm(s, axis=1, keepdims=True) for s in (a, b))
    return np.asarray(np.arccos(np.clip(a @ b.T, -1, 1)))


def _pairs(angle: Array) -> Array:
    """For each row the number, from 1, of its column; best pair first, each column once, 0 when none is left."""
    left, found = angle.copy(), np.zeros(len(angle), np.int64)
    for _ in range(min(angle.shape)):
        row, column = np.unravel_index(left.argmin(), left.shape)
        found[row] = column + 1
        left[row], left[:, column] = np.inf, np.inf
    return found
