"""What all quantized rows of a long layer share: an order, H^-1, D in small blocks, a plan of every search."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from pvq.bounds.gram import FloatArray, Gram, IntArray
from pvq.bounds.proof import Below, Block, Order
from pvq.bounds.stages import stage

from ...bnb.plan import plan_in_order, vblast
from ...kernels.blas import inverse_if_positive
from ...limits import as_time_allows
from ...options import Clock
from ..passes import FEW, FEWER, frozen, largest_blocks, symmetric
from .points import decision_slopes

SIZE = 16
"""Inputs of a block. Blocks of 24 take twice the time for .01 of the upper end more at 2048 inputs and 4 bits."""

VERY_LONG = 3000
"""Inputs beyond which D gets fewer passes: one takes 2.2 s at 4096 inputs."""


class Parts(NamedTuple):
    """The searches of all blocks, blocks side by side, each in its own order; for compiled code."""

    start: IntArray
    """(blocks,) first position of each block."""
    size: IntArray
    """(blocks,)."""
    order: IntArray
    """(blocks, SIZE) position within the block of what is decided at each level, the last level first."""
    pivot: FloatArray
    """(blocks, SIZE)."""
    slope: FloatArray
    """(blocks, SIZE, SIZE)."""
    diagonal: FloatArray
    """(blocks, SIZE + 1, SIZE) proven diagonals of the levels."""
    matrix: FloatArray
    """(blocks, SIZE, SIZE) D_b, in the order of the search."""


@dataclass(frozen=True, eq=False)
class LongLayer:
    """A Gram matrix in V-BLAST order with D in blocks of consecutive positions."""

    order: IntArray
    """(n,) input at each position."""
    hessian: FloatArray
    """(n, n) H in that order."""
    inverse: FloatArray
    """(n, n) H^-1 in that order."""
    parts: tuple[FloatArray, ...]
    """D_b of each block."""
    searches: Parts
    orders: tuple[Order, ...]
    """The same orders for proofs; one object a block, whatever the row."""

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """Positions of each block."""
        ends = np.cumsum([len(part) for part in self.parts]).tolist()
        return tuple(slice(end - len(part), end) for end, part in zip(ends, self.parts, strict=True))

    @cached_property
    def slopes(self) -> FloatArray:
        """(n, n) what decisions in this order move."""
        return decision_slopes(self.hessian)

    @cached_property
    def direction(self) -> np.ndarray:
        """(n, n) D H^-1: (u* - v) times it is Newton's step for v, of which a part is taken, so in 32 bits."""
        out = np.empty(self.inverse.shape, np.float32)
        with np.errstate(over="ignore"):
            for at, part in zip(self.slices, self.parts, strict=True):
                out[at] = part @ self.inverse[at]
        if np.isfinite(out).all():
            return out
        of_each = zip(self.slices, self.parts, strict=True)  # inputs of very different sizes
        return np.concatenate([part @ self.inverse[at] for at, part in of_each])

    @cached_property
    def below(self) -> Below:
        """D for proofs, in the order of the row's inputs."""
        blocks = []
        for at, part in zip(self.slices, self.parts, strict=True):
            blocks.append(Block(self.order[at], part))
        return Below(np.zeros(len(self.order)), tuple(blocks))


def long_layer(gram: Gram) -> LongLayer | None:
    """The layer's preparation, made once; None where H is singular to working precision."""

    def prepared(clock: Clock) -> tuple[LongLayer | None, bool]:
        return _prepare(gram.matrix, clock), clock.ended() is None

    return as_time_allows(gram, long_layer, prepared)


def _prepare(h: FloatArray, clock: Clock) -> LongLayer | None:
    stage("order of the inputs")
    p = inverse_if_positive(h.copy())
    if p is None:
        return None
    order = vblast(p)
    stage("blocks of inputs below H")
    h, p = np.ascontiguousarray(h[np.ix_(order, order)]), np.ascontiguousarray(p[np.ix_(order, order)])
    ends = np.array_split(np.arange(len(h)), -(-len(h) // SIZE))
    slices = [slice(int(b[0]), int(b[-1]) + 1) for b in ends]
    parts = largest_blocks(h, p, slices, clock, FEWER if len(h) > VERY_LONG else FEW)
    if parts is None:
        return None
    stage("plans of the blocks")
    searches, orders = _plans(parts)
    return LongLayer(order, h, p, tuple(map(frozen, parts)), searches, orders)


def _plans(parts: list[FloatArray]) -> tuple[Parts, tuple[Order, ...]]:
    """An order, factors and proven diagonals of every block."""
    count, most = len(parts), max(map(len, parts))
    size = np.array([len(part) for part in parts])
    found = Parts(
        np.concatenate(([0], np.cumsum(size)[:-1])),
        size,
        np.zeros((count, most), np.int64),
        np.zeros((count, most)),
        np.zeros((count, most, most)),
        np.zeros((count, most + 1, most)),
        np.zeros((count, most, most)),
    )
    orders = []
    for b, part in enumerate(parts):
        m = len(part)
        plan = plan_in_order(part, vblast(symmetric(np.linalg.inv(part))))
        found.order[b, :m], found.pivot[b, :m] = plan.order, plan.pivot
        found.slope[b, :m, :m], found.diagonal[b, : m + 1, :m] = plan.slope, plan.diagonal
        found.matrix[b, :m, :m] = plan.hessian
        orders.append(plan.for_proofs)
    return found, tuple(orders)
