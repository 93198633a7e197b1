"""Rows of a layer: solved side by side, scored by empirical methods, added up."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import numpy as np
from pvq.bounds.certified import quick_uppers
from pvq.bounds.gram import FloatArray
from pvq.bounds.layer_problem import LayerProblem
from pvq.bounds.outward import closed, sum_down, sum_up
from pvq.bounds.problem import Problem
from pvq.bounds.stages import part

from .base import Clock, Options, Solver, fallback_point
from .limits import AGAIN, heard, in_time, latest
from .result import BoundKind, Reason, Result, Status, status_of

PREPARED = 32
"""Rows of a Gram matrix that solvers see before the first is solved."""

AT_ONCE = 256
"""Inputs up to which kept weights are re-optimised also where an interrupt waits for an answer."""

WORST = (Reason.FINISHED, Reason.NODES, Reason.MEMORY, Reason.TIME, Reason.INTERRUPT, Reason.FAILURE)
"""Of rows that stopped for several reasons, the last one here is that of their sum."""


@dataclass(frozen=True, eq=False)
class RowResult:
    """One row: its number in the layer, its result, and what empirical methods reach."""

    row: int
    reference: float
    """r = w' H w."""
    result: Result
    empirical: Mapping[str, float] = field(default_factory=dict)
    """Error of each method that was compared."""
    lower: float | None = None
    """The row's own lower bound; None where the row does not have one (scope layer)."""
    budgets: Mapping[int, Result] = field(default_factory=dict)
    """Scope layer: results with budgets of the row's own."""


@dataclass(frozen=True, eq=False)
class LayerResult:
    """lower <= min over all rows <= upper, in error summed over the rows."""

    rows: tuple[RowResult, ...]
    lower: float
    upper: float
    reference: float
    reason: Reason
    """Why the work on the layer stopped: the worst reason of its rows."""
    bound_kind: BoundKind
    empirical: Mapping[str, float]
    solved: bool
    """Whether the interval is closed to the gap that was asked for."""
    proven: float = 0.0
    """Lower bound that the proofs of the rows prove together, where they share a scale."""

    @property
    def status(self) -> Status:
        """Reason and ends in one word."""
        return status_of(self.reason, self.lower, self.solved)

    @property
    def weights(self) -> FloatArray:
        """(rows, n) best weights found."""
        return np.array([row.result.x for row in self.rows])


T = TypeVar("T")
OnRow = Callable[[RowResult], None]


CUT_SHORT = (
    "what all rows share did not fit into the time of the rows and was cut short: with more, bounds are better"
)


def prepare(problem: LayerProblem, solvers: Sequence[Solver], options: Options, jobs: int = 1) -> bool:
    """Compile and do layer-wide work once for every Gram matrix, before any row's clock starts.

    All of it together has the time that all rows have. What does not fit is cut off or left out, and False is
    returned; compiling is not counted. Asked for again, it is done as far as it was.
    """
    rows = len(problem) / jobs
    limit = None if options.time_limit is None else rows * options.time_limit
    clock = Clock(replace(options, time_limit=limit))
    if problem.budget is not None and problem.sparsity is not None:  # rows whose pattern says something
        keep = np.clip(problem.budget // len(problem), 1, max(1, problem.sparsity.units - 1))
        problem = replace(problem, sparsity=replace(problem.sparsity, keep=np.array([keep])))
    for group in np.unique(problem.gram_of_row):
        of_group = np.flatnonzero(problem.gram_of_row == group)
        spread = of_group[np.unique(np.linspace(0, len(of_group) - 1, PREPARED).astype(int))]
        stated = [problem.row(int(i)) for i in spread]
        left_out = problem.grams[group].memo(prepare, dict[str, float])
        for solver in solvers:
            if solver.name in left_out and clock.left <= AGAIN * left_out[solver.name]:
                continue  # what had as much time has left it out already
            part(f"preparing {solver.name}")
            had = max(clock.left, 0.0)
            with heard(clock):
                work = partial(_prepared, solver, stated)
                if in_time(work, latest(replace(options, time_limit=clock.limit(0.0))), stated[0].n) is None:
                    left_out[solver.name] = had
                    clock.cut_short = True
    return not clock.cut_short


def _prepared(solver: Solver, rows: Sequence[Problem]) -> bool:
    solver.prepare(*rows)
    return True


def run_rows(one: Callable[[int], T], count: int, jobs: int, on_row: Callable[[T], None] | None) -> list[T]:
    """Run `one` for 0 ... count - 1, in order for one job, and report each result as it comes."""
    if jobs == 1:
        results = []
        for i in range(count):
            results.append(one(i))
            if on_row:
                on_row(results[-1])
        return results
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(one, i) for i in range(count)]
        try:
            for future in as_completed(futures):
                if on_row:
                    on_row(future.result())
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        return [future.result() for future in futures]


def chunks(problem: LayerProblem, size: int) -> list[range]:
    """The rows in pieces of at most so many that share a Gram matrix, whoever asks and however often."""
    edges = [0, *(np.flatnonzero(np.diff(problem.gram_of_row)) + 1).tolist(), len(problem)]
    return [
        range(first, min(first + size, stop))
        for start, stop in itertools.pairwise(edges)
        for first in range(start, stop, size)
    ]


def row_words(piece: range, total: int) -> str:
    """What is worked on: row 3 of 64, counted among the selected rows."""
    if len(piece) == 1:
        return f"row {piece.start + 1} of {total}"
    return f"rows {piece.start + 1} to {piece.stop} of {total}"


def solve_row(
    number: int,
    problem: Problem,
    solver: Solver,
    options: Options,
    compare: Sequence[Solver] = (),
    start: FloatArray | None = None,
) -> RowResult:
    """Score the empirical methods on one row, then bound it, starting from the best of them or from `start`."""
    return solve_rows([number], [problem], solver, options, compare, start)[0]


def solve_rows(
    numbers: Sequence[int],
    problems: Sequence[Problem],
    solver: Solver,
    options: Options,
    compare: Sequence[Solver] = (),
    start: FloatArray | None = None,
) -> list[RowResult]:
    """The same for several rows of one Gram matrix."""
    if options.stop.is_set():
        return [
            RowResult(number, problem.reference, not_solved(problem, solver), lower=0.0)
            for number, problem in zip(numbers, problems, strict=True)
        ]
    scores = score_rows(problems, compare, options)
    best = [min(found.values(), key=lambda result: result.upper, default=None) for found in scores]
    starts = []
    for problem, known in zip(problems, best, strict=True):
        better = known is not None and (start is None or known.upper < problem.certified(start).upper)
        starts.append(known.x if known is not None and better else start)
    if len(problems) == 1:
        results = [solver.solve(problems[0], options, starts[0])]
    else:
        results = solver.solve_rows(problems, options, starts)
    rows = []
    for number, problem, result, known, found in zip(numbers, problems, results, best, scores, strict=True):
        if known is not None and known.upper < result.upper:  # within the gap, or a solver that ignores its start
            result = with_point(result, known, options)
        empirical = {name: scored.upper for name, scored in found.items()}
        rows.append(RowResult(number, problem.reference, result, empirical, result.lower))
    return rows


def score(problem: Problem, compare: Sequence[Solver], options: Options) -> dict[str, Result]:
    """Results of the empirical methods on one row."""
    return score_rows([problem], compare, options)[0]


def score_rows(
    problems: Sequence[Problem], compare: Sequence[Solver], options: Options
) -> list[dict[str, Result]]:
    """The same of rows of one Gram matrix, which is read once for all of them: of 2048 inputs and a row at a time,
    that was a third of the work on a layer."""
    if len(problems) == 1:
        return [{method.name: method.solve(problems[0], options) for method in compare}]
    nothing = [None] * len(problems)
    found = {method.name: method.solve_rows(problems, options, nothing) for method in compare}
    return [{name: results[i] for name, results in found.items()} for i in range(len(problems))]


def with_point(result: Result, better: Result, options: Options) -> Result:
    """The result with a better feasible point as its upper end."""
    lower = min(result.lower, better.upper)
    moved = replace(result, x=better.x, lower=lower, upper=better.upper, rounding=better.rounding)
    return moved.settled(options.gap)


def not_solved(problem: Problem, solver: Solver) -> Result:
    """What is known of a row that an interrupt left out: a feasible point, and at once."""
    x = quick_point(problem)
    return Result(x, 0.0, problem.certified(x).upper, Reason.INTERRUPT, BoundKind.NONE, solver.name)


def quick_point(problem: Problem) -> FloatArray:
    """(n,) a feasible point; of long rows the kept weights are not re-optimised."""
    sparsity = problem.sparsity
    if problem.free_weights and sparsity is not None and problem.n > AT_ONCE:
        return np.where(sparsity.best_mask(problem.weight**2), problem.weight, 0.0)
    return fallback_point(problem)


def unfinished(problem: LayerProblem, solver: Solver, options: Options, known: Sequence[RowResult]) -> LayerResult:
    """What is known of rows whose work was left behind: the finished ones, a feasible point of the others."""
    rows = {row.row: row for row in known}
    for group in np.unique(problem.gram_of_row):
        open_ = [i for i in np.flatnonzero(problem.gram_of_row == group).tolist() if problem.rows[i] not in rows]
        rows |= {row.row: row for row in left_out(problem, open_, solver, Reason.INTERRUPT)}
    return summarise([rows[number] for number in problem.rows], options)


def left_out(problem: LayerProblem, index: Sequence[int], solver: Solver, reason: Reason) -> list[RowResult]:
    """A feasible point of rows that nobody worked on, at once: somebody waits for an answer, or time is over.

    Errors are found for all rows together, and rounded up by more than usual where float64 is wide.

    Parameters
    ----------
    index : places of rows of one Gram matrix.
    """
    if not index:
        return []
    gram, w = problem.grams[problem.gram_of_row[index[0]]], problem.weight[index]
    x = np.array([quick_point(problem.row(i)) for i in index])
    references = np.maximum(np.einsum("ri,ri->r", w @ gram.matrix, w), 0.0)
    rows = []
    for i, point, upper, reference in zip(index, x, quick_uppers(gram, w, x).tolist(), references, strict=True):
        found = Result(point, 0.0, upper, reason, BoundKind.NONE, solver.name)
        rows.append(RowResult(problem.rows[i], float(reference), found, lower=0.0))
    return rows


def summarise(rows: Sequence[RowResult], options: Options) -> LayerResult:
    """Add rows up; a sum claims only what all of its rows claim."""
    lower, upper = sum_down(row.result.lower for row in rows), sum_up(row.result.upper for row in rows)
    rounding = sum_up(row.result.rounding for row in rows)
    solved = all(row.result.solved for row in rows) and closed(lower, upper, rounding, options.gap)
    return LayerResult(
        tuple(rows),
        lower,
        upper,
        sum_up(row.reference for row in rows),
        worst(row.result.reason for row in rows),
        total_kind([row.result.bound_kind for row in rows]),
        total_empirical(rows),
        solved,
    )


def worst(reasons: Iterable[Reason]) -> Reason:
    """The reason that weighs most; FINISHED of none."""
    return max(reasons, key=WORST.index, default=Reason.FINISHED)


def total_kind(kinds: Sequence[BoundKind]) -> BoundKind:
    """Rigorous if all are; a row without a bound adds 0, which holds, so the others decide."""
    proven = {kind for kind in kinds if kind is not BoundKind.NONE}
    if not proven:
        return BoundKind.NONE
    return BoundKind.RIGOROUS if proven == {BoundKind.RIGOROUS} else BoundKind.NUMERICAL


def total_empirical(rows: Sequence[RowResult]) -> dict[str, float]:
    """Layer error of each method that was scored on every row."""
    if not rows:
        return {}
    names = set.intersection(*(set(row.empirical) for row in rows))
    return {name: sum_up(row.empirical[name] for row in rows) for name in rows[0].empirical if name in names}


def applicable(methods: Sequence[Solver], problem: Problem) -> list[Solver]:
    """Those of the methods that can take the problem."""
    return [method for method in methods if method.why_unsupported(problem) is None]
