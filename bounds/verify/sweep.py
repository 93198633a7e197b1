# functions that numba compiles have no types
# mypy: disable-error-code="no-untyped-call"
"""The search of `enumeration` over equal steps, compiled: whole numbers, and children of many nodes at a time.

One child after the other, each waits until it is known whether the one before is cut, which no processor guesses.
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from ..compiling import compiled
from ..gram import FloatArray
from .visit import WIDTH, Factors, Steps

BATCH = 64
"""Children that are bounded together; 32 and 128 take 1 to 5 % longer at 64 and 112 inputs."""
ROOM = 2 * BATCH
"""Nodes of a level that there is room for: those below a full batch, and what one batch adds."""
LINE = 8
"""Numbers of a line of the cache: a vector on two of them is read twice."""
SPREAD = 2.0**100
"""Numbers beyond it, or its inverse, are left to `visit`: products of few of the others are far from the ends of
float64, and what underflows in them is nothing beside what is rounded."""
WIDER = 1e-12
"""How much wider the interval of a node's children is made: ten roundings are a thousandth of it."""


def in_range(steps: Steps, centres: FloatArray, factors: Factors, roots: FloatArray, threshold: float) -> bool:
    """Whether all numbers of a search are as `SPREAD` says; `sweep` is for these.

    Parameters
    ----------
    centres, roots : (m,), the latter sqrt(a_ii).
    """
    positive = steps.step, factors.pivot, np.array([threshold])
    others = steps.first, centres, roots, factors.slope
    between = all(bool(((array > 1 / SPREAD) & (array < SPREAD)).all()) for array in positive)
    return between and all(bool((np.abs(array) < SPREAD).all()) for array in others)


@register_jitable(fastmath={"reassoc", "contract"})
def _square(s, top):  # type: ignore[no-untyped-def]
    """dist(s, 0 ... top)^2."""
    off = s - min(max(np.rint(s), 0.0), top)
    return off * off


@register_jitable(fastmath={"reassoc", "contract"})
def _four_ahead(rows, sources, moves, e, slope, diagonal, at, wide, top):  # type: ignore[no-untyped-def]
    """sum_{j < i} d_j dist(s_j, 0 ... top)^2 of the children e ... e + 3, s their parent's centres + moved slope.

    `gamma` bounds the rounding of a sum in any order.

    Parameters
    ----------
    at, wide : where row i of the slopes and diagonals starts, and its numbers: i filled up with zeros.
    """
    e0, e1, e2, e3 = e, e + np.uintp(1), e + np.uintp(2), e + np.uintp(3)
    from0, from1, from2, from3 = sources[e0], sources[e1], sources[e2], sources[e3]
    move0, move1, move2, move3 = moves[e0], moves[e1], moves[e2], moves[e3]
    total0, total1, total2, total3 = 0.0, 0.0, 0.0, 0.0
    for j in range(wide):
        along, d = slope[at + j], diagonal[at + j]
        total0 += d * _square(rows[from0 + j] + along * move0, top)
        total1 += d * _square(rows[from1 + j] + along * move1, top)
        total2 += d * _square(rows[from2 + j] + along * move2, top)
        total3 += d * _square(rows[from3 + j] + along * move3, top)
    return total0, total1, total2, total3


@register_jitable
def _move(rows, to, source, slope, at, wide, moved):  # type: ignore[no-untyped-def]
    """The centres of a child."""
    for j in range(wide):
        rows[to + j] = rows[source + j] + slope[at + j] * moved


@register_jitable
def _children(s, partial, pivot, top, threshold):  # type: ignore[no-untyped-def]
    """The least k, and how many, outside of which partial + pivot (s - k)^2 >= threshold; rather one more."""
    reach = np.sqrt(max(threshold - partial, 0.0) / pivot) * (1 + WIDER) + WIDER * abs(s)
    low = max(np.ceil(s - reach), 0.0)
    return low, int(max(min(np.floor(s + reach), top) - low, -1.0)) + 1


@register_jitable
def _aligned(count):  # type: ignore[no-untyped-def]
    """Numbers that start on a line of the cache."""
    memory = np.empty(count + LINE)
    return memory[-memory.ctypes.data % (8 * LINE) // 8 :]


@compiled()
def sweep(start, factors, first, step, top, threshold, limit, over):  # type: ignore[no-untyped-def]
    """Visit all nodes below the threshold; return it, or the least sum found below it, and the number of nodes.

    A node of level m has decided its inputs from m on; its children decide input m - 1. Every level has a heap of
    nodes that wait. Children of the uppermost nodes of one level are made, a batch at a time, and those that stay
    below the threshold are put on the next one's: of the deepest level that has a batch, so that no heap grows
    above `ROOM`, or else of the highest that has any.

    Parameters
    ----------
    start : (m,) centres.   first, step : of the inputs' values, see `Steps`; top : the last number.
    """
    n, width = len(start), factors.slope.shape[1]
    pivot, slope, diagonal = np.empty(n), _aligned(n * width), _aligned(n * width)
    for i in range(n):
        pivot[i] = factors.pivot[i] * (step[i] * step[i])
        for j in range(width):
            own = step[j] if j < n else 1.0
            slope[i * width + j] = factors.slope[i, j] * step[i] / own
            diagonal[i * width + j] = factors.diagonal[i, j] * (own * own)
    begin = np.zeros(n + 2, np.uint64)  # of the centres of each level's nodes
    for m in range(n + 1):
        begin[m + 1] = begin[m] + np.uint64(ROOM * ((m + WIDTH - 1) // WIDTH * WIDTH))
    rows = _aligned(np.int64(begin[n + 1]))
    # of each node what is decided, the least number among its children that are left, and how many these are
    partial, low, many = np.empty((n + 1) * ROOM), np.empty((n + 1) * ROOM), np.empty((n + 1) * ROOM, np.int64)
    waiting = np.zeros(n + 1, np.int64)
    # of each child where its parent's centres are, how far it is from its centre, what is decided, and who stays
    sources, moves = np.zeros(BATCH + 4, np.uint64), np.zeros(BATCH + 4)
    costs, staying = np.zeros(BATCH + 4), np.zeros(BATCH + 4, np.int64)
    for j in range(width):
        rows[begin[n] + np.uintp(j)] = (start[j] - first[j]) / step[j] if j < n else 0.0
    root = np.uintp(n * ROOM)
    partial[root] = 0.0
    low[root], many[root] = _children(rows[begin[n] + np.uintp(n - 1)], 0.0, pivot[n - 1], top, threshold)
    waiting[n] = 1
    nodes, m = 0, n
    while m <= n:
        i = m - 1
        # the children, which are all found before any is bounded
        found, left, at, wide = 0, waiting[m], np.uintp(m * ROOM), np.uintp((m + WIDTH - 1) // WIDTH * WIDTH)
        while left > 0 and found < BATCH:
            slot = np.uintp(left - 1)
            source = begin[m] + slot * wide
            s, k, decided = rows[source + np.uintp(i)], low[at + slot], partial[at + slot]
            taken = min(many[at + slot], BATCH - found)
            for c in range(found, found + taken):
                e, moved = np.uintp(c), s - k
                sources[e], moves[e], costs[e] = source, moved, decided + pivot[i] * (moved * moved)
                k += 1.0
            found += taken
            low[at + slot] = k
            many[at + slot] -= taken
            left -= 1 if many[at + slot] == 0 else 0
        waiting[m] = left  # the centres of those taken off stay where they are until the next batch
        nodes += found
        if nodes >= limit or over[0]:
            break
        if i == 0:
            for c in range(found):
                threshold = min(threshold, costs[c])
        else:
            for c in range(found, found + 3):
                sources[c], moves[c], costs[c] = begin[m], 0.0, np.inf
            kept, at, wide = 0, np.uintp(i * width), np.uintp((i + WIDTH - 1) // WIDTH * WIDTH)
            for c in range(0, found, 4):
                e = np.uintp(c)
                ahead = _four_ahead(rows, sources, moves, e, slope, diagonal, at, wide, top)
                for q in range(4):  # without a branch
                    staying[np.uintp(kept)] = c + q
                    kept += costs[e + np.uintp(q)] + ahead[q] < threshold
            slot = np.uintp(waiting[i])
            to, slot = begin[i] + slot * wide, np.uintp(i * ROOM) + slot
            for c in range(kept):
                e = np.uintp(staying[np.uintp(c)])
                _move(rows, to, sources[e], slope, at, wide, moves[e])
                partial[slot] = costs[e]
                low[slot], many[slot] = _children(
                    rows[to + np.uintp(i - 1)], costs[e], pivot[i - 1], top, threshold
                )
                to, slot = to + wide, slot + np.uintp(1)
            waiting[i] += kept
        m, highest = 1, n + 1  # from the deepest on: it ends only where no level has any
        while m <= n and waiting[m] < BATCH:
            highest = m if waiting[m] > 0 else highest
            m += 1
        m = highest if m > n else m
    return threshold, nodes
