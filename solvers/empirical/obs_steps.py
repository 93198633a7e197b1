"""Compiled loops of OBC and OBQ on a shrinking inverse of H."""

from __future__ import annotations

import numpy as np
from numba import njit

from .select import nearest


@njit(cache=True, nogil=True)
def fix(w, inverse, floor, inputs, m, p, value):  # type: ignore[no-untyped-def]
    """Set the p-th of the m free inputs to `value`, let the others compensate, and delete it in place.

    w -= B_:p (w_p - value) / B_pp and B -= B_:p B_p: / B_pp with B = [H_free]^-1 (optimal brain surgeon). Entries
    move up and left only, so that one pass in order both updates and deletes.
    """
    d = max(inverse[p, p], floor[inputs[p]])
    column = inverse[p, :m].copy()
    step = (w[p] - value) / d
    to = 0
    for i in range(m):
        if i == p:
            continue
        w[to] = w[i] - step * column[i]
        inputs[to] = inputs[i]
        factor = column[i] / d
        for j in range(p):
            inverse[to, j] = inverse[i, j] - factor * column[j]
        for j in range(p + 1, m):
            inverse[to, j - 1] = inverse[i, j] - factor * column[j]
        to += 1


@njit(cache=True, nogil=True)
def remove_units(w, inverse, floor, unit, group, keep):  # type: ignore[no-untyped-def]
    """(n,) mask that is left when units are removed greedily until every group is within its budget.

    Also the removed units in order, and the increase of the error at each removal. w (n,) and inverse (n, n) are
    overwritten. `floor` (n,) is 1 / H_ii <= [H_free^-1]_ii: no denominator below it.
    """
    order, losses, removed = np.empty(len(group), np.int64), np.empty(len(group)), 0
    n = len(w)
    inputs = np.arange(n)
    mask = np.ones(n, np.bool_)
    surplus = -keep.copy()
    for u in range(len(group)):
        surplus[group[u]] += 1
    single = len(group) == n
    m = n
    while True:
        best, best_score = -1, np.inf
        p = 0
        while p < m:
            end = p + 1
            while end < m and unit[inputs[end]] == unit[inputs[p]]:
                end += 1
            if surplus[group[unit[inputs[p]]]] > 0:
                if single:
                    score = w[p] * w[p] / max(inverse[p, p], floor[inputs[p]])
                else:
                    score = block_loss(w, inverse, floor, inputs, p, end)
                # >=: of equal scores the later input goes, as `Sparsity.best_mask` keeps the lower index
                if best < 0 or score <= best_score:
                    best, best_score = p, score
            p = end
        if best < 0:
            return mask, order[:removed], losses[:removed]
        u = unit[inputs[best]]
        order[removed], losses[removed] = u, best_score
        removed += 1
        surplus[group[u]] -= 1
        while best < m and unit[inputs[best]] == u:
            mask[inputs[best]] = False
            fix(w, inverse, floor, inputs, m, best, 0.0)
            m -= 1


@njit(cache=True, nogil=True)
def block_loss(w, inverse, floor, inputs, first, end):  # type: ignore[no-untyped-def]
    """w_P' ([H^-1]_PP)^-1 w_P for the free inputs P = first ... end - 1: half-way Cholesky, L z = w_P, z'z."""
    size = end - first
    lower = np.zeros((size, size))
    z = np.zeros(size)
    loss = 0.0
    for i in range(size):
        for j in range(i + 1):
            value = inverse[first + i, first + j]
            for k in range(j):
                value -= lower[i, k] * lower[j, k]
            if i == j:
                # the pivot is an entry of the inverse of H on fewer inputs, so the same floor holds
                lower[i, i] = np.sqrt(max(value, floor[inputs[first + i]]))
            else:
                lower[i, j] = value / lower[j, j]
        value = w[first + i]
        for k in range(i):
            value -= lower[i, k] * z[k]
        z[i] = value / lower[i, i]
        loss += z[i] * z[i]
    return loss


@njit(cache=True, nogil=True)
def quantize_all(w, inverse, floor, levels, level_of):  # type: ignore[no-untyped-def]
    """(n,) levels chosen greedily by (Q(w_p) - w_p)^2 / B_pp; w and inverse are overwritten."""
    n, count = len(w), levels.shape[1]
    inputs = np.arange(n)
    x = np.empty(n)
    for m in range(n, 0, -1):
        best, best_score = 0, np.inf
        outlier, outlier_error = -1, 0.0
        for p in range(m):
            own = levels[level_of[inputs[p]]]
            target = nearest(own, w[p])
            error = abs(w[p] - target)
            score = error * error / max(inverse[p, p], floor[inputs[p]])
            if score < best_score:
                best, best_score = p, score
            below = own[0] - w[p] > (own[1] - own[0]) / 2
            above = w[p] - own[count - 1] > (own[count - 1] - own[count - 2]) / 2
            if (below or above) and error > outlier_error:
                outlier, outlier_error = p, error
        p = best if outlier < 0 else outlier
        i = inputs[p]
        x[i] = nearest(levels[level_of[i]], w[p])
        fix(w, inverse, floor, inputs, m, p, x[i])
    return x
