"""The largest diagonal D with H - D positive semidefinite: the one diagonal ascent of the project."""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import FloatArray

from .apart import MATRIX, REAL, TRUTH, VECTOR, apart, entry
from .cholesky import cholesky_margin, factor, invert, subtract_outer
from .sparing import ZERO, assign, constant

BLOCK = 8
"""Rows of P updated at every step; the others take a block's steps at once, which is several times faster."""

SHRINK = (1.0, 1 - 1e-12, 1 - 1e-10, 1 - 1e-8, 1 - 1e-6, 1 - 1e-4, 0.99, 0.9, 0.5)
"""Factors tried, in turn, on a diagonal that fails the test; a point inside the barrier passes at the first."""


@apart(None, MATRIX, VECTOR, VECTOR, REAL, REAL)
def ascend(p: FloatArray, d: FloatArray, weights: FloatArray, mu: float, least: float) -> None:
    """`ascend_within` with one lower limit for all d_i, 0 or -inf, and no upper limit."""
    ascend_within(p, d, weights, mu, constant(len(d), least), constant(len(d), np.inf))


@apart(None, MATRIX, VECTOR, VECTOR, REAL, VECTOR, VECTOR)
def ascend_within(
    p: FloatArray, d: FloatArray, weights: FloatArray, mu: float, low: FloatArray, high: FloatArray
) -> None:
    """One sweep of coordinate ascent on weights'd + mu log det(H - diag(d)) over low <= d <= high, in place.

    With P = (H - D)^-1, log det(H - D - t e_i e_i') = log det(H - D) + log(1 - t P_ii), which gives the exact step
    t = 1 / P_ii - mu / c_i, clipped to the limits; P follows by Sherman-Morrison.

    Parameters
    ----------
    p : (n, n) C-contiguous, (H - D)^-1, updated.
    d : (n,) updated.
    weights : (n,) c >= 0; d_i falls to `low` where c_i = 0 (do not combine c_i = 0 with -inf).
    mu : barrier weight > 0. At the maximiser c'd is at most n mu below its largest value.
    low, high : (n,) limits of d. Narrow ones make a trust region for weights that themselves change with d.
    """
    n = len(d)
    steps, factors = np.empty((BLOCK, n)), np.empty((BLOCK, n))
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        count = ZERO
        for i in range(start, stop):
            clipped = True
            t = low[i] - d[i]
            if not p[i, i] > 0.0:  # rounding has eaten it: H is singular to working precision
                continue
            if weights[i] > 0.0:
                free = 1.0 / p[i, i] - mu / weights[i]
                if free > t:
                    t, clipped = min(free, high[i] - d[i]), False
            if t == 0.0 or not np.isfinite(t):
                continue
            # 1 - t P_ii is mu P_ii / c_i > 0 for a free step and >= 1 for a clipped one, where t <= 0
            left = 1.0 - t * p[i, i]
            if not left > 0.0:  # rounded to 0: the step would end on the boundary, where P is infinite
                continue
            d[i] = low[i] if clipped else d[i] + t
            for j in range(n):
                steps[count, j] = p[i, j]
                factors[count, j] = -t / left * p[i, j]
            count += 1
            for row in range(start, stop):
                f = factors[count - 1, row]
                for j in range(n):
                    p[row, j] -= f * steps[count - 1, j]
        subtract_outer(p, ZERO, start, factors, steps, count)
        subtract_outer(p, stop, n, factors, steps, count)


@apart(TRUTH, MATRIX, VECTOR, MATRIX)
def inverse_of_difference(h: FloatArray, d: FloatArray, p: FloatArray) -> bool:
    """p = (H - D)^-1, freshly computed; False (p undefined) if H - D is not numerically positive definite.

    Also where the inverse has no positive finite diagonal, which is as good as singular.
    """
    n = len(d)
    r = h.copy()
    for i in range(n):
        r[i, i] -= d[i]
    if not factor(r, n):
        return False
    invert(r, n, np.empty((n, n)), p)
    sound = True
    for i in range(n):
        sound = sound and 0.0 < p[i, i] < np.inf
    return sound


@entry()
def _maximise(
    h: FloatArray, d: FloatArray, weights: FloatArray, sweeps: int, first: float, last: float, least: float
) -> None:
    """Sweeps with mu falling geometrically from first to last times the mean of c_i / (H^-1)_ii; d in place."""
    n = len(d)
    p = np.empty((n, n))
    if not inverse_of_difference(h, np.zeros(n), p):
        d[:] = 0.0
        return
    unit = 0.0
    for i in range(n):
        unit += weights[i] / p[i, i] / n  # d_i <= 1 / (H^-1)_ii, so this is an upper bound of the mean of c_i d_i
    known = np.zeros(n)
    if unit <= 0.0:
        d[:] = 0.0
        return
    for s in range(sweeps):
        # a fresh inverse each sweep: the rank-one updates lose digits as H - D approaches singularity
        if not inverse_of_difference(h, d, p):
            for i in range(n):
                d[i] = min(d[i], known[i]) * (1 - 1e-6)
            if not inverse_of_difference(h, d, p):
                assign(d, known)
                return
        assign(known, d)
        ascend(p, d, weights, unit * first * (last / first) ** (s / max(1, sweeps - 1)), least)
    if not inverse_of_difference(h, d, p):
        assign(d, known)


@apart(TRUTH, MATRIX, VECTOR, REAL, python=True)
def is_below(h: FloatArray, d: FloatArray, slack: float) -> bool:
    """Whether a Cholesky factorisation succeeds on H - D + slack |H|_diag (slack < 0: a margin)."""
    n = len(d)
    r = h.copy()
    for i in range(n):
        r[i, i] += slack * (h[i, i] + abs(d[i])) - d[i]
    return factor(r, n)


def proves_below(h: FloatArray, d: FloatArray) -> bool:
    """Whether floating point proves H - D positive semidefinite (see `cholesky_margin`); False may be rounding."""
    live = np.flatnonzero(h.diagonal() > 0)
    if (d[h.diagonal() <= 0] > 0).any():
        return False
    block = np.ascontiguousarray(h[np.ix_(live, live)])
    return bool(is_below(block, np.ascontiguousarray(d[live]), -2 * cholesky_margin(len(live))))


def largest_diagonal(
    h: FloatArray,
    weights: FloatArray | None = None,
    d0: FloatArray | None = None,
    sweeps: int = 16,
    accuracy: float = 5e-3,
    nonnegative: bool = True,
) -> FloatArray:
    """A diagonal d with H - diag(d) PSD that nearly maximises weights'd.

    Barrier coordinate ascent (`ascend`) with a falling barrier. It works on H scaled to unit diagonal plus the
    shift s = `cholesky_margin(n)`, and takes 3 s h_ii off d at the end, so that the result passes `proves_below`
    wherever H itself is regular. On directions where H is singular to working precision nothing in floating point
    can prove more than H - D + 4 s diag(H) PSD; that much is always checked, and d is shrunk until it holds.
    A bound then loses at most 4 s sum_i h_ii u_i^2 (n = 112: 1e-11), which its user states as numerical slack.

    Parameters
    ----------
    h : (n, n) symmetric positive semidefinite.
    weights : (n,) c >= 0, default ones.
    d0 : (n,) warm start with H - diag(d0) PSD; then the barrier starts low.
    sweeps : passes over the coordinates, each O(n^3).
    accuracy : final barrier as a fraction of the mean c_i / (H^-1)_ii. Smaller is not better unless the sweeps
        grow too: coordinate steps jam at the boundary (16 and 5e-3 end 1% below the largest, 60 and 1e-3 0.3%).
    nonnegative : whether d >= 0 is required.

    Returns
    -------
    (n,) d.
    """
    full = np.zeros(len(h))
    live = np.flatnonzero(h.diagonal() > 0)
    n = len(live)
    if n == 0:
        return full
    size = h.diagonal()[live]
    margin = cholesky_margin(n)
    root = np.sqrt(size)
    scaled = h[np.ix_(live, live)] / np.outer(root, root)
    scaled[np.diag_indices(n)] = 1.0 + margin
    c = (np.ones(len(h)) if weights is None else np.asarray(weights, dtype=np.float64))[live] * size
    largest = c.max()
    if not largest > 0:
        return full
    # a weight of exactly 0 would send d_i to its floor, which is -inf where negative values are allowed
    c = np.maximum(c / largest, 1e-9)
    d = np.zeros(n) if d0 is None else np.asarray(d0, dtype=np.float64)[live] / size * (1 - 1e-6)
    least = 0.0 if nonnegative else -np.inf
    _maximise(scaled, d, c, sweeps, 1.0 if d0 is None else max(accuracy, 0.05), accuracy, least)
    d -= 3 * margin
    if nonnegative:
        d = np.maximum(d, 0.0)
    scaled[np.diag_indices(n)] = 1.0
    # strictly provable if H is, else up to the rounding of H itself
    slack = -2 * margin if is_below(scaled, np.minimum(d, 0.0), -2 * margin) else 4 * margin
    for shrink in SHRINK:
        candidate = np.where(d > 0, shrink * d, d)
        if is_below(scaled, candidate, slack):
            full[live] = candidate * size
            return full
    return full
