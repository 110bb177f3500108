"""The sums over wavelength that every per-pixel method here needs, in one pass over the stored numbers.

A pixel x and endmembers e enter FCLS through Q.x and x.x (Q an orthonormal basis of the endmembers), SAM
through the same, SID through sum(x), sum x log(x/e) and sum q log(x/e) with q = e / sum(e). All of them add
up over wavelength, so a cube may be cut along wavelength too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

_TILE = 128  # pixels: the buffers of one tile stay in a 32 KB first-level cache at four endmembers
_GROUP = 4  # wavelengths and weights a step: 16 products for every 8 loads
_CONTRACT = {"contract"}  # fused multiply-add only: NaN, order and zeros keep their meaning


class Weights(NamedTuple):
    """What a spectrum is multiplied with, wavelength by wavelength.

    basis : (r, L) float64, orthonormal rows spanning the endmembers.
    shares : (p, L) float64, endmembers divided by their sum; (0, L) leaves out what only SID needs.
    logs : (p, L) float64, natural logarithm of the endmembers.
    floor : reflectance below which SID counts a value as this.
    """

    basis: NDArray[np.float64]
    shares: NDArray[np.float64]
    logs: NDArray[np.float64]
    floor: float

    def take(self, wavelengths: slice) -> Weights:
        """The weights of a part of the wavelengths."""
        return Weights(self.basis[:, wavelengths], self.shares[:, wavelengths], self.logs[:, wavelengths], self.floor)


class Sums(NamedTuple):
    """Sums over wavelength of n pixels, float64; a pixel with a missing value is NaN in all of them.

    Methods subtract nearly equal ones, and float32 would let the cut along wavelength show in the sixth digit.

    coordinates : (r, n), Q.x.
    energy : (n,), x.x.
    total : (n,), sum of x, floored; (0,) where SID is left out.
    forward : (p, n), sum of x log(x / e), floored.
    backward : (p, n), sum of q log(x / e), floored.
    """

    coordinates: NDArray[np.float64]
    energy: NDArray[np.float64]
    total: NDArray[np.float64]
    forward: NDArray[np.float64]
    backward: NDArray[np.float64]

    def plus(self, *others: Sums) -> Sums:
        """The sums over the wavelengths of all of them, added from the left."""
        arrays: list[tuple[NDArray[Any], ...]] = list(zip(self, *others, strict=True))
        total: list[Any] = []
        for first, second, *rest in arrays:
            total.append(first + second)
            for more in rest:
                total[-1] += more
        return Sums(*total)

    def take(self, pixels: slice) -> Sums:
        """The sums of some of the pixels, without a copy."""
        return Sums(
            self.coordinates[:, pixels],
            self.energy[pixels],
            self.total[pixels],
            self.forward[:, pixels],
            self.backward[:, pixels],
        )


def weights(endmembers: NDArray[Any], *, divergence: bool = True, floor: float = 1e-4) -> Weights:
    """Weights for endmembers (p, L) in reflectance; `divergence` adds what SID needs."""
    spectra = np.ascontiguousarray(endmembers, dtype=np.float64)
    basis = np.linalg.qr(spectra.T)[0].T
    floored = np.maximum(spectra if divergence else spectra[:0], floor)
    return Weights(np.ascontiguousarray(basis), floored / floored.sum(axis=1, keepdims=True), np.log(floored), floor)


def project(planes: NDArray[Any], weights: Weights, *, scale: float = 1.0, fill: float | None = None) -> Sums:
    """Sums over wavelength of pixels as they are stored.

    Parameters
    ----------
    planes : (L, n) integers or floats, wavelengths first; contiguous planes are fastest.
    weights : of the same L wavelengths.
    scale : reflectance of one digital number.
    fill : the number that means no data, besides NaN; a pixel with one such value is NaN in every sum.
    """
    L, n = planes.shape
    r, p = weights.basis.shape[0], weights.shares.shape[0]
    out = Sums(np.empty((r, n)), np.empty(n), np.empty(n if p else 0), np.empty((p, n)), np.empty((p, n)))
    if planes.dtype.kind not in "iuf" or planes.dtype.itemsize > 8 or planes.dtype.byteorder == ">":
        raise ValueError(f"planes must be native integers or floats, not {planes.dtype}")
    _project(
        np.ascontiguousarray(planes),
        _grouped(weights.basis, L),
        _grouped(weights.logs, L),
        _grouped(weights.shares, L),
        (weights.shares * weights.logs).sum(axis=1),
        float(scale),
        np.nan if fill is None else float(fill),
        weights.floor,
        *out,
    )
    return out


def _grouped(matrix: NDArray[np.float64], L: int) -> NDArray[np.float64]:
    """(k, L) as (ceil(k/4), ceil(L/4), 16): the sixteen weights of a step side by side, zeros beyond the ends."""
    k = matrix.shape[0]
    rows, columns = -(-k // _GROUP), -(-L // _GROUP)
    full = np.zeros((rows * _GROUP, columns * _GROUP))
    full[:k, :L] = matrix
    steps = full.reshape(rows, _GROUP, columns, _GROUP).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(steps).reshape(rows, columns, _GROUP * _GROUP)


@njit(nogil=True, cache=True, fastmath=_CONTRACT)
def _project(  # type: ignore[no-untyped-def]
    planes, basis, logs, shares, shift, scale, fill, floor, coordinates, energy, total, forward, backward
):
    L, n = planes.shape
    r, p = coordinates.shape[0], forward.shape[0]
    x = np.empty((_GROUP, _TILE))
    positive = np.empty((_GROUP, _TILE))
    logarithm = np.empty((_GROUP, _TILE))
    missing = np.empty(_TILE)
    moments = np.empty((3, _TILE))  # x.x, sum of x, sum of x log x
    along = np.empty((basis.shape[0] * _GROUP, _TILE))
    weighted = np.empty((logs.shape[0] * _GROUP, _TILE))
    mirrored = np.empty((shares.shape[0] * _GROUP, _TILE))
    single = np.empty(_TILE, np.float32)
    mantissa = np.empty(_TILE, np.float32)
    exponent = np.empty(_TILE, np.float32)
    bits, mantissa_bits = single.view(np.int32), mantissa.view(np.int32)
    # sums are in stored numbers, exact in float64, and scaled at the end; logarithms are of reflectance
    lowest, offset = floor / scale, np.log(scale)
    for start in range(0, n, _TILE):
        m = min(_TILE, n - start)
        missing[:] = 0
        moments[:] = 0
        along[:] = 0
        weighted[:] = 0
        mirrored[:] = 0
        for step in range(basis.shape[1]):
            for j in range(_GROUP):
                b = step * _GROUP + j
                if b < L and m == _TILE:
                    _load(planes[b, start : start + _TILE], fill, x[j], missing)
                elif b < L:
                    x[j] = 0
                    _load(planes[b, start : start + m], fill, x[j], missing)
                else:
                    x[j] = 0
            _squares(x, moments[0])
            for k in range(basis.shape[0]):
                _accumulate(along[k * _GROUP : (k + 1) * _GROUP], x, basis[k, step])
            if p == 0:
                continue
            for j in range(_GROUP):
                for i in range(_TILE):
                    positive[j, i] = max(x[j, i], lowest)
                    single[i] = np.float32(positive[j, i])
                _logarithm(bits, mantissa, mantissa_bits, exponent, offset, logarithm[j])
            if step * _GROUP + _GROUP > L:  # beyond the end neither x nor its logarithm counts
                for j in range(L - step * _GROUP, _GROUP):
                    positive[j] = 0
            _entropies(positive, logarithm, moments[1], moments[2])
            for k in range(logs.shape[0]):
                _accumulate(weighted[k * _GROUP : (k + 1) * _GROUP], positive, logs[k, step])
                _accumulate(mirrored[k * _GROUP : (k + 1) * _GROUP], logarithm, shares[k, step])
        for i in range(m):
            energy[start + i] = moments[0, i] * (scale * scale) + missing[i]
        for k in range(r):
            for i in range(m):
                coordinates[k, start + i] = along[k, i] * scale + missing[i]
        if p > 0:
            for i in range(m):
                total[start + i] = moments[1, i] * scale + missing[i]
        for k in range(p):
            for i in range(m):
                forward[k, start + i] = (moments[2, i] - weighted[k, i]) * scale + missing[i]
                backward[k, start + i] = mirrored[k, i] - shift[k] + missing[i]


@njit(nogil=True, cache=True, fastmath=_CONTRACT)
def _load(stored, fill, x, missing):  # type: ignore[no-untyped-def]
    """Stored numbers as float64; `missing` becomes NaN, and stays so, where one is no data."""
    for i in range(stored.size):
        v = np.float64(stored[i])
        x[i] = v
        missing[i] = missing[i] if v != fill and v == v else np.nan


@njit(nogil=True, cache=True, fastmath=_CONTRACT)
def _squares(x, energy):  # type: ignore[no-untyped-def]
    for i in range(_TILE):
        energy[i] += x[0, i] * x[0, i] + x[1, i] * x[1, i] + x[2, i] * x[2, i] + x[3, i] * x[3, i]


@njit(nogil=True, cache=True, fastmath=_CONTRACT)
def _entropies(x, log, total, entropy):  # type: ignore[no-untyped-def]
    for i in range(_TILE):
        total[i] += x[0, i] + x[1, i] + x[2, i] + x[3, i]
        entropy[i] += x[0, i] * log[0, i] + x[1, i] * log[1, i] + x[2, i] * log[2, i] + x[3, i] * log[3, i]


@njit(nogil=True, cache=True, fastmath=_CONTRACT)
def _accumulate(sums, x, w):  # type: ignore[no-untyped-def]
    """Add four wavelengths to four sums: sums (4, tile), x (4, tile), w (16,)."""
    a0, a1, a2, a3 = w[0], w[1], w[2], w[3]
    b0, b1, b2, b3 = w[4], w[5], w[6], w[7]
    c0, c1, c2, c3 = w[8], w[9], w[10], w[11]
    d0, d1, d2, d3 = w[12], w[13], w[14], w[15]
    for i in range(_TILE):
        x0, x1, x2, x3 = x[0, i], x[1, i], x[2, i], x[3, i]
        sums[0, i] += a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3
        sums[1, i] += b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
        sums[2, i] += c0 * x0 + c1 * x1 + c2 * x2 + c3 * x3
        sums[3, i] += d0 * x0 + d1 * x1 + d2 * x2 + d3 * x3


_LN2 = 0.6931471805599453
_ROOT_HALF = np.int32(0x3F3504F3)  # float32 bits of sqrt(1/2): mantissas are taken around 1
# log(1 + t) = t - t^2 / 2 + t^3 P(t) for sqrt(1/2) <= 1 + t < sqrt(2): the P of degree 7 with the smallest
# largest error, 1.3e-9; a table of all int16 is exact, but gathering from it took twice the time
_P0, _P1, _P2, _P3 = map(np.float32, (0.33333328, -0.25001060, 0.20001616, -0.16616523))
_P4, _P5, _P6, _P7 = map(np.float32, (0.14190007, -0.13207892, 0.12854916, -0.07631191))
_ONE, _HALF = np.float32(1), np.float32(0.5)


@njit(nogil=True, cache=True, fastmath=_CONTRACT)
def _logarithm(bits, mantissa, mantissa_bits, exponent, offset, log):  # type: ignore[no-untyped-def]
    """Natural logarithm of positive float32 (given as bits) to 2e-8, in loops that a compiler vectorises."""
    for i in range(_TILE):
        k = (bits[i] - _ROOT_HALF) >> np.int32(23)
        exponent[i] = np.float32(k)
        mantissa_bits[i] = bits[i] - (k << np.int32(23))
    for i in range(_TILE):
        t = mantissa[i] - _ONE
        p = _P4 + t * (_P5 + t * (_P6 + t * _P7))
        p = _P0 + t * (_P1 + t * (_P2 + t * (_P3 + t * p)))
        rest = t * t * (t * p - _HALF)
        log[i] = np.float64(t) + (np.float64(rest) + (np.float64(exponent[i]) * _LN2 + offset))
