"""The separable lower bound of one certificate (D, v): the minimum over each coordinate, exactly."""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import FloatArray
from pvq.bounds.problem import Problem


def separable_bound(problem: Problem, d: FloatArray, v: FloatArray, box: bool = True) -> float:
    """Lower bound of min e(x) from any v and any D with M = H - D positive semidefinite (which the caller proves).

    With u = x - w: u'Mu >= 2 v'Mu - v'Mv, hence e(x) >= -v'Mv + sum_i [ d_i u_i^2 + 2 (Mv)_i u_i ], whose minimum
    over C separates: over a grid each coordinate takes its best level, under a pattern each group keeps the units
    that save most. It holds up to the rounding of these sums, which is taken off.

    Parameters
    ----------
    d : (n,) diagonal of D; negative values are allowed with a grid or fixed weights.
    v : (n,)
    box : False extends a uniform grid to all multiples of its step (the problem of Park and Boyd, a relaxation).

    Returns
    -------
    The bound, -inf where a free weight has d_i < 0, or d_i = 0 with (Mv)_i != 0.
    """
    w, sparsity = problem.weight, problem.sparsity
    mv = problem.hessian @ v - d * v
    pruned = d * w**2 - 2 * mv * w
    if problem.grid is not None:
        kept = _best_levels(problem, d, mv) if box else _best_multiples(problem, d, mv)
        if sparsity is not None:
            kept = np.minimum(kept, pruned)
    elif sparsity is not None and sparsity.update:
        kept = np.minimum(_best_free(d, mv), pruned)  # <= but for rounding
    else:
        kept = np.minimum(0.0, pruned)  # an input of a kept block may still be 0
    terms = kept
    if sparsity is not None:
        if np.isneginf(kept).any():
            return -np.inf
        # kept <= pruned coordinate by coordinate, so the units that save most are kept
        terms = np.where(sparsity.best_mask(pruned - kept), kept, pruned)
    # n products of n terms each, and their sums: n eps relative to the absolute values, twice
    size = np.abs(v) @ np.abs(problem.hessian) @ np.abs(v) + np.abs(d) @ v**2
    size += np.abs(d) @ w**2 + 2 * np.abs(mv) @ np.abs(w) + np.abs(terms).sum()
    rounding = 2 * problem.n * np.finfo(np.float64).eps * float(size)
    return float(terms.sum() - v @ mv) - rounding


def _best_levels(problem: Problem, d: FloatArray, mv: FloatArray) -> FloatArray:
    """(n,) minimum over the levels of d u^2 + 2 (Mv) u."""
    grid = problem.levels
    best = np.empty(problem.n)
    for g, levels in enumerate(grid.levels):
        inputs = np.flatnonzero(grid.group == g)
        u = levels[None, :] - problem.weight[inputs, None]
        best[inputs] = (d[inputs, None] * u**2 + 2 * mv[inputs, None] * u).min(axis=1)
    return best


def _best_multiples(problem: Problem, d: FloatArray, mv: FloatArray) -> FloatArray:
    """(n,) the same over first level + step * all integers: the two neighbours of the vertex u = -(Mv) / d."""
    grid, w = problem.levels, problem.weight
    first = grid.levels[grid.group, 0]
    step = (grid.levels[grid.group, -1] - first) / (grid.count - 1)
    flat = (d == 0) & (mv == 0)
    vertex = np.divide(-mv, d, out=np.zeros(problem.n), where=d > 0)
    below = np.floor((w + vertex - first) / step)
    values = []
    for k in (-1, 0, 1, 2):  # one more on either side for the rounding of the division
        u = first + step * (below + k) - w
        values.append(d * u**2 + 2 * mv * u)
    return np.where(d > 0, np.min(values, axis=0), np.where(flat, 0.0, -np.inf))


def _best_free(d: FloatArray, mv: FloatArray) -> FloatArray:
    """(n,) minimum over all u: -(Mv)^2 / d."""
    free = np.where(mv == 0, 0.0, -np.inf)
    return np.where(
        d > 0, -np.divide(mv**2, d, out=np.zeros(len(d)), where=d > 0), np.where(d == 0, free, -np.inf)
    )
