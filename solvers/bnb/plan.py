"""What enumeration needs of a Gram matrix: an order of the inputs, conditional means, and diagonals below H."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pvq.bounds.diagonal import largest_diagonal, proves_below
from pvq.bounds.gram import BoolArray, FloatArray, IntArray
from pvq.bounds.problem import Problem


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


def layer_plan(problem: Problem) -> Plan:
    """The plan all rows of a Gram matrix share."""
    return problem.gram.memo("enumeration plan", lambda: make_plan(problem.hessian))


def make_plan(hessian: FloatArray, first: BoolArray | None = None) -> Plan:
    """Order the inputs (V-BLAST: decide next the one with the largest variance given the undecided) and factor.

    Wolniansky et al., "V-BLAST", 1998. `first` marks inputs to decide before all others: those whose unconstrained
    value lies outside the grid, where one decision adds error at once.
    """
    n = len(hessian)
    order = _order(hessian, np.zeros(n, dtype=bool) if first is None else first)
    h = np.ascontiguousarray(hessian[np.ix_(order, order)])
    root = _cholesky(h)
    inverse = np.linalg.inv(root)  # lower triangular: H^-1 = inverse' inverse
    slope = np.zeros((n, n))
    for i in range(1, n):
        # H_i^-1 h = L_i'^-1 (L_i^-1 h), and L_i^-1 h is the i-th row of the factor
        slope[i, :i] = inverse[:i, :i].T @ root[i, :i]
    diagonal = np.zeros((n + 1, n))
    diagonal[1, 0] = h[0, 0]
    for m in range(2, n + 1):
        block = np.ascontiguousarray(h[:m, :m])
        d = np.maximum(largest_diagonal(block), 0.0)
        if proves_below(
            block, d
        ):  # else keep 0, which needs no proof: singular blocks have next to nothing to give
            diagonal[m, :m] = d
    pivot = np.diag(root) ** 2
    v = np.eye(n) - slope.T
    # three products and sums of at most n terms each: Higham, Accuracy and Stability of Numerical Algorithms, 3.5
    rounding = 3 * n * np.finfo(np.float64).eps * (np.abs(v).T @ np.abs(h) @ np.abs(v) + np.diag(pivot))
    residual = np.abs(v.T @ h @ v - np.diag(pivot)) + rounding
    unit = np.abs(root.T / np.diag(root)[:, None])
    return Plan(order, h, pivot, slope, diagonal, residual, unit)


def _cholesky(h: FloatArray) -> FloatArray:
    """Lower Cholesky factor; where rounding makes a pivot fail, of H plus a multiple of its rounding error."""
    shift = 0.0
    while True:
        try:
            return np.asarray(np.linalg.cholesky(h + shift * np.diag(np.diag(h))))
        except np.linalg.LinAlgError:
            shift = max(2 * shift, len(h) * np.finfo(np.float64).eps)


def _order(hessian: FloatArray, first: BoolArray) -> IntArray:
    """Inputs by position, the last decided first: next the least diagonal entry of the remaining inverse."""
    n = len(hessian)
    root = np.linalg.inv(_cholesky(hessian))
    inverse = root.T @ root
    left = np.ones(n, dtype=bool)
    order = np.zeros(n, np.int64)
    for position in range(n - 1, -1, -1):
        pool = left & first if (left & first).any() else left
        spread = np.where(pool, np.diag(inverse), np.inf)
        i = int(spread.argmin())
        order[position] = i
        left[i] = False
        column = inverse[:, i].copy()
        inverse -= np.outer(column, column / column[i])  # inverse of the block without input i
        inverse[i, i] = np.inf
        inverse[i, left] = inverse[left, i] = 0.0
    return order
