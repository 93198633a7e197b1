"""Swaps of a pruned row by what they change exactly, many at a time: for rows that have seconds.

With kept inputs K, pruned ones P, x = H_KK^-1 b_K, p_i = (H_KK^-1)_ii, T = H_KK^-1 H_KP, r = b_P - H_PK x and
a_j = H_jj - H_jK T_j, pruning i and keeping j changes the least error by

    x_i^2 / p_i - (r_j + T_ij x_i / p_i)^2 / (a_j + T_ij^2 / p_i).

The best swaps of different inputs are made together, and fewer of them where together they do not help.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pvq.bounds.gram import BoolArray, FloatArray, IntArray
from pvq.bounds.problem import Problem

from ...base import Clock
from ...kernels.blas import inverse_if_positive
from ...limits import Pace
from .patterns import Groups

FIRST, MOST = 64, 256
"""Swaps that are made together at first, and at most."""

ROUNDS = 40
"""Factorisations of H_KK at most; rows of 2048 inputs take 10 to 20."""

GAIN = 1e-6
"""A swap that gains less than this part of the error is not made."""

PIVOT = 1e-10
"""Least a_j, in parts of H_jj, that is not taken for rounding."""


class Swaps(NamedTuple):
    """A mask's error and its best swaps, the best one first; no input is in two of them."""

    error: float
    out: IntArray
    into: IntArray


def exchanged(problem: Problem, mask: BoolArray, groups: Groups, clock: Clock) -> BoolArray:
    """(n,) a mask that is at least as good, in the groups of a pattern whose units are single inputs."""
    group = np.empty(len(mask), np.int64)
    group[groups.inputs] = np.repeat(np.arange(len(groups.keep)), np.diff(groups.start))
    b, pace, together = problem.hessian @ problem.weight, Pace(clock), FIRST
    known = None if pace.ended() else _swaps(problem, b, mask, group)
    for _ in range(ROUNDS):
        if known is None or together == 0 or not len(known.out) or pace.ended():
            break
        together = min(together, len(known.out))
        trial = mask.copy()
        trial[known.out[:together]], trial[known.into[:together]] = False, True
        found = _swaps(problem, b, trial, group)
        if found is not None and found.error < known.error:
            mask, known, together = trial, found, min(2 * together, MOST)
        else:
            together = max(1, together // 4) if together > 1 else 0
    return mask


def _swaps(problem: Problem, b: FloatArray, mask: BoolArray, group: IntArray) -> Swaps | None:
    """None where H_KK is singular to working precision."""
    h, kept, pruned = problem.hessian, np.flatnonzero(mask), np.flatnonzero(~mask)
    inverse = inverse_if_positive(h[np.ix_(kept, kept)])
    if inverse is None:
        return None
    across = h[np.ix_(kept, pruned)]
    x, t, p = inverse @ b[kept], inverse @ across, inverse.diagonal()[:, None]
    error = problem.reference - float(b[kept] @ x)
    left = h.diagonal()[pruned] - np.einsum("ij,ij->j", across, t) + t * t / p
    right = b[pruned] - x @ across + t * (x[:, None] / p)
    possible = (group[kept][:, None] == group[pruned]) & (left > PIVOT * h.diagonal()[pruned])
    gain = np.divide(right * right, left, out=np.zeros_like(left), where=possible) - x[:, None] ** 2 / p
    gain[~possible] = 0.0
    if not gain.size:
        return Swaps(error, kept[:0], kept[:0])
    best = gain.argmax(axis=1)
    size = gain[np.arange(len(kept)), best]
    order = np.argsort(-size, kind="stable")
    order = order[size[order] > GAIN * abs(error)]
    _, first = np.unique(best[order], return_index=True)  # of those that want the same input, the best one
    chosen = order[np.sort(first)]
    return Swaps(error, kept[chosen], pruned[best[chosen]])
