"""Lower bounds for rows that keep few inputs, each at given values: a grid under a pattern, or fixed weights.

For D with H - D = M positive semidefinite and any v,

    e(x) >= f(v) = -v'Mv + min over C of sum_i [d_i u_i^2 + 2 (Mv)_i u_i],      u = x - w:

each group keeps the units that save most, and a kept input takes its best value: both constraints at once, which
neither pruning alone nor quantization alone has. f is concave with supergradient 2 M (u* - v) at the minimiser u*.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from pvq.bounds.gram import BoolArray, FloatArray
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below, Split
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from ..base import Clock
from ..empirical.local_search import polish_grid
from ..kernels.cholesky import cholesky_margin
from ..kernels.diagonal import largest_diagonal, proves_below
from ..limits import Pace
from . import pruning
from .climb import climb
from .separable import separable_bound

SHORT = 256
"""Inputs up to which D is also fitted to what moves in this relaxation: seconds a row beyond."""

ROUNDS = 3
"""D is fitted so many times: to equal weights, then to what moves in the relaxation at hand."""

EVEN = 0.3
"""Weight of every input in that fit, as a part of the mean, on top of its own."""

STEPS = 60
"""Evaluations of f for each D."""

AIM = 0.7
"""Part of Polyak's step (1969), which aims at the upper bound."""

LOWERED = (0.0, 4.0, 16.0, 64.0, 256.0, 1e4, 1e6)
"""D is lowered by so many margins of a Cholesky factorisation where H is singular."""


def upper_point(problem: Problem, start: FloatArray | None) -> FloatArray:
    """(n,) the mask of pruning alone with its weights rounded, or 0 and the start, after local search."""
    free = _free(problem)
    pruned = pruning.upper_point(free)
    kept = pruned != 0
    values = problem.weight if problem.grid is None else problem.grid.nearest(pruned)
    points = [np.where(kept, values, 0.0), np.zeros(problem.n)]
    if start is not None and problem.is_feasible(start):
        points.append(start)
    return min((polish_grid(problem, x) for x in points), key=problem.error)


def bound_by_split(problem: Problem, upper: float, clock: Clock) -> tuple[float, Split]:
    """The best bound found, at least 0, and what proves it, which searches start from.

    upper : error of a known point, which the steps aim at.
    """
    zero = np.zeros(problem.n)
    best = 0.0, Split(Below(zero), zero)
    for d, v in _certificates(problem, upper, clock):
        found = separable_bound(problem, d, v)
        if found > best[0]:
            best = found, Split(Below(d), v)
    return best


def dense(problem: Problem) -> Problem | None:
    """The row without its pattern, a relaxation where 0 is a level everywhere; else None."""
    grid = problem.grid
    if grid is None or not (grid.levels == 0.0).any(axis=1).all():
        return None
    return replace(problem, sparsity=None)


def _free(problem: Problem) -> Problem:
    """Without what the kept inputs are held to."""
    return replace(problem, grid=None, sparsity=replace(problem.pattern, update=True))


def _certificates(problem: Problem, upper: float, clock: Clock) -> Iterator[tuple[FloatArray, FloatArray]]:
    """(D, v) one after the other: that of pruning alone, moved on, then with a D of this relaxation's own."""
    sparsity = problem.pattern
    if sparsity.binding:
        below, relaxed = pruning.bound_by_diagonal(pruning.PrunedRow.of(_free(problem), upper), clock)
        v = relaxed.point - problem.weight
        yield below.d, v
        yield below.d, _climb(problem, below.d, v, upper, clock)
    if problem.n > SHORT:
        return
    weights, v = np.ones(problem.n), np.zeros(problem.n)
    d: FloatArray | None = None
    for _ in range(ROUNDS):
        if clock.ended() is not None:
            return
        d = largest_diagonal(problem.hessian, weights, d0=d)
        v, spread = _aim(problem, d, v, upper, clock)
        proven = _proven(problem.hessian, d)
        yield proven, v
        yield proven, _climb(problem, proven, v, upper, clock)
        if not spread.any():
            return
        weights = spread + EVEN * spread.mean()


def _aim(
    problem: Problem, d: FloatArray, v: FloatArray, upper: float, clock: Clock
) -> tuple[FloatArray, FloatArray]:
    """The best v of Polyak's steps along u* - v, and the spread of the minimisers met, (n,) each."""
    squares, mean, highest, at = np.zeros(problem.n), np.zeros(problem.n), -np.inf, v
    for step in range(STEPS):
        if clock.ended() is not None:
            break
        found = _value(problem, d, v)
        value, u = found.bound, found.minimiser
        if value > highest:
            highest, at = value, v
        direction = u - v
        size = float((problem.hessian @ direction - d * direction) @ direction)
        if not size > 0.0:
            break
        share = 2.0 / (step + 2.0)
        squares += share * (u**2 - squares)
        mean += share * (u - mean)
        # the supergradient is 2 M direction, its length is taken in the metric of M
        v = v + min(1.0, (upper - value) / (2.0 * size)) * AIM * direction
    return at, np.maximum(squares - mean**2, 0.0)


def _climb(problem: Problem, d: FloatArray, v: FloatArray, upper: float, clock: Clock) -> FloatArray:
    """(n,) v moved along Newton's direction for the present mask."""
    pace = Pace(clock)
    return climb(
        _value(problem, d, v),
        lambda v, _: _value(problem, d, v),
        lambda best, r: _newton(problem, d, best.kept, r),
        STEPS if problem.n <= SHORT else STEPS // 2,
        lambda best: pace.ended() or best.bound >= upper,
    ).v


def _newton(problem: Problem, d: FloatArray, kept: BoolArray, r: FloatArray) -> FloatArray:
    """(n,) Newton's step s for r = u* - v; r itself where kept weights are fixed.

    With a fine grid the kept inputs K answer v as free ones do, u_K = -(Mv)_K / d_K, the pruned ones P stay:
    f is quadratic, s_P = r_P and H_KK s_K = D_K r_K - H_KP r_P.
    """
    k = np.flatnonzero(kept)
    if problem.grid is None or not len(k):
        return r
    h, s = problem.hessian, r.copy()
    s[k] = 0.0
    try:
        s[k] = cho_solve(cho_factor(h[np.ix_(k, k)]), d[k] * r[k] - h[k] @ s)
    except LinAlgError:
        return r
    return s


@dataclass(frozen=True, eq=False)
class PatternValue:
    """f at some v."""

    v: FloatArray
    bound: float
    minimiser: FloatArray
    """(n,) u*."""
    kept: BoolArray
    """(n,) inputs that u* keeps."""


def _value(problem: Problem, d: FloatArray, v: FloatArray) -> PatternValue:
    grid, sparsity, w = problem.grid, problem.pattern, problem.weight
    mv = problem.hessian @ v - d * v
    pruned = d * w**2 - 2.0 * mv * w
    if grid is None:
        kept, at = np.zeros(problem.n), np.zeros(problem.n)
    else:
        u = grid.levels[grid.group] - w[:, None]
        cost = d[:, None] * u**2 + 2.0 * mv[:, None] * u
        choice, inputs = cost.argmin(axis=1), np.arange(problem.n)
        kept, at = cost[inputs, choice], u[inputs, choice]
    saving = np.maximum(pruned - kept, 0.0)
    mask = sparsity.best_mask(saving) & (saving > 0.0)
    bound = float(np.where(mask, kept, pruned).sum() - v @ mv)
    return PatternValue(v, bound, np.where(mask, at, -w), mask)


def _proven(h: FloatArray, d: FloatArray) -> FloatArray:
    """D lowered until floating point proves H - D positive semidefinite; fixed values allow negative entries."""
    margin = cholesky_margin(len(h)) * np.diag(h)
    steps = (factor * margin for factor in LOWERED)
    return next((d - step for step in steps if proves_below(h, d - step)), d - np.trace(h))
