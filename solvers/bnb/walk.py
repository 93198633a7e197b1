"""A depth-first search below one node that can be stopped and run on: the state of the compiled kernels."""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import IntArray

from .even import search_even
from .frontier import centres_of
from .restated import Restated
from .uneven import move, nearest, search_uneven, use
from .vectors import aligned


class Walk:
    """One depth-first search of a row; several may search different subtrees of it at the same time."""

    def __init__(self, row: Restated, shrink: float) -> None:
        n = len(row.weight)
        self.row, self.shrink = row, shrink
        self.picks = np.full(n, -1, np.int64)
        """Values of the best leaf found here."""
        self.bounds = np.array([np.inf, np.inf])
        """[error of the best leaf, threshold]."""
        self._where = np.zeros(4, np.int64)
        self._index = np.zeros((2, n), np.int64)
        self._partial, self._zigzag = np.zeros(n + 1), np.zeros((2, n + 1), np.int64)
        self._pattern, self._spare = row.own_pattern(), row.spare()
        if row.top > 0:
            self._centres = aligned(n + 1, 2, row.width)
            self._slot, self._later = np.zeros(n + 1, np.int64), np.full((2, n + 1), np.inf)
        else:
            self._centres = aligned(n + 1, 1, row.width)

    def stand(self, level: int, picks: IntArray) -> None:
        """Stand at a node: `level` undecided positions, the values of the others in picks[level:]."""
        row, top = self.row, level - 1
        self._where[:2] = level
        self._where[3] = 0
        centres = self._centres[level, 0]
        self._partial[level] = centres_of(level, picks, row.weight, row.factors, row.grid, centres)
        self._index[0, level:] = picks[level:]
        g = row.group[top]
        near = nearest(row.values[g], row.grid[1][g], centres[top])
        self._zigzag[:, level] = near, near + 1
        if row.top > 0:
            self._slot[level], self._later[1, level] = 0, np.inf
        else:
            use(level, self._index[0], row.grid, self._pattern)

    def run(self, budget: int, upper: float, threshold: float) -> bool:
        """Search on for a number of nodes, pruning at the threshold; True if the subtree is done.

        A leaf below the threshold is left in `picks`, its error in `bounds[0]`, which is `upper` otherwise.
        """
        self.bounds[:] = upper, threshold
        row, where = self.row, self._where
        if row.top > 0:
            state = self._centres, self._partial, self._zigzag, self._slot, self._later, self._index
            search_even(budget, where, self.bounds, state, self.picks, row.factors, row.top, self.shrink)
        else:
            uneven = self._centres[:, 0], self._partial, self._zigzag, self._index[0]
            more = row.grid, self._pattern, self._spare, self.shrink
            search_uneven(budget, where, self.bounds, uneven, self.picks, row.factors, *more)
        return bool(where[3])

    @property
    def nodes(self) -> int:
        """Nodes visited so far."""
        return int(self._where[2])


def root_bound(row: Restated) -> float:
    """The bound ahead of the whole row, sum_i d_i dist(w_i, grid_i)^2 without a budget: needs no search."""
    n = len(row.weight)
    out, diagonal = np.empty(row.width), row.factors[2][n]
    pattern = row.own_pattern()
    use(n, np.zeros(n, np.int64), row.grid, pattern)
    return float(move(n, row.weight, out, np.zeros(n), 0.0, diagonal, row.grid, pattern, row.spare()))
