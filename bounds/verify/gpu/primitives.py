# mypy: disable-error-code="attr-defined,no-untyped-call,call-arg"
"""What the kernel asks of a GPU, as numba.cuda compiles it; importing this takes numba-cuda, but no GPU."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from numba import cuda, float64, int32, int64, uint8, uint64
from numba.cuda import libdevice

ALL = 0xFFFFFFFF
"""Lanes of a warp."""


def inlined(function: Any) -> Any:
    """A function of the device, copied to where it is called."""
    return cuda.jit(function, device=True, forceinline=True)


@inlined
def _lane() -> Any:
    return cuda.threadIdx.x & 31


@inlined
def _warp() -> Any:
    return (int64(cuda.blockIdx.x) * cuda.blockDim.x + cuda.threadIdx.x) >> 5


@inlined
def _meet() -> None:
    """Until all lanes are here and see what the others have written."""
    cuda.syncwarp(ALL)


@inlined
def _across(value: Any, other: Any) -> Any:
    """The value of the lane whose number differs in this bit."""
    return cuda.shfl_xor_sync(ALL, value, other)


@inlined
def _of_first(value: Any) -> Any:
    return cuda.shfl_sync(ALL, value, 0)


@inlined
def _take(counter: Any) -> Any:
    """What a counter has been, one more from now on."""
    return int32(cuda.atomic.add(counter, 0, 1))


GPU = SimpleNamespace(
    float64=float64,
    int32=int32,
    int64=int64,
    uint8=uint8,
    uint64=uint64,
    least=libdevice.fmin,
    most=libdevice.fmax,
    size=libdevice.fabs,
    root=libdevice.sqrt,
    floor=libdevice.floor,
    ceiling=libdevice.ceil,
    lane=_lane,
    warp=_warp,
    meet=_meet,
    across=_across,
    of_first=_of_first,
    take=_take,
    inlined=inlined,
)
"""The names that `kernel.build` takes."""
