"""The search of rows that are mostly too long for it: only where a sample of the tree says that it will end."""

from __future__ import annotations

from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem

from ..base import Clock, Options, fallback_point
from ..result import Outcome
from . import BranchAndBound

RATE = 1e7
"""Nodes a second that are searched, and repeated by a verifier: 4.5e7 and 3.5e7 of equal steps on an undisturbed
core, much less where other work runs or steps are not equal."""

MOST = 1e10
"""Nodes where there is no limit: some minutes."""


class Promising(BranchAndBound):
    """Searches a quantized row where that should end within its limit; leaves it otherwise."""

    def _solve(self, problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
        from ..empirical.local_search import polish_grid
        from .plan import row_plan
        from .restated import restate
        from .tree_size import sampled_nodes

        clock = Clock(options)
        x = polish_grid(problem, fallback_point(problem)) if start is None else start
        row = restate(problem, row_plan(problem, clock))
        nodes = sampled_nodes(row, problem.error(x))
        if nodes > min(RATE * clock.left, MOST):
            return Outcome(x, 0.0)
        return super()._solve(problem, options, start)
