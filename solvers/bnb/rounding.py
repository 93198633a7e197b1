"""Upper bounds inside the pruning search: masks from rounded relaxations, polished by swaps."""

from __future__ import annotations

from typing import Any

import numpy as np
from pvq.bounds.gram import BoolArray, IntArray

from ..empirical.swaps import one_swaps
from ..empirical.tableau import tableau
from ..kernels.apart import FLAGS, NUMBERS, REAL, TRUTH, apart
from ..kernels.cholesky import factor, solve
from ..kernels.order import ascending
from ..kernels.sparing import ZERO, assign
from .node import INCUMBENT, ROW, STATE, Incumbent, ScaledRow
from .node_bound import PART, Free
from .pool import KEPT

SWAPS: Any = np.int64(200)
"""Most swaps of a mask."""


@apart(None, ROW, INCUMBENT, FLAGS)
def offer(row: ScaledRow, best: Incumbent, kept: BoolArray) -> None:
    """Take a mask as the incumbent if it is better after swaps."""
    t, variance = tableau(row.h, row.b, row.c), np.empty(len(row.b))
    for i in range(len(variance)):
        variance[i] = row.h[i, i]
    one_swaps(t, variance, row.start, row.inputs, row.group, row.keep, kept, SWAPS)
    value = max(0.0, t[len(row.b), len(row.b)])
    if value < best.value[0]:
        best.value[0] = value
        assign(best.kept, kept)


@apart(TRUTH, INCUMBENT, STATE, PART, REAL, NUMBERS, TRUTH, FLAGS)
def round_up(
    best: Incumbent, state: np.ndarray, free: Free, c: float, names: IntArray, polish: bool, kept: BoolArray
) -> bool:
    """Keep the units with the largest z (then saving): the mask `kept`, out; whether it should be offered.

    It should if that is asked for, or if it is better than the incumbent as it is.
    """
    m, units = len(free.b), len(free.group)
    top, worth, order = free.saving[0], np.empty(units), np.empty(units, np.int64)
    for u in range(units):
        top = max(top, free.saving[u])
    for u in range(units):
        worth[u] = -(free.z[u] + 1e-6 * free.saving[u] / (top + 1e-300))
    ascending(worth, order)
    used = np.zeros(len(free.keep), np.int64)
    chosen = np.zeros(units, np.bool_)
    for place in range(units):
        u = order[place]
        if used[free.group[u]] < free.keep[free.group[u]]:
            used[free.group[u]] += 1
            chosen[u] = True
    rhs, active, count = np.empty(m), np.empty(m, np.int64), ZERO
    for i in range(m):
        if chosen[free.unit[i]]:
            active[count] = i
            count += 1
    work = np.empty((count, count))
    for s in range(count):
        for v in range(s, count):
            work[s, v] = free.a[active[s], active[v]]
        rhs[s] = free.b[active[s]]
    value = 0.0 if polish else best.value[0]
    if not polish and factor(work, count):
        solve(work, count, rhs)
        value = c
        for s in range(count):
            value -= free.b[active[s]] * rhs[s]
    for u in range(len(state)):
        kept[u] = state[u] == KEPT
    for u in range(units):
        if chosen[u]:
            kept[names[u]] = True
    return polish or value < best.value[0]
