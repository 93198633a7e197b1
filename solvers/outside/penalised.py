"""Solvers of the penalised problem, error + a price for each non-zero: what they prove of at most k non-zeros.

For a price p >= 0 a lower bound L(p) of min_x e(x) + p |x|_0 gives e(x) >= L(p) - p k for every x with at most k
non-zeros (Lagrangian relaxation of the budget). It is tight for some p only if k is a corner of the lower convex
hull of the points (k, least error): elsewhere the bound stays below the optimum, however long the solver runs.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem, optimal_on_support

from ..base import Options, Solver
from ..kernels.diagonal import largest_diagonal
from ..result import Fault, Outcome, Reason
from .adapter import FEASIBILITY, SLACK, known_point
from .formulate import radius

SHRINK = 0.99
"""Share of the largest D that becomes the ridge, so that H - D keeps a Cholesky factor."""


@dataclass(frozen=True, eq=False)
class Penalised:
    """minimise |y - A b|^2 / 2 + ridge |b|^2 + price |b|_0 over |b_i| <= box: e(x) / 2 in some unit, plus a shift.

    x_i = step_i b_i, with steps that make the diagonal D, taken out of H, the same for all: the ridge. The
    relaxation of the solvers is then the perspective form.
    """

    a: FloatArray
    y: FloatArray
    ridge: float
    box: float
    shift: float
    """Value of the objective minus (e(x) / 2 + price |x|_0), the same for every x."""
    step: FloatArray

    @classmethod
    def of(cls, problem: Problem, known: FloatArray) -> Penalised:
        unit, w = problem.error(known), problem.weight
        h = problem.hessian / unit
        gram = problem.gram
        d = gram.memo(Penalised.of, lambda: largest_diagonal(np.ascontiguousarray(gram.matrix)))
        d = SHRINK * np.maximum(d / unit, 1e-9 * np.diag(h))
        step = 1 / np.sqrt(d)
        factor = np.linalg.cholesky(h - np.diag(d)).T
        a = factor * step
        y = np.linalg.solve(factor.T, h @ w)
        reach = np.abs(w) + radius(gram, problem.error(known))
        shift = float(y @ y - w @ h @ w) / 2
        return cls(np.asfortranarray(a), y, 0.5, float((reach / step).max()), shift, step)


class PenalisedSolver(Solver):
    """Base of the adapters: walks along the convex hull of (non-zeros, error) to the budget."""

    methods: ClassVar[frozenset[str]] = frozenset({"prune"})
    patterns: ClassVar[frozenset[str]] = frozenset({"row"})
    no_update: ClassVar[bool] = False
    proves: ClassVar[str] = "optimum"

    @abstractmethod
    def _price(
        self, data: Penalised, price: float, start: FloatArray, options: Options
    ) -> tuple[FloatArray, float, int]:
        """A good b, (n,), a lower bound of the objective (-inf if none), and nodes, for one price."""

    def _solve(self, problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
        end = np.inf if options.time_limit is None else time.perf_counter() + options.time_limit
        k, best = int(problem.pattern.keep[0]), known_point(problem, start)
        unit = problem.certified(best).upper
        if unit <= problem.gap_tolerance(best, options.gap):
            return Outcome(best, 0.0)
        try:
            data = Penalised.of(problem, best)
        except np.linalg.LinAlgError:
            return _singular(best, "H is singular to working precision")
        if not np.isfinite(data.box):
            return _singular(best, "no finite big-M: H is singular")
        few, many = (0, problem.reference / unit), (problem.n, 0.0)
        lower, nodes = 0.0, 0
        while not options.stop.is_set() and (left := end - time.perf_counter()) > 0:
            price = (few[1] - many[1]) / (many[0] - few[0]) / 2
            limited = Options(None if left == np.inf else left, options.gap, None, options.threads, options.seed)
            b, bound, visited = self._price(data, price, best / data.step, limited)
            nodes += visited
            # as for the other solvers, what tolerances are worth is taken off
            proven = 2 * (bound - data.shift - price * k)
            lower = max(lower, (proven * (1 - SLACK) - FEASIBILITY) * unit if np.isfinite(proven) else 0.0)
            mask = b != 0
            kept, x = int(mask.sum()), optimal_on_support(problem, mask)
            error = problem.error(x) / unit
            if kept <= k and error * unit < problem.error(best):
                best = x
            if options.report is not None:
                options.report(lower, problem.error(best))
            line = few[1] + 2 * price * few[0]
            if kept == k or error + 2 * price * kept >= line - options.gap:  # nothing below this edge of the hull
                return Outcome(best, lower, nodes=nodes, info={"hull": f"{few[0]} to {many[0]} non-zeros"})
            few, many = ((kept, error), many) if kept < k else (few, (kept, error))
        return Outcome(best, lower, Reason.INTERRUPT if options.stop.is_set() else Reason.TIME, nodes)


def _singular(x: FloatArray, why: str) -> Outcome:
    """No bound: the penalised problem does not exist."""
    return Outcome(x, 0.0, info={"why": why}, fault=Fault.SINGULAR)
