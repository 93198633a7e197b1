"""Exact or bounded minima of many small problems that share one matrix: blocks of inputs, one target a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from pvq.bounds.gram import BoolArray, FloatArray, Gram, IntArray
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem

from ..base import Clock, Options, fallback_point
from ..empirical.local_search import polish_grid
from ..result import Outcome, Reason
from .enumeration import prepare_grid, solve_grid
from .plan import layer_plan, row_plan
from .restated import restate

NODES = 200_000
"""Nodes of a row where nobody says: a hundredth of a second of one thread, at 21 million nodes a second."""

RATE, LAUNCH = 1e9, 0.05
"""Nodes a second of a GPU that a node limit is taken for, a fraction of what it does, and seconds on top."""

OUTSIDE = 0.5
"""Steps outside the grid from which a row wants its inputs in an order of its own."""


@dataclass(frozen=True, eq=False)
class BlockMinima:
    """lower <= min over the grid of (t - x)' H (t - x) <= upper for every row t of the targets."""

    x: FloatArray
    """(rows, m) best grid points."""
    lower: FloatArray
    """(rows,) lower bounds, float64 with the slack `eta` of the engine already taken off."""
    upper: FloatArray
    """(rows,) errors of x."""
    nodes: IntArray
    """(rows,) nodes visited."""
    optimal: BoolArray
    """(rows,) whether the search ended: lower is the minimum up to gap and slack."""


def solve_block(
    gram: Gram,
    targets: FloatArray,
    grid: Grid | Sequence[Grid],
    starts: FloatArray | None = None,
    options: Options | None = None,
) -> BlockMinima:
    """Minimise (t - x)' H (t - x) over a grid for every row t of `targets`.

    Order, factors and diagonals are computed once for H (and kept in `gram.memo`), so a row costs its search and
    about half a millisecond. Rows whose target lies outside the grid reorder the inputs if the search is long.

    Parameters
    ----------
    gram : H, (m, m) positive definite, 2 to about 96 inputs. `Gram(matrix, rank=m)` skips the eigenvalues of
        `Gram.from_array`; the matrix must be exactly symmetric and have no zero rows.
    targets : (rows, m) real numbers, anywhere.
    grid : for all rows, or one for each row.
    starts : (rows, m) grid points to start from, optional.
    options : limits of each row, NODES nodes if None; on a limit the row's lower bound still holds. With a device
        other than "cpu" all rows go to a GPU first, a node limit taken as time, RATE nodes a second.

    Raises
    ------
    ProblemError
        Shapes that do not fit.
    """
    options = Options(time_limit=None, node_limit=NODES) if options is None else options
    targets = np.asarray(targets, dtype=np.float64)
    rows, m = targets.shape
    grids = [grid] * rows if isinstance(grid, Grid) else list(grid)
    x, lower, upper = np.empty((rows, m)), np.empty(rows), np.empty(rows)
    nodes, optimal = np.zeros(rows, np.int64), np.zeros(rows, dtype=bool)
    if rows:
        prepare_grid(Problem(targets[0], gram, grids[0]))
    problems = [Problem(target, gram, own) for target, own in zip(targets, grids, strict=True)]
    given = [None] * rows if starts is None else list(starts)
    done = {} if options.device == "cpu" or not rows else _together(problems, options, given)
    for r, problem in enumerate(problems):
        outcome = done[r] if r in done else solve_grid(problem, options, given[r])
        assert outcome.x is not None
        x[r], lower[r], upper[r] = outcome.x, outcome.lower, problem.certified(outcome.x).upper
        nodes[r], optimal[r] = outcome.nodes, outcome.reason is Reason.FINISHED
    return BlockMinima(x, np.minimum(lower, upper), upper, nodes, optimal)


def _together(
    problems: Sequence[Problem], options: Options, starts: Sequence[FloatArray | None]
) -> dict[int, Outcome]:
    """Outcomes of the rows that a GPU has searched to the end."""
    from .gpu.engine import wanted
    from .gpu.rows import search_rows

    gpu = wanted(problems[0], options)
    if gpu is None:
        return {}
    limits = [] if options.time_limit is None else [options.time_limit * len(problems)]
    if options.node_limit is not None:
        limits.append(options.node_limit * len(problems) / RATE + LAUNCH)
    clock = Clock(replace(options, time_limit=min(limits, default=None)))
    shrink = 1 - options.gap / 2
    rows, points, thresholds = [], [], []
    for problem, start in zip(problems, starts, strict=True):
        known = [fallback_point(problem)] + ([start] if start is not None and problem.is_feasible(start) else [])
        point = min((polish_grid(problem, x) for x in known), key=problem.error)
        row = restate(problem, layer_plan(problem))
        if max(-row.weight.min(), row.weight.max() - row.top) > OUTSIDE:
            row = restate(problem, row_plan(problem, clock))
        rows.append(row)
        points.append(point)
        thresholds.append(shrink * problem.certified(point).upper)
    outcomes = {}
    for r, found in enumerate(search_rows(gpu, rows, thresholds, clock)):
        if found is not None and found[0]:
            x = min([points[r], *found[1]], key=problems[r].error)
            upper = problems[r].certified(x).upper
            lower = min(thresholds[r], shrink * upper) - rows[r].slack(upper)
            outcomes[r] = Outcome(x, max(0.0, lower), Reason.FINISHED, found[2])
    return outcomes
