"""Pruned rows where H has one near-null direction: `relax.near_null` with one D for the layer, all rows at once.

An interval [a, b] of t = p'(w - x) is bounded by the relaxation of the row w - m p / (lambda + rho) under H + pp',
m = (a + b) / 2, which is the same matrix for all rows: the intervals of all rows are rows of one batch. Those
that give less than the interval around 0 are halved, by geometric means, until none does or the rounds end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pvq.bounds.gram import FloatArray, IntArray
from pvq.bounds.proof import Below, Cover, Split

from ...base import Clock
from ...relax.near_null import Direction, first_cover
from .patterns import Groups
from .relaxation import AtDiagonal, relax

ROUNDS = 4
"""Times that intervals are halved: from four times as long as they are away from 0 to 1.09 times."""

TOGETHER = 1024
"""Intervals of one batch; more is memory and no speed."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """Intervals of many rows, side by side."""

    row: IntArray
    """(pieces,) row of each."""
    a: FloatArray
    b: FloatArray
    bound: FloatArray
    """(pieces,) nothing with t in [a, b] has less error."""
    point: FloatArray
    """(pieces, n) x of the relaxation."""

    def take(self, chosen: np.ndarray) -> Pieces:
        """Some of them."""
        return Pieces(self.row[chosen], self.a[chosen], self.b[chosen], self.bound[chosen], self.point[chosen])

    def and_also(self, other: Pieces) -> Pieces:
        """These and others."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Pieces(*(np.concatenate(pair) for pair in pairs))


class Intervals:
    """What the intervals of a layer's rows share."""

    def __init__(self, direction: Direction, at: AtDiagonal, groups: Groups, steps: int) -> None:
        """With D below H + pp', and the steps of a relaxation."""
        self.direction, self.at, self.groups, self.steps = direction, at, groups, steps

    def cover(self, w: FloatArray, upper: FloatArray, clock: Clock) -> Pieces:
        """All intervals of rows w, (rows, n), whose errors are at most `upper`; the first cover always whole."""
        unit = np.array(first_cover(1.0, self.direction))
        row = np.repeat(np.arange(len(w)), len(unit))
        scale = np.sqrt(upper)[row]
        found = self._bounded(w, row, np.tile(unit[:, 0], len(w)) * scale, np.tile(unit[:, 1], len(w)) * scale)
        centre = found.bound[:: len(unit)].copy()
        for _ in range(ROUNDS):
            around = (found.a <= 0) & (found.b >= 0)
            low = (found.bound < centre[found.row]) & ~around
            if not low.any() or clock.ended() is not None:
                break
            parts = found.take(low)
            cut = np.copysign(np.sqrt(parts.a * parts.b), parts.a)
            halves = [self._bounded(w, parts.row, *ends) for ends in ((parts.a, cut), (cut, parts.b))]
            found = found.take(~low).and_also(halves[0]).and_also(halves[1])
        return found

    def _bounded(self, w: FloatArray, row: IntArray, a: FloatArray, b: FloatArray) -> Pieces:
        p, whole = self.direction.p, self.direction.whole
        middle, own = (a + b) / 2, 1.0 - float(p @ p) / whole
        bound, point = np.empty(len(row)), np.empty((len(row), w.shape[1]))
        for first in range(0, len(row), TOGETHER):
            some = slice(first, first + TOGETHER)
            moved = w[row[some]] - middle[some, None] / whole * p
            found = relax(self.at, moved, self.groups, self.steps)
            # m^2 less what the moved row has of it, and what the interval's width costs
            bound[some] = found.bound + middle[some] ** 2 * own - (b[some] - a[some]) ** 2 / 4
            point[some] = found.x
        return Pieces(row, a, b, bound, point)

    def proof(self, pieces: Pieces, row: int, w: FloatArray, below: Below) -> tuple[float, Cover]:
        """The least bound of a row's intervals, and its proof."""
        own = np.flatnonzero(pieces.row == row)
        own = own[np.argsort(pieces.a[own])]
        edges = np.append(pieces.a[own], pieces.b[own[-1]])
        splits = tuple(Split(below, point - w) for point in pieces.point[own])
        return float(pieces.bound[own].min()), Cover(self.direction.p, self.direction.floor, edges, splits)
