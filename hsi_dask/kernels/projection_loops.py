"""The compiled loops of the projection: pixels in tiles that stay in cache, wavelengths in groups of four."""

# mypy: allow-untyped-defs

from __future__ import annotations

import numpy as np

from hsi_dask.kernels.bits import LINE, logarithm_of, prefetch
from hsi_dask.kernels.compiled import compiled, inlined, inner
from hsi_dask.kernels.moments import LARGEST

GROUP = 4  # wavelengths and weights a step: 16 products for every 8 loads
TILE = 1008  # pixels, half a chunk of 32 x 63: rows of a power of two would fall into the same few sets of the cache
_FLUSH = 8  # steps after which float32 sums go to float64
_CONTRACT = {"contract"}  # fused multiply-add only: NaN, order and zeros keep their meaning


@compiled(fastmath=_CONTRACT)
def project_tiles(
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
    rows = logs.shape[0] * GROUP
    most = L * (LARGEST / scale) ** 2
    stored = np.empty((GROUP, TILE), planes.dtype)
    missing = np.empty(TILE, np.bool_)
    gone = np.empty(TILE)
    squares = np.empty(TILE)
    along = np.empty((basis.shape[0] * GROUP, TILE))
    positive = np.empty((GROUP, TILE), np.float32)
    logarithm = np.empty((GROUP, TILE), np.float32)
    # of each: sum of x, sum of x log x, then x.log e and q.log x of every endmember
    short = np.empty((2 + 2 * rows, TILE), np.float32)
    long = np.empty((2 + 2 * rows, TILE))
    for start in range(first_pixel, last_pixel, TILE):
        m = min(TILE, last_pixel - start)
        for i in range(TILE):
            missing[i] = False
            squares[i] = 0.0
        for k in range(along.shape[0]):
            _clear(along[k])
        for k in range(short.shape[0]):
            _clear(short[k])
            _clear(long[k])
        for step in range(steps):
            first = step * GROUP
            here = min(GROUP, L - first)
            if m < TILE or here < GROUP:
                for j in range(GROUP):
                    _clear(stored[j])
            # the next step's numbers, of this tile or the next, and a part of the sums that this tile ends in
            below, right = (first + here, start) if step < steps - 1 else (0, start + TILE)
            for j in range(below, min(below + GROUP, L)):
                _fetch(planes[j, right : min(right + TILE, last_pixel)])
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
                _accumulate(along[k * GROUP : (k + 1) * GROUP], stored, basis[k, step])
            if p == 0:
                continue
            _entropies(stored, floors[step], offsets[step], positive, logarithm, short[0], short[1])
            for k in range(2, 2 + rows, GROUP):
                _accumulate(short[k : k + GROUP], positive, logs[(k - 2) // GROUP, step])
                _accumulate(short[k + rows : k + rows + GROUP], logarithm, shares[(k - 2) // GROUP, step])
            if step % _FLUSH == _FLUSH - 1 or step == steps - 1:
                for k in range(2 + 2 * rows):
                    _flush(short[k], long[k])
        for i in range(TILE):  # sums are of stored numbers, exact, and scaled at the end
            # NaN in a float cube, or what no reflectance is
            gone[i] = 0.0 if not missing[i] and squares[i] < most else np.nan
        _add(energy[start : start + m], overwrite, squares, scale * scale, 0.0, gone)
        for k in range(r):
            _add(projections[k, start : start + m], overwrite, along[k], scale, 0.0, gone)
        if p > 0:
            _add(total[start : start + m], overwrite, long[0], scale, 0.0, gone)
        for k in range(p):
            for i in range(TILE):
                long[2 + k, i] = long[1, i] - long[2 + k, i]
            _add(forward[k, start : start + m], overwrite, long[2 + k], scale, 0.0, gone)
            _add(backward[k, start : start + m], overwrite, long[2 + rows + k], 1.0, -shift[k], gone)


@inner()
def _fetch(row):
    """What will be needed next: rows lie far apart in memory, where the processor does not see it coming."""
    for i in range(0, row.size, LINE // row.itemsize):
        prefetch(row, i)


@inlined()
def _copy(row, stored):
    for i in range(row.size):
        stored[i] = row[i]


@inner()
def _clear(stored):
    for i in range(TILE):
        stored[i] = 0


@inlined()
def _mark(stored, here, fill, missing):
    """Pixels of which a stored number means no data, of up to four wavelengths."""
    a, b, c, d = stored[0], stored[min(1, here - 1)], stored[min(2, here - 1)], stored[here - 1]
    for i in range(TILE):
        missing[i] = missing[i] | (a[i] == fill) | (b[i] == fill) | (c[i] == fill) | (d[i] == fill)


@inlined()
def _square_and_accumulate(squares, sums, x, w):
    """What `_accumulate` does, and the squares, of numbers that are converted once for both."""
    a0, a1, a2, a3 = w[0], w[1], w[2], w[3]
    b0, b1, b2, b3 = w[4], w[5], w[6], w[7]
    c0, c1, c2, c3 = w[8], w[9], w[10], w[11]
    d0, d1, d2, d3 = w[12], w[13], w[14], w[15]
    for i in range(TILE):
        x0, x1, x2, x3 = np.float64(x[0, i]), np.float64(x[1, i]), np.float64(x[2, i]), np.float64(x[3, i])
        squares[i] += x0 * x0 + x1 * x1 + x2 * x2 + x3 * x3
        sums[0, i] += a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3
        sums[1, i] += b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
        sums[2, i] += c0 * x0 + c1 * x1 + c2 * x2 + c3 * x3
        sums[3, i] += d0 * x0 + d1 * x1 + d2 * x2 + d3 * x3


@inner(fastmath=_CONTRACT)
def _accumulate(sums, x, w):
    """Add four wavelengths to four sums: sums (4, tile), x (4, tile), w (16,)."""
    a0, a1, a2, a3 = w[0], w[1], w[2], w[3]
    b0, b1, b2, b3 = w[4], w[5], w[6], w[7]
    c0, c1, c2, c3 = w[8], w[9], w[10], w[11]
    d0, d1, d2, d3 = w[12], w[13], w[14], w[15]
    for i in range(TILE):
        x0, x1, x2, x3 = x[0, i], x[1, i], x[2, i], x[3, i]
        sums[0, i] += a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3
        sums[1, i] += b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
        sums[2, i] += c0 * x0 + c1 * x1 + c2 * x2 + c3 * x3
        sums[3, i] += d0 * x0 + d1 * x1 + d2 * x2 + d3 * x3


@inlined()
def _entropies(stored, floors, offsets, positive, logarithm, total, entropy):
    """Four wavelengths floored and their logarithms, and the sums of both that no endmember enters."""
    f0, f1, f2, f3 = floors[0], floors[1], floors[2], floors[3]
    o0, o1, o2, o3 = offsets[0], offsets[1], offsets[2], offsets[3]
    for i in range(TILE):
        x0, x1 = max(np.float32(stored[0, i]), f0), max(np.float32(stored[1, i]), f1)
        x2, x3 = max(np.float32(stored[2, i]), f2), max(np.float32(stored[3, i]), f3)
        log0, log1, log2, log3 = logarithm_of(x0, o0), logarithm_of(x1, o1), logarithm_of(x2, o2), logarithm_of(x3, o3)
        positive[0, i], positive[1, i], positive[2, i], positive[3, i] = x0, x1, x2, x3
        logarithm[0, i], logarithm[1, i], logarithm[2, i], logarithm[3, i] = log0, log1, log2, log3
        total[i] += (x0 + x1) + (x2 + x3)
        entropy[i] += x0 * log0 + x1 * log1 + x2 * log2 + x3 * log3


@inlined()
def _flush(short, long):
    for i in range(TILE):
        long[i] += short[i]
        short[i] = 0


@inner(fastmath=_CONTRACT)
def _add(onto, overwrite, sums, factor, shift, gone):
    for i in range(onto.size):
        onto[i] = (0.0 if overwrite else onto[i]) + ((sums[i] * factor + shift) + gone[i])
