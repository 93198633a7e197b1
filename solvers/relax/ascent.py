"""Where the ascent in D starts, at any size."""

from __future__ import annotations

import numpy as np
from pvq.bounds.gram import FloatArray

from ..kernels.apart import entry
from ..kernels.cholesky import factor, inverse


@entry()
def positive_inverse(h: FloatArray, d: FloatArray) -> tuple[bool, FloatArray]:
    """(H - diag(d))^-1, False if that matrix is not positive definite in float64."""
    m = h.copy()
    for i in range(len(d)):
        m[i, i] -= d[i]
    if not factor(m, len(m)):
        return False, m
    p = inverse(m)
    return bool(np.isfinite(p).all()), p


def starting_diagonal(h: FloatArray) -> FloatArray:
    """(n,) d = t / (H^-1)_ii, half as large as positive definiteness allows.

    1 / (H^-1)_ii is the largest d_i on its own, so this gives every input the same share of what it could have.
    Inputs without error of their own (h_ii = 0) have d_i = 0.
    """
    live = np.flatnonzero(np.diag(h) > 0)
    d = np.zeros(len(h))
    if len(live):
        d[live] = _starting_diagonal(np.ascontiguousarray(h[np.ix_(live, live)]))
    return d


@entry()
def _starting_diagonal(h: FloatArray) -> FloatArray:
    n = len(h)
    # singular to working precision: the inverse of a shifted H has the right pattern, D itself is tested later
    shift = 0.0
    ok, p = positive_inverse(h, np.zeros(n))
    while not ok:
        if shift > 1e3:  # numbers that no shift mends
            return np.zeros(n)
        shift = max(10.0 * shift, 1e-15)
        ok, p = positive_inverse(h, -shift * np.diag(h))
    alone = np.empty(n)
    for i in range(n):
        alone[i] = 1.0 / max(p[i, i], 1e-300)
    root = np.sqrt(alone)
    vector = np.ones(n)
    largest = 1.0
    for _ in range(50):  # power iteration: the largest eigenvalue of diag(root) H^-1 diag(root)
        vector = root * np.dot(p, root * vector)
        largest = np.sqrt(np.dot(vector, vector))
        vector /= largest
    d = 0.5 * alone / max(largest, 1.0)
    while not positive_inverse(h, d)[0]:
        d *= 0.5
        if d.max() < 1e-200:
            break
    return d
