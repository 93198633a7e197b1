"""A few steps of branching on top of the relaxation of a pruned row: a small tree, written down as its proof."""

from __future__ import annotations

from dataclasses import replace

from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Tree

from ..base import Clock, Options
from ..bnb.masks import prepare_masks, solve_masks
from ..bnb.proof_tree import proof_of_optimum

INPUTS = 128
"""Rows of at most so many inputs are branched on: a node takes milliseconds there."""

WORK, MOST = 400_000, 500
"""Nodes of the search are WORK / inputs^2, and at most so many: a tenth of a second, and a proof of a megabyte."""

LOWERED = 1e-6
"""The tree is grown for this much less than what the search found, so that rounding cannot cost a leaf."""


def prepare(problem: Problem) -> None:
    """Compile the search if the row is one for it."""
    if problem.n <= INPUTS:
        prepare_masks(problem)


def branch(
    problem: Problem, x: FloatArray, known: float, options: Options, clock: Clock
) -> tuple[float, Tree] | None:
    """A lower bound of a row with its tree, None where it is no better than what is known.

    Parameters
    ----------
    problem : a row without dead inputs, with re-optimised kept weights.
    x : (n,) feasible point.
    known : lower bound that the relaxation gave.
    """
    if problem.n > INPUTS or clock.ended() is not None:
        return None
    left = None if options.time_limit is None else max(0.0, clock.left)
    nodes = min(MOST, WORK // problem.n**2, options.node_limit or MOST)
    found = solve_masks(problem, replace(options, time_limit=left, node_limit=nodes), x)
    lower = min(found.lower, problem.error(x)) * (1 - LOWERED)
    if lower <= known or clock.ended() is not None:
        return None
    tree = proof_of_optimum(problem, lower)
    return None if tree is None else (lower, tree)
