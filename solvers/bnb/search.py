"""The compiled depth-first search over grid points, resumable after any number of nodes."""

from __future__ import annotations

import numba
import numpy as np

# Reordering and contracting sums is covered by the slack eta; NaN and infinity keep their meaning.
FASTMATH = {"reassoc", "contract", "nsz"}


@numba.njit(cache=True, nogil=True, inline="always")
def _nearest(values, count, s):  # type: ignore[no-untyped-def]
    """Index of the value nearest to s in sorted values[:count]."""
    lo, hi = 0, count - 1
    while hi - lo > 1:
        middle = (lo + hi) // 2
        if values[middle] <= s:
            lo = middle
        else:
            hi = middle
    return hi if values[hi] - s < s - values[lo] else lo


@numba.njit(cache=True, nogil=True, fastmath=FASTMATH)
def _move_even(m, s, out, slope, difference, d, top):  # type: ignore[no-untyped-def]
    """Move the centres and return sum_j d_j dist(s_j, {0, ..., top})^2, in one pass that vectorises."""
    total = 0.0
    for j in range(m):
        centre = s[j] + slope[j] * difference
        out[j] = centre
        level = np.rint(centre)
        level = level if level > 0.0 else 0.0
        level = level if level < top else top
        distance = centre - level
        total += d[j] * distance * distance
    return total


@numba.njit(cache=True, nogil=True, fastmath=FASTMATH)
def _ahead(m, s, d, values, count, group):  # type: ignore[no-untyped-def]
    """sum_j d_j dist(s_j, grid_j)^2 for any sorted grid."""
    total = 0.0
    for j in range(m):
        g = group[j]
        distance = s[j] - values[g, _nearest(values[g], count[g], s[j])]
        total += d[j] * distance * distance
    return total


@numba.njit(cache=True, nogil=True, fastmath=FASTMATH)
def _ahead_budget(  # type: ignore[no-untyped-def]
    m, s, d, values, count, group, unit, unit_used, group_used, keep, by_group, start, saving
):
    """The same where a group of units may have only so many non-zeros: all zero, less the largest savings."""
    total = 0.0
    saving[:] = 0.0
    for j in range(m):
        g = group[j]
        distance = s[j] - values[g, _nearest(values[g], count[g], s[j])]
        free, zero = d[j] * distance * distance, d[j] * s[j] * s[j]
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
        chosen.sort()
        for a in range(size - room, size):
            total -= chosen[a]
    return total


@numba.njit(cache=True, nogil=True)
def move(m, s, out, slope, difference, d, grid, pattern, saving):  # type: ignore[no-untyped-def]
    """Move the centres of positions 0 ... m - 1 after a decision; return a lower bound of what they will add."""
    values, count, group, top = grid
    unit, unit_group, unit_used, group_used, keep, by_group, start = pattern
    if top > 0.0:
        return _move_even(m, s, out, slope, difference, d, top)
    for j in range(m):
        out[j] = s[j] + slope[j] * difference
    if len(keep) > 0:
        used = (unit, unit_used, group_used, keep, by_group, start)
        return max(_ahead_budget(m, out, d, values, count, group, *used, saving), 0.0)
    return _ahead(m, out, d, values, count, group)


@numba.njit(cache=True, nogil=True)
def choose(i, value, pattern):  # type: ignore[no-untyped-def]
    """Use budget for a non-zero at position i; False if there is none left."""
    unit, unit_group, unit_used, group_used, keep, by_group, start = pattern
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


@numba.njit(cache=True, nogil=True)
def unchoose(i, value, pattern):  # type: ignore[no-untyped-def]
    """Give the budget of a non-zero at position i back."""
    unit, unit_group, unit_used, group_used, keep, by_group, start = pattern
    if len(keep) == 0 or value == 0.0:
        return
    u = unit[i]
    unit_used[u] -= 1
    if unit_used[u] == 0:
        group_used[unit_group[u]] -= 1


@numba.njit(cache=True, nogil=True)
def enter(m, centre, grid, left, right):  # type: ignore[no-untyped-def]
    """Start the zigzag over the values of position m - 1 at the one nearest to its centre."""
    values, count, group, top = grid
    g = group[m - 1]
    near = _nearest(values[g], count[g], centre)
    left[m] = near
    right[m] = near + 1


@numba.njit(cache=True, nogil=True)
def search(  # type: ignore[no-untyped-def]
    budget, where, bounds, centres, partial, left, right, index, best, plan, grid, pattern, saving, shrink
):
    """Depth-first Schnorr-Euchner search below the node in `where`; run again to go on.

    where : [undecided positions m, m of the subtree's root, nodes, done]; bounds : [upper, threshold], pruned at
    partial error + bound ahead >= threshold = shrink * upper. centres[m], partial[m] are those with m undecided
    positions; left and right are the next values of the zigzag on both sides.
    """
    pivot, slope, diagonal = plan
    values, count, group, top = grid
    m, root = where[0], where[1]
    end = where[2] + budget
    while where[2] < end:
        i = m - 1
        g = group[i]
        centre = centres[m, i]
        l, r = left[m], right[m]
        pick = -1
        if l >= 0 and (r >= count[g] or centre - values[g, l] <= values[g, r] - centre):
            pick = l
            left[m] = l - 1
        elif r < count[g]:
            pick = r
            right[m] = r + 1
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
            bounds[0] = cost
            bounds[1] = shrink * cost
            best[:] = index
            unchoose(i, values[g, pick], pattern)
            continue
        child = centres[i]
        ahead = move(i, centres[m], child, slope[i], difference, diagonal[i], grid, pattern, saving)
        if cost + ahead >= bounds[1]:
            unchoose(i, values[g, pick], pattern)
            continue
        partial[i] = cost
        m = i
        enter(m, child[m - 1], grid, left, right)
    where[0] = m


@numba.njit(cache=True, nogil=True, fastmath=FASTMATH)
def search_even(  # type: ignore[no-untyped-def]
    budget, where, bounds, centres, partial, left, right, index, best, plan, top, shrink
):
    """`search` for the values 0, 1, ..., top everywhere and no budgets: the same tree, many times faster.

    Written out because slices and calls would cost more than the arithmetic of a node.
    """
    pivot, slope, diagonal = plan
    m, root, nodes = where[0], where[1], where[2]
    end = nodes + budget
    last = int(top)
    threshold = bounds[1]
    while nodes < end:
        i = m - 1
        centre = centres[m, i]
        l, r = left[m], right[m]
        if l >= 0 and (r > last or centre - l <= r - centre):
            pick = l
            left[m] = l - 1
            cost = partial[m] + pivot[i] * (centre - l) * (centre - l)
        elif r <= last:
            pick = r
            right[m] = r + 1
            cost = partial[m] + pivot[i] * (centre - r) * (centre - r)
        else:
            pick = -1
            cost = np.inf
        if not cost < threshold:
            if m == root:
                where[3] = 1
                break
            m += 1
            continue
        nodes += 1
        index[i] = pick
        if m == 1:
            bounds[0] = cost
            threshold = shrink * cost
            bounds[1] = threshold
            best[:] = index
            continue
        difference = centre - pick
        ahead = cost
        for j in range(i):
            s = centres[m, j] + slope[i, j] * difference
            centres[i, j] = s
            level = np.rint(s)
            level = level if level > 0.0 else 0.0
            level = level if level < top else top
            ahead += diagonal[i, j] * (s - level) * (s - level)
        if ahead >= threshold:
            continue
        partial[i] = cost
        m = i
        near = np.rint(centres[m, m - 1])
        near = near if near > 0.0 else 0.0
        left[m] = int(near if near < top else top)
        right[m] = left[m] + 1
    where[0] = m
    where[2] = nodes


@numba.njit(cache=True, nogil=True)
def use(m, index, grid, pattern):  # type: ignore[no-untyped-def]
    """Set the used budget to that of the decided positions m ... n - 1."""
    values, count, group, top = grid
    pattern[2][:] = 0
    pattern[3][:] = 0
    for i in range(m, len(index)):
        choose(i, values[group[i], index[i]], pattern)


@numba.njit(cache=True, nogil=True)
def children(m, s, partial, at_least, threshold, index, plan, grid, pattern, saving):  # type: ignore[no-untyped-def]
    """All children of a node that may hold something better: their bounds, errors, values and centres."""
    pivot, slope, diagonal = plan
    values, count, group, top = grid
    i = m - 1
    g = group[i]
    use(m, index, grid, pattern)
    bounds, costs = np.empty(count[g]), np.empty(count[g])
    picks, centres = np.empty(count[g], np.int64), np.empty((count[g], max(i, 1)))
    kept = 0
    for pick in range(count[g]):
        difference = s[i] - values[g, pick]
        cost = partial + pivot[i] * difference * difference
        if cost >= threshold or not choose(i, values[g, pick], pattern):
            continue
        bound = cost
        if i > 0:
            bound += move(i, s, centres[kept], slope[i], difference, diagonal[i], grid, pattern, saving)
        unchoose(i, values[g, pick], pattern)
        if bound < threshold:
            bounds[kept], costs[kept], picks[kept] = max(bound, at_least), cost, pick
            kept += 1
    return bounds[:kept], costs[:kept], picks[:kept], centres[:kept]
