"""Layer-wide sparsity: rows share one budget, allocated by dynamic programming over certified row curves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from pvq.bounds.gram import FloatArray, IntArray
from pvq.bounds.layer_problem import LayerProblem
from pvq.bounds.outward import closed, sum_up
from pvq.bounds.presolve import presolve
from pvq.bounds.problem import Problem, optimal_on_support
from pvq.bounds.proof import Split
from pvq.bounds.stages import part
from pvq.bounds.verify.row import SAFETY, shift_to_psd
from pvq.bounds.verify.scope import shared_lower
from pvq.bounds.verify.split import terms

from .base import Clock, Options, Solver
from .checked import WORTH
from .empirical.layerwise import layer_point
from .empirical.magnitude import Magnitude
from .limits import GRACE, OVERSHOOT
from .result import BoundKind, Reason, Result
from .row_budgets import allocate, by_price
from .rows import LayerResult, OnRow, RowResult, prepare, run_rows, summarise, total_empirical, worst
from .rows import unfinished as unfinished_rows

FIRST_POINTS = 8  # budgets of a row solved before the first allocation: spread, so that every k has a bound
AT_ONCE, STEPS = 50_000_000, 2e8
"""Steps of the verifier's distribution of a budget that are taken in any case, and those of a second."""
LEAST = 4
"""No budget is begun with less time than this part of what the last one took."""


class Curve:
    """What is known of one row's optimum as a function of the units it keeps.

    The optimum f(k) falls with k, so a lower bound at k holds for every smaller k and a feasible point for k for
    every larger one. f is not convex in k, so nothing is interpolated.
    """

    def __init__(self, problem: Problem, units: int) -> None:
        self.problem = problem
        self.units = units
        self.lower = np.zeros(units + 1)
        self.upper = np.full(units + 1, problem.reference)
        self.at = np.zeros(units + 1, np.int64)
        """Which solved budget the feasible point for k comes from."""
        self.solved: dict[int, Result] = {}
        self.lower[0] = problem.certified(np.zeros(problem.n)).lower

    def solve(self, k: int, solver: Solver, options: Options) -> None:
        """Bound the row with k kept units and spread what that proves along the curve."""
        if k in self.solved or k == 0:
            return
        pattern = replace(self.problem.pattern, keep=np.array([k]))
        problem = replace(self.problem, sparsity=pattern)
        denser = [s for s in self.solved if s > k]
        start = pruned_further(problem, self.solved[min(denser)].x) if denser else None
        result = solver.solve(problem, options, start)
        self.solved[k] = result
        self.lower[: k + 1] = np.maximum(self.lower[: k + 1], result.lower)
        if isinstance(result.proof, Split) and not result.proof.below.blocks:
            self.lower = np.maximum(self.lower, lower_curve(self.problem, result.proof))
        better = self.upper[k:] > result.upper
        self.upper[k:][better] = result.upper
        self.at[k:][better] = k

    def point(self, k: int) -> FloatArray:
        """(n,) best feasible point with at most k units."""
        best = int(self.at[k])
        return self.solved[best].x if best else np.zeros(self.problem.n)

    def reasons(self, lower: int, upper: int) -> list[Reason]:
        """Why no more is known of the lower and the upper end at these budgets.

        What the cheapest allocation asks for is solved, unless there is no time for it.
        """
        below, above = self.solved.get(lower), self.solved.get(int(self.at[upper]))
        unsolved = Reason.FINISHED if lower == 0 else Reason.TIME
        return [below.reason if below else unsolved, above.reason if above else Reason.FINISHED]

    def unknown_near(self, k: int) -> list[int]:
        """Budgets to solve so that the bound at k becomes its own: k, and the middle of its unsolved stretch."""
        if k in self.solved or k == 0:
            return []
        end = min((s for s in self.solved if s > k), default=self.units)
        return [k, (k + end) // 2]


def solve_shared_budget(
    problem: LayerProblem,
    solver: Solver,
    options: Options,
    compare: Sequence[Solver] = (),
    jobs: int = 1,
    on_row: OnRow | None = None,
    curves: Sequence[Curve] | None = None,
) -> LayerResult:
    """Bound the sum of all rows when they share `problem.budget` kept units.

    lower = min over allocations of the sum of the rows' lower curves, upper the same over their upper curves; both
    minima are exact where there is time for that (`row_budgets`). Only the budgets that the cheapest allocation
    asks for are solved, and when all of those are exact the allocation is optimal. Rows have no lower bound of
    their own. `options.time_limit` is for all budgets of a row together; all rows' time, with what it may be
    overrun by, is for the allocations as well. `curves`, what is known of the rows, is extended.
    """
    assert problem.budget is not None
    prepare(problem, (solver, *compare), options, jobs)
    count, units = len(problem), problem.pattern.units
    if curves is None:
        curves = row_curves(problem)
    spent, last, clock = np.zeros(count), np.zeros(count), _clock_of_all(options, count, jobs)

    def ask(i: int, budgets: Sequence[int]) -> None:
        for k in budgets:
            left = None if options.time_limit is None else options.time_limit - spent[i]
            if options.stop.is_set() or (left is not None and left <= last[i] / LEAST):
                return
            begin = time.perf_counter()
            curves[i].solve(k, solver, replace(options, time_limit=left))
            last[i] = time.perf_counter() - begin
            spent[i] += last[i]

    mean = problem.budget / count
    first = sorted({round(j * units / FIRST_POINTS) for j in range(1, FIRST_POINTS + 1)} - {0})
    first.sort(key=lambda k: abs(k - mean))  # where time ends with the first of them, that one says most
    wanted = {i: list(first) for i in range(count)}
    allocation, lower = np.zeros(count, np.int64), 0.0
    while wanted:
        before = sum(len(curve.solved) for curve in curves)
        todo = list(wanted.items())

        def one(j: int, todo: list[tuple[int, list[int]]] = todo) -> RowResult:
            i, budgets = todo[j]
            part(f"row {i + 1} of {count}, {len(budgets)} budgets")
            ask(i, budgets)
            return _row(problem, curves[i], i, units, solver)

        run_rows(one, len(todo), jobs, on_row)
        allocation, lower = allocate(np.array([c.lower for c in curves]), problem.budget, clock)
        wanted = {i: curves[i].unknown_near(int(allocation[i])) for i in range(count)}
        wanted = {i: budgets for i, budgets in wanted.items() if budgets}
        if sum(len(curve.solved) for curve in curves) == before:
            break  # out of time, or interrupted: the curves hold as they are
    best, _ = allocate(np.array([c.upper for c in curves]), problem.budget, clock)
    ends = zip(curves, allocation.tolist(), best.tolist(), strict=True)
    reasons = [reason for curve, low, high in ends for reason in curve.reasons(low, high)]
    reason = Reason.INTERRUPT if options.stop.is_set() else worst(reasons)
    found = _summary(problem, curves, best, lower, solver, options, compare, reason)
    return found if options.stop.is_set() else as_proven(problem, found, options.gap, clock)


def as_proven(problem: LayerProblem, found: LayerResult, gap: float, clock: Clock) -> LayerResult:
    """The layer with what the proofs of its rows prove of it, if that says the same: see `checked`.

    The verifier distributes the budget over what is proven at the budgets that were solved, in rows x budgets x
    budget steps; where the clock does not allow them the bound stays numerical.
    """
    assert problem.budget is not None
    if found.reason is Reason.FAILURE or found.bound_kind is BoundKind.NONE:
        return found
    steps = sum(len(row.budgets) + 2 for row in found.rows) * (problem.budget + 1)
    if steps > AT_ONCE and steps / STEPS > clock.left:
        return found
    curves = [
        {k: result.proven for k, result in proven_budgets(problem, i, row).items()}
        for i, row in enumerate(found.rows)
    ]
    lower = min(shared_lower(curves, problem.budget), found.upper)
    rounding = sum_up(row.result.rounding for row in found.rows)
    same = closed(lower, found.upper, rounding, gap) if found.solved else lower >= WORTH * found.lower
    return replace(found, lower=lower, bound_kind=BoundKind.RIGOROUS) if same else found


def proven_budgets(problem: LayerProblem, i: int, row: RowResult) -> dict[int, Result]:
    """The budgets of a row that have a proof, with that of 0, which needs no search."""
    known = {**row.budgets, 0: nothing_kept(problem.row(i))}
    return {k: result for k, result in sorted(known.items()) if result.proof is not None}


def _clock_of_all(options: Options, rows: int, jobs: int) -> Clock:
    """For what rows do together, after each has had its time."""
    limit = options.time_limit
    if limit is not None:
        limit = limit * -(-rows // jobs) * (1 + OVERSHOOT) + GRACE / 2
    return Clock(replace(options, time_limit=limit, report=None))


def unfinished(
    problem: LayerProblem,
    solver: Solver,
    options: Options,
    known: Sequence[RowResult],
    curves: Sequence[Curve] | None = None,
) -> LayerResult:
    """What is known of a layer whose work was left behind, in a moment.

    Parameters
    ----------
    known : rows with bounds of their own.
    curves : of rows that share a budget. Their bound here is the best Lagrangian one, which is below that of the
        best allocation, and quick.
    """
    if problem.budget is None or curves is None:
        return unfinished_rows(problem, solver, options, known)
    points = layer_point(Magnitude(), problem, options)
    rows = []
    for i, curve in enumerate(curves):
        used = len(np.unique(problem.pattern.unit[points.x[i] != 0]))
        x, upper = points.x[i], float(points.errors[i])
        if curve.at[used] and curve.upper[used] < upper:
            x, upper = curve.point(used), float(curve.upper[used])
        result = Result(x, 0.0, upper, Reason.INTERRUPT, BoundKind.NONE, solver.name)
        rows.append(RowResult(problem.rows[i], curve.problem.reference, result, budgets=dict(curve.solved)))
    total = summarise(rows, options)
    lower = min(by_price(np.array([curve.lower for curve in curves]), problem.budget).lower, total.upper)
    return replace(total, lower=lower, bound_kind=BoundKind.NUMERICAL if lower > 0 else BoundKind.NONE)


ROUNDING = 1e-9
"""Part of a row's reference error that its lower curve gives up; the verifier proves more at the solved k."""


def lower_curve(problem: Problem, split: Split) -> FloatArray:
    """(units + 1,) lower bounds for every budget k from the D and x of one of them, re-optimised weights.

    e >= constant + sum of pruned terms - (sum of the k largest savings), whatever k is (`verify.split`): the
    Lagrangian bound with the k-th saving as the price of a unit, convex in k and tight where it was made.
    """
    sparsity, row = problem.pattern, presolve(problem).problem
    units, live = sparsity.units, problem.gram.live
    if row is None or len(split.below.d) != row.n or not row.free_weights:
        return np.zeros(units + 1)
    nothing = np.zeros(row.n, dtype=bool)
    with np.errstate(all="ignore"):
        eps = shift_to_psd(row.gram, split.below, nothing, SAFETY)
        found = terms(row, split, nothing, eps, SAFETY)
        saving = np.bincount(sparsity.unit[live], found.pruned - found.kept, units)
        saved = np.concatenate(([0.0], np.cumsum(np.sort(saving)[::-1])))
        curve = found.constant + found.pruned.sum() - ROUNDING * problem.reference - saved
    return np.where(curve > 0.0, curve, 0.0)  # also for what is not a number


def row_curves(problem: LayerProblem) -> list[Curve]:
    """Curves of which nothing is known but their ends."""
    return [Curve(problem.row(i), problem.pattern.units) for i in range(len(problem))]


def pruned_further(problem: Problem, x: FloatArray) -> FloatArray:
    """A feasible point from one with more non-zeros: the units whose removal costs least go.

    Re-optimised weights cost x_i^2 / (H_SS^-1)_ii (optimal brain surgeon, Hassibi and Stork 1993), others
    x_i^2 h_ii.
    """
    sparsity = problem.pattern
    cost = x**2 * np.diag(problem.hessian)
    kept = np.flatnonzero(x)
    free = problem.grid is None and sparsity.update
    if free and len(kept):
        inverse = np.linalg.pinv(problem.hessian[np.ix_(kept, kept)], hermitian=True)
        cost[kept] = x[kept] ** 2 / np.maximum(np.diag(inverse), 1e-300)
    mask = sparsity.best_mask(cost) & (x != 0)
    return optimal_on_support(problem, mask) if free else np.where(mask, x, 0.0)


def nothing_kept(problem: Problem) -> Result:
    """The row with a budget of 0, which is trivial."""
    pattern = replace(problem.pattern, keep=np.zeros_like(problem.pattern.keep))
    return Magnitude().solve(replace(problem, sparsity=pattern))


def _row(
    problem: LayerProblem,
    curve: Curve,
    i: int,
    k: int,
    solver: Solver,
) -> RowResult:
    """The row with the point for k units, which has no lower end of its own, and what all its budgets took."""
    x, solved = curve.point(k), curve.solved.values()
    error = curve.problem.certified(x)
    result = Result(
        x,
        0.0,
        error.upper,
        worst(result.reason for result in solved),
        BoundKind.NONE,
        solver.name,
        nodes=sum(result.nodes for result in solved),
        seconds=sum(result.seconds for result in solved),
        verify_seconds=sum(result.verify_seconds for result in solved),
        rounding=error.rounding,
    )
    return RowResult(problem.rows[i], curve.problem.reference, result, budgets=dict(curve.solved))


def _summary(
    problem: LayerProblem,
    curves: Sequence[Curve],
    best: IntArray,
    lower: float,
    solver: Solver,
    options: Options,
    compare: Sequence[Solver],
    reason: Reason,
) -> LayerResult:
    """Rows at the best allocation; empirical methods with their own layer-wide masks."""
    assert problem.budget is not None
    points = np.array([curve.point(int(k)) for curve, k in zip(curves, best, strict=True)])
    certified = [curve.problem.certified(x) for curve, x in zip(curves, points, strict=True)]
    errors, rounding = [error.upper for error in certified], sum_up(error.rounding for error in certified)
    scored = {} if options.stop.is_set() else {m.name: layer_point(m, problem, options) for m in compare}
    for point in scored.values():
        if sum_up(point.errors) < sum_up(errors):
            points, errors = point.x, point.errors.tolist()
    upper = sum_up(errors)
    reference = sum_up(curve.problem.reference for curve in curves)
    lower = min(lower, upper)
    solved = closed(lower, upper, rounding, options.gap)
    if solved and reason is not Reason.FAILURE:
        reason = Reason.FINISHED
    rows = []
    for i, (curve, k) in enumerate(zip(curves, best, strict=True)):
        row = _row(problem, curve, i, int(k), solver)
        result = replace(row.result, x=points[i], upper=float(errors[i]), reason=reason, solved=solved)
        empirical = {name: float(point.errors[i]) for name, point in scored.items()}
        rows.append(replace(row, result=result, empirical=empirical))
    kind = BoundKind.NUMERICAL if lower > 0 or solved else BoundKind.NONE
    return LayerResult(tuple(rows), lower, upper, reference, reason, kind, total_empirical(rows), solved)
