"""Complete enumeration, for tests: the definition of the optimum, written as plainly as possible."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem, optimal_on_support

from .base import Options, Solver
from .result import Outcome, Reason

MAX_POINTS = 2_000_000


class Brute(Solver):
    """Tries every point: all grid points, or the least-squares solution of every mask."""

    name = "brute"
    summary = "complete enumeration, for tests and tiny rows"
    methods: ClassVar[frozenset[str]] = frozenset({"quant", "prune", "joint"})
    proves = "optimum"

    @classmethod
    def why_unsupported(cls, problem: Problem) -> str | None:
        """Refuse more than two million points."""
        choices = 2 if problem.grid is None else problem.grid.count + (problem.sparsity is not None)
        if choices**problem.n > MAX_POINTS:
            return f"solver 'brute' enumerates at most {MAX_POINTS} points; use 'bnb' for {problem.n} inputs"
        return super().why_unsupported(problem)

    def _solve(self, problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
        best, best_x, nodes = np.inf, None, 0
        for x in _points(problem):
            nodes += 1
            error = problem.error(x)
            if error < best and problem.is_feasible(x):  # in this order: the second takes five times as long
                best, best_x = error, x
            if nodes % 1024 == 0 and options.stop.is_set():
                return Outcome(best_x, 0.0, Reason.INTERRUPT, nodes)
        return Outcome(best_x, best, nodes=nodes)


def _points(problem: Problem) -> Iterator[FloatArray]:
    grid, sparsity = problem.grid, problem.sparsity
    if grid is not None:
        zero = [] if sparsity is None else [0.0]
        values = [sorted({*grid.of(i).tolist(), *zero}) for i in range(problem.n)]
        yield from map(np.array, itertools.product(*values))
        return
    assert sparsity is not None
    for mask in map(np.array, itertools.product([False, True], repeat=problem.n)):
        if sparsity.allows(mask):
            yield optimal_on_support(problem, mask) if sparsity.update else np.where(mask, problem.weight, 0.0)
