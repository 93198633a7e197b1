"""What enumeration needs of a Gram matrix: an order of the inputs, conditional means, and diagonals below H."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pvq.bounds.cholesky import cholesky_margin
from pvq.bounds.gram import BoolArray, FloatArray, IntArray
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Order

from .factors import cholesky, conditional_factors, decision_order, level_diagonals

LAYER_SWEEPS = 12
"""Sweeps for diagonals that all rows share: see `level_diagonals`."""
ROW_SWEEPS = 4


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
    unit: FloatArray
    """(n, n) |V^-1|."""

    @cached_property
    def for_proofs(self) -> Order:
        """What a verifier needs to repeat a search."""
        return Order(self.order, self.diagonal)


def layer_plan(problem: Problem) -> Plan:
    """The plan all rows of a Gram matrix share."""
    return problem.gram.memo("enumeration plan", lambda: make_plan(problem.hessian, sweeps=LAYER_SWEEPS))


def make_plan(
    hessian: FloatArray, first: BoolArray | None = None, step: FloatArray | None = None, sweeps: int = ROW_SWEEPS
) -> Plan:
    """Order the inputs, factor H in that order, and find a diagonal below each leading block.

    Parameters
    ----------
    hessian : (n, n) H.
    first : (n,) inputs to decide before all others: those whose unconstrained value lies outside the grid, where
        one decision adds error at once.
    step : (n,) distance of neighbouring values of each input, where they differ: order and diagonals are best for
        H in these units.
    sweeps : of the ascent at each level.
    """
    n = len(hessian)
    first = np.zeros(n, dtype=bool) if first is None else first
    step = np.ones(n) if step is None else step
    order = decision_order(hessian * np.outer(step, step), first)
    h = np.ascontiguousarray(hessian[np.ix_(order, order)])
    root = cholesky(h)
    pivot, slope, diagonal = np.zeros(n), np.zeros((n, n)), np.zeros((n + 1, n))
    conditional_factors(root, pivot, slope)
    level_diagonals(h, step[order] ** 2, cholesky_margin(n), sweeps, diagonal)
    v = np.eye(n) - slope.T
    # three products and sums of at most n terms each: Higham, Accuracy and Stability of Numerical Algorithms, 3.5
    rounding = 3 * n * np.finfo(np.float64).eps * (np.abs(v).T @ np.abs(h) @ np.abs(v) + np.diag(pivot))
    residual = np.abs(v.T @ h @ v - np.diag(pivot)) + rounding
    unit = np.abs(np.triu(root) / np.diag(root)[:, None])
    return Plan(order, h, pivot, slope, diagonal, residual, unit)
