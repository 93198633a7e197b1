"""Lower bounds for quantized rows of middling size: some inputs may take any value, the others are searched.

Minimised over real values of the inputs R, e is the error of the others, S, with C = H_SS - H_SR H_RR^-1 H_RS
for H; so the minimum over the grid of S alone is a lower bound. In the words of a proof, D is C in the block S and
0 elsewhere, at v = 0.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pvq.bounds.gram import FloatArray, Gram
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Block, Enumeration, Split

from ..base import Clock, Options
from ..bnb.enumeration import prepare_grid, solve_grid
from ..bnb.plan import layer_order
from ..relax.ascent import positive_inverse
from ..relax.bounded import Bounded
from ..result import Reason
from .block_diagonal import on_block
from .passes import BLOCKS_SAFE, frozen, is_regular, symmetric

SIZES = (80, 86, 92, 98, 104)
"""Inputs that are searched, in turn; 6 more take GROWTH times as long."""

GROWTH = 3

LONGEST = 160
"""Inputs beyond which blocks give more: at 192 and 4 bits .52 of the upper bound, with 96 inputs searched .41."""

NODES = 3_500_000
"""Nodes of a search, a tenth of a second; a verifier's own search takes a few more."""

GAP = 0.01
"""Relative gap of the search."""


def searched_block(gram: Gram, size: int) -> tuple[Below, Gram] | None:
    """D with C for the `size` inputs of largest conditional variance, and C; None where H is too near singular."""

    def make() -> tuple[Below, Gram] | None:
        h, n = gram.matrix, len(gram)
        ok, p = positive_inverse(h, np.zeros(n))
        inputs = np.sort(layer_order(gram)[-size:])
        if not ok:
            return None
        part = symmetric(np.linalg.inv(p[np.ix_(inputs, inputs)]) * (1 - BLOCKS_SAFE))
        without = h.copy()
        without[np.ix_(inputs, inputs)] -= part
        if not is_regular(part) or not positive_inverse(without, np.zeros(n))[0]:
            return None
        return Below(np.zeros(n), (Block(inputs, part),)), Gram(frozen(part), rank=size)

    return gram.memo(searched_block, make, size)


def _sizes(problem: Problem) -> list[int]:
    return [size for size in SIZES if size < problem.n <= LONGEST]


def prepare(problem: Problem) -> None:
    """What all rows of the Gram matrix share."""
    for size in _sizes(problem):
        found = searched_block(problem.gram, size)
        if found is not None:
            prepare_grid(on_block(problem, found[0].blocks[0].inputs, found[1]))


def bound_row(problem: Problem, x: FloatArray, upper: float, options: Options, clock: Clock) -> Bounded:
    """The best lower bound of a row; see `Bounded`."""
    lower, proof, nodes = 0.0, None, 0
    for size in _sizes(problem):
        found = searched_block(problem.gram, size)
        if found is None or clock.ended() is not None:
            break
        below, gram = found
        inputs = below.blocks[0].inputs
        limits = replace(options, gap=GAP, node_limit=NODES, time_limit=clock.limit(0.05), report=None)
        outcome = solve_grid(on_block(problem, inputs, gram), limits, x[inputs])
        nodes += outcome.nodes
        if outcome.reason is not Reason.FINISHED or not isinstance(outcome.proof, Enumeration):
            break
        if outcome.lower > lower:
            lower, proof = outcome.lower, Split(below, np.zeros(problem.n), (outcome.proof,))
        if outcome.nodes > NODES / GROWTH:
            break
    return Bounded(lower, proof, nodes)
