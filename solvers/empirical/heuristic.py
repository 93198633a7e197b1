"""What all empirical methods share: they return a feasible point and prove nothing."""

from __future__ import annotations

from abc import abstractmethod

from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem

from ..base import Options, Solver
from ..result import Outcome, Status


class Heuristic(Solver):
    """A published method as a solver: `Solver.solve` scores its point on the undamped H of the problem.

    Dead inputs are already removed, as the published implementations do by zeroing them.
    """

    proves = "nothing"

    @abstractmethod
    def _point(self, problem: Problem, options: Options) -> FloatArray:
        """(n,) the method's answer, a feasible point."""

    def _solve(self, problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
        return Outcome(self._point(problem, options), 0.0, Status.FEASIBLE_ONLY)

    def _prepare(self, problem: Problem) -> None:
        self._point(problem, Options())  # compiles the kernels and factors H
