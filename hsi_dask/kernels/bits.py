"""Bits of numbers, memory asked for ahead, and a logarithm without a branch: what vector loops are made of."""

# mypy: allow-untyped-defs

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from hsi_dask.kernels.compiled import inner

LINE = 64  # bytes that come into the cache together
_READ, _SECOND_LEVEL, _DATA = 0, 2, 1  # of LLVM's prefetch: what for, how near, which cache
_CONTRACT = {"contract"}  # fused multiply-add only: NaN, order and zeros keep their meaning


def _reinterpreting(stored: Any, wanted: Any) -> Any:
    """A compiled function that takes the bits of a number of one type for a number of another."""

    def reinterpret(typing_context, value):
        def generate(context, builder, signature, arguments):
            return builder.bitcast(arguments[0], context.get_value_type(wanted))

        return wanted(stored), generate

    return intrinsic(reinterpret)


def _asking_ahead(typing_context, row, index):
    """Have the cache line of a row's element brought into the cache, without waiting for it."""

    def generate(context, builder, signature, arguments):
        start = context.make_array(row)(context, builder, arguments[0]).data
        line = builder.bitcast(builder.gep(start, [arguments[1]]), cgutils.voidptr_t)
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [line.type, number, number, number])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [line.type], kind)
        builder.call(prefetch, [line, number(_READ), number(_SECOND_LEVEL), number(_DATA)])
        return context.get_dummy_value()

    return types.void(row, types.intp), generate


prefetch: Any = intrinsic(_asking_ahead)
bits_of = _reinterpreting(types.float32, types.int32)
from_bits = _reinterpreting(types.int32, types.float32)


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
def logarithm_of(x, offset):
    """Natural logarithm of a positive float32 plus offset, without a branch, so that a loop of it is vectorised."""
    bits = bits_of(x)  # integers are kept to 32 bits step by step: numba widens them, and vectors would be half as long
    k = np.int32(np.int32(bits - _ROOT_HALF) >> _MANTISSA)
    t = from_bits(np.int32(bits - np.int32(k << _MANTISSA))) - _ONE
    p = _P4 + t * (_P5 + t * (_P6 + t * _P7))
    p = _P0 + t * (_P1 + t * (_P2 + t * (_P3 + t * p)))
    exponent = np.float32(k)
    whole = (exponent * _LN2 + offset) + exponent * _LN2_REST
    return (t + t * t * (t * p - _HALF)) + whole
