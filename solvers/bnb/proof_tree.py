"""A proof of an optimal mask: a small search tree, grown again once the optimum is known, whose leaves are kept.

The engine throws its nodes away; this repeats the search with the optimum as the target, depth first (any order
visits the same nodes then), and writes down D and x of every leaf. It is simpler than the engine and needs more
nodes, so it is for rows that took few.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from pvq.bounds.cholesky import factor, invert
from pvq.bounds.diagonal import ascend, largest_diagonal
from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem
from pvq.bounds.proof import FREE, KEPT, PRUNED, Below, Split, Tree

from .perspective import relax, water_fill

MAX_LEAVES = 1000
"""Leaves of a proof: at 64 inputs 1 MB of numbers, and a second to verify."""
INSIDE = 1 - 1e-6
"""A child starts strictly inside the cone."""
CLEARLY = 1 - 1e-8
"""The D of a proof is this much smaller than the tested one: room for the kept inputs and for rounding."""
LEAST_D = 1e-12
"""Least d_i relative to h_ii; of kept inputs the d_i itself, which costs nothing but room for the others."""


@njit(cache=True, nogil=True)
def _settle(state, group, keep):  # type: ignore[no-untyped-def]
    """Prune what no budget is left for, keep what all fits; returns the budgets left."""
    room = keep.copy()
    free = np.zeros(len(keep), np.int64)
    for u in range(len(state)):
        if state[u] == KEPT:
            room[group[u]] -= 1
        elif state[u] == FREE:
            free[group[u]] += 1
    for u in range(len(state)):
        if state[u] == FREE:
            g = group[u]
            if room[g] <= 0:
                state[u] = PRUNED
            elif free[g] <= room[g]:
                state[u] = KEPT
    return room


@njit(cache=True, nogil=True)
def _eliminate(h, hw, c, kept, free):  # type: ignore[no-untyped-def]
    """A, b, c of the free inputs, whose error is c - 2 b'x + x'Ax once the kept ones are at their best."""
    p, m = len(kept), len(free)
    order = np.concatenate((kept, free))
    t = np.empty((p + m, p + m + 1))
    for s in range(p + m):
        for v in range(p + m):
            t[s, v] = h[order[s], order[v]]
        t[s, p + m] = hw[order[s]]
    for k in range(p):
        pivot = max(t[k, k], 1e-16 * h[kept[k], kept[k]])
        for s in range(k + 1, p + m):
            f = t[s, k] / pivot
            for v in range(s, p + m + 1):
                t[s, v] -= f * t[k, v]
            for v in range(k + 1, s):
                t[s, v] = t[v, s]
        c -= t[k, p + m] * t[k, p + m] / pivot
    return np.ascontiguousarray(t[p:, p : p + m]), t[p:, p + m].copy(), c


@njit(cache=True, nogil=True)
def _grow(h, hw, c0, unit, group, keep, d0, x0, target, states, ds, xs):  # type: ignore[no-untyped-def]
    """Fill in leaves whose bounds reach the target; returns their number, or -1 if that fails."""
    n, total_units, groups = len(hw), len(group), len(keep)
    capacity = total_units + 2
    open_state = np.zeros((capacity, total_units), np.int8)
    open_d, open_x = np.empty((capacity, n)), np.empty((capacity, n))
    open_d[0], open_x[0] = d0, x0
    waiting, leaves, nodes = 1, 0, 0
    z, saving, price = np.empty(total_units), np.empty(total_units), np.empty(groups)
    y = np.empty(total_units)
    while waiting > 0:
        waiting -= 1
        nodes += 1
        state, d_all, x_all = open_state[waiting].copy(), open_d[waiting].copy(), open_x[waiting].copy()
        room = _settle(state, group, keep)
        of_input = state[unit]
        free, kept = np.flatnonzero(of_input == FREE), np.flatnonzero(of_input == KEPT)
        a, b, c = _eliminate(h, hw, c0, kept, free)
        m = len(free)
        bound = c if m == 0 else -np.inf
        if m > 0:
            names = np.flatnonzero(state == FREE)
            number = np.zeros(total_units, np.int64)
            number[names] = np.arange(len(names))
            units, local = len(names), number[unit[free]]
            open_groups = np.unique(group[names])
            group_number = np.zeros(groups, np.int64)
            group_number[open_groups] = np.arange(len(open_groups))
            group_local, keep_local = group_number[group[names]], room[open_groups]
            d, x, loss = d_all[free] * INSIDE, x_all[free], np.zeros(m)
            floor = LEAST_D * np.diag(h)[free]
            work, p, lower = np.empty((m, m)), np.empty((m, m)), np.empty((m, m))
            inside = False
            for _ in range(40):
                d = np.maximum(d, floor)
                work[:] = a
                for i in range(m):
                    work[i, i] -= d[i]
                inside = factor(work, m)
                if inside:
                    break
                d *= 0.3
            if not inside:
                return -1
            for _turn in range(12 if nodes == 1 else 2):
                q = a.copy()
                for i in range(m):
                    q[i, i] -= d[i]
                bound = relax(
                    m, q, d, b, c, loss, local, units, group_local, keep_local, 40, target,
                    1e-3 * abs(target), x, z, saving, lower,
                )  # fmt: skip
                if bound >= target:
                    break
                y[:] = 0.0
                for i in range(m):
                    y[local[i]] += d[i] * x[i] * x[i]
                y[:units] = np.sqrt(y[:units])
                water_fill(y, units, group_local, keep_local, z, price)
                weights = np.empty(m)
                for i in range(m):
                    zu = z[local[i]]
                    weights[i] = x[i] * x[i] * (1.0 / zu - 1.0) if zu > 1e-9 else 0.0
                if not weights.sum() > 0.0:
                    break
                weights += 0.5 * weights.mean()
                old = d.copy()
                invert(work, m, lower, p)
                ascend(p, d, weights, 0.08 * (weights * d).sum() / m, 0.0)
                d = np.maximum(d, floor)
                work[:] = a
                for i in range(m):
                    work[i, i] -= d[i]
                if not factor(work, m):
                    d = old
                    work[:] = a
                    for i in range(m):
                        work[i, i] -= d[i]
                    factor(work, m)
            d_all[free], x_all[free] = d, x
        if bound >= target:
            if leaves == len(states):
                return -1
            states[leaves], ds[leaves], xs[leaves] = state, d_all, x_all
            leaves += 1
            continue
        if m == 0 or nodes > 2 * len(states):
            return -1
        score = np.zeros(total_units)
        for i in range(m):
            score[local[i]] += x[i] * x[i] * (a[i, i] - d[i]) * (1.0 - z[local[i]])
        choice = int(score[:units].argmax())
        if not score[choice] > 0.0:
            choice = int(saving[:units].argmax())
        for side in (PRUNED, KEPT):
            open_state[waiting] = state
            open_state[waiting, names[choice]] = side
            open_d[waiting], open_x[waiting] = d_all, x_all
            waiting += 1
    return leaves


def proof_of_optimum(problem: Problem, lower: float) -> Tree | None:
    """A tree that proves `lower`, or None if it would have too many leaves.

    Parameters
    ----------
    problem : a row without dead inputs, with re-optimised kept weights.
    lower : what is to be proven, a little below the optimum.
    """

    def start() -> tuple[FloatArray, float, FloatArray]:
        mean = float(np.trace(problem.hessian)) / problem.n
        scaled = np.ascontiguousarray(problem.hessian / mean)
        return scaled, mean, largest_diagonal(scaled)

    h, scale, d = problem.gram.memo("proof tree", start)
    sparsity, w = problem.sparsity, problem.weight
    assert sparsity is not None
    size = float(np.abs(w).max())
    n, hw = problem.n, h @ (w / size)
    states = np.zeros((MAX_LEAVES, sparsity.units), np.int8)
    ds, xs = np.zeros((MAX_LEAVES, n)), np.zeros((MAX_LEAVES, n))
    target = lower / (scale * size * size)
    count = _grow(
        h,
        hw,
        float(hw @ w) / size,
        sparsity.unit,
        sparsity.group,
        sparsity.keep,
        d,
        w / size,
        target,
        states,
        ds,
        xs,
    )
    if count < 0:
        return None
    splits = tuple(
        _split(problem, states[leaf][sparsity.unit], scale * ds[leaf], size * xs[leaf]) for leaf in range(count)
    )
    return Tree(states[:count], np.arange(count), splits)


def _split(problem: Problem, state: np.ndarray, d: FloatArray, x: FloatArray) -> Split:
    """D and v of a leaf: x where it is free, and the stationary point of its kept inputs."""
    h, w = problem.hessian, problem.weight
    kept, free = np.flatnonzero(state == KEPT), np.flatnonzero(state == FREE)
    diagonal, v = np.zeros(len(w)), np.where(state == PRUNED, -w, 0.0)
    diagonal[free] = CLEARLY * d[free]
    diagonal[kept] = LEAST_D * h.diagonal()[kept]
    v[free] = x[free] - w[free]
    m = h[np.ix_(kept, kept)] - np.diag(diagonal[kept])
    for _ in range(2):  # the second time refines
        v[kept] -= np.linalg.solve(m, h[kept] @ v - diagonal[kept] * v[kept]) if len(kept) else 0.0
    v[state == PRUNED] = 0.0
    return Split(Below(diagonal), v)
