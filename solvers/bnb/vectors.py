# numba and llvmlite have no types for what builds code
# mypy: disable-error-code="no-untyped-call,no-untyped-def"
"""Written-out vector code for the one loop that enumeration spends its time in, in float64 or float32.

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
from numpy.typing import NDArray

from ..kernels.vector_code import DOUBLE, INTEGER, WIDTH, declare, place, spread

FOUR, PLACES = ir.VectorType(DOUBLE, 4), ir.VectorType(INTEGER, 4)
LINE = 64
"""Bytes of a vector, and of a line of the cache: a vector that straddles two lines costs two loads."""


def padded(n: int, real: type[np.floating[Any]] = np.float64) -> int:
    """Length of a row of n numbers: whole vectors."""
    width = LINE // np.dtype(real).itemsize
    return -(-n // width) * width


def aligned(*shape: int, real: type[np.floating[Any]] = np.float64) -> NDArray[Any]:
    """Zeros whose rows start on cache lines, if the last length is that of whole vectors."""
    count, size = int(np.prod(shape)), np.dtype(real).itemsize
    memory = np.zeros(count + LINE // size, real)
    skip = -memory.ctypes.data % LINE // size
    return memory[skip : skip + count].reshape(shape)


@intrinsic
def _move_four(typingctx, kind, centres, slope, diagonal, outs, count, moves, partial, limits, chosen):
    """Move the centres of four nodes by a decision each; those that stay below the threshold, and how many.

    outs[q][j] = centres[q][j] + slope[j] moves[q] for j < count, rounded up to whole vectors; node q stays if
    partial[q] + sum_j diagonal[j] dist(outs[q][j], {0, ..., top})^2 < threshold, and first + q is written to
    `below`, which has room for four. All arrays are addresses; `diagonal` and `slope` are 0 from count on.

    kind : an array of the type that centres, slopes and diagonals have; the others are float64.
    limits, chosen : (top, threshold) and (first, below).
    """
    address, number = types.intp, types.float64
    four = types.UniTuple(address, 4)
    single = kind.dtype == types.float32

    def emit(context, builder, signature, arguments):
        return _emit(builder, single, *arguments[1:])

    arrays = address, address, four, types.intp, address, address
    return types.intp(kind, four, *arrays, types.UniTuple(number, 2), types.UniTuple(address, 2)), emit


def _emit(builder, single, centres, slope, diagonal, outs, count, moves, partial, limits, chosen):
    real, width = (ir.FloatType(), 2 * WIDTH) if single else (DOUBLE, WIDTH)
    vector, suffix, size = ir.VectorType(real, width), f"v{width}f{32 if single else 64}", LINE // width
    fused = declare(builder, f"llvm.fmuladd.{suffix}", vector, vector, vector, vector)
    rounded = declare(builder, f"llvm.rint.{suffix}", vector, vector)

    def everywhere(number):
        return spread(builder, builder.fptrunc(number, real) if single else number, width)

    def load(base, offset):
        return builder.load(place(builder, base, offset, vector), align=size)

    (top, threshold), (first, below) = (
        [builder.extract_value(two, q) for q in range(2)] for two in (limits, chosen)
    )
    zero, tops = ir.Constant(vector, [0.0] * width), everywhere(top)
    places = [ir.Constant(INTEGER, 8 * q) for q in range(4)]
    sources, outs = ([builder.extract_value(four, q) for q in range(4)] for four in (centres, outs))
    moves = [everywhere(builder.load(place(builder, moves, at, DOUBLE), align=8)) for at in places]
    totals = [cgutils.alloca_once_value(builder, zero) for _ in places]
    end, step = builder.mul(count, ir.Constant(INTEGER, size)), ir.Constant(INTEGER, LINE)
    with cgutils.for_range_slice(builder, ir.Constant(INTEGER, 0), end, step, INTEGER) as (offset, _):
        k, d = (load(base, offset) for base in (slope, diagonal))
        for source, out, move, total in zip(sources, outs, moves, totals, strict=True):
            centre = builder.call(fused, [k, move, load(source, offset)])
            builder.store(centre, place(builder, out, offset, vector), align=size)
            level = builder.call(rounded, [centre])
            level = builder.select(builder.fcmp_ordered(">", level, zero), level, zero)
            level = builder.select(builder.fcmp_ordered("<", level, tops), level, tops)
            distance = builder.fsub(centre, level)
            square = builder.fmul(distance, distance)
            builder.store(builder.call(fused, [square, d, builder.load(total)]), total)
    sums = [builder.load(total) for total in totals]
    if single:
        low, high = list(range(WIDTH)), list(range(WIDTH, width))
        sums = [_folded(builder, total, total, low, high) for total in sums]
    ahead = _sums(builder, *sums)
    if single:
        ahead = builder.fpext(ahead, FOUR)
    known = builder.load(place(builder, partial, places[0], FOUR), align=8)
    stay = builder.fcmp_ordered("<", builder.fadd(ahead, known), spread(builder, threshold, 4))
    return _write(builder, builder.bitcast(stay, ir.IntType(4)), first, below)


def _write(builder, bits, first, below):
    """Write the places of bits that are set, after `first`, and how many there are; without a branch."""
    table = [[q for q in range(4) if chosen >> q & 1] for chosen in range(16)]
    rows = [ir.Constant(PLACES, row + [0] * (4 - len(row))) for row in table]
    known = cgutils.global_constant(builder, "places", ir.Constant(ir.ArrayType(PLACES, 16), rows))
    row = builder.load(builder.gep(known, [ir.Constant(INTEGER, 0), builder.zext(bits, INTEGER)]))
    target = place(builder, below, ir.Constant(INTEGER, 0), PLACES)
    builder.store(builder.add(row, spread(builder, first, 4)), target, align=8)
    return builder.zext(builder.ctpop(bits), INTEGER)


def _folded(builder, one, two, first, second):
    """The numbers of two vectors at some places, plus those at others."""
    left, right = (
        builder.shuffle_vector(one, two, ir.Constant(ir.VectorType(ir.IntType(32), len(at)), at))
        for at in (first, second)
    )
    return builder.fadd(left, right)


def _sums(builder, a, b, c, d):
    """The sums of four vectors in one: two numbers of each at a time, which takes half the steps of one by one."""
    even, odd = [0, 8, 2, 10, 4, 12, 6, 14], [1, 9, 3, 11, 5, 13, 7, 15]
    pairs = _folded(builder, a, b, even, odd), _folded(builder, c, d, even, odd)
    fours = _folded(builder, *pairs, [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15])
    return _folded(builder, fours, fours, [0, 1, 2, 3], [4, 5, 6, 7])


move_four: Any = _move_four
