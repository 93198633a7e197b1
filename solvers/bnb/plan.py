"""What enumeration needs of a Gram matrix: an order of the inputs, conditional means, and diagonals below H."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pvq.bounds.gram import FloatArray, Gram, IntArray
from pvq.bounds.order import vblast_order
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Order
from pvq.bounds.stages import stage

from ..base import Clock, Options
from ..empirical.local_search import values_of
from ..kernels.cholesky import cholesky_margin
from ..kernels.diagonal import proves_below
from ..limits import as_time_allows
from ..relax.ascent import starting_diagonal
from .factors import cholesky, conditional_factors, decision_order, inverse, level_diagonals

LAYER_SWEEPS = 12
"""Sweeps for diagonals that all rows share: see `level_diagonals`."""
ROW_SWEEPS, ROW_STRIDE = 1, 2
"""The same for one row, and levels that share a diagonal: 1.1 instead of 4 ms at 64 inputs, 10% more nodes."""
LAYER_SECONDS = 60.0
"""Limit of the diagonals that all rows share: 1 s at 480 inputs, a minute at 1300; levels beyond it share one."""
LONG = 512
"""Inputs from which an order by products takes less time than one compiled loop: at 4096 a third."""
QUICK = 200
"""Inputs up to which a plan takes a few milliseconds, so that nobody looks at a clock."""


@dataclass(frozen=True, eq=False)
class Plan:
    """Inputs in the order of decision: position n - 1 is decided first, position 0 last.

    With positions 0 ... m - 1 undecided, their error has the matrix H_m (leading block of the permuted H) around
    conditional centres s; deciding position m - 1 at v adds pivot[m-1] (s_{m-1} - v)^2 and moves the other centres
    by slope[m-1] (s_{m-1} - v).
    """

    order: IntArray
    """(n,) input at each position."""
    hessian: FloatArray
    """(n, n) H, permuted."""
    pivot: FloatArray
    """(n,) squared diagonal of the Cholesky factor of the permuted H: 1 / (H_{m}^-1)_{mm}."""
    slope: FloatArray
    """(n, n) row i holds H_i^-1 H[:i, i] in its first i entries."""
    diagonal: FloatArray
    """(n + 1, n) row m holds d >= 0 with H_m - diag(d) positive semidefinite."""
    residual: FloatArray
    """(n, n) |V' H V - diag(pivot)| with its own rounding, where u = V delta turns the decisions' deviations
    delta_i = s_i - x_i into u = w - x: how far the stored numbers are from H."""
    accurate: bool
    """Whether the residual is below half of diag(pivot), in the norm scaled by pivot."""
    unit: FloatArray
    """(n, n) |V^-1|."""

    @cached_property
    def sharp_residual(self) -> FloatArray:
        """(n, n) `residual` computed in the longest numbers there are: what H and V themselves leave, no more."""
        return _residual(self.hessian.astype(np.longdouble), np.eye(len(self.order)) - self.slope.T, self.pivot)

    @cached_property
    def for_proofs(self) -> Order:
        """What a verifier needs to repeat a search."""
        return Order(self.order, self.diagonal)


def layer_plan(problem: Problem) -> Plan:
    """The plan all rows of a Gram matrix share, as far as the time of who asks goes."""
    gram = problem.gram

    def plan(clock: Clock) -> tuple[Plan, bool]:
        order = layer_order(gram)
        stage("diagonals below H")
        return plan_in_order(gram.matrix, order, clock=clock), clock.ended() is None

    return as_time_allows(gram, layer_plan, plan)


def inverse_of(gram: Gram) -> FloatArray:
    """H^-1, once for a Gram matrix."""
    # a copy can be written to, as other matrices: arrays that cannot are a type of their own, compiled again
    return gram.memo(inverse_of, lambda: inverse(gram.matrix.copy()))


def layer_order(gram: Gram) -> IntArray:
    """(n,) the order of a Gram matrix without regard to a row: V-BLAST."""

    def order() -> IntArray:
        stage("order of the inputs")
        return vblast(inverse_of(gram))

    return gram.memo(layer_order, order)


def vblast(inverse: FloatArray) -> IntArray:
    """(n,) the order of `decision_order`, from H^-1, where no input is outside its range."""
    n = len(inverse)
    if n > LONG:
        return vblast_order(inverse)
    zeros, one = np.zeros(n, np.int64), np.ones(1, np.int64)
    return decision_order(inverse, np.zeros(n), np.zeros((1, 1)), one, zeros, np.ones(n))


def row_order(problem: Problem) -> tuple[IntArray, FloatArray]:
    """(n,) the order of `decision_order` for a row, and the step of each input that it counts in."""
    values, count, group = values_of(problem)
    span = values[np.arange(len(count)), count - 1] - values[:, 0]
    step = np.where(span > 0, span / np.maximum(count - 1, 1), 1.0)[group]
    return decision_order(inverse_of(problem.gram), problem.weight.copy(), values, count, group, step), step


def plan_in_order(
    hessian: FloatArray, order: IntArray, kind: type[np.floating[Any]] = np.float64, clock: Clock | None = None
) -> Plan:
    """The plan of an order, with diagonals as large as they get and the residual computed in numbers of a kind.

    clock : ends the diagonals early, as LAYER_SECONDS do.
    """
    n = len(hessian)
    clock = (Clock(Options(time_limit=None)) if clock is None else clock).within(LAYER_SECONDS)
    return _plan(hessian, order, np.ones(n), np.zeros(n), LAYER_SWEEPS, 1, clock, kind)


def row_plan(problem: Problem, clock: Clock, fine: bool = False) -> Plan:
    """The best plan for one row: the layer's if the row wants the same order.

    Diagonals are quick to compute, or if `fine` as large as the layer's, for rows that take seconds; levels that
    the clock cuts off have that of the level above, the first of them the layer's.
    """
    shared = layer_plan(problem)
    order, step = row_order(problem)
    if (order == shared.order).all():
        return shared
    start = np.empty(problem.n)
    start[shared.order] = shared.diagonal[-1]
    return plan_of_order(problem, order, step, start, fine, clock)


def plan_of_order(
    problem: Problem, order: IntArray, step: FloatArray, start: FloatArray, fine: bool, clock: Clock
) -> Plan:
    """The plan of an order for one row, see `row_plan`.

    Parameters
    ----------
    step : (n,) by input, what an error counts in.
    start : (n,) by input, a diagonal proven to be below H.
    """
    sweeps, stride = (LAYER_SWEEPS, 1) if fine else (ROW_SWEEPS, ROW_STRIDE)
    return _plan(problem.hessian, order, step, start, sweeps, stride, clock)


def _plan(
    hessian: FloatArray,
    order: IntArray,
    step: FloatArray,
    start: FloatArray,
    sweeps: int,
    stride: int,
    clock: Clock,
    kind: type[np.floating[Any]] = np.float64,
) -> Plan:
    """Factor H in an order, and find a diagonal below each leading block; see `level_diagonals`.

    start : (n,) by input, proven to be below H, or zeros.
    kind : numbers in which the residual is computed.
    """
    n = len(hessian)
    h = np.ascontiguousarray(hessian[np.ix_(order, order)])
    root = cholesky(h)
    pivot, slope, diagonal = np.zeros(n), np.zeros((n, n)), np.zeros((n + 1, n))
    conditional_factors(root, pivot, slope)
    weights, margin = step[order] ** 2, cholesky_margin(n)
    with clock.bell() if n > QUICK else nullcontext(np.zeros(1, dtype=bool)) as over:
        level_diagonals(h, weights, start[order], margin, sweeps, stride, over, diagonal)
    if over[0] and not diagonal[2:].any():  # no time for the first: what is there, or is found at once, is for all
        diagonal[2:] = np.tril(np.tile(start[order] if start.any() else _at_once(h), (n, 1)))[1:]
    residual = _residual(h.astype(kind), np.eye(n) - slope.T, pivot)
    with np.errstate(divide="ignore", invalid="ignore"):  # a pivot that underflows: not accurate
        root_pivot = np.sqrt(pivot)
        accurate = bool(np.linalg.norm(residual / root_pivot[:, None] / root_pivot) <= 0.5)
    unit = np.abs(np.triu(root) / np.diag(root)[:, None])
    return Plan(order, h, pivot, slope, diagonal, residual, accurate, unit)


def _at_once(h: FloatArray) -> FloatArray:
    """(n,) a diagonal proven to be below H, about half as large as the largest of its shape; zeros if singular."""
    d = starting_diagonal(h)
    return d if proves_below(h, d) else np.zeros(len(d))


def _residual(h: NDArray[Any], v: FloatArray, pivot: FloatArray) -> FloatArray:
    """|V' H V - diag(pivot)| and the rounding of computing it, in the numbers h has."""
    n = len(pivot)
    v = v.astype(h.dtype)
    # three products and sums of at most n terms each: Higham, Accuracy and Stability of Numerical Algorithms, 3.5
    rounding = 3 * n * np.finfo(h.dtype).eps * (np.abs(v).T @ np.abs(h) @ np.abs(v) + np.diag(pivot))
    return np.asarray((np.abs(v.T @ h @ v - np.diag(pivot)) + rounding) * (1 + 1e-15), dtype=np.float64)
