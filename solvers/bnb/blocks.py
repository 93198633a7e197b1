"""Exact or bounded minima of many small problems that share one matrix: blocks of inputs, one target a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pvq.bounds.gram import BoolArray, FloatArray, Gram, IntArray
from pvq.bounds.grid import Grid
from pvq.bounds.problem import Problem

from ..base import Options
from ..result import Reason
from .enumeration import prepare_grid, solve_grid

NODES = 200_000
"""Nodes of a row where nobody says: chosen, not measured."""


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
    options : limits of each row, NODES nodes if None; on a limit the row's lower bound still holds.

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
    for r in range(rows):
        problem = Problem(targets[r], gram, grids[r])
        outcome = solve_grid(problem, options, None if starts is None else starts[r])
        assert outcome.x is not None
        x[r], lower[r], upper[r] = outcome.x, outcome.lower, problem.certified(outcome.x).upper
        nodes[r], optimal[r] = outcome.nodes, outcome.reason is Reason.FINISHED
    return BlockMinima(x, np.minimum(lower, upper), upper, nodes, optimal)
