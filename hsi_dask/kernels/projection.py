"""The sums over wavelength that every per-pixel method here needs, in one pass over the stored numbers.

A pixel x and endmembers e enter FCLS through Q.x and x.x (Q an orthonormal basis of the endmembers), SAM
through the same, SID through sum(x), sum x log(x/e) and sum q log(x/e) with q = e / sum(e). All of them add
up over wavelength, so a cube may be cut along wavelength too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsi_dask.kernels.compiled import as_input
from hsi_dask.kernels.projection_loops import GROUP, TILE, project_tiles

__all__ = ["TILE", "Operator", "Sums", "Weights", "accumulate", "operator", "project", "weights"]


class Weights(NamedTuple):
    """What a spectrum is multiplied with, wavelength by wavelength.

    basis : (r, L) float64, orthonormal rows spanning the endmembers and what else is asked for.
    shares : (p, L) float64, endmembers divided by their sum; (0, L) leaves out what only SID needs.
    logs : (p, L) float64, natural logarithm of the endmembers.
    floor : reflectance below which SID counts a value as this.
    """

    basis: NDArray[np.float64]
    shares: NDArray[np.float64]
    logs: NDArray[np.float64]
    floor: float

    def take(self, wavelengths: slice | NDArray[np.intp]) -> Weights:
        """The weights of a part of the wavelengths."""
        return Weights(self.basis[:, wavelengths], self.shares[:, wavelengths], self.logs[:, wavelengths], self.floor)


class Sums(NamedTuple):
    """Sums over wavelength of n pixels, float64; a pixel with a missing value is NaN in all of them.

    Methods subtract nearly equal ones: the first two are exact to the last digits, the others, which only SID
    needs, to 1e-7 nats.

    projections : (r, n), Q.x.
    energy : (n,), x.x.
    total : (n,), sum of x, floored; (0,) where SID is left out.
    forward : (p, n), sum of x log(x / e), floored.
    backward : (p, n), sum of q log(x / e), floored.
    """

    projections: NDArray[np.float64]
    energy: NDArray[np.float64]
    total: NDArray[np.float64]
    forward: NDArray[np.float64]
    backward: NDArray[np.float64]

    @classmethod
    def empty(cls, weights: Weights, n: int) -> Sums:
        """Uninitialised sums of n pixels for these weights."""
        r, p = weights.basis.shape[0], weights.shares.shape[0]
        return cls(np.empty((r, n)), np.empty(n), np.empty(n if p else 0), np.empty((p, n)), np.empty((p, n)))

    @classmethod
    def missing(cls, weights: Weights, n: int) -> Sums:
        """Sums of n pixels without data."""
        return cls(*(np.full_like(values, np.nan) for values in cls.empty(weights, n)))

    def plus(self, *others: Sums) -> Sums:
        """The sums over the wavelengths of all of them, added from the left."""
        return Sums(*(sum(planes[1:], start=planes[0]) for planes in zip(self, *others, strict=True)))

    def take(self, pixels: slice) -> Sums:
        """The sums of some of the pixels; projections are copied, because loops read their rows many times."""
        return Sums(
            np.ascontiguousarray(self.projections[:, pixels]),
            self.energy[pixels],
            self.total[pixels],
            self.forward[:, pixels],
            self.backward[:, pixels],
        )


def weights(
    endmembers: NDArray[Any],
    directions: NDArray[np.float64] | None = None,
    *,
    divergence: bool = True,
    floor: float = 1e-4,
) -> Weights:
    """Weights for endmembers (p, L) in reflectance.

    Parameters
    ----------
    directions : (k, L) further vectors that the basis has to span.
    divergence : with the sums that the information divergence needs.
    floor : reflectance below which the divergence counts a value as this.
    """
    spectra = np.ascontiguousarray(endmembers, dtype=np.float64)
    spanned = spectra if directions is None or not len(directions) else np.vstack([spectra, directions])
    basis = np.linalg.qr(spanned.T)[0].T
    floored = np.maximum(spectra if divergence else spectra[:0], floor)
    return Weights(np.ascontiguousarray(basis), floored / floored.sum(axis=1, keepdims=True), np.log(floored), floor)


class Operator(NamedTuple):
    """Weights laid out for the kernel, with how numbers are stored; made once for many pixels."""

    fill: float
    basis: NDArray[np.float64]
    logs: NDArray[np.float32]
    shares: NDArray[np.float32]
    offsets: NDArray[np.float32]
    floors: NDArray[np.float32]
    shift: NDArray[np.float64]
    scale: float


def operator(weights: Weights, *, scale: float = 1.0, fill: float | None = None) -> Operator:
    """The weights for numbers whose unit is `scale` in reflectance and of which `fill` means no data, besides NaN."""
    # logarithms are counted from the endmembers' mean, so that float32 has small numbers to add
    mean = weights.logs.mean(axis=0) if len(weights.logs) else np.zeros(weights.basis.shape[1])
    offsets = (np.log(scale) - mean).astype(np.float32)
    logs = weights.logs - (np.log(scale) - offsets)
    floors = np.full(offsets.shape, weights.floor / scale, np.float32)
    return Operator(
        np.nan if fill is None else float(fill),
        _grouped(weights.basis, np.float64),
        _grouped(logs, np.float32),
        _grouped(weights.shares, np.float32),
        _in_groups(offsets),
        _in_groups(floors),
        (weights.shares * logs).sum(axis=1),
        float(scale),
    )


def project(planes: NDArray[Any], weights: Weights, *, scale: float = 1.0, fill: float | None = None) -> Sums:
    """Sums over wavelength of pixels as they are stored: (L, n) integers or floats; see `operator`, `accumulate`."""
    sums = Sums.empty(weights, planes.shape[1])
    accumulate(planes, operator(weights, scale=scale, fill=fill), sums, overwrite=True)
    return sums


def accumulate(
    planes: NDArray[Any], operator: Operator, onto: Sums, pixels: slice | None = None, *, overwrite: bool = False
) -> None:
    """Add to `onto`, in place, the sums of pixels as stored over some of the wavelengths.

    A pixel with one value that means no data becomes NaN in every sum.

    Parameters
    ----------
    planes : (L, n) integers or floats, wavelengths first; contiguous planes are not copied.
    operator : the weights of the same L wavelengths.
    onto : sums of the same n pixels.
    pixels : a slice of the n pixels; default all.
    overwrite : discard the current contents of `onto` instead of adding to them.
    """
    if planes.dtype.kind not in "iuf" or planes.dtype.itemsize > 8 or not planes.dtype.isnative:
        raise ValueError(f"planes must be native integers or floats, not {planes.dtype}")
    first, stop, _ = (pixels or slice(None)).indices(planes.shape[1])
    fills = _as_stored(operator.fill, planes.dtype)
    project_tiles(as_input(planes), first, stop, fills, *operator[1:], *onto, overwrite)


def _as_stored(fill: float, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The one number of this type that means no data, or none: comparing narrow integers is cheap."""
    limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    stored = limits.min <= fill <= limits.max and (dtype.kind == "f" or fill == int(fill))
    return np.array([fill] if stored else [], dtype)


def _grouped(matrix: NDArray[np.float64], dtype: type) -> NDArray[Any]:
    """(k, L) as (ceil(k/4), ceil(L/4), 16): the sixteen weights of a step side by side, zeros beyond the ends."""
    k, L = matrix.shape
    rows, columns = -(-k // GROUP), -(-L // GROUP)
    full = np.zeros((rows * GROUP, columns * GROUP), dtype)
    full[:k, :L] = matrix
    steps = full.reshape(rows, GROUP, columns, GROUP).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(steps).reshape(rows, columns, GROUP * GROUP)


def _in_groups(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(L,) as (ceil(L/4), 4), zeros beyond the end."""
    return np.pad(values, (0, -values.size % GROUP)).reshape(-1, GROUP)
