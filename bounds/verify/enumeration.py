"""A complete depth-first search over grid points, run again to prove a bound, with its rounding accounted for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from ..gram import BoolArray, FloatArray, IntArray
from ..problem import Problem
from ..proof import Enumeration, Order
from .alike import times
from .budget import check_time, node_limit, other_sweep, time_over
from .psd import TINY, U, defect, gamma, leading_psd
from .refusal import NotProven
from .sharp import sharp_factors
from .split import values_of
from .sweep import in_range, sweep
from .visit import Budgets, Factors, Steps, filled, in_order, steps_of, values_for, visit

ROUGH = 2e-8
"""kappa above which the factors are made anew, in longer numbers: a bound loses kappa of itself, a solver's four
times as much, where a gap of 1e-6 is usual."""

FIRST = 1_000_000
"""Nodes after which equal steps are searched by `sweep`, if there was no point below the threshold: shorter ones
need not wait until that is compiled, and with a threshold that is too high `visit` ends earlier."""


def least_on_grid(problem: Problem, proof: Enumeration, margin: float) -> float:
    """Lower bound of a whole row, over its grid and its budgets; -inf if not proven."""
    everything, budget = np.arange(problem.n)[None], problem.sparsity is not None
    matrices, centres = problem.hessian[None], problem.weight[None]
    return least_on_grids(problem, everything, matrices, centres, [proof], margin, budget)[0]


def least_on_grids(
    problem: Problem,
    inputs: IntArray,
    matrices: FloatArray,
    centres: FloatArray,
    proofs: Sequence[Enumeration],
    margin: float,
    budget: bool = False,
) -> list[float]:
    """Lower bounds of min (x - c)'A(x - c) over x in the grid of some inputs, and in budgets; -inf if not proven.

    Let V be the unit upper triangular matrix with V'AV = P + F, P diagonal, F of rounding size: |F| is at most
    kappa P. The search decides x_i at distances delta_i from conditional centres, which are rounded, so that
    c - x = V delta + omega, and cuts where sum p_i delta_i^2 over the decided i + sum d_j dist(s_j, grid_j)^2 over
    the undecided j reaches T. Its decisions have p_i delta_i^2 < T, which bounds |omega| and its length rho =
    sum_j sqrt(a_jj) |omega_j| in the norm of A. A point x cut because of the first sum alone has, by the triangle
    inequality, sqrt(e(x)) >= sqrt((1 - kappa) T) - rho. For one cut at undecided j < m, A_m >= diag(d) gives
    sum_{j<m} p_j delta_j^2 >= (sqrt(ahead) - rho)^2 / (1 + kappa), so that the first sum would have reached
    (T - 2 rho sqrt(T)) / (1 + kappa), and the same inequality follows with that in place of T.

    Where all steps are equal the values are first + k step, and `sweep` takes (c - first) / step, p step^2, and
    slopes and d in steps; delta is what it computes, times the step. Omega then has the distance of x from
    first + k step in it, four roundings of what is restated, and four for sums that are made in another order.

    Parameters
    ----------
    inputs : (searches, m). matrices : (searches, m, m) A. centres : (searches, m) c.
    proofs : one for each search.
    """
    check_time()
    bounds, m = np.full(len(proofs), -math.inf), inputs.shape[1]
    found = _side_by_side([proof.order for proof in proofs], matrices)
    threshold = np.array([proof.threshold for proof in proofs])
    good = np.flatnonzero(found.made & (margin * found.kappa < 0.1) & (threshold > 0) & np.isfinite(threshold))
    if not len(good):
        return bounds.tolist()
    at, order = good[:, None], found.order[good]
    chosen, c, threshold, kappa = (
        inputs[at, order],
        centres[at, order],
        threshold[good],
        margin * found.kappa[good],
    )
    with np.errstate(all="ignore"):
        delta = np.sqrt(threshold[:, None] / found.pivot[good]) * (1 + 1e-12)
        moves, values = found.moves[good], values_of(problem)[chosen]
        points = in_order(values)
        steps = steps_of(points)
        apart = 0.0 if steps is None else steps.apart
        if found.is_sharp[good].any():
            delta = _within(np.abs(c), np.abs(values).max(axis=2) + apart, moves, delta)
        reach = np.abs(c) + times(moves, delta)
        omega = margin * gamma(m + 4) * (reach + delta)
        rho = (found.root[good] * omega).sum(axis=1) * (1 + 1e-12) + TINY
    limit, over, results = node_limit(budget), time_over(), np.empty(len(good))
    for k, b in enumerate(good.tolist()):
        budgets = _budgets(problem if budget else None, chosen[k])
        own = None if steps is None else Steps(steps.first[k], steps.step[k], steps.apart[k])
        each = values_for(points[k], own, reach[k])
        end, factors, first = float(threshold[k]), found.factors[b], limit
        if own is not None and budgets is None and in_range(own, c[k], factors, found.root[b], end):
            first = min(limit, FIRST)
        results[k], nodes = visit(c[k], factors, *each, budgets, end, first, over)
        if own is not None and first <= nodes < limit:
            if results[k] == end:
                top = points.shape[2] - 1.0
                searching = other_sweep() or sweep
                results[k], nodes = searching(c[k], factors, own.first, own.step, top, end, limit, over)
                wide = gamma(m + 12) * (reach[k] + np.abs(own.first) + delta[k]) + own.apart
                rho[k] = float((found.root[b] * margin * wide).sum()) * (1 + 1e-12) + TINY
            else:
                results[k], nodes = visit(c[k], factors, *each, budgets, results[k], limit, over)
        check_time()  # a search that was stopped has shown nothing
        if nodes >= limit:
            raise NotProven(f"a search cannot be repeated within {limit:,} nodes")
    bounds[good] = _rounded(results, rho, kappa, margin, m)
    return bounds.tolist()


def _within(centres: FloatArray, largest: FloatArray, moves: FloatArray, delta: FloatArray) -> FloatArray:
    """(searches, m) delta, no distance longer than from a centre as far off as it may be to a value there.

    Without a pivot next to 0 the threshold says more; with one it says nothing.

    Parameters
    ----------
    centres, largest : (searches, m) |c|, and the largest |value| of each input.
    """
    delta = delta.copy()
    for i in range(delta.shape[1] - 1, -1, -1):  # later inputs, which are decided before, have theirs
        off = (moves[:, i, i + 1 :] * delta[:, i + 1 :]).sum(axis=1)
        # centres as they are rounded are within 1e-12 of themselves
        delta[:, i] = np.minimum(delta[:, i], (centres[:, i] + off + largest[:, i]) * (1 + 1e-12))
    return delta


def _rounded(results: FloatArray, rho: FloatArray, kappa: FloatArray, margin: float, m: int) -> FloatArray:
    """What the thresholds that searches have ended with prove."""
    total = results * (1 - margin * 16 * gamma(m + 8)) - TINY  # sums of 2 m non-negative terms
    reached = np.minimum(total, (total - 2 * rho * np.sqrt(np.maximum(total, 0.0))) / (1 + kappa))
    root = np.sqrt(np.maximum(0.0, (1 - kappa) * reached)) * (1 - 4 * U) - rho * (1 + 4 * U)
    # what is rounded may be a denormal number
    proven = np.maximum(0.0, np.nextafter(np.maximum(0.0, root) ** 2 * (1 - 4 * U), -1.0))
    return np.where(np.isfinite(root), proven, -math.inf)


@dataclass(frozen=True, eq=False)
class _Plan:
    """What a search needs of its matrix."""

    factors: Factors
    moves: FloatArray
    """(m, m) |slope|', without what fills it up."""
    kappa: float
    root: FloatArray
    """(m,) sqrt(a_ii)."""
    is_sharp: bool
    """Whether the factors are those of `sharp_factors`."""


@dataclass(frozen=True, eq=False)
class _Plans:
    """The same of several searches side by side; what has no plan has numbers that are of no use."""

    made: BoolArray
    """(searches,)"""
    order: IntArray
    """(searches, m)"""
    pivot: FloatArray
    """(searches, m)"""
    moves: FloatArray
    """(searches, m, m)"""
    kappa: FloatArray
    """(searches,)"""
    root: FloatArray
    """(searches, m)"""
    is_sharp: BoolArray
    """(searches,)"""
    factors: tuple[Factors, ...]


def _side_by_side(orders: Sequence[Order], matrices: FloatArray) -> _Plans:
    """The plans of the blocks of a row."""
    plans, m = _plans_of(orders, matrices), matrices.shape[1]
    factors = Factors(np.ones(m), np.zeros((0, 0)), np.zeros((0, 0)))
    none = _Plan(factors, np.zeros((m, m)), math.inf, np.zeros(m), False)
    each = [plan or none for plan in plans]
    return _Plans(
        np.array([plan is not None for plan in plans]),
        np.array([np.arange(m) if plan is None else one.order for plan, one in zip(plans, orders, strict=True)]),
        np.array([plan.factors.pivot for plan in each]),
        np.array([plan.moves for plan in each]),
        np.array([plan.kappa for plan in each]),
        np.array([plan.root for plan in each]),
        np.array([plan.is_sharp for plan in each]),
        tuple(plan.factors for plan in each),
    )


_plans: WeakKeyDictionary[Order, tuple[FloatArray, int, _Plan | None]] = WeakKeyDictionary()


def _plans_of(orders: Sequence[Order], matrices: FloatArray) -> list[_Plan | None]:
    """The plan of each order and its matrix, (orders, m, m), None if there is none; once for rows that share both.

    A matrix of other ones side by side is compared entry by entry: it is small, or one of a kind.
    """
    plans: list[_Plan | None] = [None] * len(orders)
    missing = []
    for b, order in enumerate(orders):
        known = _plans.get(order)
        same = known is not None and known[0] is matrices and known[1] == b
        if known is not None and (same or np.array_equal(known[0][known[1]], matrices[b])):
            plans[b] = known[2]
        else:
            missing.append(b)
    if missing:
        for b, plan in zip(missing, _made([orders[b] for b in missing], matrices[missing]), strict=True):
            plans[b], _plans[orders[b]] = plan, (matrices, b, plan)
    return plans


def _made(orders: Sequence[Order], matrices: FloatArray) -> list[_Plan | None]:
    plans: list[_Plan | None] = [None] * len(orders)
    m = matrices.shape[1]
    some = [
        b
        for b, order in enumerate(orders)
        if order.diagonal.shape == (m + 1, m) and np.array_equal(np.sort(order.order), np.arange(m))
    ]
    if not some:
        return plans
    of, order = np.array(some)[:, None, None], np.array([orders[b].order for b in some])
    permuted = np.ascontiguousarray(matrices[of, order[:, :, None], order[:, None, :]])
    found, slopes, pivots, kappas = factors_of(permuted)
    is_sharp = np.zeros(len(some), dtype=bool)
    for k in np.flatnonzero(~(found & (kappas <= ROUGH))).tolist():
        sharp = sharp_factors(permuted[k])
        if sharp is not None and not (found[k] and kappas[k] <= sharp[2]):
            found[k] = is_sharp[k] = True
            slopes[k], pivots[k], kappas[k] = sharp
    proven = proven_diagonals(permuted, np.array([orders[b].diagonal for b in some]))
    diagonal, slope = filled(proven), filled(slopes)
    moves = np.ascontiguousarray(np.swapaxes(np.abs(slopes), 1, 2))
    root = np.sqrt(np.diagonal(permuted, axis1=1, axis2=2))
    for k in np.flatnonzero(found).tolist():
        factors = Factors(pivots[k], slope[k], diagonal[k])
        plans[some[k]] = _Plan(factors, moves[k], float(kappas[k]), root[k], bool(is_sharp[k]))
    return plans


def factors_of(
    a: FloatArray, error: FloatArray | float = 0.0
) -> tuple[BoolArray, FloatArray, FloatArray, FloatArray]:
    """Of matrices side by side, (count, n, n): slopes, pivots p and kappa of `least_on_grids`.

    Parameters
    ----------
    error : (count, n, n) how far an entry may be from the one that is meant.

    Returns
    -------
    (count,) whether there are such factors; slopes, whose row i is what deciding i moves the centres of j < i by;
    pivots; kappas.
    """
    n = a.shape[1]
    try:
        root = np.linalg.cholesky(a)
        v = np.swapaxes(np.linalg.inv(root), 1, 2) * np.diagonal(root, axis1=1, axis2=2)[:, None, :]
    except np.linalg.LinAlgError:
        if len(a) == 1:
            return np.zeros(1, dtype=bool), np.zeros(a.shape), np.ones(a.shape[:2]), np.ones(1)
        given = np.broadcast_to(np.asarray(error, np.float64), a.shape)
        each = [factors_of(a[k : k + 1], given[k : k + 1]) for k in range(len(a))]
        found, slopes, pivots, kappas = zip(*each, strict=True)
        return np.concatenate(found), np.concatenate(slopes), np.concatenate(pivots), np.concatenate(kappas)
    v = np.triu(v, 1)
    slope = np.ascontiguousarray(-np.swapaxes(v, 1, 2))
    own = np.arange(n)
    v[:, own, own] = 1.0
    turned, size = np.swapaxes(v, 1, 2), np.abs(v)
    with np.errstate(all="ignore"):
        sizes = np.swapaxes(size, 1, 2) @ (np.abs(a) @ size)
        f = turned @ (a @ v)
        pivot = np.ascontiguousarray(f[:, own, own])
        f[:, own, own] = 0.0
        # two products of n terms each, and |V| times |A| |V| itself
        f = np.abs(f) + gamma(2 * n + 4) * sizes + TINY
        if np.any(error):
            f += np.swapaxes(size, 1, 2) @ (error @ size) * (1 + gamma(4 * n))
        scale = np.sqrt(pivot)
        f = f / scale[:, None, :] / scale[:, :, None]
        kappa = f.sum(axis=2).max(axis=1) * (1 + gamma(2 * n + 8))
    return (pivot > 0).all(axis=1) & np.isfinite(kappa), slope, pivot, kappa


def proven_diagonals(permuted: FloatArray, diagonals: FloatArray) -> FloatArray:
    """Diagonals, (count, n + 1, n), with those rows set to 0 that are not proven below their block.

    Parameters
    ----------
    permuted : (count, n, n) matrices in the order of their search.
    """
    n = permuted.shape[1]
    given = np.tril(diagonals, -1)  # a level's open inputs
    quick = leading_psd(permuted, diagonals)
    check_time()  # also of what the time has cut off
    useful = np.asarray((given >= 0).all(axis=2) & given.any(axis=2))
    proven = np.where((useful & quick)[..., None], given, 0.0)
    for k in np.flatnonzero((useful & ~quick)[:, 1:].any(axis=1)).tolist():
        for m in range(n, 0, -1):
            check_time()
            d = given[k, m, :m]
            # also where it is a block of what has been proven, and no more is taken off
            if useful[k, m] and not quick[k, m] and not (m < n and (d <= proven[k, m + 1, :m]).all()):
                below = permuted[k, :m, :m].copy()
                below[np.diag_indices(m)] -= d
                if defect(below, U * np.abs(below)).any():
                    continue
            if useful[k, m]:
                proven[k, m, :m] = d
    return proven


def _budgets(problem: Problem | None, inputs: np.ndarray) -> Budgets | None:
    """Units and budgets of some inputs; without a sparsity pattern there are none."""
    sparsity = None if problem is None else problem.sparsity
    if sparsity is None:
        return None
    unit, used = np.ascontiguousarray(sparsity.unit[inputs]), np.zeros(sparsity.units, np.int64)
    return Budgets(unit, sparsity.group, sparsity.keep.copy(), used)
