"""Pruning with one near-null direction of H, as LayerNorm leaves it: the bound is taken interval by interval.

Let Hq = lambda q with lambda far below all other eigenvalues. It forces D, and the bound with it, towards 0. With
p = sqrt(rho) q and t = p'(w - x), and for t in [a, b], (t - a)(t - b) <= 0 may be added to e:

    e(x) >= e(x) + (t - m)^2 - (b - a)^2 / 4,      m = (a + b) / 2.

The first two terms are the error of the row w - m p / (lambda + rho) under H + pp', plus
m^2 lambda / (lambda + rho): a problem without the direction, which has a good D. Any x better than the upper bound
U has t^2 <= U rho / lambda, so intervals that cover this range prove the least of their bounds. One that does not
contain 0 gains about ab over the one that does, so that few are needed.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, replace

import numpy as np
from pvq.bounds.gram import FloatArray, Gram
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Cover, Split
from pvq.bounds.stages import stage

from ..base import Clock
from ..kernels.blas import inverse_if_positive
from . import paired, pruning
from .bounded import Bounded
from .pruning import PrunedRow, Relaxed

APART = 8.0
"""The next eigenvalue is at least so many times larger; else the plain bound suffers little."""

FAR = 30.0
"""From here on a row is not bounded without intervals as well."""

STIFF = 5.0
"""rho in units of the next eigenvalue: more raises every interval's bound and costs more intervals."""

CENTRE, OWN = 0.006, 0.02
"""Parts of the upper bound and of the bound at t = 0 that the interval around 0 gives up, whichever is less: two
more intervals make it a sixteenth, and where a row's bound is .03 of its upper end .006 of that is a fifth."""

LEAST = 1e-4
"""It gives up this part of the upper bound at least, whatever the bound at t = 0 is: intervals would be many."""

LADDER = 4.0
"""Intervals away from 0 are so many times longer than they are away from it: F(m) there is next to rho a b."""

MOST, EACH = 40, 6
"""Improvements of the worst interval at most, in all or for each interval of the first cover: there are more, the
smaller lambda is. The cover holds at any time."""

FITS, SWEEPS = 12, 5
"""Fits of D at most, and sweeps of each: rows of the MiniLM query layer use most of them."""

GAIN = 2e-3
"""A fit that raises its interval by less than this part of the upper bound is the interval's last."""

FEW, HELD_DOWN = 64, 10.0
"""An n-th FEW of the inputs may have next to no D; a direction that holds down the others by less is no obstacle:
1.1 to 3.6 on layers of a decoder whose direction is a single input, 62 and more on those of an encoder."""

RESOLVED = 1e-3
"""Largest part of lambda that the rounding of an eigenvalue, n eps times the largest, may be."""

SURE, SURELY = 1e-4, 10.0
"""lambda is taken this much smaller, or by so many times its rounding, so that H - lambda qq' is clearly positive
semidefinite."""


@dataclass(frozen=True, eq=False)
class Direction:
    """The near-null direction of a Gram matrix, and the Gram matrix without it."""

    p: FloatArray
    """sqrt(rho) q."""
    floor: float
    """lambda / rho: e(x) >= floor t^2."""
    whole: float
    """lambda + rho."""
    stiff: Gram
    """H + pp'."""
    apart: float
    """How many times larger the next eigenvalue is."""


def near_null(gram: Gram) -> Direction | None:
    """The direction of the smallest eigenvalue if it stands apart, is known beyond its rounding, and is spread.

    q'Dq <= lambda holds D down. Where q is one input, only that has no D. Without the direction D would be near
    c_i = 1 / ((H + pp')^-1)_ii: the sum of c_i q_i^2 over other inputs says how far they are held down.
    """

    def find() -> Direction | None:
        n = len(gram)
        if n < 3:
            return None
        stage("near-null direction")
        values, vectors = np.linalg.eigh(gram.matrix)
        rounding = n * np.finfo(np.float64).eps * float(values[-1])
        if rounding > RESOLVED * values[0] or values[1] < APART * values[0]:
            return None
        rho = STIFF * float(values[1])
        p = np.sqrt(rho) * vectors[:, 0]
        matrix = gram.matrix + np.outer(p, p)
        inverse = inverse_if_positive(matrix.copy())
        if inverse is None:
            return None
        share = np.sort(vectors[:, 0] ** 2 / np.diag(inverse))[: n - max(1, n // FEW)]
        if share.sum() < HELD_DOWN * values[0]:
            return None
        matrix.setflags(write=False)
        eigenvalue = float(values[0]) - max(SURE * float(values[0]), SURELY * rounding)
        return Direction(
            p, eigenvalue / rho, eigenvalue + rho, Gram(matrix, rank=n), float(values[1]) / eigenvalue
        )

    return gram.memo(near_null, find)


@dataclass(frozen=True, eq=False)
class Piece:
    """An interval with its bound."""

    bound: float
    a: float
    b: float
    split: Split

    @property
    def middle(self) -> float:
        """Where its D is fitted."""
        return (self.a + self.b) / 2

    def __lt__(self, other: Piece) -> bool:
        return self.bound < other.bound


class Fits:
    """D for some t, each with the relaxation's point there; the nearest one serves the others."""

    def __init__(self, problem: Problem, upper: float, direction: Direction, clock: Clock) -> None:
        self.problem, self.upper, self.direction, self.clock = problem, upper, direction, clock
        self.stiff = replace(problem, gram=direction.stiff)
        self.coupled = paired.has_pairs(self.stiff)
        self.known: dict[float, tuple[Below, Relaxed]] = {}
        self.made = 0

    def fit(self, t: float) -> None:
        """The D for t: from scratch, or with pairs a few sweeps from the nearest."""
        self.made += 1
        row = self._row(t)
        if not (self.coupled and self.known):
            self.known[t] = pruning.bound_by_pairs(row, self.clock)
            return
        below, near = self._nearest(t)
        below, x, bound = paired.improve(row.problem, self.upper, below, near.point, self.clock, SWEEPS)
        self.known[t] = below, Relaxed(x, bound)

    def piece(self, a: float, b: float) -> Piece:
        """An interval, bounded with the D that is nearest to its middle."""
        m, p = (a + b) / 2, self.direction.p
        below, near = self._nearest(m)
        found = pruning.relaxed(self._row(m), below, near.point if self.coupled else None)
        # m^2 less what the moved row has of it, and what the interval's width costs
        bound = found.bound + m * m * (1 - float(p @ p) / self.direction.whole) - (b - a) ** 2 / 4
        return Piece(bound, a, b, Split(below, found.point - self.problem.weight))

    def refitted(self, piece: Piece) -> Piece:
        """The interval after a fit to its middle, or as it is if that is better."""
        self.fit(piece.middle)
        return max(piece, self.piece(piece.a, piece.b))

    def left_for(self, piece: Piece) -> bool:
        """Whether there may be a fit more for it: without pairs a second one would give the same D."""
        return self.made < FITS and (self.coupled or piece.middle not in self.known)

    def _row(self, t: float) -> PrunedRow:
        moved = self.problem.weight - t / self.direction.whole * self.direction.p
        return PrunedRow.of(replace(self.stiff, weight=moved), self.upper)

    def _nearest(self, t: float) -> tuple[Below, Relaxed]:
        return self.known[min(self.known, key=lambda other: abs(other - t))]


def bound_by_intervals(problem: Problem, upper: float, direction: Direction, clock: Clock) -> Bounded:
    """Lower bound of a row and its proof; 0 and none if time ends before the range is covered once.

    The D that is best at t = 0 is not that of other t: the worst interval gets one of its own, from that of the
    nearest, which its neighbours use as well; one that has it is improved further, and then split.
    """
    fits = Fits(problem, upper, direction, clock)
    fits.fit(0.0)
    heap: list[Piece] = []
    for a, b in first_cover(upper, fits.known[0.0][1].bound, direction):
        if clock.ended() is not None:
            return Bounded(0.0)
        heapq.heappush(heap, fits.piece(a, b))
    final: set[float] = set()
    for _ in range(max(MOST, EACH * len(heap))):
        worst = heap[0]
        if clock.ended() is not None:
            break
        if fits.left_for(worst) and worst.middle not in final:
            better = fits.refitted(worst)
            if better.bound < worst.bound + GAIN * upper:
                final.add(worst.middle)
            heapq.heapreplace(heap, better)
            continue
        if worst.a <= 0.0 <= worst.b:
            break
        cut = float(np.copysign(np.sqrt(worst.a * worst.b), worst.a))
        parts = []
        for part in (fits.piece(worst.a, cut), fits.piece(cut, worst.b)):
            again = part.bound < worst.bound and fits.made < FITS
            parts.append(fits.refitted(part) if again else part)
        if min(parts).bound < worst.bound:
            break
        heapq.heapreplace(heap, parts[0])
        heapq.heappush(heap, parts[1])
    pieces = sorted(heap, key=lambda piece: piece.a)
    ends = np.array([*(piece.a for piece in pieces), pieces[-1].b])
    cover = Cover(direction.p, direction.floor, ends, tuple(piece.split for piece in pieces))
    return Bounded(heap[0].bound, cover)


def first_cover(upper: float, bound: float, direction: Direction) -> list[tuple[float, float]]:
    """Intervals of all t that a row below the upper bound may have: one around 0, then longer and longer ones.

    Parameters
    ----------
    bound : at t = 0, whatever the width of an interval costs; nothing is known of it where it is not positive.
    """
    reach = float(np.sqrt(upper / direction.floor)) * (1 + SURE)
    given_up = min(CENTRE * upper, max(OWN * bound, LEAST * upper)) if bound > 0 else CENTRE * upper
    edges = [min(float(np.sqrt(given_up)), reach)]
    while edges[-1] < reach:
        edges.append(min(LADDER * edges[-1], reach))
    cover = [(-edges[0], edges[0])]
    for a, b in itertools.pairwise(edges):
        cover += [(a, b), (-b, -a)]
    return cover
