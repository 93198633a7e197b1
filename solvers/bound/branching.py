"""Branching on top of the relaxation of a pruned row: a tree of a tenth of a second, which is its own proof."""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below

from ..base import Clock, Options
from ..bnb.masks import prepared
from ..bnb.proof_tree import LOWERED, grow
from ..relax.bounded import Bounded

INPUTS = 256
"""Rows of at most so many inputs are branched on: a leaf takes milliseconds there."""

WORK, MOST = 800_000, 500
"""Leaves are WORK / inputs^2, and at most so many: a tenth of a second, and a proof of a megabyte."""


def prepare(problem: Problem) -> None:
    """Layer-wide work."""
    if problem.n <= INPUTS:
        prepared(problem.gram)


def branch(
    problem: Problem, best: FloatArray, upper: float, start: Below, x: FloatArray, options: Options, clock: Clock
) -> Bounded:
    """A lower bound of a row with its tree, 0 for rows that are too long, or where no time is left.

    Parameters
    ----------
    problem : a row without dead inputs, with re-optimised kept weights.
    best, upper : a feasible point (n,) and its error.
    start, x : D of the relaxation, and its point (n,).
    """
    if problem.n > INPUTS or clock.ended() is not None:
        return Bounded(0.0)
    leaves = min(MOST, WORK // problem.n**2, (options.node_limit or 2 * MOST) // 2)
    target = upper - problem.gap_tolerance(best, options.gap) / 2
    bound, tree = grow(problem, start, x, upper, target, leaves, clock)
    return Bounded(min(bound, upper) * (1 - LOWERED), tree) if np.isfinite(bound) else Bounded(0.0)
