"""Exact products of whole numbers, several times as fast as those of float64.

x86 processors multiply pairs of 16-bit numbers and add up both products in one instruction, pmaddwd. Compilers do not
find it where several sums share their factors, so it is asked for by name; other processors get the same sums in
plain multiplications.
"""

# mypy: allow-untyped-defs

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from hsi_dask.kernels.compiled import Decorator, compiled, inlined

_intrinsic: Decorator = intrinsic

SEGMENT = 512  # columns summed in 32 bits before they are added up in 64
ROWS = 6  # rows of one side at a time, against `_OTHERS` of the other: their sums stay in registers
_OTHERS = 2
_SAFE = 2.0**31 - 1.0  # what 32 bits hold
_NARROW = 2**15 - 1  # what 16 bits hold, of either sign
_WHOLE, _HIGH, _LOW = 0, 1, 2  # parts of a number
_PRODUCTS = (  # of parts, and their factors: both numbers whole; the second one split; both split
    (_WHOLE, _WHOLE, 1),
    (_WHOLE, _HIGH, 256), (_WHOLE, _LOW, 1),
    (_HIGH, _HIGH, 65536), (_HIGH, _LOW, 256), (_LOW, _HIGH, 256), (_LOW, _LOW, 1),
)  # fmt: skip


@compiled()
def add_products(rows, out):
    """Add rows @ rows.T, upper triangle, to `out`, without any rounding.

    Parameters
    ----------
    rows : (m, n) int32, m a multiple of `ROWS` and n of `SEGMENT`; smaller than 2^18 in size.
    out : (m, m) int64. Below the diagonal only what shares a tile with it is added.

    Notes
    -----
    By Cauchy and Schwarz no partial sum of x * y exceeds |x| |y|. Where this product of norms may not fit into 32
    bits, numbers are split, x = 256 high + low, and products of their parts do: those of 16 bits with a part that has
    8, and those of any two parts.
    """
    parts = np.empty((3, len(rows), SEGMENT), np.int16)
    norms = np.empty(len(rows) // _OTHERS)
    for start in range(0, rows.shape[1], SEGMENT):
        _split(rows, start, parts, norms)
        for a in range(0, len(rows), ROWS):
            norm = norms[a // _OTHERS : (a + ROWS) // _OTHERS].max()
            for b in range(a, len(rows), _OTHERS):
                bound = norm * norms[b // _OTHERS]
                chosen = (0, 1) if bound < _SAFE else (1, 3) if bound < np.inf else (3, 7)
                for k in range(chosen[0], chosen[1]):
                    x, y, factor = _PRODUCTS[k]
                    sums = _dots(parts[x], a, parts[y], b)
                    for i in range(ROWS):
                        for j in range(_OTHERS):
                            out[a + i, b + j] += np.int64(factor) * sums[i * _OTHERS + j]


@inlined()
def _split(rows, start, parts, norms):
    """Numbers in 16 bits, and in two parts; the larger norm of every two rows, infinite if one needs more bits."""
    for i in range(len(rows)):
        row, near, high, low = rows[i, start : start + SEGMENT], parts[0, i], parts[1, i], parts[2, i]
        energy, largest = np.int64(0), np.int32(0)
        for k in range(SEGMENT):
            energy += np.int64(row[k]) * np.int64(row[k])
            largest = max(largest, abs(row[k]))
            near[k], high[k] = row[k], (row[k] + 128) >> 8
            low[k] = row[k] - (high[k] << 8)
        norm = np.sqrt(np.float64(energy)) if largest <= _NARROW else np.inf
        norms[i // _OTHERS] = norm if i % _OTHERS == 0 else max(norm, norms[i // _OTHERS])


@_intrinsic
def _dots(typing: Any, x: Any, first: Any, y: Any, second: Any) -> Any:
    """Sums of x[first + i] * y[second + j] for i < `ROWS`, j < `_OTHERS`; x and y (m, SEGMENT) int16."""
    sums = types.UniTuple(types.int32, ROWS * _OTHERS)
    return sums(x, first, y, second), _dots_code


def _dots_code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    *_, features = context.codegen().magic_tuple()
    width, name = _instruction(features.split(","))
    values, sums = ir.VectorType(ir.IntType(16), width), ir.VectorType(ir.IntType(32), width // 2)

    def columns(rows: int, count: int) -> list[Any]:
        kind = signature.args[rows]
        array, number = context.make_array(kind)(context, builder, args[rows]), args[rows + 1]
        zero, index = number.type(0), [builder.add(number, number.type(i)) for i in range(count)]
        starts = [cgutils.get_item_pointer(context, builder, kind, array, [i, zero]) for i in index]
        return [builder.bitcast(start, values.as_pointer()) for start in starts]

    def vector(start: Any, index: Any) -> Any:
        return builder.load(builder.gep(start, [index]), align=2)

    left, right = columns(0, ROWS), columns(2, _OTHERS)
    totals = [cgutils.alloca_once_value(builder, ir.Constant(sums, [0] * (width // 2))) for _ in range(ROWS * _OTHERS)]
    with cgutils.for_range(builder, ir.IntType(64)(SEGMENT // width)) as loop:
        others = [vector(start, loop.index) for start in right]
        for i, start in enumerate(left):
            row = vector(start, loop.index)
            for j, other in enumerate(others):
                total = totals[i * _OTHERS + j]
                builder.store(builder.add(builder.load(total), _pairs(builder, sums, name, row, other)), total)
    add = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.IntType(32), [sums]), f"llvm.vector.reduce.add.v{width // 2}i32"
    )
    found = [builder.call(add, [builder.load(total)]) for total in totals]
    return context.make_tuple(builder, signature.return_type, found)


def _instruction(features: list[str]) -> tuple[int, str | None]:
    """How many numbers are multiplied at a time, and the name of the instruction; None where none is known."""
    if "+avx512bw" in features:
        return 32, "llvm.x86.avx512.pmaddw.d.512"
    return 16, "llvm.x86.avx2.pmadd.wd" if "+avx2" in features else None


def _pairs(builder: Any, sums: Any, name: str | None, x: Any, y: Any) -> Any:
    """Products of x and y, added up in pairs."""
    if name:
        multiply = cgutils.get_or_insert_function(builder.module, ir.FunctionType(sums, [x.type, y.type]), name)
        return builder.call(multiply, [x, y])
    products = []
    for start in (0, 1):
        chosen = ir.Constant(sums, list(range(start, x.type.count, 2)))
        a, b = (builder.sext(builder.shuffle_vector(part, part, chosen), sums) for part in (x, y))
        products.append(builder.mul(a, b))
    return builder.add(*products)
