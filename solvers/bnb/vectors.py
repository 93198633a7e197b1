# numba and llvmlite have no types for what builds code
# mypy: disable-error-code="no-untyped-call,no-untyped-def"
"""Written-out vector code for the one loop that enumeration spends its time in.

LLVM's own vectoriser tests every pair of arrays for overlap at each node and finishes each loop one number at a
time; at 50 numbers a loop that costs as much as the arithmetic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from pvq.bounds.gram import FloatArray
from pvq.bounds.vector_code import DOUBLE, INTEGER, SUFFIX, VECTOR, WIDTH, declare, place, spread

ALIGNMENT = 64  # bytes: a vector that straddles two cache lines costs two loads


def padded(n: int) -> int:
    """Length of a row of n numbers: a multiple of WIDTH."""
    return -(-n // WIDTH) * WIDTH


def aligned(*shape: int) -> FloatArray:
    """Zeros whose rows start on cache lines, if the last length is a multiple of WIDTH."""
    count = int(np.prod(shape))
    memory = np.zeros(count + ALIGNMENT // 8)
    skip = -memory.ctypes.data % ALIGNMENT // 8
    return memory[skip : skip + count].reshape(shape)


@intrinsic
def _move_one(typingctx, centres, slope, diagonal, out, count, move, top):
    """Move the centres by a decision; sum_j d_j dist(s_j, {0, ..., top})^2.

    out[j] = centres[j] + slope[j] move for j < count, rounded up to a multiple of WIDTH. The arrays are addresses;
    `diagonal` and `slope` are 0 from count on.
    """
    address, number = types.intp, types.float64

    def emit(context, builder, signature, arguments):
        *shared, out, count, move, top = arguments
        return _emit(builder, shared, [out], count, [move], top)[0]

    return number(*[address] * 4, types.intp, number, number), emit


@intrinsic
def _move_two(typingctx, centres, slope, diagonal, first, second, count, a, b, top):
    """`_move_one` for two decisions in one pass: the pair of sums."""
    address, number = types.intp, types.float64

    def emit(context, builder, signature, arguments):
        *shared, first, second, count, a, b, top = arguments
        sums = _emit(builder, shared, [first, second], count, [a, b], top)
        return context.make_tuple(builder, signature.return_type, sums)

    return types.UniTuple(number, 2)(*[address] * 5, types.intp, number, number, number), emit


def _emit(builder, shared, outs, count, moves, top):
    fused = declare(builder, f"llvm.fmuladd.{SUFFIX}", VECTOR, VECTOR, VECTOR, VECTOR)
    rounded = declare(builder, f"llvm.rint.{SUFFIX}", VECTOR, VECTOR)
    summed = declare(builder, f"llvm.vector.reduce.fadd.{SUFFIX}", DOUBLE, DOUBLE, VECTOR)
    zero = ir.Constant(VECTOR, [0.0] * WIDTH)
    tops, moves = spread(builder, top), [spread(builder, move) for move in moves]
    totals = [cgutils.alloca_once_value(builder, zero) for _ in moves]
    size, step = builder.mul(count, ir.Constant(INTEGER, 8)), ir.Constant(INTEGER, 8 * WIDTH)
    with cgutils.for_range_slice(builder, ir.Constant(INTEGER, 0), size, step, INTEGER) as (offset, _):
        s, k, d = (builder.load(place(builder, base, offset), align=8) for base in shared)
        for out, move, total in zip(outs, moves, totals, strict=True):
            centre = builder.call(fused, [k, move, s])
            builder.store(centre, place(builder, out, offset), align=8)
            level = builder.call(rounded, [centre])
            level = builder.select(builder.fcmp_ordered(">", level, zero), level, zero)
            level = builder.select(builder.fcmp_ordered("<", level, tops), level, tops)
            distance = builder.fsub(centre, level)
            square = builder.fmul(distance, distance)
            builder.store(builder.call(fused, [square, d, builder.load(total)]), total)
    start = ir.Constant(DOUBLE, 0.0)
    return [builder.call(summed, [start, builder.load(total)], fastmath=("reassoc",)) for total in totals]


move_one: Any = _move_one
move_two: Any = _move_two
