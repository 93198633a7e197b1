"""Inputs that are combinations of others: their part of a relaxation's point follows that of the others."""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import FloatArray

from ..kernels.apart import BORROWS, MATRIX, VECTOR, apart, inner
from ..kernels.sparing import ZERO

NEXT_TO_NONE = 1e-12
"""d_i relative to a_ii of such an input: its r_i^2 / d_i is nothing only if r_i is rounding."""

TURNS = 20
"""Of each of them: duplicates need one, others a few."""


@inner(**BORROWS)
def _follows(q: FloatArray, d: FloatArray, i: int) -> bool:
    """Whether input i is one of them."""
    return q[i, i] > 0.0 and d[i] < NEXT_TO_NONE * (q[i, i] + d[i])


@apart(None, MATRIX, VECTOR, VECTOR, VECTOR)
def follow(q: FloatArray, b: FloatArray, d: FloatArray, x: FloatArray) -> None:
    """Move x at inputs with next to no d to where r = b - Qx is next to 0, one by one, the others staying.

    What a parent's x, or a step that ends where x changes its sign, leaves in r_i there is magnified to far more
    than the bound, and a system that is singular but for 1e-13 does not bring it back.
    """
    m, count = len(b), ZERO
    for i in range(m):
        if _follows(q, d, i):
            count += 1
    if count == 0:
        return
    chosen, count = np.empty(count, np.int64), ZERO
    for i in range(m):
        if _follows(q, d, i):
            chosen[count] = i
            count += 1
    r = b.copy()
    for j in range(m):
        if x[j] != 0.0:
            for i in range(m):
                r[i] -= q[j, i] * x[j]
    for _ in range(TURNS):
        for k in range(count):
            i = chosen[k]
            t = r[i] / q[i, i]
            x[i] += t
            for j in range(m):
                r[j] -= t * q[i, j]
