"""A complete depth-first search over grid points, run again to prove a bound, with its rounding accounted for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from weakref import WeakKeyDictionary
from weakref import ref as weakref

import numba
import numpy as np

from ..gram import FloatArray
from ..problem import Problem
from ..proof import Enumeration, Order
from .budget import check_time, node_limit, time_over
from .psd import TINY, U, defect, gamma, leading_psd
from .split import values_of

LEAST_STEP = 2.0**-900
"""Equal steps below are not used: the inverse of a subnormal one is infinite, and what follows no number."""
FEW = 20
"""Values up to which trying all is quicker than a binary search."""


def least_on_grid(
    problem: Problem,
    inputs: np.ndarray,
    a: FloatArray,
    centre: FloatArray,
    proof: Enumeration,
    margin: float,
    budget: bool,
) -> float:
    """Lower bound of min (x - c)'A(x - c) over x in the grid of some inputs, and in budgets; -inf if not proven.

    Let V be the unit upper triangular matrix with V'AV = P + F, P diagonal, F of rounding size: |F| is at most
    kappa P. The search decides x_i at distances delta_i from conditional centres, which are rounded, so that
    c - x = V delta + omega, and cuts where sum p_i delta_i^2 over the decided i + sum d_j dist(s_j, grid_j)^2 over
    the undecided j reaches T. Its decisions have p_i delta_i^2 < T, which bounds |omega| and its length rho =
    sum_j sqrt(a_jj) |omega_j| in the norm of A. A point x cut because of the first sum alone has, by the triangle
    inequality, sqrt(e(x)) >= sqrt((1 - kappa) T) - rho. For one cut at undecided j < m, A_m >= diag(d) gives
    sum_{j<m} p_j delta_j^2 >= (sqrt(ahead) - rho)^2 / (1 + kappa), so that the first sum would have reached
    (T - 2 rho sqrt(T)) / (1 + kappa), and the same inequality follows with that in place of T.
    """
    check_time()
    order, m = proof.order.order, len(inputs)
    threshold = proof.threshold
    plan = _plan(proof.order, a)
    if plan is None or not (threshold > 0 and math.isfinite(threshold)):
        return -math.inf
    kappa = margin * plan.kappa
    if not kappa < 0.1:
        return -math.inf
    c = np.ascontiguousarray(centre[order])
    pattern = _pattern(problem if budget else None, inputs[order])
    values = _distinct(values_of(problem)[inputs[order]])
    tables = values, _even(values), np.ascontiguousarray(values.T) if values.shape[1] <= FEW else values[:0].T
    result, nodes = _search(
        c, plan.pivot, plan.slope, plan.diagonal, tables, *pattern, threshold, node_limit(budget), time_over()
    )
    check_time()  # a search that was stopped has shown nothing
    if nodes >= node_limit(budget):
        return -math.inf
    with np.errstate(all="ignore"):
        delta = np.sqrt(threshold / plan.pivot) * (1 + 1e-12)
        omega = margin * gamma(m + 4) * (np.abs(c) + np.abs(plan.slope).T @ delta + delta)
        rho = float(plan.root @ omega) * (1 + 1e-12) + TINY
    total = result * (1 - margin * 16 * gamma(m + 8)) - TINY  # sums of 2 m non-negative terms
    reached = min(total, (total - 2 * rho * math.sqrt(max(total, 0.0))) / (1 + kappa))
    root = math.sqrt(max(0.0, (1 - kappa) * reached)) * (1 - 4 * U) - rho * (1 + 4 * U)
    # what is rounded may be a denormal number
    return max(0.0, math.nextafter(max(0.0, root) ** 2 * (1 - 4 * U), -1.0)) if math.isfinite(root) else -math.inf


@dataclass(frozen=True, eq=False)
class _Plan:
    """What a search needs of its matrix."""

    slope: FloatArray
    """(m, m) row i: what deciding i moves the centres of j < i by."""
    pivot: FloatArray
    """(m,) P."""
    kappa: float
    diagonal: FloatArray
    """(m + 1, m) proven rows of the order's diagonals."""
    root: FloatArray
    """(m,) sqrt(a_ii)."""


_plans: WeakKeyDictionary[Order, tuple[weakref[FloatArray], _Plan | None]] = WeakKeyDictionary()


def _plan(order: Order, a: FloatArray) -> _Plan | None:
    """The plan of an order and a matrix, made once for the rows that share both; None if there is none."""
    known = _plans.get(order)
    if known is not None and known[0]() is a:
        return known[1]
    plan = None
    if np.array_equal(np.sort(order.order), np.arange(len(a))) and order.diagonal.shape == (len(a) + 1, len(a)):
        permuted = np.ascontiguousarray(a[np.ix_(order.order, order.order)])
        factors = _factors(permuted)
        if factors is not None:
            plan = _Plan(*factors, proven_diagonals(permuted, order), np.sqrt(permuted.diagonal()))
    _plans[order] = weakref(a), plan
    return plan


def _distinct(values: FloatArray) -> FloatArray:
    """(m, values) each row sorted, without duplicates, filled up with infinity."""
    values = np.sort(values, axis=1)
    values[:, 1:][values[:, 1:] == values[:, :-1]] = np.inf
    return np.ascontiguousarray(np.sort(values, axis=1))


def _factors(a: FloatArray) -> tuple[FloatArray, FloatArray, float] | None:
    """slope (row i: what deciding i moves the centres of j < i by), pivots p and kappa of `least_on_grid`."""
    n = len(a)
    try:
        root = np.linalg.cholesky(a)
        v = np.linalg.inv(root).T * root.diagonal()
    except np.linalg.LinAlgError:
        return None
    v[np.tril_indices(n)] = 0.0
    slope = np.ascontiguousarray(-v.T)
    v[np.diag_indices(n)] = 1.0
    with np.errstate(all="ignore"):
        size = np.abs(v).T @ (np.abs(a) @ np.abs(v))
        f = v.T @ (a @ v)
        pivot = f.diagonal().copy()
        f[np.diag_indices(n)] = 0.0
        # two products of n terms each, and |V| times |A| |V| itself
        f = np.abs(f) + gamma(2 * n + 4) * size + TINY
        scale = np.sqrt(pivot)
        kappa = float((f / scale / scale[:, None]).sum(axis=1).max()) * (1 + gamma(2 * n + 8))
    return (slope, pivot, kappa) if (pivot > 0).all() and math.isfinite(kappa) else None


def _even(values: FloatArray) -> FloatArray:
    """(4, m) first value, step, 1 / step and slack of rows of equal steps, (4, 0) where some row has others.

    Rounding (s - first) / step gives a k whose first + k step is as near to s as the nearest value is, but for
    twice the distance of the values from such numbers, and some 20 roundings of the numbers in between, which are
    below |s|, |first| and the row's length. slack + 64 U |s| is more than that.
    """
    m, count = values.shape
    if count <= 4 or not np.isfinite(values).all():  # of 4 values it is quicker to try all
        return np.zeros((4, 0))
    first = values[:, 0]
    step = (values[:, -1] - first) / (count - 1)
    apart = np.abs(values - (first[:, None] + np.arange(count) * step[:, None])).max(axis=1)
    if not ((step > LEAST_STEP) & (apart <= 1e-9 * step)).all():
        return np.zeros((4, 0))
    slack = 4 * apart + 64 * U * (np.abs(first) + count * step) + TINY
    return np.stack([first, step, 1 / step, slack])


def proven_diagonals(permuted: FloatArray, order: Order) -> FloatArray:
    """The diagonals of an order with those rows set to 0 that are not proven below their block."""
    n = len(permuted)
    proven, quick = np.zeros((n + 1, n)), leading_psd(permuted, order.diagonal)
    for m in range(n, 0, -1):
        d = order.diagonal[m, :m]
        if (d >= 0).all() and d.any():
            # also where it is a block of what has been proven, and no more is taken off
            if not quick[m] and not (m < n and (d <= proven[m + 1, :m]).all()):
                below = permuted[:m, :m].copy()
                below[np.diag_indices(m)] -= d
                if defect(below, U * np.abs(below)).any():
                    continue
            proven[m, :m] = d
    return proven


def _pattern(problem: Problem | None, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """unit of each position, group of each unit, budgets; one unlimited group without a sparsity pattern."""
    sparsity = None if problem is None else problem.sparsity
    if sparsity is None:
        return np.arange(len(inputs)), np.zeros(len(inputs), np.int64), np.array([len(inputs)])
    return np.ascontiguousarray(sparsity.unit[inputs]), sparsity.group, sparsity.keep


@numba.njit(cache=True, nogil=True)
def _nearest(values, s):  # type: ignore[no-untyped-def]
    """Index of the value nearest to s."""
    lo, hi = 0, len(values) - 1
    while hi - lo > 1:
        middle = (lo + hi) // 2
        if values[middle] <= s:
            lo = middle
        else:
            hi = middle
    return hi if values[hi] - s < s - values[lo] else lo


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _ahead(s, d, values, even, by_value, distance):  # type: ignore[no-untyped-def]
    """sum_j d_j dist(s_j, values_j)^2 over all inputs of s; `gamma` bounds the rounding of a sum in any order."""
    total = 0.0
    if even.shape[1] > 0:
        most = values.shape[1] - 1.0
        first, step, inverse, slack = even[0], even[1], even[2], even[3]
        for j in range(len(s)):
            k = min(max(np.floor((s[j] - first[j]) * inverse[j] + 0.5), 0.0), most)
            far = max(abs(s[j] - (first[j] + k * step[j])) - (slack[j] + 64 * U * abs(s[j])), 0.0)
            total += d[j] * far * far
        return total
    if len(by_value) == 0:
        for j in range(len(s)):
            distance[j] = s[j] - values[j, _nearest(values[j], s[j])]
    else:
        for j in range(len(s)):
            distance[j] = abs(s[j] - by_value[0, j])
        for k in range(1, len(by_value)):
            for j in range(len(s)):
                far = abs(s[j] - by_value[k, j])
                distance[j] = far if far < distance[j] else distance[j]
    for j in range(len(s)):
        total += d[j] * distance[j] * distance[j]
    return total


@numba.njit(cache=True, nogil=True)
def _competing(m, s, d, values, unit, unit_used, group, room):  # type: ignore[no-untyped-def]
    """The same where units not yet used compete for the room of their group."""
    total = 0.0
    units = len(group)
    free, zero = np.zeros(units), np.zeros(units)
    for j in range(m):
        far = s[j] - values[j, _nearest(values[j], s[j])]
        best, none = d[j] * far * far, d[j] * s[j] * s[j]
        if unit_used[unit[j]] > 0:
            total += best
        else:
            free[unit[j]] += best
            zero[unit[j]] += none
    left = room.copy()
    for u in np.argsort(free - zero):  # largest savings first
        if left[group[u]] > 0:
            left[group[u]] -= 1
            total += free[u]
        else:
            total += zero[u]
    return total


@numba.njit(cache=True, nogil=True)
def _search(centre, pivot, slope, diagonal, tables, unit, group, keep, threshold, limit, over):  # type: ignore[no-untyped-def]
    """Visit all nodes below the threshold; return it, or the least sum found below it, and the number of nodes."""
    values, even, by_value = tables
    n, last = values.shape[0], values.shape[1] - 1
    s, distance = np.zeros((n + 1, n)), np.zeros(n)
    s[n] = centre
    partial = np.zeros(n + 1)
    start, pick = np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64)
    unit_used, room = np.zeros(len(group), np.int64), keep.copy()
    nodes, m = 0, n
    start[n] = _nearest(values[n - 1], centre[n - 1])
    pick[n] = start[n]
    while m <= n:
        i = m - 1
        k = pick[m]
        # from the nearest value downwards, then upwards; the sums grow with the distance
        if k >= 0 and k <= last:
            difference = s[m, i] - values[i, k]
            cost = partial[m] + pivot[i] * (difference * difference)
        else:
            cost = np.inf
        if not cost < threshold:
            if k <= start[m]:
                pick[m] = start[m] + 1
                continue
            m += 1
            if m <= n:
                value = values[m - 1, pick[m]]
                if value != 0.0:
                    unit_used[unit[m - 1]] -= 1
                    if unit_used[unit[m - 1]] == 0:
                        room[group[unit[m - 1]]] += 1
                pick[m] += 1 if pick[m] > start[m] else -1
            continue
        nodes += 1
        if nodes >= limit or over[0]:
            break
        value = values[i, k]
        u = unit[i]
        fits = value == 0.0 or unit_used[u] > 0 or room[group[u]] > 0
        if fits and m > 1 and value != 0.0:
            if unit_used[u] == 0:
                room[group[u]] -= 1
            unit_used[u] += 1
        if fits and m == 1:
            threshold = cost
        elif fits:
            tight = False
            for g in range(len(room)):
                tight = tight or room[g] < i
            for j in range(i):
                s[i, j] = s[m, j] + slope[i, j] * difference
            if tight:
                ahead = _competing(i, s[i], diagonal[i], values, unit, unit_used, group, room)
            else:
                ahead = _ahead(s[i, :i], diagonal[i], values, even, by_value, distance)
            if cost + ahead < threshold:
                partial[i] = cost
                m = i
                start[m] = _nearest(values[m - 1], s[m, m - 1])
                pick[m] = start[m]
                continue
            if value != 0.0:
                unit_used[u] -= 1
                if unit_used[u] == 0:
                    room[group[u]] += 1
        pick[m] += 1 if k > start[m] else -1
    return threshold, nodes
