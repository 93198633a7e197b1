"""A row's problem as mixed-integer quadratic programming data: the one home of what outside solvers are fed."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from pvq.bounds.gram import BoolArray, FloatArray, IntArray
from pvq.bounds.problem import Problem, optimal_on_support
from scipy.sparse import csr_array


class Form(StrEnum):
    """How the constraints become convex."""

    BIG_M = "big-m"
    """As in Kuzmin et al. 2023: z_i lower_i <= x_i <= z_i upper_i; grids as bounded integers."""
    PERSPECTIVE = "perspective"
    """H = (H - D) + D, the part of D replaced by its convex hull, coordinate by coordinate."""


@dataclass(frozen=True, eq=False)
class Formulation:
    """minimise (p - center)' Q (p - center) + linear' y + constant over y, p = y[:m], m = len(center).

    subject to  lower <= y <= upper, y[integer] integral, row_lower <= A y <= row_upper and
    y[a]^2 <= y[b] y[c] for each (a, b, c) of `cones` (y[b], y[c] >= 0).

    The objective is the error in units of `unit`, the error of a known feasible point, so that optimal values are
    of order 1 and below whatever the layer's scale, and solvers' absolute tolerances mean the same everywhere.
    """

    unit: float
    quadratic: FloatArray
    """(m, m) Q, positive semidefinite."""
    center: FloatArray
    """(m,)"""
    linear: FloatArray
    """(N,)"""
    constant: float
    lower: FloatArray
    """(N,), -inf where there is none."""
    upper: FloatArray
    integer: BoolArray
    rows: csr_array
    """(R, N) A."""
    row_lower: FloatArray
    row_upper: FloatArray
    cones: IntArray
    """(C, 3)"""
    _layout: Layout = field(repr=False)

    @property
    def size(self) -> int:
        """Number of variables N."""
        return len(self.linear)

    @property
    def factor(self) -> FloatArray:
        """(m, m) upper triangular F with F'F = Q up to rounding (eigenvalues of rounding size may be 0)."""
        values, vectors = np.linalg.eigh(self.quadratic)
        return np.asarray(np.linalg.qr(np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T, mode="r"))

    def objective(self, y: FloatArray) -> float:
        """Objective at y, in units of `unit`."""
        u = y[: len(self.center)] - self.center
        return float(u @ self.quadratic @ u + self.linear @ y + self.constant)

    def violation(self, y: FloatArray) -> float:
        """Largest violation of any constraint at y."""
        product = self.rows @ y
        gaps = [self.lower - y, y - self.upper, self.row_lower - product, product - self.row_upper]
        gaps.append(np.abs(y - np.round(y))[self.integer])
        if len(self.cones):
            a, b, c = self.cones.T
            gaps.append(y[a] ** 2 - y[b] * y[c])
        return float(max(0.0, *(gap.max() for gap in gaps if len(gap))))

    def encode(self, x: FloatArray) -> FloatArray:
        """The y of a feasible x, (n,): a start for the solver."""
        return self._layout.encode(x, self.size)

    def decode(self, y: FloatArray) -> FloatArray:
        """A feasible x, (n,), from a y that satisfies the constraints up to tolerances.

        Integer parts are rounded, levels are the grid's own float64 numbers, pruned inputs exactly 0, and kept
        weights that are free are optimal for the mask that was found.
        """
        return self._layout.decode(y)


@dataclass(frozen=True, eq=False)
class Layout:
    """Where things are in y: p (n, or units for fixed weights), z (units), then square or one-hot variables."""

    problem: Problem
    p_of_x: FloatArray
    """(n,) p = p_of_x * (x - origin); unused for fixed weights."""
    origin: FloatArray
    z: IntArray
    """(units,) places of the z, empty without a pattern."""
    square: IntArray
    """(n,) places of s, which stands for p^2; empty where there are none."""
    choice: tuple[IntArray, ...] = ()
    """For grids that are not uniform: places of the one-hot variables of each input ..."""
    values: tuple[FloatArray, ...] = ()
    """... and the levels they choose."""
    flag: IntArray | None = None
    """For fixed weights: (n,) places of the binary of each input."""

    def encode(self, x: FloatArray, size: int) -> FloatArray:
        y = np.zeros(size)
        problem, sparsity = self.problem, self.problem.sparsity
        if sparsity is not None:
            y[self.z[np.unique(sparsity.unit[x != 0])]] = 1
        if self.flag is not None:
            y[self.flag] = x != 0
            return y
        p = self.p_of_x * (x - self.origin)
        if problem.grid is not None and not self.choice:
            p = np.round(p)
        y[: len(p)] = p
        if len(self.square):
            y[self.square] = p**2
        for i, places in enumerate(self.choice):
            y[places[np.argmin(np.abs(self.values[i] - x[i]))]] = 1
        return y

    def decode(self, y: FloatArray) -> FloatArray:
        problem, grid, sparsity = self.problem, self.problem.grid, self.problem.sparsity
        mask = np.ones(problem.n, dtype=bool)
        if sparsity is not None:
            z = y[self.z][sparsity.unit]
            # z is 0 or 1 up to tolerances, so the units with the largest z are those that were kept
            mask = sparsity.best_mask(z) & (z > 0.5)
        if self.flag is not None:
            return np.where(mask & (y[self.flag] > 0.5), problem.weight, 0.0)
        if grid is None:
            return optimal_on_support(problem, mask)
        if self.choice:
            x = np.array([self.values[i][np.argmax(y[places])] for i, places in enumerate(self.choice)])
        else:
            x = grid.nearest(self.origin + np.round(y[: problem.n]) / self.p_of_x)
        return np.where(mask, x, 0.0)
