"""The bound of a row whose inputs take values in intervals, under a pattern: a joint problem, or fixed weights.

A node allows input i the values number lo_i ... hi_i of its sorted list, 0 among them. With H - D = M positive
semidefinite, u = x - w and phi_i the convex hull of d_i u_i^2 + price [x_i != 0] over those values,

    minimise v'Mv + sum_i phi_i(v_i)

by coordinate descent, the price such that the pattern's budget is met. Any v, whatever it is worth, has the bound
f(v) = -v'Mv + min over the node's points of sum_i [d_i u_i^2 + 2 (Mv)_i u_i] (see `bound.patterned`), and the
minimiser of that is a point of the node.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from pvq.bounds.gram import FloatArray, IntArray

from ..kernels.sparing import assign

SWEEPS = 6
"""Sweeps of coordinate descent between two evaluations of f."""

ROUNDS = 5
"""Evaluations of f in a node, at most."""

SMALL = 1e-3
"""Part of what is missing to the target that another round must have gained."""

STEP = 1.4
"""Factor on a price that has not been bracketed yet."""


class IntervalRow(NamedTuple):
    """A row under a pattern, its values in sorted lists."""

    h: FloatArray
    m: FloatArray
    """(n, n) M = H - D."""
    d: FloatArray
    w: FloatArray
    values: FloatArray
    """(n, L) sorted."""
    zero: IntArray
    """(n,) index of 0 in them."""
    unit: IntArray
    group: IntArray
    keep: IntArray


class Hulls(NamedTuple):
    """The phi_i of a node by their corners, changed in place."""

    place: FloatArray
    """(n, L)."""
    height: FloatArray
    """(n, L)."""
    corners: IntArray
    """(n,) number of them."""


@njit(cache=True, nogil=True, error_model="numpy")
def make_hulls(row: IntervalRow, lo: IntArray, hi: IntArray, price: FloatArray, out: Hulls) -> None:
    """The hulls of the values number lo ... hi, both included, at these prices (groups,)."""
    d, w, values, zero, place, height = row.d, row.w, row.values, row.zero, out.place, out.height
    for i in range(len(w)):
        top = 0
        charge = price[row.group[row.unit[i]]]
        for k in range(lo[i], hi[i] + 1):
            u = values[i, k] - w[i]
            y = d[i] * u * u + (charge if k != zero[i] else 0.0)
            # a corner above the line to the next one goes
            while top > 1:
                left = (height[i, top - 1] - height[i, top - 2]) * (u - place[i, top - 1])
                right = (y - height[i, top - 1]) * (place[i, top - 1] - place[i, top - 2])
                if left < right:
                    break
                top -= 1
            place[i, top], height[i, top] = u, y
            top += 1
        out.corners[i] = top


@njit(cache=True, nogil=True, error_model="numpy")
def descend(m: FloatArray, v: FloatArray, r: FloatArray, hulls: Hulls) -> None:
    """Coordinate descent on v'Mv + sum phi_i(v_i), r = Mv kept up to date."""
    n, place, height, count = len(v), hulls.place, hulls.height, hulls.corners
    for _ in range(SWEEPS):
        moved = 0.0
        for i in range(n):
            a, c = m[i, i], r[i] - m[i, i] * v[i]
            t = place[i, count[i] - 1]
            for k in range(count[i] - 1):
                slope = (height[i, k + 1] - height[i, k]) / (place[i, k + 1] - place[i, k])
                # the derivative 2 a t + 2 c + slope is 0 at t; it is positive before this piece if t is
                if 2.0 * (a * place[i, k] + c) + slope >= 0.0:
                    t = place[i, k]
                    break
                if 2.0 * (a * place[i, k + 1] + c) + slope > 0.0:
                    t = -(c + 0.5 * slope) / a
                    break
            step = t - v[i]
            if step != 0.0:
                v[i] = t
                for j in range(n):
                    r[j] += step * m[i, j]
                moved = max(moved, abs(step))
        if moved == 0.0:
            break


@njit(cache=True, nogil=True, error_model="numpy")
def evaluate(
    row: IntervalRow, lo: IntArray, hi: IntArray, v: FloatArray, mv: FloatArray, picks: IntArray, fair: FloatArray
) -> float:
    """f(v); the values that reach it; prices between what the last unit that is kept and the next one save.

    inf if the pattern leaves no point.
    """
    d, w, values, zero, unit, group = row.d, row.w, row.values, row.zero, row.unit, row.group
    n, units = len(w), len(group)
    kept, pruned = np.zeros(units), np.zeros(units)
    best = np.empty(n, np.int64)
    total = 0.0
    for i in range(n):
        total -= v[i] * mv[i]
        least = np.inf
        for k in range(lo[i], hi[i] + 1):
            u = values[i, k] - w[i]
            cost = (d[i] * u + 2.0 * mv[i]) * u
            if cost < least:
                least = cost
                best[i] = k
        kept[unit[i]] += least
        if lo[i] <= zero[i] <= hi[i]:
            pruned[unit[i]] += (d[i] * w[i] - 2.0 * mv[i]) * w[i]
        else:
            pruned[unit[i]] = np.inf
    room = row.keep.copy()
    take = np.zeros(units, np.bool_)
    saving = np.zeros(units)
    for s in range(units):
        if pruned[s] == np.inf:
            take[s] = True
            room[group[s]] -= 1
        else:
            saving[s] = pruned[s] - kept[s]
    for g in range(len(room)):
        if room[g] < 0:
            return np.inf
    fair[:] = 0.0
    for s in np.argsort(-saving):
        if saving[s] <= 0.0:
            break
        g = group[s]
        if take[s]:
            continue
        if room[g] > 0:
            take[s] = True
            room[g] -= 1
            fair[g] = saving[s] if room[g] == 0 else 0.0
        elif room[g] == 0:
            fair[g] = 0.5 * (fair[g] + saving[s])
            room[g] = -1
    for s in range(units):
        total += kept[s] if take[s] else pruned[s]
    for i in range(n):
        picks[i] = best[i] if take[unit[i]] else zero[i]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def usage(row: IntervalRow, lo: IntArray, hi: IntArray, v: FloatArray, hulls: Hulls, used: FloatArray) -> None:
    """How much of each group's budget v takes: on the piece from 0 to a corner, the part of the way."""
    w, zero, unit, group, place, count = row.w, row.zero, row.unit, row.group, hulls.place, hulls.corners
    part = np.zeros(len(group))
    for i in range(len(v)):
        z = 1.0
        if lo[i] <= zero[i] <= hi[i]:
            origin = -w[i]
            for k in range(count[i]):
                if place[i, k] == origin:
                    end = k + 1 if v[i] > origin else k - 1
                    if v[i] == origin or not 0 <= end < count[i]:
                        z = 0.0
                    else:
                        z = min(1.0, (v[i] - origin) / (place[i, end] - origin))
        part[unit[i]] = max(part[unit[i]], z)
    used[:] = 0.0
    for s in range(len(group)):
        used[group[s]] += part[s]


@njit(cache=True, nogil=True, error_model="numpy")
def bound_node(
    row: IntervalRow,
    lo: IntArray,
    hi: IntArray,
    price: FloatArray,
    v: FloatArray,
    target: float,
    picks: IntArray,
) -> tuple[float, float, int, int]:
    """Bound of a node, error of the best of its points that was met, and where to split it.

    Parameters
    ----------
    lo, hi : (n,) indices of values, both included.
    price : (groups,) start, and where it ended.
    v : (n,) start, and that of the bound.
    target : no more is needed.
    picks : (n,) out, indices of the point.

    Returns
    -------
    bound, error, input to split, last index of its lower part (-1: nothing to split).
    """
    h, m, w, values, zero, group, keep = row.h, row.m, row.w, row.values, row.zero, row.group, row.keep
    n, width = values.shape
    hulls = Hulls(np.empty((n, width)), np.empty((n, width)), np.empty(n, np.int64))
    place, count = hulls.place, hulls.corners
    groups = len(keep)
    used, low, high = np.empty(groups), np.zeros(groups), np.full(groups, np.inf)
    at, trial, u, fair = v.copy(), np.empty(n, np.int64), np.empty(n), np.empty(groups)
    error = np.inf
    # never less than the parent, whose v is one of this node too
    bound = evaluate(row, lo, hi, v, np.dot(m, v), picks, fair)
    if bound == np.inf:
        return np.inf, np.inf, 0, -1
    if not price.any():
        assign(price, fair)
    for turn in range(ROUNDS):
        make_hulls(row, lo, hi, price, hulls)
        for i in range(n):  # the parent's v may be outside of a narrower interval
            at[i] = min(max(at[i], place[i, 0]), place[i, count[i] - 1])
        r = np.dot(m, at)
        descend(m, at, r, hulls)
        r = np.dot(m, at)
        found = evaluate(row, lo, hi, at, r, trial, fair)
        for i in range(n):
            u[i] = values[i, trial[i]] - w[i]
        value = np.dot(u, np.dot(h, u))
        if value < error:
            error = value
            assign(picks, trial)
        gained = found - bound
        if found > bound:
            bound = found
            assign(v, at)
        if bound >= target:
            break
        usage(row, lo, hi, at, hulls, used)
        settled = True
        for g in range(groups):
            over = used[g] > keep[g] * (1.0 + 1e-9)
            if over:
                low[g] = price[g]
            else:
                high[g] = price[g]
            settled = settled and (not over and (price[g] == 0.0 or used[g] > keep[g] - 1e-9))
            if high[g] == np.inf:
                price[g] = max(STEP * price[g], target / (100.0 * len(group)))  # from 0, anything will do
            elif low[g] == 0.0:
                price[g] /= STEP
            else:
                price[g] = 0.5 * (low[g] + high[g])
        if turn > 1 and (settled or gained < SMALL * (target - bound)):
            break
    # split the input whose hull is farthest below its parabola, scaled by what a step of it costs
    choice, split, most = 0, -1, -1.0
    for i in range(n):
        if lo[i] == hi[i]:
            continue
        x = at[i] + w[i]
        k = lo[i]
        while k < hi[i] - 1 and values[i, k + 1] <= x:
            k += 1
        # k, k + 1: the values around x
        left, right = values[i, k], values[i, k + 1]
        if lo[i] <= zero[i] <= hi[i]:
            for c in range(count[i] - 1):  # a piece that starts or ends at 0 splits there
                if place[i, c] <= at[i] <= place[i, c + 1]:
                    if place[i, c] == -w[i]:
                        left, right, k = 0.0, place[i, c + 1] + w[i], zero[i]
                    elif place[i, c + 1] == -w[i]:
                        left, right, k = place[i, c] + w[i], 0.0, zero[i] - 1
        score = h[i, i] * max(x - left, 0.0) * max(right - x, 0.0)
        if score > most:
            choice, split, most = i, k, score
    return bound, error, choice, split


@njit(cache=True, nogil=True, error_model="numpy")
def settle(row: IntervalRow, lo: IntArray, hi: IntArray) -> bool:
    """Prune the units that no budget is left for; False if more is taken than there is."""
    zero, unit, group = row.zero, row.unit, row.group
    forced = np.zeros(len(group), np.bool_)
    for i in range(len(zero)):
        if not lo[i] <= zero[i] <= hi[i]:
            forced[unit[i]] = True
    room = row.keep.copy()
    for s in range(len(group)):
        if forced[s]:
            room[group[s]] -= 1
    for i in range(len(zero)):
        left = room[group[unit[i]]]
        if left < 0:
            return False
        if left == 0 and not forced[unit[i]]:
            lo[i] = hi[i] = zero[i]
    return True
