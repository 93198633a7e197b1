"""Rows of three inputs, solved once to compile what rows of the same kind need, the verifier included."""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import FloatArray, Gram
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem
from pvq.bounds.sparsity import Sparsity

TINY = 3
"""Inputs of the rows."""


def tiny_rows(problem: Problem) -> list[Problem]:
    """Rows of the same kind, without their pattern too where a relaxation leaves it out."""
    w, gram = np.array([1.0, 0.5, 0.25]), Gram.from_array(np.eye(TINY) + 0.5)
    grid = None if problem.grid is None else Grid(_levels(problem.grid), np.zeros(TINY, np.int64))
    if problem.sparsity is None:
        return [Problem(w, gram, grid)]
    given = problem.sparsity
    pattern = Sparsity.row(TINY, 1, update=given.update)
    if given.units < problem.n:  # in blocks
        pattern = Sparsity(np.array([0, 0, 1]), np.zeros(2, np.int64), np.ones(1, np.int64), given.update, "block")
    rows = [Problem(w, gram, grid, pattern)]
    return rows if grid is None else [*rows, Problem(w, gram, grid)]


def _levels(grid: Grid) -> FloatArray:
    """Three levels with equal steps where those of the grid are equal, which other functions search and verify."""
    steps = np.diff(grid.levels, axis=1)
    even = bool((np.ptp(steps, axis=1) <= 1e-9 * np.abs(steps).max(axis=1)).all()) if steps.size else True
    return np.array([[-0.7, 0.0, 0.7 if even else 1.0]])
