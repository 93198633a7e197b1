"""A complete depth-first search over grid points, run again to prove a bound, with its rounding accounted for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from weakref import WeakKeyDictionary
from weakref import ref as weakref

import numpy as np

from ..gram import FloatArray
from ..problem import Problem
from ..proof import Enumeration, Order
from .budget import check_time, node_limit, time_over
from .psd import TINY, U, defect, gamma, leading_psd
from .refusal import NotProven
from .split import values_of
from .visit import Budgets, Factors, filled, values_in_order, visit


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
    with np.errstate(all="ignore"):
        delta = np.sqrt(threshold / plan.factors.pivot) * (1 + 1e-12)
        reach = np.abs(c) + plan.moves @ delta
        values = values_in_order(values_of(problem)[inputs[order]], reach)
    budgets = _budgets(problem if budget else None, inputs[order])
    result, nodes = visit(c, plan.factors, *values, budgets, threshold, node_limit(budget), time_over())
    check_time()  # a search that was stopped has shown nothing
    if nodes >= node_limit(budget):
        raise NotProven(f"a search cannot be repeated within {node_limit(budget):,} nodes")
    with np.errstate(all="ignore"):
        omega = margin * gamma(m + 4) * (reach + delta)
        rho = float(plan.root @ omega) * (1 + 1e-12) + TINY
    total = result * (1 - margin * 16 * gamma(m + 8)) - TINY  # sums of 2 m non-negative terms
    reached = min(total, (total - 2 * rho * math.sqrt(max(total, 0.0))) / (1 + kappa))
    root = math.sqrt(max(0.0, (1 - kappa) * reached)) * (1 - 4 * U) - rho * (1 + 4 * U)
    # what is rounded may be a denormal number
    return max(0.0, math.nextafter(max(0.0, root) ** 2 * (1 - 4 * U), -1.0)) if math.isfinite(root) else -math.inf


@dataclass(frozen=True, eq=False)
class _Plan:
    """What a search needs of its matrix."""

    factors: Factors
    moves: FloatArray
    """(m, m) |slope|', without what fills it up."""
    kappa: float
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
        factors = factors_of(permuted)
        if factors is not None:
            slope, pivot, kappa = factors
            diagonal = filled(proven_diagonals(permuted, order))
            moves = np.ascontiguousarray(np.abs(slope).T)
            plan = _Plan(Factors(pivot, filled(slope), diagonal), moves, kappa, np.sqrt(permuted.diagonal()))
    _plans[order] = weakref(a), plan
    return plan


def factors_of(a: FloatArray, error: FloatArray | float = 0.0) -> tuple[FloatArray, FloatArray, float] | None:
    """slope (row i: what deciding i moves the centres of j < i by), pivots p and kappa of `least_on_grid`.

    error : (n, n) how far an entry may be from the one that is meant.
    """
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
        if np.any(error):
            f += np.abs(v).T @ (error @ np.abs(v)) * (1 + gamma(4 * n))
        scale = np.sqrt(pivot)
        kappa = float((f / scale / scale[:, None]).sum(axis=1).max()) * (1 + gamma(2 * n + 8))
    return (slope, pivot, kappa) if (pivot > 0).all() and math.isfinite(kappa) else None


def proven_diagonals(permuted: FloatArray, order: Order) -> FloatArray:
    """The diagonals of an order with those rows set to 0 that are not proven below their block."""
    n = len(permuted)
    proven, quick = np.zeros((n + 1, n)), leading_psd(permuted, order.diagonal)
    for m in range(n, 0, -1):
        check_time()  # also of what the time has cut off
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


def _budgets(problem: Problem | None, inputs: np.ndarray) -> Budgets | None:
    """Units and budgets of some inputs; without a sparsity pattern there are none."""
    sparsity = None if problem is None else problem.sparsity
    if sparsity is None:
        return None
    unit, used = np.ascontiguousarray(sparsity.unit[inputs]), np.zeros(sparsity.units, np.int64)
    return Budgets(unit, sparsity.group, sparsity.keep.copy(), used)
