"""One layer at several sparsities: what is found and proven at one of them serves the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pvq.bounds.layer_problem import LayerProblem
from pvq.bounds.stages import part

from .base import Options, Solver
from .layer_scope import solve_shared_budget
from .result import BoundKind
from .row_curve import Curve, pruned_further, row_curves
from .rows import LayerResult, OnRow, RowResult, prepare, row_words, run_rows, solve_row, summarise, with_point


def solve_curve(
    problems: Sequence[LayerProblem],
    solver: Solver,
    options: Options,
    compare: Sequence[Solver] = (),
    jobs: int = 1,
    on_row: OnRow | None = None,
    so_far: Sequence[list[RowResult]] = (),
    curves: Sequence[Curve] | None = None,
) -> list[LayerResult]:
    """Bound a layer at several sparsities.

    The optimum of a row grows with its sparsity. So a lower bound holds at every higher sparsity and a feasible
    point at every lower one, and the point found at one sparsity is the start of the next. Rows that share a
    budget (scope layer) share their curves as well.

    Parameters
    ----------
    problems : the same rows, inputs, pattern and grid, sparsities rising.
    solver, options, compare, jobs, on_row, curves : as in `solve_layer`; limits are for a row at one sparsity.
    so_far : a list for each sparsity, to which finished rows are added: of one row the later says more.
    """
    first = problems[0]
    if first.budget is not None:
        curves = row_curves(first) if curves is None else curves
        return [solve_shared_budget(p, solver, options, compare, jobs, on_row, curves) for p in problems]
    prepare(first, (solver, *compare), options, jobs)

    def one(i: int) -> list[RowResult]:
        rows: list[RowResult] = []
        for j, problem in enumerate(problems):
            part(f"{row_words(range(i, i + 1), len(problem))}, sparsity {j + 1} of {len(problems)}")
            row = problem.row(i)
            start = pruned_further(row, rows[-1].result.x) if rows else None
            rows.append(solve_row(problem.rows[i], row, solver, options, compare, start))
            keep(j, rows[-1])
        rows = _nested(rows, options)
        for j, found in enumerate(rows):
            keep(j, found)
        return rows

    def keep(j: int, row: RowResult) -> None:
        if so_far:
            so_far[j].append(row)

    def report(rows: list[RowResult]) -> None:
        for row in rows:
            if on_row:
                on_row(row)

    by_row = run_rows(one, len(first), jobs, report)
    return [summarise([rows[j] for rows in by_row], options) for j in range(len(problems))]


def _nested(rows: Sequence[RowResult], options: Options) -> list[RowResult]:
    """Spread lower bounds to higher sparsities and points to lower ones."""
    results = [row.result for row in rows]
    for j in range(len(rows) - 1, 0, -1):
        if results[j].upper < results[j - 1].upper:
            results[j - 1] = with_point(results[j - 1], results[j], options)
    for j in range(1, len(rows)):
        lower = min(results[j - 1].lower, results[j].upper)
        if lower > results[j].lower and results[j - 1].bound_kind is not BoundKind.NONE:
            # its proof, if it has one, is about the other sparsity
            raised = replace(results[j], lower=lower, bound_kind=BoundKind.NUMERICAL, proof=None)
            results[j] = raised.settled(options.gap)
    return [
        replace(row, result=result, lower=None if row.lower is None else result.lower)
        for row, result in zip(rows, results, strict=True)
    ]
