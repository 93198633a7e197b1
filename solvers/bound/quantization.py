"""Lower bounds for quantized rows of any size: exact blocks, shifted against each other by ascent in v.

With M = H - D, D block-diagonal, e(x) is at least, for any v,

    f(v) = -v'Mv + sum_b min over the grid of [ u_b' D_b u_b + 2 (Mv)_b' u_b ],

and the minimum of a block is that of (t - x)' D_b (t - x) - g' D_b^-1 g with g = (Mv)_b and t = w_b - D_b^-1 g.
f is concave with supergradient 2 M (u* - v). For fixed minimisers u* it is quadratic, and Newton's direction is
H^-1 D (u* - v); the minimisers change on the way, so steps are parts of it, from an average of u*.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from pvq.bounds.gram import FloatArray, Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Enumeration, Proof, Split

from ..base import Clock, Options
from ..bnb.enumeration import prepare_grid, solve_grid
from ..kernels.blas import fits
from ..limits import Pace, as_time_allows
from ..relax.bounded import Bounded
from ..relax.climb import climb
from ..result import Outcome, Reason
from .batch.layer import LongLayer, long_layer
from .batch.quantized import bound_rows
from .block_diagonal import WHOLE, Blocks, LayerBlocks, block_diagonal, on_block

SIZES = (64, 52, 42, 34, 26)
"""Inputs of a block, the first that searches can do: 48 give 10% less than 64, 80 take 20 times as long."""

EASY = 600_000
"""Nodes per block, at v = 0, with which a size counts as one that searches can do; v makes them harder."""

STEPS, WORK = 14, 25_000_000
"""Evaluations of f, and nodes of all of them, at most: half a second, and as much to verify them."""

NODES = 3_000_000
"""Nodes per block and evaluation: a fifth of a second. Beyond it the block's bound is that of its frontier."""

ROUGH = 0.04
"""Relative gap of the blocks while v moves; a search that stops there needs a third of the nodes."""


SHORT = 60.0
"""Inverses of H that one more size takes as long as, passes and tries. Where less time is left it is the least."""

TRIED = 2
"""Made rows that a size of blocks is tried on."""

EVEN = 1e-9
"""Levels are evenly spaced if they are but for this part of the largest."""


@dataclass(frozen=True, eq=False)
class BlockValue:
    """f at some v."""

    v: FloatArray
    bound: float
    minimiser: FloatArray
    """(n,) u*."""
    proofs: tuple[Proof | None, ...]
    lowers: tuple[float, ...]
    """Of the blocks."""
    nodes: int

    def joined(self, other: BlockValue) -> BlockValue:
        """The better of both for each block; `other` is another search at the same D and v."""
        pairs = zip(self.lowers, other.lowers, strict=True)
        first = [
            a > b or not isinstance(proof, Enumeration) for (a, b), proof in zip(pairs, other.proofs, strict=True)
        ]
        proofs = tuple(a if one else b for one, a, b in zip(first, self.proofs, other.proofs, strict=True))
        lowers = tuple(a if one else b for one, a, b in zip(first, self.lowers, other.lowers, strict=True))
        bound = self.bound + sum(b - a for a, b in zip(self.lowers, lowers, strict=True))
        return BlockValue(self.v, bound, other.minimiser, proofs, lowers, other.nodes)

    def split(self, blocks: Blocks) -> Split | None:
        """The proof, None where a block's search did not end."""
        proofs = [proof for proof in self.proofs if isinstance(proof, Enumeration)]
        return Split(blocks.below, self.v, tuple(proofs)) if len(proofs) == len(self.proofs) else None


def layer_blocks(problem: Problem) -> LayerBlocks:
    """The layer's D in blocks of the largest size whose searches end.

    That is judged by made rows on a grid with as many levels, evenly spaced or not as those of the row: so it is
    the same whichever row of the layer asks first.
    """
    gram, levels = problem.gram, problem.levels.levels
    count = levels.shape[1]
    line = levels[:, :1] + (levels[:, -1:] - levels[:, :1]) * np.linspace(0.0, 1.0, count)
    even = bool((np.abs(levels - line) <= EVEN * np.abs(levels).max(axis=1, keepdims=True)).all())
    return as_time_allows(gram, layer_blocks, lambda clock: _choose(gram, count, even, clock), SIZES, count, even)


def _choose(gram: Gram, count: int, even: bool, clock: Clock) -> tuple[LayerBlocks, bool]:
    tries, whole = _made_rows(gram, count, even), True
    for size in SIZES:
        if not fits(gram, SHORT, clock.left):
            size = SIZES[-1]
        whole = whole and fits(gram, WHOLE, clock.left)
        blocks = block_diagonal(gram, size)
        if size in (SIZES[0], SIZES[-1]):  # compiles what tries that end soon do not reach
            prepare_grid(on_block(tries[0], blocks.inputs[0], blocks.grams[0]))
        if size == SIZES[-1] or all(_is_easy(row, blocks, clock) for row in tries):
            break
    return blocks, whole and clock.ended() is None


def _is_easy(problem: Problem, blocks: Blocks, clock: Clock) -> bool:
    """Whether the searches of all blocks end, at v = 0."""
    limits = Options(time_limit=clock.limit(0.0), gap=ROUGH, node_limit=EASY)
    rows = (on_block(problem, b, gram) for b, gram in zip(blocks.inputs, blocks.grams, strict=True))
    return all(solve_grid(row, limits, None).reason is Reason.FINISHED for row in rows)


def _made_rows(gram: Gram, count: int, even: bool) -> list[Problem]:
    """Rows of weights that are anywhere between the first and the last level, and half a step beyond."""
    line = np.linspace(-1.0, 1.0, count)
    levels = line if even else np.sign(line) * line**2  # as floating-point formats and quantiles, dense at 0
    grid = Grid(levels[None].copy(), np.zeros(len(gram), np.int64))
    rng = np.random.default_rng(0)
    end = 1.0 + 1.0 / max(count - 1, 1)
    return [Problem(rng.uniform(-end, end, len(gram)), gram, grid) for _ in range(TRIED)]


def prepare(problem: Problem) -> LongLayer | None:
    """What rows of a layer share: what the batch needs, None where there is one block, or H is singular."""
    return long_layer(problem.gram) if len(layer_blocks(problem).grams) > 1 else None


def bound_row(problem: Problem, x: FloatArray, upper: float, options: Options, clock: Clock) -> Bounded:
    """The best value of f found within STEPS evaluations, WORK nodes and the time; see `Bounded`.

    Large blocks have nodes for few steps. The batch takes its steps with small ones in a fiftieth of the time, and
    the ascent begins at its v; what it has proven is the least that the row has.
    """
    blocks, start, place = layer_blocks(problem), np.zeros(problem.n), None
    least, found = Bounded(0.0), None
    if clock.ended() is None:
        found, place = _alone(problem, x, options, clock)
    if found is not None and isinstance(found.proof, Split) and found.lower <= upper:
        least = Bounded(found.lower, found.proof, found.nodes, device=place)  # else rounding is more than its gap
        if found.proof.blocks:  # else it is the v of clamped inputs, where blocks are far below 0
            start = found.proof.v
    if least.lower >= upper * (1 - options.gap):
        return least
    best = ascend(problem, blocks, upper, options, clock, start)
    if clock.ended() is None:
        exact = evaluate(problem, blocks, best.v, best.minimiser, options.gap, options, clock)
        best = max(best, exact, key=lambda value: value.bound)
    if least.lower > best.bound:
        return least
    return Bounded(best.bound, best.split(blocks), best.nodes, device=place)


def _alone(problem: Problem, x: FloatArray, options: Options, clock: Clock) -> tuple[Outcome | None, str | None]:
    """What the batch says of this row, None where there is none; where it was searched, if that was asked for."""
    place = None
    if options.device != "cpu" and len(layer_blocks(problem).grams) > 1:
        from .batch.on_gpu import bound_on_gpu  # loads what a GPU takes

        outcomes, place = bound_on_gpu([problem], options, [x], clock)
        if outcomes is not None:
            return outcomes[0], place
    layer = prepare(problem)
    return (None if layer is None else bound_rows([problem], layer, options, [x], clock)[0]), place


def ascend(
    problem: Problem, blocks: LayerBlocks, upper: float, options: Options, clock: Clock, v: FloatArray
) -> BlockValue:
    """The best value met from v on."""
    spent = 0

    def at(v: FloatArray, best: BlockValue | None) -> BlockValue:
        nonlocal spent
        found = evaluate(problem, blocks, v, best.minimiser if best else None, ROUGH, options, clock)
        spent += found.nodes
        return found

    pace = Pace(clock)
    return climb(
        at(v, None),
        at,
        lambda _, r: blocks.direction @ r,
        STEPS - 1,
        lambda best: pace.ended() or spent >= WORK or best.bound >= upper * (1 - options.gap),
    )


def evaluate(
    problem: Problem,
    blocks: Blocks,
    v: FloatArray,
    start: FloatArray | None,
    gap: float,
    options: Options,
    clock: Clock,
    most: int = NODES,
) -> BlockValue:
    """f(v), each block searched to a relative gap, for so many nodes at most.

    start : (n,) a u whose points the searches begin with.
    """
    w = problem.weight
    g = problem.hessian @ v
    for b, gram in zip(blocks.inputs, blocks.grams, strict=True):
        g[b] -= gram.matrix @ v[b]
    total, u, visited = -float(v @ g), np.empty(problem.n), 0
    proofs: list[Proof | None] = []
    lowers: list[float] = []
    limits = replace(options, gap=gap, node_limit=most, time_limit=clock.limit(0.05), report=None)
    for b, gram in zip(blocks.inputs, blocks.grams, strict=True):
        shift = np.linalg.solve(gram.matrix, g[b])
        sub = on_block(problem, b, gram, shift)
        found = solve_grid(sub, limits, None if start is None else w[b] + start[b])
        assert found.x is not None
        lowers.append(found.lower)
        total += found.lower - float(g[b] @ shift)
        u[b] = found.x - w[b]
        proofs.append(found.proof)
        visited += found.nodes
    return BlockValue(v, total, u, tuple(proofs), tuple(lowers), visited)
