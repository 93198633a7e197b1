"""Upper bounds on grids at any size: a beam over the Cholesky factor, then local search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from pvq.bounds.gram import FloatArray, Gram, IntArray
from pvq.bounds.problem import Problem

from ..base import fallback_point
from ..empirical.local_search import polish_grid
from .factors import cholesky, conditional_factors
from .plan import layer_order, row_order

WIDTH = 256
"""Partial points kept: the error falls by 5 to 20% from 1 to 256 of them, by one or two more at 5000."""

WIDE = 2048
"""The same where H is ill-conditioned: of 9 rows of 64 inputs, condition 7e4 to 7e8, 256 points miss the best
known error 5 times, by up to 21%, these 4 times, by up to 6%."""

WIDER = (WIDTH, 0.0), (WIDE, 4.0), (8192, 16.0)
"""Points of a search that turns out to be long, and how many times as long as their beam it should take. 2048 find
a better point than 256 in 11 of 20 rows of 112 inputs, 1.4% on average, by whose 20th to 28th power the search
grows; 8192 in one of them by .3%, in five of 20 ill-conditioned rows by 1 to 10%."""

STEPS = 11.0
"""Nodes of a search that take as long as one input of one point: 9 to 15 at 112 inputs."""

LEVELS = 3
"""Nearest levels tried for every input of every partial point."""

POLISHED, LONG = 3, 256
"""Best points of each beam that local search improves; 1 in rows of more than LONG inputs, where all end alike."""


def upper_point(problem: Problem, start: FloatArray | None = None, width: int = WIDTH) -> FloatArray:
    """(n,) the best grid point of two beam searches and local search.

    The beam is the K-best sphere decoder (Guo & Nilsson, "Algorithm and implementation of the K-best sphere
    decoding for MIMO detection", 2006); with width 1 it is GPTQ in V-BLAST order.
    """
    grid, w = problem.levels, problem.weight
    points = [fallback_point(problem)] + ([start] if start is not None and problem.is_feasible(start) else [])
    for decoder in (_layer_decoder(problem.gram), _row_decoder(problem)):
        group = np.ascontiguousarray(grid.group[decoder.order])
        found = beam(decoder.slope, decoder.pivot, w[decoder.order], grid.levels, group, width, LEVELS)
        for index in found[: POLISHED if problem.n <= LONG else 1]:
            x = np.empty(problem.n)
            x[decoder.order] = grid.levels[group, index]
            points.append(x)
    return min((polish_grid(problem, x) for x in points), key=problem.error)


def wider(problem: Problem, x: FloatArray, width: int, nodes: float) -> tuple[FloatArray, int]:
    """The best point of the wider beams that pay for a search with so many nodes ahead, and their width.

    width : of the beam that has found x.
    """
    for points, times in WIDER:
        if points > width and times * STEPS * points * problem.n < nodes:
            x, width = upper_point(problem, x, points), points
    return x, width


@dataclass(frozen=True, eq=False)
class Decoder:
    """An order of decision (position n - 1 first) and what a decision does to the others."""

    order: IntArray
    slope: FloatArray
    """(n, n) deciding position i at distance s from its centre moves centre j < i by slope[i, j] s."""
    pivot: FloatArray
    """(n,) error per squared distance."""

    @classmethod
    def of(cls, h: FloatArray, order: IntArray) -> Decoder:
        """From H and an order."""
        pivot, slope = np.zeros(len(h)), np.zeros(h.shape)
        conditional_factors(cholesky(np.ascontiguousarray(h[np.ix_(order, order)])), pivot, slope)
        return cls(order, slope, pivot)


def _layer_decoder(gram: Gram) -> Decoder:
    return gram.memo(_layer_decoder, lambda: Decoder.of(gram.matrix, layer_order(gram)))


def _row_decoder(problem: Problem) -> Decoder:
    """Inputs that clipping makes expensive are decided early: points are compared with that already counted."""
    return Decoder.of(problem.hessian, row_order(problem)[0])


@njit(cache=True, nogil=True)
def beam(
    slope: FloatArray,
    pivot: FloatArray,
    w: FloatArray,
    levels: FloatArray,
    group: IntArray,
    width: int,
    tries: int,
) -> np.ndarray:
    """Indices of levels, (points, n) by position, of the best points, best first."""
    n, count = len(w), levels.shape[1]
    centres, other = np.empty((width, n)), np.empty((width, n))
    cost, value = np.zeros(width), np.empty(width * tries)
    source, pick_of = np.empty(width * tries, np.int32), np.empty(width * tries, np.int32)
    parent, index = np.empty((n, width), np.int32), np.empty((n, width), np.int32)
    centres[0] = w
    alive = 1
    for i in range(n - 1, -1, -1):
        row = levels[group[i]]
        found = 0
        for k in range(alive):
            s = centres[k, i]
            high = np.searchsorted(row, s)
            low = high - 1
            for _ in range(tries):
                if low >= 0 and (high >= count or s - row[low] <= row[high] - s):
                    pick = low
                    low -= 1
                elif high < count:
                    pick = high
                    high += 1
                else:
                    break
                value[found] = cost[k] + pivot[i] * (s - row[pick]) ** 2
                source[found], pick_of[found] = k, pick
                found += 1
        # the least of them in any order: sorting would take longer than all else
        most = np.inf if found <= width else np.partition(value[:found], width - 1)[width - 1]
        ties = width
        for a in range(found):
            ties -= value[a] < most
        alive = 0
        for a in range(found):
            if value[a] < most or (value[a] == most and ties > 0):
                ties -= value[a] == most
                k, pick = source[a], pick_of[a]
                deviation = centres[k, i] - row[pick]
                for j in range(i):
                    other[alive, j] = centres[k, j] + slope[i, j] * deviation
                parent[i, alive], index[i, alive] = k, pick
                value[alive] = value[a]
                alive += 1
        for a in range(alive):
            cost[a] = value[a]
        centres, other = other, centres
    ranked = np.argsort(cost[:alive])
    points = np.empty((alive, n), np.int32)
    for a in range(alive):
        k = ranked[a]
        for i in range(n):
            points[a, i] = index[i, k]
            k = parent[i, k]
    return points
