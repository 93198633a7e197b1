"""The one polish of pruning masks: greedy removal, then swaps that lower the error, on a sweep tableau."""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import BoolArray, FloatArray, IntArray
from pvq.bounds.problem import Problem

from ..kernels.apart import FLAGS, MATRIX, NUMBERS, REAL, VECTOR, WHOLE, apart, entry, inner, several
from ..kernels.order import ascending
from ..kernels.sparing import assign_matrix
from .tableau import PIVOT, gain, refill, removal_cost, set_unit, sweep, tableau

TRIES, WORK = 32, 20_000_000
"""Forced swaps tried at a time, as long as they need no more than so many entries of the tableau in all."""

PROGRESS = 1e-10
"""Smallest relative gain of a swap: the tableau is exact to about this, and the search must end."""


@entry()
def greedy(
    t: FloatArray, start: IntArray, inputs: IntArray, group: IntArray, keep: IntArray, kept: BoolArray
) -> None:
    """Units added by largest gain until all fit, then removed by least w_u-cost until the budgets hold.

    The removal is optimal brain surgeon's w_i^2 / (H^-1)_ii, generalised to units. `t` and `kept` agree before
    and after; groups that are within their budget are only filled.
    """
    units, variance = len(group), np.empty(len(t))
    for i in range(len(t)):
        variance[i] = t[i, i]
    used = np.zeros(len(keep), np.int64)
    for u in range(units):
        used[group[u]] += 1
        set_unit(t, start, inputs, u, True, variance)
        kept[u] = True
    n = len(t) - 1
    while True:
        least, choice = np.inf, -1
        for u in range(units):
            if kept[u] and used[group[u]] > keep[group[u]]:
                if start[u + 1] - start[u] == 1:
                    i = inputs[start[u]]
                    cost = -t[i, n] * t[i, n] / t[i, i] if t[i, i] < 0.0 else 0.0
                else:
                    cost = removal_cost(t, start, inputs, u)
                if cost < least:
                    least, choice = cost, u
        if choice < 0:
            return
        set_unit(t, start, inputs, choice, False, variance)
        kept[choice] = False
        used[group[choice]] -= 1
        refill(t, start, inputs, kept, variance)


@apart(None, MATRIX, VECTOR, NUMBERS, NUMBERS, NUMBERS, NUMBERS, FLAGS, WHOLE, python=True)
def one_swaps(
    t: FloatArray,
    variance: FloatArray,
    start: IntArray,
    inputs: IntArray,
    group: IntArray,
    keep: IntArray,
    kept: BoolArray,
    rounds: int,
) -> None:
    """Best swap of a kept against a pruned unit (of a group with room for it), until none lowers the error."""
    units = len(group)
    for u in range(units):
        if kept[u]:
            set_unit(t, start, inputs, u, True, variance)
    used = np.zeros(len(keep), np.int64)
    for u in range(units):
        if kept[u]:
            used[group[u]] += 1
    # room left is always worth filling
    while True:
        most, add = 0.0, -1
        for v in range(units):
            if not kept[v] and used[group[v]] < keep[group[v]]:
                value = gain(t, start, inputs, v, variance)
                if value > most:
                    most, add = value, v
        if add < 0:
            break
        set_unit(t, start, inputs, add, True, variance)
        kept[add] = True
        used[group[add]] += 1
    for _ in range(rounds):
        change, out, add = best_swap(t, start, inputs, group, kept, variance)
        if change >= -least_gain(t, variance):
            return
        set_unit(t, start, inputs, out, False, variance)
        set_unit(t, start, inputs, add, True, variance)
        kept[out] = False
        kept[add] = True
        refill(t, start, inputs, kept, variance)


@inner()
def least_gain(t: FloatArray, variance: FloatArray) -> float:
    """What a swap must gain: more than the rounding of the tableau."""
    total = 0.0
    for v in variance:
        total += v
    return PROGRESS * max(t[len(variance), len(variance)], 1e-3 * PROGRESS * total)


@apart(several((REAL, WHOLE, WHOLE)), MATRIX, NUMBERS, NUMBERS, NUMBERS, FLAGS, VECTOR)
def best_swap(
    t: FloatArray, start: IntArray, inputs: IntArray, group: IntArray, kept: BoolArray, variance: FloatArray
) -> tuple[float, int, int]:
    """The kept and the pruned unit of one group whose swap changes the error most, and that change.

    For units of one input a swap's effect follows from four entries of the tableau: removing i raises e by
    x_i^2 / p_i, p = -T_ii, and turns b_j into b_j + T_ij x_i / p_i and A_jj into A_jj + T_ij^2 / p_i.
    """
    n, units = len(t) - 1, len(group)
    singles = len(inputs) == units
    best, out, add = np.inf, -1, -1
    for u in range(units):
        if not kept[u]:
            continue
        if singles:
            i = inputs[start[u]]
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
                        change = -gain(t, start, inputs, v, variance)
                        if change < best:
                            best, out, add = change, u, v
            continue
        trial = t.copy()
        set_unit(trial, start, inputs, u, False, variance)
        kept[u] = False
        refill(trial, start, inputs, kept, variance)
        kept[u] = True
        rise = trial[n, n] - t[n, n]
        for v in range(units):
            if not kept[v] and group[v] == group[u]:
                change = rise - gain(trial, start, inputs, v, variance)
                if change < best:
                    best, out, add = change, u, v
    return best, out, add


@entry()
def two_swaps(
    t: FloatArray,
    variance: FloatArray,
    start: IntArray,
    inputs: IntArray,
    group: IntArray,
    keep: IntArray,
    kept: BoolArray,
    rounds: int,
) -> None:
    """Two swaps at once where no single one helps: a forced one, then the best one after it.

    The forced swap takes out one of the `TRIES` kept inputs that cost least and puts in the one that then gains
    most. Only for units of one input. `kept` must be a result of `one_swaps`, which follows every success.
    """
    n, units = len(t) - 1, len(group)
    if len(inputs) != units:
        return
    tries, cost, order = min(TRIES, WORK // (n * n)), np.empty(units), np.empty(units, np.int64)
    for _ in range(rounds):
        count = 0
        for u in range(units):
            cost[u] = np.inf
            i = inputs[u]
            if kept[u] and t[i, i] < 0.0:
                cost[u] = -t[i, n] * t[i, n] / t[i, i]
        found = False
        ascending(cost, order)
        for place in range(units):
            u = order[place]
            count += 1
            if count > tries or cost[u] == np.inf:
                break
            trial = t.copy()
            sweep(trial, inputs[u])
            most, v = 0.0, -1
            for other in range(units):
                if not kept[other] and group[other] == group[u]:
                    value = gain(trial, start, inputs, other, variance)
                    if value > most:
                        most, v = value, other
            if v < 0:
                continue
            sweep(trial, inputs[v])
            kept[u], kept[v] = False, True
            change, out, add = best_swap(trial, start, inputs, group, kept, variance)
            if trial[n, n] + change < t[n, n] - least_gain(t, variance):
                set_unit(trial, start, inputs, out, False, variance)
                set_unit(trial, start, inputs, add, True, variance)
                kept[out], kept[add] = False, True
                assign_matrix(t, trial)
                found = True
                break
            kept[u], kept[v] = True, False
        if not found:
            return
        one_swaps(t, variance, start, inputs, group, keep, kept, rounds)


def unit_lists(problem: Problem) -> tuple[IntArray, IntArray]:
    """(units + 1,) first positions and (n,) inputs ordered by unit: unit u has inputs[start[u]:start[u + 1]]."""
    unit, units = problem.pattern.unit, problem.pattern.units

    def make() -> tuple[IntArray, IntArray]:
        inputs = np.argsort(unit, kind="stable").astype(np.int64)
        return np.searchsorted(unit[inputs], np.arange(units + 1)).astype(np.int64), inputs

    return problem.gram.memo(unit_lists, make, unit.tobytes())  # asked for three times a row


def greedy_mask(problem: Problem) -> BoolArray:
    """(n,) mask left when units are removed one by one, the one that raises the error least first."""
    sparsity = problem.pattern
    start, inputs = unit_lists(problem)
    kept = np.zeros(sparsity.units, np.bool_)
    t = tableau(problem.hessian.copy(), problem.hessian @ problem.weight, problem.reference)
    greedy(t, start, inputs, sparsity.group, sparsity.keep, kept)
    return kept[sparsity.unit]


def polish_mask(problem: Problem, mask: BoolArray, rounds: int = 200, pairs: bool = True) -> BoolArray:
    """A mask (n,) at least as good: room filled, then the best swaps of one unit (and of two), until none helps.

    Kept weights are re-optimised. `mask` must satisfy the budgets; inputs of a half-kept unit are all kept.
    """
    sparsity = problem.pattern
    start, inputs = unit_lists(problem)
    kept = np.zeros(sparsity.units, np.bool_)
    kept[sparsity.unit[np.asarray(mask, dtype=bool)]] = True
    t = tableau(problem.hessian.copy(), problem.hessian @ problem.weight, problem.reference)
    variance = problem.hessian.diagonal().copy()
    one_swaps(t, variance, start, inputs, sparsity.group, sparsity.keep, kept, rounds)
    if pairs:
        two_swaps(t, variance, start, inputs, sparsity.group, sparsity.keep, kept, rounds)
    return kept[sparsity.unit]
