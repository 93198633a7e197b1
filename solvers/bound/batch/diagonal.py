"""One diagonal D for all pruned rows of a layer, fitted to some of them: relaxations and sweeps in turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import njit
from pvq.bounds.gram import FloatArray

from ...kernels.blas import inverse_if_positive, is_positive
from ...kernels.digits import shortened
from ...relax.cone import SAFE
from .patterns import Groups
from .relaxation import AtDiagonal, Relaxed, relax

FITTED = 32
"""Rows that D is fitted to, spread over the layer."""


class Course(NamedTuple):
    """How an ascent in D goes."""

    barriers: tuple[float, float]
    """Of the first and last sweep, relative to the mean gain of an input."""
    sweeps: int
    """With a relaxation before each, and one behind the last."""
    first: int
    """Steps of the first relaxation."""
    steps: int
    """Steps of those that go on from it."""


FROM_AFAR = Course((1.5, 0.05), sweeps=7, first=15, steps=5)
"""From `starting_diagonal`, for rows whose gains even out."""

SOONER = FROM_AFAR._replace(sweeps=5)
"""For very long rows: at 4096 inputs 22 s instead of 31, for bounds that are .9 % lower."""

INSIDE = 1e-4
"""The layer's D is nearly as large as H allows; sweeps for one row start a little below."""

NEW = 0.3
"""Part of the newest relaxation in the gains that a sweep goes by; the others fade. An input that is kept
whole or not at all gains nothing, loses D until it is kept in part, and gains much: by the newest gains alone
such inputs go up and down for ever."""

EVEN = 0.1
"""Every input counts as much as this part of the barrier at least, so that no D_i is left behind."""

TOGETHER = 128
"""Inputs after whose steps the rest of the inverse is brought up to date."""

LEAST, MOST = 0.3, 3.0
"""A step multiplies an entry of D by no less and no more."""


def starting_diagonal(inverse: FloatArray) -> FloatArray:
    """(n,) half of the largest multiple of 1 / (H^-1)_ii below H, by power iteration."""
    alone = 1.0 / np.diag(inverse)
    root, v, largest = np.sqrt(alone), np.ones(len(alone)), 1.0
    for _ in range(50):
        v = root * (inverse @ (root * v))
        largest = float(np.linalg.norm(v))
        v /= largest
    return 0.5 * alone / max(largest, 1.0)


def fitted_diagonal(
    h: FloatArray,
    d: FloatArray,
    w: FloatArray,
    groups: Groups,
    ended: Callable[[], bool],
    course: Course = FROM_AFAR,
    state: Relaxed | None = None,
) -> FloatArray | None:
    """(n,) D with nearly the largest mean log bound of some rows w; None where H is singular.

    Parameters
    ----------
    d : (n,) where it starts, H - D positive definite.
    ended : asked before every turn but the first.
    state : relaxations of the rows at d, or close to it; without them the first turn makes some.

    A sweep maximises sum_i a_i log d_i + mu log det(H - D) coordinate by coordinate, with a_i the mean over rows
    of what log f gains by log d_i: price z (1 - z) / f of the inputs that are kept in part, as it was of late.
    """
    best, best_value = d, -np.inf
    gain = np.zeros(len(d))
    barriers = np.geomspace(*course.barriers, course.sweeps).tolist()
    for turn in range(len(barriers) + 1):
        if turn or state is None:
            at = None if turn and ended() else AtDiagonal.of(h, d)
            if at is None:
                break
            state = relax(at, w, groups, course.steps if turn else course.first, state)
        f = np.maximum(state.bound, np.finfo(float).tiny)
        value = float(np.log(f).mean())
        if value > best_value:
            best, best_value = d, value
        if turn == len(barriers):
            break
        between = (state.z > 0) & (state.z < 1)
        ratio = np.divide(state.y * np.sqrt(d), state.z, out=np.zeros_like(state.y), where=between)
        newest = (ratio**2 * state.z * (1 - state.z) / f[:, None]).mean(axis=0)
        gain += (NEW if turn else 1.0) * (newest - gain)
        level = barriers[turn] / len(d)
        moved = _sweep(h, d, gain + EVEN * level, level)
        d = 0.99 * d if moved is None else moved
    return _clearly_below(h, best)


def nearer(
    h: FloatArray,
    d: FloatArray,
    w: FloatArray,
    groups: Groups,
    ended: Callable[[], bool],
    course: Course,
    state: Relaxed | None = None,
) -> AtDiagonal | None:
    """At a diagonal for the row w, (1, n), some sweeps from that of its layer; None where float64 has none."""
    own = fitted_diagonal(h, d * (1 - INSIDE), w, groups, ended, course, state)
    return None if own is None else AtDiagonal.of(h, shortened(own, np.floor))


def _sweep(h: FloatArray, d: FloatArray, gain: FloatArray, mu: float) -> FloatArray | None:
    """D after one sweep; None where H - D is not positive definite."""
    m = h.copy()
    m[np.diag_indices(len(d))] -= d
    p = inverse_if_positive(m)
    if p is None:
        return None
    d = d.copy()
    for first in range(0, len(d), TOGETHER):
        some = slice(first, min(first + TOGETHER, len(d)))
        own = p[some, some]
        steps = np.zeros(some.stop - some.start)
        _steps(own.copy(), gain[some], d[some], mu, steps)
        d[some] += steps
        rest = slice(some.stop, len(d))
        if rest.start < rest.stop:
            left = np.linalg.solve(np.eye(len(steps)) - steps[:, None] * own, np.diag(steps))
            p[rest, rest] += p[rest, some] @ (left @ p[some, rest])
    return d


@njit(cache=True, nogil=True, error_model="numpy")
def _steps(p: FloatArray, gain: FloatArray, d: FloatArray, mu: float, steps: FloatArray) -> None:
    """The exact step of one input after the other, (gain - mu P d) / (P (gain + mu)); p is their (H - D)^-1."""
    m = len(d)
    for i in range(m):
        own = p[i, i]
        step = (gain[i] - mu * own * d[i]) / (own * (gain[i] + mu))
        step = min(max(step, (LEAST - 1.0) * d[i]), (MOST - 1.0) * d[i])
        left = 1.0 - step * own
        if not left > 1e-12:  # H - D would be singular
            continue
        steps[i] = step
        column = p[:, i].copy()
        for j in range(m):
            for k in range(m):
                p[j, k] += step / left * column[j] * column[k]


def _clearly_below(h: FloatArray, d: FloatArray) -> FloatArray | None:
    """D, a little smaller, with H - D clearly positive definite."""
    shrink = SAFE
    while shrink < 0.5:
        m = h.copy()
        m[np.diag_indices(len(d))] -= d * (1 - shrink / 2)
        if is_positive(m):
            return d * (1 - shrink)
        shrink *= 10
    return None
