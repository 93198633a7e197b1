# numba and llvmlite have no types for what builds code
# mypy: disable-error-code="no-untyped-call,no-untyped-def"
"""Written-out vector code for products of small matrices: four rows of the result in registers over the whole sum.

LLVM's own loops load and store the result for every few terms and test all pairs of arrays for overlap; at 100
rows that takes more time than the arithmetic.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from pvq.bounds.gram import FloatArray

from .apart import BORROWS, inner
from .vector_code import DOUBLE, INTEGER, SUFFIX, VECTOR, WIDTH, declare, place, spread

ROWS = 4
"""Rows of a tile; it is one or two vectors wide."""


@intrinsic
def _wide(typingctx, out, across, factors, down, rows, along, count):
    """A tile of ROWS x 2 WIDTH: out[r, j] -= sum over k < count of factors[k, r] rows[k, j].

    out, factors, rows : addresses of their first numbers.   across, down, along : numbers from row to row of each.
    """

    def emit(context, builder, signature, arguments):
        _emit(builder, *arguments)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 7), emit


@intrinsic
def _narrow(typingctx, out, across, factors, down, rows, along, count, columns):
    """`_wide` for the first `columns` columns, WIDTH at most; the others are neither read nor written."""

    def emit(context, builder, signature, arguments):
        _emit(builder, *arguments)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 8), emit


@intrinsic
def _address(typingctx, array):
    """Address of an array's first number; `array.ctypes` counts references, which takes as long as a tile."""

    def emit(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.ptrtoint(data, context.get_value_type(types.intp))

    return types.intp(array), emit


def _emit(builder, out, across, factors, down, rows, along, count, columns=None):
    def constant(value):
        return ir.Constant(INTEGER, value)

    fused = declare(builder, f"llvm.fmuladd.{SUFFIX}", VECTOR, VECTOR, VECTOR, VECTOR)
    load, store = _whole(builder) if columns is None else _masked(builder, columns)
    starts = [constant(8 * WIDTH * t) for t in range(2 if columns is None else 1)]
    across, down, along = (builder.mul(step, constant(8)) for step in (across, down, along))
    offsets = [[builder.add(builder.mul(across, constant(r)), start) for start in starts] for r in range(ROWS)]
    sums = [[cgutils.alloca_once_value(builder, load(out, offset)) for offset in row] for row in offsets]
    with cgutils.for_range(builder, count) as loop:
        row, factor = builder.mul(along, loop.index), builder.mul(down, loop.index)
        values = [load(rows, builder.add(row, start)) for start in starts]
        for r in range(ROWS):
            at = place(builder, factors, builder.add(factor, constant(8 * r)), DOUBLE)
            minus = spread(builder, builder.fneg(builder.load(at, align=8)))
            for value, total in zip(values, sums[r], strict=True):
                builder.store(builder.call(fused, [minus, value, builder.load(total)]), total)
    for r in range(ROWS):
        for total, offset in zip(sums[r], offsets[r], strict=True):
            store(builder.load(total), out, offset)


def _whole(builder):
    """How a vector is loaded and stored."""

    def load(base, offset):
        return builder.load(place(builder, base, offset), align=8)

    def store(value, base, offset):
        builder.store(value, place(builder, base, offset), align=8)

    return load, store


def _masked(builder, columns):
    """The same for its first `columns` numbers."""
    kind, pointer, short = ir.VectorType(ir.IntType(1), WIDTH), VECTOR.as_pointer(), ir.IntType(32)
    steps = ir.Constant(ir.VectorType(INTEGER, WIDTH), list(range(WIDTH)))
    mask = builder.icmp_signed("<", steps, spread(builder, columns))
    loading = declare(builder, f"llvm.masked.load.{SUFFIX}.p0{SUFFIX}", VECTOR, pointer, short, kind, VECTOR)
    storing = declare(
        builder, f"llvm.masked.store.{SUFFIX}.p0{SUFFIX}", ir.VoidType(), VECTOR, pointer, short, kind
    )
    align, nothing = ir.Constant(short, 8), ir.Constant(VECTOR, [0.0] * WIDTH)

    def load(base, offset):
        return builder.call(loading, [place(builder, base, offset), align, mask, nothing])

    def store(value, base, offset):
        builder.call(storing, [value, place(builder, base, offset), align, mask])

    return load, store


wide: Any = _wide
narrow: Any = _narrow
address: Any = _address


@inner(**BORROWS)
def subtract_product(
    out: FloatArray,
    row: int,
    lo: int,
    hi: int,
    factors: FloatArray,
    column: int,
    rows: FloatArray,
    first: int,
    last: int,
) -> None:
    """out[row:row + 4, lo:hi] -= factors[first:last, column:column + 4]' rows[first:last, lo:hi].

    Rows of every array are contiguous. `out` may share memory with the others where no number that is read is
    written.
    """
    across, down, along = out.strides[0] // 8, factors.strides[0] // 8, rows.strides[0] // 8
    to = address(out) + 8 * (row * across + lo)
    by = address(factors) + 8 * (first * down + column)
    of = address(rows) + 8 * (first * along + lo)
    j, width = 0, hi - lo
    while j + 2 * WIDTH <= width:
        wide(to + 8 * j, across, by, down, of + 8 * j, along, last - first)
        j += 2 * WIDTH
    while j < width:
        narrow(to + 8 * j, across, by, down, of + 8 * j, along, last - first, width - j)
        j += WIDTH
