"""The solver interface: what a solver can do is said in class attributes, `Solver.solve` checks what it claims.

Whoever writes a solver finds here all that it needs besides `result`.
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar, final

import numpy as np
from pvq.bounds.gram import FloatArray, Gram
from pvq.bounds.presolve import presolve
from pvq.bounds.problem import Problem

from .checked import checked, checked_rows
from .compile_time import working_seconds
from .limits import LAST, LONG, heard, in_time, latest, proof_cost, with_share
from .options import Clock, Options
from .points import fallback_point, trivial
from .result import Outcome, Reason, Result, joined
from .units import Units

__all__ = [
    "Clock",
    "Options",
    "Solver",
    "SolverUnavailable",
    "UnsupportedProblem",
    "fallback_point",
    "trivial",
]


class SolverUnavailable(RuntimeError):
    """The solver is not installed or its licence is too small; one line that says what to do."""


class UnsupportedProblem(ValueError):
    """The solver cannot take this problem; one line that says which can."""


MARGIN = 0.1
"""Seconds that must be left for another part of a composite to be started."""

FINAL = ("solve", "solve_rows", "prepare", "prepare_once", "check")
"""What no solver may write anew: whoever does would hand out bounds that nobody has checked."""


class Solver(ABC):
    """Takes a `Problem`, returns a `Result`.

    Subclasses set the class attributes and write `_solve`. Dead inputs are already removed there, trivial
    problems already answered, and whatever `_solve` claims is recomputed from its x.

    Raises
    ------
    TypeError
        A subclass that overrides one of `FINAL`.
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

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name in FINAL:
            if getattr(cls, name) is not getattr(Solver, name):
                raise TypeError(f"{cls.__name__} overrides `{name}`, which checks what it claims; write `_solve`")

    def parts(self, problem: Problem) -> tuple[Solver, ...]:
        """The solvers that a row is given to, in turn: itself, or those of a `Composite`."""
        return (self,)

    @final
    def prepare(self, *problems: Problem) -> None:
        """Do what rows of one Gram matrix share (compile, factor H), so that it is not counted as one row's time.

        problems : one row, or several for solvers that fit something to the layer.
        """
        for part in _parts(self, problems[0]):
            if part is not self:
                part.prepare(*problems)
                continue
            if self.is_available() and self.why_unsupported(problems[0]) is None:
                reduced = [presolve(problem).problem for problem in problems]
                live = [Units.of(row).problem for row in reduced if row is not None and trivial(row) is None]
                if live:
                    self._prepare(live)
                    _prepared(problems[0].gram).add(_kind(self, problems[0]))

    @final
    def prepare_once(self, problem: Problem, prove: bool = False) -> None:
        """`prepare` for a row of a kind that has not been prepared on its Gram matrix; `prove` as in `Options`."""
        for part in _parts(self, problem):
            if part is not self:
                part.prepare_once(problem, prove)
                continue
            if _kind(self, problem) not in _prepared(problem.gram):
                self.prepare(problem)
            if prove:
                self._prepare_proof(problem)

    def _prepare(self, problems: Sequence[Problem]) -> None:  # noqa: B027  (most solvers have nothing to prepare)
        """Layer-wide work for rows without dead inputs; keep it in `gram.memo`."""

    def _prepare_proof(self, problem: Problem) -> None:  # noqa: B027
        """Compile what the proof of a row needs, once."""

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

    @final
    def check(self, problem: Problem) -> None:
        """Raise `SolverUnavailable` or `UnsupportedProblem` if `solve` could not start."""
        if not self.is_available():
            hint = f"; pip install 'pvq-bound[{self.extra}]'" if self.extra else ""
            raise SolverUnavailable(f"solver '{self.name}' is not installed{hint}")
        why = self.why_unsupported(problem)
        if why is not None:
            raise UnsupportedProblem(why)

    @final
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
        clock, ready = Clock(options), True
        work_by, proof_by = latest(options), latest(options, LAST)
        with heard(clock):
            if self.proves != "nothing":  # a method without a bound has no search that compiling could starve
                ready = in_time(partial(self._ready, problem, options.prove), work_by, problem.n) is not None
            if problem.n < LONG:
                proof_by = latest(options, LAST)  # what gets a short row ready is not of its time
            elif options.time_limit is not None:
                options = replace(options, time_limit=max(0.0, clock.left))
            parts = _parts(self, problem)
            if parts != (self,) and ready:
                return _in_turn(parts, problem, options, start)
            begin = working_seconds()
            row = presolve(problem)
            reduced = row.problem
            if reduced is None:
                outcome = Outcome(np.zeros(0), 0.0, info={"trivial": "every input is dead"})
            else:
                own = None if start is None else start[row.live]
                within = with_share(options, proof_cost(reduced.gram, self.name))
                found = trivial(reduced)
                if found is None and ready:
                    found = in_time(partial(self._in_units, reduced, within, own), work_by, reduced.n)
                outcome = _left_behind(own) if found is None else found
        return checked(self.name, row, options, outcome, working_seconds() - begin, proof_by)

    def _ready(self, problem: Problem, prove: bool) -> bool:
        self.prepare_once(problem, prove)
        return True

    def together(self, problem: Problem) -> int:
        """Rows like this one that it takes at once; 1: one after the other."""
        return 1

    @final
    def solve_rows(
        self, problems: Sequence[Problem], options: Options, starts: Sequence[FloatArray | None]
    ) -> list[Result]:
        """As `solve`, for rows of one Gram matrix and one kind; together where the solver can do that.

        Parameters
        ----------
        options : limits of one row; rows together have as many times the time.
        starts : a feasible point of each row, or None.
        """
        parts = _parts(self, problems[0])
        if len(parts) == 1 and parts[0] is not self:
            return parts[0].solve_rows(problems, options, starts)
        begin, proof_by = working_seconds(), latest(options, LAST, len(problems))
        presolved = [presolve(problem) for problem in problems]
        rows = [row.problem for row in presolved]
        live = [i for i, row in enumerate(rows) if row is not None and trivial(row) is None]
        results: dict[int, Result] = {}
        if parts == (self,) and live:
            self.check(problems[0])
            reduced = [row for i in live if (row := rows[i]) is not None]
            within = with_share(options, proof_cost(reduced[0].gram, self.name))
            limit = None if within.time_limit is None else within.time_limit * len(live)
            together = replace(options, time_limit=limit)
            units = [Units.of(row) for row in reduced]
            own = [
                unit.start(None if (x := starts[i]) is None else x[presolved[i].live])
                for unit, i in zip(units, live, strict=True)
            ]
            stated = [unit.problem for unit in units]
            with heard(Clock(together)):
                found = in_time(
                    lambda: [self._solve_rows(stated, together, own)],
                    latest(options, rows=len(reduced)),
                    reduced[0].n,
                )
            outcomes: Sequence[Outcome] | None = None
            if found is None:
                outcomes = [_left_behind(None if (x := starts[i]) is None else x[presolved[i].live]) for i in live]
            elif found[0] is not None:
                outcomes = [unit.outcome(outcome) for unit, outcome in zip(units, found[0], strict=True)]
            if outcomes is not None:
                seconds = (working_seconds() - begin) / len(live)
                some = [presolved[i] for i in live]
                worth = checked_rows(self.name, some, options, outcomes, seconds, proof_by)
                results = dict(zip(live, worth, strict=True))
        return [
            results[i] if i in results else self.solve(problem, options, x)
            for i, (problem, x) in enumerate(zip(problems, starts, strict=True))
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


def _parts(solver: Solver, problem: Problem) -> tuple[Solver, ...]:
    """The parts of a solver, which check what they claim as well."""
    parts = solver.parts(problem)
    others = solver not in parts and all(isinstance(part, Solver) for part in parts)
    if not parts or (parts != (solver,) and not others):
        raise TypeError(f"the parts of '{solver.name}' must be other solvers, not {parts!r}")
    return parts


def _left_behind(x: FloatArray | None) -> Outcome:
    """Of a row whose solver was left behind, see `in_time`."""
    return Outcome(x, 0.0, Reason.TIME, info={"unproven": "a step of the solver takes longer than the row may"})


def _in_turn(parts: Sequence[Solver], problem: Problem, options: Options, start: FloatArray | None) -> Result:
    """The best of both ends from several solvers, one after the other, within one time limit."""
    begin = working_seconds()
    best: Result | None = None
    for part in parts:
        left = None if options.time_limit is None else options.time_limit - (working_seconds() - begin)
        if best is not None:
            if best.solved or best.reason in (Reason.FAILURE, Reason.INTERRUPT):
                break
            if options.stop.is_set() or (left is not None and left < MARGIN):
                return replace(best, reason=Reason.INTERRUPT if options.stop.is_set() else Reason.TIME)
            start = best.x
        result = part.solve(problem, replace(options, time_limit=left), start)
        best = result if best is None else joined(best, result, options.gap)
    assert best is not None
    return best


def _prepared(gram: Gram) -> set[object]:
    """Kinds of rows that have been prepared on a Gram matrix."""
    return gram.memo(_prepared, set[object])


def _kind(solver: Solver, problem: Problem) -> object:
    """What rows have in common that are prepared together."""
    return type(solver), kind_of(problem)


def kind_of(problem: Problem) -> tuple[object, object]:
    """What rows have in common that are worked on together: grid and pattern, whatever levels and budgets are."""
    grid, sparsity = problem.grid, problem.sparsity
    return (
        None if grid is None else (grid.levels.shape, grid.group.tobytes()),
        None if sparsity is None else (sparsity.update, sparsity.unit.tobytes(), sparsity.group.tobytes()),
    )
