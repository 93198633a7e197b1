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
from .budget import check_time, node_limit, time_over
from .psd import TINY, U, defect, gamma, leading_psd
from .refusal import NotProven
from .split import values_of
from .visit import Budgets, Factors, filled, values_in_order, visit


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

    Parameters
    ----------
    inputs : (searches, m). matrices : (searches, m, m) A. centres : (searches, m) c.
    proofs : one for each search.
    """
    check_time()
    bounds, m = [-math.inf] * len(proofs), inputs.shape[1]
    found = _plans_of([proof.order for proof in proofs], matrices)
    good = [
        b
        for b, (plan, proof) in enumerate(zip(found, proofs, strict=True))
        if plan is not None
        and margin * plan.kappa < 0.1
        and proof.threshold > 0
        and math.isfinite(proof.threshold)
    ]
    plans = [plan for b in good if (plan := found[b]) is not None]
    if not plans:
        return bounds
    order, at = np.array([proofs[b].order.order for b in good]), np.array(good)[:, None]
    chosen, c = inputs[at, order], centres[at, order]
    threshold = np.array([proofs[b].threshold for b in good])
    with np.errstate(all="ignore"):
        delta = np.sqrt(threshold[:, None] / np.array([plan.factors.pivot for plan in plans])) * (1 + 1e-12)
        reach = np.abs(c) + np.matmul(np.array([plan.moves for plan in plans]), delta[..., None])[..., 0]
        points, even, by_value = values_in_order(values_of(problem)[chosen], reach)
        omega = margin * gamma(m + 4) * (reach + delta)
        rho = (np.array([plan.root for plan in plans]) * omega).sum(axis=1) * (1 + 1e-12) + TINY
    limit = node_limit(budget)
    for k, (b, plan) in enumerate(zip(good, plans, strict=True)):
        budgets = _budgets(problem if budget else None, chosen[k])
        own = points[k], None if even is None else even[k], None if by_value is None else by_value[k]
        result, nodes = visit(c[k], plan.factors, *own, budgets, proofs[b].threshold, limit, time_over())
        check_time()  # a search that was stopped has shown nothing
        if nodes >= limit:
            raise NotProven(f"a search cannot be repeated within {limit:,} nodes")
        bounds[b] = _rounded(result, float(rho[k]), margin * plan.kappa, margin, m)
    return bounds


def _rounded(result: float, rho: float, kappa: float, margin: float, m: int) -> float:
    """What the threshold that a search has ended with proves."""
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


_plans: WeakKeyDictionary[Order, tuple[FloatArray, _Plan | None]] = WeakKeyDictionary()


def _plans_of(orders: Sequence[Order], matrices: FloatArray) -> list[_Plan | None]:
    """The plan of each order and its matrix, (orders, m, m), None if there is none; once for rows that share both.

    A matrix is compared entry by entry: it is small, or one of a kind.
    """
    plans: list[_Plan | None] = [None] * len(orders)
    missing = []
    for b, order in enumerate(orders):
        known = _plans.get(order)
        if known is not None and np.array_equal(known[0], matrices[b]):
            plans[b] = known[1]
        else:
            missing.append(b)
    if missing:
        for b, plan in zip(missing, _made([orders[b] for b in missing], matrices[missing]), strict=True):
            plans[b], _plans[orders[b]] = plan, (matrices[b], plan)
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
    proven = proven_diagonals(permuted, np.array([orders[b].diagonal for b in some]))
    diagonal, slope = filled(proven), filled(slopes)
    moves = np.ascontiguousarray(np.swapaxes(np.abs(slopes), 1, 2))
    root = np.sqrt(np.diagonal(permuted, axis1=1, axis2=2))
    for k in np.flatnonzero(found).tolist():
        factors = Factors(pivots[k], slope[k], diagonal[k])
        plans[some[k]] = _Plan(factors, moves[k], float(kappas[k]), root[k])
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
