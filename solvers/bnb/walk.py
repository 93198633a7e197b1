"""Depth-first searches that can be stopped and run on: the state of the compiled kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from pvq.bounds.gram import FloatArray, IntArray
from pvq.bounds.problem import Problem

from ..empirical.local_search import values_of
from ..kernels.apart import entry, inner
from ..kernels.sparing import assign
from .even import ROOM, Batches, search_even
from .factors import EPS
from .frontier import Frontier, centres_of
from .restated import Restated
from .uneven import move, nearest, search_uneven, use
from .vectors import aligned


class Walk:
    """A depth-first search of a row below a list of nodes; several may share the nodes of a tree."""

    def __init__(self, row: Restated, shrink: float) -> None:
        n = len(row.weight)
        self.row, self.shrink = row, shrink
        self.picks = np.full(n, -1, np.int64)
        """Values of the best leaf found here."""
        self.bounds = np.array([np.inf, np.inf])
        """[error of the best leaf, threshold]."""
        self._where, self._at = np.zeros(4, np.int64), np.zeros(1, np.int64)
        self._frontier, self._nodes = Frontier(n, 1), np.zeros(1, np.int64)
        self._state: tuple[Any, ...]
        if row.top > 0:
            self._state = Batches.empty(n)
        else:
            partial, zigzag, index = np.zeros(n + 1), np.zeros((2, n + 1), np.int64), np.zeros(n, np.int64)
            self._state = aligned(n + 1, row.width), partial, zigzag, index
        self._pattern, self._spare = row.own_pattern(), row.spare()

    def take(self, frontier: Frontier, nodes: IntArray) -> None:
        """Search below these nodes of a frontier, in turn; their bounds must not fall."""
        self._frontier, self._nodes = frontier, nodes
        self._at[0], self._where[3] = -1, 1

    def take_root(self) -> None:
        """Search everything."""
        root = Frontier(len(self.row.weight), 1)
        root.put_root(0.0)
        self.take(root, np.zeros(1, np.int64))

    def run(self, budget: int, upper: float, threshold: float) -> bool:
        """Search on for a number of nodes, pruning at the threshold; True if all of the list is done.

        A leaf below the threshold is left in `picks`, its error in `bounds[0]`, which is `upper` otherwise.
        """
        self.bounds[:] = upper, threshold
        row, frontier = self.row, self._frontier
        trees = self._at, self._nodes, frontier.bound, frontier.level, frontier.picks
        shared = self._where, self.bounds, self._state, self.picks, row.weight, row.factors, row.grid
        if row.top > 0:
            return bool(_sweep_even(budget, trees, *shared, row.top, self.shrink))
        return bool(_sweep_uneven(budget, trees, *shared, self._pattern, self._spare, self.shrink))

    @property
    def nodes(self) -> int:
        """Nodes visited so far."""
        return int(self._where[2])

    @property
    def done(self) -> int:
        """How many of the list are done."""
        return int(self._at[0]) + int(self._where[3])


@inner()
def next_node(trees, where, bounds):  # type: ignore[no-untyped-def]
    """Move to the next node of the list; -1 if there is none below the threshold."""
    at, nodes, bound, level, _ = trees
    if at[0] + 1 >= len(nodes) or bound[nodes[at[0] + 1]] >= bounds[1]:
        return -1
    at[0] += 1
    node = nodes[at[0]]
    where[0], where[1], where[3] = level[node], level[node], 0
    return node


@entry()
def _sweep_even(budget, trees, where, bounds, state, best, weight, plan, grid, top, shrink):  # type: ignore[no-untyped-def]
    """`search_even` below each node of a list."""
    picks, spare = trees[4], np.empty(plan[1].shape[1])
    end = where[2] + budget
    while where[2] < end:
        if where[3]:
            node = next_node(trees, where, bounds)
            if node < 0:
                return True
            m = where[0]
            state.partial[m * ROOM] = centres_of(m, picks[node], weight, plan, grid, spare)
            assign(state.centres[state.start[m] :], spare[:m])
            state.alive[m * ROOM], state.kept[m], state.done[m], state.turn[m] = 0, 1, 0, 0.0
            for i in range(m, len(weight)):
                state.fixed[i] = picks[node, i]
        search_even(end - where[2], where, bounds, state, best, plan, top, shrink)
    return False


@entry()
def _sweep_uneven(  # type: ignore[no-untyped-def]
    budget, trees, where, bounds, state, best, weight, plan, grid, pattern, spare, shrink
):
    """`search_uneven` below each node of a list."""
    centres, partial, zigzag, index = state
    values, count, group, _ = grid
    picks = trees[4]
    end = where[2] + budget
    while where[2] < end:
        if where[3]:
            node = next_node(trees, where, bounds)
            if node < 0:
                return True
            m = where[0]
            partial[m] = centres_of(m, picks[node], weight, plan, grid, centres[m])
            for i in range(m, len(weight)):
                index[i] = picks[node, i]
            use(m, index, grid, pattern)
            g = group[m - 1]
            near = nearest(values[g], count[g], centres[m, m - 1])
            zigzag[0, m], zigzag[1, m] = near, near + 1
        search_uneven(end - where[2], where, bounds, state, best, plan, grid, pattern, spare, shrink)
    return False


def root_bound(row: Restated) -> float:
    """The bound ahead of the whole row, sum_i d_i dist(w_i, grid_i)^2 without a budget: needs no search."""
    n = len(row.weight)
    values, count, group, by_value = row.grid
    diagonal = row.factors[2][n]
    if len(row.pattern[4]) > 0:
        out = np.empty(row.width)
        return float(move(n, row.weight, out, np.zeros(n), 0.0, diagonal, row.grid, row.pattern, row.spare()))
    # as `move` has it, which the first row of even steps need not wait for
    if len(by_value) > 0:
        far = np.abs(row.weight - by_value).min(axis=0)
    else:
        far = np.array([np.abs(w - values[g, : count[g]]).min() for w, g in zip(row.weight, group, strict=True)])
    return float(diagonal[:n] @ (far * far))


def apart_bound(problem: Problem, diagonal: FloatArray) -> float:
    """sum_i d_i min_v (w_i - v)^2 over the values of each input, rounded down: differences of two numbers are
    exact up to half a unit of their last digit, however small, as centres and steps are not."""
    values, count, group = values_of(problem)
    inside = np.arange(values.shape[1]) < count[:, None]
    apart = np.where(inside[group], np.abs(values[group] - problem.weight[:, None]), np.inf).min(axis=1)
    return float(diagonal @ apart**2) * (1 - (problem.n + 8) * EPS)
