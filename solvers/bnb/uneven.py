"""The compiled depth-first search over any grid, also under a budget of non-zeros."""

from __future__ import annotations

import numba
import numpy as np

from ..kernels.apart import MATRIX, NUMBERS, REAL, VECTOR, WHOLE, apart, entry, inner, several
from ..kernels.order import sort
from ..kernels.sparing import assign

# Reordering and contracting sums is covered by the slack eta; NaN and infinity keep their meaning.
FASTMATH = {"reassoc", "contract", "nsz"}
GRID, PATTERN = several((MATRIX, NUMBERS, NUMBERS, MATRIX)), several((NUMBERS,) * 7)
"""Types of what `search_uneven` takes under these names."""
FEW = 48
"""Values up to which trying each of them, for all inputs at once, beats a binary search for each input."""


@numba.njit(cache=True, nogil=True, inline="always")
def nearest(values, count, s):  # type: ignore[no-untyped-def]
    """Index of the value nearest to s in sorted values[:count]."""
    lo, hi = 0, count - 1
    while hi - lo > 1:
        middle = (lo + hi) // 2
        if values[middle] <= s:
            lo = middle
        else:
            hi = middle
    return hi if values[hi] - s < s - values[lo] else lo


@inner(fastmath=FASTMATH)
def _ahead(m, s, d, grid, distance):  # type: ignore[no-untyped-def]
    """sum_j d_j dist(s_j, grid_j)^2."""
    values, count, group, by_value = grid
    total = 0.0
    if len(by_value) > 0:
        for j in range(m):
            distance[j] = abs(s[j] - by_value[0, j])
        for k in range(1, len(by_value)):
            for j in range(m):
                far = abs(s[j] - by_value[k, j])
                distance[j] = far if far < distance[j] else distance[j]
        for j in range(m):
            total += d[j] * distance[j] * distance[j]
        return total
    for j in range(m):
        g = group[j]
        far = s[j] - values[g, nearest(values[g], count[g], s[j])]
        total += d[j] * far * far
    return total


@apart(REAL, WHOLE, VECTOR, VECTOR, GRID, PATTERN, VECTOR, fastmath=FASTMATH)
def _ahead_budget(m, s, d, grid, pattern, saving):  # type: ignore[no-untyped-def]
    """The same where a group of units may have only so many non-zeros: all zero, less the largest savings."""
    values, count, group, _ = grid
    unit, _, unit_used, group_used, keep, by_group, start = pattern
    total = 0.0
    saving[:] = 0.0
    for j in range(m):
        g = group[j]
        far = s[j] - values[g, nearest(values[g], count[g], s[j])]
        free, zero = d[j] * far * far, d[j] * s[j] * s[j]
        if unit_used[unit[j]] > 0:
            total += free
        else:
            total += zero
            saving[unit[j]] += zero - free
    for q in range(len(keep)):
        room = keep[q] - group_used[q]
        size = start[q + 1] - start[q]
        if room <= 0:
            continue
        if room >= size:
            for a in range(start[q], start[q + 1]):
                total -= saving[by_group[a]]
            continue
        chosen = np.empty(size)
        for a in range(size):
            chosen[a] = saving[by_group[start[q] + a]]
        sort(chosen)
        for a in range(size - room, size):
            total -= chosen[a]
    return total


@entry()
def move(m, s, out, slope, difference, d, grid, pattern, spare):  # type: ignore[no-untyped-def]
    """Move the centres of positions 0 ... m - 1 after a decision; return a lower bound of what they will add."""
    for j in range(m):
        out[j] = s[j] + slope[j] * difference
    if len(pattern[4]) > 0:
        return max(_ahead_budget(m, out, d, grid, pattern, spare[1]), 0.0)
    return _ahead(m, out, d, grid, spare[0])


@inner()
def choose(i, value, pattern):  # type: ignore[no-untyped-def]
    """Use budget for a non-zero at position i; False if there is none left."""
    unit, unit_group, unit_used, group_used, keep, _, _ = pattern
    if len(keep) == 0 or value == 0.0:
        return True
    u = unit[i]
    if unit_used[u] == 0:
        q = unit_group[u]
        if group_used[q] >= keep[q]:
            return False
        group_used[q] += 1
    unit_used[u] += 1
    return True


@inner()
def unchoose(i, value, pattern):  # type: ignore[no-untyped-def]
    """Give the budget of a non-zero at position i back."""
    unit, unit_group, unit_used, group_used, keep, _, _ = pattern
    if len(keep) == 0 or value == 0.0:
        return
    u = unit[i]
    unit_used[u] -= 1
    if unit_used[u] == 0:
        group_used[unit_group[u]] -= 1


@inner()
def use(m, index, grid, pattern):  # type: ignore[no-untyped-def]
    """Set the used budget to that of the decided positions m ... n - 1."""
    values, _, group, _ = grid
    pattern[2][:] = 0
    pattern[3][:] = 0
    for i in range(m, len(index)):
        choose(i, values[group[i], index[i]], pattern)


@inner()
def search_uneven(budget, where, bounds, state, best, plan, grid, pattern, spare, shrink):  # type: ignore[no-untyped-def]
    """Depth-first Schnorr-Euchner search below the node in `where`; run again to go on.

    Parameters
    ----------
    budget, where, bounds, best, shrink : as for `search_even`; `best` gets positions in `values`.
    state : centres (n + 1, width), partial (n + 1,), zigzag (2, n + 1), index (n,).
    plan : pivot, slope, diagonal as for `search_even`.
    grid : values (groups, L) sorted, count (groups,), group (n,), by_value (L, n) the same by
        position, no rows if L > FEW.
    pattern : unit of each position, group of each unit, what both have used, budget of each group, units by group,
        where each group starts there; all empty without a budget.
    spare : distance (n,) and saving (units,), working space.
    """
    pivot, slope, diagonal = plan
    centres, partial, zigzag, index = state
    values, count, group, _ = grid
    m, root = where[0], where[1]
    end = where[2] + budget
    while where[2] < end:
        i = m - 1
        g = group[i]
        centre = centres[m, i]
        l, r = zigzag[0, m], zigzag[1, m]
        pick = -1
        if l >= 0 and (r >= count[g] or centre - values[g, l] <= values[g, r] - centre):
            pick = l
            zigzag[0, m] = l - 1
        elif r < count[g]:
            pick = r
            zigzag[1, m] = r + 1
        cost, difference = np.inf, 0.0
        if pick >= 0:
            difference = centre - values[g, pick]
            cost = partial[m] + pivot[i] * difference * difference
        if not cost < bounds[1]:  # values further away cost more: this level is done
            if m == root:
                where[3] = 1
                break
            m += 1
            unchoose(m - 1, values[group[m - 1], index[m - 1]], pattern)
            continue
        if not choose(i, values[g, pick], pattern):
            continue
        where[2] += 1
        index[i] = pick
        if m == 1:
            bounds[0], bounds[1] = cost, shrink * cost
            assign(best, index)
            unchoose(i, values[g, pick], pattern)
            continue
        child = centres[i]
        ahead = move(i, centres[m], child, slope[i], difference, diagonal[i], grid, pattern, spare)
        if cost + ahead >= bounds[1]:
            unchoose(i, values[g, pick], pattern)
            continue
        partial[i] = cost
        m = i
        g = group[m - 1]
        zigzag[0, m] = nearest(values[g], count[g], child[m - 1])
        zigzag[1, m] = zigzag[0, m] + 1
    where[0] = m
