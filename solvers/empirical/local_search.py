"""The one local search on grids: coordinate descent and moves of pairs, also under a budget of non-zeros."""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import FloatArray, IntArray
from pvq.bounds.problem import Problem

from ..kernels.apart import entry, inner
from ..kernels.sparing import NONE

PASSES = 50  # a pass that finds nothing ends the search long before
# A move must gain more than the rounding of the error itself, or ties could cycle.
LEAST_GAIN = 1e-13


def values_of(problem: Problem) -> tuple[FloatArray, IntArray, IntArray]:
    """Values each input may take: (groups, L) sorted, how many of each row count, and the row of each input.

    The grid, with 0 where a pattern holds; for pruning with fixed weights 0 and the weight itself.
    """
    grid, sparsity = problem.grid, problem.sparsity
    if grid is None:
        lists = [sorted({0.0, float(w)}) for w in problem.weight]
        group = np.arange(problem.n)
    else:
        extra = set() if sparsity is None else {0.0}
        lists = [sorted({*levels.tolist(), *extra}) for levels in grid.levels]
        group = grid.group
    values = np.zeros((len(lists), max(map(len, lists))))
    for g, row in enumerate(lists):
        values[g, : len(row)] = row
    return values, np.array([len(row) for row in lists]), group.astype(np.int64)


def polish_grid(problem: Problem, x: FloatArray) -> FloatArray:
    """Improve a feasible point until no single coordinate and no neighbouring pair lowers the error; (n,)."""
    values, count, group = values_of(problem)
    sparsity = problem.sparsity
    if sparsity is None:
        unit, unit_group, keep = np.zeros(problem.n, np.int64), np.zeros(1, np.int64), np.zeros(0, np.int64)
    else:
        unit, unit_group, keep = sparsity.unit, sparsity.group, sparsity.keep
    polished = np.array(x, dtype=np.float64)
    gradient = problem.hessian @ (problem.weight - polished)
    least = LEAST_GAIN * float((problem.weight - polished) @ gradient)
    _descend(problem.hessian, gradient, least, polished, values, count, group, unit, unit_group, keep)
    return polished if problem.error(polished) < problem.error(x) else np.array(x, dtype=np.float64)


@inner()
def _closest(values, count, s):  # type: ignore[no-untyped-def]
    best = 0
    for k in range(1, count):
        if abs(values[k] - s) < abs(values[best] - s):
            best = k
    return values[best]


@inner()
def _may_fill(j, unit, unit_group, unit_used, group_used, keep):  # type: ignore[no-untyped-def]
    """Whether a zero at input j may become non-zero."""
    if len(keep) == 0 or unit_used[unit[j]] > 0:
        return True
    return group_used[unit_group[unit[j]]] < keep[unit_group[unit[j]]]


@inner()
def _count(j, old, new, unit, unit_group, unit_used, group_used, keep):  # type: ignore[no-untyped-def]
    """Keep the used budget in step with a change of input j."""
    if len(keep) == 0 or (old == 0.0) == (new == 0.0):
        return
    u = unit[j]
    if new != 0.0:
        if unit_used[u] == 0:
            group_used[unit_group[u]] += 1
        unit_used[u] += 1
    else:
        unit_used[u] -= 1
        if unit_used[u] == 0:
            group_used[unit_group[u]] -= 1


@entry()
def _descend(h, gradient, least, x, values, count, group, unit, unit_group, keep):  # type: ignore[no-untyped-def]
    """gradient : H(w - x), kept in step with x.   least : what a move must gain."""
    n = len(x)
    most = np.empty(n)
    for i in range(n):
        most[i] = 1.0 / h[i, i]  # moving input i alone gains gradient_i^2 / h_ii at most
    unit_used, group_used = np.zeros(len(unit_group), np.int64), np.zeros(len(keep), np.int64)
    for j in range(n):
        _count(j, 0.0, x[j], unit, unit_group, unit_used, group_used, keep)
    for _ in range(PASSES):
        improved = False
        for i in range(n):
            g = group[i]
            here = 0
            while values[g, here] != x[i] and here < count[g] - 1:
                here += 1
            for move in range(4):
                if move == 0:
                    new = _closest(values[g], count[g], x[i] + gradient[i] / h[i, i])
                elif move == 1:
                    new = values[g, max(here - 1, 0)]
                elif move == 2:
                    new = values[g, min(here + 1, count[g] - 1)]
                else:
                    new = 0.0 if len(keep) > 0 else x[i]
                old = x[i]
                if new == old:
                    continue
                if old == 0.0 and not _may_fill(i, unit, unit_group, unit_used, group_used, keep):
                    continue
                t = new - old
                gain = 2 * t * gradient[i] - t * t * h[i, i]
                best, best_j, best_value = gain, NONE, 0.0
                _count(i, old, new, unit, unit_group, unit_used, group_used, keep)
                for j in range(n):
                    if j == i:
                        continue
                    rest = gradient[j] - t * h[i, j]
                    if gain + rest * rest * most[j] <= best:
                        continue
                    value = _closest(values[group[j]], count[group[j]], x[j] + rest / h[j, j])
                    if value == x[j]:
                        continue
                    if x[j] == 0.0 and not _may_fill(j, unit, unit_group, unit_used, group_used, keep):
                        continue
                    step = value - x[j]
                    total = gain + 2 * step * rest - step * step * h[j, j]
                    if total > best:
                        best, best_j, best_value = total, j, value
                if best > least:
                    improved = True
                    for j in range(n):
                        gradient[j] -= t * h[i, j]
                    x[i] = new
                    if best_j >= 0:
                        _count(best_j, x[best_j], best_value, unit, unit_group, unit_used, group_used, keep)
                        step = best_value - x[best_j]
                        for j in range(n):
                            gradient[j] -= step * h[best_j, j]
                        x[best_j] = best_value
                    break
                _count(i, new, old, unit, unit_group, unit_used, group_used, keep)
        if not improved:
            break
