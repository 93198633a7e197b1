# numba and llvmlite have no types for what builds code
# mypy: disable-error-code="no-untyped-call,no-untyped-def"
"""Written-out vector code for the one loop that enumeration spends its time in.

LLVM's own vectoriser tests every pair of arrays for overlap at each node and finishes each loop one number at a
time; at 50 numbers a loop that costs as much as the arithmetic. Four nodes share what they read and their sums.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from pvq.bounds.gram import FloatArray

from ..kernels.vector_code import DOUBLE, INTEGER, SUFFIX, VECTOR, WIDTH, declare, place, spread

FOUR = ir.VectorType(DOUBLE, 4)
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
def _move_four(typingctx, centres, slope, diagonal, outs, count, moves, partial, top, threshold):
    """Move the centres of four nodes by a decision each; which of them stay below the threshold, bit by bit.

    outs[q][j] = centres[q][j] + slope[j] moves[q] for j < count, rounded up to a multiple of WIDTH; node q stays
    if partial[q] + sum_j diagonal[j] dist(outs[q][j], {0, ..., top})^2 < threshold. All arrays are addresses;
    `diagonal` and `slope` are 0 from count on.
    """
    address, number = types.intp, types.float64
    four = types.UniTuple(address, 4)

    def emit(context, builder, signature, arguments):
        return _emit(builder, *arguments)

    return types.intp(four, address, address, four, types.intp, address, address, number, number), emit


def _emit(builder, centres, slope, diagonal, outs, count, moves, partial, top, threshold):
    fused = declare(builder, f"llvm.fmuladd.{SUFFIX}", VECTOR, VECTOR, VECTOR, VECTOR)
    rounded = declare(builder, f"llvm.rint.{SUFFIX}", VECTOR, VECTOR)
    zero, tops = ir.Constant(VECTOR, [0.0] * WIDTH), spread(builder, top)
    places = [ir.Constant(INTEGER, 8 * q) for q in range(4)]
    sources, outs = ([builder.extract_value(four, q) for q in range(4)] for four in (centres, outs))
    moves = [spread(builder, builder.load(place(builder, moves, at, DOUBLE), align=8)) for at in places]
    totals = [cgutils.alloca_once_value(builder, zero) for _ in places]
    size, step = builder.mul(count, ir.Constant(INTEGER, 8)), ir.Constant(INTEGER, 8 * WIDTH)
    with cgutils.for_range_slice(builder, ir.Constant(INTEGER, 0), size, step, INTEGER) as (offset, _):
        k, d = (builder.load(place(builder, base, offset), align=8) for base in (slope, diagonal))
        for source, out, move, total in zip(sources, outs, moves, totals, strict=True):
            centre = builder.call(fused, [k, move, builder.load(place(builder, source, offset), align=8)])
            builder.store(centre, place(builder, out, offset), align=8)
            level = builder.call(rounded, [centre])
            level = builder.select(builder.fcmp_ordered(">", level, zero), level, zero)
            level = builder.select(builder.fcmp_ordered("<", level, tops), level, tops)
            distance = builder.fsub(centre, level)
            square = builder.fmul(distance, distance)
            builder.store(builder.call(fused, [square, d, builder.load(total)]), total)
    known = builder.load(place(builder, partial, places[0], FOUR), align=8)
    sums = builder.fadd(_sums(builder, *(builder.load(total) for total in totals)), known)
    below = builder.fcmp_ordered("<", sums, spread(builder, threshold, 4))
    return builder.zext(builder.bitcast(below, ir.IntType(4)), INTEGER)


def _sums(builder, a, b, c, d):
    """The sums of four vectors in one: two numbers of each at a time, which takes half the steps of one by one."""

    def folded(one, two, first, second):
        left, right = (
            builder.shuffle_vector(one, two, ir.Constant(ir.VectorType(ir.IntType(32), len(at)), at))
            for at in (first, second)
        )
        return builder.fadd(left, right)

    even, odd = [0, 8, 2, 10, 4, 12, 6, 14], [1, 9, 3, 11, 5, 13, 7, 15]
    pairs = folded(a, b, even, odd), folded(c, d, even, odd)
    fours = folded(*pairs, [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15])
    return folded(fours, fours, [0, 1, 2, 3], [4, 5, 6, 7])


move_four: Any = _move_four
