"""Whether A - D is positive definite, as relaxations of a node test it."""

from __future__ import annotations

from pvq.bounds.gram import FloatArray

from ..kernels.apart import BORROWS, MATRIX, REAL, TRUTH, VECTOR, WHOLE, apart
from ..kernels.cholesky import factor

SAFE = 1e-8
"""D is this much smaller in the end, so that H - D is clearly positive definite."""

SLACK = 1e-13
"""Where A - D itself cannot be factorised, A - D + SLACK diag(H) is: Gram matrices that are singular to working
precision pass no stricter test. The bound then gives up SLACK sum h_ii (x_i - v_i)^2."""

LEAST_D = 1e-14
"""Least d_i relative to h_ii, so that r_i^2 / d_i is finite; part of the D that is tested."""


@apart(TRUTH, MATRIX, VECTOR, VECTOR, VECTOR, REAL, WHOLE, MATRIX, VECTOR, **BORROWS)
def positive(
    a: FloatArray,
    d: FloatArray,
    e: FloatArray,
    variance: FloatArray,
    slack: float,
    m: int,
    out: FloatArray,
    loss: FloatArray,
) -> bool:
    """Factorise A - D (loss 0), or A - D + diag(loss) with loss = slack diag(H), into `out`; False if neither is
    positive definite. e[s] is the entry of D at (s, s + 1)."""
    for part in (0.0, slack):
        for i in range(m):
            for j in range(i, m):
                out[i, j] = a[i, j]
            loss[i] = part * variance[i]
            out[i, i] += loss[i] - d[i]
            if e[i] != 0.0:
                out[i, i + 1] -= e[i]
        if factor(out, m):
            return True
    return False
