"""What the adapters of outside solvers share: the data they are fed, and what their answers are worth."""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from pvq.bounds.errors import ProblemError
from pvq.bounds.gram import FloatArray, IntArray
from pvq.bounds.problem import Problem, optimal_on_support

from ..base import Options, Solver, UnsupportedProblem, fallback_point
from ..empirical.local_search import polish_grid
from ..empirical.swaps import greedy_mask, polish_mask
from ..kernels.diagonal import largest_diagonal
from ..result import Fault, Outcome, Reason
from .formulate import formulate
from .formulation import Form, Formulation

FEASIBILITY = 1e-9
"""Feasibility and integrality tolerance asked of Gurobi, and what an objective of order 1 may be off by for it."""

SLACK = 2.5e-7
"""Share taken off every dual bound, besides FEASIBILITY in units of the known point's error.

Constraints violated by FEASIBILITY change the objective by about FEASIBILITY times their multipliers, which are
of order 1 in the scaled data of `formulate`. On 75 rows of EfficientNet-lite0 bounds were above the optimum by at
most 2e-9 of it. SLACK is a quarter of the default gap, another quarter is what the solver is asked to close, and
the rest is for its rounding: solved rows still come out optimal. A gap below SLACK is never proven.
"""


@dataclass(frozen=True, eq=False)
class Answer:
    """What an outside solver says, in the variables and unit of the formulation."""

    points: tuple[FloatArray, ...]
    """Feasible points y, up to tolerances."""
    bound: float
    """Dual bound, -inf if none."""
    reason: Reason
    """FAILURE where its bound is not to be trusted."""
    nodes: int = 0
    info: dict[str, Any] = field(default_factory=dict)


class OutsideSolver(Solver):
    """Base of the adapters: they translate a `Formulation`, this class decides what the answer proves."""

    methods: ClassVar[frozenset[str]] = frozenset({"quant", "prune", "joint"})
    proves: ClassVar[str] = "optimum"
    form: ClassVar[Form] = Form.PERSPECTIVE

    @abstractmethod
    def _run(self, formulation: Formulation, options: Options, start: FloatArray) -> Answer:
        """Solve to relative gap `options.gap`.

        Parameters
        ----------
        options : what is left of the limits, and the gap to ask for.
        start : (N,) y of the known point.

        Raises
        ------
        SolverUnavailable
            The licence does not allow this size.
        """

    def _prepare(self, problems: Sequence[Problem]) -> None:
        if self.form is Form.PERSPECTIVE:
            _diagonal(problems[0])

    def _solve(self, problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
        begin = time.perf_counter()
        x = known_point(problem, start)
        unit = problem.certified(x).upper
        if unit <= problem.gap_tolerance(x, options.gap):  # as good as 0, which is a lower bound
            return Outcome(x, 0.0)
        try:
            diagonal = _diagonal(problem) if self.form is Form.PERSPECTIVE else None
            formulation = formulate(problem, x, self.form, diagonal)
        except ProblemError as error:
            raise UnsupportedProblem(f"solver '{self.name}' cannot take this row: {error}") from None
        left = None
        if options.time_limit is not None:
            left = max(0.0, options.time_limit - (time.perf_counter() - begin))
        report = options.report
        if report is not None:

            def in_errors(lower: float, upper: float) -> None:
                report(max(0.0, lower) * unit, min(1.0, upper) * unit)

            options = replace(options, report=in_errors)
        asked = replace(options, time_limit=left, gap=options.gap / 4)
        encoded = formulation.encode(x)
        answer = _off_main_thread(lambda: self._run(formulation, asked, encoded), options.stop)

        points = [x] + [p for p in map(formulation.decode, answer.points) if problem.is_feasible(p)]
        lower = 0.0
        if np.isfinite(answer.bound) and answer.reason is not Reason.FAILURE:
            lower = max(0.0, answer.bound * (1 - SLACK) - FEASIBILITY) * unit
        fault = Fault.SOLVER if answer.reason is Reason.FAILURE else None
        x = min(points, key=problem.error)
        return Outcome(x, lower, answer.reason, answer.nodes, answer.info, fault=fault)


def _off_main_thread(work: Callable[[], Answer], stop: threading.Event) -> Answer:
    """Run a solver beside the main thread, which stays free to hear Ctrl-C."""
    with ThreadPoolExecutor(1) as pool:
        try:
            return pool.submit(work).result()
        except KeyboardInterrupt:
            stop.set()  # else leaving the pool would wait for the time limit
            raise


def known_point(problem: Problem, start: FloatArray | None) -> FloatArray:
    """A good feasible point: the big-M, the cutoff and the unit of the objective come from its error."""
    if problem.free_weights:
        own = optimal_on_support(problem, polish_mask(problem, greedy_mask(problem)))
    else:
        own = polish_grid(problem, fallback_point(problem))
    points = [own] if start is None else [start, own]
    return min((x for x in points if problem.is_feasible(x)), key=problem.error, default=fallback_point(problem))


def _diagonal(problem: Problem) -> FloatArray:
    """D of the perspective form, once per Gram matrix."""
    gram = problem.gram
    return gram.memo(_diagonal, lambda: largest_diagonal(np.ascontiguousarray(gram.matrix)))


def expanded(formulation: Formulation) -> tuple[FloatArray, float]:
    """Linear part (N,) and constant of the objective written as p'Qp + linear' y + constant."""
    q, center = formulation.quadratic, formulation.center
    linear = formulation.linear.copy()
    linear[: len(center)] -= 2 * (q @ center)
    return linear, formulation.constant + float(center @ q @ center)


def one_sided(formulation: Formulation) -> list[tuple[IntArray, FloatArray, str, float]]:
    """The rows one by one: places, coefficients, sense (E, G or L) and right-hand side."""
    matrix, rows = formulation.rows, []
    for r in range(matrix.shape[0]):
        part = slice(matrix.indptr[r], matrix.indptr[r + 1])
        low, high = float(formulation.row_lower[r]), float(formulation.row_upper[r])
        ends = [("E", low)] if low == high else [("G", low), ("L", high)]
        rows += [(matrix.indices[part], matrix.data[part], s, end) for s, end in ends if np.isfinite(end)]
    return rows
