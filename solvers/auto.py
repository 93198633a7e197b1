"""The default: exact search where it can end, the relaxation where it cannot, both in between."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem

from .base import Options, Solver
from .bnb import BranchAndBound
from .bound import Bound
from .result import Outcome, Result, Status

EXACT = 72
"""Live inputs up to which the exact search alone is taken: it ends within seconds there."""

SEARCHED = 128
"""Live inputs up to which the search follows the relaxation: beyond, its frontier is below the relaxation."""

MARGIN = 0.1
"""Seconds that must be left for the search to be started."""


class Auto(Solver):
    """Chooses per row between `bnb` and `bound`; the result's `solver` says which of them gave the lower bound."""

    name = "auto"
    summary = "the default: bnb where it can end, bound for longer rows, both in between"
    methods: ClassVar[frozenset[str]] = frozenset({"quant", "prune", "joint"})
    proves = "optimum"

    def together(self, problem: Problem) -> int:
        """As `bound`, where it is the only one that is asked."""
        solvers = self._solvers(problem)
        return solvers[0].together(problem) if len(solvers) == 1 else 1

    def _solvers(self, problem: Problem) -> tuple[Solver, ...]:
        """Those that a row of this size is given to, in turn."""
        exact, relaxation = BranchAndBound(), Bound()
        n = int(problem.gram.live.sum())
        if n <= EXACT or relaxation.why_unsupported(problem) is not None:
            return (exact,)
        return (relaxation,) if n > SEARCHED else (relaxation, exact)

    def prepare(self, *problems: Problem) -> None:
        """Prepare the solvers that the rows will be given to."""
        for solver in self._solvers(problems[0]):
            solver.prepare(*problems)

    def solve(self, problem: Problem, options: Options | None = None, start: FloatArray | None = None) -> Result:
        """As `Solver.solve`: the best of both ends from the solvers that fit the row, within one time limit."""
        options = Options() if options is None else options
        for solver in self._solvers(problem):
            solver.prepare_once(problem)  # before the clock starts, also that of the second
        begin = time.perf_counter()
        best: Result | None = None
        for solver in self._solvers(problem):
            left = None if options.time_limit is None else options.time_limit - (time.perf_counter() - begin)
            if best is not None:
                done = best.status in (Status.OPTIMAL, Status.FAILED, Status.INTERRUPTED)
                if done or options.stop.is_set() or (left is not None and left < MARGIN):
                    break
                start = best.x
            result = solver.solve(problem, replace(options, time_limit=left), start)
            best = result if best is None else _better(best, result, options)
        assert best is not None
        return replace(best, seconds=time.perf_counter() - begin)

    def solve_rows(
        self, problems: Sequence[Problem], options: Options, starts: Sequence[FloatArray | None]
    ) -> list[Result]:
        """Together where `bound` alone takes them, one after the other else."""
        solvers = self._solvers(problems[0])
        if len(solvers) == 1:
            return solvers[0].solve_rows(problems, options, starts)
        return [self.solve(problem, options, start) for problem, start in zip(problems, starts, strict=True)]

    def _solve(self, problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
        raise NotImplementedError("`solve` is handed on")  # pragma: no cover


def _better(first: Result, second: Result, options: Options) -> Result:
    """Both ends of two results: the lower end and its proof from one, the point perhaps from the other."""
    bound, point = max(first, second, key=lambda r: r.lower), min(first, second, key=lambda r: r.upper)
    lower = min(bound.lower, point.upper)
    nodes = first.nodes + second.nodes
    proven = max(first, second, key=lambda r: r.proven)  # for certificates, also where the bound is numerical
    best = replace(
        bound,
        x=point.x,
        upper=point.upper,
        rounding=point.rounding,
        lower=lower,
        status=second.status,
        nodes=nodes,
        proof=proven.proof,
        proven=proven.proven,
    )
    return replace(best, status=Status.OPTIMAL) if best.closed(options.gap) else best
