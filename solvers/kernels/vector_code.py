# numba and llvmlite have no types for what builds code
# mypy: disable-error-code="no-untyped-call,no-untyped-def"
"""What written-out vector code is made of: vectors of 8 numbers, which LLVM splits to what the machine has."""

from __future__ import annotations

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils

WIDTH = 8
"""Numbers in a vector."""

DOUBLE, INTEGER = ir.DoubleType(), ir.IntType(64)
VECTOR = ir.VectorType(DOUBLE, WIDTH)
SUFFIX = f"v{WIDTH}f64"
"""What LLVM's functions of a vector have in their names."""


def declare(builder, name, result, *kinds):
    """One of LLVM's own functions."""
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, kinds), name)


def spread(builder, value, width=WIDTH):
    """A vector with a number in every place."""
    kind = ir.VectorType(value.type, width)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width))


def place(builder, base, offset, kind=VECTOR):
    """Pointer to what lies `offset` bytes after an address."""
    return builder.inttoptr(builder.add(base, offset), kind.as_pointer())
