"""A node of the pruning search: its free inputs, and what is left of the row when the kept ones are eliminated."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import types
from pvq.bounds.gram import BoolArray, FloatArray, IntArray

from ..kernels.apart import FLAGS, MATRIX, NUMBERS, REAL, VECTOR, WHOLE, apart, named
from ..kernels.cholesky import UNIT_ROUNDOFF, subtract
from ..kernels.sparing import ZERO, assign
from ..kernels.tiles import ROWS, subtract_product
from .pool import FREE, KEPT, PRUNED

NEAR, MARGIN = 2.0**-20, 2.0**-49
"""A pivot below this part of its diagonal entry is a difference of nearly equal numbers, whose last bits decide
how much is taken off c; it is made less by this part of the entry, 16 roundings. See `near_dependent`."""


class ScaledRow(NamedTuple):
    """A row in the scale of its Gram matrix (mean diagonal 1, largest weight 1)."""

    h: FloatArray
    b: FloatArray
    """(n,) Hw."""
    c: float
    """w'Hw."""
    slack: float
    """What a test of A - D may add to its diagonal, relative to that of H; see `near_dependent`."""
    unit: IntArray
    start: IntArray
    inputs: IntArray
    group: IntArray
    keep: IntArray


class Incumbent(NamedTuple):
    """What the search knows so far, changed in place."""

    kept: BoolArray
    """(units,) best mask."""
    value: FloatArray
    """(2,) upper bound; least bound of all discarded subtrees."""
    nodes: IntArray
    """(1,) nodes processed."""


ROW = named([MATRIX, VECTOR, REAL, REAL, *[NUMBERS] * 5], ScaledRow)
INCUMBENT = named([FLAGS, VECTOR, NUMBERS], Incumbent)
STATE = types.int8[::1]
"""Their types in compiled code, and that of the states of all units."""


@apart(WHOLE, ROW, STATE, NUMBERS)
def settle(row: ScaledRow, state: np.ndarray, room: IntArray) -> int:
    """Prune what no budget is left for, keep what all fits; room[g] = budget left.

    Returns the free units left, -1 if more are kept than a budget allows.
    """
    groups = len(row.keep)
    free = np.zeros(groups, np.int64)
    for g in range(groups):
        room[g] = row.keep[g]
    for u in range(len(state)):
        if state[u] == KEPT:
            room[row.group[u]] -= 1
        elif state[u] == FREE:
            free[row.group[u]] += 1
    for g in range(groups):
        if room[g] < 0:
            return -1
    count = 0
    for u in range(len(state)):
        if state[u] == FREE:
            g = row.group[u]
            if room[g] <= 0:
                state[u] = PRUNED
            elif free[g] <= room[g]:
                state[u] = KEPT
            else:
                count += 1
    return count


@apart(REAL, ROW, STATE, NUMBERS, WHOLE, MATRIX, MATRIX, VECTOR)
def eliminate(
    row: ScaledRow, state: np.ndarray, ids: IntArray, m: int, t: FloatArray, a: FloatArray, b: FloatArray
) -> float:
    """A, b of the free inputs ids[:m] after eliminating the kept ones: R'R of their block, then the rest.

    Returns c. Pivots that rounding may have made too large are made less, which makes the elimination take away
    too much rather than too little.
    """
    n = len(row.b)
    order = np.empty(n, np.int64)
    p = ZERO
    for i in range(n):
        if state[row.unit[i]] == KEPT:
            order[p] = i
            p += 1
    assign(order[p:], ids[:m])
    size = p + m
    for s in range(size):
        i = order[s]
        for v in range(s, size):
            t[s, v] = row.h[i, order[v]]
        t[s, size] = row.b[i]
    c = row.c
    for s in range(p):
        subtract(t, s, s, t, t[s], s, size + 1)
        i = order[s]
        pivot, size_of = t[s, s], row.h[i, i]
        if pivot < NEAR * size_of:
            pivot = max(pivot - MARGIN * size_of, UNIT_ROUNDOFF * size_of)
        scale = 1.0 / np.sqrt(pivot)
        for v in range(s, size + 1):
            t[s, v] *= scale
        c -= t[s, size] * t[s, size]
    whole = m - m % ROWS
    for s in range(0, whole, ROWS):
        subtract_product(t, p + s, p + s, size + 1, t, p + s, t, ZERO, p)
    for s in range(whole, m):
        subtract(t, p + s, p, t, t[p + s], p + s, size + 1)
    for s in range(m):
        for v in range(s, m):
            a[s, v] = t[p + s, p + v]
            a[v, s] = t[p + s, p + v]
        b[s] = t[p + s, size]
        size_of = row.h[ids[s], ids[s]]
        if a[s, s] < NEAR * size_of:
            a[s, s] -= MARGIN * size_of
    return c
