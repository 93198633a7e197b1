# numba and llvmlite have no types for what builds code
# mypy: disable-error-code="no-untyped-call,no-untyped-def"
"""Written-out vector code for products of small matrices: four rows of the result in registers over the whole sum.

LLVM's own loops load and store the result for every few terms and test all pairs of arrays for overlap; at 100
rows that takes more time than the arithmetic. Vectors of 8 are split to what the machine has.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .gram import FloatArray

ROWS, WIDTH = 4, 8
"""Rows of a tile, and numbers in a vector; a tile is one or two vectors wide."""


@intrinsic
def _wide(typingctx, out, across, factors, down, rows, along, count):
    """A tile of ROWS x 2 WIDTH: out[r, j] -= sum over k < count of factors[k, r] rows[k, j].

    out, factors, rows : addresses of their first numbers.   across, down, along : numbers from row to row of each.
    """

    def emit(context, builder, signature, arguments):
        return _emit(builder, *arguments)

    return types.void(*[types.intp] * 7), emit


@intrinsic
def _narrow(typingctx, out, across, factors, down, rows, along, count, columns):
    """`_wide` for the first `columns` <= WIDTH columns; the others are neither read nor written."""

    def emit(context, builder, signature, arguments):
        return _emit(builder, *arguments)

    return types.void(*[types.intp] * 8), emit


@intrinsic
def _address(typingctx, array):
    """Address of an array's first number; `array.ctypes` counts references, which takes as long as a tile."""

    def emit(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.ptrtoint(data, context.get_value_type(types.intp))

    return types.intp(array), emit


def _emit(builder, out, across, factors, down, rows, along, count, columns=None):
    double, whole, bit = ir.DoubleType(), ir.IntType(64), ir.IntType(1)
    vector, lanes = ir.VectorType(double, WIDTH), ir.VectorType(whole, WIDTH)
    mask_type = ir.VectorType(bit, WIDTH)
    suffix = f"v{WIDTH}f64"

    def declare(name, *kinds):
        return cgutils.get_or_insert_function(builder.module, ir.FunctionType(kinds[0], kinds[1:]), name)

    def constant(value):
        return ir.Constant(whole, value)

    def spread(value):
        kind = ir.VectorType(value.type, WIDTH)
        one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH))

    def place(base, kind, offset):
        return builder.inttoptr(builder.add(base, offset), kind.as_pointer())

    fused = declare(f"llvm.fmuladd.{suffix}", vector, vector, vector, vector)
    whole_vectors = columns is None
    vectors = 2 if whole_vectors else 1
    if not whole_vectors:
        steps = ir.Constant(lanes, list(range(WIDTH)))
        mask = builder.icmp_signed("<", steps, spread(columns))
        pointer = vector.as_pointer()
        loading = declare(
            f"llvm.masked.load.{suffix}.p0{suffix}", vector, pointer, ir.IntType(32), mask_type, vector
        )
        storing = declare(
            f"llvm.masked.store.{suffix}.p0{suffix}", ir.VoidType(), vector, pointer, ir.IntType(32), mask_type
        )
    align, nothing = ir.Constant(ir.IntType(32), 8), ir.Constant(vector, [0.0] * WIDTH)

    def load(base, offset):
        at = place(base, vector, offset)
        return builder.load(at, align=8) if whole_vectors else builder.call(loading, [at, align, mask, nothing])

    def store(value, base, offset):
        at = place(base, vector, offset)
        if whole_vectors:
            builder.store(value, at, align=8)
        else:
            builder.call(storing, [value, at, align, mask])

    size = constant(8)
    across, down, along = (builder.mul(step, size) for step in (across, down, along))
    offsets = [
        [builder.add(builder.mul(across, constant(r)), constant(8 * WIDTH * t)) for t in range(vectors)]
        for r in range(ROWS)
    ]
    sums = [[cgutils.alloca_once_value(builder, load(out, offset)) for offset in row] for row in offsets]
    with cgutils.for_range(builder, count) as loop:
        row, factor = builder.mul(along, loop.index), builder.mul(down, loop.index)
        values = [load(rows, builder.add(row, constant(8 * WIDTH * t))) for t in range(vectors)]
        for r in range(ROWS):
            one = builder.load(place(factors, double, builder.add(factor, constant(8 * r))), align=8)
            minus = spread(builder.fneg(one))
            for t in range(vectors):
                builder.store(builder.call(fused, [minus, values[t], builder.load(sums[r][t])]), sums[r][t])
    for r in range(ROWS):
        for t in range(vectors):
            store(builder.load(sums[r][t]), out, offsets[r][t])
    return ir.Constant(ir.IntType(8).as_pointer(), None)


wide: Any = _wide
narrow: Any = _narrow
address: Any = _address


@njit(cache=True, nogil=True)
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
