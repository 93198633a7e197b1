"""The depth-first search of even steps in float32, and a walk that goes on in float64 where that is no use."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import float32
from pvq.bounds.gram import FloatArray, IntArray

from ..kernels.apart import MATRIX, NUMBERS, REAL, VECTOR, WHOLE, apart, entry, inner, named, several
from ..kernels.sparing import ZERO, assign
from .even import FACTORS as IN_DOUBLE
from .even import ROOM, Batches, bound, find, values_of
from .frontier import centres_of
from .restated import Restated
from .single import Single, single_of
from .walk import Walk, next_node

SHORT, SHORTS = float32[::1], float32[:, ::1]
BATCHES = named(
    [SHORT, NUMBERS, VECTOR, NUMBERS, VECTOR, NUMBERS, NUMBERS, NUMBERS, VECTOR, VECTOR, NUMBERS], Batches
)
FACTORS = several((VECTOR, SHORTS, SHORTS))

MISSED, PART = 1000, 1000
"""Leaves within the rounding that are no better than what is known, besides one of so many nodes, before a walk
goes on in float64: each takes as long as a hundred nodes, and equal errors may have any number of them."""


LONG = 5_000_000
"""Nodes from which a search is in float32: shorter ones do not wait until it is compiled."""


class Exact(NamedTuple):
    """What leaves are added up again with, and what follows from them."""

    weight: FloatArray
    """(n,)"""
    factors: tuple[FloatArray, FloatArray, FloatArray]
    grid: tuple[Any, ...]
    """As of the row."""
    picks: IntArray
    """(n,) values of a leaf."""
    centres: FloatArray
    """(width,) space."""
    raised: FloatArray
    """[T scaled, r, 1 + rel, scale] of `single`."""
    missed: IntArray
    """(1,) leaves that were no better than what is known."""


GRID = several((MATRIX, NUMBERS, NUMBERS, MATRIX))
EXACT = named([VECTOR, IN_DOUBLE, GRID, NUMBERS, VECTOR, VECTOR, NUMBERS], Exact)


class SingleWalk(Walk):
    """A `Walk` in float32 as far as rounding allows."""

    def __init__(self, row: Restated, shrink: float, single: Single) -> None:
        super().__init__(row, shrink)
        n = len(row.weight)
        self.is_single = True
        """Whether it still searches in float32."""
        self._single, self._threshold = single, -1.0
        self._batches = Batches.empty(n, np.float32)
        self._exact = Exact(
            row.weight,
            row.factors,
            row.grid,
            np.zeros(n, np.int64),
            np.zeros(row.width),
            np.zeros(4),
            np.zeros(1, np.int64),
        )

    def run(self, budget: int, upper: float, threshold: float) -> bool:
        """As `Walk.run`."""
        single, exact = self._single, self._exact
        if self.is_single and not 0 < threshold <= self._threshold:
            radius = single.radius(threshold) if np.isfinite(threshold) else None
            if radius is None:
                self._leave()
            else:
                self._threshold = threshold
                exact.raised[1:] = radius, single.relative, single.scale
        if not self.is_single:
            return super().run(budget, upper, threshold)
        self.bounds[:] = upper, threshold
        exact.raised[0] = single.raised(threshold, exact.raised[1]) * single.scale
        frontier = self._frontier
        trees = self._at, self._nodes, frontier.bound, frontier.level, frontier.picks
        shared = self._where, self.bounds, self._batches, self.picks
        plan = single.pivot, single.slope, single.diagonal
        done = bool(_sweep_single(budget, trees, *shared, plan, exact, self.row.top, self.shrink))
        if not done and exact.missed[0] > MISSED + self.nodes // PART:
            self._leave()
        return done

    def _leave(self) -> None:
        """Go on in float64, from the root of the subtree it stands in."""
        self.is_single = False
        if not self._where[3]:
            self._at[0] -= 1
            self._where[3] = 1


def walk_for(row: Restated, shrink: float, threshold: float, nodes: float) -> Walk:
    """A walk for a search of about so many nodes below a threshold, in float32 where that is of use.

    nodes : infinity where it is not known.
    """
    single = single_of(row) if nodes >= LONG else None
    fits = single is not None and single.radius(threshold) is not None
    return SingleWalk(row, shrink, single) if single is not None and fits else Walk(row, shrink)


@apart(None, WHOLE, NUMBERS, VECTOR, BATCHES, NUMBERS, FACTORS, EXACT, REAL, REAL, fastmath={"contract"})
def search_single(budget, where, bounds, batches, best, plan, exact, top, shrink):  # type: ignore[no-untyped-def]
    """`search_even` with centres, slopes and diagonals in float32, errors scaled; ends early at too many leaves.

    Parameters
    ----------
    bounds : [upper, threshold], not scaled.
    plan : pivot (n,), slope (n, width), diagonal (n + 1, width) of `Single`.
    """
    m, root, nodes = where[0], where[1], where[2]
    end, raised = nodes + budget, exact.raised
    while nodes < end and exact.missed[0] <= MISSED + nodes // PART:
        if batches.done[m] == batches.kept[m]:
            if m == root:
                where[3] = 1
                break
            m += 1
            continue
        found = find(m, batches, plan[0][m - 1], top, raised[0])
        nodes += found
        if m == 1:
            _finish(found, root, batches, bounds, best, exact, shrink)
        elif bound(m - 1, found, batches, plan, top, raised[0]) > 0:
            m -= 1
    where[0], where[2] = m, nodes


@inner()
def _finish(found, root, batches, bounds, best, exact, shrink):  # type: ignore[no-untyped-def]
    """Take the least of the leaves just found, by their errors in float64."""
    picks, raised = exact.picks, exact.raised
    for c in range(found):
        if not batches.partial[c] < raised[0]:
            continue
        values_of(c, root, batches, picks)
        error = centres_of(ZERO, picks, exact.weight, exact.factors, exact.grid, exact.centres)
        if error < bounds[1]:
            bounds[0], bounds[1] = error, shrink * error
            assign(best, picks)
            raised[0] = (np.sqrt(bounds[1]) + raised[1]) ** 2 * raised[2] * raised[3]
        else:
            exact.missed[0] += 1


@entry()
def _sweep_single(budget, trees, where, bounds, state, best, plan, exact, top, shrink):  # type: ignore[no-untyped-def]
    """`search_single` below each node of a list."""
    picks, centres = trees[4], exact.centres
    end = where[2] + budget
    while where[2] < end and exact.missed[0] <= MISSED + where[2] // PART:
        if where[3]:
            node = next_node(trees, where, bounds)
            if node < 0:
                return True
            m = where[0]
            partial = centres_of(m, picks[node], exact.weight, exact.factors, exact.grid, centres)
            state.partial[m * ROOM] = partial * exact.raised[3]
            for j in range(m):
                state.centres[state.start[m] + j] = centres[j]
            state.alive[m * ROOM], state.kept[m], state.done[m], state.turn[m] = 0, 1, 0, 0.0
            for i in range(m, len(exact.weight)):
                state.fixed[i] = picks[node, i]
        search_single(end - where[2], where, bounds, state, best, plan, exact, top, shrink)
    return False
