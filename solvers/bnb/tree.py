"""Best-first branch and bound over pruning masks, compiled: one node after the other until told to stop.

A node keeps some units, prunes some, and leaves the others free. Kept inputs are eliminated by a Schur complement,
pruned ones dropped, so that the free inputs have the error c - 2b'x + x'Ax with a budget per group. `bound_of`
bounds it by a relaxation with D of 1 x 1 and 2 x 2 blocks, improved at every node by one sweep.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, types
from pvq.bounds.gram import FloatArray, IntArray

from ..kernels.apart import MATRIX, NUMBERS, REAL, VECTOR, WHOLE, apart, entry, inner, named
from ..kernels.sparing import assign, first_numbers, first_reals, nones
from ..relax.cone import LEAST_D
from .node import ROW, STATE, Incumbent, ScaledRow, eliminate, settle
from .node_bound import PART, Free, bound_of, correlated
from .pool import FREE, KEPT, PRUNED, Pool, pop, push, release
from .rounding import offer, round_up

INHERIT = 1 - 1e-6
"""A child starts strictly inside the cone; more than the rounding of a float32 (6e-8)."""

POLISHED_NODES = 12
"""Every rounded relaxation of the first nodes is polished by swaps, later ones only if they beat the incumbent."""

FIRST_ROUNDS, ROOT_ROUNDS = 2, 3
"""Alternations of D and x at the root, before and after its inputs are paired; 12 each gave no fewer nodes."""

GAP_CLAIMED, FLOOR_CLAIMED = 0.99, 0.9
"""Parts of the gap and of the floor that a discarded subtree may be worth: a little less than all, so that the
claim survives when the upper bound is recomputed from its x. With .9 and .8 for the gap, 40 rows of 80 to 112
inputs take the same nodes."""

GAP_SOUGHT, FLOOR_SOUGHT = 0.9, 0.8
"""The same parts for the bound that a relaxation is solved for, which must suffice to discard; .5 to .98 for the
gap take the same nodes of these rows, but for 10 of 13,142 in blocks of four."""

PART_OF_SWEEP = 0.65
"""All of it goes too far: a sweep goes for what is linear in D.

Two rows of 112 inputs at 75 % take 9.4 to 10.5 s with .5 to .8 and barriers of .18 to .3, and 12.6 s with all
of it and .12; two sweeps in a row take 16 % more nodes than one."""

NOT_ZERO = 1e-300
"""Keeps a quotient finite."""


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def order_pairs(row: ScaledRow, partner: np.ndarray, state: np.ndarray, ids: IntArray):  # type: ignore[no-untyped-def]
    """ids[:m] = the free inputs, pairs first and side by side. Returns (m, number of pairs)."""
    n = len(row.b)
    m = 0
    for i in range(n):
        j = partner[i]
        if j > i and state[row.unit[i]] == FREE and state[row.unit[j]] == FREE:
            ids[m] = i
            ids[m + 1] = j
            m += 2
    pairs = m // 2
    for i in range(n):
        if state[row.unit[i]] == FREE:
            j = partner[i]
            if j < 0 or state[row.unit[j]] != FREE:
                ids[m] = i
                m += 1
    return m, pairs


class Work(NamedTuple):
    """Room for one node after the other."""

    t: FloatArray
    """(n, n + 1)."""
    a: FloatArray
    """(n, n)."""
    b: FloatArray
    ids: IntArray
    """(n,)."""
    left: IntArray
    """(groups,) budgets left."""


class Opened(NamedTuple):
    """A node with its free inputs in local numbers."""

    free: Free
    c: float
    """Its constant: the error of its only mask where no unit is free."""
    ids: IntArray
    """(m,) inputs, pairs first."""
    names: IntArray
    """(units,) free units."""
    pairs: int


NODE = named([PART, REAL, NUMBERS, NUMBERS, WHOLE], Opened)
WORK = named([MATRIX, MATRIX, VECTOR, NUMBERS, NUMBERS], Work)
PARTNERS = types.int16[::1]
"""Their types in compiled code, and that of the partners of all inputs."""


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def room_for(row: ScaledRow) -> Work:
    """What `opened` needs."""
    n = len(row.b)
    ids, left = np.empty(n, np.int64), np.empty(len(row.keep), np.int64)
    return Work(np.empty((n, n + 1)), np.empty((n, n)), np.empty(n), ids, left)


@apart(NODE, ROW, PARTNERS, STATE, WHOLE, WORK)
def opened(row: ScaledRow, partner: np.ndarray, state: np.ndarray, units: int, work: Work) -> Opened:
    """The node of a settled state with `units` free units and work.left as budgets; D and x are left to `inherit`.

    partner : (n,) as in its record.
    """
    ids = work.ids
    m, pairs = order_pairs(row, partner, state, ids)
    c = eliminate(row, state, ids, m, work.t, work.a, work.b)
    # local numbers of the units and groups that are still open, in the order of their inputs
    number, group_number = nones(len(row.group)), nones(len(row.keep))
    unit_local, group_local = np.empty(m, np.int64), np.empty(units, np.int64)
    names, keep_local = np.empty(units, np.int64), np.empty(len(row.keep), np.int64)
    groups, count = 0, 0
    for s in range(m):
        u = row.unit[ids[s]]
        if number[u] < 0:
            g = row.group[u]
            if group_number[g] < 0:
                group_number[g] = groups
                keep_local[groups] = work.left[g]
                groups += 1
            group_local[count] = group_number[g]
            names[count] = u
            number[u] = count
            count += 1
        unit_local[s] = number[u]
    a = np.empty((m, m))
    for s in range(m):
        for v in range(m):
            a[s, v] = work.a[s, v]
    free = Free(
        a, first_reals(work.b, m), np.empty(m), np.empty(m), np.empty(m),
        np.empty(m), row.slack, unit_local, group_local, first_numbers(keep_local, groups), nones(m),
        np.empty(units), np.empty(units), np.empty(units), np.empty(units),
    )  # fmt: skip
    return Opened(free, c, first_numbers(ids, m), names, pairs)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def inherit(row: ScaledRow, pool: Pool, slot: int, state: np.ndarray, node: Opened) -> None:
    """D and x of a node from its record. An input whose partner has been fixed stays alone with what is left of
    their block: its own entry if the partner is pruned, the Schur complement if it is kept."""
    free, ids, pairs = node.free, node.ids, node.pairs
    for s in range(len(ids)):
        i = ids[s]
        d = float(pool.d[slot, i])
        j = pool.partner[slot, i]
        free.e[s] = 0.0
        if s < 2 * pairs:
            if s % 2 == 0:
                free.e[s] = pool.e[slot, i] * INHERIT
        elif j >= 0 and state[row.unit[j]] == KEPT:
            d -= float(pool.e[slot, i]) ** 2 / max(float(pool.d[slot, j]), NOT_ZERO)
        free.variance[s] = row.h[i, i]
        free.d[s] = max(d * INHERIT, LEAST_D * free.variance[s])
        free.x[s] = pool.x[slot, i]
    correlated(free.d, free.e, pairs)


@entry()
def advance(
    row: ScaledRow, pool: Pool, best: Incumbent, gap: float, floor: float, budget: int, pairing: bool
) -> bool:
    """Process nodes until none is open (True), or `budget` nodes are done or the pool is full (False).

    A subtree is discarded when its bound is within `gap` of the upper bound (relative, or `floor` absolute), less
    a little, so that the claim survives when the upper bound is recomputed from its x.
    """
    work, state = room_for(row), np.empty(len(row.group), np.int8)
    kept = np.empty(len(state), np.bool_)
    for _ in range(budget):
        if pool.size[0] == 0:
            return True
        if pool.size[1] < 3:
            return False
        slot = pop(pool)
        key = pool.key[slot]
        assign(state, pool.state[slot])
        cutoff = best.value[0] - max(GAP_CLAIMED * gap * best.value[0], FLOOR_CLAIMED * floor)
        if key >= cutoff:
            # the least key is the first: every open node is discarded
            best.value[1] = min(best.value[1], key)
            release(pool, slot)
            while pool.size[0] > 0:
                release(pool, pop(pool))
            return True
        best.nodes[0] += 1
        units = settle(row, state, work.left)
        node = opened(row, pool.partner[slot], state, units, work)
        inherit(row, pool, slot, state, node)
        release(pool, slot)
        free, names, c = node.free, node.names, node.c
        if units == 0:
            if c < best.value[0]:
                offer(row, best, state == KEPT)
            best.value[1] = min(best.value[1], max(key, c))
            continue
        target = best.value[0] - max(GAP_SOUGHT * gap * best.value[0], FLOOR_SOUGHT * floor)
        rounds = FIRST_ROUNDS if best.nodes[0] == 1 else ROOT_ROUNDS if best.nodes[0] == 2 else 1
        missing = max(best.value[0] - key, 0.0)
        bound = bound_of(free, c, node.pairs, target, missing, rounds, pairing, True, PART_OF_SWEEP)
        if bound >= cutoff:
            best.value[1] = min(best.value[1], bound)
            continue
        again = best.nodes[0] == 1 and has_partners(free)
        if not again and round_up(best, state, free, c, names, best.nodes[0] <= POLISHED_NODES, kept):
            offer(row, best, kept)
        cutoff = best.value[0] - max(GAP_CLAIMED * gap * best.value[0], FLOOR_CLAIMED * floor)
        key = max(key, bound)
        if key >= cutoff:
            best.value[1] = min(best.value[1], key)
            continue
        # reduced costs belong to the same iterate as the bound
        for u in range(units):
            if bound + free.inside[u] >= cutoff:
                state[names[u]] = PRUNED
                best.value[1] = min(best.value[1], bound + free.inside[u])
            elif bound + free.outside[u] >= cutoff:
                state[names[u]] = KEPT
                best.value[1] = min(best.value[1], bound + free.outside[u])
        if settle(row, state, work.left) < 0:
            continue  # more units would have to be kept than may be: nothing below the cutoff is left
        choice = -1 if again else branching_unit(free, state, names)
        for side in (KEPT, PRUNED):
            child = key
            if choice >= 0:
                child = max(key, bound + (free.inside[choice] if side == KEPT else free.outside[choice]))
            new = push(pool, child)
            assign(pool.state[new], state)
            if choice >= 0:
                pool.state[new, names[choice]] = side
            record(pool, new, node)
            if choice < 0:
                break
    return pool.size[0] == 0


@inner()
def has_partners(free: Free) -> bool:
    """Whether inputs are to be paired below this node."""
    found = False
    for partner in free.partner:
        found = found or partner >= 0
    return found


@apart(WHOLE, PART, STATE, NUMBERS)
def branching_unit(free: Free, state: np.ndarray, names: IntArray) -> int:
    """The free unit with the largest x^4 (A - D)^2 (1 - z), or else the largest saving; -1 if none is free.

    It is the product of what pruning the unit, x^2 (A - D), and keeping it, that times 1 - z, do to the bound.
    """
    units = len(free.group)
    score = np.zeros(units)
    for s in range(len(free.b)):
        score[free.unit[s]] += free.x[s] * free.x[s] * (free.a[s, s] - free.d[s])
    choice, highest = -1, 0.0
    for u in range(units):
        if state[names[u]] == FREE and score[u] ** 2 * (1.0 - free.z[u]) > highest:
            choice, highest = u, score[u] ** 2 * (1.0 - free.z[u])
    if choice < 0:
        for u in range(units):
            if state[names[u]] == FREE and free.saving[u] >= highest:
                choice, highest = u, free.saving[u]
    return choice


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def record(pool: Pool, slot: int, node: Opened) -> None:
    """Store what children inherit."""
    free, ids = node.free, node.ids
    pool.partner[slot] = -1
    for s in range(len(ids)):
        i = ids[s]
        pool.d[slot, i] = free.d[s]
        pool.x[slot, i] = free.x[s]
        pool.e[slot, i] = 0.0
        if free.partner[s] >= 0:
            pool.partner[slot, i] = ids[free.partner[s]]
    for s in range(0, 2 * node.pairs, 2):
        i, j = ids[s], ids[s + 1]
        pool.partner[slot, i], pool.partner[slot, j] = j, i
        pool.e[slot, i] = pool.e[slot, j] = free.e[s]
