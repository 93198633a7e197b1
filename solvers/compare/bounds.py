"""Where the bounds of a comparison come from: the one place that asks solvers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.linalg import LinAlgError
from pvq.bounds.gram import FloatArray
from pvq.bounds.presolve import presolve
from pvq.bounds.problem import Problem, optimal_on_support
from pvq.bounds.stages import part

from ..base import Clock, Options, Solver
from ..bound.layer_wide import LayerWide
from ..layer import solve_layer
from ..result import BoundKind, Reason, Result
from ..rows import not_solved, prepare
from .side import Side

T = TypeVar("T")

SMALL = 4
"""Rows of the first piece that is bounded together; each has twice as many as the one before, up to a chunk."""

OWN_SECONDS = 0.1
"""For each row, from which rows with a near-null direction have a D of their own, 70 to 80 ms with the proof."""

BREAKS = (ArithmeticError, LinAlgError)
"""What numerical trouble raises. One row of thousands must not end the comparison of a network."""


def prepare_side(side: Side, engine: Solver, options: Options) -> None:
    """Compile and do layer-wide work; of a layer of many small Gram matrices only the first is prepared here.

    That has no limit: all pairs of a layer share it.
    """
    with suppress(*BREAKS):  # the rows will say so
        if len(side.problem.grams) == 1 or side.shared:
            prepare(side.problem, (engine,), replace(options, time_limit=None))
        else:
            engine.prepare(side.problem.row(0))


def raise_lower(
    side: Side,
    engine: Solver,
    options: Options,
    row_limit: float | None,
    enough: Callable[[], bool],
    jobs: int = 1,
    hopeless: Callable[[Spent], bool] = lambda spent: False,
) -> None:
    """Bound the rows of a side that are not solved yet, the widest interval first, until it is enough.

    Parameters
    ----------
    options : `time_limit` is for all rows together.
    row_limit : seconds for one row, None for no limit.
    enough : asked after every few rows.
    jobs : rows at the same time, in threads.
    hopeless : asked after every few rows that are bounded one by one whether the others are worth their time.
    """
    clock = Clock(options)
    if side.shared:
        _raise_shared(side, engine, options, jobs)
        return
    rows = side.open_rows()
    size = engine.together(side.problem.row(0))
    if size > 1:
        had = side.bounded_roughly if _is_rough(engine) else side.bounded
        rows = [i for i in rows if i not in had]
        _raise_together(side, engine, options, pieces_of(side, rows, size), enough, jobs)
        return
    kind = type(engine).__name__
    rows = [i for i in rows if (kind, i) not in side.bounded_alone]
    begin, closed = time.perf_counter(), 0.0

    def one(i: int) -> Result:
        left = min(clock.left, float("inf") if row_limit is None else row_limit)
        problem = side.problem.row(i)
        if clock.ended():
            return not_solved(problem, engine)
        limited = replace(options, time_limit=None if left == float("inf") else left)
        try:
            return engine.solve(problem, limited, side.x[i].copy())
        except BREAKS:
            return replace(not_solved(problem, engine), reason=Reason.FAILURE)

    for first in range(0, len(rows), jobs):
        part(side.line(f"{engine.name}, row {first + 1} of {len(rows)} that are open"))
        if clock.ended() or enough():
            return
        chunk = rows[first : first + jobs]
        for i, result in zip(chunk, _map(one, chunk, jobs), strict=True):
            lower, width = side.lower[i], side.upper[i] - side.lower[i]
            side.add(i, result, options.gap)
            if result.reason is Reason.FINISHED and result.lower > 0 and "unproven" not in result.info:
                side.bounded_alone.add((kind, i))
            closed = max(closed, (side.lower[i] - lower) / width if width > 0 else 0.0)
        done = first + len(chunk)
        seconds = (time.perf_counter() - begin) / done
        if hopeless(Spent(rows[:done], rows[done:], seconds, closed, clock.left)):
            return


def _is_rough(engine: Solver) -> bool:
    """Whether it leaves the weights as they are."""
    return isinstance(engine, LayerWide) and not engine.points


@dataclass(frozen=True)
class Spent:
    """What bounding rows one by one has shown of the others."""

    done: Sequence[int]
    rows: Sequence[int]
    """Those left, the widest interval first."""
    seconds: float
    """Each row has taken."""
    closed: float
    """The largest part of its interval that a row's lower end has risen by."""
    left: float
    """Seconds for the others."""


def pieces_of(side: Side, rows: Sequence[int], size: int) -> list[list[int]]:
    """The rows in pieces of one Gram matrix, in their order; the first ones small.

    Where the sides are far apart the widest rows alone may decide, in a moment.
    """
    of_gram: dict[int, list[int]] = {}
    for i in rows:
        of_gram.setdefault(int(side.problem.gram_of_row[i]), []).append(i)
    pieces = []
    for some in of_gram.values():
        first, length = 0, min(SMALL, size)
        while first < len(some):
            pieces.append(some[first : first + length])
            first, length = first + length, min(2 * length, size)
    return pieces


def _raise_together(
    side: Side,
    engine: Solver,
    options: Options,
    pieces: Sequence[Sequence[int]],
    enough: Callable[[], bool],
    jobs: int,
) -> None:
    """Bound pieces of rows with one Gram matrix, each at once."""
    clock, done, total = Clock(options), 0, sum(map(len, pieces))
    if isinstance(engine, LayerWide) and clock.left * jobs < OWN_SECONDS * total:
        engine = LayerWide(engine.points, own=False)  # every row a bound before some have better ones

    def together(k: int) -> list[Result]:
        piece = pieces[k]
        left = None if clock.left == float("inf") else max(clock.left, 0.0) / len(piece)
        problems = [side.problem.row(i) for i in piece]
        try:
            return engine.solve_rows(problems, replace(options, time_limit=left), [side.x[i] for i in piece])
        except BREAKS:
            return [replace(not_solved(problem, engine), reason=Reason.FAILURE) for problem in problems]

    for first in range(0, len(pieces), jobs):
        if clock.ended() or enough():
            return
        some = range(first, min(first + jobs, len(pieces)))
        count = sum(len(pieces[k]) for k in some)
        part(side.line(f"rows {done + 1} to {done + count} of {total} together"))
        for k, found in zip(some, _map(together, some, jobs), strict=True):
            for i, result in zip(pieces[k], found, strict=True):
                side.add(i, result, options.gap)
                if result.reason is Reason.FINISHED and "unproven" not in result.info:  # a proof may lack time
                    side.bounded_roughly.add(i)
                    if not _is_rough(engine):
                        side.bounded.add(i)
        done += count


def lower_upper(side: Side, options: Options, enough: Callable[[], bool]) -> None:
    """Local search on the best weights of every row, the largest error first, until it is enough."""
    if side.shared:
        return
    clock = Clock(options)
    for i in np.argsort(-side.upper, kind="stable"):
        if clock.ended() or enough():
            return
        side.offer_row(int(i), polish(side.problem.row(int(i)), side.x[i]))


def polish(problem: Problem, x: FloatArray) -> FloatArray:
    """(n,) feasible point that the local search of this kind of problem reaches from x."""
    presolved = presolve(problem)
    row = presolved.problem
    if row is None:
        return x
    start = x[presolved.live]
    if row.grid is None and row.sparsity is not None and row.sparsity.update:
        from ..empirical.swaps import polish_mask

        return presolved.lift(optimal_on_support(row, polish_mask(row, start != 0)))
    from ..empirical.local_search import polish_grid

    return presolved.lift(polish_grid(row, start))


def _map(one: Callable[[int], T], rows: Sequence[int], jobs: int) -> list[T]:
    if jobs == 1 or len(rows) == 1:
        return [one(i) for i in rows]
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, rows))


def _raise_shared(side: Side, engine: Solver, options: Options, jobs: int) -> None:
    """Rows that share a budget are bounded together, each in its part of the time."""
    limit = None if options.time_limit is None else options.time_limit * jobs / len(side.upper)
    result = solve_layer(side.problem, engine, replace(options, time_limit=limit), jobs=jobs)
    if result.upper < side.upper.sum():
        side.x = result.weights
        side.upper[:] = [row.result.upper for row in result.rows]
    if result.bound_kind is not BoundKind.NONE and result.lower > side.shared_lower:
        side.shared_lower = result.lower
        side.kind = [result.bound_kind] * len(side.kind)
    side.closed[:] = result.solved
