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

_TILE = 512  # pixels: long enough runs of memory from each plane, short enough that buffers stay in cache
_GROUP = 4  # wavelengths and weights a step: 16 products for every 8 loads
_FLUSH = 8  # steps after which float32 sums go to float64
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

    def take(self, wavelengths: slice | NDArray[np.intp]) -> Weights:
        """The weights of a part of the wavelengths."""
        return Weights(self.basis[:, wavelengths], self.shares[:, wavelengths], self.logs[:, wavelengths], self.floor)


class Sums(NamedTuple):
    """Sums over wavelength of n pixels, float64; a pixel with a missing value is NaN in all of them.

    Methods subtract nearly equal ones: the first two are exact to the last digits, the others, which only SID
    needs, to 1e-7 nats.

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

    @classmethod
    def zeros(cls, weights: Weights, n: int) -> Sums:
        """Sums over no wavelength yet, of n pixels, for these weights."""
        r, p = weights.basis.shape[0], weights.shares.shape[0]
        return cls(np.zeros((r, n)), np.zeros(n), np.zeros(n if p else 0), np.zeros((p, n)), np.zeros((p, n)))

    def plus(self, *others: Sums) -> Sums:
        """The sums over the wavelengths of all of them, added from the left."""
        return Sums(*(sum(planes[1:], start=planes[0]) for planes in zip(self, *others, strict=True)))

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


class Operator(NamedTuple):
    """Weights laid out for the kernel, with how numbers are stored; made once for many pixels."""

    basis: NDArray[np.float64]
    logs: NDArray[np.float32]
    shares: NDArray[np.float32]
    offsets: NDArray[np.float32]
    shift: NDArray[np.float64]
    scale: float
    fill: float
    floor: float


def operator(weights: Weights, *, scale: float = 1.0, fill: float | None = None) -> Operator:
    """The weights for numbers whose unit is `scale` in reflectance and of which `fill` means no data, besides NaN."""
    # logarithms are counted from the endmembers' mean, so that float32 has small numbers to add
    mean = weights.logs.mean(axis=0) if len(weights.logs) else np.zeros(weights.basis.shape[1])
    offsets = (np.log(scale) - mean).astype(np.float32)
    logs = weights.logs - (np.log(scale) - offsets)
    return Operator(
        _grouped(weights.basis, np.float64),
        _grouped(logs, np.float32),
        _grouped(weights.shares, np.float32),
        offsets,
        (weights.shares * logs).sum(axis=1),
        float(scale),
        np.nan if fill is None else float(fill),
        weights.floor,
    )


def project(planes: NDArray[Any], weights: Weights, *, scale: float = 1.0, fill: float | None = None) -> Sums:
    """Sums over wavelength of pixels as they are stored: (L, n) integers or floats; see `operator`, `accumulate`."""
    sums = Sums.zeros(weights, planes.shape[1])
    accumulate(planes, operator(weights, scale=scale, fill=fill), sums)
    return sums


def accumulate(planes: NDArray[Any], operator: Operator, onto: Sums, pixels: slice | None = None) -> None:
    """Add the sums over some wavelengths of pixels as they are stored to those over others, in place.

    A pixel with one value that means no data becomes NaN in every sum.

    Parameters
    ----------
    planes : (L, n) integers or floats, wavelengths first; contiguous planes are taken as they are.
    operator : of the same L wavelengths.
    onto : sums of the same n pixels; `Sums.zeros` to begin with.
    pixels : which of them; all, when none are named.
    """
    if planes.dtype.kind not in "iuf" or planes.dtype.itemsize > 8 or not planes.dtype.isnative:
        raise ValueError(f"planes must be native integers or floats, not {planes.dtype}")
    planes = np.ascontiguousarray(planes).view()
    planes.flags.writeable = False  # what a reader hands over may be either: one kind, one compilation
    first, stop, _ = (pixels or slice(None)).indices(planes.shape[1])
    _project(planes, first, stop, *operator, *onto)


def _grouped(matrix: NDArray[np.float64], dtype: type) -> NDArray[Any]:
    """(k, L) as (ceil(k/4), ceil(L/4), 16): the sixteen weights of a step side by side, zeros beyond the ends."""
    k, L = matrix.shape
    rows, columns = -(-k // _GROUP), -(-L // _GROUP)
    full = np.zeros((rows * _GROUP, columns * _GROUP), dtype)
    full[:k, :L] = matrix
    steps = full.reshape(rows, _GROUP, columns, _GROUP).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(steps).reshape(rows, columns, _GROUP * _GROUP)


@njit(nogil=True, cache=True, fastmath=_CONTRACT)
def _project(  # type: ignore[no-untyped-def]
    planes,
    first_pixel,
    last_pixel,
    basis,
    logs,
    shares,
    offsets,
    shift,
    scale,
    fill,
    floor,
    coordinates,
    energy,
    total,
    forward,
    backward,
):
    L = planes.shape[0]
    r, p, steps = coordinates.shape[0], forward.shape[0], basis.shape[1]
    rows = logs.shape[0] * _GROUP
    x = np.zeros((_GROUP, _TILE))
    missing = np.empty(_TILE)
    squares = np.empty(_TILE)
    along = np.empty((basis.shape[0] * _GROUP, _TILE))
    positive = np.zeros((_GROUP, _TILE), np.float32)
    logarithm = np.zeros((_GROUP, _TILE), np.float32)
    exponent = np.empty(_TILE, np.float32)
    bits = positive.view(np.int32)
    mantissa_bits = logarithm.view(np.int32)
    # of each: sum of x, sum of x log x, then x.log e and q.log x of every endmember
    short = np.empty((2 + 2 * rows, _TILE), np.float32)
    long = np.empty((2 + 2 * rows, _TILE))
    lowest = np.float32(floor / scale)  # sums are of stored numbers, exact, and scaled at the end
    for start in range(first_pixel, last_pixel, _TILE):
        m = min(_TILE, last_pixel - start)
        missing[:] = 0
        squares[:] = 0
        along[:] = 0
        short[:] = 0
        long[:] = 0
        for step in range(steps):
            first = step * _GROUP
            for j in range(_GROUP):
                if first + j >= L:
                    x[j] = 0
                elif m == _TILE:
                    _load(planes[first + j, start : start + _TILE], fill, x[j], missing)
                else:
                    _load(planes[first + j, start : start + m], fill, x[j], missing)
            _square(x, squares)
            for k in range(basis.shape[0]):
                _accumulate(along[k * _GROUP : (k + 1) * _GROUP], x, basis[k, step])
            if p == 0:
                continue
            for j in range(min(_GROUP, L - first)):
                _floored(x[j], lowest, positive[j])
                _logarithm(bits[j], logarithm[j], mantissa_bits[j], exponent, offsets[first + j])
            for j in range(L - first, _GROUP):  # beyond the end neither x nor its logarithm counts
                positive[j] = 0
                logarithm[j] = 0
            _entropies(positive, logarithm, short[0], short[1])
            for k in range(2, 2 + rows, _GROUP):
                _accumulate(short[k : k + _GROUP], positive, logs[(k - 2) // _GROUP, step])
                _accumulate(short[k + rows : k + rows + _GROUP], logarithm, shares[(k - 2) // _GROUP, step])
            if step % _FLUSH == _FLUSH - 1 or step == steps - 1:
                for k in range(2 + 2 * rows):
                    _flush(short[k], long[k])
        for i in range(m):
            if squares[i] != squares[i]:  # NaN in a float cube
                missing[i] = np.nan
            energy[start + i] += squares[i] * (scale * scale) + missing[i]
        for k in range(r):
            for i in range(m):
                coordinates[k, start + i] += along[k, i] * scale + missing[i]
        if p > 0:
            for i in range(m):
                total[start + i] += long[0, i] * scale + missing[i]
        for k in range(p):
            for i in range(m):
                forward[k, start + i] += (long[1, i] - long[2 + k, i]) * scale + missing[i]
                backward[k, start + i] += long[2 + rows + k, i] - shift[k] + missing[i]


@njit(nogil=True, cache=True, fastmath=_CONTRACT)
def _load(stored, fill, x, missing):  # type: ignore[no-untyped-def]
    """Stored numbers as float64; `missing` becomes NaN, and stays so, where one is no data."""
    for i in range(stored.size):
        v = np.float64(stored[i])
        x[i] = v
        missing[i] = np.nan if v == fill else missing[i]


@njit(nogil=True, cache=True, fastmath=_CONTRACT)
def _floored(x, lowest, positive):  # type: ignore[no-untyped-def]
    for i in range(_TILE):
        positive[i] = max(np.float32(x[i]), lowest)


@njit(nogil=True, cache=True, fastmath=_CONTRACT)
def _square(x, squares):  # type: ignore[no-untyped-def]
    for i in range(_TILE):
        squares[i] += x[0, i] * x[0, i] + x[1, i] * x[1, i] + x[2, i] * x[2, i] + x[3, i] * x[3, i]


@njit(nogil=True, cache=True, fastmath=_CONTRACT)
def _entropies(x, log, total, entropy):  # type: ignore[no-untyped-def]
    for i in range(_TILE):
        total[i] += (x[0, i] + x[1, i]) + (x[2, i] + x[3, i])
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


@njit(nogil=True, cache=True, fastmath=_CONTRACT)
def _flush(short, long):  # type: ignore[no-untyped-def]
    for i in range(_TILE):
        long[i] += short[i]
        short[i] = 0


# log(2) as a part whose multiples are exact in float32, and the rest
_LN2, _LN2_REST = np.float32(0.693359375), np.float32(-2.12194440e-4)
_ROOT_HALF = np.int32(0x3F3504F3)  # float32 bits of sqrt(1/2): mantissas are taken around 1
# log(1 + t) = t - t^2 / 2 + t^3 P(t) for sqrt(1/2) <= 1 + t < sqrt(2): the P of degree 7 with the smallest
# largest error, 1.3e-9; a table of all int16 is exact, but gathering from it took four times as long
_P0, _P1, _P2, _P3 = map(np.float32, (0.33333328, -0.25001060, 0.20001616, -0.16616523))
_P4, _P5, _P6, _P7 = map(np.float32, (0.14190007, -0.13207892, 0.12854916, -0.07631191))
_ONE, _HALF = np.float32(1), np.float32(0.5)


@njit(nogil=True, cache=True, fastmath=_CONTRACT)
def _logarithm(bits, log, log_bits, exponent, offset):  # type: ignore[no-untyped-def]
    """Natural logarithm of positive float32 (given as bits) plus offset, in loops that a compiler vectorises."""
    for i in range(_TILE):
        k = (bits[i] - _ROOT_HALF) >> np.int32(23)
        exponent[i] = np.float32(k)
        log_bits[i] = bits[i] - (k << np.int32(23))
    for i in range(_TILE):
        t = log[i] - _ONE
        p = _P4 + t * (_P5 + t * (_P6 + t * _P7))
        p = _P0 + t * (_P1 + t * (_P2 + t * (_P3 + t * p)))
        whole = (exponent[i] * _LN2 + offset) + exponent[i] * _LN2_REST
        log[i] = (t + t * t * (t * p - _HALF)) + whole
