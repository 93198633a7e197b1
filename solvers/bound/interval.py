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

from ..base import Clock
from . import paired, pruning
from .pruning import Relaxed, Row

APART = 8.0
"""The next eigenvalue is at least so many times larger; else the plain bound suffers little."""

FAR = 30.0
"""From here on a row is not bounded without intervals as well."""

STIFF = 5.0
"""rho in units of the next eigenvalue: more raises every interval's bound and costs more intervals."""

CENTRE = 0.006
"""Part of the upper bound that the interval around 0 gives up."""

LADDER = 4.0
"""Intervals away from 0 are so many times longer than they are away from it: F(m) there is next to rho a b."""

MOST = 40
"""Improvements of the worst interval at most; the cover holds at any time."""

FITS, SWEEPS = 12, 5
"""Fits of D at most, and sweeps of each: rows of the MiniLM query layer use most of them."""

GAIN = 2e-3
"""A fit that raises its interval by less than this part of the upper bound is the interval's last."""

RESOLVED = 1e-6
"""Largest part of lambda that the rounding of an eigenvalue may be."""

SURE = 1e-4
"""lambda is taken this much smaller, so that H - lambda qq' is clearly positive semidefinite."""


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
    """The direction of the smallest eigenvalue if it stands apart and is known to more than its rounding."""

    def find() -> Direction | None:
        n = len(gram)
        if n < 3:
            return None
        values, vectors = np.linalg.eigh(gram.matrix)
        resolved = n * np.finfo(np.float64).eps * values[-1] / RESOLVED
        if values[0] < resolved or values[1] < APART * values[0]:
            return None
        rho = STIFF * float(values[1])
        p = np.sqrt(rho) * vectors[:, 0]
        matrix = gram.matrix + np.outer(p, p)
        matrix.setflags(write=False)
        eigenvalue = float(values[0]) * (1 - SURE)
        return Direction(
            p, eigenvalue / rho, eigenvalue + rho, Gram(matrix, rank=n), float(values[1]) / eigenvalue
        )

    return gram.memo("bound: near-null direction", find)


@dataclass(frozen=True, eq=False)
class Piece:
    """An interval with its bound."""

    bound: float
    a: float
    b: float
    split: Split

    def __lt__(self, other: Piece) -> bool:
        return self.bound < other.bound


def bound_by_intervals(
    problem: Problem, upper: float, direction: Direction, clock: Clock
) -> tuple[float, Cover | None]:
    """Lower bound of a row and its proof; 0 and None if time ends before the range is covered once.

    The D that is best at t = 0 is not that of other t: the worst interval gets one of its own, from that of the
    nearest, which its neighbours use as well; one that has it is improved further, and then split.
    """
    stiff, p = replace(problem, gram=direction.stiff), direction.p
    reach = float(np.sqrt(upper / direction.floor)) * (1 + SURE)
    half = min(float(np.sqrt(CENTRE * upper)), reach)

    def row_at(t: float) -> Row:
        return Row.of(replace(stiff, weight=problem.weight - t / direction.whole * p), upper)

    fitted: dict[float, tuple[Below, Relaxed]] = {}
    coupled = paired.has_pairs(stiff)

    def nearest(t: float) -> float:
        return min(fitted, key=lambda other: abs(other - t))

    def fit(t: float) -> None:
        if not (coupled and fitted):
            fitted[t] = pruning.bound_row(row_at(t), clock)
            return
        below, known = fitted[nearest(t)]
        below, point, bound = paired.improve(row_at(t).problem, upper, below, known.point, clock, SWEEPS)
        fitted[t] = below, Relaxed(point, bound)

    def piece(a: float, b: float) -> Piece:
        m = (a + b) / 2
        below, known = fitted[nearest(m)]
        found = pruning.relaxed(row_at(m), below, known.point if coupled else None)
        # m^2 less what the moved row has of it, and what the interval's width costs
        bound = found.bound + m * m * (1 - float(p @ p) / direction.whole) - (b - a) ** 2 / 4
        return Piece(bound, a, b, Split(below, found.point - problem.weight))

    fit(0.0)
    edges = [half]
    while edges[-1] < reach:
        edges.append(min(LADDER * edges[-1], reach))
    cover = [(-half, half)]
    for a, b in itertools.pairwise(edges):
        cover += [(a, b), (-b, -a)]
    heap: list[Piece] = []
    for a, b in cover:
        if clock.ended() is not None:
            return 0.0, None
        heapq.heappush(heap, piece(a, b))
    fits, final = 1, set[float]()
    for _ in range(MOST):
        worst = heap[0]
        a, b = worst.a, worst.b
        m = (a + b) / 2
        if clock.ended() is not None:
            break
        if fits < FITS and m not in final:
            if m in fitted and not coupled:
                final.add(m)
                continue
            fit(m)
            fits += 1
            better = piece(a, b)
            if m in fitted and better.bound < worst.bound + GAIN * upper:
                final.add(m)
            heapq.heapreplace(heap, max(worst, better))
            continue
        if a <= 0.0 <= b:
            break
        cut = float(np.copysign(np.sqrt(a * b), a))
        parts = []
        for part in (piece(a, cut), piece(cut, b)):
            if part.bound < worst.bound and fits < FITS:
                fit((part.a + part.b) / 2)
                fits += 1
                part = max(part, piece(part.a, part.b))
            parts.append(part)
        if min(parts).bound < worst.bound:
            break
        heapq.heapreplace(heap, parts[0])
        heapq.heappush(heap, parts[1])
    pieces = sorted(heap, key=lambda piece: piece.a)
    ends = np.array([*(piece.a for piece in pieces), pieces[-1].b])
    return heap[0].bound, Cover(p, direction.floor, ends, tuple(piece.split for piece in pieces))
