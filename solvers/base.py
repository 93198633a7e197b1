"""The solver interface: what a solver can do is said in class attributes, `solve` checks what it claims."""

from __future__ import annotations

import importlib.util
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from pvq.bounds.certified import closed, tolerance
from pvq.bounds.gram import FloatArray, Gram
from pvq.bounds.presolve import presolve
from pvq.bounds.problem import Problem, optimal_on_support
from pvq.bounds.proof import Below, Split

from .result import BoundKind, Outcome, Result, Status
from .units import Units

# A lower end may exceed the upper end by rounding only: this much of either end, or of the reference.
ROUNDING = 1e-9


OVERSHOOT, GRACE = 0.1, 1.0
"""Part of its time limit, and seconds, that a row with its verification may take beyond it; a proof that does not
fit is left out."""

WORTH = 0.98
"""A proof of this part of a numerical bound is worth more than the bound; a weaker one is only recorded."""


class SolverUnavailable(RuntimeError):
    """The solver is not installed or its licence is too small; one line that says what to do."""


class UnsupportedProblem(ValueError):
    """The solver cannot take this problem; one line that says which can."""


@dataclass(frozen=True)
class Options:
    """Limits of one solve."""

    time_limit: float | None = 10.0
    """Seconds per row, None for no limit."""
    gap: float = 1e-6
    """Relative gap at which the optimum counts as proven."""
    node_limit: int | None = None
    threads: int = 1
    seed: int = 0
    prove: bool = False
    """Hand over a proof of the lower bound also where making it takes longer than the solve."""
    stop: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)
    """Set it (Ctrl-C does) and the solver returns what it has proven."""
    report: Callable[[float, float], None] | None = field(default=None, repr=False, compare=False)
    """Called now and then with the lower and upper end so far, in units of error; never checked, for curves."""


class Clock:
    """Tells a running engine whether to stop, and why."""

    def __init__(self, options: Options) -> None:
        self._end = math.inf if options.time_limit is None else time.perf_counter() + options.time_limit
        self._stop = options.stop
        self._report = options.report

    @property
    def left(self) -> float:
        """Seconds left, infinity without a limit."""
        return self._end - time.perf_counter()

    def limit(self, least: float) -> float | None:
        """Seconds left as a time limit, `least` at least; None without a limit."""
        return max(self.left, least) if math.isfinite(self.left) else None

    def ended(self) -> Status | None:
        """INTERRUPTED, TIME_LIMIT, or None to go on."""
        if self._stop.is_set():
            return Status.INTERRUPTED
        return Status.TIME_LIMIT if self.left <= 0 else None

    def tell(self, lower: float, upper: float) -> None:
        """Pass the interval so far on to who wants to watch."""
        if self._report is not None:
            self._report(lower, upper)


class Solver(ABC):
    """Takes a `Problem`, returns a `Result`.

    Subclasses set the class attributes and write `_solve`. Dead inputs are already removed there, trivial
    problems already answered, and whatever `_solve` claims is recomputed from its x.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for `pvq solvers`."""
    methods: ClassVar[frozenset[str]]
    """Which of quant, prune, joint it takes."""
    patterns: ClassVar[frozenset[str]] = frozenset({"row", "nm", "block"})
    """Sparsity patterns it takes."""
    no_update: ClassVar[bool] = True
    """Whether it can prune with kept weights fixed."""
    proves: ClassVar[str] = "nothing"
    """optimum | bound | nothing: the most a result can establish."""
    requires: ClassVar[tuple[str, ...]] = ()
    """Modules that must be installed; found without importing them."""
    extra: ClassVar[str | None] = None
    """The extra of pvq-bound that installs them."""
    licence: ClassVar[str] = "Apache-2.0"
    """Licence in words, with its size limits."""

    def prepare(self, *problems: Problem) -> None:
        """Do what rows of one Gram matrix share (compile, factor H), so that it is not counted as one row's time.

        problems : one row, or several for solvers that fit something to the layer.
        """
        if self.is_available() and self.why_unsupported(problems[0]) is None:
            reduced = [presolve(problem).problem for problem in problems]
            live = [Units.of(row).problem for row in reduced if row is not None and trivial(row) is None]
            if live:
                self._prepare(live)
                _prepared(problems[0].gram).add(_kind(self, problems[0]))

    def prepare_once(self, problem: Problem) -> None:
        """`prepare` for a row of a kind that has not been prepared on its Gram matrix."""
        if _kind(self, problem) not in _prepared(problem.gram):
            self.prepare(problem)

    def _prepare(self, problems: Sequence[Problem]) -> None:  # noqa: B027  (most solvers have nothing to prepare)
        """Layer-wide work for rows without dead inputs; keep it in `gram.memo`."""

    @classmethod
    def is_available(cls) -> bool:
        """Whether the packages it needs are installed; imports none of them and takes no licence."""
        return all(importlib.util.find_spec(module) is not None for module in cls.requires)

    @classmethod
    def why_unsupported(cls, problem: Problem) -> str | None:
        """One line on why this solver cannot take the problem, None if it can."""
        if problem.method not in cls.methods:
            return f"solver '{cls.name}' takes {', '.join(sorted(cls.methods))}, not {problem.method}"
        if problem.sparsity is not None:
            if problem.sparsity.kind not in cls.patterns:
                return f"solver '{cls.name}' does not take {problem.sparsity.kind} sparsity"
            if problem.method == "prune" and not problem.sparsity.update and not cls.no_update:
                return f"solver '{cls.name}' cannot keep the weights fixed (`update`=False)"
        return None

    def check(self, problem: Problem) -> None:
        """Raise `SolverUnavailable` or `UnsupportedProblem` if `solve` could not start."""
        if not self.is_available():
            hint = f"; pip install 'pvq-bound[{self.extra}]'" if self.extra else ""
            raise SolverUnavailable(f"solver '{self.name}' is not installed{hint}")
        why = self.why_unsupported(problem)
        if why is not None:
            raise UnsupportedProblem(why)

    def solve(self, problem: Problem, options: Options | None = None, start: FloatArray | None = None) -> Result:
        """Bound the optimum of one row.

        Parameters
        ----------
        problem : the row.
        options : limits, the defaults of `Options` if None.
        start : (n,) feasible point to start from, optional.

        Raises
        ------
        SolverUnavailable
            Not installed, or the licence does not allow this size.
        UnsupportedProblem
            This solver cannot take the problem.
        """
        self.check(problem)
        options = Options() if options is None else options  # new each time: its stop event is one call's own
        if self.proves != "nothing":  # a method without a bound has no search that compiling could starve
            self.prepare_once(problem)
        begin = time.perf_counter()
        presolved = presolve(problem)
        reduced = presolved.problem
        if reduced is None:
            outcome = Outcome(np.zeros(0), 0.0, Status.OPTIMAL, info={"trivial": "every input is dead"})
        else:
            outcome = trivial(reduced) or self._in_units(
                reduced, options, None if start is None else start[presolved.live]
            )
        x = presolved.lift_or_none(outcome.x)
        return self._checked(problem, reduced, options, outcome, x, time.perf_counter() - begin)

    def together(self, problem: Problem) -> int:
        """Rows like this one that it takes at once; 1: one after the other."""
        return 1

    def solve_rows(
        self, problems: Sequence[Problem], options: Options, starts: Sequence[FloatArray | None]
    ) -> list[Result]:
        """As `solve`, for rows of one Gram matrix and one kind; together where the solver can do that.

        Parameters
        ----------
        options : limits of one row; rows together have as many times the time.
        starts : a feasible point of each row, or None.
        """
        begin = time.perf_counter()
        presolved = [presolve(problem) for problem in problems]
        live = [row.problem for row in presolved if row.problem is not None and trivial(row.problem) is None]
        outcomes = None
        if len(live) == len(problems):
            self.check(problems[0])
            limit = None if options.time_limit is None else options.time_limit * len(problems)
            units = [Units.of(row) for row in live]
            own = [
                unit.start(None if x is None else x[row.live])
                for unit, x, row in zip(units, starts, presolved, strict=True)
            ]
            found = self._solve_rows([unit.problem for unit in units], replace(options, time_limit=limit), own)
            if found is not None:
                outcomes = [unit.outcome(outcome) for unit, outcome in zip(units, found, strict=True)]
        if outcomes is None:
            return [self.solve(problem, options, x) for problem, x in zip(problems, starts, strict=True)]
        seconds = (time.perf_counter() - begin) / len(problems)
        return [
            self._checked(row.original, row.problem, options, outcome, row.lift_or_none(outcome.x), seconds)
            for row, outcome in zip(presolved, outcomes, strict=True)
        ]

    def _solve_rows(
        self, problems: Sequence[Problem], options: Options, starts: Sequence[FloatArray | None]
    ) -> list[Outcome] | None:
        """Rows without dead inputs and trivial answers, together; None: one after the other."""
        return None

    def _in_units(self, problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
        """`_solve` where its numbers are of order 1."""
        units = Units.of(problem)
        asked = replace(options, report=units.report(options.report)) if units.of_error else options
        return units.outcome(self._solve(units.problem, asked, units.start(start)))

    @abstractmethod
    def _solve(self, problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
        """Solve a row that has no dead inputs and no trivial answer, in units in which it is of order 1."""

    def _checked(
        self,
        problem: Problem,
        reduced: Problem | None,
        options: Options,
        outcome: Outcome,
        x: FloatArray | None,
        seconds: float,
    ) -> Result:
        info = dict(outcome.info)
        if x is None or not problem.is_feasible(x):
            if outcome.x is not None:
                info["problem"] = "the solver's point violates the constraints; a rounded one stands in"
            x = fallback_point(problem)
        error = problem.certified(x)
        upper, width = error.upper, tolerance(error.upper, error.rounding, options.gap)
        lower, status = float(outcome.lower), outcome.status
        if lower > 0.0 and reduced is not None:
            lower = max(0.0, lower - problem.doubt(x, error))
        if not math.isfinite(lower) or lower > upper + ROUNDING * max(upper, 1e-3 * problem.reference):
            # Contradiction: a bound above a feasible point is wrong, so nothing is proven.
            info["problem"] = f"lower bound {lower:.9g} above the feasible error {upper:.9g}"
            lower, status = 0.0, Status.FAILED
        # e(x) rounded down: rounded up it may be above the optimum; numerical until a proof is accepted
        lower, kind = min(max(lower, 0.0), error.lower), BoundKind.NUMERICAL
        proof, proven_lower = None, 0.0
        if reduced is None:
            kind = BoundKind.RIGOROUS  # nothing reaches this row, so its error is 0
        elif outcome.proof is not None and status is not Status.FAILED and not options.stop.is_set():
            from pvq.bounds.verify.budget import limited
            from pvq.bounds.verify.row import NotProven, lower_bound  # compiled kernels: not for `pvq solvers`

            begin = time.perf_counter()
            limit = options.time_limit
            allowed = None if limit is None else max(0.0, limit * (1 + OVERSHOOT) + GRACE - seconds)
            try:
                with limited(allowed):
                    verified = lower_bound(reduced, outcome.proof)
                if verified > 0:
                    proof, proven_lower = outcome.proof, min(verified, error.lower)
                # what is proven counts if it says the same: the same status, nearly the same bound
                if upper - verified <= (width if upper - lower <= width else upper - lower * WORTH):
                    lower, kind = min(max(verified, 0.0), error.lower), BoundKind.RIGOROUS
                elif verified > 0:
                    info["unproven"] = f"the proof gives {verified:.9g} only"
            except NotProven as why:
                info["unproven"] = str(why)
            info["verify_seconds"] = time.perf_counter() - begin
        # every part of e is a sum of squares, so an upper end of 0 proves itself
        proven = closed(lower, upper, error.rounding, options.gap)
        if status is not Status.FAILED:
            if proven:
                status = Status.OPTIMAL
            elif status is Status.OPTIMAL:
                status = Status.BOUND_ONLY if lower > 0 else Status.FEASIBLE_ONLY
        if status is Status.FAILED or (lower == 0 and not proven):
            kind = BoundKind.NONE
        return Result(
            x,
            lower,
            upper,
            status,
            kind,
            self.name,
            outcome.nodes,
            seconds,
            info,
            proof,
            proven_lower,
            error.rounding,
        )


def _prepared(gram: Gram) -> set[object]:
    """Kinds of rows that have been prepared on a Gram matrix."""
    return gram.memo("prepared kinds", set[object])


def _kind(solver: Solver, problem: Problem) -> object:
    """What rows have in common that are prepared together: solver, grid and pattern, whatever the budget."""
    grid, sparsity = problem.grid, problem.sparsity
    return (
        type(solver),
        None if grid is None else (grid.levels.shape, grid.group.tobytes()),
        None if sparsity is None else (sparsity.update, sparsity.unit.tobytes(), sparsity.group.tobytes()),
    )


def trivial(problem: Problem) -> Outcome | None:
    """Answer a row that needs no search: nothing may be kept, or everything may."""
    sparsity = problem.sparsity
    if sparsity is None:
        return None
    zero = np.zeros(problem.n)
    if not sparsity.keep.any():
        proof = Split(Below(zero), -problem.weight)
        info = {"trivial": "no input may be kept"}
        return Outcome(zero, problem.certified(zero).lower, Status.OPTIMAL, info=info, proof=proof)
    if problem.grid is None and not sparsity.binding:
        proof = Split(Below(zero), zero)
        info = {"trivial": "every input may be kept"}
        return Outcome(problem.weight.copy(), 0.0, Status.OPTIMAL, info=info, proof=proof)
    return None


def fallback_point(problem: Problem) -> FloatArray:
    """A feasible point for any problem: magnitude mask, then round to nearest or least squares."""
    grid, sparsity = problem.grid, problem.sparsity
    if sparsity is None:
        assert grid is not None
        return grid.nearest(problem.weight)
    mask = sparsity.best_mask(problem.weight**2)
    if grid is not None:
        return np.where(mask, grid.nearest(problem.weight), 0.0)
    return optimal_on_support(problem, mask) if sparsity.update else np.where(mask, problem.weight, 0.0)
