"""The one polish of pruning masks: greedy removal, then swaps that lower the error, on a sweep tableau."""

from __future__ import annotations

import numpy as np
from numba import njit
from pvq.bounds.gram import BoolArray, FloatArray, IntArray
from pvq.bounds.problem import Problem

PIVOT = 1e-13
"""An input whose conditional variance is below this part of its variance depends on the others up to rounding."""

PROGRESS = 1e-10
"""Smallest relative gain of a swap: the tableau is exact to about this, and the search must end."""


@njit(cache=True, nogil=True)
def sweep(t: FloatArray, k: int) -> None:
    """Move input k into or out of the kept set (Goodnight, "A tutorial on the SWEEP operator", 1979).

    With S kept: T_SS = -H_SS^-1, T_Sj = H_SS^-1 H_Sj, T_S,last = x_S, T_jj' = H_jj' - H_jS H_SS^-1 H_Sj', and the
    last diagonal entry is the error e.
    """
    size = len(t)
    pivot = t[k, k]
    inverse = 1.0 / pivot
    row = t[k].copy()
    for i in range(size):
        if i != k:
            f = row[i] * inverse
            for j in range(size):
                t[i, j] -= f * row[j]
    direction = 1.0 if pivot > 0.0 else -1.0
    for j in range(size):
        t[k, j] = direction * row[j] * inverse
        t[j, k] = t[k, j]
    t[k, k] = -inverse


@njit(cache=True, nogil=True)
def tableau(h: FloatArray, b: FloatArray, c: float) -> FloatArray:
    """T with nothing kept: [[H, b], [b', c]] for b = Hw and c = w'Hw."""
    n = len(b)
    t = np.empty((n + 1, n + 1))
    t[:n, :n] = h
    t[:n, n] = b
    t[n, :n] = b
    t[n, n] = c
    return t


@njit(cache=True, nogil=True)
def set_unit(t: FloatArray, inputs: IntArray, inside: bool, variance: FloatArray) -> None:
    """Sweep the inputs of a unit in (those that add anything beyond rounding) or out."""
    for i in inputs:
        if inside:
            if t[i, i] > PIVOT * variance[i]:
                sweep(t, i)
        elif t[i, i] < 0.0:
            sweep(t, i)


@njit(cache=True, nogil=True)
def refill(t: FloatArray, start: IntArray, inputs: IntArray, kept: BoolArray, variance: FloatArray) -> None:
    """Sweep in kept inputs that were left out because they depended on an input that has been pruned since."""
    for u in range(len(kept)):
        if kept[u]:
            for i in inputs[start[u] : start[u + 1]]:
                if t[i, i] > PIVOT * variance[i]:
                    sweep(t, i)


@njit(cache=True, nogil=True)
def gain(t: FloatArray, inputs: IntArray, variance: FloatArray) -> float:
    """How much the error falls if a pruned unit is kept: b_u' A_uu^-1 b_u, dependent inputs left out."""
    m = len(inputs)
    n = len(t) - 1
    if m == 1:
        i = inputs[0]
        return t[i, n] * t[i, n] / t[i, i] if t[i, i] > PIVOT * variance[i] else 0.0
    a = np.empty((m + 1, m + 1))
    for s in range(m):
        for v in range(m):
            a[s, v] = t[inputs[s], inputs[v]]
        a[s, m] = a[m, s] = t[inputs[s], n]
    a[m, m] = 0.0
    for s in range(m):
        if a[s, s] > PIVOT * variance[inputs[s]]:
            sweep(a, s)
    return -a[m, m]


@njit(cache=True, nogil=True)
def greedy(
    t: FloatArray, start: IntArray, inputs: IntArray, group: IntArray, keep: IntArray, kept: BoolArray
) -> None:
    """Units added by largest gain until all fit, then removed by least w_u-cost until the budgets hold.

    The removal is optimal brain surgeon's w_i^2 / (H^-1)_ii, generalised to units. `t` and `kept` agree before
    and after; groups that are within their budget are only filled.
    """
    variance = np.diag(t).copy()
    units = len(group)
    used = np.zeros(len(keep), np.int64)
    for u in range(units):
        used[group[u]] += 1
        set_unit(t, inputs[start[u] : start[u + 1]], True, variance)
        kept[u] = True
    n = len(t) - 1
    while True:
        least, choice = np.inf, -1
        for u in range(units):
            if kept[u] and used[group[u]] > keep[group[u]]:
                members = inputs[start[u] : start[u + 1]]
                if len(members) == 1:
                    i = members[0]
                    cost = -t[i, n] * t[i, n] / t[i, i] if t[i, i] < 0.0 else 0.0
                else:
                    cost = removal_cost(t, members)
                if cost < least:
                    least, choice = cost, u
        if choice < 0:
            return
        set_unit(t, inputs[start[choice] : start[choice + 1]], False, variance)
        kept[choice] = False
        used[group[choice]] -= 1
        refill(t, start, inputs, kept, variance)


@njit(cache=True, nogil=True)
def removal_cost(t: FloatArray, members: IntArray) -> float:
    """How much the error rises if a kept unit is pruned: x_u' ((H_SS^-1)_uu)^-1 x_u."""
    m = len(members)
    n = len(t) - 1
    a = np.zeros((m + 1, m + 1))
    for s in range(m):
        if t[members[s], members[s]] < 0.0:
            for v in range(m):
                if t[members[v], members[v]] < 0.0:
                    a[s, v] = t[members[s], members[v]]
            a[s, m] = a[m, s] = t[members[s], n]
    for s in range(m):
        if a[s, s] < 0.0:
            sweep(a, s)
    return a[m, m]


@njit(cache=True, nogil=True)
def one_swaps(
    t: FloatArray, start: IntArray, inputs: IntArray, group: IntArray, keep: IntArray, kept: BoolArray, rounds: int
) -> None:
    """Best swap of a kept against a pruned unit (of a group with room for it), until none lowers the error.

    For units of one input a swap's effect follows from four entries of the tableau: removing i raises e by
    x_i^2 / p_i, p = -T_ii, and turns b_j into b_j + T_ij x_i / p_i and A_jj into A_jj + T_ij^2 / p_i.
    """
    n = len(t) - 1
    units = len(group)
    variance = np.empty(n)
    for i in range(n):
        variance[i] = t[i, i]
    for u in range(units):
        if kept[u]:
            set_unit(t, inputs[start[u] : start[u + 1]], True, variance)
    singles = len(inputs) == units
    used = np.zeros(len(keep), np.int64)
    for u in range(units):
        if kept[u]:
            used[group[u]] += 1
    # room left is always worth filling
    while True:
        most, add = 0.0, -1
        for v in range(units):
            if not kept[v] and used[group[v]] < keep[group[v]]:
                value = gain(t, inputs[start[v] : start[v + 1]], variance)
                if value > most:
                    most, add = value, v
        if add < 0:
            break
        set_unit(t, inputs[start[add] : start[add + 1]], True, variance)
        kept[add] = True
        used[group[add]] += 1
    for _ in range(rounds):
        best, out, add = -PROGRESS * max(t[n, n], 1e-3 * PROGRESS * variance.sum()), -1, -1
        for u in range(units):
            if not kept[u]:
                continue
            members = inputs[start[u] : start[u + 1]]
            if singles:
                i = members[0]
                p = -t[i, i]
                if p > 0.0:
                    x = t[i, n]
                    rise = x * x / p
                    for v in range(units):
                        if kept[v] or group[v] != group[u]:
                            continue
                        j = inputs[v]
                        a = t[j, j] + t[i, j] * t[i, j] / p
                        if a > PIVOT * variance[j]:
                            value = t[j, n] + t[i, j] * x / p
                            change = rise - value * value / a
                            if change < best:
                                best, out, add = change, u, v
                else:
                    for v in range(units):
                        if not kept[v] and group[v] == group[u]:
                            change = -gain(t, inputs[v : v + 1], variance)
                            if change < best:
                                best, out, add = change, u, v
                continue
            trial = t.copy()
            set_unit(trial, members, False, variance)
            kept[u] = False
            refill(trial, start, inputs, kept, variance)
            kept[u] = True
            rise = trial[n, n] - t[n, n]
            for v in range(units):
                if not kept[v] and group[v] == group[u]:
                    change = rise - gain(trial, inputs[start[v] : start[v + 1]], variance)
                    if change < best:
                        best, out, add = change, u, v
        if out < 0:
            return
        set_unit(t, inputs[start[out] : start[out + 1]], False, variance)
        set_unit(t, inputs[start[add] : start[add + 1]], True, variance)
        kept[out] = False
        kept[add] = True
        refill(t, start, inputs, kept, variance)


def unit_lists(problem: Problem) -> tuple[IntArray, IntArray]:
    """(units + 1,) first positions and (n,) inputs ordered by unit: unit u has inputs[start[u]:start[u + 1]]."""
    assert problem.sparsity is not None
    unit = problem.sparsity.unit
    inputs = np.argsort(unit, kind="stable").astype(np.int64)
    start = np.searchsorted(unit[inputs], np.arange(problem.sparsity.units + 1)).astype(np.int64)
    return start, inputs


def greedy_mask(problem: Problem) -> BoolArray:
    """(n,) mask left when units are removed one by one, the one that raises the error least first."""
    sparsity = problem.sparsity
    assert sparsity is not None
    start, inputs = unit_lists(problem)
    kept = np.zeros(sparsity.units, np.bool_)
    t = tableau(problem.hessian, problem.hessian @ problem.weight, problem.reference)
    greedy(t, start, inputs, sparsity.group, sparsity.keep, kept)
    return kept[sparsity.unit]


def polish_mask(problem: Problem, mask: BoolArray, rounds: int = 200) -> BoolArray:
    """A mask (n,) at least as good: empty budget filled, then best swaps until no single one helps.

    Kept weights are re-optimised. `mask` must satisfy the budgets; inputs of a half-kept unit are all kept.
    """
    sparsity = problem.sparsity
    assert sparsity is not None
    start, inputs = unit_lists(problem)
    kept = np.zeros(sparsity.units, np.bool_)
    kept[sparsity.unit[np.asarray(mask, dtype=bool)]] = True
    t = tableau(problem.hessian, problem.hessian @ problem.weight, problem.reference)
    one_swaps(t, start, inputs, sparsity.group, sparsity.keep, kept, rounds)
    return kept[sparsity.unit]
