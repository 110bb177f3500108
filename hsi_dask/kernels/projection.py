"""The sums over wavelength that every per-pixel method here needs, in one pass over the stored numbers.

A pixel x and endmembers e enter FCLS through Q.x and x.x (Q an orthonormal basis of the endmembers), SAM
through the same, SID through sum(x), sum x log(x/e) and sum q log(x/e) with q = e / sum(e). All of them add
up over wavelength, so a cube may be cut along wavelength too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from hsi_dask.kernels.compiled import as_input, compiled, inlined, inner

_TILE = 1008  # pixels, half a chunk of 32 x 63: rows of a power of two would fall into the same few sets of the cache
_GROUP = 4  # wavelengths and weights a step: 16 products for every 8 loads
_FLUSH = 8  # steps after which float32 sums go to float64
_LINE = 64  # bytes that come into the cache together
_READ, _SECOND_LEVEL, _DATA = 0, 2, 1  # of LLVM's prefetch: what for, how near, which cache
_CONTRACT = {"contract"}  # fused multiply-add only: NaN, order and zeros keep their meaning


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
    _project(as_input(planes), first, stop, fills, *operator[1:], *onto, overwrite)


def _as_stored(fill: float, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The one number of this type that means no data, or none: comparing narrow integers is cheap."""
    limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    stored = limits.min <= fill <= limits.max and (dtype.kind == "f" or fill == int(fill))
    return np.array([fill] if stored else [], dtype)


def _grouped(matrix: NDArray[np.float64], dtype: type) -> NDArray[Any]:
    """(k, L) as (ceil(k/4), ceil(L/4), 16): the sixteen weights of a step side by side, zeros beyond the ends."""
    k, L = matrix.shape
    rows, columns = -(-k // _GROUP), -(-L // _GROUP)
    full = np.zeros((rows * _GROUP, columns * _GROUP), dtype)
    full[:k, :L] = matrix
    steps = full.reshape(rows, _GROUP, columns, _GROUP).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(steps).reshape(rows, columns, _GROUP * _GROUP)


def _in_groups(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(L,) as (ceil(L/4), 4), zeros beyond the end."""
    return np.pad(values, (0, -values.size % _GROUP)).reshape(-1, _GROUP)


def _reinterpreting(given: Any, wanted: Any) -> Any:
    """A compiled function that takes the bits of a number of one type for a number of another."""

    def reinterpret(typing_context, value):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return builder.bitcast(arguments[0], context.get_value_type(wanted))

        return wanted(given), generate

    return intrinsic(reinterpret)


def _asking_ahead(typing_context, row, index):  # type: ignore[no-untyped-def]
    """Have the cache line of a row's element brought into the cache, without waiting for it."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        start = context.make_array(row)(context, builder, arguments[0]).data
        line = builder.bitcast(builder.gep(start, [arguments[1]]), cgutils.voidptr_t)
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [line.type, number, number, number])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [line.type], kind)
        builder.call(prefetch, [line, number(_READ), number(_SECOND_LEVEL), number(_DATA)])
        return context.get_dummy_value()

    return types.void(row, types.intp), generate


_prefetch: Any = intrinsic(_asking_ahead)
_bits = _reinterpreting(types.float32, types.int32)
_from_bits = _reinterpreting(types.int32, types.float32)


@compiled(fastmath=_CONTRACT)
def _project(  # type: ignore[no-untyped-def]
    planes,
    first_pixel,
    last_pixel,
    fills,
    basis,
    logs,
    shares,
    offsets,
    floors,
    shift,
    scale,
    projections,
    energy,
    total,
    forward,
    backward,
    overwrite,
):
    L = planes.shape[0]
    r, p, steps = projections.shape[0], forward.shape[0], basis.shape[1]
    rows = logs.shape[0] * _GROUP
    stored = np.empty((_GROUP, _TILE), planes.dtype)
    missing = np.empty(_TILE, np.bool_)
    gone = np.empty(_TILE)
    squares = np.empty(_TILE)
    along = np.empty((basis.shape[0] * _GROUP, _TILE))
    positive = np.empty((_GROUP, _TILE), np.float32)
    logarithm = np.empty((_GROUP, _TILE), np.float32)
    # of each: sum of x, sum of x log x, then x.log e and q.log x of every endmember
    short = np.empty((2 + 2 * rows, _TILE), np.float32)
    long = np.empty((2 + 2 * rows, _TILE))
    for start in range(first_pixel, last_pixel, _TILE):
        m = min(_TILE, last_pixel - start)
        for i in range(_TILE):
            missing[i] = False
            squares[i] = 0.0
        for k in range(along.shape[0]):
            _clear(along[k])
        for k in range(short.shape[0]):
            _clear(short[k])
            _clear(long[k])
        for step in range(steps):
            first = step * _GROUP
            here = min(_GROUP, L - first)
            if m < _TILE or here < _GROUP:
                for j in range(_GROUP):
                    _clear(stored[j])
            # the next step's numbers, of this tile or the next, and a part of the sums that this tile ends in
            below, right = (first + here, start) if step < steps - 1 else (0, start + _TILE)
            for j in range(below, min(below + _GROUP, L)):
                _fetch(planes[j, right : min(right + _TILE, last_pixel)])
            a, b = start + step * m // steps, start + (step + 1) * m // steps
            for sums in (projections, forward, backward):
                for k in range(sums.shape[0]):
                    _fetch(sums[k, a:b])
            _fetch(energy[a:b])
            _fetch(total[a:b])
            for j in range(here):
                _copy(planes[first + j, start : start + m], stored[j])
            for fill in fills:
                _mark(stored, here, fill, missing)
            _square_and_accumulate(squares, along, stored, basis[0, step])
            for k in range(1, basis.shape[0]):
                _accumulate(along[k * _GROUP : (k + 1) * _GROUP], stored, basis[k, step])
            if p == 0:
                continue
            _entropies(stored, floors[step], offsets[step], positive, logarithm, short[0], short[1])
            for k in range(2, 2 + rows, _GROUP):
                _accumulate(short[k : k + _GROUP], positive, logs[(k - 2) // _GROUP, step])
                _accumulate(short[k + rows : k + rows + _GROUP], logarithm, shares[(k - 2) // _GROUP, step])
            if step % _FLUSH == _FLUSH - 1 or step == steps - 1:
                for k in range(2 + 2 * rows):
                    _flush(short[k], long[k])
        for i in range(_TILE):  # sums are of stored numbers, exact, and scaled at the end
            gone[i] = np.nan if missing[i] or squares[i] != squares[i] else 0.0  # NaN in a float cube
        _add(energy[start : start + m], overwrite, squares, scale * scale, 0.0, gone)
        for k in range(r):
            _add(projections[k, start : start + m], overwrite, along[k], scale, 0.0, gone)
        if p > 0:
            _add(total[start : start + m], overwrite, long[0], scale, 0.0, gone)
        for k in range(p):
            for i in range(_TILE):
                long[2 + k, i] = long[1, i] - long[2 + k, i]
            _add(forward[k, start : start + m], overwrite, long[2 + k], scale, 0.0, gone)
            _add(backward[k, start : start + m], overwrite, long[2 + rows + k], 1.0, -shift[k], gone)


@inner()
def _fetch(row):  # type: ignore[no-untyped-def]
    """What will be needed next: rows lie far apart in memory, where the processor does not see it coming."""
    for i in range(0, row.size, _LINE // row.itemsize):
        _prefetch(row, i)


@inlined()
def _copy(row, stored):  # type: ignore[no-untyped-def]
    for i in range(row.size):
        stored[i] = row[i]


@inner()
def _clear(stored):  # type: ignore[no-untyped-def]
    for i in range(_TILE):
        stored[i] = 0


@inlined()
def _mark(stored, here, fill, missing):  # type: ignore[no-untyped-def]
    """Pixels of which a stored number means no data, of up to four wavelengths."""
    a, b, c, d = stored[0], stored[min(1, here - 1)], stored[min(2, here - 1)], stored[here - 1]
    for i in range(_TILE):
        missing[i] = missing[i] | (a[i] == fill) | (b[i] == fill) | (c[i] == fill) | (d[i] == fill)


@inlined()
def _square_and_accumulate(squares, sums, x, w):  # type: ignore[no-untyped-def]
    """What `_accumulate` does, and the squares, of numbers that are converted once for both."""
    a0, a1, a2, a3 = w[0], w[1], w[2], w[3]
    b0, b1, b2, b3 = w[4], w[5], w[6], w[7]
    c0, c1, c2, c3 = w[8], w[9], w[10], w[11]
    d0, d1, d2, d3 = w[12], w[13], w[14], w[15]
    for i in range(_TILE):
        x0, x1, x2, x3 = np.float64(x[0, i]), np.float64(x[1, i]), np.float64(x[2, i]), np.float64(x[3, i])
        squares[i] += x0 * x0 + x1 * x1 + x2 * x2 + x3 * x3
        sums[0, i] += a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3
        sums[1, i] += b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
        sums[2, i] += c0 * x0 + c1 * x1 + c2 * x2 + c3 * x3
        sums[3, i] += d0 * x0 + d1 * x1 + d2 * x2 + d3 * x3


@inner(fastmath=_CONTRACT)
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


@inlined()
def _entropies(stored, floors, offsets, positive, logarithm, total, entropy):  # type: ignore[no-untyped-def]
    """Four wavelengths floored and their logarithms, and the sums of both that no endmember enters."""
    f0, f1, f2, f3 = floors[0], floors[1], floors[2], floors[3]
    o0, o1, o2, o3 = offsets[0], offsets[1], offsets[2], offsets[3]
    for i in range(_TILE):
        x0, x1 = max(np.float32(stored[0, i]), f0), max(np.float32(stored[1, i]), f1)
        x2, x3 = max(np.float32(stored[2, i]), f2), max(np.float32(stored[3, i]), f3)
        log0, log1, log2, log3 = _logarithm(x0, o0), _logarithm(x1, o1), _logarithm(x2, o2), _logarithm(x3, o3)
        positive[0, i], positive[1, i], positive[2, i], positive[3, i] = x0, x1, x2, x3
        logarithm[0, i], logarithm[1, i], logarithm[2, i], logarithm[3, i] = log0, log1, log2, log3
        total[i] += (x0 + x1) + (x2 + x3)
        entropy[i] += x0 * log0 + x1 * log1 + x2 * log2 + x3 * log3


@inlined()
def _flush(short, long):  # type: ignore[no-untyped-def]
    for i in range(_TILE):
        long[i] += short[i]
        short[i] = 0


@inner(fastmath=_CONTRACT)
def _add(onto, overwrite, sums, factor, shift, gone):  # type: ignore[no-untyped-def]
    for i in range(onto.size):
        onto[i] = (0.0 if overwrite else onto[i]) + ((sums[i] * factor + shift) + gone[i])


# log(2) as a part whose multiples are exact in float32, and the rest
_LN2, _LN2_REST = np.float32(0.693359375), np.float32(-2.12194440e-4)
_ROOT_HALF = np.int32(0x3F3504F3)  # float32 bits of sqrt(1/2): mantissas are taken around 1
# log(1 + t) = t - t^2 / 2 + t^3 P(t) for sqrt(1/2) <= 1 + t < sqrt(2): the P of degree 7 with the smallest
# largest error, 1.3e-9; a table of all int16 is exact, but gathering from it took four times as long
_P0, _P1, _P2, _P3 = map(np.float32, (0.33333328, -0.25001060, 0.20001616, -0.16616523))
_P4, _P5, _P6, _P7 = map(np.float32, (0.14190007, -0.13207892, 0.12854916, -0.07631191))
_ONE, _HALF = np.float32(1), np.float32(0.5)
_MANTISSA = np.int32(23)  # bits of it


@inner(fastmath=_CONTRACT)
def _logarithm(x, offset):  # type: ignore[no-untyped-def]
    """Natural logarithm of a positive float32 plus offset, without a branch, so that a loop of it is vectorised."""
    bits = _bits(x)  # integers are kept to 32 bits step by step: numba widens them, and vectors would be half as long
    k = np.int32(np.int32(bits - _ROOT_HALF) >> _MANTISSA)
    t = _from_bits(np.int32(bits - np.int32(k << _MANTISSA))) - _ONE
    p = _P4 + t * (_P5 + t * (_P6 + t * _P7))
    p = _P0 + t * (_P1 + t * (_P2 + t * (_P3 + t * p)))
    exponent = np.float32(k)
    whole = (exponent * _LN2 + offset) + exponent * _LN2_REST
    return (t + t * t * (t * p - _HALF)) + whole
