# mypy: disable-error-code="no-untyped-call,call-arg"
"""What the kernel asks of a GPU, as numba.cuda compiles it; importing this takes numba-cuda, but no GPU."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import boolean, cuda, float32, int32, int64, types, uint8, uint32, uint64
from numba.core import cgutils
from numba.cuda import libdevice
from numba.cuda.extending import intrinsic

LETTER = {"float32": "f", "int32": "r", "uint8": "c"}
"""Register of a number, in the words of inline assembly."""


def _pointer(context: Any, builder: Any, kinds: Any, array: Any, index: Any) -> Any:
    """Address of an element of a flat array."""
    place = context.cast(builder, index, kinds[1], types.uint64)
    structure = context.make_array(kinds[0])(context, builder, value=array)
    return cgutils.get_item_pointer(context, builder, kinds[0], structure, [place], wraparound=False)


def _load(how: str) -> Any:
    """A load that the compiler neither moves nor leaves out: `cuda.ldcg` has no side effect in its eyes."""

    @intrinsic
    def load(typing: Any, array: Any, index: Any) -> Any:
        bits, letter = array.dtype.bitwidth, LETTER[str(array.dtype)]

        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            pointer = _pointer(context, builder, signature.args, *arguments)
            kind = ir.FunctionType(context.get_value_type(array.dtype), [pointer.type])
            words = f"ld.{how}.b{bits} $0, [$1];"
            inline = ir.InlineAsm(kind, words, f"={letter},l,~{{memory}}", side_effect=True)
            return builder.call(inline, [pointer])

        return array.dtype(array, index), code

    return load


@intrinsic
def shared_address(typing: Any, array: Any, index: Any) -> Any:
    """The 32-bit address of an element of shared memory."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, signature.args, *arguments)
        kind = ir.FunctionType(ir.IntType(32), [pointer.type])
        words = "{ .reg .u64 t; cvta.to.shared.u64 t, $1; cvt.u32.u64 $0, t; }"
        return builder.call(ir.InlineAsm(kind, words, "=r,l"), [pointer])

    return types.uint32(array, index), code


@intrinsic
def load_four(typing: Any, address: Any) -> Any:
    """Four float32 of shared memory in one instruction; the address is a multiple of 16."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.LiteralStructType([ir.FloatType()] * 4)
        words = "ld.shared.v4.f32 {$0, $1, $2, $3}, [$4];"
        inline = ir.InlineAsm(
            ir.FunctionType(kind, [ir.IntType(32)]), words, "=f,=f,=f,=f,r,~{memory}", side_effect=True
        )
        four = builder.call(inline, arguments)
        return context.make_tuple(
            builder, signature.return_type, [builder.extract_value(four, q) for q in range(4)]
        )

    return types.UniTuple(types.float32, 4)(types.uint32), code


def inlined(function: Any) -> Any:
    """A function of the device, copied to where it is called."""
    return cuda.jit(function, device=True, forceinline=True)


GPU = SimpleNamespace(
    cuda=cuda,
    boolean=boolean,
    float32=float32,
    int32=int32,
    int64=int64,
    uint8=uint8,
    uint32=uint32,
    uint64=uint64,
    fma=libdevice.fmaf_rn,
    fma_down=libdevice.fmaf_rd,
    saturate=libdevice.saturatef,
    least=libdevice.fminf,
    most=libdevice.fmaxf,
    root=libdevice.sqrtf,
    as_float=libdevice.int_as_float,
    as_int=libdevice.float_as_int,
    peek=_load("volatile.global"),
    fresh=_load("global.cg"),
    shared_address=shared_address,
    load_four=load_four,
    inlined=inlined,
)
"""The names that `kernel.build` takes."""
