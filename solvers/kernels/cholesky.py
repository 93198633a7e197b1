"""Compiled Cholesky factors and inverses, without LAPACK's exceptions, and faster (see `tiles`).

(An exception inside compiled code leaves the arrays of the function that raised it allocated for good: a search
that tries indefinite matrices on purpose would eat all memory.)
"""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import FloatArray

from .apart import BORROWS, MATRIX, TRUTH, VECTOR, WHOLE, apart, inner
from .sparing import ZERO
from .tiles import ROWS, subtract_product
from .vector_code import WIDTH

UNIT_ROUNDOFF = 2.0**-53


def cholesky_margin(n: int) -> float:
    """Relative diagonal shift s such that a successful `factor` of B - s diag(B) proves B positive semidefinite.

    A factorisation that runs to the end is exact for B + E with |E_ij| <= g sqrt(b_ii b_jj), g = (n + 1) u / (1 -
    (n + 1) u), for any order of summation (Higham, Accuracy and Stability, theorem 10.3; Rump, "Verification of
    positive definiteness", BIT 46, 2006). By Cauchy-Schwarz x'Ex <= g n sum b_ii x_i^2, so n g diag(B) covers it;
    the factor 2 covers the denominator, the rounding of the shifted diagonal itself, and that rows are multiplied
    by the reciprocal of a root instead of divided by it.
    """
    return 2.0 * n * (n + 1) * UNIT_ROUNDOFF


@inner(**BORROWS, fastmath={"contract"})
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


@apart(None, MATRIX, WHOLE, WHOLE, MATRIX, MATRIX, WHOLE, **BORROWS)
def subtract_outer(
    out: FloatArray, first: int, last: int, factors: FloatArray, rows: FloatArray, count: int
) -> None:
    """out[first:last] -= factors[:count, first:last]' rows[:count]: many rank-one updates at once."""
    n, i = out.shape[1], first
    while i + ROWS <= last:
        subtract_product(out, i, ZERO, n, factors, i, rows, ZERO, count)
        i += ROWS
    for rest in range(i, last):
        subtract(factors, rest, count, rows, out[rest], ZERO, n)


@inner(**BORROWS, fastmath={"contract"})
def divide_rows(
    r: FloatArray, i: int, scales: tuple[float, float, float, float], out: FloatArray, lo: int, hi: int
) -> None:
    """out[i:i + 4, lo:hi] = L^-1 of itself, L' the corner of R at i, `scales` 1 over its diagonal."""
    s0, s1, s2, s3 = scales
    r01, r02, r03 = r[i, i + 1], r[i, i + 2], r[i, i + 3]
    r12, r13, r23 = r[i + 1, i + 2], r[i + 1, i + 3], r[i + 2, i + 3]
    for j in range(lo, hi):
        t0 = out[i, j] * s0
        t1 = (out[i + 1, j] - r01 * t0) * s1
        t2 = (out[i + 2, j] - r02 * t0 - r12 * t1) * s2
        out[i, j], out[i + 1, j], out[i + 2, j] = t0, t1, t2
        out[i + 3, j] = (out[i + 3, j] - r03 * t0 - r13 * t1 - r23 * t2) * s3


@inner(**BORROWS, fastmath={"contract"})
def finish_rows(a: FloatArray, i: int, n: int) -> bool:
    """The last step of `factor` for rows i ... i + 3, from which all rows before i have been subtracted.

    A pivot that is not positive makes the numbers after it infinite or NaN, and is found at the end.
    """
    d0 = a[i, i]
    s0 = 1.0 / np.sqrt(d0)
    r01, r02, r03 = a[i, i + 1] * s0, a[i, i + 2] * s0, a[i, i + 3] * s0
    d1 = a[i + 1, i + 1] - r01 * r01
    s1 = 1.0 / np.sqrt(d1)
    r12, r13 = (a[i + 1, i + 2] - r01 * r02) * s1, (a[i + 1, i + 3] - r01 * r03) * s1
    d2 = a[i + 2, i + 2] - r02 * r02 - r12 * r12
    s2 = 1.0 / np.sqrt(d2)
    r23 = (a[i + 2, i + 3] - r02 * r03 - r12 * r13) * s2
    d3 = a[i + 3, i + 3] - r03 * r03 - r13 * r13 - r23 * r23
    s3 = 1.0 / np.sqrt(d3)
    if not (d0 > 0.0 and d1 > 0.0 and d2 > 0.0 and d3 > 0.0):
        return False
    a[i, i], a[i, i + 1], a[i, i + 2], a[i, i + 3] = d0 * s0, r01, r02, r03
    a[i + 1, i + 1], a[i + 1, i + 2], a[i + 1, i + 3] = d1 * s1, r12, r13
    a[i + 2, i + 2], a[i + 2, i + 3], a[i + 3, i + 3] = d2 * s2, r23, d3 * s3
    divide_rows(a, i, (s0, s1, s2, s3), a, i + ROWS, n)
    return True


@apart(TRUTH, MATRIX, WHOLE, **BORROWS, fastmath={"contract"})
def factor(a: FloatArray, n: int) -> bool:
    """Overwrite the upper triangle of a[:n, :n] by R with A = R'R; False if a pivot is not positive (or NaN).

    Numbers below the diagonal are lost.
    """
    whole = n - n % ROWS
    for i in range(0, whole, ROWS):
        subtract_product(a, i, i, n, a, i, a, ZERO, i)
        if not finish_rows(a, i, n):
            return False
    for i in range(whole, n):
        subtract(a, i, i, a, a[i], i, n)
        pivot = a[i, i]
        if not pivot > 0.0:
            return False
        scale = 1.0 / np.sqrt(pivot)
        for j in range(i, n):
            a[i, j] *= scale
    return True


@apart(None, MATRIX, WHOLE, VECTOR, **BORROWS, fastmath={"contract", "reassoc"})
def solve(r: FloatArray, n: int, b: FloatArray) -> None:
    """Overwrite b[:n] by A^-1 b, with R from `factor`; four rows at a time."""
    whole = n - n % ROWS
    for i in range(0, whole, ROWS):
        t0 = b[i] / r[i, i]
        t1 = (b[i + 1] - r[i, i + 1] * t0) / r[i + 1, i + 1]
        t2 = (b[i + 2] - r[i, i + 2] * t0 - r[i + 1, i + 2] * t1) / r[i + 2, i + 2]
        t3 = (b[i + 3] - r[i, i + 3] * t0 - r[i + 1, i + 3] * t1 - r[i + 2, i + 3] * t2) / r[i + 3, i + 3]
        b[i], b[i + 1], b[i + 2], b[i + 3] = t0, t1, t2, t3
        for j in range(i + ROWS, n):
            b[j] -= r[i, j] * t0 + r[i + 1, j] * t1 + r[i + 2, j] * t2 + r[i + 3, j] * t3
    for i in range(whole, n):
        b[i] /= r[i, i]
        for j in range(i + 1, n):
            b[j] -= r[i, j] * b[i]
    for back in range(1, n - whole + 1):
        i = n - back
        for j in range(i + 1, n):
            b[i] -= r[i, j] * b[j]
        b[i] /= r[i, i]
    for back in range(ROWS, whole + 1, ROWS):
        i = whole - back
        t0, t1, t2, t3 = b[i], b[i + 1], b[i + 2], b[i + 3]
        for j in range(i + ROWS, n):
            t0 -= r[i, j] * b[j]
            t1 -= r[i + 1, j] * b[j]
            t2 -= r[i + 2, j] * b[j]
            t3 -= r[i + 3, j] * b[j]
        t3 /= r[i + 3, i + 3]
        t2 = (t2 - r[i + 2, i + 3] * t3) / r[i + 2, i + 2]
        t1 = (t1 - r[i + 1, i + 2] * t2 - r[i + 1, i + 3] * t3) / r[i + 1, i + 1]
        t0 = (t0 - r[i, i + 1] * t1 - r[i, i + 2] * t2 - r[i, i + 3] * t3) / r[i, i]
        b[i], b[i + 1], b[i + 2], b[i + 3] = t0, t1, t2, t3


@apart(None, MATRIX, WHOLE, MATRIX, **BORROWS, fastmath={"contract"})
def invert_factor(r: FloatArray, n: int, lower: FloatArray) -> None:
    """lower[:n, :n] = V = R'^-1 with R from `factor`: V_i = (e_i - sum_{k<i} R_ki V_k) / R_ii by rows."""
    for i in range(n):
        for j in range(n):
            lower[i, j] = 0.0
        lower[i, i] = 1.0
    for start in range(0, n if n >= ROWS else 0, ROWS):
        i = min(start, n - ROWS)  # the last rows begin among those before: one by one they take longer
        for s in range(i, start):
            for j in range(s):
                lower[s, j] = 0.0
            lower[s, s] = 1.0
        for j in range(0, i, 2 * WIDTH):  # V_kj = 0 for k < j
            subtract_product(lower, i, j, min(j + 2 * WIDTH, i), r, i, lower, j, i)
        scales = 1.0 / r[i, i], 1.0 / r[i + 1, i + 1], 1.0 / r[i + 2, i + 2], 1.0 / r[i + 3, i + 3]
        divide_rows(r, i, scales, lower, ZERO, i + ROWS)
    for i in range(n if n < ROWS else 0):
        subtract(r, i, i, lower, lower[i], ZERO, i)
        scale = 1.0 / r[i, i]
        for j in range(i + 1):
            lower[i, j] *= scale


@apart(None, MATRIX, WHOLE, MATRIX, MATRIX, **BORROWS, fastmath={"contract"})
def invert(r: FloatArray, n: int, lower: FloatArray, p: FloatArray) -> None:
    """p[:n, :n] = (R'R)^-1 = V'V with R from `factor`; `lower` (n, n) is working space, V = R'^-1 in the end."""
    invert_factor(r, n, lower)
    whole = n - n % ROWS
    for i in range(n):
        for j in range(n):
            p[i, j] = 0.0
    for i in range(0, whole, ROWS):
        subtract_product(p, i, ZERO, i + ROWS, lower, i, lower, i, n)
        for s in range(i, i + ROWS):
            for j in range(s + 1):
                p[s, j] = -p[s, j]
                p[j, s] = p[s, j]
    for i in range(whole, n):
        for k in range(i, n):
            f = lower[k, i]
            for j in range(i + 1):
                p[i, j] += f * lower[k, j]
        for j in range(i):
            p[j, i] = p[i, j]


@inner()
def inverse(r: FloatArray) -> FloatArray:
    """As `invert`, in an array of its own."""
    n = len(r)
    p = np.empty((n, n))
    invert(r, n, np.empty((n, n)), p)
    return p
