"""Swaps of all rows of a chunk in lockstep: products of the chunk with H, where a row of its own factors H_KK.

A round exchanges in every row the pruned inputs that promise most for the kept ones that cost least, and takes
some steps of conjugate gradients on the kept weights. What is reached is the error of a feasible point, so that a
round is judged by it however far the steps are from the least error on their support. Rounds only choose: they
take numbers of 32 bits, in which a product takes half the time, and weights are refined in 64 bits behind them.

Inputs are scaled by the roots of their conditional curvatures 1 / (H^-1)_ii and rows by that of w'Hw. The gain of
a pruned input is about r_i^2 then, the loss of a kept one x_i^2, and float32 has room for all sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit
from pvq.bounds.gram import BoolArray, FloatArray, Gram, IntArray
from pvq.bounds.problem import Problem

from ...base import Clock
from .patterns import Groups

Single = npt.NDArray[np.float32]

SHARE, ROUNDS = 16, 60
"""The first swap exchanges a SHARE-th of what is kept; halved where it does not help, for so many rounds."""

STEPS = 16
"""Of conjugate gradients in a round. Errors of the points above those that exact solutions choose, at 576 to 2048
inputs: 8 steps .6 to 3 %, 12 steps 0 to .8 %, 16 steps -.2 to .5 %."""

ROUGH = 8
"""The same for a point that is no more than a point: errors .3 to 8 % above the least on its inputs."""

GAIN = 1e-6
"""A swap that gains less than this part of the error ends the search of its size."""

ZERO = 1e-13
"""Errors of this part of w'Hw are rounding."""

REFINED, BLOCKS = 8, 5
"""Steps in 64 bits, and how often so many at most, until they gain less than `GAIN` of the error. Rows that gain
more until the end have an H that steps are too slow for: eigenvalues from 1 to 1e5 evenly in their logs, say."""


@dataclass(frozen=True, eq=False)
class Scaled:
    """H in the scale of the conditional curvatures, for rounds."""

    root: FloatArray
    """(n,) roots of the curvatures."""
    narrow: Single
    """(n, n)."""


def scaled(gram: Gram, curvature: FloatArray) -> Scaled:
    """Made once for a Gram matrix; curvature (n,) is 1 / (H^-1)_ii."""

    def make() -> Scaled:
        root = np.sqrt(curvature)
        narrow = np.empty(gram.matrix.shape, np.float32)
        for i, row in enumerate(gram.matrix):
            narrow[i] = row / (root * root[i])
        return Scaled(root, narrow)

    return gram.memo(scaled, make)


def swapped_rows(
    problems: Sequence[Problem],
    curvature: FloatArray,
    groups: Groups,
    score: FloatArray,
    x: FloatArray,
    clock: Clock,
    swaps: bool = True,
) -> tuple[FloatArray, BoolArray]:
    """(rows, n) feasible points: the inputs of largest score in every group, then swaps of many at a time.

    Beside them (rows,) whether their weights are the best on their support, to `GAIN`: else others should look.

    Parameters
    ----------
    problems : rows of one Gram matrix and pattern, whose units are single inputs with free weights.
    score, x : (rows, n) what inputs are worth, and weights to start from.
    swaps : without, weights are re-optimised on the inputs of largest score, in 32 bits: a point and no more.
    """
    h, at = problems[0].hessian, scaled(problems[0].gram, curvature)
    w = np.array([problem.weight for problem in problems])
    unit = np.sqrt(np.maximum(np.einsum("ri,ri->r", w @ h, w), np.finfo(np.float64).tiny))[:, None]
    to = at.root / unit
    kept = np.zeros(w.shape, dtype=bool)
    _keep_best(score, groups, kept)
    with np.errstate(all="ignore"):  # float32 may not carry a row: it stays where it is
        narrow, small = np.where(kept, x * to, 0.0).astype(np.float32), (w * to).astype(np.float32)
        if swaps:
            _rounds(at.narrow, small, narrow, kept, groups, clock)
            x = np.where(kept, narrow / to, 0.0)
            enough = _refined(h, at, w, x, kept, ZERO * unit[:, 0] ** 2, clock)
        else:
            _descended(at.narrow, small, narrow, kept, ROUGH)
            x = np.where(kept, narrow / to, 0.0)
            enough = np.asarray(np.isfinite(x).all(axis=1))
    return np.where(enough[:, None], x, 0.0), enough


def _rounds(
    h: Single,
    w: Single,
    x: Single,
    kept: BoolArray,
    groups: Groups,
    clock: Clock,
) -> None:
    """Better points x, (rows, n), and masks, both written."""
    e, r = _descended(h, w, x, kept, STEPS)
    size = np.maximum(1, kept.sum(axis=1) // SHARE)
    for _ in range(ROUNDS):
        rows = np.flatnonzero(size > 0)
        if not len(rows) or clock.ended() is not None:
            break
        trial, moved = kept[rows], x[rows]
        size[rows] = _exchange(trial, moved, r[rows], groups, size[rows])
        reached, residual = _descended(h, w[rows], moved, trial, STEPS)
        better = reached < e[rows] * (1 - GAIN)
        taken = rows[better]
        kept[taken], x[taken], e[taken], r[taken] = trial[better], moved[better], reached[better], residual[better]
        size[rows[~better]] //= 2


def _descended(
    h: Single,
    w: Single,
    x: Single,
    kept: BoolArray,
    steps: int,
) -> tuple[FloatArray, Single]:
    """Steps from x, (rows, n), which is written: (rows,) errors and (rows, n) residuals (w - x)'H."""
    r = np.asarray((w - x) @ h, dtype=np.float32)
    p, square = np.zeros_like(x), np.zeros(len(x))
    _direct(r, kept, p, square)
    for _ in range(steps):
        _step(x, r, kept, p, p @ h, square)
    return _errors(w, x, r), r


def _refined(
    h: FloatArray, at: Scaled, w: FloatArray, x: FloatArray, kept: BoolArray, zero: FloatArray, clock: Clock
) -> BoolArray:
    """Steps in 64 bits from x, (rows, n), which is written: (rows,) whether they were enough, or time is over.

    zero : (rows,) errors that count as none.
    """
    root, rows, e = at.root, np.arange(len(x)), np.full(len(x), np.inf)
    y, r, own = x * root, (w - x) @ h / root, kept
    p, square = np.zeros_like(y), np.zeros(len(y))
    _direct(r, own, p, square)
    for block in range(BLOCKS):
        for _ in range(REFINED):
            _step(y, r, own, p, (p / root) @ h / root, square)
        reached = _errors(w[rows] * root, y, r)
        x[rows], left = y / root, ~(reached >= e[rows] * (1 - GAIN)) & ~(reached <= zero[rows])
        e[rows] = reached
        rows, y, r, own, p, square = rows[left], y[left], r[left], own[left], p[left], square[left]
        if not len(rows) or (block > 0 and clock.ended() is not None):
            return np.isfinite(x).all(axis=1) & np.isfinite(e)
    e[rows] = np.nan
    return np.isfinite(e)


@njit(cache=True, nogil=True, error_model="numpy")
def _direct(r: np.ndarray, kept: BoolArray, p: np.ndarray, square: FloatArray) -> None:
    """p = r at kept inputs, the first direction, and its square."""
    for i in range(len(r)):
        square[i] = 0.0
        for j in range(r.shape[1]):
            if kept[i, j]:
                p[i, j] = r[i, j]
                square[i] += r[i, j] * r[i, j]


@njit(cache=True, nogil=True, error_model="numpy")
def _step(
    x: np.ndarray, r: np.ndarray, kept: BoolArray, p: np.ndarray, hp: np.ndarray, square: FloatArray
) -> None:
    """One step along p, whose product with H is hp, and the next direction."""
    n = x.shape[1]
    for i in range(len(x)):
        curved = 0.0
        for j in range(n):
            curved += p[i, j] * hp[i, j]
        if not (curved > 0.0 and square[i] > 0.0):
            continue
        far = p.dtype.type(square[i] / curved)
        new = 0.0
        for j in range(n):
            x[i, j] += far * p[i, j]
            r[i, j] -= far * hp[i, j]
            own = r[i, j] if kept[i, j] else p.dtype.type(0.0)
            new += own * own
        turn = p.dtype.type(new / square[i])
        square[i] = new
        for j in range(n):
            own = r[i, j] if kept[i, j] else p.dtype.type(0.0)
            p[i, j] = own + turn * p[i, j]


@njit(cache=True, nogil=True, error_model="numpy")
def _errors(w: np.ndarray, x: np.ndarray, r: np.ndarray) -> FloatArray:
    """(rows,) (w - x)'r."""
    total = np.zeros(len(x))
    for i in range(len(x)):
        for j in range(x.shape[1]):
            total[i] += (w[i, j] - x[i, j]) * r[i, j]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _keep_best(score: FloatArray, groups: Groups, kept: BoolArray) -> None:
    """The inputs of largest score in every group."""
    for i in range(len(score)):
        for g in range(len(groups.keep)):
            inputs = groups.inputs[groups.start[g] : groups.start[g + 1]]
            order = np.argsort(-score[i][inputs], kind="mergesort")
            for t in range(groups.keep[g]):
                kept[i, inputs[order[t]]] = True


@njit(cache=True, nogil=True, error_model="numpy")
def _exchange(kept: BoolArray, x: np.ndarray, r: np.ndarray, groups: Groups, most: IntArray) -> IntArray:
    """Make at most `most` exchanges in every row, within groups, the most promising first; how many they are."""
    n = kept.shape[1]
    out, into, change = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)
    whole, none = np.empty(n, np.int64), np.empty(n, np.int64)
    made = np.zeros(len(kept), np.int64)
    for i in range(len(kept)):
        found = 0
        for g in range(len(groups.keep)):
            a = b = 0
            for k in range(groups.start[g], groups.start[g + 1]):
                j = groups.inputs[k]
                if kept[i, j]:
                    whole[a] = j
                    a += 1
                else:
                    none[b] = j
                    b += 1
            for t in range(min(most[i], a, b)):
                least, best = t, t
                for s in range(t + 1, a):
                    if abs(x[i, whole[s]]) < abs(x[i, whole[least]]):
                        least = s
                for s in range(t + 1, b):
                    if abs(r[i, none[s]]) > abs(r[i, none[best]]):
                        best = s
                whole[t], whole[least] = whole[least], whole[t]
                none[t], none[best] = none[best], none[t]
                lost, gained = x[i, whole[t]], r[i, none[t]]
                if not lost * lost < gained * gained:
                    break
                out[found], into[found], change[found] = whole[t], none[t], lost * lost - gained * gained
                found += 1
        made[i] = min(most[i], found)
        for t in range(made[i]):
            best = t
            for s in range(t + 1, found):
                if change[s] < change[best]:
                    best = s
            out[t], out[best] = out[best], out[t]
            into[t], into[best] = into[best], into[t]
            change[best] = change[t]
            kept[i, out[t]], kept[i, into[t]] = False, True
            x[i, out[t]] = 0.0
    return made
