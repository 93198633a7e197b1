"""Pairs on top of the best diagonal: D couples inputs two by two, where that lets its diagonal grow.

The relaxation is that of the search for masks (`bnb.pairs`). A sweep over the pairs goes for the optimum of a
linear model of its value, which is concave in D; far from there it overshoots, so that only a part of each sweep
is taken, as long as the bound rises.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from pvq.bounds.gram import FloatArray, IntArray
from pvq.bounds.problem import Problem
from pvq.bounds.proof import Below

from ..base import Clock
from ..kernels.cholesky import invert
from ..kernels.sparing import assign
from .ascent import positive_inverse
from .cone import LEAST_D, SAFE, positive
from .node_perspective import Aim, Quadratic
from .pair_ascent import match, sweep
from .pairs import COARSE, PairPoint, relax_pairs
from .pieces import PairBlocks
from .savings import no_savings

INPUTS = 500
"""Longer rows gain .001 to .01 by their pairs in seconds, rows of 384 inputs .02 to .035 in half a second."""

SWEEPS = 10
"""Sweeps at most: more than half of the gain comes with the first five, and 20 add little."""

FIRST, GROW, FALL = 0.3, 1.5, 0.4
"""First part of a sweep that is taken, and its factors after a rise and a fall."""

TRIALS = 3
"""Parts of one sweep that are tried."""

SMALLEST = 0.02
"""The ascent ends where smaller parts than this would be needed."""

BARRIER, EVEN = 0.08, 0.2
"""See `bnb.node_bound`; half the barrier ends lower, as the relaxations get hard to solve."""

ITERATIONS, PRECISION = 60, 1e-3
"""Points per relaxation, and the part of the row's upper bound that is not worth one more."""

DROP = 1e-4
"""A fall by this part of the upper bound is not one."""


def has_pairs(problem: Problem) -> bool:
    """Whether inputs of the row may be coupled: pruned one by one, some kept and some not in every group."""
    sparsity = problem.sparsity
    if sparsity is None or not problem.free_weights or sparsity.units < problem.n or not 1 < problem.n <= INPUTS:
        return False
    size = np.bincount(sparsity.group, minlength=len(sparsity.keep))
    return bool((sparsity.keep >= 1).all() and (sparsity.keep < size).all())


def improve(
    problem: Problem, upper: float, below: Below, x: FloatArray, clock: Clock, sweeps: int = SWEEPS
) -> tuple[Below, FloatArray, float]:
    """A better D for a row for which `has_pairs` holds.

    Parameters
    ----------
    upper : error of a feasible point.
    below : where it starts; inputs are paired unless they are already.
    x : (n,) a good point of the relaxation there.

    Returns
    -------
    D, the relaxation's point at it and its bound.
    """
    if not len(below.pairs):
        below = _matched(problem, below)
    ids, row = _side_by_side(problem, below)
    d, e = _of_pairs(below, ids)
    point, part = x[ids], FIRST
    bound = relax_at(row, d, e, point, PRECISION * upper)
    for _ in range(sweeps):
        if clock.ended() is not None or part < SMALLEST:
            break
        bound, part = ascend(row, d, e, point, upper, bound, part)
    d, e = d * (1 - SAFE), e * (1 - SAFE)
    bound = relax_at(row, d, e, point, PRECISION * upper)
    found, at = np.empty(problem.n), np.empty(problem.n)
    found[ids], at[ids] = d, point
    return Below(found, (), below.pairs, e[: 2 * row.pairs : 2]), at, bound


def relaxed(problem: Problem, upper: float, below: Below, x: FloatArray) -> tuple[FloatArray, float]:
    """The relaxation's point and its bound for a given D, from the point x."""
    ids, row = _side_by_side(problem, below)
    point, at = x[ids], np.empty(problem.n)
    bound = relax_at(row, *_of_pairs(below, ids), point, PRECISION * upper)
    at[ids] = point
    return at, bound


def _matched(problem: Problem, below: Below) -> Below:
    """The same D with its inputs paired: those that are most alike in (H - D)^-1."""
    partner = np.full(problem.n, -1)
    inside, inverse = positive_inverse(problem.hessian, below.d)
    if not inside:
        return below
    match(inverse, 0, problem.pattern.group[problem.pattern.unit], partner)
    first = np.flatnonzero(partner > np.arange(problem.n))
    return Below(below.d, (), np.stack([first, partner[first]], axis=1), np.zeros(len(first)))


class Local(NamedTuple):
    """A row with inputs 2 p and 2 p + 1 a pair for p < pairs: its error is c - 2 b'x + x'Ax."""

    a: FloatArray
    b: FloatArray
    c: float
    pairs: int
    group: IntArray
    """(n,) of each input."""
    keep: IntArray
    variance: FloatArray
    """(n,) diagonal of A."""


def _side_by_side(problem: Problem, below: Below) -> tuple[IntArray, Local]:
    """(n,) the inputs with those of pairs first, and the row in their order."""
    sparsity, b = problem.pattern, problem.hessian @ problem.weight
    paired = below.pairs.ravel()
    ids = np.concatenate([paired, np.setdiff1d(np.arange(problem.n), paired)])
    a = np.ascontiguousarray(problem.hessian[np.ix_(ids, ids)])
    group = sparsity.group[sparsity.unit[ids]]
    c = float(problem.weight @ b)
    return ids, Local(a, b[ids], c, len(below.pairs), group, sparsity.keep, a.diagonal().copy())


def _of_pairs(below: Below, ids: IntArray) -> tuple[FloatArray, FloatArray]:
    """(n,) the diagonal of D, and at the first input of a pair its entry across, in the order of ids."""
    e = np.zeros(len(ids))
    e[: below.pairs.size : 2] = below.across
    return below.d[ids], e


@njit(cache=True, nogil=True, error_model="numpy")
def relax_at(row: Local, d: FloatArray, e: FloatArray, x: FloatArray, precision: float) -> float:
    """The bound at D; x is the start, and then the point of the bound."""
    n = len(d)
    q = row.a.copy()
    for i in range(n):
        q[i, i] -= d[i]
    for i in range(0, 2 * row.pairs, 2):
        q[i, i + 1] -= e[i]
        q[i + 1, i] -= e[i]
    blocks = PairBlocks(row.pairs, d, e, row.group, row.keep)
    point = PairPoint(x, np.empty((n, 2)), no_savings(n), np.empty(n), np.empty(n))
    aim = Aim(ITERATIONS, np.inf, precision / COARSE)
    rest, no_steps = Quadratic(q, row.b, row.c, np.zeros(n)), np.empty((0, 0))
    return relax_pairs(rest, blocks, aim, point, np.empty((n, n)), no_steps)


@njit(cache=True, nogil=True, error_model="numpy")
def ascend(
    row: Local, d: FloatArray, e: FloatArray, x: FloatArray, upper: float, bound: float, part: float
) -> tuple[float, float]:
    """A part of one sweep, where that raises the bound: the bound and the next part; d, e and x are moved."""
    n = len(d)
    work, lower, p, loss = np.empty((n, n)), np.empty((n, n)), np.empty((n, n)), np.empty(n)
    if not positive(row.a, d, e, row.variance, 0.0, n, work, loss):
        return bound, 0.0
    invert(work, n, lower, p)
    new_d, new_e = d.copy(), e.copy()
    moved = PairBlocks(row.pairs, new_d, new_e, row.group, row.keep)
    if not sweep(p, moved, x, EVEN, BARRIER, LEAST_D * row.variance):
        return bound, 0.0
    for _ in range(TRIALS):
        trial_d, trial_e, point = d + part * (new_d - d), e + part * (new_e - e), x.copy()
        if positive(row.a, trial_d, trial_e, row.variance, 0.0, n, work, loss):
            found = relax_at(row, trial_d, trial_e, point, PRECISION * upper)
            if found > bound - DROP * upper:
                assign(d, trial_d)
                assign(e, trial_e)
                assign(x, point)
                return max(bound, found), min(1.0, GROW * part)
        part *= FALL
    return bound, part
