"""Complete enumeration, for tests: the definition of the optimum, written as plainly as possible."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem, optimal_on_support

from .base import Options, Solver
from .result import Outcome, Reason

MAX_POINTS = 2_000_000
AT_ONCE = 1024
"""Points whose errors are taken together."""


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
        points = _points(problem)
        while some := list(itertools.islice(points, AT_ONCE)):
            x = np.array(some)
            nodes += len(x)
            u = problem.weight - x
            errors = np.maximum(((u @ problem.hessian) * u).sum(axis=1), 0.0)
            for k in np.argsort(errors, kind="stable"):
                if errors[k] >= best:
                    break
                if problem.is_feasible(x[k]):
                    best, best_x = float(errors[k]), x[k]
            if options.stop.is_set():
                return Outcome(best_x, 0.0, Reason.INTERRUPT, nodes)
        return Outcome(best_x, best, nodes=nodes)


def _points(problem: Problem) -> Iterator[Sequence[float] | FloatArray]:
    grid, sparsity = problem.grid, problem.sparsity
    if grid is not None:
        zero = [] if sparsity is None else [0.0]
        values = [sorted({*grid.of(i).tolist(), *zero}) for i in range(problem.n)]
        yield from itertools.product(*values)
        return
    assert sparsity is not None
    for mask in map(np.array, itertools.product([False, True], repeat=problem.n)):
        if sparsity.allows(mask):
            yield optimal_on_support(problem, mask) if sparsity.update else np.where(mask, problem.weight, 0.0)
