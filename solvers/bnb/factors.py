"""Compiled preparation of an enumeration: the order of the inputs, conditional factors, diagonals below H."""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import BoolArray, FloatArray, IntArray

from ..kernels.apart import MATRIX, apart, entry, inner
from ..kernels.cholesky import factor, invert, invert_factor, subtract, subtract_outer
from ..kernels.diagonal import ascend, inverse_of_difference, is_below
from ..kernels.sparing import NONE, ZERO, assign
from .uneven import nearest

EPS = 2.0**-52
FRESH_BARRIERS = np.geomspace(1.0, 5e-3, 16)
"""Barrier weights of the sweeps from scratch, relative to the mean of c_i / (H^-1)_ii."""
LEVEL_BARRIERS = 0.1, 1e-3
"""First and last of the sweeps where the level above has left its diagonal: a few do what 16 do from scratch."""
FRESH = 8
"""Levels between two fresh inverses: rank-one updates lose digits."""
PENDING = 32
"""Inputs decided before the inverse is updated for all of them: else a long row waits for memory."""
OUTSIDE = 60.0
"""See `decision_order`; a rounding error of half a step has the mean square 1 / 12, so this is 5 in that unit."""
SHRINK = np.array([1.0, 1 - 1e-9, 1 - 1e-6, 1 - 1e-3, 0.9])
"""Factors tried, in turn, on a diagonal that fails the test of Cholesky."""


@apart(MATRIX, MATRIX, python=True)
def cholesky(h: FloatArray) -> FloatArray:
    """Upper R with H = R'R; where rounding makes a pivot fail, of H plus a multiple of its rounding error."""
    n = len(h)
    shift = 0.0
    while True:
        r = h.copy()
        for i in range(n):
            r[i, i] += shift * h[i, i]
        if factor(r, n):
            return r
        shift = max(2 * shift, n * EPS)


@apart(MATRIX, MATRIX, python=True)
def inverse(h: FloatArray) -> FloatArray:
    """H^-1, of H plus a multiple of its rounding error where it is singular."""
    n = len(h)
    p = np.empty((n, n))
    invert(cholesky(h), n, np.empty((n, n)), p)
    return p


@entry()
def decision_order(
    inverse: FloatArray, weight: FloatArray, values: FloatArray, count: IntArray, group: IntArray, step: FloatArray
) -> IntArray:
    """(n,) inputs by position, the last decided first, for a row on a grid.

    Next comes the input with the largest variance given those still undecided (Wolniansky et al., "V-BLAST",
    1998), in units of its step, times 1 + OUTSIDE o^2: o is how many steps its conditional centre lies outside
    the range of its values when every decision so far took the nearest value. Deciding it adds that much error at
    once, whatever the others do.
    """
    n = len(inverse)
    p = inverse.copy()
    variance, s = np.empty(n), weight.copy()
    for i in range(n):
        variance[i] = p[i, i]
    left = np.ones(n, np.bool_)
    order = np.empty(n, np.int64)
    columns, factors = np.empty((PENDING, n)), np.empty((PENDING, n))
    pending = ZERO
    for position in range(n - 1, -1, -1):
        best, least = NONE, np.inf
        for i in range(n):
            if not left[i]:
                continue
            g = group[i]
            outside = max(values[g, 0] - s[i], s[i] - values[g, count[g] - 1], 0.0) / step[i]
            score = variance[i] / (step[i] * step[i] * (1.0 + OUTSIDE * outside * outside))
            if best < 0 or score < least:
                best, least = i, score
        order[position] = best
        left[best] = False
        g = group[best]
        move = s[best] - values[g, nearest(values[g], count[g], s[best])]
        # the inverse of the block without input `best`, and centres given its value
        column, f = columns[pending], factors[pending]
        assign(column, p[best])
        subtract(factors, best, pending, columns, column, ZERO, n)
        for i in range(n):
            f[i] = column[i] / column[best]
            s[i] -= f[i] * move
            variance[i] -= f[i] * column[i]
        pending += 1
        if pending == PENDING:
            subtract_outer(p, ZERO, n, factors, columns, pending)
            pending = 0
    return order


@entry()
def conditional_factors(r: FloatArray, pivot: FloatArray, slope: FloatArray) -> None:
    """pivot[i] = 1 / (H_{i+1}^-1)_ii and slope[i, :i] = H_i^-1 H[:i, i] from the factor H = R'R.

    H_i = R_i'R_i and H[:i, i] = R_i' y with y column i of R, so slope = R_i^-1 y: -r_ii times column i of R^-1.
    """
    n = len(r)
    lower = np.empty((n, n))
    invert_factor(r, n, lower)
    for i in range(n):
        pivot[i] = r[i, i] * r[i, i]
        for j in range(i):
            slope[i, j] = -r[i, i] * lower[i, j]


@inner()
def _drop_last(p: FloatArray) -> FloatArray:
    """The inverse of a matrix without its last row and column, from its inverse p."""
    m = len(p) - 1
    smaller = np.empty((m, m))
    for i in range(m):
        f = p[i, m] / p[m, m]
        for j in range(m):
            smaller[i, j] = p[i, j] - f * p[m, j]
    return smaller


@entry()
def level_diagonals(
    h: FloatArray,
    weights: FloatArray,
    start: FloatArray,
    margin: float,
    sweeps: int,
    stride: int,
    over: BoolArray,
    diagonal: FloatArray,
) -> None:
    """diagonal[m, :m] = d >= 0 with H_m - diag(d) positive semidefinite and weights'd nearly largest, m = n ... 1.

    H_m is the leading block. Where H_m - diag(d) is positive definite, so is H_{m-1} - diag(d), so every level
    starts from the one above: dropping a row of the inverse is a rank-one update, and a few sweeps of `ascend` use
    the room that it frees. O(n^4) altogether. Every diagonal is then proven by a Cholesky factorisation with
    `margin`, see `cholesky_margin`; where none passes the row is 0, which needs no proof.

    Parameters
    ----------
    h : (n, n) with positive diagonal. It is scaled to unit diagonal here.
    weights : (n,) positive.
    start : (n,) d >= 0 with H - diag(d) positive semidefinite to start from; zeros start from scratch.
    sweeps : at each level. 12 instead of 3 raise the sum by 1%, which saves 5% of the nodes at 80 inputs.
    stride : levels that share a diagonal.
    over : (1,) looked at before every level and every sweep: once it is true, every row that is left is that of
        the level above, whose leading block is as positive semidefinite as the whole; zeros if it is true from the
        start.
    diagonal : (n + 1, n) zeros, written.
    """
    n = len(h)
    size = np.empty(n)
    for i in range(n):
        size[i] = np.sqrt(h[i, i])
    scaled = np.empty((n, n))
    c, d = np.empty(n), np.empty(n)
    for i in range(n):
        c[i] = weights[i] * size[i] * size[i]
        d[i] = start[i] / (size[i] * size[i]) * (1 - 1e-6)
        for j in range(n):
            scaled[i, j] = h[i, j] / (size[i] * size[j])
        scaled[i, i] = 1.0 + margin
    most = 0.0
    for i in range(n):
        most = max(most, c[i])
    for i in range(n):
        c[i] = max(c[i] / most, 1e-9)
    ratio = (LEVEL_BARRIERS[1] / LEVEL_BARRIERS[0]) ** (1.0 / max(1, sweeps - 1))
    plain = inverse(scaled)
    p = np.empty((n, n))
    started = False
    for i in range(n):
        started = started or start[i] > 0.0
    started = started and inverse_of_difference(scaled, d, p)
    for m in range(n, 1, -1):
        if over[0]:
            for i in range(m):
                diagonal[m, i] = diagonal[min(m + 1, n), i]
            continue
        if m < n:
            plain = _drop_last(plain)
            if started:
                p = _drop_last(p)
            if started and (n - m) % stride:
                for i in range(m):
                    diagonal[m, i] = diagonal[m + 1, i]
                continue
        block = np.empty((m, m))
        for i in range(m):
            assign(block[i], scaled[i, :m])
        if (n - m) % FRESH == FRESH - 1:
            plain = inverse(block)
            fresh = np.empty((m, m))
            started = started and inverse_of_difference(block, d[:m], fresh)
            p = fresh
        unit = 0.0
        for i in range(m):
            unit += c[i] / plain[i, i] / m
        if started:
            for k in range(sweeps):
                if not over[0]:
                    ascend(p, d[:m], c[:m], unit * LEVEL_BARRIERS[0] * ratio**k, 0.0)
        else:
            d[:m] = 0.0
            p = plain.copy()
            for barrier in FRESH_BARRIERS:
                if not over[0]:
                    ascend(p, d[:m], c[:m], unit * barrier, 0.0)
        for i in range(m):
            block[i, i] = 1.0
        started = False
        trial = np.empty(m)
        for shrink in SHRINK:
            for i in range(m):
                trial[i] = max(0.0, shrink * d[i] - 3 * margin)
            if is_below(block, trial, -2 * margin):
                started = shrink == 1.0
                for i in range(m):
                    diagonal[m, i] = trial[i] * size[i] * size[i] * (1 - 4 * EPS)
                break
    diagonal[1, 0] = h[0, 0]
