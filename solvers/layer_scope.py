"""Layer-wide sparsity: rows share one budget, allocated by dynamic programming over certified row curves."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from pvq.bounds.gram import IntArray
from pvq.bounds.layer_problem import LayerProblem
from pvq.bounds.outward import closed, sum_up
from pvq.bounds.problem import Problem
from pvq.bounds.stages import part
from pvq.bounds.verify.scope import shared_lower

from .base import Clock, Options, Solver
from .bnb.proving import Proving
from .bound import Bound
from .composite import Composite
from .empirical.layerwise import layer_point
from .empirical.magnitude import Magnitude
from .limits import GRACE, OVERSHOOT
from .result import BoundKind, Reason, Result
from .row_budgets import allocate, by_price
from .row_curve import Curve, row_curves
from .rows import LayerResult, OnRow, RowResult, prepare, run_rows, summarise, total_empirical, worst
from .rows import unfinished as unfinished_rows

FIRST_POINTS, FIRST_IN_TIME = 8, 3
"""Budgets of a row solved before the first allocation: spread, so that every k has a bound; under a limit those
nearest to the mean."""
AT_ONCE, STEPS = 50_000_000, 2e8
"""Steps of the verifier's distribution of a budget that are taken in any case, and those of a second."""
WORTH = 0.9
"""Part of a numerical bound that a proof must have to be worth more than it; a tenth, since between the budgets at
which something is claimed a proof has less than the curves (`row_curve.STEP`)."""
CLAIMED = 1 / 10
"""Part of a row's time that is left for its proofs at budgets that were not solved."""
INPUTS, LEAVES, FEWEST, MOST = 256, 2**13, 64, 1000
"""Inputs up to which budgets get a tree, whose leaf takes milliseconds there; leaves of a tree times rows, and the
fewest and most of one. A row has some 15 trees, and a leaf of 112 inputs 4 kB: half a gigabyte."""
POINTS = 4
"""Times that points are sought where the best allocation stands."""
SHARE, SHARE_AGAIN, LEAST = 1 / 8, 1 / 4, 4
"""Parts of a row's time that is left which one of its budgets may take, when it is met and when it is searched. No
budget is begun with less time than one in so many of what the last one took. Where the first may take all of it,
nothing is known of the others: four rows of 112 inputs at 75 % with 3 s each ended at lower / upper .155."""


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
    parts = (solver,) if options.time_limit is None else parts_of(solver, problem)
    trees = isinstance(parts[-1], Proving)
    prepare(problem, (*parts, *compare) if trees else (solver, *compare), options, jobs)
    count, units = len(problem), problem.pattern.units
    if curves is None:
        curves = row_curves(problem)
    spent, last, clock = np.zeros(count), np.zeros(count), _clock_of_all(options, count, jobs)
    for curve in curves:
        curve.trees = trees
    of_row = options.time_limit
    if of_row is not None and trees:
        of_row *= 1 - CLAIMED

    def ask(i: int, budgets: Sequence[int], again: bool) -> None:
        for k in budgets:
            if k in curves[i].solved and not again:
                continue
            share = SHARE_AGAIN if again else SHARE
            left = None if of_row is None else (of_row - spent[i]) * share
            if options.stop.is_set() or (left is not None and left <= last[i] / LEAST):
                return
            begin = time.perf_counter()
            curves[i].solve(k, parts[-1 if again else 0], replace(options, time_limit=left), again)
            last[i] = time.perf_counter() - begin
            spent[i] += last[i]

    mean = problem.budget / count
    first = sorted({round(j * units / FIRST_POINTS) for j in range(1, FIRST_POINTS + 1)} - {0})
    first.sort(key=lambda k: abs(k - mean))  # where time ends with the first of them, that one says most
    few = FIRST_POINTS if options.time_limit is None else FIRST_IN_TIME
    wanted, again = dict.fromkeys(range(count), first[:few]), False
    allocation, lower = np.zeros(count, np.int64), 0.0
    while wanted:
        before = sum(len(curve.solved) + len(curve.again) for curve in curves)
        todo = list(wanted.items())

        def one(j: int, todo: list[tuple[int, list[int]]] = todo, again: bool = again) -> RowResult:
            i, budgets = todo[j]
            part(f"row {i + 1} of {count}, {len(budgets)} budgets")
            ask(i, budgets, again)
            return _row(problem, curves[i], i, units, solver)

        run_rows(one, len(todo), jobs, on_row)
        on_row = None  # a row is told once, though more budgets of it may be asked for
        allocation, lower = allocate(np.array([c.lower for c in curves]), problem.budget, clock)
        if sum(len(curve.solved) + len(curve.again) for curve in curves) == before:
            break  # out of time, or interrupted: the curves hold as they are
        shares = list(zip(curves, allocation.tolist(), strict=True))
        near = [] if trees else [curve.unknown_near(k) for curve, k in shares]
        again = len(parts) > 1 and not any(near)
        if again:
            near = [curve.open_at(k) for curve, k in shares]
        wanted = {i: budgets for i, budgets in enumerate(near) if budgets}
    best, _ = allocate(np.array([c.upper for c in curves]), problem.budget, clock)
    for _ in range(POINTS if trees else 0):
        if not _better_points(curves, best, options, clock):
            break
        best, _ = allocate(np.array([c.upper for c in curves]), problem.budget, clock)
    ends = zip(curves, allocation.tolist(), best.tolist(), strict=True)
    reasons = [reason for curve, low, high in ends for reason in curve.reasons(low, high)]
    reason = Reason.INTERRUPT if options.stop.is_set() else worst(reasons)
    found = _summary(problem, curves, best, lower, solver, options, compare, reason)
    if options.stop.is_set():
        return found
    if found.solved:
        proven = as_proven(problem, found, options.gap, clock)
        if proven.bound_kind is BoundKind.RIGOROUS or not trees:
            return proven
    rows = []
    for i, (curve, share) in enumerate(zip(curves, allocation.tolist(), strict=True)):
        part(f"row {i + 1} of {count}, proofs at other budgets")
        claims = curve.claims(share, solver.name, options, clock.within(clock.left / (count - i)))
        rows.append(replace(found.rows[i], budgets={**found.rows[i].budgets, **claims}))
    return as_proven(problem, replace(found, rows=tuple(rows)), options.gap, clock)


def _better_points(curves: Sequence[Curve], best: IntArray, options: Options, clock: Clock) -> bool:
    """Points where the best allocation stands and beside it; whether there are new ones."""
    new = False
    for curve, share in zip(curves, best.tolist(), strict=True):
        for k in (share, share - 1, share + 1):
            if 0 < k <= curve.units and k not in curve.points and clock.ended() is None:
                curve.better_point(k, options)
                new = True
    return new


def parts_of(solver: Solver, problem: LayerProblem) -> tuple[Solver, ...]:
    """What a budget is given to in turn where time is limited: the relaxation first, which says something of all
    budgets at once, the search where the allocation asks for more; where weights are free, with its proof."""
    if not isinstance(solver, Composite):
        return (solver,)
    row = problem.row(0)
    parts = solver.parts(row)
    if isinstance(parts[0], Bound) and row.free_weights and int(row.gram.live.sum()) <= INPUTS:
        return parts[0], Proving(max(FEWEST, min(MOST, LEAVES // len(problem))))
    return parts


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
