"""Compiled Cholesky factors and inverses, without LAPACK's call overhead and without its exceptions.

(An exception inside compiled code leaves the arrays of the function that raised it allocated for good: a search
that tries indefinite matrices on purpose would eat all memory.)
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .gram import FloatArray

UNIT_ROUNDOFF = 2.0**-53
BLOCK, LARGE = 96, 384
"""Rows of a block; inverses of more than `LARGE` rows are taken in blocks."""


def cholesky_margin(n: int) -> float:
    """Relative diagonal shift s such that a successful `factor` of B - s diag(B) proves B positive semidefinite.

    A factorisation that runs to the end is exact for B + E with |E_ij| <= g sqrt(b_ii b_jj), g = (n + 1) u / (1 -
    (n + 1) u), for any order of summation (Higham, Accuracy and Stability, theorem 10.3; Rump, "Verification of
    positive definiteness", BIT 46, 2006). By Cauchy-Schwarz x'Ex <= g n sum b_ii x_i^2, so n g diag(B) covers it;
    the factor 2 covers the denominator and the rounding of the shifted diagonal itself.
    """
    return 2.0 * n * (n + 1) * UNIT_ROUNDOFF


@njit(cache=True, nogil=True)
def subtract(
    factors: FloatArray, column: int, count: int, rows: FloatArray, out: FloatArray, lo: int, hi: int
) -> None:
    """out[lo:hi] -= sum over k < count of factors[k, column] * rows[k, lo:hi]; four at a time spare stores."""
    k = 0
    while k + 4 <= count:
        f0, f1, f2, f3 = factors[k, column], factors[k + 1, column], factors[k + 2, column], factors[k + 3, column]
        for j in range(lo, hi):
            out[j] -= f0 * rows[k, j] + f1 * rows[k + 1, j] + f2 * rows[k + 2, j] + f3 * rows[k + 3, j]
        k += 4
    while k < count:
        f0 = factors[k, column]
        for j in range(lo, hi):
            out[j] -= f0 * rows[k, j]
        k += 1


@njit(cache=True, nogil=True)
def factor(a: FloatArray, n: int) -> bool:
    """Overwrite the upper triangle of a[:n, :n] by R with A = R'R; False if a pivot is not positive (or NaN)."""
    for i in range(n):
        subtract(a, i, i, a, a[i], i, n)
        pivot = a[i, i]
        if not pivot > 0.0:
            return False
        scale = 1.0 / np.sqrt(pivot)
        for j in range(i, n):
            a[i, j] *= scale
    return True


@njit(cache=True, nogil=True)
def factor_blocks(a: FloatArray) -> bool:
    """As `factor`, for a whole C-contiguous matrix of any size: mostly matrix products."""
    n = len(a)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        size = stop - start
        corner = a[start:stop, start:stop].copy()
        if not factor(corner, size):
            return False
        a[start:stop, start:stop] = corner
        if stop == n:
            break
        panel = a[start:stop, stop:].copy()
        for i in range(size):
            subtract(corner, i, i, panel, panel[i], 0, n - stop)
            scale = 1.0 / corner[i, i]
            for j in range(n - stop):
                panel[i, j] *= scale
        a[start:stop, stop:] = panel
        rows = panel.T.copy()
        for low in range(0, n - stop, BLOCK):
            high = min(low + BLOCK, n - stop)
            a[stop + low : stop + high, stop + low :] -= np.dot(rows[low:high], rows[low:].T)
    return True


@njit(cache=True, nogil=True)
def solve(r: FloatArray, n: int, b: FloatArray) -> None:
    """Overwrite b[:n] by A^-1 b, with R from `factor`."""
    for i in range(n):
        value = b[i] / r[i, i]
        b[i] = value
        for j in range(i + 1, n):
            b[j] -= r[i, j] * value
    for i in range(n - 1, -1, -1):
        total = b[i]
        for j in range(i + 1, n):
            total -= r[i, j] * b[j]
        b[i] = total / r[i, i]


@njit(cache=True, nogil=True)
def invert(r: FloatArray, n: int, lower: FloatArray, p: FloatArray) -> None:
    """p[:n, :n] = (R'R)^-1 with R from `factor`; `lower` (n, n) is working space.

    With L = R' and V = L^-1: V_i = (e_i - sum_{k<i} L_ik V_k) / L_ii by rows, and the inverse is V'V.
    """
    for i in range(n):
        for j in range(n):
            lower[i, j] = 0.0
        k = 0
        while k + 4 <= i:
            f0, f1, f2, f3 = r[k, i], r[k + 1, i], r[k + 2, i], r[k + 3, i]
            for j in range(k + 4):
                lower[i, j] -= (
                    f0 * lower[k, j] + f1 * lower[k + 1, j] + f2 * lower[k + 2, j] + f3 * lower[k + 3, j]
                )
            k += 4
        while k < i:
            f0 = r[k, i]
            for j in range(k + 1):
                lower[i, j] -= f0 * lower[k, j]
            k += 1
        lower[i, i] += 1.0
        scale = 1.0 / r[i, i]
        for j in range(i + 1):
            lower[i, j] *= scale
    for i in range(n):
        for j in range(i + 1):
            p[i, j] = 0.0
        k = i
        while k + 4 <= n:
            f0, f1, f2, f3 = lower[k, i], lower[k + 1, i], lower[k + 2, i], lower[k + 3, i]
            for j in range(i + 1):
                p[i, j] += f0 * lower[k, j] + f1 * lower[k + 1, j] + f2 * lower[k + 2, j] + f3 * lower[k + 3, j]
            k += 4
        while k < n:
            f0 = lower[k, i]
            for j in range(i + 1):
                p[i, j] += f0 * lower[k, j]
            k += 1
        for j in range(i):
            p[j, i] = p[i, j]


@njit(cache=True, nogil=True)
def inverse(r: FloatArray) -> FloatArray:
    """As `invert`, in an array of its own and for large matrices in blocks: V = R^-T by block rows, then V'V."""
    n = len(r)
    p = np.empty((n, n))
    if n <= LARGE:
        invert(r, n, np.empty((n, n)), p)
        return p
    v = np.zeros((n, n))
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        size = stop - start
        part = np.empty((size, size))
        invert(r[start:stop, start:stop].copy(), size, part, np.empty((size, size)))  # part: R^-T of the corner
        v[start:stop, start:stop] = part
        if start:
            rest = np.dot(r[:start, start:stop].T.copy(), v[:start, :start].copy())
            v[start:stop, :start] -= np.dot(part, rest)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        part = np.dot(v[start:, start:stop].T.copy(), v[start:, :stop].copy())
        p[start:stop, :stop] = part
        p[:stop, start:stop] = part.T
    return p
