"""Scenes: from a seed to abundances, light and digital numbers of any part of a simulated ground."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from hsi_dask.errors import ConfigError
from hsi_dask.synthetic import bundles
from hsi_dask.synthetic.fields import BLOCK, TABLE, noise_table, patch_weights, position_hash, smooth_field
from hsi_dask.synthetic.spectra import (
    MATERIALS,
    WATER_WINDOWS,
    material_spectra,
    neon_fwhm,
    neon_wavelengths,
    peak,
    sigmoid,
)

if TYPE_CHECKING:
    import xarray as xr

Array = npt.NDArray[Any]

SCALE = 10000  # digital numbers per unit reflectance, as in the files
NO_DATA = -9999
SATURATED = 14998  # the largest value seen in NEON's water-vapour windows
PURE_MARGIN = 0.3  # a pixel is pure where its material leads the next one by this much of a patch weight
ABUNDANCE_STEPS = 2**16  # abundances are multiples of 2**-16: exact in float32, so that they sum to exactly 1


class Pixels(NamedTuple):
    """What pixels are made of: weights of components (c, n), start in the noise table (n,), no-data (n,)."""

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
    variability : how much spectra vary within a material, as a share of its reflectance
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
    variability: float = 0.0

    def __repr__(self) -> str:
        rows, columns = self.shape
        east, north = self.origin
        return (
            f"Scene of {rows} x {columns} pixels at {east} E, {north} N: {', '.join(self.names)}; "
            f"{len(self.wavelength)} wavelengths, seed {self.seed}"
        )

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
            weights = patch_weights(self.seed, "patch", rows, cols, self.patch, len(self.names))
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
        return smooth_field(self.seed, name, np.arange(*self.rows), np.arange(*self.cols), patches * self.patch)

    @cached_property
    def components(self) -> Array:
        """(c, L) float32, what pixels are sums of: the materials' spectra and, where these vary, their curves."""
        if not self.variability:
            return self.endmembers
        curves = self.variability * bundles.curves(self.seed, self.endmembers, self.wavelength)
        return np.concatenate([self.endmembers, curves.reshape(-1, self.wavelength.size).astype(np.float32)])

    def library(self, count: int = 20, *, seed: int = 0) -> xr.DataArray:
        """`count` random spectra of each material, (endmember, wavelength) float32, with `name` and `material`.

        They are of the same bundles as the pixels' spectra, but none of them is in the scene.
        """
        import xarray as xr

        curves = bundles.curves(self.seed, self.endmembers, self.wavelength)
        spectra = bundles.drawn(self.endmembers, curves, self.variability, count, seed)
        material = np.repeat(np.array(self.names, dtype=object), count)
        names = np.array([f"{name} {n}" for name in self.names for n in range(1, count + 1)], dtype=object)
        coords = {
            "endmember": np.arange(1, len(spectra) + 1), "wavelength": self.wavelength,
            "fwhm": ("wavelength", self.fwhm), "name": ("endmember", names), "material": ("endmember", material),
        }  # fmt: skip
        return xr.DataArray(spectra, coords, ("endmember", "wavelength"), name="endmembers")

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
        return digital_numbers(self, part._pixels(), bands).reshape(*part.shape, -1)

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

    def _pixels(self) -> Pixels:
        weight = (self.abundance * self.illumination).reshape(len(self.names), -1)
        if self.variability:
            weight = np.concatenate([weight, (weight[:, None] * self._deviations()).reshape(-1, weight.shape[1])])
        place = position_hash(self.seed, "noise", np.arange(*self.rows)[:, None], np.arange(*self.cols))
        return Pixels(weight, (place % np.uint64(TABLE)).astype(np.int64).ravel(), self.no_data.ravel())

    def _deviations(self) -> Array:
        """(p, curves, n) float32 in [-1, 1]: how much of each curve a material's spectrum has at each pixel."""
        rows, cols = np.arange(*self.rows), np.arange(*self.cols)
        seeds = self.seed + 7919 * (1 + np.arange(len(self.names) * bundles.CURVES))
        fields = [2 * smooth_field(int(seed), "bundle", rows, cols, self.patch) - 1 for seed in seeds]
        return np.array(fields, np.float32).reshape(len(self.names), bundles.CURVES, -1)


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
    profile = 1 + 4 * peak(w, 375, 14) + 1.5 * peak(w, 940, 8) + 6 * sigmoid(w, 2480, 7)
    opaque = np.any([(w >= low) & (w <= high) for low, high in WATER_WINDOWS], axis=0)
    spread = np.where(opaque, 0.5 * SATURATED, scene.noise * SCALE * profile)
    return spread.astype(np.float32), np.where(opaque, SATURATED, 32000).astype(np.float32)


def digital_numbers(scene: Scene, pixels: Pixels, bands: slice = slice(None)) -> Array:
    """Values (n, bands) int16 of pixels.

    Plain multiply and add instead of a matrix product: BLAS may round by the shape of its operands, and
    then a tile would not equal the same pixels of the uncut scene.
    """
    first, stop, _ = bands.indices(scene.wavelength.size)
    spread, top = (values[first:stop] for values in _noise_profile(scene))
    spectra = np.float32(SCALE) * scene.components[:, first:stop]
    table = noise_table(scene.seed, scene.wavelength.size)
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
    variability: float = 0.0,
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
    variability : float
        How much spectra vary within a material, smoothly over the ground and over wavelength, as a share of its
        reflectance: 0.1 is much. `Scene.library` draws a class library of the same bundles; abundances stay the truth.

    Returns
    -------
    Scene

    Examples
    --------
    >>> simulate_scene((40, 40), seed=3).abundance.shape
    (6, 40, 40)
    """
    if min(shape) < 1 or not 0 <= no_data <= 1 or min(noise, variability) < 0 or seed < 0:
        raise ConfigError(
            f"shape {shape} and seed {seed} must be positive, noise {noise} and variability {variability} >= 0, "
            f"no_data {no_data} in 0..1"
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
        variability=variability,
    )
