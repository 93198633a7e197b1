"""Pruning and quantization together: enumeration, and where it is cut short the best of three relaxations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pvq.bounds.cholesky import cholesky_margin
from pvq.bounds.diagonal import largest_diagonal, proves_below
from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem
from pvq.bounds.separable import separable_bound

from ..base import Clock, Options
from ..result import Outcome, Status
from .enumeration import solve_grid
from .masks import solve_masks

SHARE = 0.4
"""Part of the time left that enumeration takes, then pruning alone; quantization alone has the rest."""

ROUNDS = 3
"""D is computed so many times: for equal weights, then for what moves in the relaxation at hand."""

STEPS = 60
"""Supergradient steps in v for each D."""

LOWERED = (0.0, 4.0, 16.0, 64.0, 256.0, 1e4, 1e6)
"""D is lowered by so many margins of a Cholesky factorisation where H is singular."""

EVEN = 0.3
"""Weight of every input, as a part of the mean, on top of its own."""


def solve_joint(problem: Problem, options: Options, start: FloatArray | None) -> Outcome:
    """Enumerate; if that is cut short, raise its bound by those of the relaxations, all within the time limit.

    Leaving out the grid, or (where 0 is a level) the pattern, leaves a problem with a smaller optimum, whose own
    search has a lower bound at any time; `joint_bound` has both constraints in one certificate.
    """
    clock = Clock(options)
    outcome = solve_grid(
        problem, replace(_within(options, clock, SHARE), report=options.report, prove=options.prove), start
    )
    if outcome.status is Status.OPTIMAL or options.stop.is_set() or outcome.x is None:
        return outcome
    grid, sparsity = problem.grid, problem.sparsity
    assert grid is not None
    assert sparsity is not None
    lowers = [outcome.lower, joint_bound(problem, problem.error(outcome.x), clock)]
    free = Problem(problem.weight, problem.gram, None, replace(sparsity, update=True))
    if sparsity.binding:
        lowers.append(solve_masks(free, _within(options, clock, SHARE), None).lower)
    if (grid.levels == 0.0).any(axis=1).all():
        dense = Problem(problem.weight, problem.gram, grid, None)
        lowers.append(solve_grid(dense, _within(options, clock, 1.0), None).lower)
    return replace(outcome, lower=max(lowers), proof=None)


def _within(options: Options, clock: Clock, share: float) -> Options:
    """Limits of one of the searches: a share of the time left; it reports nothing, being of another problem."""
    left = None if options.time_limit is None else max(0.0, share * clock.left)
    return replace(options, time_limit=left, report=None, prove=False)


def joint_bound(problem: Problem, upper: float, clock: Clock) -> float:
    """Lower bound of a row with a grid and a pattern, 0 at least.

    For D with H - D = M positive semidefinite and any v, e >= -v'Mv + min sum_i [d_i u_i^2 + 2 (Mv)_i u_i], where
    each group keeps the inputs that save most and a kept input takes its best level: both constraints at once,
    which neither pruning alone nor quantization alone has. The bound is concave in v with supergradient
    2 M (u - v) at the minimiser u, and in D with u_i^2 - v_i^2; steps in v are those of Polyak (1969).

    Parameters
    ----------
    problem : a row with grid and pattern.
    upper : error of a known point, which the steps aim at.
    clock : looked at between steps; what is proven until then is returned.
    """
    h = np.ascontiguousarray(problem.hessian)
    weights = np.ones(problem.n)
    best, v = 0.0, np.zeros(problem.n)
    d: FloatArray | None = None
    for _ in range(ROUNDS):
        if clock.ended() is not None:
            break
        d = largest_diagonal(h, weights, d0=d)
        squares, mean, highest, at = np.zeros(problem.n), np.zeros(problem.n), -np.inf, v
        target = upper
        for step in range(STEPS):
            if clock.ended() is not None:
                break
            mv = h @ v - d * v
            u, value = _minimiser(problem, d, mv)
            value -= float(v @ mv)
            if value > highest:
                highest, at = value, v
            direction = u - v
            slope = h @ direction - d * direction
            size = float(slope @ direction)  # supergradient 2 M direction, in the metric of M
            if not size > 0.0:
                break
            share = 2.0 / (step + 2.0)
            squares += share * (u**2 - squares)
            mean += share * (u - mean)
            v = v + min(1.0, (target - value) / (2.0 * size)) * 0.7 * direction
        v = at
        best = max(best, separable_bound(problem, _proven(h, d), v))
        spread = np.maximum(squares - mean**2, 0.0)
        if not spread.any():
            break
        weights = spread + EVEN * spread.mean()
    return best


def _proven(h: FloatArray, d: FloatArray) -> FloatArray:
    """D lowered until floating point proves H - D positive semidefinite; a grid allows negative entries."""
    margin = cholesky_margin(len(h)) * np.diag(h)
    steps = (factor * margin for factor in LOWERED)
    return next((d - step for step in steps if proves_below(h, d - step)), d - np.trace(h))


def _minimiser(problem: Problem, d: FloatArray, mv: FloatArray) -> tuple[FloatArray, float]:
    """u of the least sum of d_i u_i^2 + 2 (Mv)_i u_i over the constraints, and that sum."""
    grid, sparsity, w = problem.grid, problem.sparsity, problem.weight
    assert grid is not None
    assert sparsity is not None
    u = grid.levels[grid.group] - w[:, None]
    cost = d[:, None] * u**2 + 2.0 * mv[:, None] * u
    choice = cost.argmin(axis=1)
    inputs = np.arange(problem.n)
    kept, pruned = cost[inputs, choice], d * w**2 - 2.0 * mv * w
    saving = np.maximum(pruned - kept, 0.0)
    mask = sparsity.best_mask(saving) & (saving > 0.0)
    return np.where(mask, u[inputs, choice], -w), float(np.where(mask, kept, pruned).sum())
