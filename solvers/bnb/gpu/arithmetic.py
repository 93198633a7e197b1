"""The arithmetic of a step: where rows begin, which value is next, and what a child is bounded by.

`build` takes the functions of a device, see `primitives`; nothing is imported here.
"""

from __future__ import annotations

from typing import Any

MAGIC = 12582912.0
"""1.5 * 2^23: what is added to it is rounded to an integer, ties to even."""


def row_start(i: int) -> int:
    """Where the i numbers of row i begin: rows 1, 2, ... one after the other, each in whole fours."""
    quarter, rest = (i - 1) >> 2, (i - 1) & 3
    return 4 * (quarter + 1) * (2 * quarter + rest)


def build(gpu: Any) -> Any:
    """`row_start` in 32 bits, `value_after` and `child`, for a device."""
    inlined, float32, int32 = gpu.inlined, gpu.float32, gpu.int32
    fma, fma_down, saturate, least_of, most_of = gpu.fma, gpu.fma_down, gpu.saturate, gpu.least, gpu.most
    ZERO, ONE = 0.0, 1.0

    @inlined
    def start_of(i: Any) -> Any:
        quarter, rest = (i - int32(1)) >> int32(2), (i - int32(1)) & int32(3)
        return int32(4) * ((quarter + int32(1)) * (int32(2) * quarter + rest))

    @inlined
    def value_after(s: Any, last: Any, top: Any) -> Any:
        """The value next to `last` (-1: none yet) by distance from s, and whether there is one."""
        near = least_of(most_of((s + float32(MAGIC)) - float32(MAGIC), float32(ZERO)), top)
        side = float32(ONE) if s > near else -float32(ONE)
        o = last - near
        first = -o if o * side > float32(ZERO) else side - o
        first = float32(ZERO) if last < float32(ZERO) else first
        v = near + first
        inside = (v >= float32(ZERO)) & (v <= top)
        second = -first if first * side > float32(ZERO) else side - first
        w = near + second
        return (v, inside) if inside else (w, (w >= float32(ZERO)) & (w <= top))

    @inlined
    def child(
        a: Any, weight: Any, move: Any, centre: Any, total: Any, top: Any, inverse: Any, minus: Any, back: Any
    ) -> Any:
        """The sum with d dist(centre + a move, grid)^2 of one position added, the centre rounded down.

        The nearest value is found with one rounded product more than it takes, so near the middle between two
        the farther one may be taken; see `precision.Precision.relative`.
        """
        e = fma_down(a, move, centre)
        d = e - (fma(saturate(fma(e, inverse, minus)), top, float32(MAGIC)) - back)
        return fma(d * weight, d, total)

    return start_of, value_after, child
