"""Inverses and orders of matrices of a thousand inputs and more, where products by BLAS are what counts."""

from __future__ import annotations

import numpy as np
from numba import njit
from pvq.bounds.gram import FloatArray, IntArray
from scipy.linalg import lapack

PENDING = 64
"""Decisions gathered before the inverse is updated for all of them by one product."""


def inverse_if_positive(m: FloatArray) -> FloatArray | None:
    """m^-1, (n, n), by LAPACK's potrf and potri; None where m is not positive definite. m is destroyed."""
    factor, info = lapack.dpotrf(m.T, lower=1, overwrite_a=1, clean=0)
    if info:
        return None
    p, info = lapack.dpotri(factor, lower=1, overwrite_c=1)
    p = np.ascontiguousarray(p.T)
    _mirror(p)
    return p if info == 0 and bool(np.isfinite(p).all()) else None


def is_positive(m: FloatArray) -> bool:
    """Whether m has a Cholesky factor in float64; m is destroyed."""
    return bool(lapack.dpotrf(m.T, lower=1, overwrite_a=1, clean=0)[1] == 0)


@njit(cache=True, nogil=True)
def _mirror(p: FloatArray) -> None:
    """The upper triangle below the diagonal, tile by tile."""
    n, tile = len(p), 64
    for top in range(0, n, tile):
        for left in range(0, top + tile, tile):
            for i in range(top, min(top + tile, n)):
                for j in range(left, min(left + tile, i)):
                    p[i, j] = p[j, i]


@njit(cache=True, nogil=True)
def vblast_order(inverse: FloatArray) -> IntArray:
    """(n,) V-BLAST: position n - 1 has the least conditional variance, and so on given it; H^-1 in.

    The same order as `bnb.factors.decision_order` gives where no input leaves its range, ties apart.
    """
    p = inverse.copy()
    n = len(p)
    variance = np.diag(p).copy()
    left = np.ones(n, np.bool_)
    order = np.empty(n, np.int64)
    columns, factors = np.empty((PENDING, n)), np.empty((PENDING, n))
    pending = 0
    for position in range(n - 1, -1, -1):
        best = -1
        for i in range(n):
            if left[i] and (best < 0 or variance[i] < variance[best]):
                best = i
        order[position] = best
        left[best] = False
        column = columns[pending]
        column[:] = p[best]
        if pending:
            column -= np.dot(np.ascontiguousarray(factors[:pending, best]), columns[:pending])
        for i in range(n):
            factors[pending, i] = column[i] / column[best]
            variance[i] -= factors[pending, i] * column[i]
        pending += 1
        if pending == PENDING:
            p -= np.dot(factors.T, columns)
            pending = 0
    return order
