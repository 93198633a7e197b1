"""Best-first branch and bound over pruning masks, compiled: one node after the other until told to stop.

A node keeps some units, prunes some, and leaves the others free. Kept inputs are eliminated by a Schur complement,
pruned ones dropped, so that the free inputs have the error c - 2b'x + x'Ax with a budget per group. The bound is
the perspective relaxation of `perspective`, whose diagonal is improved at every node by one sweep of `ascend`
along its gradient x_i^2 (1 / z_i - 1).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from pvq.bounds.cholesky import UNIT_ROUNDOFF, _subtract, factor, invert, solve
from pvq.bounds.diagonal import ascend
from pvq.bounds.gram import BoolArray, FloatArray, IntArray

from ..empirical.swaps import one_swaps, tableau
from .perspective import largest, relax, water_fill
from .pool import FREE, KEPT, PRUNED, Pool, pop, push, release

BARRIER = 0.02
"""Barrier of the node's sweep as a part of the mean of c_i d_i."""

EVEN_WEIGHT = 0.5
"""Ascent weight of every input, as a part of the mean gradient, on top of its own: the gradient is that of one
relaxation, and inputs idle in it are fractional in a descendant. 1e-3 in its place needs five times the nodes."""

RELAX_ITERATIONS = 40
"""Linear systems and line-search points per relaxation; a warm start needs about 5."""

INHERIT = 1 - 1e-6
"""A child starts strictly inside the cone; more than the rounding of a float32 (6e-8)."""

SLACK = 1e-13
"""Where A - D itself cannot be factorised, A - D + SLACK diag(H) is: Gram matrices that are singular to working
precision pass no stricter test. The bound then gives up SLACK sum h_ii (x_i - v_i)^2."""

LEAST_D = 1e-14
"""Least d_i relative to h_ii, so that r_i^2 / d_i is finite; part of the D that is tested."""

POLISHED_NODES = 12
"""Every rounded relaxation of the first nodes is polished by swaps, later ones only if they beat the incumbent."""

ROOT_ROUNDS = 12
"""Alternations of D and x at the root."""


class Row(NamedTuple):
    """A row in the scale of its Gram matrix (mean diagonal 1, largest weight 1)."""

    h: FloatArray
    b: FloatArray
    """(n,) Hw."""
    c: float
    """w'Hw."""
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


@njit(cache=True, nogil=True)
def settle(row: Row, state: np.ndarray, room: IntArray) -> int:
    """Prune what no budget is left for, keep what all fits; room[g] = budget left. Returns the free units left."""
    groups = len(row.keep)
    free = np.zeros(groups, np.int64)
    for g in range(groups):
        room[g] = row.keep[g]
    for u in range(len(state)):
        if state[u] == KEPT:
            room[row.group[u]] -= 1
        elif state[u] == FREE:
            free[row.group[u]] += 1
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


@njit(cache=True, nogil=True)
def eliminate(row: Row, state: np.ndarray, t: FloatArray, ids: IntArray, a: FloatArray, b: FloatArray):  # type: ignore[no-untyped-def]
    """A, b, c of the free inputs after eliminating the kept ones: R'R of the kept block, continued over the rest.

    Returns (m, c); ids[:m] are the free inputs. A pivot lost to rounding is replaced by the least one that
    rounding can produce, which makes the elimination take away too much rather than too little.
    """
    n = len(row.b)
    order = np.empty(n, np.int64)
    p = 0
    for i in range(n):
        if state[row.unit[i]] == KEPT:
            order[p] = i
            p += 1
    m = 0
    for i in range(n):
        if state[row.unit[i]] == FREE:
            order[p + m] = i
            ids[m] = i
            m += 1
    size = p + m
    for s in range(size):
        i = order[s]
        for v in range(s, size):
            t[s, v] = row.h[i, order[v]]
        t[s, size] = row.b[i]
    c = row.c
    for s in range(p):
        _subtract(t, s, s, t[s], s, size + 1)
        i = order[s]
        pivot = max(t[s, s], UNIT_ROUNDOFF * row.h[i, i])
        scale = 1.0 / np.sqrt(pivot)
        for v in range(s, size + 1):
            t[s, v] *= scale
        c -= t[s, size] * t[s, size]
    for s in range(m):
        _subtract(t, p + s, p, t[p + s], p + s, size + 1)
        for v in range(s, m):
            a[s, v] = t[p + s, p + v]
            a[v, s] = t[p + s, p + v]
        b[s] = t[p + s, size]
    return m, c


@njit(cache=True, nogil=True)
def positive(
    a: FloatArray, d: FloatArray, variance: FloatArray, m: int, out: FloatArray, loss: FloatArray
) -> bool:
    """Factorise A - D (loss 0), or A - D + diag(loss) with loss = SLACK diag(H), into `out`; False if neither is
    positive definite."""
    for slack in (0.0, SLACK):
        for i in range(m):
            for j in range(i, m):
                out[i, j] = a[i, j]
            loss[i] = slack * variance[i]
            out[i, i] += loss[i] - d[i]
        if factor(out, m):
            return True
    return False


@njit(cache=True, nogil=True)
def offer(row: Row, best: Incumbent, kept: BoolArray, polish: bool) -> None:
    """Take a mask as the incumbent if it is better, after swaps if asked for."""
    t = tableau(row.h, row.b, row.c)
    one_swaps(t, row.start, row.inputs, row.group, row.keep, kept, 200 if polish else 0)
    value = max(0.0, t[len(row.b), len(row.b)])
    if value < best.value[0]:
        best.value[0] = value
        best.kept[:] = kept


@njit(cache=True, nogil=True)
def round_up(
    row: Row,
    best: Incumbent,
    state: np.ndarray,
    m: int,
    c: float,
    a: FloatArray,
    b: FloatArray,
    local: IntArray,
    units: int,
    names: IntArray,
    group: IntArray,
    keep: IntArray,
    z: FloatArray,
    saving: FloatArray,
    polish: bool,
    work: FloatArray,
) -> None:
    """Keep the units with the largest z (then saving): an upper bound from the relaxation."""
    top = saving[:units].max() + 1e-300
    order = np.argsort(-(z[:units] + 1e-6 * saving[:units] / top))
    used = np.zeros(len(keep), np.int64)
    chosen = np.zeros(units, np.bool_)
    for u in order:
        if used[group[u]] < keep[group[u]]:
            used[group[u]] += 1
            chosen[u] = True
    rhs = np.empty(m)
    active = np.empty(m, np.int64)
    count = 0
    for i in range(m):
        if chosen[local[i]]:
            active[count] = i
            count += 1
    for s in range(count):
        for v in range(s, count):
            work[s, v] = a[active[s], active[v]]
        rhs[s] = b[active[s]]
    value = 0.0 if polish else best.value[0]
    if factor(work, count):
        solve(work, count, rhs)
        value = c
        for s in range(count):
            value -= b[active[s]] * rhs[s]
    if polish or value < best.value[0]:
        kept = state == KEPT
        for u in range(units):
            if chosen[u]:
                kept[names[u]] = True
        offer(row, best, kept, True)


@njit(cache=True, nogil=True)
def advance(row: Row, pool: Pool, best: Incumbent, gap: float, floor: float, budget: int) -> bool:
    """Process nodes until none is open (True), or `budget` nodes are done or the pool is full (False).

    A subtree is discarded when its bound is within `gap` of the upper bound (relative, or `floor` absolute), less
    a little, so that the claim survives when the upper bound is recomputed from its x.
    """
    n, total_units, groups = len(row.b), len(row.group), len(row.keep)
    t = np.empty((n, n + 1))
    ids, local = np.empty(n, np.int64), np.empty(n, np.int64)
    a_full, b = np.empty((n, n)), np.empty(n)
    room = np.empty(groups, np.int64)
    names, number = np.empty(total_units, np.int64), np.empty(total_units, np.int64)
    group_number = np.empty(groups, np.int64)
    x, z, r, saving = np.empty(n), np.empty(total_units), np.empty(n), np.empty(total_units)
    d, old, weights, variance, y = np.empty(n), np.empty(n), np.empty(n), np.empty(n), np.empty(total_units)
    loss = np.empty(n)
    state = np.empty(total_units, np.int8)
    for _ in range(budget):
        if pool.size[0] == 0:
            return True
        if pool.size[1] < 3:
            return False
        slot = pop(pool)
        key = pool.key[slot]
        state[:] = pool.state[slot]
        cutoff = best.value[0] - max(0.99 * gap * best.value[0], 0.9 * floor)
        if key >= cutoff:
            # the least key is the first: every open node is discarded
            best.value[1] = min(best.value[1], key)
            release(pool, slot)
            while pool.size[0] > 0:
                release(pool, pop(pool))
            return True
        best.nodes[0] += 1
        units = settle(row, state, room)
        m, c = eliminate(row, state, t, ids, a_full, b)
        if units == 0:
            if c < best.value[0]:
                offer(row, best, state == KEPT, True)
            best.value[1] = min(best.value[1], max(key, c))
            release(pool, slot)
            continue
        # number units and groups that are still open
        group_number[:] = -1
        keep_local = np.empty(groups, np.int64)
        group_local = np.empty(units, np.int64)
        open_groups, count = 0, 0
        for u in range(total_units):
            if state[u] == FREE:
                g = row.group[u]
                if group_number[g] < 0:
                    group_number[g] = open_groups
                    keep_local[open_groups] = room[g]
                    open_groups += 1
                group_local[count] = group_number[g]
                names[count] = u
                number[u] = count
                count += 1
        keep = keep_local[:open_groups]
        for s in range(m):
            i = ids[s]
            local[s] = number[row.unit[i]]
            variance[s] = row.h[i, i]
            d[s] = max(pool.d[slot, i] * INHERIT, LEAST_D * variance[s])
            x[s] = pool.x[slot, i]
        release(pool, slot)
        a = np.ascontiguousarray(a_full[:m, :m])
        q, p, work, lower = np.empty((m, m)), np.empty((m, m)), np.empty((m, m)), np.empty((m, m))
        root = best.nodes[0] == 1
        inside = positive(a, d, variance, m, work, loss)
        for _attempt in range(20):
            if inside:
                break
            for s in range(m):
                d[s] = max(0.3 * d[s], LEAST_D * variance[s])
            inside = positive(a, d, variance, m, work, loss)
        bound = -np.inf
        if inside:
            target = best.value[0] - max(0.9 * gap * best.value[0], 0.8 * floor)
            for turn in range(ROOT_ROUNDS if root else 1):
                invert(work, m, lower, p)
                # ascent weights from the x at hand
                for u in range(units):
                    y[u] = 0.0
                for s in range(m):
                    y[local[s]] += d[s] * x[s] * x[s]
                for u in range(units):
                    y[u] = np.sqrt(y[u])
                price = np.empty(open_groups)
                water_fill(y, units, group_local, keep, z, price)
                mean, worth = 0.0, 0.0
                for s in range(m):
                    zu = z[local[s]]
                    weights[s] = x[s] * x[s] * (1.0 / zu - 1.0) if zu > 1e-9 else 0.0
                    mean += weights[s] / m
                if mean > 0.0:
                    for s in range(m):
                        weights[s] += EVEN_WEIGHT * mean
                        worth += weights[s] * d[s] / m
                        old[s] = d[s]
                    ascend(p, d[:m], weights[:m], BARRIER * worth, 0.0)
                    for s in range(m):
                        d[s] = max(d[s], LEAST_D * variance[s])
                    if not positive(a, d, variance, m, work, loss):
                        d[:m] = old[:m]
                        positive(a, d, variance, m, work, loss)
                q[:] = a
                for s in range(m):
                    q[s, s] -= d[s]
                precision = 1e-3 * max(best.value[0] - max(bound, key), 0.0)
                bound_now = relax(
                    m, q, d, b, c, loss, local, units, group_local, keep, RELAX_ITERATIONS,
                    target, precision, x, z, r, saving, lower,
                )  # fmt: skip
                enough = turn > 2 and bound_now < bound + 1e-3 * (best.value[0] - bound)
                bound = bound_now
                if bound >= target or enough:
                    break
        if bound >= cutoff:
            best.value[1] = min(best.value[1], bound)
            continue
        if not inside:
            for s in range(m):
                x[s] = 0.0
                r[s] = b[s]
            z[:units] = 0.0
            saving[:units] = 0.0
            for s in range(m):
                saving[local[s]] += b[s] * b[s] / max(a[s, s], SLACK * variance[s])
        round_up(
            row, best, state, m, c, a, b, local, units, names, group_local, keep, z, saving,
            best.nodes[0] <= POLISHED_NODES, lower,
        )  # fmt: skip
        cutoff = best.value[0] - max(0.99 * gap * best.value[0], 0.9 * floor)
        last, first = np.empty(open_groups), np.empty(open_groups)
        largest(saving, units, group_local, keep, last, first)
        key = max(key, bound)
        if key >= cutoff:
            best.value[1] = min(best.value[1], key)
            continue
        # reduced costs: r, saving and bound belong to the same iterate
        if bound > -np.inf:
            for u in range(units):
                g = group_local[u]
                inner = saving[u] >= last[g]
                other = bound + (saving[u] - first[g] if inner else last[g] - saving[u])
                if other >= cutoff:
                    state[names[u]] = KEPT if inner else PRUNED
                    best.value[1] = min(best.value[1], other)
        # branch
        choice, highest = -1, 0.0
        for u in range(units):
            y[u] = 0.0
        for s in range(m):
            y[local[s]] += x[s] * x[s] * (a[s, s] - d[s])
        for u in range(units):
            if state[names[u]] == FREE and y[u] * (1.0 - z[u]) > highest:
                choice, highest = u, y[u] * (1.0 - z[u])
        if choice < 0:
            for u in range(units):
                if state[names[u]] == FREE and saving[u] >= highest:
                    choice, highest = u, saving[u]
        for side in (KEPT, PRUNED):
            child = key
            if choice >= 0 and bound > -np.inf:
                g = group_local[choice]
                other = last[g] - saving[choice] if side == KEPT else saving[choice] - first[g]
                child = max(key, bound + other)
            new = push(pool, child)
            pool.state[new] = state
            if choice >= 0:
                pool.state[new, names[choice]] = side
            for s in range(m):
                pool.d[new, ids[s]] = d[s]
                pool.x[new, ids[s]] = x[s]
            if choice < 0:
                break
    return pool.size[0] == 0
