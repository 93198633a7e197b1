"""The layer's block-diagonal D below H for quantization: blocks that an exact search can solve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pvq.bounds.gram import FloatArray, Gram, IntArray
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Block
from pvq.bounds.stages import stage

from ..bnb.plan import layer_order
from ..relax.ascent import positive_inverse, starting_diagonal

SWEEPS = 24
"""Passes over the blocks; 40 gain 0.5%."""

BARRIERS = (0.9, 0.01)
"""Barrier of the first and last pass, relative to the mean of det(D_b)^(1/m)."""

SAFE = 1e-7
"""D is shrunk by this much, so that H - D is clearly positive definite."""


START = 0.5
"""Blocks begin at this part of an even share of the least upper bound of each. Chosen, not measured."""

LEFT = 0.1
"""Part of the least upper bound that one step leaves a block: whose det is small would be emptied at once."""

COARSER, GIVEN_UP = 10, 0.5
"""D is shrunk so many times more where H - D fails the test, until a diagonal takes its place."""

RCOND = 1e-12
"""Singular values of H, as parts of the largest, that count as 0 in Newton's direction: its rounding."""

REGULAR = 1e-12
"""Least eigenvalue of a block scaled to unit diagonal; below it the rounding of a search outweighs its bound."""


@dataclass(frozen=True, eq=False)
class Blocks:
    """Disjoint blocks of inputs, the matrix of D on each, and what rows need of them."""

    below: Below
    grams: tuple[Gram, ...]
    """D_b as Gram matrices: what an exact search prepares for a block is kept there."""
    direction: FloatArray
    """(n, n) H^-1 D: turns u* - v into the Newton direction of the concave bound in v."""

    @property
    def inputs(self) -> list[IntArray]:
        """Inputs of each block."""
        return [block.inputs for block in self.below.blocks]


def on_block(problem: Problem, inputs: IntArray, gram: Gram, shift: np.ndarray | float = 0.0) -> Problem:
    """The row (w - shift) on the grid of some inputs, with the matrix of D there."""
    return Problem(problem.weight[inputs] - shift, gram, problem.levels.take(inputs))


def block_diagonal(gram: Gram, size: int) -> Blocks:
    """Blocks of at most `size` inputs that are consecutive in V-BLAST order, with D nearly largest.

    Largest means: sum over blocks of m det(D_b)^(1/m), since min over a grid of (w - x)' D_b (w - x) is on average
    G m det(D_b)^(1/m) step^2 with G between 1 / 12 (one input) and 1 / (2 pi e) (Zador; Conway & Sloane, "Sphere
    Packings, Lattices and Groups", chapter 2). A barrier mu log det(H - D) keeps H - D positive definite. For one
    block, the others fixed, C = D_b + ((H - D)^-1_bb)^-1 is the least upper bound of D_b, and m det^(1/m) +
    mu log det(C - D_b) is stationary where (C - D_b)^-1 mu = det(D_b)^(1/m) D_b^-1: at D_b = C (1 - mu /
    det(C)^(1/m)). Passes over the blocks with a falling barrier take this exact step for each.
    """
    return gram.memo(block_diagonal, lambda: _ascend(gram, size), size)


def _ascend(gram: Gram, size: int) -> Blocks:
    h, n = gram.matrix, len(gram)
    count = -(-n // size)
    order = layer_order(gram)
    stage(f"blocks of {size} inputs below H")
    blocks = [np.sort(block) for block in np.array_split(order, count)]
    shrink = SAFE
    parts = _passes(h, blocks)
    while True:
        final: list[FloatArray] = [symmetric(part * (1 - shrink)) for part in parts]
        regular = all(is_regular(part) for part in final)
        if regular and inverse_without(h, blocks, final)[0]:
            break
        shrink *= COARSER
        if not regular or shrink > GIVEN_UP:  # H is singular to working precision: a diagonal is always regular
            d = starting_diagonal(h)
            final = [np.diag(d[b]) for b in blocks]
            break
    below = Below(np.zeros(n), tuple(Block(b, part) for b, part in zip(blocks, final, strict=True)))
    grams = tuple(Gram(frozen(part), rank=len(part)) for part in final)
    d = np.zeros((n, n))
    for b, part in zip(blocks, final, strict=True):
        d[np.ix_(b, b)] = part
    direction = np.asarray(np.linalg.lstsq(h, d, rcond=RCOND)[0], dtype=np.float64)
    return Blocks(below, grams, direction)


def _passes(h: FloatArray, blocks: list[IntArray]) -> list[FloatArray]:
    """The blocks of D after all passes, or as far as float64 carries them."""
    ok, p = positive_inverse(h, np.zeros(len(h)))
    if not ok:
        return [np.full((len(b), len(b)), np.nan) for b in blocks]
    parts: list[FloatArray] = [symmetric(np.linalg.inv(p[np.ix_(b, b)]) * (START / len(blocks))) for b in blocks]
    for turn in range(SWEEPS):
        fall = BARRIERS[0] * (BARRIERS[1] / BARRIERS[0]) ** (turn / (SWEEPS - 1))
        mean = float(np.mean([_root_det(part) for part in parts]))
        ok, p = inverse_without(h, blocks, parts)
        if not ok:
            break
        try:
            for j, b in enumerate(blocks):
                most = parts[j] + symmetric(np.linalg.inv(p[np.ix_(b, b)]))
                root = _root_det(most)
                if not (root > 0 and np.isfinite(root)):
                    return parts
                new = max(1 - fall * mean / root, LEFT) * most
                step = new - parts[j]
                p += p[:, b] @ np.linalg.solve(np.eye(len(b)) - step @ p[np.ix_(b, b)], step) @ p[b, :]
                parts[j] = new
        except np.linalg.LinAlgError:  # singular to working precision: what is tested afterwards decides
            break
    return parts


def is_regular(part: FloatArray) -> bool:
    """Whether a search can use it: positive definite by more than the rounding of its factor."""
    size = np.sqrt(np.abs(np.diag(part)))
    if not np.isfinite(part).all() or not size.all():
        return False
    return float(np.linalg.eigvalsh(part / np.outer(size, size))[0]) > REGULAR


def inverse_without(h: FloatArray, blocks: list[IntArray], parts: list[FloatArray]) -> tuple[bool, FloatArray]:
    """(H - D)^-1, and whether H - D is positive definite."""
    m = h.copy()
    for b, part in zip(blocks, parts, strict=True):
        m[np.ix_(b, b)] -= part
    return positive_inverse(m, np.zeros(len(h)))


def _root_det(part: FloatArray) -> float:
    return float(np.exp(np.linalg.slogdet(part)[1] / len(part)))


def symmetric(part: np.ndarray) -> FloatArray:
    """The symmetric part: rounding makes an inverse uneven."""
    return np.ascontiguousarray((part + part.T) / 2, dtype=np.float64)


def frozen(part: FloatArray) -> FloatArray:
    """The same array, read-only, as a Gram matrix is."""
    part.setflags(write=False)
    return part
