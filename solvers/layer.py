"""All rows of a layer through one solver: in parallel, compared with empirical methods, interruptible."""

from __future__ import annotations

from collections.abc import Sequence

from pvq.bounds.layer_problem import LayerProblem
from pvq.bounds.stages import part

from .base import Options, Solver
from .layer_scope import solve_shared_budget
from .row_curve import Curve
from .rows import (
    LayerResult,
    OnRow,
    RowResult,
    chunks,
    prepare,
    row_words,
    run_rows,
    solve_rows,
    summarise,
    unfinished,
)


def solve_layer(
    problem: LayerProblem,
    solver: Solver,
    options: Options | None = None,
    compare: Sequence[Solver] = (),
    jobs: int = 1,
    on_row: OnRow | None = None,
    curves: Sequence[Curve] | None = None,
    fill: bool = True,
) -> LayerResult:
    """Bound every row of a layer and add the rows up.

    Rows are independent, so the sums of their lower and upper bounds bound the layer. For scope layer, where rows
    share a budget, see `layer_scope`.

    Parameters
    ----------
    solver : bounds the rows.
    compare : empirical methods to score; the best of them is the solver's start.
    jobs : rows solved at the same time, in threads (kernels release the interpreter lock).
    on_row : called with each finished row, in the calling thread.
    curves : scope layer: where what is known of the rows is kept.
    fill : rows that an interrupt left out have a feasible point; else they are missing in the result.

    Raises
    ------
    SolverUnavailable, UnsupportedProblem
        As `Solver.solve`.
    """
    options = Options() if options is None else options
    if problem.budget is not None:
        return solve_shared_budget(problem, solver, options, compare, jobs, on_row, curves)
    prepare(problem, (solver, *compare), options, jobs)

    pieces = chunks(problem, solver.together(problem.row(0)))

    def some(k: int) -> list[RowResult]:
        if options.stop.is_set():
            return []  # all such rows together, below: somebody waits for an answer
        part(row_words(pieces[k], len(problem)))
        rows = [problem.row(i) for i in pieces[k]]
        return solve_rows([problem.rows[i] for i in pieces[k]], rows, solver, options, compare)

    def tell(rows: list[RowResult]) -> None:
        if on_row is not None:
            for row in rows:
                on_row(row)

    found = [row for rows in run_rows(some, len(pieces), jobs, tell) for row in rows]
    if fill and len(found) < len(problem):
        return unfinished(problem, solver, options, found)
    return summarise(found, options)
