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
from ...kernels.blas import inverse_if_positive, is_positive
from ..block_diagonal import frozen, is_regular, symmetric
from .points import decision_slopes

SIZE = 16
"""Inputs of a block. Blocks of 24 take twice the time for .01 of the upper end more at 2048 inputs and 4 bits."""

PASSES = 6
"""Passes over the blocks: 4 reach 98.1 % of what 60 reach, 6 98.9 %, 12 99.4 %."""

BARRIERS = (3.0, 0.05)
"""Barrier of the first and last pass, relative to the mean of det(D_b)^(1/m)."""

SHARE, LESS = 0.7, 0.8
"""Part of what H allows that the first D takes, and what it is multiplied by where that is lost."""

TURNS = 30
"""Turns of the power iteration that says what H allows."""

TOGETHER = 256
"""Inputs after whose blocks the rest of the inverse is brought up to date by one product."""

SAFE = 1e-7
"""D is shrunk by this much, so that H - D is clearly positive definite."""


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
    def direction(self) -> FloatArray:
        """(n, n) D H^-1: (u* - v) times it is Newton's step for v, rows side by side."""
        out = np.empty_like(self.inverse)
        for at, part in zip(self.slices, self.parts, strict=True):
            out[at] = part @ self.inverse[at]
        return out

    @cached_property
    def below(self) -> Below:
        """D for proofs, in the order of the row's inputs."""
        blocks = []
        for at, part in zip(self.slices, self.parts, strict=True):
            blocks.append(Block(self.order[at], part))
        return Below(np.zeros(len(self.order)), tuple(blocks))


def long_layer(gram: Gram) -> LongLayer | None:
    """The layer's preparation, made once; None where H is singular to working precision."""
    return gram.memo(long_layer, lambda: _prepare(gram.matrix))


def _prepare(h: FloatArray) -> LongLayer | None:
    stage("order of the inputs")
    p = inverse_if_positive(h.copy())
    if p is None:
        return None
    order = vblast(p)
    stage("blocks of inputs below H")
    h, p = np.ascontiguousarray(h[np.ix_(order, order)]), np.ascontiguousarray(p[np.ix_(order, order)])
    ends = np.array_split(np.arange(len(h)), -(-len(h) // SIZE))
    slices = [slice(int(b[0]), int(b[-1]) + 1) for b in ends]
    parts = largest_blocks(h, p, slices)
    if parts is None:
        return None
    stage("plans of the blocks")
    searches, orders = _plans(parts)
    return LongLayer(order, h, p, tuple(map(frozen, parts)), searches, orders)


def largest_blocks(h: FloatArray, p: FloatArray, slices: list[slice]) -> list[FloatArray] | None:
    """D_b with sum m det(D_b)^(1/m) nearly largest and H - D positive definite; None if none is found.

    The ascent of `block_diagonal`, with its exact step for a block; only what blocks still to come need of
    (H - D)^-1 is updated, once for TOGETHER inputs.
    """
    share = SHARE
    while share > 1e-3:
        parts = _passes(h, _first(p, slices, share), slices)
        shrink = SAFE
        while parts is not None and shrink < 1e-2:
            final = [symmetric(part * (1 - shrink)) for part in parts]
            # tested with half of it, so that the proof has the other half for its own rounding
            if is_positive(_without(h, slices, [part * (1 - shrink / 2) for part in parts])):
                return final if all(map(is_regular, final)) else None
            shrink *= 10
        share *= LESS
    return None


def _first(p: FloatArray, slices: list[slice], share: float) -> list[FloatArray]:
    """(P_bb)^-1, the largest D_b alone, scaled to a share of what H allows all of them (power iteration)."""
    alone = [symmetric(np.linalg.inv(p[b, b])) for b in slices]
    roots = [np.linalg.cholesky(part) for part in alone]
    v, largest = np.random.default_rng(0).standard_normal(len(p)), 1.0
    for _ in range(TURNS):
        u = p @ np.concatenate([root @ v[b] for b, root in zip(slices, roots, strict=True)])
        v = np.concatenate([root.T @ u[b] for b, root in zip(slices, roots, strict=True)])
        largest = float(np.linalg.norm(v))
        v /= largest
    return [part * (share / max(largest, 1.0)) for part in alone]


def _without(h: FloatArray, slices: list[slice], parts: list[FloatArray]) -> FloatArray:
    m = h.copy()
    for b, part in zip(slices, parts, strict=True):
        m[b, b] -= part
    return m


def _passes(h: FloatArray, parts: list[FloatArray], slices: list[slice]) -> list[FloatArray] | None:
    """The blocks after all passes; None where H - D is lost."""
    per = max(1, TOGETHER // SIZE)
    for barrier in np.geomspace(*BARRIERS, PASSES):
        p = inverse_if_positive(_without(h, slices, parts))
        if p is None:
            return None
        mean = float(np.mean([_root_det(part) for part in parts]))
        for first in range(0, len(slices), per):
            some = range(first, min(first + per, len(slices)))
            whole = slice(slices[some[0]].start, slices[some[-1]].stop)
            local, steps = p[whole, whole].copy(), np.zeros((whole.stop - whole.start,) * 2)
            for j in some:
                b = slice(slices[j].start - whole.start, slices[j].stop - whole.start)
                most = parts[j] + symmetric(np.linalg.inv(local[b, b]))
                root = _root_det(most)
                if not (root > 0 and np.isfinite(root)):
                    return None
                # at most nine tenths at once: a block whose det is small would be emptied
                new = max(1 - barrier * mean / root, 0.1) * most
                step = new - parts[j]
                parts[j], steps[b, b] = new, step
                gain = np.linalg.solve(np.eye(len(step)) - step @ local[b, b], step)
                local += local[:, b] @ gain @ local[b, :]
            rest = slice(whole.stop, len(h))
            if rest.start < rest.stop:
                gain = np.linalg.solve(np.eye(len(steps)) - steps @ p[whole, whole], steps)
                p[rest, rest] += p[rest, whole] @ (gain @ p[whole, rest])
    return parts


def _root_det(part: FloatArray) -> float:
    return float(np.exp(np.linalg.slogdet(part)[1] / len(part)))


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
