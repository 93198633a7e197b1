"""Several solvers as one: which of them a row is given to, and in which order."""

from __future__ import annotations

from abc import abstractmethod

from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem

from .base import Options, Solver
from .result import Outcome


class Composite(Solver):
    """Has no search of its own: `Solver.solve` asks its parts in turn and keeps the best of both ends.

    Each part's result is checked as if it had been asked alone, and all share one time limit.
    """

    @abstractmethod
    def parts(self, problem: Problem) -> tuple[Solver, ...]:
        """The solvers that this row is given to, one at least."""

    def together(self, problem: Problem) -> int:
        """As its part, where there is one only."""
        parts = self.parts(problem)
        return parts[0].together(problem) if len(parts) == 1 else 1

    def _solve(self, problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
        raise NotImplementedError("a composite has parts that search")  # pragma: no cover
