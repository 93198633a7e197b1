# functions that numba compiles have no types
# mypy: disable-error-code="no-untyped-call"
"""The search of `enumeration`, compiled: every grid point below a threshold, all children of a node at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from ..compiling import compiled
from ..gram import FloatArray, IntArray
from .psd import TINY, U

WIDTH = 8
"""Inputs are filled up to a multiple of so many, which the machine takes at a time; those added weigh nothing."""
FEW = 20
"""Values up to which trying all is quicker than a binary search."""
LEAST_STEP = 2.0**-900
"""Equal steps below are not used: the inverse of a subnormal one is infinite, and what follows no number."""


class Factors(NamedTuple):
    """V'AV = P but for rounding, in the order of the search, and diagonals below its blocks."""

    pivot: FloatArray
    """(m,) P."""
    slope: FloatArray
    """(m, width) row i: what deciding i moves the centres of j < i by; 0 elsewhere."""
    diagonal: FloatArray
    """(m + 1, width) row i: what is proven to lie below the first i inputs; 0 elsewhere."""


class Budgets(NamedTuple):
    """How many units may have a value other than 0; the search counts in `room` and `used`."""

    unit: IntArray
    """(m,) unit of each input."""
    group: IntArray
    """(units,) group of each unit."""
    room: IntArray
    """(groups,) units of a group that still may."""
    used: IntArray
    """(units,) inputs of a unit that have another value."""


class Steps(NamedTuple):
    """Values first + k step for k = 0 ... top, of each input; (..., m) where searches are side by side."""

    first: FloatArray
    step: FloatArray
    apart: FloatArray
    """How far a value may be from its number."""


def in_order(values: FloatArray) -> FloatArray:
    """(..., m, values) what inputs may be, each row rising, without duplicates, filled up with infinity."""
    values = np.sort(values, axis=-1)
    values[..., 1:][values[..., 1:] == values[..., :-1]] = np.inf
    return np.ascontiguousarray(np.sort(values, axis=-1))


def steps_of(points: FloatArray) -> Steps | None:
    """The steps of values `in_order`; None where those of some input are not equal to 1e-9."""
    count = points.shape[-1]
    if count < 2 or not np.isfinite(points).all():
        return None
    first = points[..., 0]
    step = (points[..., -1] - first) / (count - 1)
    apart = np.abs(points - (first[..., None] + np.arange(count) * step[..., None])).max(axis=-1)
    if not ((step > LEAST_STEP) & (apart <= 1e-9 * step)).all():
        return None
    # three roundings of numbers below what is in parentheses
    return Steps(first, step, apart + 4 * U * (np.abs(first) + count * step) + TINY)


def values_for(
    points: FloatArray, steps: Steps | None, reach: FloatArray
) -> tuple[FloatArray, FloatArray | None, FloatArray | None]:
    """Values `in_order`, (m, values), as `visit` takes them, and their steps if these are equal.

    Rounding (s - first) / step gives a k whose first + k step is as near to s as the nearest value is, but for
    twice the distance of the values from such numbers, and some 20 roundings of the numbers in between, which are
    below |s|, |first| and the row's length. With |s| at most `reach` the slack is more than that.

    Parameters
    ----------
    reach : (m,) no centre is ever further from 0.

    Returns
    -------
    points : as they are.
    even : (4, width) first value, step, 1 / step and slack of equal steps.
    by_value : (values, m) of others, or (0, m) where there are more than `FEW`.
    """
    count = points.shape[1]
    if steps is None:
        return points, None, np.ascontiguousarray(points.T if count <= FEW else points.T[:0])
    slack = 4 * steps.apart + 64 * U * (reach + np.abs(steps.first) + count * steps.step) + TINY
    even = filled(steps.first), filled(steps.step, 1.0), filled(1 / steps.step, 1.0), filled(slack)
    return points, np.stack(even), None


def filled(array: FloatArray, value: float = 0.0) -> FloatArray:
    """The array with its last axis filled up to a multiple of `WIDTH`."""
    inputs = array.shape[-1]
    whole = np.full(
        (*array.shape[:-1], inputs + -inputs % WIDTH), value
    )  # np.pad takes ten times as long on a block
    whole[..., :inputs] = array
    return whole


@register_jitable
def _nearest(values, i, s):  # type: ignore[no-untyped-def]
    """Number of the value of input i nearest to s."""
    lo, hi = 0, values.shape[1] - 1
    while hi - lo > 1:
        middle = (lo + hi) // 2
        if values[i, middle] <= s:
            lo = middle
        else:
            hi = middle
    return hi if values[i, hi] - s < s - values[i, lo] else lo


@register_jitable
def _nearest_even(values, even, i, s):  # type: ignore[no-untyped-def]
    """The same, from a guess that is right or next to it."""
    last, k = values.shape[1] - 1, 0
    guess = (s - even[0, i]) * even[2, i] + 0.5
    if guess >= last:
        k = last
    elif guess > 0:  # not where it is no number
        k = int(guess)
    while k > 0 and not values[i, k] - s < s - values[i, k - 1]:
        k -= 1
    while k < last and values[i, k + 1] - s < s - values[i, k]:
        k += 1
    return k


# Rows are taken by their number and not as slices, arrays one by one and not in tuples: making a slice or opening
# a tuple counts references, which takes longer than a sum.


@register_jitable(fastmath={"reassoc", "contract"})
def even_ahead(centre, slope, diagonal, even, most, i, moved):  # type: ignore[no-untyped-def]
    """sum_{j < i} d_j dist(s_j, values_j)^2, s = row i + 1 of the centres + moved slope; equal steps.

    `gamma` bounds the rounding of a sum in any order.
    """
    total = 0.0
    for j in range((i + WIDTH - 1) // WIDTH * WIDTH):
        s = centre[i + 1, j] + slope[i, j] * moved
        k = min(max(np.floor((s - even[0, j]) * even[2, j] + 0.5), 0.0), most)
        off = max(abs(s - (even[0, j] + k * even[1, j])) - even[3, j], 0.0)
        total += diagonal[i, j] * off * off
    return total


@register_jitable(fastmath={"reassoc", "contract"})
def uneven_ahead(centre, slope, diagonal, points, by_value, far, i, moved):  # type: ignore[no-untyped-def]
    """The same for any values; far : (m,) room."""
    if len(by_value) == 0:
        for j in range(i):
            s = centre[i + 1, j] + slope[i, j] * moved
            far[j] = s - points[j, _nearest(points, j, s)]
    else:
        for j in range(i):
            far[j] = abs(centre[i + 1, j] + slope[i, j] * moved - by_value[0, j])
        for k in range(1, len(by_value)):
            for j in range(i):
                off = abs(centre[i + 1, j] + slope[i, j] * moved - by_value[k, j])
                far[j] = off if off < far[j] else far[j]
    total = 0.0
    for j in range(i):
        total += diagonal[i, j] * far[j] * far[j]
    return total


@register_jitable
def _competing(centre, slope, diagonal, points, budgets, i, moved):  # type: ignore[no-untyped-def]
    """The same where units not yet used compete for the room of their group."""
    total, units = 0.0, len(budgets.group)
    free, zero = np.zeros(units), np.zeros(units)
    for j in range(i):
        d, s = diagonal[i, j], centre[i + 1, j] + slope[i, j] * moved
        far = s - points[j, _nearest(points, j, s)]
        if budgets.used[budgets.unit[j]] > 0:
            total += d * far * far
        else:
            free[budgets.unit[j]] += d * far * far
            zero[budgets.unit[j]] += d * s * s
    left = budgets.room.copy()
    for u in np.argsort(free - zero):  # largest savings first
        if left[budgets.group[u]] > 0:
            left[budgets.group[u]] -= 1
            total += free[u]
        else:
            total += zero[u]
    return total


@register_jitable
def _fits(budgets, i, value):  # type: ignore[no-untyped-def]
    """Whether there is room for a value of input i."""
    u = budgets.unit[i]
    return value == 0.0 or budgets.used[u] > 0 or budgets.room[budgets.group[u]] > 0


@register_jitable
def _is_tight(budgets, i):  # type: ignore[no-untyped-def]
    """Whether a group has no room for i more."""
    found = False
    for room in budgets.room:
        found = found or room < i
    return found


@register_jitable
def _count(budgets, i, value, by):  # type: ignore[no-untyped-def]
    """Count an input that is decided, by = 1, or is no more, by = -1."""
    if value != 0.0:
        u = budgets.unit[i]
        if budgets.used[u] == (0 if by > 0 else 1):
            budgets.room[budgets.group[u]] -= by
        budgets.used[u] += by


# What is None is compiled without what it is for, three fifths of all: a first row waits for that.


@compiled()
def visit(start, factors, points, even, by_value, budgets, threshold, limit, over):  # type: ignore[no-untyped-def]
    """Visit all nodes below the threshold; return it, or the least sum found below it, and the number of nodes.

    A node of level m has decided its inputs from m on; its children decide input m - 1. Those are kept whose sum
    and what is ahead of them stay below the threshold, and are entered one after the other.

    Parameters
    ----------
    start : (m,) centres.   points, even, by_value : see `values_for`.
    budgets : None where nothing is limited.
    """
    pivot, slope, diagonal = factors.pivot, factors.slope, factors.diagonal
    n, last = points.shape[0], points.shape[1] - 1
    centre, partial, far = np.zeros((n + 1, slope.shape[1])), np.zeros(n + 1), np.zeros(n)
    for j in range(n):
        centre[n, j] = start[j]
    moves, costs = np.zeros((n + 1, last + 1)), np.zeros((n + 1, last + 1))  # of the children of each level's node
    chosen = np.zeros((n + 1, last + 1), np.int64)
    entered, kept = np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64)
    nodes, m, is_new = 0, n, True
    while True:
        i = m - 1
        if is_new:
            s, found, left = centre[m, i], 0, 0
            near = 0
            if even is not None:
                near = _nearest_even(points, even, i, s)
            if by_value is not None:
                near = _nearest(points, i, s)
            for side in range(2):  # from the nearest downwards, then upwards: the sums grow with the distance
                k = near + side
                while k >= 0 and k <= last:
                    moved = s - points[i, k]
                    cost = partial[m] + pivot[i] * (moved * moved)
                    if not cost < threshold:
                        break
                    moves[m, found], costs[m, found], chosen[m, found] = moved, cost, k
                    found += 1
                    k += 1 if side == 1 else -1
            nodes += found
            if nodes >= limit or over[0]:
                break
            for c in range(found):
                moved, cost, k = moves[m, c], costs[m, c], chosen[m, c]
                value, is_tight, ahead = points[i, k], False, 0.0
                if budgets is not None:
                    if not _fits(budgets, i, value):
                        continue
                    _count(budgets, i, value, 1)
                    is_tight = _is_tight(budgets, i)
                    if is_tight:
                        ahead = _competing(centre, slope, diagonal, points, budgets, i, moved)
                    _count(budgets, i, value, -1)
                if even is not None and not is_tight:
                    ahead = even_ahead(centre, slope, diagonal, even, float(last), i, moved)
                if by_value is not None and not is_tight:
                    ahead = uneven_ahead(centre, slope, diagonal, points, by_value, far, i, moved)
                if i == 0:
                    threshold = min(threshold, cost)
                else:
                    moves[m, left], costs[m, left], chosen[m, left] = moved, cost, k
                    left += 1 if cost + ahead < threshold else 0
            entered[m], kept[m] = 0, left
        if entered[m] < kept[m]:
            c = entered[m]
            entered[m], moved, partial[i] = c + 1, moves[m, c], costs[m, c]
            if budgets is not None:
                _count(budgets, i, points[i, chosen[m, c]], 1)
            for j in range((i + WIDTH - 1) // WIDTH * WIDTH):
                centre[i, j] = centre[m, j] + slope[i, j] * moved
            m, is_new = i, True
        elif m < n:
            if budgets is not None:
                _count(budgets, m, points[m, chosen[m + 1, entered[m + 1] - 1]], -1)
            m, is_new = m + 1, False
        else:
            break
    return threshold, nodes
