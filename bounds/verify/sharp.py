"""Factors of a matrix that is singular but for a rounding: found in long whole numbers, their error exactly."""

from __future__ import annotations

import numpy as np

from ..gram import FloatArray
from .budget import check_time
from .psd import U, gamma
from .whole import integers, times

LONGEST = 128
"""Inputs of the largest matrix: a second or two."""
DIGITS = 200
"""Binary digits after the point in which a matrix of unit diagonal is factorised."""
FINEST = 100
"""The same of V, so that entries of 2^-47 and more keep all that float64 has."""
LARGEST, LEAST = 2.0**100, 2.0**-900
"""Entries of V beyond, and pivots below, are not used: float64 does not hold what follows from them."""


def sharp_factors(a: FloatArray) -> tuple[FloatArray, FloatArray, float] | None:
    """Slope, pivots and kappa of one matrix, (n, n), as `factors_of` has them; None where there are none.

    B = S A S with powers of two in S has about a unit diagonal. It is factorised, B = L P L', with so many digits
    that pivots of 1e-16 have 140 of them, and V = L^-T is rounded to float64. Column i of V'BV - P is then off by
    U |L| p_i or so, which is small against the pivots of both where those next to 0 come last, that is, where
    their inputs are decided first. Nothing follows from that: V'BV is multiplied out in whole numbers.
    """
    n = len(a)
    if n > LONGEST or not (np.isfinite(a).all() and (a.diagonal() > 0).all()):
        return None
    whole, below = integers(a)
    e = [whole[i][i].bit_length() // 2 for i in range(n)]
    b = [[h << (2 * max(e) - e[i] - e[j]) for j, h in enumerate(row)] for i, row in enumerate(whole)]
    unit = 2 * max(e)
    v = _inverse_factor([[(h << DIGITS) >> unit for h in row] for row in b])
    if v is None or not (np.abs(v) < LARGEST).all():
        return None
    columns = np.rint(np.ldexp(v.T, FINEST)).tolist()
    known = [[int(value) for value in column[: i + 1]] for i, column in enumerate(columns)]
    f = np.zeros((n, n))
    for i, column in enumerate(known):
        check_time()
        along = times([row[: i + 1] for row in b[: i + 1]], column)
        for j in range(i + 1):
            total = sum(x * y for x, y in zip(known[j], along, strict=False))
            f[i, j] = f[j, i] = total / (1 << (unit + 2 * FINEST))  # rounded once
    own, powers = f.diagonal().copy(), np.array(e)
    if not (own > LEAST).all():
        return None
    v = np.ldexp(np.array(columns), -FINEST).T
    apart = powers[None, :] - powers[:, None]
    slope, pivot = -np.ldexp(v, apart), np.ldexp(own, 2 * powers - (below.bit_length() - 1))
    if not (np.array_equal(np.ldexp(-slope, -apart), v) and (pivot > LEAST).all() and np.isfinite(pivot).all()):
        return None
    np.fill_diagonal(f, 0.0)
    with np.errstate(over="ignore"):
        f = np.abs(f) / np.sqrt(own)[:, None] / np.sqrt(own)
        # P itself is off by U, and what underflows by less
        kappa = (f.sum(axis=1).max() + 2 * U) * (1 + gamma(n + 8))
    return np.ascontiguousarray(np.tril(slope.T, -1)), pivot, float(kappa)


def _inverse_factor(a: list[list[int]]) -> FloatArray | None:
    """(n, n) V = L^-T rounded to float64, of A = L P L', in numbers of `DIGITS` digits after the point."""
    n = len(a)
    factor = [[0] * n for _ in range(n)]
    for i in range(n):
        check_time()
        pivot = a[i][i]
        if pivot <= 0:
            return None
        for j in range(i + 1, n):
            factor[j][i] = ratio = (a[j][i] << DIGITS) // pivot
            for k in range(i + 1, j + 1):
                a[j][k] -= (ratio * a[k][i]) >> DIGITS
    v = np.eye(n)
    for i in range(n):
        check_time()
        column = [0] * i + [1 << DIGITS]
        for k in range(i - 1, -1, -1):
            column[k] = -(sum(factor[j][k] * column[j] for j in range(k + 1, i + 1)) >> DIGITS)
        try:
            v[: i + 1, i] = [value / (1 << DIGITS) for value in column]
        except OverflowError:
            return None
    return v
