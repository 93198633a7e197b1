"""The layer's block-diagonal D below H for quantization: blocks that an exact search can solve."""

from __future__ import annotations

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
from ..relax.ascent import positive_inverse, starting_diagonal
from .passes import frozen, is_regular, largest_blocks, symmetric

SWEEPS = 24
"""Passes over the blocks; 40 gain 0.5%."""

WHOLE = 250.0
"""Inverses of H by LAPACK that they take as long as. `passes` does with a tenth of the time."""

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
    return as_time_allows(gram, block_diagonal, lambda clock: _blocks(gram, size, clock), size)


def _blocks(gram: Gram, size: int, clock: Clock) -> tuple[Blocks, bool]:
    h, n = gram.matrix, len(gram)
    order = layer_order(gram)
    stage(f"blocks of {size} inputs below H")
    blocks = [np.sort(block) for block in np.array_split(order, -(-n // size))]
    whole = fits(gram, WHOLE, clock.left)
    final = _ascent(h, blocks) if whole else _at_once(h, blocks, clock)
    if final is None:  # H is singular to working precision: a diagonal is always regular
        d = starting_diagonal(h)
        final = [np.diag(d[b]) for b in blocks]
    below = Below(np.zeros(n), tuple(Block(b, part) for b, part in zip(blocks, final, strict=True)))
    grams = tuple(Gram(frozen(part), rank=len(part)) for part in final)
    return Blocks(below, grams, _newton(gram, blocks, final)), whole


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


def _ascent(h: FloatArray, blocks: list[IntArray]) -> list[FloatArray] | None:
    """D_b of each block after all passes; None where float64 does not carry them."""
    shrink, parts = SAFE, _passes(h, blocks)
    while shrink <= GIVEN_UP:
        final: list[FloatArray] = [symmetric(part * (1 - shrink)) for part in parts]
        if not all(is_regular(part) for part in final):
            return None
        if inverse_without(h, blocks, final)[0]:
            return final
        shrink *= COARSER
    return None


def _at_once(h: FloatArray, blocks: list[IntArray], clock: Clock) -> list[FloatArray] | None:
    """The same after the few passes that there is time for."""
    order, ends = np.concatenate(blocks), np.cumsum([len(b) for b in blocks]).tolist()
    slices = [slice(end - len(b), end) for end, b in zip(ends, blocks, strict=True)]
    side_by_side = np.ascontiguousarray(h[np.ix_(order, order)])
    p = inverse_if_positive(side_by_side.copy())
    return None if p is None else largest_blocks(side_by_side, p, slices, clock)


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


def inverse_without(h: FloatArray, blocks: list[IntArray], parts: list[FloatArray]) -> tuple[bool, FloatArray]:
    """(H - D)^-1, and whether H - D is positive definite."""
    m = h.copy()
    for b, part in zip(blocks, parts, strict=True):
        m[np.ix_(b, b)] -= part
    return positive_inverse(m, np.zeros(len(h)))


def _root_det(part: FloatArray) -> float:
    return float(np.exp(np.linalg.slogdet(part)[1] / len(part)))
