"""What all quantized rows of a long layer share: an order, H^-1, D in small blocks, a plan of every search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from pvq.bounds.gram import FloatArray, Gram, IntArray
from pvq.bounds.proof import Below, Block, Order
from pvq.bounds.stages import stage

from ...bnb.plan import Plan, plan_in_order, vblast
from ...kernels.blas import inverse_if_positive
from ...limits import as_time_allows
from ...options import Clock
from ..passes import FEW, FEWER, frozen, largest_blocks, symmetric
from .points import decision_slopes

SIZE = 16
"""Inputs of a block that a CPU searches. Blocks of 24 take twice the time for .01 of the upper end more at 2048
inputs and 4 bits."""

LONG = 1200
"""Inputs beyond which rows are bounded together: a row of its own takes seconds there, its layer minutes."""

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
    plans: tuple[Plan, ...]
    """The same, block by block."""

    @cached_property
    def orders(self) -> tuple[Order, ...]:
        """The same orders for proofs; one object a block, whatever the row."""
        return tuple(plan.for_proofs for plan in self.plans)

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


def long_layer(gram: Gram, size: int | None = None) -> LongLayer | None:
    """The layer's preparation, made once; None where H is singular to working precision.

    size : inputs of a block, None: SIZE.
    """
    size = SIZE if size is None else size

    def prepared(clock: Clock) -> tuple[LongLayer | None, bool]:
        return _prepare(gram, size, clock), clock.ended() is None

    return as_time_allows(gram, long_layer, prepared, size)


def _prepare(gram: Gram, size: int, clock: Clock) -> LongLayer | None:
    found = gram.memo(_in_order, lambda: _in_order(gram.matrix))
    if found is None:
        return None
    order, h, p = found
    stage("blocks of inputs below H")
    ends = np.array_split(np.arange(len(h)), -(-len(h) // size))
    slices = [slice(int(b[0]), int(b[-1]) + 1) for b in ends]
    parts = largest_blocks(h, p, slices, clock, FEWER if len(h) > VERY_LONG else FEW)
    if parts is None:
        return None
    stage("plans of the blocks")
    plans = tuple(plan_in_order(part, vblast(symmetric(np.linalg.inv(part)))) for part in parts)
    return LongLayer(order, h, p, tuple(map(frozen, parts)), _searches(plans), plans)


def _in_order(h: FloatArray) -> tuple[IntArray, FloatArray, FloatArray] | None:
    """The V-BLAST order, H and H^-1 in it, whatever the size of blocks."""
    stage("order of the inputs")
    p = inverse_if_positive(h.copy())
    if p is None:
        return None
    order = vblast(p)
    return order, np.ascontiguousarray(h[np.ix_(order, order)]), np.ascontiguousarray(p[np.ix_(order, order)])


def _searches(plans: Sequence[Plan]) -> Parts:
    """Orders, factors and proven diagonals of the blocks, for compiled code."""
    size = np.array([len(plan.order) for plan in plans])
    count, most = len(plans), int(size.max())
    found = Parts(
        np.concatenate(([0], np.cumsum(size)[:-1])),
        size,
        np.zeros((count, most), np.int64),
        np.zeros((count, most)),
        np.zeros((count, most, most)),
        np.zeros((count, most + 1, most)),
        np.zeros((count, most, most)),
    )
    for b, plan in enumerate(plans):
        m = len(plan.order)
        found.order[b, :m], found.pivot[b, :m] = plan.order, plan.pivot
        found.slope[b, :m, :m], found.diagonal[b, : m + 1, :m] = plan.slope, plan.diagonal
        found.matrix[b, :m, :m] = plan.hessian
    return found
