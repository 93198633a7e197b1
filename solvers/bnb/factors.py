"""Compiled preparation of an enumeration: the order of the inputs, conditional factors, diagonals below H."""

from __future__ import annotations

import numpy as np
from numba import njit
from pvq.bounds.cholesky import factor, invert
from pvq.bounds.diagonal import ascend, inverse_of_difference, is_below
from pvq.bounds.gram import BoolArray, FloatArray, IntArray

EPS = 2.0**-52
FRESH_BARRIERS = np.geomspace(1.0, 5e-3, 16)
"""Barrier weights of the sweeps from scratch, relative to the mean of c_i / (H^-1)_ii."""
LEVEL_BARRIERS = 0.1, 1e-3
"""First and last of the sweeps where the level above has left its diagonal: a few do what 16 do from scratch."""
FRESH = 8
"""Levels between two fresh inverses: rank-one updates lose digits."""
SHRINK = np.array([1.0, 1 - 1e-9, 1 - 1e-6, 1 - 1e-3, 0.9])
"""Factors tried, in turn, on a diagonal that fails the test of Cholesky."""


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def inverse(h: FloatArray) -> FloatArray:
    """H^-1, of H plus a multiple of its rounding error where it is singular."""
    n = len(h)
    p = np.empty((n, n))
    invert(cholesky(h), n, np.empty((n, n)), p)
    return p


@njit(cache=True, nogil=True)
def decision_order(h: FloatArray, first: BoolArray) -> IntArray:
    """(n,) inputs by position, the last decided first: next the least diagonal entry of the remaining inverse.

    That is the input with the largest variance given those still undecided (Wolniansky et al., "V-BLAST", 1998).
    Inputs in `first` go before all others.
    """
    n = len(h)
    p = inverse(h)
    left = np.ones(n, np.bool_)
    order = np.empty(n, np.int64)
    pool = first.sum()
    for position in range(n - 1, -1, -1):
        best = -1
        for i in range(n):
            if left[i] and (first[i] or pool == 0) and (best < 0 or p[i, i] < p[best, best]):
                best = i
        order[position] = best
        left[best] = False
        if first[best]:
            pool -= 1
        for i in range(n):  # the inverse of the block without input `best`
            if left[i]:
                f = p[i, best] / p[best, best]
                for j in range(n):
                    p[i, j] -= f * p[best, j]
    return order


@njit(cache=True, nogil=True)
def conditional_factors(r: FloatArray, pivot: FloatArray, slope: FloatArray) -> None:
    """pivot[i] = 1 / (H_{i+1}^-1)_ii and slope[i, :i] = H_i^-1 H[:i, i] from the factor H = R'R.

    H[:i, i] = R_i' y with y column i of R, so slope = R_i^-1 y: a triangular solve.
    """
    n = len(r)
    for i in range(n):
        pivot[i] = r[i, i] * r[i, i]
        for j in range(i):
            slope[i, j] = r[j, i]
        for j in range(i - 1, -1, -1):
            value = slope[i, j] / r[j, j]
            slope[i, j] = value
            for k in range(j):
                slope[i, k] -= r[k, j] * value


@njit(cache=True, nogil=True)
def _drop_last(p: FloatArray) -> FloatArray:
    """The inverse of a matrix without its last row and column, from its inverse p."""
    m = len(p) - 1
    smaller = np.empty((m, m))
    for i in range(m):
        f = p[i, m] / p[m, m]
        for j in range(m):
            smaller[i, j] = p[i, j] - f * p[m, j]
    return smaller


@njit(cache=True, nogil=True)
def level_diagonals(h: FloatArray, weights: FloatArray, margin: float, sweeps: int, diagonal: FloatArray) -> None:
    """diagonal[m, :m] = d >= 0 with H_m - diag(d) positive semidefinite and weights'd nearly largest, m = n ... 1.

    H_m is the leading block. Where H_m - diag(d) is positive definite, so is H_{m-1} - diag(d), so every level
    starts from the one above: dropping a row of the inverse is a rank-one update, and a few sweeps of `ascend` use
    the room that it frees. O(n^4) altogether. Every diagonal is then proven by a Cholesky factorisation with
    `margin`, see `cholesky_margin`; where none passes the row is 0, which needs no proof.

    Parameters
    ----------
    h : (n, n) with positive diagonal. It is scaled to unit diagonal here.
    weights : (n,) positive.
    sweeps : at each level. 12 instead of 3 raise the sum by 1%, which saves 5% of the nodes at 80 inputs.
    diagonal : (n + 1, n) zeros, written.
    """
    n = len(h)
    size = np.empty(n)
    for i in range(n):
        size[i] = np.sqrt(h[i, i])
    scaled = np.empty((n, n))
    c = np.empty(n)
    for i in range(n):
        c[i] = weights[i] * size[i] * size[i]
        for j in range(n):
            scaled[i, j] = h[i, j] / (size[i] * size[j])
        scaled[i, i] = 1.0 + margin
    c /= c.max()
    for i in range(n):
        c[i] = max(c[i], 1e-9)
    falling = LEVEL_BARRIERS[0] * (LEVEL_BARRIERS[1] / LEVEL_BARRIERS[0]) ** (
        np.arange(sweeps) / max(1, sweeps - 1)
    )
    plain = inverse(scaled)
    d = np.zeros(n)
    p = plain
    started = False  # whether d and p = (H_m - diag(d))^-1 are those of the level above
    for m in range(n, 1, -1):
        block = np.ascontiguousarray(scaled[:m, :m])
        if m < n:
            plain = _drop_last(plain) if m % FRESH else inverse(block)
            if started:
                p = _drop_last(p)
        if not started or m % FRESH == 0:
            fresh = np.empty((m, m))
            started = started and inverse_of_difference(block, d[:m], fresh)
            p = fresh if started else plain.copy()
        if not started:
            d[:m] = 0.0
        unit = 0.0
        for i in range(m):
            unit += c[i] / plain[i, i] / m
        for barrier in falling if started else FRESH_BARRIERS:
            ascend(p, d[:m], c[:m], unit * barrier, 0.0)
        for i in range(m):
            block[i, i] = 1.0
        started = False
        trial = np.empty(m)
        for shrink in SHRINK:
            for i in range(m):
                trial[i] = max(0.0, shrink * d[i] - 3 * margin)
            if is_below(block, trial, -2 * margin):
                started = True
                for i in range(m):
                    diagonal[m, i] = trial[i] * size[i] * size[i] * (1 - 4 * EPS)
                break
        started = started and shrink == 1.0
    diagonal[1, 0] = h[0, 0]
