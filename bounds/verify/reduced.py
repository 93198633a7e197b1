"""A complete search over grid points that are counted in another basis, with its rounding accounted for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from weakref import WeakKeyDictionary
from weakref import ref as weakref

import numpy as np

from ..gram import FloatArray, Gram
from ..problem import Problem
from ..proof import Basis, Reduced
from .basis_visit import Box, visit_basis
from .budget import check_time, node_limit, time_over
from .enumeration import factors_of, proven_diagonals
from .psd import TINY, U, gamma
from .refusal import NotProven

LARGEST, LONGEST = 2**20, 512
"""Entries of T and its inverse, and inputs: the product of both is then exact in float64, and takes no second."""
WIDEST = 0.05
"""How uncertain the number of a level may be: half a unit would confuse it with its neighbour."""


def least_in_basis(problem: Problem, proof: Reduced, margin: float) -> float:
    """Lower bound of min e(x) over the grid of a row.

    Levels are first + step k but for a deviation, k = 0 ... top. Let c = (w - first) / step, and A = H in steps,
    in units of the largest. T'AT has the factors V and P of `least_on_grids`, and as there t - y = V delta +
    omega, t = T^-1 c, where omega now has the rounding of t in it as well. So k = T y = c - TV delta - T omega:
    with b_m the numbers k as they follow from what is decided at level m, k differs from b_m by at most `wide`
    and sum_{i<m} (TV)_ji delta_i. A y whose k is in the box, while b_m is outside by more, has by Cauchy-Schwarz

        sum_{i<m} p_i delta_i^2 >= (outside - wide)^2 / sum_{i<m} (TV)_ji^2 / p_i,

    and is cut where that and what is decided reach the threshold. The inequality at the end is that of
    `least_on_grids`; deviations of levels move sqrt(e) by at most sum_j sqrt(h_jj) deviation_j.

    Raises
    ------
    NotProven
        T and its inverse do not belong together, the steps are not equal, or the search cannot be repeated.
    """
    check_time()
    n, threshold = problem.n, proof.threshold
    first, step, apart, top = _steps(problem)
    unit = float(step.max())
    plan = _plan(problem.gram, proof.basis, step, margin)
    if plan is None or not (threshold > 0 and math.isfinite(threshold)):
        raise NotProven("the search in a reduced basis cannot be repeated: its basis or threshold is wrong")
    numbers = (problem.weight.astype(np.longdouble) - first) / step
    centre, inverse = numbers.astype(np.float64), proof.basis.inverse
    target = (inverse.astype(np.longdouble) @ numbers).astype(np.float64)
    off = 4 * U * np.abs(centre) + TINY
    lost = (2 * n + 8) * EPSILON * (np.abs(inverse) @ np.abs(centre)) + 2 * U * np.abs(target) + TINY
    limit = threshold / unit**2 * (1 + 4 * U)
    delta = np.sqrt(limit / plan.pivot) * (1 + 1e-12)
    reach = np.abs(target) + plan.moves @ delta
    omega = margin * (gamma(n + 4) * (reach + delta) + lost * (1 + gamma(4 * n)))
    along = plan.along.T @ delta
    wide = np.abs(proof.basis.matrix) @ omega + margin * (off + gamma(2 * n + 8) * (np.abs(centre) + along))
    wide *= 1 + gamma(4 * n)
    if not (wide < WIDEST).all():
        raise NotProven("the search in a reduced basis cannot be repeated: the numbers are too large for float64")
    result, nodes = visit_basis(
        target,
        centre,
        (plan.pivot, plan.slope, plan.diagonal),
        Box(plan.move, plan.per_square, wide, float(top)),
        limit,
        node_limit(False),
        time_over(),
    )
    check_time()  # a search that was stopped has shown nothing
    if nodes >= node_limit(False):
        raise NotProven(f"the search in a reduced basis cannot be repeated within {node_limit(False):,} nodes")
    rho = float(plan.root @ omega) * (1 + 1e-12) + TINY
    total = result * (1 - margin * 16 * gamma(n + 8)) - TINY
    reached = min(total, (total - 2 * rho * math.sqrt(max(total, 0.0))) / (1 + plan.kappa))
    root = math.sqrt(max(0.0, (1 - plan.kappa) * reached)) * (1 - 4 * U) - rho * (1 + 4 * U)
    moved = float(np.sqrt(problem.hessian.diagonal()) @ apart) * (1 + gamma(n + 8)) * margin
    root = root * unit * (1 - 4 * U) - moved
    return max(0.0, math.nextafter(max(0.0, root) ** 2 * (1 - 4 * U), -1.0)) if math.isfinite(root) else 0.0


EPSILON = float(np.finfo(np.longdouble).eps)


def _steps(problem: Problem) -> tuple[FloatArray, FloatArray, FloatArray, int]:
    """First level, step, and the largest deviation of a level from first + k step, of each input; the last k."""
    assert problem.grid is not None
    levels, group = problem.grid.levels, problem.grid.group
    top = levels.shape[1] - 1
    first, step = levels[:, 0], (levels[:, -1] - levels[:, 0]) / top
    even = np.arange(top + 1) * step[:, None]
    apart = np.abs(levels - (first[:, None] + even)) + 4 * U * (np.abs(first)[:, None] + even) + TINY
    if not (np.isfinite(apart).all() and (step > 0).all() and (apart.max(axis=1) <= 1e-9 * step).all()):
        raise NotProven("a reduced basis needs levels with equal steps")
    return first[group], step[group], apart.max(axis=1)[group], top


@dataclass(frozen=True, eq=False)
class _Plan:
    """What a search needs of its matrix and basis, but for the row."""

    pivot: FloatArray
    slope: FloatArray
    diagonal: FloatArray
    moves: FloatArray
    """(n, n) |slope|'."""
    move: FloatArray
    """(n, n) row i: what deciding y_i one below its centre moves the numbers k by, -(TV)'."""
    along: FloatArray
    """(n, n) the size of the terms that `move` is a sum of."""
    per_square: FloatArray
    """(n, n) row i: 1 / sum_{j < i} (TV)_kj^2 / p_j, rounded down; infinite where nothing undecided moves k."""
    kappa: float
    """`least_on_grids`'s, with its margin."""
    root: FloatArray
    """(n,) sqrt of the diagonal of T'AT, rounded up."""


_plans: WeakKeyDictionary[Basis, tuple[weakref[Gram], bytes, float, _Plan | None]] = WeakKeyDictionary()


def _plan(gram: Gram, basis: Basis, step: FloatArray, margin: float) -> _Plan | None:
    """The plan, made once for rows that share all of this; None if there is none."""
    known = _plans.get(basis)
    steps = step.tobytes() if (step != step[0]).any() else b""  # only their ratios matter
    if known is not None and known[0]() is gram and known[1:3] == (steps, margin):
        return known[3]
    check_basis(basis, len(gram))
    plan = _made(gram.matrix, basis, step.astype(np.longdouble) / step.max(), margin)
    _plans[basis] = weakref(gram), steps, margin, plan
    return plan


def check_basis(basis: Basis, n: int) -> None:
    """Raise `NotProven` unless T and its inverse are (n, n), and their product is I."""
    t, inverse = basis.matrix, basis.inverse
    if n > LONGEST:
        raise NotProven(f"not established: reduced bases of more than {LONGEST} inputs are not looked at")
    if t.shape != (n, n) or inverse.shape != (n, n) or basis.diagonal.shape != (n + 1, n):
        raise NotProven("a basis is not one of this row")
    if max(t.max(), -t.min(), inverse.max(), -inverse.min()) > LARGEST:
        raise NotProven(f"a basis has numbers above {LARGEST}")
    # exact: all sums are below 2^53
    if not np.array_equal(t.astype(np.float64) @ inverse.astype(np.float64), np.eye(n)):
        raise NotProven("a basis and its inverse do not belong together")


def _made(h: FloatArray, basis: Basis, step: np.ndarray, margin: float) -> _Plan | None:
    n, t = len(h), basis.matrix.astype(np.longdouble)
    with np.errstate(all="ignore"):
        a = h.astype(np.longdouble) * step * step[:, None]
        long = t.T @ a @ t
        g = ((long + long.T) / 2).astype(np.float64)
        size = np.abs(t).T @ np.abs(a) @ np.abs(t)
        error = ((2 * n + 8) * EPSILON * 1.01 * size + 4 * U * np.abs(g)).astype(np.float64) * (1 + 8 * U) + TINY
        found, *factors = factors_of(g[None], error[None])
        if not found[0]:
            return None
        slope, pivot, kappa = (array[0] for array in factors)
        # |G - T'AT| <= most sqrt(g_ii g_jj) is below n most diag(G), taken off before diagonals are proven
        scale = np.sqrt(g.diagonal())
        most = float((error / scale / scale[:, None]).max()) * (1 + 16 * U)
        lowered = g.copy()
        lowered[np.diag_indices(n)] -= (1.01 * n * most + 4 * U) * g.diagonal()
        if not (margin * kappa < 0.1 and n * most < 0.1):
            return None
        diagonal = proven_diagonals(lowered[None], basis.diagonal[None])[0]
        size = np.abs(basis.matrix).T.astype(np.float64)
        move = slope @ basis.matrix.T - basis.matrix.T
        along = np.abs(slope) @ size + size
        reach = (np.abs(move) + gamma(n + 4) * along) ** 2 / pivot[:, None] * (1 + 8 * U)
        spread = np.vstack([np.zeros(n), np.cumsum(reach, axis=0)[:-1]]) * (1 + gamma(2 * n + 8))
        spread[np.vstack([np.zeros((1, n), bool), np.cumsum(np.abs(basis.matrix.T), axis=0)[:-1] == 0])] = 0.0
        per_square = (1 - 8 * U) / spread
    root = np.sqrt(g.diagonal() * (1 + n * most)) * (1 + 8 * U)
    moves = np.ascontiguousarray(np.abs(slope).T)
    return _Plan(
        pivot, slope, diagonal, moves, np.ascontiguousarray(move), along, per_square, margin * float(kappa), root
    )
