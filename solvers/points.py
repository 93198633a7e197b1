"""Rows that need no search, and a feasible point of any other."""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import FloatArray, Gram
from pvq.bounds.problem import Problem, optimal_on_support
from pvq.bounds.proof import Below, Split

from .result import Outcome


def trivial(problem: Problem) -> Outcome | None:
    """Answer a row that needs no search: nothing may be kept, or everything may."""
    sparsity = problem.sparsity
    if sparsity is None:
        return None
    zero = np.zeros(problem.n)
    if not sparsity.keep.any():
        proof = Split(nothing_below(problem.gram), -problem.weight)
        info = {"trivial": "no input may be kept"}
        return Outcome(zero, problem.certified(zero).lower, info=info, proof=proof)
    if problem.grid is None and not sparsity.binding:
        proof = Split(nothing_below(problem.gram), zero)
        info = {"trivial": "every input may be kept"}
        return Outcome(problem.weight.copy(), 0.0, info=info, proof=proof)
    return None


def nothing_below(gram: Gram) -> Below:
    """D = 0, one object for all rows: that H itself is positive semidefinite is shown once."""
    return gram.memo(nothing_below, lambda: Below(np.zeros(len(gram))))


def fallback_point(problem: Problem) -> FloatArray:
    """A feasible point for any problem: magnitude mask, then round to nearest or least squares."""
    grid, sparsity = problem.grid, problem.sparsity
    if sparsity is None:
        assert grid is not None
        return grid.nearest(problem.weight)
    mask = sparsity.best_mask(problem.weight**2)
    if grid is not None:
        return np.where(mask, grid.nearest(problem.weight), 0.0)
    return optimal_on_support(problem, mask) if sparsity.update else np.where(mask, problem.weight, 0.0)
