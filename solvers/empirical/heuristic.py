"""What all empirical methods share: they return a feasible point and prove nothing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from pvq.bounds.gram import BoolArray, FloatArray
from pvq.bounds.layer_problem import LayerProblem
from pvq.bounds.presolve import Presolved, presolve
from pvq.bounds.problem import Problem

from ..base import Options, Solver, trivial
from ..result import Outcome


class Heuristic(Solver):
    """A published method as a solver: `Solver.solve` scores its point on the undamped H of the problem.

    Dead inputs are already removed, as the published implementations do by zeroing them.
    """

    proves = "nothing"

    @abstractmethod
    def _point(self, problem: Problem, options: Options) -> FloatArray:
        """(n,) the method's answer, a feasible point."""

    def _points(self, problems: Sequence[Problem], options: Options) -> list[FloatArray]:
        """The same of rows of one Gram matrix, which methods that take them together write anew."""
        return [self._point(problem, options) for problem in problems]

    def _solve(self, problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
        return Outcome(self._point(problem, options), 0.0)

    def _solve_rows(
        self, problems: Sequence[Problem], options: Options, starts: Sequence[FloatArray | None]
    ) -> list[Outcome]:
        limit = None if options.time_limit is None else options.time_limit / len(problems)
        points = self._points(problems, replace(options, time_limit=limit))
        return [Outcome(point, 0.0) for point in points]

    def _prepare(self, problems: Sequence[Problem]) -> None:
        self._point(problems[0], Options())  # compiles the kernels and factors H

    def layer_points(self, layer: LayerProblem, options: Options) -> FloatArray:
        """(rows, n) the method's answers for all rows of a layer.

        Row by row, which is what the methods are; where rows share a budget of kept units (scope layer) each row
        gets its even part of it. Methods that were published with a mask across the rows say so themselves.
        """
        points = np.zeros(layer.weight.shape)
        for group in range(len(layer.grams)):
            asked: dict[int, tuple[Presolved, Problem]] = {}
            for i in np.flatnonzero(layer.gram_of_row == group).tolist():
                row = presolve(row_problem(layer, i))
                answer = None if row.problem is None else trivial(row.problem)
                if row.problem is None:
                    points[i] = row.lift(np.zeros(0))
                elif answer is None:
                    asked[i] = row, row.problem
                else:
                    assert answer.x is not None
                    points[i] = row.lift(answer.x)
            found = self._points([reduced for _, reduced in asked.values()], options) if asked else []
            for (i, (row, _)), x in zip(asked.items(), found, strict=True):
                points[i] = row.lift(x)
        return points


def row_problem(layer: LayerProblem, i: int) -> Problem:
    """The problem of row i; of a shared budget it gets the even part, rounded down."""
    problem = layer.row(i)
    if layer.budget is None:
        return problem
    return replace(problem, sparsity=replace(problem.pattern, keep=np.array([layer.budget // len(layer)])))


def shared_mask(layer: LayerProblem, score: FloatArray) -> BoolArray:
    """(rows, n) mask of the `budget` units of the whole layer with the largest summed score (rows, n).

    Ties go to the earlier row, then the lower unit.
    """
    assert layer.budget is not None
    unit = layer.pattern.unit
    totals = np.array([np.bincount(unit, weights=row, minlength=layer.pattern.units) for row in score])
    kept = np.zeros(totals.size, dtype=bool)
    kept[np.argsort(-totals.ravel(), kind="stable")[: layer.budget]] = True
    return kept.reshape(totals.shape)[:, unit]
