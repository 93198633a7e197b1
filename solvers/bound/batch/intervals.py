"""Pruned rows where H has one near-null direction: `relax.near_null` with two D for a row, all rows at once.

An interval [a, b] of t = p'(w - x) is bounded by the relaxation of the row w - m p / (lambda + rho) under H + pp',
m = (a + b) / 2, which is the same matrix for all rows: the intervals of all rows are rows of one batch, with the D
of the layer. Around t = 0, where bounds are least, that D loses a fifth of what a row's own gives, so that two
sweeps fit one there; a row's proof has some 20 vectors in any case. Intervals that give less than the one around 0
have the better D, and are halved, by geometric means, until none does or the rounds end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pvq.bounds.gram import FloatArray, IntArray
from pvq.bounds.proof import Below, Cover, Split

from ...base import Clock
from ...relax.near_null import Direction, first_cover
from .diagonal import Course, nearer
from .patterns import Groups
from .relaxation import AtDiagonal, Relaxed, relax

ROUNDS, MORE, POOR = 3, 2, 0.5
"""Times that intervals are halved: from four times as long as they are away from 0 to 1.2 times; and so many times
more where they have less than this part of the bound around 0."""

SLACK = 0.02
"""Part of the bound around 0 that others may lack: there are a fifth fewer, for .001 to .01 of the bound."""

NEARER = Course((1.0, 0.5), sweeps=2, first=0, steps=6)
"""From the layer's D to a row's own, of which one sweep gives half of what four do, two gives three quarters."""

TOGETHER = 1024
"""Intervals of one batch; more is memory and no speed."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """Intervals of many rows, side by side."""

    row: IntArray
    """(pieces,) row of each."""
    own: np.ndarray
    """(pieces,) whether it is bounded with the D of its row, else with that of the layer."""
    a: FloatArray
    b: FloatArray
    bound: FloatArray
    """(pieces,) nothing with t in [a, b] has less error."""
    point: FloatArray
    """(pieces, n) x of the relaxation."""

    @property
    def around(self) -> np.ndarray:
        """(pieces,) whether it has t = 0 inside."""
        return (self.a <= 0) & (self.b >= 0)

    def take(self, chosen: np.ndarray) -> Pieces:
        """Some of them."""
        return Pieces(*(of_each[chosen] for of_each in vars(self).values()))

    def and_also(self, other: Pieces) -> Pieces:
        """These and others."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Pieces(*(np.concatenate(pair) for pair in pairs))


class Intervals:
    """What the intervals of a layer's rows share."""

    def __init__(self, direction: Direction, at: AtDiagonal, groups: Groups, steps: int) -> None:
        """With D below H + pp', and the steps of a relaxation."""
        self.direction, self.at, self.groups, self.steps = direction, at, groups, steps

    def bounds(
        self, w: FloatArray, upper: FloatArray, known: Relaxed, below: Below, clock: Clock, refined: bool = True
    ) -> list[tuple[float, Cover]]:
        """The bound of each row w, (rows, n), and its proof; the first cover is always whole.

        Parameters
        ----------
        upper : (rows,) errors of feasible points, positive.
        known : relaxations at the layer's D and t = 0.
        below : the layer's D.
        refined : fit a D of its own to each row.
        """

        def ended() -> bool:
            return clock.ended() is not None

        h, own = self.direction.stiff.matrix, list[AtDiagonal | None]()
        for r in range(len(w)):
            one = w[[r]], self.groups, ended, NEARER, known.take([r])
            own.append(nearer(h, self.at.d, *one) if refined and not ended() else None)
        pieces = self._cover(w, upper, known.bound, own, clock)
        theirs = [below if at is None else Below(at.d) for at in own]
        return [self._proof(pieces, r, w[r], below, theirs[r]) for r in range(len(w))]

    def _cover(
        self, w: FloatArray, upper: FloatArray, bound: FloatArray, own: Sequence[AtDiagonal | None], clock: Clock
    ) -> Pieces:
        """All intervals of all rows.

        The D of a row is fitted to t = 0. Far from it that of the layer is the better one more often.
        """
        first = [first_cover(*ends, self.direction) for ends in zip(upper.tolist(), bound.tolist(), strict=True)]
        row = np.repeat(np.arange(len(w)), [len(pieces) for pieces in first])
        found = self._bounded(w, own, row, np.zeros(len(row), dtype=bool), *np.concatenate(first).T)
        found = self._tried(w, own, found, found.around)
        goal = np.empty(len(w))
        goal[found.row[found.around]] = (1 - SLACK) * found.bound[found.around]
        found = self._tried(w, own, found, ~found.around & (found.bound < goal[found.row]))
        may_gain = ~found.around
        for turn in range(ROUNDS + MORE):
            low = may_gain & (found.bound < (1.0 if turn < ROUNDS else POOR) * goal[found.row])
            if not low.any() or clock.ended() is not None:
                break
            parts = found.take(low)
            cut = np.copysign(np.sqrt(parts.a * parts.b), parts.a)
            halves = []
            for ends in ((parts.a, cut), (cut, parts.b)):
                half = self._bounded(w, own, parts.row, np.zeros(len(cut), dtype=bool), *ends)
                halves.append(self._tried(w, own, half, half.bound < goal[half.row]))
            better = np.minimum(halves[0].bound, halves[1].bound) > parts.bound
            np.minimum.at(goal, parts.row[~better], parts.bound[~better])  # no more is needed of the others
            whole = found.take(~low).and_also(parts.take(~better))
            found = whole.and_also(halves[0].take(better)).and_also(halves[1].take(better))
            may_gain = np.arange(len(found.row)) >= len(whole.row)
        return found

    def _tried(
        self, w: FloatArray, own: Sequence[AtDiagonal | None], pieces: Pieces, chosen: np.ndarray
    ) -> Pieces:
        """The same pieces in their order, those chosen with the D of their row where it is better."""
        chosen = chosen & np.array([at is not None for at in own])[pieces.row]
        some = np.flatnonzero(chosen)
        other = self._bounded(
            w, own, pieces.row[some], np.ones(len(some), dtype=bool), pieces.a[some], pieces.b[some]
        )
        better = other.bound > pieces.bound[some]
        source = np.arange(len(chosen))
        source[some[better]] = len(chosen) + np.flatnonzero(better)
        return pieces.and_also(other).take(source)

    def _bounded(
        self,
        w: FloatArray,
        own: Sequence[AtDiagonal | None],
        row: IntArray,
        mine: np.ndarray,
        a: FloatArray,
        b: FloatArray,
    ) -> Pieces:
        p, whole = self.direction.p, self.direction.whole
        middle, part = (a + b) / 2, 1.0 - float(p @ p) / whole
        bound, point = np.empty(len(row)), np.empty((len(row), w.shape[1]))
        shared = np.flatnonzero(~mine)
        batches = [(self.at, shared[k : k + TOGETHER]) for k in range(0, len(shared), TOGETHER)]
        for r in np.unique(row[mine]).tolist():
            at = own[r]
            assert at is not None
            batches.append((at, np.flatnonzero(mine & (row == r))))
        for at, some in batches:
            moved = w[row[some]] - middle[some, None] / whole * p
            found = relax(at, moved, self.groups, self.steps)
            # m^2 less what the moved row has of it, and what the interval's width costs
            bound[some] = found.bound + middle[some] ** 2 * part - (b[some] - a[some]) ** 2 / 4
            point[some] = found.x
        return Pieces(row, mine, a, b, bound, point)

    def _proof(self, pieces: Pieces, row: int, w: FloatArray, below: Below, own: Below) -> tuple[float, Cover]:
        """The least bound of a row's intervals, and its proof."""
        of_row = np.flatnonzero(pieces.row == row)
        of_row = of_row[np.argsort(pieces.a[of_row])]
        edges = np.append(pieces.a[of_row], pieces.b[of_row[-1]])
        of_each = zip(pieces.point[of_row], pieces.own[of_row].tolist(), strict=True)
        splits = tuple(Split(own if mine else below, point - w) for point, mine in of_each)
        return float(pieces.bound[of_row].min()), Cover(self.direction.p, self.direction.floor, edges, splits)
