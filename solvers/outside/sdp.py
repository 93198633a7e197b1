"""Semidefinite relaxations, solved through CVXPY and Clarabel, with a lower bound from a feasible dual point."""

from __future__ import annotations

import importlib
import time
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem, optimal_on_support

from ..base import Options, Solver
from ..kernels.cholesky import cholesky_margin
from ..kernels.diagonal import is_below, largest_diagonal, proves_below
from ..relax.separable import separable_bound
from ..result import Outcome, Reason
from .adapter import known_point
from .formulate import is_uniform

MAX_INPUTS = 128
"""Clarabel keeps a dense block of (n^2 / 2)^2 numbers: 0.5 GB at 128 inputs, 8 GB at 256."""

CELLS = 16
"""Neighbouring pairs of levels per input, the nearest to w: more than that never bind together."""

FEASIBLE = tuple(10.0**e for e in range(-13, 0))
"""Margins and shares tried, in turn, until a D is proven feasible; the solver's own is to about 1e-8."""


class Sdp(Solver):
    """The relaxation of Park and Boyd with the box and every level, and its analogue for pruning.

    Park and Boyd, "A semidefinite programming method for integer convex quadratic minimization", Optimization
    Letters 2018. With U standing for uu', u = x - w:  minimise <H, U> over [1 u'; u U] PSD, where each
    (x_i, x_i^2, z_i) lies in the convex hull of what the grid or the pattern allows. The multiplier matrix of the
    PSD constraint is [[., s'], [s, H - D]]. Any D below H and any v prove a bound, so D is taken from it and made
    feasible, v = -(H - D)^-1 s, and the bound is evaluated exactly, coordinate by coordinate.
    """

    name = "sdp"
    summary = "semidefinite relaxation with all levels and the box (Park and Boyd, tightened), dual bound"
    methods: ClassVar[frozenset[str]] = frozenset({"quant", "prune", "joint"})
    proves = "bound"
    requires: ClassVar[tuple[str, ...]] = ("cvxpy", "clarabel")
    extra = "sdp"
    box: ClassVar[bool] = True

    @classmethod
    def why_unsupported(cls, problem: Problem) -> str | None:
        """Refuse what does not fit in memory."""
        if problem.n > MAX_INPUTS:
            return f"solver '{cls.name}' takes at most {MAX_INPUTS} inputs, not {problem.n}; use 'bnb'"
        return super().why_unsupported(problem)

    def _solve(self, problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
        begin = time.perf_counter()
        x = known_point(problem, start)
        if problem.error(x) <= problem.gap_tolerance(x, options.gap):  # as good as 0, a lower bound
            return Outcome(x, 0.0)
        scale = np.sqrt(np.diag(problem.hessian) / problem.error(x))
        # H is divided by its diagonal, errors by that of the known point: all numbers are of order 1
        correlation = problem.hessian / np.sqrt(np.outer(np.diag(problem.hessian), np.diag(problem.hessian)))
        left = None if options.time_limit is None else options.time_limit - (time.perf_counter() - begin)
        found, reason = None, Reason.FINISHED
        if options.stop.is_set():
            reason = Reason.INTERRUPT
        elif left is None or left > 0:
            found = _relax(problem, correlation, scale, self.box, left)
        if found is None and options.time_limit is not None and time.perf_counter() - begin >= options.time_limit:
            reason = Reason.TIME
        # any D below H and any v prove something: without a relaxation, the largest D and v = 0
        largest = largest_diagonal(np.ascontiguousarray(problem.hessian)) / np.diag(problem.hessian)
        pairs, info = [(largest, np.zeros(problem.n))], {}
        if found is not None:
            if found.accurate:
                info["relaxation"] = found.value * problem.error(x)
            x = min(x, _rounded(problem, found.u / scale), key=problem.error)
            for d in (*_feasible(correlation, found.d), largest):
                v = -np.linalg.lstsq(correlation - np.diag(d), found.s, rcond=1e-9)[0]
                pairs.append((d, v / scale))
        lower = 0.0
        for d, v in pairs:
            diagonal = d * np.diag(problem.hessian)
            lower = max(lower, separable_bound(problem, diagonal, v, self.box) - _slack(problem, diagonal, x))
        return Outcome(x, lower, reason, info=info)


@dataclass(frozen=True, eq=False)
class Relaxed:
    """The solver's point, in scaled inputs p = scale * x; its multiplier matrix is [[., s'], [s, H - D]]."""

    d: FloatArray
    """(n,) D, to the solver's accuracy."""
    s: FloatArray
    """(n,) Mv = -s at the best v; more accurate than v = u."""
    u: FloatArray
    """(n,) primal."""
    value: float
    accurate: bool
    """Whether the solver reached its own tolerance."""


class SdpPaper(Sdp):
    """The relaxation as published and as used by Kuzmin et al. 2023: integer multiples of the step, no box."""

    name = "sdp-paper"
    summary = (
        "semidefinite relaxation of Park and Boyd as published: uniform grids without their range, dual bound"
    )
    methods: ClassVar[frozenset[str]] = frozenset({"quant"})
    box = False

    @classmethod
    def why_unsupported(cls, problem: Problem) -> str | None:
        """Refuse grids that are not uniform."""
        why = super().why_unsupported(problem)
        if why is None and not is_uniform(problem):
            why = f"solver '{cls.name}' takes grids with equal steps only; use 'sdp'"
        return why


def _relax(
    problem: Problem, h: FloatArray, scale: FloatArray, box: bool, time_limit: float | None
) -> Relaxed | None:
    """Solve the relaxation in scaled inputs p = scale * x; None if the solver ended without a point."""
    cvxpy: Any = importlib.import_module("cvxpy")  # its type hints miss most of its atoms
    n, w = problem.n, problem.weight * scale
    moment = cvxpy.Variable((n + 1, n + 1), symmetric=True)
    u = moment[0, 1:]
    p, square = w + u, cvxpy.diag(moment)[1:] + 2 * cvxpy.multiply(w, u) + w**2
    semidefinite = moment >> 0
    constraints = [semidefinite, moment[0, 0] == 1]
    z = np.ones(n)
    if problem.sparsity is not None:
        sparsity = problem.sparsity
        units = cvxpy.Variable(sparsity.units, bounds=[0, 1])
        z = np.eye(sparsity.units)[sparsity.unit] @ units
        constraints.append(np.eye(len(sparsity.keep))[:, sparsity.group] @ units <= sparsity.keep)
    if problem.grid is not None:
        levels = _levels(problem) * scale[:, None]
        for a, b in _cells(levels, w) if box else _cell(levels, w):  # (p - a)(p - b) >= 0, and 0 where z = 0
            constraints.append(square >= cvxpy.multiply(a + b, p) - cvxpy.multiply(a * b, z))
        if box:
            low, high = levels[:, 0], levels[:, -1]
            constraints.append(square <= cvxpy.multiply(low + high, p) - cvxpy.multiply(low * high, z))
    elif problem.sparsity is not None and problem.sparsity.update:  # p^2 <= square * z
        constraints.append(cvxpy.SOC(square + z, cvxpy.vstack([2 * p, square - z]), axis=0))
    else:
        kept = cvxpy.Variable(n, bounds=[0, 1])
        constraints += [kept <= z, p == cvxpy.multiply(w, kept), square == cvxpy.multiply(w**2, kept)]
    relaxation = cvxpy.Problem(cvxpy.Minimize(cvxpy.sum(cvxpy.multiply(h, moment[1:, 1:]))), constraints)
    limit = {} if time_limit is None else {"time_limit": time_limit}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # an inaccurate point is welcome: nothing is believed before it is checked
            relaxation.solve(solver=cvxpy.CLARABEL, **limit)
    except cvxpy.error.SolverError:
        return None
    if moment.value is None or semidefinite.dual_value is None:
        return None
    accurate = relaxation.status == cvxpy.OPTIMAL
    multiplier = np.asarray(semidefinite.dual_value)
    d = np.diag(h) - np.diag(multiplier)[1:]
    return Relaxed(d, multiplier[1:, 0], np.asarray(moment.value[0, 1:]), float(relaxation.value), accurate)


def _levels(problem: Problem) -> FloatArray:
    """(n, L) levels of each input, with 0 where a pattern holds: an input of a kept block may be 0."""
    grid = problem.levels
    if problem.sparsity is None:
        return grid.levels[grid.group]
    rows = [np.union1d(row, [0.0]) for row in grid.levels]
    longest = max(len(row) for row in rows)
    # a level that is repeated adds (p - a)^2 >= 0, which holds anyway
    return np.array([np.pad(row, (0, longest - len(row)), mode="edge") for row in rows])[grid.group]


def _cell(levels: FloatArray, w: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
    """The two multiples of the step around each w, as in the paper (there w is moved to the unit cube first)."""
    step = (levels[:, -1] - levels[:, 0]) / (levels.shape[1] - 1)
    below = levels[:, 0] + step * np.floor((w - levels[:, 0]) / step)
    return [(below, below + step)]


def _cells(levels: FloatArray, w: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
    """Pairs of neighbouring levels, (n,) and (n,) each: the CELLS nearest to each w."""
    count = levels.shape[1] - 1
    width = min(CELLS, count)
    below = np.array([np.searchsorted(row, value) - 1 for row, value in zip(levels, w, strict=True)])
    first = np.clip(below - width // 2, 0, count - width)
    rows = np.arange(len(w))
    return [(levels[rows, first + j], levels[rows, first + j + 1]) for j in range(width)]


def _feasible(h: FloatArray, d: FloatArray) -> list[FloatArray]:
    """Some D near d with H - D positive semidefinite in floating point, for H of unit diagonal.

    One lowers d by what the eigenvalues lack, which grids and fixed weights take whatever its sign. The other
    blends in half the smallest eigenvalue of H, least at first, which keeps d_i > 0 as free weights need.
    """
    missing = max(0.0, -float(np.linalg.eigvalsh(h - np.diag(d))[0]))
    least = max(0.0, float(np.linalg.eigvalsh(h)[0]))
    lowered = (d - missing - margin for margin in FEASIBLE)
    blended = ((1 - share) * np.maximum(d, 0.0) + share * least / 2 for share in FEASIBLE)
    found = []
    for family in (lowered, blended):
        first = next((candidate for candidate in family if proves_below(h, candidate)), None)
        if first is not None:
            found.append(np.asarray(first))
    return found


def _slack(problem: Problem, d: FloatArray, x: FloatArray) -> float:
    """What u'(H - D)u may lack of 0: nothing where that is proven, infinity where it cannot be bounded.

    Where H is singular to working precision, floating point proves no more than H - D + s diag(H + |D|) >= 0 for
    some s of order n^2 eps; that costs s sum_i (h_ii + |d_i|) u_i^2. The u of the optimum is bounded by the grid;
    free weights are taken to move no more than from w to 0 or to the known x, so the bound is `numerical`.
    """
    if proves_below(problem.hessian, d):
        return 0.0
    margin = 4 * cholesky_margin(problem.n)
    if not is_below(np.ascontiguousarray(problem.hessian), np.ascontiguousarray(d), margin):
        return np.inf
    w = problem.weight
    moves = [w, x - w]
    if problem.grid is not None:
        levels = problem.grid.levels[problem.grid.group]
        moves += [levels[:, 0] - w, levels[:, -1] - w]
    return float(margin * (np.diag(problem.hessian) + np.abs(d)) @ np.max(np.abs(moves), axis=0) ** 2)


def _rounded(problem: Problem, u: FloatArray) -> FloatArray:
    """A feasible point near w + u."""
    x, grid, sparsity = problem.weight + u, problem.grid, problem.sparsity
    if sparsity is None:
        assert grid is not None
        return grid.nearest(x)
    mask = sparsity.best_mask(x**2 * np.diag(problem.hessian))
    if grid is not None:
        return np.where(mask, grid.nearest(x), 0.0)
    return optimal_on_support(problem, mask) if sparsity.update else np.where(mask, problem.weight, 0.0)
