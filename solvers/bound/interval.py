"""Pruning with one near-null direction of H, as LayerNorm leaves it: the bound is taken interval by interval.

Let Hq = lambda q with lambda far below all other eigenvalues. It forces D, and the bound with it, towards 0. With
t = q'(w - x), and for t in [a, b], (t - a)(t - b) <= 0 may be added to e, rho times:

    e(x) >= e(x) + rho (t - m)^2 - rho (b - a)^2 / 4,      m = (a + b) / 2.

The first two terms are the error of the row w - rho m q / (lambda + rho) under H + rho qq', plus
rho m^2 lambda / (lambda + rho): a problem without the direction, which has a good D. Any x better than the upper
bound U has |t| <= sqrt(U / lambda), so intervals that cover this range prove the least of their bounds. One that
does not contain 0 gains about rho a b over the one that does, so that few are needed.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, replace

import numpy as np
from pvq.bounds.gram import FloatArray, Gram
from pvq.bounds.problem import Problem

from ..base import Clock
from . import pruning
from .pruning import Row

APART = 8.0
"""The next eigenvalue is at least so many times larger; else the plain bound suffers little."""

STIFF = 5.0
"""rho in units of the next eigenvalue: more raises every interval's bound and costs more intervals."""

CENTRE = 0.006
"""Part of the upper bound that the interval around 0 gives up."""

LADDER = 4.0
"""Intervals away from 0 are so many times longer than they are away from it: F(m) there is next to rho a b."""

SPLITS = 24
"""Intervals split at most, the worst first; the cover holds at any time."""

SURE = 1e-6
"""lambda is taken this much smaller, which covers the rounding of an eigenvalue 1e6 times that of H."""


@dataclass(frozen=True, eq=False)
class Direction:
    """The near-null direction of a Gram matrix, and the Gram matrix without it."""

    q: FloatArray
    eigenvalue: float
    rho: float
    stiff: Gram
    """H + rho qq'."""


def near_null(gram: Gram) -> Direction | None:
    """The direction of the smallest eigenvalue if it stands apart and is known to more than its rounding."""

    def find() -> Direction | None:
        n = len(gram)
        if n < 3:
            return None
        values, vectors = np.linalg.eigh(gram.matrix)
        resolved = n * np.finfo(np.float64).eps * values[-1] / SURE
        if values[0] < resolved or values[1] < APART * values[0]:
            return None
        q, rho = vectors[:, 0], STIFF * float(values[1])
        matrix = gram.matrix + rho * np.outer(q, q)
        matrix = (matrix + matrix.T) / 2
        matrix.setflags(write=False)
        return Direction(q, float(values[0]) * (1 - SURE), rho, Gram(matrix, rank=n))

    return gram.memo("bound: near-null direction", find)


def bound_by_intervals(problem: Problem, upper: float, direction: Direction, clock: Clock) -> float:
    """Lower bound of a row, 0 if time ends before the range is covered once."""
    stiff = replace(problem, gram=direction.stiff)
    below, _ = pruning.bound_row(Row.of(stiff, upper), clock)
    rho, lam = direction.rho, direction.eigenvalue
    reach = float(np.sqrt(upper / lam)) * (1 + SURE)
    half = min(float(np.sqrt(CENTRE * upper / rho)), reach)

    def bound(a: float, b: float) -> float:
        m = (a + b) / 2
        moved = replace(stiff, weight=problem.weight - rho * m / (lam + rho) * direction.q)
        found = pruning.relaxed(Row.of(moved, upper), below.d).bound
        # rho m^2 - rho^2 m^2 / (lam + rho), and what the interval's width costs
        return found + rho * m * m * (lam / (lam + rho)) - rho * (b - a) ** 2 / 4

    edges = [half]
    while edges[-1] < reach:
        edges.append(min(LADDER * edges[-1], reach))
    cover = [(-half, half)]
    for a, b in itertools.pairwise(edges):
        cover += [(a, b), (-b, -a)]
    heap: list[tuple[float, float, float]] = []
    for a, b in cover:
        if clock.ended() is not None:
            return 0.0
        heapq.heappush(heap, (bound(a, b), a, b))
    for _ in range(SPLITS):
        worst, a, b = heap[0]
        if a <= 0.0 <= b or clock.ended() is not None:
            break
        m = float(np.copysign(np.sqrt(a * b), a))
        heapq.heapreplace(heap, (max(worst, bound(a, m)), a, m))
        heapq.heappush(heap, (max(worst, bound(m, b)), m, b))
    return heap[0][0]
