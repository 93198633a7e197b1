"""The search of `reduced`, compiled: whole numbers y with k = T y in a box, all children of a node at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..compiling import compiled
from ..gram import FloatArray

CHILDREN = 256
"""Children of a node that there is room for: more mean a threshold that no search ends at."""


class Box(NamedTuple):
    """0 <= k <= top, and how the numbers k follow from y."""

    move: FloatArray
    """(n, n) row i: what deciding y_i one below its centre moves k by."""
    per_square: FloatArray
    """(n, n) row i: what the square of a distance from the box costs at least, y_0 ... y_{i-1} undecided."""
    wide: FloatArray
    """(n,) how far k may be off."""
    top: float


@compiled(fastmath={"reassoc", "contract"})
def _boxed(numbers, move, per_square, wide, top, i, moved):  # type: ignore[no-untyped-def]
    """The most that a number outside of the box costs; infinite where nothing undecided brings it back."""
    most = 0.0
    for j in range(len(wide)):
        k = numbers[i + 1, j] + move[i, j] * moved
        outside = max(max(-k, k - top) - wide[j], 0.0)
        if outside > 0.0:
            most = max(most, outside * outside * per_square[i, j])
    return most


@compiled(fastmath={"reassoc", "contract"})
def _ahead(centre, slope, diagonal, i, moved):  # type: ignore[no-untyped-def]
    """sum_{j < i} d_j dist(s_j, whole numbers)^2."""
    total = 0.0
    for j in range(i):
        s = centre[i + 1, j] + slope[i, j] * moved
        off = s - np.rint(s)
        total += diagonal[i, j] * off * off
    return total


@compiled()
def visit_basis(target, numbers, factors, box, threshold, limit, over):  # type: ignore[no-untyped-def]
    """Visit all nodes below the threshold; return it, or the least sum found below it, and the number of nodes.

    A leaf counts where its numbers k are in the box, up to `wide`.
    """
    pivot, slope, diagonal = factors
    move, per_square, wide, top = box.move, box.per_square, box.wide, box.top
    n = len(pivot)
    centre, k, partial = np.zeros((n + 1, n)), np.zeros((n + 1, n)), np.zeros(n + 1)
    centre[n], k[n] = target, numbers
    moves, costs = np.zeros((n + 1, CHILDREN)), np.zeros((n + 1, CHILDREN))
    entered, kept = np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64)
    nodes, m, is_new = 0, n, True
    while True:
        i = m - 1
        if is_new:
            s, found, left = centre[m, i], 0, 0
            near = np.floor(s)
            for side in range(2):  # downwards, then upwards: the sums grow with the distance
                whole = near + side
                while True:
                    moved = s - whole
                    cost = partial[m] + pivot[i] * (moved * moved)
                    if not cost < threshold:
                        break
                    if found == CHILDREN:
                        return threshold, limit
                    moves[m, found], costs[m, found] = moved, cost
                    found += 1
                    whole += 1.0 if side == 1 else -1.0
            nodes += found
            if nodes >= limit or over[0]:
                return threshold, limit
            for c in range(found):
                moved, cost = moves[m, c], costs[m, c]
                if not cost + _boxed(k, move, per_square, wide, top, i, moved) < threshold:
                    continue
                if i == 0:
                    threshold = min(threshold, cost)
                elif cost + _ahead(centre, slope, diagonal, i, moved) < threshold:
                    moves[m, left], costs[m, left] = moved, cost
                    left += 1
            entered[m], kept[m] = 0, left
        if entered[m] < kept[m]:
            c = entered[m]
            entered[m], moved, partial[i] = c + 1, moves[m, c], costs[m, c]
            for j in range(i):
                centre[i, j] = centre[m, j] + slope[i, j] * moved
            for j in range(n):
                k[i, j] = k[m, j] + move[i, j] * moved
            m, is_new = i, True
        elif m < n:
            m, is_new = m + 1, False
        else:
            return threshold, nodes
