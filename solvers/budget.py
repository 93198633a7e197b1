"""A layer within a budget of time: the cheapest useful bound of every row, then better ones where they count most.

First all rows go through the batch of their layer, where there is one, or through the solver with a share of half
of the time. Of pruned rows a batch finds lower ends first, and then better weights, which take three to five times
as long at 2048 inputs. What is left goes to the rows with the widest intervals, round by round with longer limits,
since each part of an interval that closes narrows the total by as much.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pvq.bounds.durations import words_of
from pvq.bounds.layer_problem import LayerProblem
from pvq.bounds.outward import sum_down, sum_up
from pvq.bounds.sqnr import format_db
from pvq.bounds.stages import part

from .base import Clock, Options, Solver
from .bound.layer_wide import LayerWide
from .layer import solve_layer
from .result import BoundKind, Reason, Result, joined
from .rows import (
    LayerResult,
    OnRow,
    RowResult,
    chunks,
    left_out,
    run_rows,
    solve_row,
    solve_rows,
    summarise,
    with_point,
)

EXACT = 72
"""Inputs up to which rows go to the solver at once: it ends within milliseconds for most of them."""

FIRST = 0.5
"""Part of the time that the first bounds of all rows may take where they come one by one."""

LONGER = 4.0
"""Each round's limit of a row, in units of that of the round before."""


def solve_within(
    problem: LayerProblem,
    solver: Solver,
    options: Options,
    compare: Sequence[Solver] = (),
    jobs: int = 1,
    on_row: OnRow | None = None,
    on_better: OnRow | None = None,
) -> LayerResult:
    """Bound the rows of a layer in `options.time_limit` seconds for all of them.

    Parameters
    ----------
    problem : prepared for `first_solver`; rows that share a budget of weights have the same time each.
    on_row : called with each row's first result, in the calling thread.
    on_better : called with each row that was improved.
    """
    clock = Clock(options)
    if problem.budget is not None:
        limit = max(clock.left, 0.0) * jobs / len(problem)
        return solve_layer(problem, solver, replace(options, time_limit=limit), compare, jobs, on_row)
    engine = first_solver(problem, solver)
    known = _first(problem, engine, options, clock, compare, jobs, on_row)
    if _lower_ends_first(engine):
        _better_weights(problem, options, clock, known, jobs, on_better)
    _improve(problem, solver, options, clock, known, jobs, on_better)
    return summarise(known, options)


def _first(
    problem: LayerProblem,
    engine: Solver,
    options: Options,
    clock: Clock,
    compare: Sequence[Solver],
    jobs: int,
    on_row: OnRow | None,
) -> list[RowResult]:
    """Every row once."""
    wide, lower_ends = isinstance(engine, LayerWide), _lower_ends_first(engine)
    pieces = chunks(problem, engine.together(problem.row(0)))
    known: dict[int, RowResult] = {}

    def some(k: int) -> list[RowResult]:
        part(f"first bounds, row {pieces[k].start + 1} of {len(problem)}; {_so_far(known.values(), clock)}")
        ended = clock.ended()
        if ended is not None:
            return left_out(problem, pieces[k], engine, ended)
        left = clock.left if wide else FIRST * clock.left
        # lower ends take what they take, with their proofs: a share that is a little short would leave nothing
        rows_left = len(pieces[k]) if lower_ends else (len(problem) - pieces[k].start) / jobs
        limit = left / rows_left
        rows, numbers = [problem.row(i) for i in pieces[k]], [problem.rows[i] for i in pieces[k]]
        return solve_rows(numbers, rows, engine, replace(options, time_limit=limit), compare)

    def tell(rows: list[RowResult]) -> None:
        for found in rows:
            known[found.row] = found
            if on_row is not None:
                on_row(found)

    run_rows(some, len(pieces), jobs, tell)
    return [known[number] for number in problem.rows]


def first_solver(problem: LayerProblem, solver: Solver) -> Solver:
    """Where first bounds come from, and what is to be prepared: `solver`, or the batch of the layer before it."""
    row, quick = problem.row(0), LayerWide()
    if row.sparsity is not None and quick.together(row) > 1:
        quick = LayerWide(points=False)
    relaxes = solver.name in ("auto", "bound") and problem.budget is None
    return quick if relaxes and row.n > EXACT and quick.why_unsupported(row) is None else solver


def _lower_ends_first(engine: Solver) -> bool:
    return isinstance(engine, LayerWide) and not engine.points


def _better_weights(
    problem: LayerProblem,
    options: Options,
    clock: Clock,
    known: list[RowResult],
    jobs: int,
    on_better: OnRow | None,
) -> None:
    """Swaps for all rows in the chunks of their layer, as long as there is time."""
    engine = LayerWide()
    pieces = chunks(problem, engine.together(problem.row(0)))

    def some(k: int) -> list[tuple[int, Result]]:
        part(f"better weights, row {pieces[k].start + 1} of {len(problem)}; {_so_far(known, clock)}")
        if clock.ended() is not None:
            return []
        limit = clock.left * jobs / (len(problem) - pieces[k].start)
        rows, starts = [problem.row(i) for i in pieces[k]], [known[i].result.x for i in pieces[k]]
        return list(
            zip(pieces[k], engine.solve_rows(rows, replace(options, time_limit=limit), starts), strict=True)
        )

    def tell(found: list[tuple[int, Result]]) -> None:
        for i, result in found:
            if result.bound_kind is BoundKind.RIGOROUS:
                _take(known, i, joined(known[i].result, result, options.gap), on_better)
            elif result.upper < known[i].result.upper:  # its proof had no time, that of the first bound had
                _take(known, i, with_point(known[i].result, result, options), on_better)

    run_rows(some, len(pieces), jobs, tell)


def _take(known: list[RowResult], i: int, better: Result, on_better: OnRow | None) -> None:
    known[i] = replace(known[i], result=better, lower=better.lower)
    if on_better is not None:
        on_better(known[i])


def _improve(
    problem: LayerProblem,
    solver: Solver,
    options: Options,
    clock: Clock,
    known: list[RowResult],
    jobs: int,
    on_better: OnRow | None,
) -> None:
    """Rows anew, the widest interval first, until the time ends or nothing can be gained."""
    limit, ended = 1.0, [row.result.solved for row in known]
    while not all(ended) and clock.ended() is None:
        todo = sorted((i for i, over in enumerate(ended) if not over), key=lambda i: -_width(known[i]))
        for first in range(0, len(todo), jobs):
            if clock.ended() is not None:
                return
            some = todo[first : first + jobs]
            said = f"row {first + 1} of {len(todo)}, the widest interval first"
            part(f"better bounds, {said}; {_so_far(known, clock)}")
            within = replace(options, time_limit=min(limit, max(clock.left, 0.0)))

            def one(k: int, some: Sequence[int] = some, within: Options = within) -> RowResult:
                i = some[k]
                return solve_row(known[i].row, problem.row(i), solver, within, start=known[i].result.x)

            for i, found in zip(some, run_rows(one, len(some), jobs, None), strict=True):
                ended[i] = found.result.solved or found.result.reason in (Reason.FINISHED, Reason.FAILURE)
                if found.result.reason is Reason.FAILURE:
                    continue
                _take(known, i, joined(known[i].result, found.result, options.gap), on_better)
                ended[i] = ended[i] or known[i].result.solved
        limit *= LONGER


def _width(row: RowResult) -> float:
    return row.result.upper - row.result.lower


def _so_far(rows: Iterable[RowResult], clock: Clock) -> str:
    """The interval of the rows that are known, and the time left."""
    known = list(rows)
    left = f"{words_of(clock.left)} left" if math.isfinite(clock.left) else "no limit"
    if not known:
        return left
    reference = sum_up(row.reference for row in known)
    least, most = (
        format_db(reference, total)
        for total in (sum_up(row.result.upper for row in known), sum_down(row.result.lower for row in known))
    )
    return f"{len(known)} rows at {least} to {most} dB, {left}"
