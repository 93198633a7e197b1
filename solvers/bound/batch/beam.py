"""A beam over the decisions of long rows: the best partial points, whose centres products bring up to date."""

from __future__ import annotations

import numpy as np
from numba import njit
from pvq.bounds.gram import FloatArray

from .levels import Levels, nearest

WIDTH, TRIES = 32, 3
"""Partial points kept, and levels tried for each of them."""

TOGETHER = 64
"""Positions between two products; within them centres are sums of at most so many terms."""


@njit(cache=True, nogil=True, error_model="numpy")
def beam(w: FloatArray, slopes: FloatArray, pivot: FloatArray, levels: Levels, index: np.ndarray) -> None:
    """The best point of each row's beam in `index`, (rows, n) int16; see `bound.beam` for the method.

    Parameters
    ----------
    w : (rows, n) by position.
    slopes, pivot : (n, n) and (n,), what a decision moves and costs, see `points`.
    """
    rows, n = w.shape
    cost, value = np.zeros(WIDTH), np.empty(WIDTH * TRIES)
    parent, level = np.empty(WIDTH * TRIES, np.int64), np.empty(WIDTH * TRIES, np.int64)
    far = np.empty(WIDTH * TRIES)
    for r in range(rows):
        of = r if len(levels.values) > 1 else 0
        centres, chosen = np.empty((WIDTH, n)), np.zeros((WIDTH, n), np.int16)
        centres[0] = w[r]
        cost[0], alive = 0.0, 1
        for stop in range(n, 0, -TOGETHER):
            start = max(0, stop - TOGETHER)
            local = np.ascontiguousarray(slopes[start:stop, start:stop].T)
            base, moved = np.arange(WIDTH), np.zeros((WIDTH, TOGETHER))
            taken, next_base = np.zeros((WIDTH, TOGETHER), np.int16), np.empty(WIDTH, np.int64)
            next_moved, next_taken = np.zeros((WIDTH, TOGETHER)), np.zeros((WIDTH, TOGETHER), np.int16)
            for i in range(stop - 1, start - 1, -1):
                g = levels.group[i]
                row, found = levels.values[of, g], 0
                for k in range(alive):
                    c = centres[base[k], i]
                    for j in range(i + 1 - start, stop - start):
                        c += moved[k, j] * local[i - start, j]
                    pick = nearest(row, levels.per_step[of, g], c)
                    low, high = pick - 1, pick + 1
                    for _ in range(TRIES):
                        if pick < 0:
                            break
                        value[found] = cost[k] + pivot[i] * (c - row[pick]) ** 2
                        parent[found], level[found], far[found] = k, pick, c - row[pick]
                        found += 1
                        if low < 0 and high >= len(row):
                            pick = -1
                        elif high >= len(row) or (low >= 0 and c - row[low] <= row[high] - c):
                            pick = low
                            low -= 1
                        else:
                            pick = high
                            high += 1
                ranked = np.argsort(value[:found])
                alive = min(WIDTH, found)
                for a in range(alive):
                    s, k = ranked[a], parent[ranked[a]]
                    next_moved[a, i + 1 - start : stop - start] = moved[k, i + 1 - start : stop - start]
                    next_taken[a, i + 1 - start : stop - start] = taken[k, i + 1 - start : stop - start]
                    next_moved[a, i - start], next_taken[a, i - start] = far[s], level[s]
                    next_base[a] = base[k]
                for a in range(alive):
                    cost[a] = value[ranked[a]]
                    base[a] = next_base[a]
                moved, next_moved = next_moved, moved
                taken, next_taken = next_taken, taken
            old_centres, old_chosen = centres.copy(), chosen.copy()
            for a in range(alive):
                centres[a] = old_centres[base[a]]
                chosen[a] = old_chosen[base[a]]
                chosen[a, start:stop] = taken[a, : stop - start]
            if start:
                done = np.ascontiguousarray(moved[:alive, : stop - start])
                shift = np.dot(done, np.ascontiguousarray(slopes[start:stop, :start]))
                for a in range(alive):
                    for j in range(start):
                        centres[a, j] += shift[a, j]
        index[r] = chosen[np.argmin(cost[:alive])]
