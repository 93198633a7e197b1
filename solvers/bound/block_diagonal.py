"""The layer's block-diagonal D below H for quantization: blocks that an exact search can solve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pvq.bounds.gram import FloatArray, Gram, IntArray
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Block
from pvq.bounds.stages import stage

from ..bnb.plan import layer_order
from ..kernels.blas import fits, inverse_if_positive
from ..limits import as_time_allows
from ..options import Clock
from ..relax.ascent import starting_diagonal
from .passes import FEW, MANY, frozen, largest_blocks

WHOLE = 60.0
"""Inverses of H by LAPACK that many passes take as long as: 43 at 1152 inputs, where few take as long as 12."""

RCOND = 1e-12
"""Singular values of H, as parts of the largest, that count as 0 in Newton's direction: its rounding."""


@dataclass(frozen=True, eq=False)
class Blocks:
    """Disjoint blocks of inputs, the matrix of D on each, and what rows need of them."""

    below: Below
    grams: tuple[Gram, ...]
    """D_b as Gram matrices: what an exact search prepares for a block is kept there."""

    @staticmethod
    def of(inputs: Sequence[IntArray], parts: Sequence[FloatArray]) -> Blocks:
        """The matrices on these inputs."""
        below = Below(
            np.zeros(sum(map(len, inputs))), tuple(Block(b, part) for b, part in zip(inputs, parts, strict=True))
        )
        return Blocks(below, tuple(Gram(frozen(part), rank=len(part)) for part in parts))

    @property
    def inputs(self) -> list[IntArray]:
        """Inputs of each block."""
        return [block.inputs for block in self.below.blocks]


@dataclass(frozen=True, eq=False)
class LayerBlocks(Blocks):
    """Those of all rows of a layer."""

    direction: FloatArray
    """(n, n) H^-1 D: turns u* - v into the Newton direction of the concave bound in v."""


def on_block(problem: Problem, inputs: IntArray, gram: Gram, shift: np.ndarray | float = 0.0) -> Problem:
    """The row (w - shift) on the grid of some inputs, with the matrix of D there."""
    return Problem(problem.weight[inputs] - shift, gram, problem.levels.take(inputs))


def block_diagonal(gram: Gram, size: int) -> LayerBlocks:
    """Blocks of at most `size` inputs that are consecutive in V-BLAST order, with D nearly largest.

    Largest means: sum over blocks of m det(D_b)^(1/m), since min over a grid of (w - x)' D_b (w - x) is on average
    G m det(D_b)^(1/m) step^2 with G between 1 / 12 (one input) and 1 / (2 pi e) (Zador; Conway & Sloane, "Sphere
    Packings, Lattices and Groups", chapter 2). For how, see `largest_blocks`.
    """
    return as_time_allows(gram, block_diagonal, lambda clock: _blocks(gram, size, clock), size)


def _blocks(gram: Gram, size: int, clock: Clock) -> tuple[LayerBlocks, bool]:
    h, n = gram.matrix, len(gram)
    order = layer_order(gram)
    stage(f"blocks of {size} inputs below H")
    blocks = [np.sort(block) for block in np.array_split(order, -(-n // size))]
    whole = fits(gram, WHOLE, clock.left)
    final = _largest(h, blocks, clock, MANY if whole else FEW)
    if final is None:  # H is singular to working precision: a diagonal is always regular
        d = starting_diagonal(h)
        final = [np.diag(d[b]) for b in blocks]
    made = Blocks.of(blocks, final)
    found = LayerBlocks(made.below, made.grams, _newton(gram, blocks, final))
    return found, whole and clock.ended() is None


def _newton(gram: Gram, blocks: list[IntArray], parts: list[FloatArray]) -> FloatArray:
    """(n, n) H^-1 D, by the eigenvectors of H whose eigenvalues are more than rounding."""

    def eigenvectors() -> tuple[FloatArray, FloatArray]:
        values, vectors = np.linalg.eigh(gram.matrix)
        some = values > RCOND * values[-1]
        return values[some], np.ascontiguousarray(vectors[:, some])

    values, vectors = gram.memo(_newton, eigenvectors)
    across = np.empty((len(values), len(gram)))
    for b, part in zip(blocks, parts, strict=True):
        across[:, b] = vectors[b].T @ part
    return np.asarray((vectors / values) @ across, dtype=np.float64)


def _largest(h: FloatArray, blocks: list[IntArray], clock: Clock, barriers: FloatArray) -> list[FloatArray] | None:
    """D_b of each block after the passes; None where float64 does not carry them."""
    order, ends = np.concatenate(blocks), np.cumsum([len(b) for b in blocks]).tolist()
    slices = [slice(end - len(b), end) for end, b in zip(ends, blocks, strict=True)]
    side_by_side = np.ascontiguousarray(h[np.ix_(order, order)])
    p = inverse_if_positive(side_by_side.copy())
    return None if p is None else largest_blocks(side_by_side, p, slices, clock, barriers)
